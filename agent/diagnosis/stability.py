"""Whether a training was stable: lost numbers, divergence, oscillation, an unstable start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.diagnosis.flag import Flag
from agent.diagnosis.trends import MIN_EPOCHS, Curves, oscillation, rounded, usable

LOST = 0.5
"""Diverged: at least half of what the loss had gained is lost again, and it stands half above its minimum."""
TURNS, STEP_OF_SPAN, STEP_OF_LEVEL = 0.5, 0.10, 0.05
"""Oscillation: every other step turns back, and a step is 10 % of the range and 5 % of the level."""
JUMP = 0.20
"""Unstable start: the loss rises by a fifth of its first value within the first third before it falls. Of healthy
curves with validation noise of 10 % that is 0.9 %."""


def nan(rows: Sequence[Mapping[str, float]]) -> Flag | None:
    """The first value that is no finite number, in any column; what is beyond 1e100 counts as infinite."""
    found = [(index, name) for index, row in enumerate(rows, 1) for name, value in row.items() if not usable(value)]
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
    # Even the lowest of the last three epochs: a curve that only swings up and down comes back.
    risen = min(curve.costs[-3:]) - low
    if risen <= 0 or risen < LOST * abs(low) or risen < LOST * (first - low):
        return None
    return Flag(
        name="divergence",
        text=f"{curve.name} ends at {end:.4g} after a minimum of {low:.4g} in epoch {curve.best + 1}",
        evidence={"column": curve.name, "minimum": rounded(low), "epoch": curve.best + 1, "end": rounded(end)},
    )


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
