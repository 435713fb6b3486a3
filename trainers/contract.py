"""The contract between Roundtable and a trainer: what it is told, what it returns, how it fails.

A trainer is a module with

    def train(spec: TrialSpec, control: Control) -> TrialResult
    def test(spec: TrialSpec, control: Control) -> TrialResult        # only where RegisteredTrainer.has_test

`train` reads `spec.values`, works only inside `spec.out`, and returns its validation metrics. It raises BadConfig
for settings it refuses or that diverge, OutOfMemory when the smallest batch does not fit, and Interrupted after
saving a checkpoint because `control.stop` was requested. Anything else it raises is recorded as a crash.
`test` evaluates the checkpoint of a finished attempt (`spec.out`) on the test set, for the report only.

Standard library only: this file is imported on login nodes and in every training environment.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

Value = str | int | float | bool

#: How a row ended, as far as the task itself can tell. The orchestrator adds the scheduler's view.
TASK_OUTCOMES = ("ok", "bad_config", "gpu_oom", "crashed")


class TrainerError(Exception):
    """Base of what a trainer raises on purpose."""


class BadConfig(TrainerError):
    """The settings are refused, or training with them diverged. Knowledge for the proposer, not a score."""


class DataProblem(TrainerError):
    """The person's data is missing, broken or too large; the message says which file and what to do."""


class OutOfMemory(TrainerError):
    """Accelerator memory did not suffice even at the smallest batch allowed."""


class Interrupted(TrainerError):
    """Stopped by a signal after saving a checkpoint; a later attempt goes on from it."""


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """Everything one task is told."""

    study: str
    task: str
    """The person's name for the data set or problem, e.g. "digits"."""
    trainer: str
    round: int
    candidate: str
    row: int
    fold: int
    folds: int
    """How many folds the data is split into; 1 means one held-out validation split."""
    seed: int
    attempt: int
    values: Mapping[str, Value]
    """The hyperparameters, by the reference's names: active_value where there is one, else default."""
    reference: Path
    """The candidate's own reference file, whose sha256 the manifest fixed."""
    out: Path
    """The attempt's folder; the only place a trainer writes."""
    previous: Path | None = None
    """The folder of the last attempt that left a checkpoint, or None."""
    earlier: tuple[Path, ...] = ()
    """Older folders that may hold a checkpoint, in the order to try where that of `previous` is damaged."""
    epochs: int | None = None
    """The training budget in epochs; None leaves it to the trainer's own default for the task."""
    trainer_file: Path | None = None
    """The frozen description (JSON) of a trainer that a person brought as YAML; None for a built-in one."""
    data: Mapping[str, Value] = field(default_factory=dict)
    """Where the data is and how it is read, e.g. {"path": "..."}; the trainer documents its keys."""
    save_every: int = 1
    """Epochs between the checkpoints that a later attempt goes on from; one is also due at a stop and at the end."""
    cpus: int = 1
    gpus: int = 0
    objective: str
    direction: str
    """"minimize" or "maximize"."""


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What a trainer measured on one split."""

    metrics: Mapping[str, float]
    """Finite numbers by name; those of train() must hold the objective."""
    directions: Mapping[str, str]
    """For each metric "minimize" or "maximize"."""
    samples: int | None = None
    """How many cases the metrics were computed on."""
    per_class: Mapping[str, Mapping[str, float | None]] | None = None
    """Per class name its metrics; None where the class does not occur."""
    per_case: Sequence[Mapping[str, object]] | None = None
    effective: Mapping[str, Value] = field(default_factory=dict)
    """Values really used where they differ from what was asked (e.g. a batch size lowered for memory)."""
    notes: Mapping[str, object] = field(default_factory=dict)
    """Anything else worth keeping: parameters, epochs run, oom_adjusted, ..."""
    epochs_run: int | None = None

    def __post_init__(self) -> None:
        for name, value in self.metrics.items():
            if not math.isfinite(value):
                raise BadConfig(f"the metric {name} is {value}: training diverged or the metric is undefined")
            if self.directions.get(name) not in ("minimize", "maximize"):
                raise ValueError(f"metric {name} needs a direction, minimize or maximize")


class StopFlag:
    """Set by SIGTERM and SIGUSR2/SIGUSR1 (schedulers' warnings); a trainer looks at it between steps.

    The handler only sets the flag: saving inside a handler would run between two arbitrary bytecodes.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)

    def __init__(self) -> None:
        self.signal: int | None = None
        self.outdated = False
        """Whether somebody else trains the row by now."""
        self._newer: Callable[[], bool] | None = None
        self._every_s = self._next_look = 0.0

    @property
    def requested(self) -> bool:
        if self._newer is not None and not self.outdated and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + self._every_s
            self.outdated = self._newer()
        return self.signal is not None or self.outdated

    def yield_to(self, newer: Callable[[], bool], *, every_s: float) -> None:
        """Also stop once `newer()` is true; it is asked at most every so many seconds, when the flag is looked at."""
        self._newer, self._every_s = newer, every_s

    def request(self, number: int, frame: FrameType | None = None) -> None:
        self.signal = number

    def install(self) -> None:
        """Make this process's stop signals set the flag. Call from the main thread only."""
        for number in self.SIGNALS:
            signal.signal(number, self.request)


@dataclass(frozen=True, kw_only=True)
class Control:
    """What a trainer may ask while it runs."""

    stop: StopFlag
    report: Callable[[int, Mapping[str, float]], None]
    """report(epoch, metrics): progress for whoever watches; never needed for the result."""
