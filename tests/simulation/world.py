"""One simulated study from its beginning to its end: looks, what befalls them, and what must hold after each."""

from __future__ import annotations

import functools
import gc
import shutil
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from agent.errors import RoundtableError
from agent.orchestrator import Tools, steer, tick
from agent.store.lease import held
from agent.store.store import Store
from tests.simulation import person, study
from tests.simulation.cluster import Cluster
from tests.simulation.disk import SimulatedDisk
from tests.simulation.invariants import IDLE, Watch
from tests.simulation.model import SimulatedModel
from tests.simulation.model import models as simulated_models
from tests.simulation.programs import Killed, Programs
from tests.simulation.script import Fault, Script

LOOK_S = 61.0
#: A look is at most so long after the one before, however little happens.
LONGEST_S = 305.0


@dataclass(kw_only=True)
class Ended:
    """How a simulated study went."""

    script: Script
    wrong: list[str] = field(default_factory=list)
    """Invariants that do not hold; the first ones."""
    rounds: int = 0
    looks: int = 0
    befallen: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)
    """What happened, for a person: a line an event."""


class World:
    """Everything around one study."""

    def __init__(self, script: Script, home: Path) -> None:
        self.script = script
        self.setting = script.setting
        self.root = home / "sim"
        self.home = home
        faults = script.faults
        self.cluster = Cluster(script.seed, faults)
        self.programs = Programs(
            self.cluster,
            faults,
            accounting=self.setting.accounting,
            array_size=self.setting.array_size,
            skew=lambda: self.skew,
        )
        self.model = SimulatedModel(self.cluster, faults)
        self.disk = SimulatedDisk()
        self.skew, self._skewed_until = 0.0, 0
        self.number = 0
        """Of the present look."""
        self.hidden: tuple[Path, Path] | None = None
        self.backup = ""
        """The reference before the person broke it."""
        self.asked: list[tuple[Path, str]] = []
        """Cancellations that a person asked for: request and folder."""
        self._holders = 0
        self._reference = b""
        self.acts = {one.what for one in faults if one.where in ("person", "shell")}
        self.ended = Ended(script=script, befallen=self.cluster.befallen)
        self.befallen = self.cluster.befallen
        self._store: Store | None = None
        self._tools: Tools | None = None
        self._watch = Watch(self.cluster, self.programs, script)
        self._closed: set[Path] = set()

    # -- the product, as a process of its own calls it -------------------------------------------------------------

    def seconds(self) -> float:
        """The orchestrator's clock."""
        return self.cluster.now + self.skew

    def clock(self) -> datetime:
        return datetime.fromtimestamp(self.seconds(), UTC)

    def _open(self) -> tuple[Store, Tools]:
        store = Store.open(self.root, disk=self.disk, clock=self.clock)
        models = simulated_models(self.model) if self.setting.models else None
        return store, study.tools(
            store, self.setting, programs=self.programs, models=models, clock=self.seconds, say=self._say
        )

    def forget(self) -> None:
        """The process is gone, and all that it had in memory."""
        self._store = self._tools = None

    def under_lease(self, act: Callable[[Store, Tools], object]) -> None:
        """A process of its own that works on the study."""
        with self._lease():
            store, tools = self._open()
            store.journal.check_clock()
            act(store, tools)

    @contextmanager
    def _lease(self) -> Iterator[None]:
        with held(self.root / "lease.json"):
            self._holders += 1
            try:
                if self._holders > 1:
                    self.ended.wrong.append("two processes hold the lease at a time")
                yield
            finally:
                self._holders -= 1

    def without_lease(self, act: Callable[[Store, Tools], object]) -> None:
        act(*self._open())

    def read(self, look: Callable[[Store], object]):  # type: ignore[no-untyped-def]
        return look(Store.open(self.root, disk=self.disk, clock=self.clock))

    def attempt(self, act: Callable[[], object]) -> None:
        """Something a person does: they read the error, and look again later."""
        try:
            act()
        except RoundtableError as error:
            self.ended.errors[f"person: {type(error).__name__}"] += 1
            self._say(f"the person reads {type(error).__name__}: {error}")
        except Killed:
            self.ended.errors["killed"] += 1

    def _say(self, line: str) -> None:
        self.ended.trace.append(f"{self.cluster.now - 1_900_000_000:8.0f} s  look {self.number}: {line}")

    # -- the loop --------------------------------------------------------------------------------------------------

    def run(self) -> Ended:
        """To the study's end, or to the first thing that is wrong."""
        try:
            self.begin()
            self._drive()
            if not self.ended.wrong:
                self.ended.wrong += self.finish()
        except RoundtableError as error:
            self.ended.wrong.append(f"outside of a look: {type(error).__name__}: {error}")
        except Exception:
            self.ended.wrong.append(f"an exception outside the error tree:\n{traceback.format_exc()}")
        self.ended.rounds = len(self._closed)
        self.ended.looks = self.number
        return self.ended

    def begin(self) -> None:
        """Make the study."""
        study.create(self.root, self.setting, home=self.home.parent, disk=self.disk, clock=self.clock)

    def _drive(self) -> None:
        limit = 150 + 60 * self.setting.rounds
        while self.number < limit:
            self.number += 1
            self._befall()
            if self.look() == "finished" or self.ended.wrong:
                return
            self.wait()
        self.ended.wrong.append(f"the study is not over after {limit} looks")

    def look(self) -> str:
        """One look at the study as it was planned on the disk, and what must hold behind it; how it came out."""
        self._reference = (self.root / "hyperparameter_reference.json").read_bytes()
        began = self.cluster.now
        state = self._look()
        self.ended.wrong += list(self._check())
        if state == "waiting":
            self._watch.looked_before_last, self._watch.looked_last = self._watch.looked_last, began
        return state

    def wait(self) -> None:
        """Until something happens, a look's time at least."""
        due = self.cluster.next_due
        ahead = LONGEST_S if due is None else due - self.cluster.now + 1
        self.cluster.advance(self.cluster.now + min(max(LOOK_S, ahead), LONGEST_S))

    def _faults(self, where: str) -> Iterator[Fault]:
        return (one for one in self.script.faults if one.where == where and one.at[0] == self.number)

    def _befall(self) -> None:
        """What happens before and during this look."""
        if self.number >= self._skewed_until:
            self.skew = 0.0
        for one in self._faults("clock"):
            self.befallen[f"clock {one.seconds:+.0f} s"] += 1
            self.skew, self._skewed_until = one.seconds, self.number + int(one.what)
        self.disk.plan(kills=set(), full=range(0), shells={})
        for one in self._faults("person"):
            self.disk.plan(kills={int(one.seconds)} if one.seconds else set(), full=range(0), shells={})
            self.attempt(functools.partial(person.act, self, one.what))
        full = next((range(one.at[1], one.at[1] + int(one.seconds)) for one in self._faults("full")), range(0))
        shells = {
            one.at[1]: functools.partial(self.attempt, functools.partial(person.act, self, one.what))
            for one in self._faults("shell")
        }
        self.disk.plan(kills={one.at[1] for one in self._faults("kill")}, full=full, shells=shells)

    def _look(self) -> str:
        self._watch.rules.look_began = self.cluster.now
        try:
            with self._lease():
                if self._store is None or not self.setting.resident or self._grown():
                    self._store, self._tools = self._open()
                assert self._tools is not None
                self._store.journal.check_clock()
                report = tick(self._store, self._tools)
                return report.state
        except Killed as where:
            self.befallen["kill"] += 1
            self._say(f"killed {where}")
            self.forget()
        except RoundtableError as error:
            self.disk.plan(kills=set(), full=range(0), shells={})
            self.ended.errors[type(error).__name__] += 1
            self._say(f"{type(error).__name__}: {error}")
            if wrong := person.mend(self, error):
                self.ended.wrong.append(f"an error that nobody can mend: {wrong}")
        finally:
            self.disk.plan(kills=set(), full=range(0), shells={})
        return "stopped"

    def _grown(self) -> bool:
        """Whether somebody else wrote to the journal since this process read it."""
        assert self._store is not None
        return self._store.journal._size != self._store.paths.journal.stat().st_size

    # -- what must hold --------------------------------------------------------------------------------------------

    def _check(self) -> Iterator[str]:
        if self.hidden is not None:
            return
        store = self._store
        if store is None or self._grown():
            store = Store.open(self.root, disk=self.disk, clock=self.clock)
        yield from self._watch.look(store)
        yield from self._requests()
        if not any(self._faults("shell")):
            yield from self._watch.rewritten(store, self._reference)
        for paths in store.closed():
            # Before its last step's record is there, a kill lets a round be closed once more.
            if paths.root not in self._closed and paths.over:
                self._closed.add(paths.root)
                yield from self._watch.closed(store, paths)

    def _requests(self) -> Iterator[str]:
        """Cancellations that are gone without a word in the journal, although their round went on."""
        known = self._watch.rules.requests
        for path, folder in [one for one in self.asked if not one[0].exists()]:
            self.asked.remove((path, folder))
            late = "came too late" in "".join(self.ended.trace[-40:]) or folder in self._watch.rules.halted_ever
            if path.stem not in known and not late:
                yield f"a person's cancellation of {folder} is gone, and the journal does not know it"

    def finish(self) -> Iterator[str]:
        """After the last look: a look with nothing to do changes nothing, hours come in, nothing is left behind."""
        self.skew = 0.0
        self.cluster.advance(max([self.cluster.now + 1000, *self.programs.troubled_until()]))
        self.attempt(lambda: self.under_lease(lambda store, tools: steer.collect_round(store, tools)))
        before = self.read(lambda store: len(store.journal))
        self.under_lease(lambda store, tools: tick(store, tools))
        after = self.read(lambda store: store.journal.events[before:])
        if added := {event.event for event in after} - IDLE:
            yield f"a further look with nothing to do journaled {sorted(added)}"
        yield from self.read(lambda store: list(self._watch.look(store)))
        yield from self.read(lambda store: list(self._watch.end(store)))


def run(script: Script, home: Path) -> Ended:
    """Run a script in a fresh folder below `home`."""
    with fresh(home) as place:
        return World(script, place).run()


@contextmanager
def fresh(home: Path) -> Iterator[Path]:
    """A folder below `home` for one study, which is gone afterwards."""
    # Always the same place: what the product keeps by path, such as a parsed study.yaml, is kept.
    place = home / "world"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    # Collected once a study: a tenth of the time went into collecting what lives as long as its study.
    gc.disable()
    try:
        yield place
    finally:
        gc.enable()
        gc.collect(0)
        shutil.rmtree(place, ignore_errors=True)
