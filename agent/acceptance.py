"""Which candidate leads, and whether it beats the default at fresh seeds. Pure.

Provisional: a candidate leads on its plain mean, and is confirmed by a one-standard-error rule on paired gains. The
measured noise floor, once there is one, replaces both.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from agent.errors import InvalidStudy, Problem
from agent.records import Objective, Observation

VERDICTS = ("leading", "accepted", "confirmed")
Pair = TypeVar("Pair", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Incumbent:
    """The best configuration so far: incumbent.json."""

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
    gain: Mapping[str, Any] | None = None
    """Of its last confirmation: PairedGain.to_json()."""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict is {self.verdict!r}: must be one of {', '.join(VERDICTS)}")
        if not math.isfinite(self.mean) or self.n < 1:
            raise ValueError(f"an incumbent needs a finite mean of at least one row, not {self.mean} of {self.n}")

    def to_json(self) -> dict[str, Any]:
        return {"schema_version": 1, **asdict(self)}

    @classmethod
    def from_json(cls, raw: object) -> Incumbent:
        """Raises InvalidStudy."""
        try:
            if not isinstance(raw, Mapping):
                raise TypeError("not an object")
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
                gain=raw.get("gain"),
            )
        except (KeyError, TypeError, ValueError) as error:
            what = f"no {error.args[0]} there" if isinstance(error, KeyError) else str(error)
            problem = Problem(file="incumbent.json", where="file", value="", message=what)
            raise InvalidStudy([problem], "Delete it: the next round to close writes it anew.") from error

    def judged(self, gain: PairedGain, *, against: str) -> Incumbent:
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


def rank(observations: Sequence[Observation], objective: Objective) -> list[Observation]:
    """Best first: complete ones, then incomplete ones with a value, then those without, each in given order on ties.

    An incomplete mean is over easier or harder folds than the others', so it is not compared with theirs.
    """
    sign = -1.0 if objective.direction == "maximize" else 1.0

    def place(observation: Observation) -> tuple[int, float]:
        if observation.value is None:
            return 2, 0.0
        return (0 if observation.complete else 1), sign * observation.value

    return sorted(observations, key=place)


def incumbent(
    current: Incumbent | None, observations: Sequence[Observation], objective: Objective
) -> Incumbent | None:
    """The best complete observation where it is strictly better than the current incumbent, else the current one.

    Where the incumbent's own round and candidate is among the observations, that observation is what counts (a round
    may have been run again); its verdict stays while its key does. None where nothing complete is known.
    """
    complete = [observation for observation in observations if observation.value is not None and observation.complete]
    held = current
    if current is not None:
        again = [
            o for o in complete if (o.round, o.candidate, o.key) == (current.round, current.candidate, current.key)
        ]
        if again:
            held = replace(_of(again[-1], objective), verdict=current.verdict, gain=current.gain)
        elif any((o.round, o.candidate) == (current.round, current.candidate) for o in observations):
            held = None  # its round was run again with other settings, or it failed there
    if not complete:
        return held
    best = rank(complete, objective)[0]
    assert best.value is not None
    return _of(best, objective) if held is None or objective.better(best.value, held.mean) else held


def _of(observation: Observation, objective: Objective) -> Incumbent:
    assert observation.value is not None
    return Incumbent(
        round=observation.round,
        candidate=observation.candidate,
        key=observation.key,
        mean=observation.value,
        standard_error=observation.standard_error,
        n=observation.n,
        metric=objective.metric,
    )


@dataclass(frozen=True, kw_only=True)
class PairedGain:
    """How much better the best settings were than the default at the same folds and seeds.

    Positive is better, in the metric's unit. Pairing removes what a fold or a seed does to both.
    """

    RULE = "confirmed when, over at least two pairs, the mean gain is above 0 and above its standard error"

    metric: str
    mean: float | None
    """None without a pair."""
    standard_error: float | None
    """Sample standard deviation of the gains / sqrt(n); None below two pairs."""
    n: int
    gains: Sequence[float] = field(default_factory=tuple)
    unpaired: int = 0
    """Folds and seeds for which only one of the two finished."""

    @property
    def confirmed(self) -> bool:
        """By RULE, which is provisional: with 3 pairs and no true gain it holds by chance about one time in five."""
        if self.mean is None or self.standard_error is None:
            return False
        return self.mean > 0 and self.mean > self.standard_error

    @property
    def verdict(self) -> str:
        """confirmed, "no gain" (the mean is not above 0), inconclusive, or "not comparable" (no pair)."""
        if self.mean is None:
            return "not comparable"
        if self.confirmed:
            return "confirmed"
        return "no gain" if self.mean <= 0 else "inconclusive"

    def describe(self) -> str:
        lost = f"; {self.unpaired} without a partner" if self.unpaired else ""
        if self.mean is None:
            return f"not comparable: no fold and seed finished for both the default and the best{lost}"
        error = "unknown with one pair" if self.standard_error is None else f"{self.standard_error:.2g}"
        spread = f"standard error {error}, {self.n} pair{'s' if self.n > 1 else ''} of fresh seeds{lost}"
        return f"{self.verdict}: mean gain in {self.metric} {self.mean:+.4g} (above 0 is better), {spread}"

    def to_json(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "mean": self.mean,
            "standard_error": self.standard_error,
            "n": self.n,
            "gains": list(self.gains),
            "unpaired": self.unpaired,
            "verdict": self.verdict,
            "rule": self.RULE,
        }


def paired_gain(
    default_values: Mapping[Pair, float], best_values: Mapping[Pair, float], objective: Objective
) -> PairedGain:
    """Gains at the (fold, seed) pairs for which both have a value."""
    common = [pair for pair in default_values if pair in best_values]
    gains = [objective.gain(best_values[pair], default_values[pair]) for pair in common]
    n = len(gains)
    mean = math.fsum(gains) / n if n else None
    error = None
    if mean is not None and n > 1:
        error = math.sqrt(math.fsum((gain - mean) ** 2 for gain in gains) / (n - 1) / n)
    return PairedGain(
        metric=objective.metric,
        mean=mean,
        standard_error=error,
        n=n,
        gains=tuple(gains),
        unpaired=len(default_values) + len(best_values) - 2 * n,
    )
