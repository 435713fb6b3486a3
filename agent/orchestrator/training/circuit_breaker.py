"""The circuit breaker: a study whose submissions or starts fail again and again is paused with the reason.

It is told from the journal alone, so it holds across processes, nodes and kills. While it is open nothing is
submitted; what runs goes on and is collected. A person mends the cause and calls with --resume. Where rows did not
begin, or a round closed on nothing, a person's `tune` or `start` is enough: they were told, and call again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

from agent.errors import StudyPaused
from agent.records import Outcome
from agent.store.events import AttemptEnded, Confirmed, Event, Paused, Refused, Resumed, RoundClosed, Submitted
from agent.store.journal import Journal
from agent.store.store import Store

FAILED_SUBMISSIONS = 10
"""So many refusals in a row. Want of room in the queue is none: it defers a submission (launch/sbatch.py)."""
FAILED_STARTS = 3
"""So many arrays in a row of which not one row came as far as claiming its row: set-up, environment, file system."""

REFUSALS, STARTS, NOTHING = "refusals", "starts", "nothing"
"""What a study was paused for."""


def paused(journal: Journal) -> Paused | None:
    """The pause that stands, or None."""
    last = journal.last(Paused, Resumed)
    return last if isinstance(last, Paused) else None


def trip(store: Store) -> Paused | None:
    """Pause the study if the journal says so; the pause that stands, new or old, or None."""
    standing = paused(store.journal)
    if standing is None and (found := _reason(store.journal)) is not None:
        return pause(store, *found)
    return standing


def pause(store: Store, kind: str, reason: str) -> Paused:
    """Open the breaker."""
    return store.journal.append(Paused(kind=kind, reason=reason))


def check(store: Store) -> None:
    """Called before anything is submitted. Raises StudyPaused with the reason and what to do."""
    if (standing := trip(store)) is not None:
        raise StudyPaused(paused_text(store, standing))


def check_cause(store: Store) -> None:
    """Called before a round is opened: none after one that closed on nothing. Raises StudyPaused."""
    standing = paused(store.journal)
    if standing is not None and standing.kind == NOTHING:
        raise StudyPaused(paused_text(store, standing))


def is_lifted_by_a_call(standing: Paused) -> bool:
    """Whether a person's own call is enough to go on: they were told why rows did not begin, or why a round closed on
    nothing. Refused submissions need --resume, because each further one would be sent to the cluster."""
    return standing.kind in (STARTS, NOTHING)


def resume(store: Store, *, by: str) -> bool:
    """Close the breaker; the counts begin anew. False where the study was not paused."""
    if paused(store.journal) is None:
        return False
    store.journal.append(Resumed(by=by))
    return True


def paused_text(store: Store, standing: Paused) -> str:
    """What a person reads."""
    again = "the same `tune` or `start` again does, or " if is_lifted_by_a_call(standing) else ""
    return (
        f"the study is paused: {standing.reason}. What runs is collected, nothing is submitted. Mend the cause, "
        f"then go on: {again}`{store.start_command('--resume')}`, or `{store.tune_command('--resume')}`"
    )


def _reason(journal: Journal) -> tuple[str, str] | None:
    """What for and why the study is to be paused, from what was journaled since a person last resumed it."""
    resumed = journal.last(Resumed)
    since = resumed.seq if resumed is not None else 0
    events = journal.of(Submitted, Refused, AttemptEnded, RoundClosed, Confirmed)
    recent = [event for event in events if event.seq > since]
    refusals = _refusals(recent)
    if len(refusals) >= FAILED_SUBMISSIONS:
        return (
            REFUSALS,
            f"{len(refusals)} submissions in a row were refused, the last with: {refusals[-1].message}",
        )
    starts = _failed_starts(recent)
    if len(starts) >= FAILED_STARTS:
        names = ", ".join(made.job_id for made in starts[-FAILED_STARTS:])
        said = next(ended for ended in reversed(recent) if _failed_start(ended))
        return STARTS, f"{len(starts)} arrays in a row ({names}) started not one row: {_start_words(said)}"
    return None


def _start_words(ended: AttemptEnded) -> str:
    """An environment that is broken for whole arrays is no node's fault."""
    return ended.environment.remedy if ended.environment is not None else ended.evidence


def _refusals(recent: Sequence[Event]) -> list[Refused]:
    """The refusals since the last submission that was taken."""
    found: list[Refused] = []
    for event in recent:
        if isinstance(event, Refused):
            found.append(event)
        elif isinstance(event, Submitted):
            found = []
    return found


def _failed_start(event: Event) -> TypeGuard[AttemptEnded]:
    return isinstance(event, AttemptEnded) and event.outcome is Outcome.LAUNCH_FAIL


def _failed_starts(recent: Sequence[Event]) -> list[Submitted]:
    """The training arrays in a row, up to the newest one that was judged, none of whose rows started.

    One bad node that swallows many rows of an array is no reason to stop: the others start, and the retries avoid it.
    """
    failed: dict[tuple[str, int], set[int]] = {}
    for event in recent:
        if _failed_start(event):
            failed.setdefault((event.folder, event.attempt), set()).add(event.row)
    over = {event.folder for event in recent if isinstance(event, RoundClosed | Confirmed)}
    judged = {(event.folder, event.attempt) for event in recent if isinstance(event, AttemptEnded)}
    found: list[Submitted] = []
    for event in recent:
        if not isinstance(event, Submitted) or event.kind != "train":
            continue
        wave = (event.folder, event.attempt)
        if failed.get(wave, set()).issuperset(event.items):
            found.append(event)
        elif wave in judged or event.folder in over:
            found = []
    return found
