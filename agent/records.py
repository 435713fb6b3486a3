"""The records that rooms hand to each other. Frozen, keyword-only, checked where a wrong one could be made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from trainers.contract import Value


class Outcome(StrEnum):
    """How a row ended. Only `ok` has a score; `is_config` outcomes are knowledge about the settings.

    agent.outcomes tells them apart, the policy (agent.policy) says which are tried again.
    """

    OK = "ok"
    BAD_CONFIG = "bad_config"
    """The trainer refused the settings, or training with them diverged."""
    GPU_OOM = "gpu_oom"
    HOST_OOM = "host_oom"
    """The scheduler or the kernel ended it for its memory."""
    TIMEOUT = "timeout"
    PREEMPTED = "preempted"
    NODE_FAIL = "node_fail"
    LAUNCH_FAIL = "launch_fail"
    """The task ended before it had claimed its row: nothing was trained."""
    CRASHED = "crashed"
    """The program failed: an error of the trainer, a segmentation fault."""
    CANCELLED = "cancelled"
    NO_RESULT = "no_result"
    """It ended in a way that should have left a result, and there is none."""
    CORRUPT_RESULT = "corrupt_result"
    LOST = "lost"
    """Gone, and nobody can say how."""

    @property
    def is_config(self) -> bool:
        """Whether the settings caused it (a proposer may learn from it), rather than the machines."""
        return self in (Outcome.BAD_CONFIG, Outcome.GPU_OOM, Outcome.HOST_OOM)

    @property
    def is_measured(self) -> bool:
        """Whether the configuration has been tried; after a crash or a loss it still may be.

        A host_oom that more memory can mend is retried before it becomes an observation, so here it is final.
        """
        return self is Outcome.OK or self.is_config


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is tuned: a metric of the validation summary, and which way is better."""

    metric: str
    direction: str

    def __post_init__(self) -> None:
        if self.direction not in ("minimize", "maximize"):
            raise ValueError(f"direction is {self.direction!r}: must be minimize or maximize")

    def better(self, a: float, b: float) -> bool:
        """Whether a is strictly better than b."""
        return a > b if self.direction == "maximize" else a < b

    def gain(self, new: float, old: float) -> float:
        """How much better `new` is, in the metric's own unit; positive is better."""
        return new - old if self.direction == "maximize" else old - new


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Settings that someone wants trained, and why."""

    values: Mapping[str, Value]
    """Values of the tunable parameters that are active under them."""
    source: str
    """Who proposed: default, person, incumbent, optuna_tpe, ..."""
    reason: str
    details: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.source or not self.reason:
            raise ValueError("every proposal records its source and its reason")


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What is known about one configuration from the rounds so far: the history that proposers see."""

    round: int
    candidate: str
    values: Mapping[str, Value]
    key: str
    outcome: Outcome
    """ok when at least one row has a score; otherwise the most frequent outcome of its rows."""
    value: float | None
    """Mean of the objective over the rows that ended ok; None when none did. Never a penalty score."""
    std: float | None = None
    """Sample standard deviation over those rows; None below two."""
    n: int = 0
    rows: int = 1
    """How many rows the candidate had; n < rows means incomplete."""
    source: str = ""
    message: str = ""
    """For a failure: the trainer's own words, shortened."""
    fidelity: float = 1.0
    """Epochs as a share of the full training. Below 1 it was given up after a rung: its value stands beside those of
    that rung alone, and it was never a candidate of its round."""
    violates: str = ""
    """The limits of the study that it breaks, in words: it may not lead, whatever its value."""

    def __post_init__(self) -> None:
        if (self.value is None) != (self.n == 0):
            raise ValueError("an observation has a value exactly when at least one row ended ok")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"an observation's value is {self.value}")

    @property
    def complete(self) -> bool:
        return self.n == self.rows

    @property
    def standard_error(self) -> float | None:
        """std / sqrt(n), None below two rows."""
        return None if self.std is None or self.n < 2 else self.std / math.sqrt(self.n)
