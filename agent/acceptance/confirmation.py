"""The confirmation: the gain of the best over what it is held against, paired at seeds that the search never used.

The winner of a search is partly the luckiest candidate, and its gain there is biased upwards whatever the noise.
Fresh seeds are free of that, so there is no correction for K, and no least gain: what is confirmed is that a gain is
real. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.acceptance.noise import Noise, far_above
from agent.acceptance.rules import Rules
from agent.records import Objective

CONFIRMED, INCONCLUSIVE, NO_GAIN, NOT_COMPARABLE = "confirmed", "inconclusive", "no gain", "not comparable"


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """How much better the best settings were at the same fresh folds and seeds. Positive is better."""

    metric: str
    mean: float | None
    """None without a pair."""
    standard_error: float | None
    """Of the mean gain, by the study's noise with these pairs in it; None where that is unknown."""
    own_error: float | None
    """Sample standard deviation of these gains alone / sqrt(n); None below two pairs."""
    df: float | None
    critical: float | None
    """Standard errors that the mean must exceed: Student's t at P(Z > z), one-sided."""
    n: int
    gains: Sequence[float] = field(default_factory=tuple)
    unpaired: int = 0
    """Folds and seeds for which only one of the two finished."""
    rule: str = ""
    judged: str | None = None
    """The verdict as an earlier version left it, which did not tell what it rests on (`critical`)."""

    @property
    def confirmed(self) -> bool:
        if self.judged is not None:
            return self.judged == CONFIRMED
        if self.mean is None or self.standard_error is None or self.critical is None:
            return False
        return self.mean > 0 and self.mean >= self.critical * self.standard_error

    @property
    def refuted(self) -> bool:
        """Whether the pairs show no gain at all."""
        return self.mean is not None and self.mean <= 0

    @property
    def verdict(self) -> str:
        """confirmed, "no gain" (the mean is not above 0), inconclusive, or "not comparable" (no pair)."""
        if self.mean is None:
            return NOT_COMPARABLE
        if self.confirmed:
            return CONFIRMED
        return NO_GAIN if self.refuted else INCONCLUSIVE

    def describe(self) -> str:
        lost = f"; {self.unpaired} without a partner" if self.unpaired else ""
        if self.mean is None:
            return f"not comparable: no fold and seed finished for both{lost}"
        pairs = f"{self.n} pair{'s' if self.n > 1 else ''} of fresh seeds{lost}"
        if self.standard_error is None or self.critical is None:
            error = "standard error unknown with one pair"
            needed = "nothing can be confirmed"
        else:
            error = f"standard error {self.standard_error:.2g}, {self.df:.3g} degrees of freedom"
            needed = f"{self.critical:.2f} standard errors = {self.critical * self.standard_error:.3g} are needed"
        gain = f"mean gain in {self.metric} {self.mean:+.4g} (above 0 is better)"
        return f"{self.verdict}: {gain}, {error}, {pairs}; {needed}"

    def to_json(self) -> dict[str, object]:
        rests_on = {"own_error": self.own_error, "df": self.df, "critical": self.critical}
        return {
            "metric": self.metric,
            "mean": self.mean,
            "standard_error": self.standard_error,
            **(rests_on if self.judged is None else {}),
            "n": self.n,
            "gains": list(self.gains),
            "unpaired": self.unpaired,
            "verdict": self.verdict,
            "rule": self.rule,
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Confirmation:
        """One as `to_json` left it, in an earlier version with fewer numbers. Raises KeyError or TypeError."""
        metric, mean, error, n = (raw[name] for name in ("metric", "mean", "standard_error", "n"))
        own, df, critical = (raw.get(name) for name in ("own_error", "df", "critical"))
        return cls(
            metric=metric,
            mean=mean,
            standard_error=error,
            own_error=own,
            df=df,
            critical=critical,
            n=n,
            gains=tuple(raw.get("gains", ())),
            unpaired=raw.get("unpaired", 0),
            rule=raw.get("rule", ""),
            judged=raw.get("verdict") if "critical" not in raw else None,
        )


def paired_gains(
    base: Mapping[Hashable, float], best: Mapping[Hashable, float], objective: Objective
) -> tuple[float, ...]:
    """Gains at the folds and seeds for which both have a value."""
    return tuple(objective.gain(best[pair], value) for pair, value in base.items() if pair in best)


def confirmation(
    base: Mapping[Hashable, float],
    best: Mapping[Hashable, float],
    objective: Objective,
    rules: Rules,
    noise: Noise | None,
) -> Confirmation:
    """Hold the best against its base. noise: the study's, with these very gains in it; None: these gains alone are
    all there is, and one pair says nothing of noise."""
    gains = paired_gains(base, best, objective)
    n = len(gains)
    mean = math.fsum(gains) / n if n else None
    own = math.fsum((gain - mean) ** 2 for gain in gains) / (n - 1) if mean is not None and n > 1 else None
    error: float | None
    df: float | None
    if not n:
        error = df = None
    elif own is not None and (noise is None or far_above(own / 2, n - 1, noise.variance, noise.df)):
        error, df = math.sqrt(own / n), n - 1
    else:
        error, df = (None, None) if noise is None else (noise.of_gain(n), noise.df)
    return Confirmation(
        metric=objective.metric,
        mean=mean,
        standard_error=error,
        own_error=None if own is None else math.sqrt(own / n),
        df=df,
        critical=None if df is None else rules.critical(1, df),
        n=n,
        gains=gains,
        unpaired=len(base) + len(best) - 2 * n,
        rule=f"{rules.name}: mean gain above 0 and at least t(P(Z > {rules.z:g}), df) standard errors",
    )
