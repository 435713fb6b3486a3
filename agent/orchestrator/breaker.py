"""The circuit breaker: a study whose submissions or starts fail again and again is paused with the reason.

It is told from the journal alone, so it holds across processes, nodes and kills. While it is open nothing is
submitted; what runs goes on and is collected. A person mends the cause and calls with --resume.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent.errors import StudyPaused
from agent.records import Outcome
from agent.store.journal import Journal
from agent.store.store import Store

FAILED_SUBMISSIONS = 10
"""So many refusals in a row. Want of room in the queue is none: it defers a submission (launch/sbatch.py)."""
FAILED_STARTS = 3
"""So many arrays in a row of which not one row came as far as claiming its row: set-up, environment, file system."""

Entry = dict[str, Any]


def paused(journal: Journal) -> Entry | None:
    """The journal's entry of the pause that stands, or None."""
    last = journal.last("paused", "resumed")
    return last if last is not None and last["event"] == "paused" else None


def trip(store: Store) -> Entry | None:
    """Pause the study if the journal says so; the pause that stands, new or old, or None."""
    standing = paused(store.journal)
    if standing is None and (reason := _reason(store.journal)) is not None:
        return store.journal.append("paused", reason=reason)
    return standing


def check(store: Store) -> None:
    """Called before anything is submitted. Raises StudyPaused with the reason and what to do."""
    if (standing := trip(store)) is not None:
        raise StudyPaused(paused_text(store, standing))


def resume(store: Store, *, by: str) -> bool:
    """Close the breaker; the counts begin anew. False where the study was not paused."""
    if paused(store.journal) is None:
        return False
    store.journal.append("resumed", by=by)
    return True


def paused_text(store: Store, standing: Entry) -> str:
    """What a person reads."""
    return (
        f"the study is paused: {standing['reason']}. What runs is collected, nothing is submitted. Mend the cause, "
        f"then call `roundtable start --study {store.paths.root} --resume`, or `roundtable tune ... --resume`"
    )


def _reason(journal: Journal) -> str | None:
    """Why the study is to be paused, from what was journaled since a person last resumed it."""
    resumed = journal.last("resumed")
    since = resumed["seq"] if resumed is not None else 0
    recent = [
        entry
        for entry in journal.of("submitted", "refused", "outcome", "closed", "confirmed")
        if entry["seq"] > since
    ]
    refusals = _refusals(recent)
    if len(refusals) >= FAILED_SUBMISSIONS:
        return f"{len(refusals)} submissions in a row were refused, the last with: {refusals[-1]['message']}"
    starts = _failed_starts(recent)
    if len(starts) >= FAILED_STARTS:
        names = ", ".join(entry["job_id"] for entry in starts[-FAILED_STARTS:])
        said = next(e for e in reversed(recent) if e["event"] == "outcome" and e["outcome"] == Outcome.LAUNCH_FAIL)
        return f"{len(starts)} arrays in a row ({names}) started not one row, the last with: {said['evidence']}"
    return None


def _refusals(recent: Sequence[Entry]) -> list[Entry]:
    """The refusals since the last submission that was taken."""
    found: list[Entry] = []
    for entry in recent:
        if entry["event"] == "refused":
            found.append(entry)
        elif entry["event"] == "submitted":
            found = []
    return found


def _failed_starts(recent: Sequence[Entry]) -> list[Entry]:
    """The training arrays in a row, up to the newest one that was judged, none of whose rows started.

    One bad node that swallows many rows of an array is no reason to stop: the others start, and the retries avoid it.
    """
    failed: dict[tuple[str, int], set[int]] = {}
    for entry in recent:
        if entry["event"] == "outcome" and entry["outcome"] == Outcome.LAUNCH_FAIL:
            failed.setdefault((entry["folder"], entry["attempt"]), set()).add(entry["row"])
    over = {entry["folder"] for entry in recent if entry["event"] in ("closed", "confirmed")}
    judged = {(e["folder"], e["attempt"]) for e in recent if e["event"] == "outcome"}
    found: list[Entry] = []
    for entry in recent:
        if entry["event"] != "submitted" or entry["kind"] != "train":
            continue
        wave = (entry["folder"], entry["attempt"])
        if set(entry["items"]) <= failed.get(wave, set()):
            found.append(entry)
        elif wave in judged or entry["folder"] in over:
            found = []
    return found
