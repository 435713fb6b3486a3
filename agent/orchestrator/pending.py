"""Writing down why tasks are pending, so that `status`, which asks no scheduler, can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agent.launch.base import State, TaskStatus
from agent.launch.reasons import Need, around_line, explain, grouped
from agent.launch.states import compact
from agent.orchestrator.context import Around, Work
from trainers.files import FileProblem, read_json_object


def note(work: Work, progress: Mapping[int, TaskStatus], around: Sequence[Around] = ()) -> None:
    """Write pending.json when the reasons are other ones than before, not at every look."""
    groups: list[dict[str, Any]] = [
        {"reason": one.explanation.reason, "count": len(one.items), "rows": compact(one.items)}
        for one in grouped(progress)
    ]
    groups += [
        {"kind": kind, "job": job, "reason": reason, "count": count, "rows": ""}
        for (kind, job, reason), count in _waiting(around).items()
    ]
    path = work.paths.pending
    try:
        before: Any = read_json_object(path)["groups"]
    except (FileProblem, KeyError):
        before = []
    if groups != before:
        work.store.disk.write_json(path, {"at": work.store.clock().isoformat(timespec="seconds"), "groups": groups})


def lines(around: Sequence[Around]) -> list[str]:
    """What of a round's preparation and evaluation somebody has to look after."""
    waiting = [(kind, job, explain(reason)) for kind, job, reason in _waiting(around)]
    return [around_line(kind, job, why) for kind, job, why in waiting if why.need is Need.ACTION]


def _waiting(around: Sequence[Around]) -> dict[tuple[str, str, str], int]:
    """Pending tasks by (kind, job, reason). That they wait for others of the round is no news."""
    found: dict[tuple[str, str, str], int] = {}
    for one in around:
        reason = " ".join(one.status.reason.split())
        if one.status.state is State.PENDING and reason not in ("", "Dependency"):
            key = (one.kind, one.job_id, reason)
            found[key] = found.get(key, 0) + 1
    return found
