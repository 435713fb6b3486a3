"""How long tasks took, from accounting's records. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agent.launch.base import State, Submission
from agent.launch.states import Record, state_of


def seconds_by_task(
    submissions: Sequence[Submission], records: Iterable[Record], *, tolerance_s: float
) -> dict[tuple[str, int], float]:
    """Seconds that all runs of each ended task took together, by (submission name, item).

    records: one per run (sacct -D): a requeued task has several. A task whose newest run has not ended is left out,
    and so are records from before the submission (less tolerance_s): SLURM reuses ids, and another job must not be
    charged here.
    """
    runs: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        runs.setdefault((record.name, record.task), []).append(record)
    found = {}
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
                found[submission.name, item] = sum(times)
    return found
