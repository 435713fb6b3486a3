"""What every launcher does: start one array of tasks, find it again, say how its tasks stand, stop them.

A launcher never says whether a task succeeded: results on disk do. It only says whether a task may still be
running, which is why `GONE` covers finished, failed and killed alike.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from agent.launch.catalogue import Capabilities, capabilities_of


@dataclass(frozen=True, kw_only=True)
class SlurmSettings:
    """What a job asks of the cluster. The same object feeds the #SBATCH header, submitit and the dry run."""

    directives: tuple[tuple[str, str | None], ...] = ()
    """Long option names without dashes and their values, in order: ("partition", "gpu"), ("exclusive", None)."""


def say_on_stderr(line: str) -> None:
    """Where troubles are told that nobody else asked for."""
    sys.stderr.write(f"{line}\n")


@dataclass(frozen=True, kw_only=True)
class LaunchSettings:
    """What a study, its profile and this call give to whichever launcher is made."""

    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    """This process's, less the variables that hold keys. What tasks inherit of it: environment.scrub."""
    workers: int | None = None
    """Tasks at a time, where the launcher starts them itself; None: as many as fit."""
    cpus_per_task: int = 1
    gpus: tuple[str, ...] = ()
    """GPUs of this machine that may be handed out, as CUDA_VISIBLE_DEVICES names them."""
    gpus_per_task: int = 0
    poll_s: float = 60.0
    """Least seconds between two questions to a service that others share."""
    memory: Path | None = None
    """A file of the study in which the launcher may remember what it saw, from one process to the next."""
    cluster: str | None = None
    """Which of several clusters the profile names."""
    say: Callable[[str], None] = say_on_stderr
    """Told what a person should know and no error says."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One array that was handed over. Everything here is journaled, so that any later process can go on."""

    launcher: str
    name: str
    """The unique job name that the intent was journaled with."""
    job_id: str
    """The array's id as its launcher knows it: SLURM's job id ("123"), or the queue's folder."""
    items: tuple[int, ...]
    """Rows (train) or candidate positions (eval), ascending."""
    tasks: tuple[str, ...]
    """For each item the id that the launcher's state reader knows it by ("123_4")."""
    cluster: str | None = None
    submitted_at: float = 0.0
    """Seconds since the epoch, by this machine's clock, just before submitting."""

    @property
    def capabilities(self) -> Capabilities:
        """Of the launcher that it was handed over to. Raises UsageError for one that is not there any more."""
        return capabilities_of(self.launcher)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One array to start: `bash script ITEM ATTEMPT` for each item, at most `parallel` at a time."""

    name: str
    kind: str
    """"prepare", "train" or "eval"."""
    round_dir: Path
    script: Path
    """The body, train_<task>_roundN.sh or eval_<task>_roundN.sh."""
    array_script: Path
    """The .slurm around it (header and index lookup); takes OFFSET and ATTEMPT as its arguments."""
    items: tuple[int, ...]
    attempt: int = 1
    parallel: int | None = None
    after: tuple[Submission, ...] = ()
    """Start only when all of these are gone, however they ended (afterany)."""
    settings: SlurmSettings = field(default_factory=SlurmSettings)

    def __post_init__(self) -> None:
        if not self.items or list(self.items) != sorted(set(self.items)) or self.items[0] < 0:
            raise ValueError(f"a batch needs items, ascending and from 0; got {self.items[:5]}")


class State(StrEnum):
    """Whether a task may still do something."""

    PENDING = "pending"
    RUNNING = "running"
    GONE = "gone"
    UNKNOWN = "unknown"
    """The launcher cannot tell now (accounting late, scheduler busy): neither running nor gone; ask again."""


@dataclass(frozen=True, kw_only=True)
class TaskStatus:
    """How one task stands, with the scheduler's own words for a person."""

    state: State
    raw: str = ""
    """SLURM's state as it stood, e.g. "OUT_OF_MEMORY" or "CANCELLED by 1000"."""
    reason: str = ""
    """Why it is pending, if it is."""
    exit_code: str = ""
    node: str = ""
    elapsed_s: float | None = None
    ended: float | None = None
    """When it ended, in seconds since the epoch; None where nobody tells."""
    absent: bool = False
    """The queue does not show it, and nobody knows yet how it ended."""


class Launcher(Protocol):
    """One way of running arrays. All implementations pass tests/cases/launcher_case.py."""

    @property
    def name(self) -> str:
        """As `--launcher` names it, e.g. "local"."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do, and how its tasks behave."""

    def submit(self, batch: Batch) -> Submission:
        """Start the array.

        Raises LaunchError (refused: fix something), SchedulerUnavailable (not submitted, ask again later) or
        AmbiguousSubmission (may have been submitted: `find` it before trying again).
        """

    def find(self, batch: Batch) -> Submission | None:
        """The submission with this batch's name, if the launcher knows one (running or finished)."""

    def poll(self, submissions: Sequence[Submission]) -> Mapping[tuple[str, int], TaskStatus]:
        """The status of every task, keyed by (submission name, item). One batched query however many tasks.

        Raises SchedulerUnavailable when the scheduler does not answer.
        """

    def cancel(self, submissions: Sequence[Submission], *, items: Collection[int] | None = None) -> None:
        """Ask every task to stop (SIGTERM first, so that trainers may save a checkpoint); tasks that are gone are no
        error. items: only these of each submission.

        A submission without tasks stands for one that is in doubt: what runs under its name is stopped.
        """

    def largest_index(self) -> int | None:
        """The largest array index allowed (MaxArraySize - 1), or None when there is no limit."""

    def elapsed(self, submissions: Sequence[Submission], *, ask: bool = True) -> Mapping[tuple[str, int], float]:
        """Seconds that all runs of each ended task took together (a requeued task has several).

        Tasks that have not ended, or that accounting does not know (yet), are left out. At most one query, and none
        when one was made lately or, not `ask`, where a `poll` follows: that one asks for these tasks as well. Raises
        SchedulerUnavailable.
        """

    def held(self, submissions: Sequence[Submission]) -> Mapping[tuple[str, int], Mapping[str, float]]:
        """CPU-seconds ("cpu") and GPU-seconds ("gpu") that ended tasks were allocated, where accounting tells.

        Of what the last `elapsed` told; nothing is asked. A site may allocate more than was asked for.
        """

    def test_only(self, batch: Batch) -> str | None:
        """What the scheduler says to this submission without taking it (`sbatch --test-only`): its estimated start.

        None where there is no scheduler to ask. Raises LaunchError (refused) and SchedulerUnavailable.
        """
