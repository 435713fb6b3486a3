"""Writing down why rows are pending, so that `status`, which asks no scheduler, can tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.launch.base import TaskStatus
from agent.launch.reasons import grouped
from agent.launch.states import compact
from agent.orchestrator.context import Work
from trainers.files import FileProblem, read_json_object


def note(work: Work, progress: Mapping[int, TaskStatus]) -> None:
    """Write pending.json when the reasons are other ones than before, not at every look."""
    groups: list[dict[str, Any]] = [
        {"reason": one.explanation.reason, "count": len(one.items), "rows": compact(one.items)}
        for one in grouped(progress)
    ]
    path = work.paths.pending
    try:
        before: Any = read_json_object(path)["groups"]
    except (FileProblem, KeyError):
        before = []
    if groups != before:
        work.store.disk.write_json(path, {"at": work.store.clock().isoformat(timespec="seconds"), "groups": groups})
