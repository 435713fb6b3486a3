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
OUTLYING = 3.5
"""Robust z-score (Iglewicz and Hoaglin 1993) beyond which a fold is an outlier."""
MAD_TO_SD = 1.4826
LEAST_SPREAD = 0.01
"""Of the median: below it folds count as equal, or four equal folds would make an outlier of any fifth."""

Fold = TypeVar("Fold", bound=Hashable)


def weak_classes(
    per_class: Mapping[str, Mapping[str, float | None]], *, metric: str | None = None, direction: str = "maximize"
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
    return [
        {
            "class": name,
            "metric": metric,
            "value": rounded(values[name]),
            "mean": rounded(mean),
            "behind": rounded(behind[name]),
        }
        for name in sorted(behind, key=lambda name: -behind[name])
        if behind[name] > limit
    ]


def fold_outliers(values: Mapping[Fold, float]) -> list[dict[str, Any]]:
    """The folds (or seeds) whose value is far from the median in either direction; empty below MIN_FOLDS.

    Returns entries with fold, value, median and z, the robust z-score.
    """
    finite = {fold: float(value) for fold, value in values.items() if math.isfinite(value)}
    if len(finite) < MIN_FOLDS:
        return []
    median = statistics.median(finite.values())
    spread = MAD_TO_SD * statistics.median(abs(value - median) for value in finite.values())
    spread = max(spread, LEAST_SPREAD * abs(median))
    if not spread:
        return []
    return [
        {"fold": fold, "value": rounded(value), "median": rounded(median), "z": rounded((value - median) / spread)}
        for fold, value in finite.items()
        if abs(value - median) > OUTLYING * spread
    ]
