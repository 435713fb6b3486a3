"""Where a task's output goes: one rule for every launcher, so that anyone who has a submission finds its logs."""

from __future__ import annotations

from pathlib import Path

from agent.errors import UsageError
from agent.launch import options
from agent.launch.base import Submission


def log_file(round_dir: Path, submission: Submission, item: int) -> Path:
    """round_dir/logs/<batch name>_<task id>.log: stdout and stderr of one task."""
    task = submission.tasks[submission.items.index(item)]
    return round_dir / "logs" / f"{submission.name}_{task}.log"


def sbatch_pattern(round_dir: Path) -> str:
    """The same as sbatch's --output. Raises UsageError for a folder that SLURM cannot write patterns into."""
    try:
        return options.log_pattern(str(round_dir / "logs"))
    except ValueError as error:
        raise UsageError(f"{round_dir}: {error}") from error
