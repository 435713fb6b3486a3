"""A model's error beside those of forecasts that need no training. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

FAR = 2.0
"""An error this many times that of a naive forecast is called far worse: hours were spent on less than nothing."""


def worse_than_naive(metrics: Mapping[str, float], names: Sequence[str]) -> str:
    """What to say of a model whose error is above that of a naive forecast on the same windows; else nothing.

    metrics: the model's, with METRIC_NAME of each forecast beside METRIC, an error.
    """
    for metric, value in metrics.items():
        found = {name: metrics[f"{metric}_{name}"] for name in names if f"{metric}_{name}" in metrics}
        if not found:
            continue
        best = min(found, key=lambda name: found[name])
        if value <= found[best]:
            return ""
        beaten = [name for name in found if found[name] > value]
        times = value / found[best] if found[best] > 0 else float("inf")
        how = f"{metric} {value:.4g} is {times:.3g} times that of {best} ({found[best]:.4g})"
        if times < FAR:
            return f"{how}, a forecast without any training; it beats {', '.join(beaten) or 'none of them'}"
        return f"far worse than a forecast without any training: {how}; such a model has not learned to forecast"
    return ""
