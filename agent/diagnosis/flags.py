"""What is wrong with a training curve, or could be better: one rule for each flag, with the numbers behind it.

The rules are heuristics. Each constant says in words what it asks for; they were set on synthetic curves, which the
tests hold (every flag, and curves that must raise none), and on real ones of digits from too low to too high a rate.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from agent.diagnosis.flag import Flag
from agent.diagnosis.learning_rate import lr_too_high, lr_too_low
from agent.diagnosis.stability import divergence, nan, oscillating, unstable_start
from agent.diagnosis.trends import (
    MIN_EPOCHS,
    Curve,
    Curves,
    improvement_left,
    rounded,
    slope,
    slope_significance,
)

RISE_OF_SPAN, RISE_OF_BEST = 0.05, 0.10
"""Overfitting: validation loss ends above its best by 5 % of its range and 10 % of the best."""
AFTER_BEST = 3
"""... with so many epochs since, or it may be chance,"""
RISE_OF_STEP = 3.0
"""... and by three median steps of the curve. Without it 2.5 % of forecasting curves (5 % noise) were called
overfitted, now 0.2 %, and none of thirteen other healthy families."""
GAP = 0.10
"""... or the validation score ends ten points below the training score without progress in the last third."""
LOW_SCORE = 0.60
"""Underfitting: not 60 % even on training data (and not overfitting, which silences it)."""
LITTLE_LEARNED = 0.10
"""... or, where no score is reported, training loss fell by less than a tenth."""
PLATEAU_EPOCHS, PLATEAU, PLATEAU_OF_LEVEL = 9, 0.01, 0.02
"""Plateau: the last third improved the best by less than 1 % of the range and 2 % of its level."""
STILL, NEWEST = 0.05, 0.10
"""Still improving: best within the last tenth, and another third would gain 5 % of the range at this slope."""
LIKELY = 3.0
"""... and that slope is three of its standard errors. With two, 5 % of flat forecasting curves were still improving,
now 2.3 %, and 0.5 % over all families that have converged."""
SLOW, SLOW_EPOCHS, SURE, FLATTENING = 0.01, 6, 4.0, 0.75
"""... or 1 %, when the slope of a last third of six epochs is four standard errors and does not flatten out."""


def overfitting(curves: Curves) -> Flag | None:
    return _validation_rises(curves) or _gap_without_progress(curves)


def _validation_rises(curves: Curves) -> Flag | None:
    train, val = curves.train_loss, curves.val_loss
    if train is None or val is None or len(val.values) < MIN_EPOCHS or len(train.values) != len(val.values):
        return None
    if len(val.values) - 1 - val.best < AFTER_BEST:
        return None
    rise = val.end_level - val.best_level
    fell = train.costs[val.best] - train.end_level
    least = max(RISE_OF_SPAN * val.span, RISE_OF_BEST * abs(val.best_level), RISE_OF_STEP * _median_step(val))
    if fell <= 0 or rise < least:
        return None
    return Flag(
        name="overfitting",
        text=f"val_loss rose from {val.best_level:.4g} around epoch {val.best + 1} to {val.end_level:.4g}, while "
        f"train_loss fell by {fell:.4g}",
        evidence={
            "best_epoch": val.best + 1,
            "epochs": len(val.values),
            "val_loss_best": rounded(val.best_level),
            "val_loss_end": rounded(val.end_level),
            "train_loss_fell": rounded(fell),
        },
    )


def _median_step(curve: Curve) -> float:
    tail = curve.costs[len(curve.costs) // 3 :]
    return statistics.median(abs(later - earlier) for earlier, later in pairwise(tail))


def _gap_without_progress(curves: Curves) -> Flag | None:
    train, val = curves.train_score, curves.val_score
    if train is None or val is None or len(val.values) < MIN_EPOCHS or not _is_share(train, val):
        return None
    gap = val.end_level - train.end_level
    before, since = min(val.costs[: -val.third]), min(val.costs[-val.third :])
    if gap < GAP or since < before:
        return None
    return Flag(
        name="overfitting",
        text=f"{val.name} ends {gap:.3f} behind {train.name} and did not improve in the last {val.third} epochs",
        evidence={"train": rounded(abs(train.end_level)), "val": rounded(abs(val.end_level)), "gap": rounded(gap)},
    )


def underfitting(curves: Curves) -> Flag | None:
    loss, train, val = curves.train_loss, curves.train_score, curves.val_score
    if train is not None and val is not None and _is_share(train, val):
        if len(train.values) < MIN_EPOCHS or train.direction != "maximize":
            return None
        reached, gap = max(train.values), val.end_level - train.end_level
        if reached >= LOW_SCORE:
            return None
        return Flag(
            name="underfitting",
            text=f"{train.name} reached only {reached:.3f}, with {val.name} {gap:.3f} behind it at the end",
            evidence={"train_best": rounded(reached), "gap": rounded(gap)},
        )
    if loss is None or len(loss.values) < MIN_EPOCHS or loss.costs[0] <= 0:
        return None
    fell = (loss.costs[0] - loss.end_level) / loss.costs[0]
    if not 0 <= fell < LITTLE_LEARNED:
        return None
    return Flag(
        name="underfitting",
        text=f"train_loss fell by only {fell:.1%} over {len(loss.values)} epochs",
        evidence={"first": rounded(loss.costs[0]), "end": rounded(loss.end_level), "fell": rounded(fell)},
    )


def plateau(curves: Curves) -> Flag | None:
    curve = curves.monitored
    if curve is None or len(curve.values) < PLATEAU_EPOCHS:
        return None
    before = min(curve.costs[: -curve.third])
    gained = before - min(curve.costs[-curve.third :])
    if curve.span and gained >= min(PLATEAU * curve.span, PLATEAU_OF_LEVEL * abs(before)):
        return None
    evidence: dict[str, Any] = {
        "column": curve.name,
        "epochs_without": curve.third,
        "gained": rounded(max(gained, 0.0)),
        "span": rounded(curve.span),
    }
    text = f"{curve.name} gained {max(gained, 0.0):.3g} in the last {curve.third} epochs, of {curve.span:.3g} in all"
    if curves.lr is not None and max(curves.lr.values) > 0:
        share = curves.lr.values[-1] / max(curves.lr.values)
        evidence["lr_share"] = rounded(share)
        text += f"; the learning rate ends at {share:.1%} of its peak"
    return Flag(name="plateau", text=text, evidence=evidence)


def still_improving(curves: Curves) -> Flag | None:
    """Cut off on the way: fast, by what another third would gain, or slowly but beyond chance."""
    curve = curves.monitored
    if curve is None or len(curve.values) < MIN_EPOCHS:
        return None
    left, since = improvement_left(curve), len(curve.values) - 1 - curve.best
    if since >= max(1, NEWEST * len(curve.values)):
        return None
    evidence = {"column": curve.name, "best_epoch": curve.best + 1, "improvement_left": rounded(left)}
    text = (
        f"{curve.name} was best in epoch {curve.best + 1} of {len(curve.values)}; at the last third's slope another "
        f"third would gain {left:.2g} of its range so far"
    )
    if left >= STILL and -slope_significance(curve.costs[-max(4, curve.third) :]) >= LIKELY:
        return Flag(name="still_improving", text=text, evidence=evidence | {"pace": "fast"})
    if left < SLOW or not _steadily(curve):
        return None
    return Flag(name="still_improving", text=f"{text}: slow, but steady", evidence=evidence | {"pace": "slow"})


def _steadily(curve: Curve) -> bool:
    """Whether the last third falls beyond chance, and does not flatten out in its second half."""
    last = curve.costs[-curve.third :]
    if len(last) < SLOW_EPOCHS:
        return False
    return -slope_significance(last) >= SURE and slope(last[len(last) // 2 :]) <= FLATTENING * slope(last)


Rule = Callable[[Curves], Flag | None]
RULES: Mapping[str, Rule] = {
    "divergence": divergence,
    "overfitting": overfitting,
    "underfitting": underfitting,
    "plateau": plateau,
    "oscillation": oscillating,
    "unstable_start": unstable_start,
    "still_improving": still_improving,
    "lr_too_high": lr_too_high,
    "lr_too_low": lr_too_low,
}
SILENCED: Mapping[str, tuple[str, ...]] = {
    "nan": ("plateau", "still_improving", "underfitting", "overfitting"),
    "divergence": ("plateau", "still_improving", "underfitting", "overfitting", "oscillation"),
    "overfitting": ("plateau", "underfitting"),
    "oscillation": ("plateau", "still_improving"),
    "lr_too_high": ("plateau", "still_improving", "underfitting", "lr_too_low"),
    "lr_too_low": ("plateau", "still_improving", "underfitting"),
}
"""A flag makes these meaningless: a diverged curve has no plateau, a jumping one no slope,
and a model that was driven too fast or too slowly says nothing about its capacity or the length of training."""

KEYWORDS: Mapping[str, tuple[str, ...]] = {
    "nan": ("loss becomes NaN", "numerical instability"),
    "divergence": ("training divergence", "learning rate too high"),
    "overfitting": ("overfitting", "regularization"),
    "underfitting": ("underfitting", "model capacity"),
    "plateau": ("training plateau", "learning rate schedule"),
    "oscillation": ("oscillating validation loss", "batch size and learning rate"),
    "unstable_start": ("unstable early training", "learning rate warmup"),
    "still_improving": ("training stopped early", "longer training schedule"),
    "lr_too_high": ("learning rate too high", "gradient clipping"),
    "lr_too_low": ("learning rate too low", "slow convergence"),
    "weak_classes": ("class imbalance", "low per-class score"),
    "oom_adjusted": ("GPU memory limit", "gradient accumulation"),
    "unreadable_log": (),
}
FLAGS = tuple(KEYWORDS)
"""Every name that a trial's flag may have."""


def curve_flags(rows: Sequence[Mapping[str, float]], found: Curves) -> list[Flag]:
    """The flags of one trial's curves, less those that another makes meaningless."""
    flags = [flag for flag in (nan(rows), *(rule(found) for rule in RULES.values())) if flag is not None]
    silenced = {name for flag in flags for name in SILENCED.get(flag.name, ())}
    return [flag for flag in flags if flag.name not in silenced]


def _is_share(train: Curve, val: Curve) -> bool:
    """Whether both scores look like parts of one (accuracy, F1, Dice), for which absolute gaps mean something."""
    return all(0 <= value <= 1 for curve in (train, val) for value in curve.values)
