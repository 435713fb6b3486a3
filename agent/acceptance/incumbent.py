"""The incumbent: the configuration that others are held against, and how sure it is. incumbent.json. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from agent.acceptance.confirmation import Confirmation
from agent.acceptance.verdict import Judgement
from agent.errors import InvalidStudy, Problem
from agent.records import CandidateResult, Place
from trainers.files import newer_version

SCHEMA_VERSION = 2

VERDICTS = ("leading", "accepted", "confirmed")
"""In the order of how sure: the first, or better with the noise unknown | above the noise in its round | and again at
fresh seeds."""


@dataclass(frozen=True, kw_only=True)
class Incumbent:
    """The best configuration so far."""

    round: int
    candidate: str
    key: str
    mean: float
    """Of the objective over its rows."""
    standard_error: float | None
    """Of that mean, over folds and seeds; None below two rows."""
    n: int
    metric: str
    verdict: str = "leading"
    judgement: Judgement | None = None
    """With which it took its place; None for the first one, and in files of earlier versions."""
    gain: Confirmation | None = None
    """Of its last confirmation."""
    against: str | None = None
    """Key of what it was held against there."""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict is {self.verdict!r}: must be one of {', '.join(VERDICTS)}")
        if not math.isfinite(self.mean) or self.n < 1:
            raise ValueError(f"an incumbent needs a finite mean of at least one row, not {self.mean} of {self.n}")

    def to_json(self) -> dict[str, object]:
        gain = None if self.gain is None else {**self.gain.to_json(), "against": self.against}
        return {
            "schema_version": SCHEMA_VERSION,
            "round": self.round,
            "candidate": self.candidate,
            "key": self.key,
            "mean": self.mean,
            "standard_error": self.standard_error,
            "n": self.n,
            "metric": self.metric,
            "verdict": self.verdict,
            "judgement": self.judgement.to_json() if self.judgement is not None else None,
            "gain": gain,
        }

    @classmethod
    def from_json(cls, raw: object) -> Incumbent:
        """incumbent.json. Raises InvalidStudy."""
        try:
            return cls.parse(raw)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            what = f"no {error.args[0]} there" if isinstance(error, KeyError) else str(error)
            problem = Problem(file="incumbent.json", where="file", value="", message=what)
            raise InvalidStudy([problem], "Delete it: the next round to close writes it anew.") from error

    @classmethod
    def parse(cls, raw: object) -> Incumbent:
        """An incumbent as any file has it; version 1 has no judgement. Raises AttributeError, KeyError, TypeError or
        ValueError."""
        if not isinstance(raw, Mapping):
            raise TypeError("not an object")
        if newer := newer_version(raw, SCHEMA_VERSION):
            raise ValueError(newer)
        names = ("round", "candidate", "key", "mean", "standard_error", "n", "metric", "verdict")
        number, candidate, key, mean, error, n, metric, verdict = (raw[name] for name in names)
        judgement, gain = raw.get("judgement"), raw.get("gain")
        return cls(
            round=int(number),
            candidate=str(candidate),
            key=str(key),
            mean=float(mean),
            standard_error=None if error is None else float(error),
            n=int(n),
            metric=str(metric),
            verdict=verdict,
            judgement=Judgement.from_json(judgement) if judgement is not None else None,
            gain=Confirmation.from_json(gain) if gain is not None else None,
            against=gain.get("against") if gain is not None else None,
        )

    @classmethod
    def of(
        cls, found: CandidateResult, metric: str, *, verdict: str = "leading", judgement: Judgement | None = None
    ) -> Incumbent:
        """A candidate in the incumbent's place. It must have a value."""
        assert found.value is not None
        return cls(
            round=found.round,
            candidate=found.candidate,
            key=found.key,
            mean=found.value,
            standard_error=found.standard_error,
            n=found.n,
            metric=metric,
            verdict=verdict,
            judgement=judgement,
        )

    @property
    def place(self) -> Place:
        return self.round, self.candidate

    def remeasured(self, found: CandidateResult) -> Incumbent:
        """After its own round was run again: the new values, the same standing."""
        fresh = Incumbent.of(found, self.metric)
        return replace(fresh, verdict=self.verdict, judgement=self.judgement, gain=self.gain, against=self.against)

    def judged(self, gain: Confirmation, *, against: str) -> Incumbent:
        """With the gain of its confirmation; `against` is the key of what it was held against."""
        verdict = "confirmed" if gain.confirmed else self.verdict
        return replace(self, verdict=verdict, gain=gain, against=against)

    @property
    def beaten(self) -> str | None:
        """Key of the configuration that it beat in paired trials at fresh seeds, if it did."""
        return self.against if self.verdict == "confirmed" else None

    def describe(self) -> str:
        error = "" if self.standard_error is None else f" (standard error {self.standard_error:.2g})"
        rows = f"{self.n} row{'s' if self.n > 1 else ''}"
        return (
            f"round {self.round} {self.candidate} is {self.verdict}: {self.metric} {self.mean:.5g}{error} over {rows}"
        )
