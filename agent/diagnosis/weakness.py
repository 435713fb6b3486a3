"""Weak parts of a result: classes far below the others, folds far off the rest."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Mapping
from typing import Any, TypeVar

from agent.diagnosis.trends import rounded

MIN_CLASSES, MIN_FOLDS = 3, 4
BEHIND = 0.10
"""A class is weak when it is behind the mean by this and by one standard deviation over the classes. With 0.05 and
some thirty cases a class, nearly every good classifier of ten classes had one by chance."""
CHANCE = 0.02
"""How often folds of Gaussian noise may hold an outlier."""
LEAST_SPREAD = 0.01
"""Of the mean: below it folds count as equal, or four equal folds would make an outlier of any fifth."""
SUPPORT_ERRORS = 3.0
"""Where it is known how many cases a value rests on: a weak class is behind by three of its standard errors."""

Classes = Mapping[str, Mapping[str, float | None]]
"""class -> metric -> value; None where the class does not occur."""
Fold = TypeVar("Fold", bound=Hashable)


def weak_classes(
    per_class: Classes, *, metric: str | None = None, direction: str = "maximize"
) -> list[dict[str, Any]]:
    """The classes whose metric is far worse than the mean over classes, weakest first; BEHIND is in its own unit.

    per_class: class -> metric -> value, None where the class does not occur (it is left out). metric: by default the
    first that any class has. Returns entries with class, metric, value, mean and behind (positive: worse).
    """
    names = dict.fromkeys(name for metrics in per_class.values() for name in metrics)
    metric = next(iter(names), None) if metric is None else metric
    values = {
        name: float(value)
        for name, metrics in per_class.items()
        if isinstance(value := metrics.get(metric or ""), int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    }
    if len(values) < MIN_CLASSES:
        return []
    mean = math.fsum(values.values()) / len(values)
    limit = max(BEHIND, statistics.stdev(values.values()))
    sign = 1.0 if direction == "maximize" else -1.0
    behind = {name: sign * (mean - value) for name, value in values.items()}
    limits = {name: max(limit, _by_chance(per_class[name], mean, str(metric))) for name in values}
    return [
        {
            "class": name,
            "metric": metric,
            "value": rounded(values[name]),
            "mean": rounded(mean),
            "behind": rounded(behind[name]),
            **_cases(per_class[name]),
        }
        for name in sorted(behind, key=lambda name: -behind[name])
        if behind[name] > limits[name]
    ]


def _cases(metrics: Mapping[str, float | None]) -> dict[str, int]:
    cases = metrics.get("cases")
    return {"cases": round(cases)} if isinstance(cases, int | float) else {}


def _by_chance(metrics: Mapping[str, float | None], mean: float, metric: str) -> float:
    """How far a class whose true value is the mean may fall behind it by chance; 0 where nothing tells.

    A mean over cases (`cases`, `<metric>_std`: segmentation) has the standard error std / sqrt(cases), a share of
    `support` cases (classification) that of a binomial. Ten equally good classes of 30 cases at 80 % have a "weak"
    one in 66 % of the cases by the other limits alone, and in 2 % with this one (2,000 draws; at most 3 % for shares
    from 50 to 98 %).
    """
    cases, std = metrics.get("cases"), metrics.get(f"{metric}_std")
    if isinstance(cases, int | float) and isinstance(std, int | float) and cases > 1 and math.isfinite(std):
        return SUPPORT_ERRORS * std / math.sqrt(cases)
    support = metrics.get("support")
    if not isinstance(support, int | float) or not support > 0 or not 0 <= mean <= 1:
        return 0.0
    return SUPPORT_ERRORS * math.sqrt(mean * (1 - mean) / support)


def fold_outliers(values: Mapping[Fold, float]) -> list[dict[str, Any]]:
    """The folds (or seeds) far from the others in either direction; empty below MIN_FOLDS.

    Each is compared with the mean of the others by Student's t with n - 2 degrees of freedom (the deleted residual),
    at CHANCE divided by the number of folds. A robust z-score of the median's deviations was tried first: with five
    folds of Gaussian noise it called one an outlier in 20 % of the cases, this in 1.7 % (10,000 draws). Two
    outlying folds can hide each other. Returns entries with fold, value, others (their mean), t and
    p (for a single fold).
    """
    finite = {fold: float(value) for fold, value in values.items() if math.isfinite(value)}
    if len(finite) < MIN_FOLDS:
        return []
    found = []
    for fold, value in finite.items():
        rest = [other for name, other in finite.items() if name != fold]
        mean = math.fsum(rest) / len(rest)
        deviation = math.hypot(*(other - mean for other in rest)) / math.sqrt(len(rest) - 1)
        spread = max(deviation, LEAST_SPREAD * abs(mean)) * math.sqrt(1 + 1 / len(rest))
        t = (value - mean) / spread if spread else 0.0
        p = two_sided_p(t, len(rest) - 1)
        if p * len(finite) < CHANCE:
            found.append(
                {"fold": fold, "value": rounded(value), "others": rounded(mean), "t": rounded(t), "p": rounded(p)}
            )
    return found


def two_sided_p(t: float, degrees: int) -> float:
    """P(|T| > |t|) of Student's t with whole degrees of freedom from 1 (Abramowitz and Stegun 1964, 26.7.3 and 4)."""
    angle = math.atan2(abs(t), math.sqrt(degrees))
    cosine, sine = math.cos(angle), math.sin(angle)
    term = cosine if degrees % 2 else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(3 if degrees % 2 else 2, degrees - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    inside = 2 / math.pi * (angle + sine * total) if degrees % 2 else sine * total
    return max(0.0, 1.0 - inside)
