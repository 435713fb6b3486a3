"""A controller: looks at a study until there is nothing left to do, its time is over, or it is asked to end.

The same loop runs in the foreground and in a controller job. Each look is one idempotent tick under the study's
lease, which is free in between, so that a person can cancel or retry while a controller is there.

How often it looks: every `poll_s` seconds, and as far as three times that where a look is expensive, so that watching
a study of 1,000 tasks stays under a CPU-minute a day (login nodes end a process after 15 to 30; measured in
benchmarks/README.md).
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

from agent.api.successor import Succession
from agent.api.wiring import Say, tools_for_open_round
from agent.errors import (
    LaunchError,
    RoundtableError,
    SchedulerUnavailable,
    StorageError,
    StudyBusy,
    TrainingEnvironmentError,
    UsageError,
)
from agent.launch.catalogue import capabilities_of
from agent.orchestrator.training.circuit_breaker import FAILED_SUBMISSIONS
from agent.store import control
from agent.store.control import Identity
from agent.store.events import ControllerBegan, ControllerEnded
from agent.store.lease import held
from agent.store.store import Store

#: CPU-seconds of a look times this: the wait that spends less than a minute a day.
CPU_DAY_SHARE = 86_400 / 55
#: A look that is due may be late by so much for the sake of the CPU budget.
LONGEST_WAIT = 3
#: How soon a sleeping controller sees the stop file.
GLANCE_S = 5.0
#: Looks in a row that may fail; for the scheduler, the disk and the lease a controller waits without end.
MOST_FAILURES = 2 * FAILED_SUBMISSIONS
#: How often a foreground study looks at the disk while the local launcher works.
LOCAL_LOOK_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Ending:
    """Why a controller ends."""

    reason: str
    final: bool
    """Whether no successor is to go on."""
    error: RoundtableError | None = None
    silent: bool = False
    """Another controller has taken over: nothing is written any more."""


class Signals:
    """SIGTERM, SIGHUP and SIGINT as something to look at: a look is never cut in half, a sleep ends at once."""

    HANDLED = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._pipe: tuple[int, int] = (-1, -1)

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Handlers inside the block, the former ones after it. Only in the main thread."""
        self._pipe = os.pipe()
        for end in self._pipe:
            os.set_blocking(end, False)
        # The wakeup pipe, because a signal that comes just before select() would not interrupt it.
        old_pipe = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        old = {number: signal.signal(number, self._note) for number in self.HANDLED}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(old_pipe)
            for end in self._pipe:
                os.close(end)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)

    def sleep(self, seconds: float) -> None:
        """Until a signal comes, at most so long."""
        if self.received is None:
            select.select([self._pipe[0]], [], [], max(seconds, 0.0))


class Resident:
    """One controller in this process. `run` returns why it ended."""

    def __init__(
        self,
        root: Path,
        me: Identity,
        *,
        say: Say,
        lifetime_s: float | None = None,
        succession: Succession | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """lifetime_s: seconds after which it ends by itself; None for never. succession: a controller job's chain."""
        self._root = root
        self._me = me
        self._say = say
        self._succession = succession
        self._clock = clock
        self._until = None if lifetime_s is None else clock() + lifetime_s
        self._signals = Signals()
        self._store: Store | None = None
        self._tools: Any = None
        self._unable: UsageError | None = None
        self._size = -1
        self._failures = 0
        self._trouble = ""

    def run(self) -> Ending:
        """Look until it ends. Raises nothing that a later look could mend."""
        with self._signals.installed():
            try:
                while True:
                    ending = self._stop_now()
                    before = _cpu_seconds()
                    ending = ending or self._look()
                    ending = ending or self._rest(_cpu_seconds() - before)
                    if ending is not None:
                        self._end(ending)
                        return ending
            finally:
                if self._tools is not None:
                    self._tools.close()

    # -- one look ------------------------------------------------------------------------------------------------

    def _look(self) -> Ending | None:
        """One tick under the lease. What may pass by itself is noted and looked at again."""
        trouble = ""
        try:
            with held(self._root / "lease.json"):
                try:
                    ending = self._tick(self._open())
                finally:
                    self._size = _size(self._root)
            self._failures = 0
            if ending is not None:
                return ending
        except (StudyBusy, SchedulerUnavailable, StorageError) as error:
            trouble = str(error)
        except (LaunchError, TrainingEnvironmentError) as error:
            self._failures += 1
            trouble = str(error)
            if self._failures >= MOST_FAILURES:
                return Ending(reason=f"{self._failures} looks in a row failed: {error}", final=True, error=error)
        except RoundtableError as error:
            return Ending(reason=str(error), final=True, error=error)
        if trouble != self._trouble and trouble:
            self._say(trouble)
        self._trouble = trouble
        return None

    def _open(self) -> Store:
        """The study as it is now; read anew where another process wrote its journal since the last look."""
        if self._store is None or _size(self._root) != self._size:
            if self._tools is not None:
                self._tools.close()
            self._store = Store.open(self._root)
            self._tools, self._unable = tools_for_open_round(self._store, self._say, _ignore)
        return self._store

    def _tick(self, store: Store) -> Ending | None:
        from agent.orchestrator import tick

        store.journal.check_clock()
        if (ending := self._admitted(store)) is not None:
            return ending
        self._beat(store, next_in=None)
        report = tick(store, self._tools, only_open=self._unable is not None)
        if report.state == "finished" and self._unable is not None:
            raise self._unable
        if report.state == "finished":
            return Ending(reason=f"finished: {len(store.closed())} rounds are closed", final=True)
        if report.state != "waiting":
            return Ending(reason="the open round waits for a person (no --auto-train)", final=True)
        if self._succession is not None:
            self._succession.provide(store)
        return None

    def _admitted(self, store: Store) -> Ending | None:
        """Whether this controller is the one that ticks; journaled at its first look."""
        later = [one for one in store.journal.of(ControllerBegan) if one.generation > self._me.generation]
        if later:
            return Ending(reason=f"generation {later[-1].generation} has taken over", final=False, silent=True)
        mine = control.began(store, self._me.generation)
        if mine is not None:
            same = (mine.host, mine.pid) == (self._me.host, self._me.pid)
            if same or (self._me.job_id is not None and mine.job_id == self._me.job_id):
                return None
            who = f"SLURM job {mine.job_id}" if mine.job_id else f"process {mine.pid} on {mine.host}"
            said = f"{who} is generation {self._me.generation}; this one was started once too often"
            return Ending(reason=said, final=False, silent=True)
        if self._succession is not None and (ending := self._succession.enter(store, self._me)) is not None:
            return Ending(reason=ending, final=True)
        me = self._me
        store.journal.append(
            ControllerBegan(generation=me.generation, kind=me.kind, host=me.host, pid=me.pid, job_id=me.job_id)
        )
        self._say(f"{me.words} watches {self._root}")
        return None

    # -- between looks -------------------------------------------------------------------------------------------

    def _rest(self, cpu_s: float) -> Ending | None:
        """Wait for the next look; why to end instead, if so."""
        wait = self._wait(cpu_s)
        if self._store is not None:
            self._beat(self._store, next_in=wait)
        until = self._clock() + wait
        while (left := until - self._clock()) > 0:
            if (ending := self._stop_now()) is not None:
                return ending
            self._signals.sleep(min(left, GLANCE_S))
        return self._stop_now()

    def _wait(self, cpu_s: float) -> float:
        settings = self._store.settings() if self._store is not None else None
        if settings is None:
            return GLANCE_S
        if capabilities_of(settings.launcher).cheap_polls:
            return LOCAL_LOOK_S
        poll = max(settings.poll_s, LOCAL_LOOK_S)
        return min(max(poll, cpu_s * CPU_DAY_SHARE), LONGEST_WAIT * poll)

    def _stop_now(self) -> Ending | None:
        # First the stop file: `stop --now` sends a signal as well.
        request = control.stop_request(self._root / "stop.json")
        if request is not None:
            return Ending(reason=f"stopped by {request.get('by', 'somebody')}", final=True)
        if self._signals.received is not None:
            name = self._signals.received.name
            return Ending(reason=f"{name} received", final=self._succession is None)
        if self._until is not None and self._clock() >= self._until and self._succeeded():
            return Ending(reason="its time is over; its successor goes on", final=False)
        return None

    def _succeeded(self) -> bool:
        """A chain that ends for want of a successor helps nobody: rather be ended by the scheduler in the middle."""
        return self._succession is None or self._succession.provided

    def _beat(self, store: Store, *, next_in: float | None) -> None:
        """The heartbeat: it must not end a controller, which has better to do than to write it."""
        now = store.clock()
        facts: dict[str, object] = {"at": now.isoformat(timespec="seconds"), "state": "running"}
        if next_in is not None:
            facts["next_at"] = (now + timedelta(seconds=next_in)).isoformat(timespec="seconds")
        if self._trouble:
            facts["trouble"] = self._trouble
        with contextlib.suppress(StorageError):
            control.beat(store.disk, store.paths.controller, self._me, **facts)

    # -- the end -------------------------------------------------------------------------------------------------

    def _end(self, ending: Ending) -> None:
        """Journal the end, and call the successor off where none is wanted."""
        if ending.error is None:
            self._say(ending.reason)
        if ending.silent:
            return
        with contextlib.suppress(RoundtableError):
            with held_soon(self._root / "lease.json", seconds=20):
                store = Store.open(self._root)
                if control.began(store, self._me.generation) is not None:
                    store.journal.append(
                        ControllerEnded(generation=self._me.generation, reason=ending.reason, final=ending.final)
                    )
            at = store.clock().isoformat(timespec="seconds")
            control.beat(store.disk, store.paths.controller, self._me, at=at, state="ended", reason=ending.reason)
        if ending.final and self._succession is not None:
            self._succession.call_off()


@contextlib.contextmanager
def held_soon(path: Path, *, seconds: float) -> Iterator[None]:
    """The study's lease, waited for while another process is in a look. Raises StudyBusy."""
    until = time.monotonic() + seconds
    while True:
        stack = contextlib.ExitStack()
        try:
            stack.enter_context(held(path))
            break
        except StudyBusy:
            if time.monotonic() >= until:
                raise
            time.sleep(0.2)
    with stack:
        yield


def _ignore(line: str) -> None:
    """orchestrator.log has it."""


def _size(root: Path) -> int:
    try:
        return (root / "journal.jsonl").stat().st_size
    except OSError:
        return -1


def _cpu_seconds() -> float:
    """CPU time of this process and of the programs it waited for."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
