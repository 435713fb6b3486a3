"""Writing down why tasks are pending, so that `status`, which asks no scheduler, can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agent.launch.base import State, TaskStatus
from agent.launch.reasons import Need, around_line, explain, grouped, job_list
from agent.launch.states import compact
from agent.orchestrator.training.submissions import submissions
from agent.orchestrator.work import Around, Work
from trainers.files import FileProblem, read_json_object


def note(work: Work, progress: Mapping[int, TaskStatus], around: Sequence[Around] = ()) -> None:
    """Write pending.json when the reasons are other ones than before, not at every look."""
    groups: list[dict[str, Any]] = [
        {"reason": one.explanation.reason, "count": len(one.items), "rows": compact(one.items)}
        | _jobs(work, one.items if one.explanation.need is Need.ACTION else ())
        for one in grouped(progress)
    ]
    groups += [
        {"kind": kind, "job": job, "reason": reason, "count": count, "rows": "", "cluster": cluster}
        for (kind, job, reason, cluster), count in _waiting(around).items()
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
    waiting = [(kind, job, explain(reason), cluster) for kind, job, reason, cluster in _waiting(around)]
    return [around_line(kind, job, why, on) for kind, job, why, on in waiting if why.need is Need.ACTION]


def _jobs(work: Work, rows: Sequence[int]) -> dict[str, Any]:
    """Ids of the newest tasks of these rows, as scontrol takes them, and the cluster that they are on."""
    if not rows:
        return {}
    made = [one for _, one in submissions(work.store, work.paths, "train")]
    tasks = {item: task for one in made for item, task in zip(one.items, one.tasks, strict=True)}
    cluster = {item: one.cluster for one in made for item in one.items}
    known = [row for row in rows if row in tasks]
    # A round stays on one cluster.
    return {"jobs": job_list(tasks[row] for row in known), "cluster": cluster[known[0]]} if known else {}


def _waiting(around: Sequence[Around]) -> dict[tuple[str, str, str, str | None], int]:
    """Pending tasks by (kind, job, reason, cluster). That they wait for others of the round is no news."""
    found: dict[tuple[str, str, str, str | None], int] = {}
    for one in around:
        reason = " ".join(one.status.reason.split())
        if one.status.state is State.PENDING and reason not in ("", "Dependency"):
            key = (one.kind, one.job_id, reason, one.cluster)
            found[key] = found.get(key, 0) + 1
    return found
