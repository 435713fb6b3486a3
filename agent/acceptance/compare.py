"""A candidate's gain over the incumbent, paired where possible, with its standard error. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from agent.acceptance.noise import Noise, far_above
from agent.acceptance.rules import Rules
from agent.records import CandidateResult, Objective

POOLED, OWN, SEPARATE = "pooled", "own", "separate"
"""Where a standard error comes from: the study's noise | this pair's own gains, which vary far more than that |
the two candidates' own spreads, because they share no fold and seed."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The numbers behind a verdict. Gains are in the metric's unit, positive is better."""

    candidate: str
    round: int
    against: str
    against_round: int
    metric: str
    direction: str
    mean: float
    incumbent_mean: float
    n: int
    """Pairs, or without any the candidate's rows."""
    paired: bool
    """Whether both were trained at the same folds and seeds, which takes out what these do to both."""
    gain: float
    gain_percent: float | None
    """Of the incumbent's absolute value; None where that is 0."""
    standard_error: float | None
    """Of the gain; None where the noise is unknown."""
    df: float | None
    """Degrees of freedom behind it."""
    noise: float | None
    """Standard deviation of one row."""
    noise_from: str | None
    k: int
    """Candidates among which the best is picked."""
    correction: str
    alpha: float
    """Chance of a false acceptance left to this candidate."""
    critical: float | None
    """Standard errors that the gain must reach: Student's t at `alpha` and `df`."""
    least_gain: float
    """Least gain that is worth a change."""
    most_loss: float
    """Loss beyond which a candidate is rejected."""

    @property
    def threshold(self) -> float | None:
        """What the gain must reach: the larger of least_gain and critical x standard_error; None: noise unknown."""
        floor = self.noise_floor
        return None if floor is None else max(self.least_gain, floor)

    @property
    def noise_floor(self) -> float | None:
        """critical x standard_error: what is below it may be noise."""
        if self.critical is None or self.standard_error is None:
            return None
        return self.critical * self.standard_error

    @property
    def above_noise(self) -> bool:
        """Whether the noise does not explain the gain; without this nothing may be accepted."""
        return self.noise_floor is not None and self.gain > 0 and self.gain >= self.noise_floor

    def to_json(self) -> dict[str, object]:
        return {**{name: getattr(self, name) for name in _FIELDS}, "threshold": self.threshold}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Comparison:
        """A comparison as `to_json` left it. Raises KeyError or TypeError."""
        found = object.__new__(cls)
        # At once: every candidate of a long study has one, and the constructor takes three times as long.
        found.__dict__.update({name: raw[name] for name in _FIELDS})
        return found


_FIELDS = tuple(field.name for field in fields(Comparison))


def compare(
    candidate: CandidateResult,
    incumbent: CandidateResult,
    noise: Noise | None,
    objective: Objective,
    rules: Rules,
    *,
    k: int,
) -> Comparison:
    """The numbers of one comparison. Both must have a value; k: candidates among which the best is picked."""
    assert candidate.value is not None and incumbent.value is not None
    new, old = candidate.cells(objective.metric), incumbent.cells(objective.metric)
    pairs = [cell for cell in new if cell in old]
    gains = [objective.gain(new[cell], old[cell]) for cell in pairs]
    if gains:
        base = math.fsum(old[cell] for cell in pairs) / len(pairs)
        gain = math.fsum(gains) / len(gains)
        error, df, spread, source = _paired(gains, gain, noise)
    else:
        base, gain = incumbent.value, objective.gain(candidate.value, incumbent.value)
        error, df, spread, source = _separate(candidate, incumbent)
    return Comparison(
        candidate=candidate.candidate,
        round=candidate.round,
        against=incumbent.candidate,
        against_round=incumbent.round,
        metric=objective.metric,
        direction=objective.direction,
        mean=candidate.value,
        incumbent_mean=incumbent.value,
        n=len(gains) or candidate.n,
        paired=bool(gains),
        gain=gain,
        gain_percent=100 * gain / abs(base) if base else None,
        standard_error=error,
        df=df,
        noise=spread,
        noise_from=source,
        k=k,
        correction=rules.correction if k > 1 else "none",
        alpha=rules.alpha_of(k),
        critical=None if df is None else rules.critical(k, df),
        least_gain=rules.least_gain(base),
        most_loss=rules.most_loss(base),
    )


Spread = tuple[float | None, float | None, float | None, str | None]
"""Standard error of the gain, degrees of freedom, noise of one row, where it comes from."""
_UNKNOWN: Spread = (None, None, None, None)


def _paired(gains: list[float], mean: float, noise: Noise | None) -> Spread:
    """The pooled noise, unless these gains vary so much more that it cannot be theirs."""
    n = len(gains)
    own = math.fsum((gain - mean) ** 2 for gain in gains) / (n - 1) / 2 if n > 1 else None
    if noise is None or (own is not None and far_above(own, n - 1, noise.variance, noise.df)):
        return _UNKNOWN if own is None else (math.sqrt(2 * own / n), n - 1, math.sqrt(own), OWN)
    return noise.of_gain(n), noise.df, noise.sd, POOLED


def _separate(candidate: CandidateResult, incumbent: CandidateResult) -> Spread:
    """Welch's standard error and Satterthwaite's degrees of freedom: folds count as noise where nothing is paired."""
    errors = [one.standard_error for one in (candidate, incumbent)]
    if errors[0] is None or errors[1] is None:
        return _UNKNOWN
    parts = [error**2 for error in errors if error is not None]
    total = math.fsum(parts)
    if total == 0:
        return 0.0, candidate.n + incumbent.n - 2, 0.0, SEPARATE
    df = total**2 / (parts[0] ** 2 / (candidate.n - 1) + parts[1] ** 2 / (incumbent.n - 1))
    return math.sqrt(total), df, candidate.std, SEPARATE
