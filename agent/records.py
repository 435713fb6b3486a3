"""The records that rooms hand to each other. Frozen, keyword-only, checked where a wrong one could be made."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
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
class InsteadOf:
    """Of a proposal or a plan: which source it stands in for, and why that gave none."""

    source: str
    why: tuple[str, ...]

    @classmethod
    def from_json(cls, raw: object) -> InsteadOf | None:
        """None where there is none. Raises ValueError."""
        if raw is None:
            return None
        fields = raw if isinstance(raw, Mapping) else {}
        source, why = fields.get("source"), fields.get("why")
        if not isinstance(source, str) or not isinstance(why, list | tuple):
            raise ValueError(f"must be {{source, why}} or null, not {raw!r}")
        return cls(source=source, why=tuple(map(str, why)))

    def to_json(self) -> dict[str, object]:
        return {"source": self.source, "why": list(self.why)}


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One row of a candidate as its summary tells it.

    A view of the entry, because there are a hundred thousand of them and most readers look at two fields. A summary
    that a person brought may tell less: what is not there, or is not of its type, is None (or empty).
    """

    raw: Mapping[str, object]
    """The entry of val_summary.json's `per_fold` and of round.json's `trials`, as it is written."""

    @property
    def row(self) -> int | None:
        return _whole(self.raw.get("row"))

    @property
    def fold(self) -> int | None:
        return _whole(self.raw.get("fold"))

    @property
    def seed(self) -> int | None:
        return _whole(self.raw.get("seed"))

    @property
    def attempt(self) -> int | None:
        """The attempt that counts; None where none began."""
        return _whole(self.raw.get("attempt"))

    @property
    def outcome(self) -> str:
        """A value of `Outcome`."""
        return str(self.raw.get("outcome") or "")

    @property
    def ok(self) -> bool:
        return self.raw.get("outcome") == "ok"

    @property
    def message(self) -> str:
        return str(self.raw.get("message") or "")

    @property
    def metrics(self) -> Mapping[str, float]:
        """Validation metrics; empty without a result."""
        found = self.raw.get("metrics")
        return found if isinstance(found, Mapping) else {}

    @property
    def parameters(self) -> int | None:
        """How many parameters the trained model has, where its trainer counts them."""
        return _whole(self.raw.get("model_parameters"))

    @property
    def cell(self) -> tuple[int, int] | None:
        """Fold and seed: what two candidates are paired by."""
        fold, seed = _whole(self.raw.get("fold")), _whole(self.raw.get("seed"))
        return None if fold is None or seed is None else (fold, seed)

    @property
    def place(self) -> tuple[int, int, int] | None:
        """Fold, seed and attempt, which name its folder; None where no attempt began."""
        cell, attempt = self.cell, self.attempt
        return None if cell is None or attempt is None else (*cell, attempt)


@dataclass(frozen=True, kw_only=True)
class TrialAnalysis:
    """What a trial's curves show, in short; its analysis.json has all of it."""

    keywords: Sequence[str] = ()
    flags: Sequence[str] = ()
    """Their names."""

    @classmethod
    def from_json(cls, raw: object) -> TrialAnalysis:
        """What of it has the right form."""
        fields = raw if isinstance(raw, Mapping) else {}
        keywords, flags = (fields.get(name) for name in ("keywords", "flags"))
        return cls(
            keywords=tuple(map(str, keywords)) if isinstance(keywords, list) else (),
            flags=tuple(map(str, flags)) if isinstance(flags, list) else (),
        )

    def to_json(self) -> dict[str, object]:
        return {"keywords": list(self.keywords), "flags": list(self.flags)}


def _whole(value: object) -> int | None:
    return value if type(value) is int else None


Place = tuple[int, str]
"""Round and candidate."""


@dataclass(frozen=True, kw_only=True)
class CandidateResult:
    """What one candidate of a closed round gave, over its rows: an entry of round.json's `candidates`.

    It is what acceptance compares, what proposers and agents are told as history, and what tables are made of.
    """

    round: int
    candidate: str
    values: Mapping[str, Value]
    """The settings that took effect."""
    key: str
    """The same for the same settings."""
    outcome: Outcome
    """ok when at least one row has a score; otherwise the most frequent outcome of its rows."""
    value: float | None
    """Mean of the objective over the rows that ended ok; None when none did. Never a penalty score."""
    std: float | None = None
    """Sample standard deviation over those rows; None below two."""
    n: int = 0
    """Rows that ended ok."""
    rows: int = 1
    """How many rows the candidate had; n < rows means incomplete."""
    source: str = ""
    """Who proposed it."""
    instead_of: InsteadOf | None = None
    sha256: str = ""
    """Of the reference that it was trained with."""
    outcomes: Mapping[str, int] = field(default_factory=dict)
    """Outcome -> rows."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Means of every metric of the validation summary."""
    costs: Mapping[str, float] = field(default_factory=dict)
    """Sums over its rows, such as wall_seconds."""
    message: str = ""
    """For a failure: the trainer's own words, shortened."""
    trials: Sequence[TrialRecord] = ()
    """Its rows; none where a person gave one number for all."""
    fidelity: float = 1.0
    """Epochs as a share of the full training. Below 1 it was given up after a rung: its value stands beside those of
    that rung alone, and it was never a candidate of its round."""
    violates: str = ""
    """The limits of the study that it breaks, in words: it may not lead, whatever its value."""

    def __post_init__(self) -> None:
        if (self.value is None) != (self.n == 0):
            raise ValueError("a candidate has a value exactly when at least one row ended ok")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"a candidate's value is {self.value}")

    @property
    def place(self) -> Place:
        return self.round, self.candidate

    @property
    def complete(self) -> bool:
        """Whether every row ended ok."""
        return self.value is not None and self.n == self.rows

    @property
    def standard_error(self) -> float | None:
        """std / sqrt(n), None below two rows."""
        return None if self.std is None or self.n < 2 else self.std / math.sqrt(self.n)

    def cells(self, metric: str) -> dict[Hashable, float]:
        """(fold, seed) -> value of the rows that ended ok; empty for a summary that a person gave as one number."""
        return {
            trial.cell: float(value)
            for trial in self.trials
            if trial.ok and (value := trial.metrics.get(metric)) is not None and trial.cell is not None
        }
