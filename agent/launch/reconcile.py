"""How tasks stand, by what squeue and sacct show of them. Nothing is asked here.

A task in neither is not taken for done: its absence starts a deadline, and only then it counts as lost.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from agent.launch.base import State, Submission, TaskStatus
from agent.launch.states import Record, state_of
from trainers.files import read_regular, write_atomic

#: Login node and controller may disagree about the time by this much before a Submit time proves an id reused.
CLOCK_TOLERANCE_S = 300.0

Key = tuple[str, int]
"""A submission's name and an item."""


class Absences:
    """Since when what is missing is missing, in seconds since the epoch.

    memory: a JSON file for that, so that ticks of a few seconds each (cron) reach a deadline too and say a trouble
    once; None keeps it in this process only.
    """

    def __init__(self, memory: Path | None, say: Callable[[str], None]) -> None:
        self._memory, self._say = memory, say
        self._since: dict[str, float] | None = None

    def _known(self) -> dict[str, float]:
        if self._since is None:
            self._since = {}
            if self._memory is not None:
                try:
                    stored = json.loads(read_regular(self._memory))
                    self._since = {str(key): float(value) for key, value in stored.items()}
                except (OSError, ValueError, AttributeError, TypeError):
                    pass  # not there yet, or torn: the deadlines begin anew, which only costs time
        return self._since

    def __contains__(self, name: str) -> bool:
        return name in self._known()

    def since(self, name: str, now: float) -> float:
        """Since when it is missing, which is now where it was not before."""
        return min(self._known().setdefault(name, now), now)

    def end(self, name: str) -> bool:
        """It is there. Whether it was missing."""
        return self._known().pop(name, None) is not None

    def save(self) -> None:
        if self._memory is None or (not self._known() and not self._memory.exists()):
            return
        text = json.dumps(self._known(), sort_keys=True)
        try:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._memory, text, sync=False)
        except OSError as error:
            self._say(f"cannot remember which tasks are missing in {self._memory}: {error}")


def reconcile(
    submissions: Sequence[Submission],
    queue: Iterable[Record],
    history: Iterable[Record],
    *,
    before: Mapping[Key, TaskStatus],
    absences: Absences,
    patience_s: float,
    now: float,
) -> dict[Key, TaskStatus]:
    """Every task's status. queue, history: what squeue and sacct show. before: what was known until now.
    patience_s: how long an absent task is waited for."""
    active: dict[tuple[str, str], Record] = {}
    duplicates: dict[tuple[str, str], Record] = {}
    for record in queue:
        active[record.name, record.task] = record
        if state_of(record.raw) is not State.GONE:
            duplicates[record.name, _index(record.task)] = record
    past: dict[tuple[str, str], Record] = {}
    for record in history:
        task = (record.name, record.task)
        if task not in past or (record.submitted or 0) >= (past[task].submitted or 0):
            past[task] = record
    result: dict[Key, TaskStatus] = {}
    for submission in submissions:
        for item, task_id in zip(submission.items, submission.tasks, strict=True):
            # The unique name beside the id: SLURM reuses ids, and the other job must not speak for this one.
            shown = _of_it(active.get((submission.name, task_id)), submission)
            ended = _of_it(past.get((submission.name, task_id)), submission)
            key = (submission.name, item)
            status = _judge(key, shown, ended, before.get(key), absences, patience_s, now)
            # An array that was submitted twice: whichever task came first has the row, and must have ended too.
            duplicate = _of_it(duplicates.get((submission.name, _index(task_id))), submission)
            if duplicate is not None and status.state in (State.GONE, State.UNKNOWN):
                status = _status(duplicate)
            result[key] = status
    return result


def _judge(
    key: Key,
    shown: Record | None,
    ended: Record | None,
    before: TaskStatus | None,
    absences: Absences,
    patience_s: float,
    now: float,
) -> TaskStatus:
    """shown: what squeue has of the task. ended: what sacct has of it."""
    label = f"{key[0]} {key[1]}"
    over = ended is not None and state_of(ended.raw) is State.GONE
    if shown is not None or over:
        absences.end(label)
    if shown is not None:
        status = _status(shown)
        if status.state is not State.GONE or not over:
            return status
    if ended is not None and over:
        return _status(ended)  # where squeue shows the end too: with exit code and the steps' OUT_OF_MEMORY
    if before is not None and before.state is State.GONE:
        return before  # squeue showed its end and has forgotten it since
    missing_s = now - absences.since(label, now)
    if missing_s < patience_s:
        said = f"sacct says {ended.raw}" if ended else "in neither squeue nor sacct"
        return TaskStatus(state=State.UNKNOWN, raw=ended.raw if ended else "", reason=said, absent=True)
    return TaskStatus(state=State.GONE, raw="LOST", reason=f"missing from SLURM for {missing_s:.0f} s")


def _index(task: str) -> str:
    """The array index of "123_4"; empty for a job that is no array."""
    return task.partition("_")[2]


def _of_it(record: Record | None, submission: Submission) -> Record | None:
    """The record, unless it is of another job that had the id before."""
    if record is None or record.submitted is None:
        return record
    return record if record.submitted >= submission.submitted_at - CLOCK_TOLERANCE_S else None


def _status(record: Record) -> TaskStatus:
    status = TaskStatus(
        state=state_of(record.raw),
        raw=record.raw,
        exit_code=record.exit_code,
        node=record.node,
        elapsed_s=record.elapsed_s,
        ended=record.ended,
    )
    if status.state is State.PENDING:
        return replace(status, reason=record.reason)
    if status.state is State.UNKNOWN:
        return replace(status, reason="a SLURM state this version does not know")
    return status
