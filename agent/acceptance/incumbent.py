"""The incumbent: the configuration that others are held against, and how sure it is. incumbent.json. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from agent.acceptance.confirmation import Confirmation
from agent.acceptance.measured import Measured, Place
from agent.errors import InvalidStudy, Problem
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
    judgement: Mapping[str, Any] | None = None
    """With which it took its place: Judgement.to_json(); None for the first one, and in files of earlier versions."""
    gain: Mapping[str, Any] | None = None
    """Of its last confirmation: Confirmation.to_json(), with the key of what it was held against."""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict is {self.verdict!r}: must be one of {', '.join(VERDICTS)}")
        if not math.isfinite(self.mean) or self.n < 1:
            raise ValueError(f"an incumbent needs a finite mean of at least one row, not {self.mean} of {self.n}")

    def to_json(self) -> dict[str, Any]:
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, raw: object) -> Incumbent:
        """Version 1 has no judgement. Raises InvalidStudy."""
        try:
            if not isinstance(raw, Mapping):
                raise TypeError("not an object")
            if newer := newer_version(raw, SCHEMA_VERSION):
                raise InvalidStudy.at("incumbent.json", newer)
            error = raw["standard_error"]
            return cls(
                round=int(raw["round"]),
                candidate=str(raw["candidate"]),
                key=str(raw["key"]),
                mean=float(raw["mean"]),
                standard_error=None if error is None else float(error),
                n=int(raw["n"]),
                metric=str(raw["metric"]),
                verdict=raw["verdict"],
                judgement=raw.get("judgement"),
                gain=raw.get("gain"),
            )
        except (KeyError, TypeError, ValueError) as error:
            what = f"no {error.args[0]} there" if isinstance(error, KeyError) else str(error)
            problem = Problem(file="incumbent.json", where="file", value="", message=what)
            raise InvalidStudy([problem], "Delete it: the next round to close writes it anew.") from error

    @classmethod
    def of(
        cls, found: Measured, metric: str, *, verdict: str = "leading", judgement: Mapping[str, Any] | None = None
    ) -> Incumbent:
        """A candidate in the incumbent's place. It must have a mean."""
        assert found.mean is not None
        return cls(
            round=found.round,
            candidate=found.candidate,
            key=found.key,
            mean=found.mean,
            standard_error=found.standard_error,
            n=found.n,
            metric=metric,
            verdict=verdict,
            judgement=judgement,
        )

    @property
    def place(self) -> Place:
        return self.round, self.candidate

    def remeasured(self, found: Measured) -> Incumbent:
        """After its own round was run again: the new values, the same standing."""
        fresh = Incumbent.of(found, self.metric)
        return replace(fresh, verdict=self.verdict, judgement=self.judgement, gain=self.gain)

    def judged(self, gain: Confirmation, *, against: str) -> Incumbent:
        """With the gain of its confirmation; `against` is the key of what it was held against."""
        verdict = "confirmed" if gain.confirmed else self.verdict
        return replace(self, verdict=verdict, gain=gain.to_json() | {"against": against})

    @property
    def beaten(self) -> str | None:
        """Key of the configuration that it beat in paired trials at fresh seeds, if it did."""
        return self.gain.get("against") if self.verdict == "confirmed" and self.gain else None

    def describe(self) -> str:
        error = "" if self.standard_error is None else f" (standard error {self.standard_error:.2g})"
        rows = f"{self.n} row{'s' if self.n > 1 else ''}"
        return (
            f"round {self.round} {self.candidate} is {self.verdict}: {self.metric} {self.mean:.5g}{error} over {rows}"
        )
