"""What is wrong with a training curve, or could be better: one rule for each flag, with the numbers behind it.

The rules are heuristics. Each constant says in words what it asks for; they were set on synthetic curves, which the
tests hold (every flag, and curves that must raise none).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.diagnosis.trends import Curve, Curves, improvement_left, oscillation, rounded

MIN_EPOCHS = 5
"""Shorter curves say nothing about trends."""
LOST = 0.5
"""Diverged: at least half of what the loss had gained is lost again, and it stands half above its minimum."""
RISE_OF_SPAN, RISE_OF_BEST = 0.05, 0.10
"""Overfitting: validation loss ends above its best by 5 % of its range and 10 % of the best."""
AFTER_BEST = 3
"""... with so many epochs since, or it may be chance."""
GAP = 0.10
"""... or the validation score ends ten points below the training score without progress in the last third."""
LOW_SCORE = 0.60
"""Underfitting: not 60 % even on training data (and not overfitting, which silences it)."""
LITTLE_LEARNED = 0.10
"""... or, where no score is reported, training loss fell by less than a tenth."""
PLATEAU_EPOCHS, PLATEAU = 9, 0.01
"""Plateau: the last third improved the best by less than 1 % of the range."""
TURNS, STEP_OF_SPAN, STEP_OF_LEVEL = 0.5, 0.10, 0.05
"""Oscillation: every other step turns back, and a step is 10 % of the range and 5 % of the level."""
JUMP = 0.20
"""Unstable start: the loss rises by a fifth of its first value within the first third before it falls."""
STILL, NEWEST = 0.05, 0.10
"""Still improving: best within the last tenth, and another third would gain 5 % of the range at this slope."""


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One finding. evidence: JSON values; text: one sentence with the decisive ones."""

    name: str
    text: str
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "evidence": dict(self.evidence), "text": self.text}


def nan(rows: Sequence[Mapping[str, float]]) -> Flag | None:
    """The first value that is no finite number, in any column."""
    found = [
        (index, name) for index, row in enumerate(rows, 1) for name, value in row.items() if not math.isfinite(value)
    ]
    if not found:
        return None
    epoch, name = found[0]
    return Flag(
        name="nan",
        text=f"{name} is not a finite number in epoch {epoch}; {len(found)} such values in all",
        evidence={"column": name, "epoch": epoch, "count": len(found)},
    )


def divergence(curves: Curves) -> Flag | None:
    curve = curves.train_loss or curves.monitored
    if curve is None or len(curve.values) < 3:
        return None
    low, end, first = min(curve.costs), curve.end_level, curve.costs[0]
    risen = end - low
    if risen <= 0 or risen < LOST * abs(low) or risen < LOST * (first - low):
        return None
    return Flag(
        name="divergence",
        text=f"{curve.name} ends at {end:.4g} after a minimum of {low:.4g} in epoch {curve.best + 1}",
        evidence={"column": curve.name, "minimum": rounded(low), "epoch": curve.best + 1, "end": rounded(end)},
    )


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
    if fell <= 0 or rise < RISE_OF_SPAN * val.span or rise < RISE_OF_BEST * abs(val.best_level):
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
    gained = min(curve.costs[: -curve.third]) - min(curve.costs[-curve.third :])
    if gained >= PLATEAU * curve.span and curve.span:
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


def oscillating(curves: Curves) -> Flag | None:
    curve = curves.monitored
    if curve is None or len(curve.values) < MIN_EPOCHS:
        return None
    turns, step = oscillation(curve)
    level = abs(curve.end_level)
    if turns < TURNS or step < STEP_OF_SPAN or step * curve.span < STEP_OF_LEVEL * level:
        return None
    return Flag(
        name="oscillation",
        text=f"{curve.name} turns back at {turns:.0%} of its steps, each {step:.0%} of its whole range on average",
        evidence={"column": curve.name, "turns": rounded(turns), "step_over_span": rounded(step)},
    )


def unstable_start(curves: Curves) -> Flag | None:
    for curve in (curves.train_loss, curves.val_loss):
        if curve is None or len(curve.values) < MIN_EPOCHS:
            continue
        first, early = curve.costs[0], curve.costs[1 : max(3, len(curve.costs) // 3)]
        if max(early) - first >= JUMP * abs(first) and curve.end_level < first:
            epoch = early.index(max(early)) + 2
            return Flag(
                name="unstable_start",
                text=f"{curve.name} jumped from {first:.4g} to {max(early):.4g} in epoch {epoch} before it fell",
                evidence={"column": curve.name, "first": rounded(first), "peak": rounded(max(early)), "epoch": epoch},
            )
    return None


def still_improving(curves: Curves) -> Flag | None:
    curve = curves.monitored
    if curve is None or len(curve.values) < MIN_EPOCHS:
        return None
    left, since = improvement_left(curve), len(curve.values) - 1 - curve.best
    if left < STILL or since >= max(1, NEWEST * len(curve.values)):
        return None
    return Flag(
        name="still_improving",
        text=f"{curve.name} was best in epoch {curve.best + 1} of {len(curve.values)}; at the last third's slope "
        f"another third would gain {left:.0%} of its range so far",
        evidence={"column": curve.name, "best_epoch": curve.best + 1, "improvement_left": rounded(left)},
    )


Rule = Callable[[Curves], Flag | None]
RULES: Mapping[str, Rule] = {
    "divergence": divergence,
    "overfitting": overfitting,
    "underfitting": underfitting,
    "plateau": plateau,
    "oscillation": oscillating,
    "unstable_start": unstable_start,
    "still_improving": still_improving,
}
SILENCED: Mapping[str, tuple[str, ...]] = {
    "nan": ("plateau", "still_improving", "underfitting", "overfitting"),
    "divergence": ("plateau", "still_improving", "underfitting", "overfitting", "oscillation"),
    "overfitting": ("plateau", "underfitting"),
    "oscillation": ("plateau", "still_improving"),
}
"""A flag makes these meaningless: a diverged curve has no plateau, a jumping one no slope."""

KEYWORDS: Mapping[str, tuple[str, ...]] = {
    "nan": ("loss becomes NaN", "numerical instability"),
    "divergence": ("training divergence", "learning rate too high"),
    "overfitting": ("overfitting", "regularization"),
    "underfitting": ("underfitting", "model capacity"),
    "plateau": ("training plateau", "learning rate schedule"),
    "oscillation": ("oscillating validation loss", "batch size and learning rate"),
    "unstable_start": ("unstable early training", "learning rate warmup"),
    "still_improving": ("training stopped early", "longer training schedule"),
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
