"""Stopping an open round's tasks because a person wants it, whoever holds the study's lease.

Cancelled rows are never started again by themselves; `retry` may. A round that was cancelled as a whole is halted:
ticks leave it alone until a person retries it or has it collected as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from agent.errors import LaunchError, RoundCancelled, SchedulerUnavailable, UsageError
from agent.launch.base import State, Submission, TaskStatus
from agent.launch.states import compact
from agent.orchestrator.training.submissions import marks, submissions
from agent.orchestrator.work import Tools, Work
from agent.store.codec import UNSAID
from agent.store.events import Cancelled, Intent
from agent.store.paths import RoundPaths
from agent.store.requests import CancelRequest, halted, halted_text, open_requests, settle
from agent.store.store import Store
from trainers.manifest import Manifest, load_manifest
from trainers.results import read_row


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a cancellation would stop, as far as it can be told now."""

    rows: tuple[int, ...]
    """Rows that are meant and may still get a result."""
    whole: bool
    """Whether the whole round is meant: its evaluation and submissions in doubt are stopped too."""
    made: tuple[Submission, ...]
    """Submissions that have, or may have, a task to stop."""
    doubtful: tuple[Submission, ...]
    """Intents of which nobody knows yet whether they were submitted; they have no tasks."""
    statuses: Mapping[int, TaskStatus] | None
    """How each meant row's newest task stands; None while the scheduler does not answer."""

    def describe(self) -> str:
        """What runs and waits, in one line."""
        counted: dict[State, list[int]] = {}
        for row, status in (self.statuses or {}).items():
            counted.setdefault(status.state, []).append(row)
        parts = [
            f"{len(counted[state])} {state.value} ({named(counted[state])})"
            for state in (State.RUNNING, State.PENDING, State.UNKNOWN)
            if state in counted
        ]
        if self.statuses is None:
            parts.append(f"{named(self.rows)} (the scheduler does not answer, so nobody knows which run)")
        if self.doubtful:
            parts.append(f"submissions in doubt: {', '.join(one.name for one in self.doubtful)}")
        return "; ".join(parts) or "no row is running or pending"

    @property
    def empty(self) -> bool:
        """Whether there is nothing to stop."""
        active = self.statuses is None or any(s.state is not State.GONE for s in self.statuses.values())
        return not self.doubtful and not (active and self.made)


def find_target(store: Store, tools: Tools, paths: RoundPaths, rows: Collection[int] | None) -> Target:
    """What cancelling these rows (None: the whole round) would stop. Writes nothing, needs no lease.

    Raises UsageError for rows that the round does not have, and for a round that Roundtable did not submit.
    """
    manifest = _manifest(store, paths, rows)
    train = [made for _, made in submissions(store, paths, "train")]
    around = (
        [one for kind in ("prepare", "eval") for _, one in submissions(store, paths, kind)] if rows is None else []
    )
    doubtful = in_doubt(store, paths, tools)
    if not train and not doubtful:
        raise UsageError(
            f"nothing of {paths.label} was submitted by Roundtable; what a person submitted is cancelled "
            "where it runs (scancel, kill)"
        )
    try:
        polled = tools.launcher().poll([*train, *around])
    except SchedulerUnavailable:
        polled = None
    newest = {item: (attempt, made) for attempt, made in submissions(store, paths, "train") for item in made.items}
    meant = []
    for row in (row for row in manifest.rows if rows is None or row.row in rows):
        result = read_row(paths, manifest, row)
        attempt = newest[row.row][0] if row.row in newest else 0
        # A failure of an earlier attempt is no end: the row may be on its way again.
        if result is None or (result.outcome != "ok" and result.attempt < attempt):
            meant.append(row.row)
    return Target(
        rows=tuple(meant),
        whole=rows is None,
        made=tuple(made for made in (*train, *around) if _active(made, polled, rows)),
        doubtful=tuple(doubtful),
        statuses=None if polled is None else {r: polled[newest[r][1].name, r] for r in meant if r in newest},
    )


def _manifest(store: Store, paths: RoundPaths, rows: Collection[int] | None) -> Manifest:
    if not paths.manifest.exists():
        raise UsageError(f"{paths.label} is not rendered yet: there is nothing to cancel")
    manifest = load_manifest(paths.manifest)
    check_rows(paths, manifest, rows or ())
    return manifest


def check_rows(paths: RoundPaths, manifest: Manifest, rows: Collection[int]) -> None:
    """Raises UsageError for rows that the round does not have, naming those it has."""
    known = [row.row for row in manifest.rows]
    if unknown := sorted(set(rows) - set(known)):
        raise UsageError(f"--rows {compact(unknown)}: {paths.label} has rows {compact(known)}")


def _active(
    made: Submission, polled: Mapping[tuple[str, int], TaskStatus] | None, rows: Collection[int] | None
) -> bool:
    items = [item for item in made.items if rows is None or item in rows]
    return bool(items) and (polled is None or any(polled[made.name, i].state is not State.GONE for i in items))


def in_doubt(store: Store, paths: RoundPaths, tools: Tools) -> list[Submission]:
    """Submissions that were begun and never answered, by name: they may be in the queue, or get there later."""
    intents = [mark for mark in marks(store, paths).values() if isinstance(mark, Intent)]
    if not intents:
        return []
    launcher, folder = tools.launcher(), paths.root.absolute() / "launch"
    return [
        Submission(
            launcher=launcher.name,
            name=intent.name,
            # A queue is known by its folder; SLURM knows a job by its name where nobody has its id.
            job_id=str(folder / intent.name) if launcher.capabilities.queue_folders else "",
            items=(),
            tasks=(),
            cluster=intent.cluster if intent.cluster is not UNSAID else None,
        )
        for intent in intents
    ]


def named(rows: Iterable[int]) -> str:
    """ "row 2" or "rows 0-3,7"."""
    numbers = list(rows)
    return f"row{'' if len(numbers) == 1 else 's'} {compact(numbers)}"


def stop(tools: Tools, target: Target, rows: Collection[int] | None) -> None:
    """Have the launcher stop it. Raises SchedulerUnavailable, LaunchError (a queue of another machine)."""
    made = [*target.made, *(target.doubtful if target.whole else ())]
    if made:
        tools.launcher().cancel(made, items=None if target.whole else tuple(rows or ()))


def obey(store: Store, tools: Tools) -> None:
    """Carry out and journal what people asked for. The caller holds the lease; called first in every tick.

    The tasks are stopped again although the person's own call has done so: rows may have been started since.
    """
    for request in open_requests(store):
        paths = _open_round(store, request)
        if paths is None:
            tools.say(f"a cancellation by {request.by} came too late: {request.folder} is closed")
            settle(store, request)
            continue
        try:
            done = _carry_out(store, tools, paths, request)
        except LaunchError as error:
            tools.say(f"cancelling: {error}; trying again later")
            continue
        if done:
            settle(store, request)


def _open_round(store: Store, request: CancelRequest) -> RoundPaths | None:
    return store.folder(request.folder) if request.folder in store.going() else None


def _carry_out(store: Store, tools: Tools, paths: RoundPaths, request: CancelRequest) -> bool:
    """False where it must wait: which tasks a submission in doubt has is not known yet."""
    if request.rows is not None and halted(store, paths) is not None:
        return True  # all of the round was cancelled since
    target = find_target(store, tools, paths, request.rows)
    if target.doubtful and not target.whole:
        names = ", ".join(one.name for one in target.doubtful)
        tools.say(f"cancelling {named(target.rows)} waits until it is known whether {names} was submitted")
        return False
    if not any(cancelled.request == request.id for cancelled in store.journal.of(Cancelled)):
        store.journal.append(
            Cancelled(
                folder=paths.root.name,
                round=paths.number,
                rows=target.rows,
                whole=target.whole,
                names=tuple(made.name for made in (*target.made, *target.doubtful)),
                who="person",
                by=request.by,
                request=request.id,
            )
        )
        what = "all of it" if target.whole else named(target.rows)
        tools.say(f"{paths.label}: {what} cancelled by {request.by}: {target.describe()}")
    stop(tools, target, request.rows)
    return True


def check_halted(work: Work) -> None:
    """Raises RoundCancelled while a cancelled round waits for a person.

    What was in doubt when it was cancelled may reach the queue only now: it is stopped again at every look.
    """
    if halted(work.store, work.paths) is None:
        return
    if doubtful := in_doubt(work.store, work.paths, work.tools):
        with suppress(LaunchError):
            work.tools.launcher().cancel(doubtful)
    raise RoundCancelled(halted_text(work.store, work.paths))
