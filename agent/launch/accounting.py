"""How long tasks took and what they held, from accounting's records. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from agent.launch.base import State, Submission
from agent.launch.states import Record, state_of


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Of all runs of an ended task together."""

    seconds: float
    held: Mapping[str, float]
    """CPU-seconds ("cpu") and GPU-seconds ("gpu") that they were allocated; without what accounting does not tell for
    each run. A site may raise what a job asked for: to a whole node (--exclusive), to the CPUs that its memory costs
    (MaxMemPerCPU), to whole cores."""


def usage_by_task(
    submissions: Sequence[Submission], records: Iterable[Record], *, tolerance_s: float
) -> dict[tuple[str, int], Usage]:
    """By (submission name, item).

    records: one per run (sacct -D): a requeued task has several. A task whose newest run has not ended is left out,
    and so are records from before the submission (less tolerance_s): SLURM reuses ids, and another job must not be
    charged here.
    """
    found = {}
    for key, runs in _ended(submissions, records, tolerance_s=tolerance_s):
        held = {}
        for resource, counts in (("cpu", [run.cpus for run in runs]), ("gpu", [run.gpus for run in runs])):
            times = zip(runs, counts, strict=True)
            parts = [(run.elapsed_s or 0.0) * count for run, count in times if count is not None]
            if len(parts) == len(runs):
                held[resource] = sum(parts)
        found[key] = Usage(seconds=sum(run.elapsed_s or 0.0 for run in runs), held=held)
    return found


def _ended(
    submissions: Sequence[Submission], records: Iterable[Record], *, tolerance_s: float
) -> Iterator[tuple[tuple[str, int], list[Record]]]:
    """The runs of each task whose newest run has ended, by (submission name, item)."""
    runs: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        runs.setdefault((record.name, record.task), []).append(record)
    for submission in submissions:
        since = submission.submitted_at - tolerance_s
        for item, task in zip(submission.items, submission.tasks, strict=True):
            ours = [
                run
                for run in runs.get((submission.name, task), ())
                if run.submitted is None or run.submitted >= since
            ]
            times = [run.elapsed_s for run in ours if run.elapsed_s is not None]
            if not ours or len(times) < len(ours):
                continue
            # Of runs submitted in the same second, sacct lists the newest last.
            newest = max(enumerate(ours), key=lambda pair: (pair[1].submitted or 0.0, pair[0]))[1]
            if state_of(newest.raw) is State.GONE:
                yield (submission.name, item), ours
