"""What of a round was handed to a launcher, and what is in doubt, as the journal has it."""

from __future__ import annotations

from pathlib import Path

from agent.launch.base import State, Submission
from agent.launch.catalogue import capabilities_of
from agent.launch.profile import Kind
from agent.orchestrator.work import Tools
from agent.store.events import Deferred, Intent, Interrupted, Refused, Submitted
from agent.store.paths import RoundPaths
from agent.store.store import Store

KINDS: tuple[Kind, ...] = ("prepare", "train", "eval")
"""Every kind of array that a round hands over, in the order in which they run."""

MARKS = (Intent, Refused, Deferred, Submitted)
"""What the journal says of a submission by its name; the newest counts."""
Mark = Intent | Refused | Deferred | Submitted


def submission_of(made: Submitted, *, study: Path) -> Submission:
    """As its launcher knows it. study: its folder now; queues that are folders move with it.

    Raises UsageError for a launcher that is not there any more.
    """
    queue = study.absolute() / made.folder / "launch" / made.name
    return Submission(
        launcher=made.launcher,
        name=made.name,
        job_id=str(queue) if capabilities_of(made.launcher).queue_folders else made.job_id,
        items=made.items,
        tasks=made.tasks,
        cluster=made.cluster,
        submitted_at=made.submitted_at,
    )


def submissions(store: Store, paths: RoundPaths, kind: str) -> list[tuple[int, Submission]]:
    """What was submitted for a round, oldest first, each with its attempt number."""
    return [
        (made.attempt, submission_of(made, study=store.paths.root))
        for made in store.journal.of(Submitted, folder=paths.root.name)
        if made.kind == kind
    ]


def marks(store: Store, paths: RoundPaths) -> dict[str, Mark]:
    """Name -> the newest that the journal says of it, for all of a round's submissions."""
    return {mark.name: mark for mark in store.journal.of(*MARKS, folder=paths.root.name)}


def begun(store: Store, paths: RoundPaths, *, by_hand: bool = True) -> bool:
    """Whether any row of this round was handed over: an intent of ours, or (by_hand) a task that claimed one."""
    if any(isinstance(mark, Intent | Submitted) for mark in marks(store, paths).values()):
        return True
    return by_hand and any((paths.root / "trials").glob("*/attempt_*/claim.json"))


def active(store: Store, paths: RoundPaths, tools: Tools) -> bool:
    """Whether a task of this round may still do something, as far as its launcher knows."""
    made = [submission for kind in KINDS for _, submission in submissions(store, paths, kind)]
    if not made:
        return False
    return any(status.state is not State.GONE for status in tools.launcher().poll(made).values())


def interrupted(store: Store) -> set[str]:
    """Names of the submissions that Ctrl-C stopped: their rows go on with the next call, and cost no attempt."""
    return {name for event in store.journal.of(Interrupted) for name in event.names}


def interrupt(store: Store, paths: RoundPaths, tools: Tools) -> list[Submission]:
    """Stop those tasks of a round that Ctrl-C ends (the local launcher's), journaled first.

    Returns the submissions that go on: a cluster's.
    """
    made = [submission for kind in KINDS for _, submission in submissions(store, paths, kind)]
    ending = [submission for submission in made if not submission.capabilities.survives_caller]
    if ending:
        polled = tools.launcher().poll(ending)
        going = {name for (name, _), status in polled.items() if status.state is not State.GONE}
        store.journal.append(Interrupted(folder=paths.root.name, names=tuple(sorted(going))))
        tools.launcher().cancel(ending)
    return [submission for submission in made if submission.capabilities.survives_caller]
