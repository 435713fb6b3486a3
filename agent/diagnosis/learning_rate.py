"""Learning rate too high, too low: conclusions that need several signals, because each alone has other causes.

**Too high** asks for two signals or more, one of them a primary one (p):

    jump        p  the loss jumps within the first third before it falls (`unstable_start`)
    rise        p  after the first third the training loss climbs back by 30 % of what it had gained, and stays there
    chaos       p  the training loss jumps up and down (`oscillation`)
    lost        p  a loss is no finite number any more
    relief         no progress in the second half of the time at high rates, and much of it once the rate is halved
    val_chaos      the validation loss jumps up and down by a quarter of its level

Relief and a restless validation loss without a primary signal are what every good step schedule looks like.

**Too low** asks for all of these:

    little         training closed less than a quarter of the way (of the loss; of the distance to a score of 1)
    steady         it went that way steadily: time, counted in learning rate x epochs, explains nearly all of it
    undiminished   per unit of that time, the second half gained no less than half as much as the first; a model
                   at its limit slows down, one that is driven too slowly does not
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from agent.diagnosis.flag import Flag
from agent.diagnosis.stability import unstable_start
from agent.diagnosis.trends import MIN_EPOCHS, Curve, Curves, oscillation, rounded

SIGNALS = 2
"""With two, none of 14,000 healthy curves (fourteen families) was driven too fast, and none too slowly."""
CLIMB, CLIMB_OF_LEVEL = 0.30, 0.15
"""Rise: so much of the way down is climbed again, and so much of the lowest level."""
TURNS, STEP_OF_SPAN, STEP_OF_LEVEL = 0.5, 0.10, 0.05
"""Chaos: every other step turns back, by 10 % of the range and 5 % of the level (as in `oscillation`)."""
VAL_STEP = 0.25
"""Validation chaos: the median step is a quarter of the level. Digits with a constant SGD rate of 1: 0.41, of 0.05:
too smooth to count."""
HALF, RELIEF = 0.5, 0.20
"""Relief: of the whole range so much is gained after the rate fell below half of its peak."""

LITTLE = 0.25
STEADY = 0.90
"""Least correlation of the loss with time in units of the rate. Digits at rates that are too low: 0.978 to 0.999."""
UNDIMINISHED = 0.5
"""The same trainings: 0.73 to 1.37; with good rates 0.01 to 0.36, though those have closed nine tenths of the way."""


def lr_too_high(curves: Curves) -> Flag | None:
    """See the module's table for the signals."""
    train = curves.train_loss or curves.monitored
    if train is None or len(train.values) < MIN_EPOCHS:
        return None
    primary: dict[str, Any] = {}
    if (jump := unstable_start(curves)) is not None:
        primary["jump"] = jump.evidence["peak"]
    if (rise := _rise(train)) is not None:
        primary["rise"] = rounded(rise)
    if _chaotic(train):
        primary["chaos"] = rounded(oscillation(train)[1])
    if any("loss" in name for name in curves.lost):
        primary["lost"] = True
    signals = dict(primary)
    if (relief := _relief(train, curves.lr)) is not None:
        signals["relief"] = rounded(relief)
    val = curves.val_loss
    if val is not None and val is not train and (step := _median_step(val)) >= VAL_STEP:
        signals["val_chaos"] = rounded(step)
    if not primary or len(signals) < SIGNALS:
        return None
    evidence: dict[str, Any] = {"column": train.name, "signals": signals}
    text = f"{train.name} shows {len(signals)} signs of too high a learning rate: " + ", ".join(
        _WORDS[name] for name in signals
    )
    if curves.lr is not None:
        evidence["lr_peak"] = rounded(max(curves.lr.values))
        text += f"; the rate's peak is {max(curves.lr.values):.3g}"
    return Flag(name="lr_too_high", text=text, evidence=evidence)


_WORDS = {
    "jump": "a jump at the start",
    "rise": "a climb after the first third",
    "chaos": "up and down in training",
    "lost": "a loss that is no number any more",
    "relief": "progress only once the rate was halved",
    "val_chaos": "validation loss up and down",
}


def lr_too_low(curves: Curves) -> Flag | None:
    """See the module's table for the signals."""
    curve = curves.train_loss or curves.train_score or curves.monitored
    if curve is None or len(curve.values) < MIN_EPOCHS:
        return None
    ways = _way_to_go(curve)
    if ways is None:
        return None
    closed = 1 - statistics.median(ways[-3:]) / ways[0]
    if not 0 < closed < LITTLE:
        return None
    time = _rate_time(curve, curves.lr)
    steady = -_correlation(time, ways)
    first, second = _halves(time, ways)
    if steady < STEADY or first <= 0 or second < UNDIMINISHED * first:
        return None
    evidence: dict[str, Any] = {
        "column": curve.name,
        "closed": rounded(closed),
        "steady": rounded(steady),
        "second_half_over_first": rounded(second / first),
    }
    text = (
        f"{curve.name} moved steadily but closed only {closed:.1%} of its way in {len(curve.values)} epochs, and "
        f"its pace for the rate did not slow down ({second / first:.2g} times the first half's)"
    )
    if curves.lr is not None:
        evidence["lr_peak"] = rounded(max(curves.lr.values))
        text += f"; the rate's peak is {max(curves.lr.values):.3g}"
    return Flag(name="lr_too_low", text=text, evidence=evidence)


def _rise(curve: Curve) -> float | None:
    """The largest climb over an earlier low, after the first third; None where it is small.

    The low is one of the smoothed loss, the climb one that three epochs in a row have made: swings are none.
    """
    costs = curve.costs
    lows = list(accumulate(_smooth(costs), min))
    worst, low = 0.0, 0.0
    for index in range(max(1, len(costs) // 3), len(costs) - 1):
        climb = min(costs[index - 1 : index + 2]) - lows[index]
        if climb > worst:
            worst, low = climb, lows[index]
    if not worst or worst < CLIMB * (costs[0] - low) or worst < CLIMB_OF_LEVEL * abs(low):
        return None
    return worst


def _chaotic(curve: Curve) -> bool:
    turns, step = oscillation(curve)
    return turns >= TURNS and step >= STEP_OF_SPAN and step * curve.span >= STEP_OF_LEVEL * abs(curve.end_level)


def _median_step(curve: Curve) -> float:
    """Median size of a step after the first third, as a part of the level that it leaves; 0 for a smooth curve."""
    tail = curve.costs[len(curve.costs) // 3 :]
    steps = [later - earlier for earlier, later in pairwise(tail)]
    if len(steps) < 4 or min(tail) <= 0:
        return 0.0
    turns = sum(one * other < 0 for one, other in pairwise(steps)) / (len(steps) - 1)
    if turns < TURNS:
        return 0.0
    return statistics.median(abs(math.log(later / earlier)) for earlier, later in pairwise(tail))


def _relief(curve: Curve, lr: Curve | None) -> float | None:
    """The part of the range that was gained at low rates after standing still at high ones; None without that."""
    if lr is None or len(lr.values) != len(curve.values) or not curve.span:
        return None
    high = [index for index, rate in enumerate(lr.values) if rate >= HALF * max(lr.values)]
    if not high or len(high) < 4 or len(curve.values) - 1 - high[-1] < 3:
        return None
    at_end = statistics.median(curve.costs[high[-3] : high[-1] + 1])
    half_way = statistics.median(curve.costs[max(0, high[len(high) // 2] - 1) : high[len(high) // 2] + 2])
    gained = (at_end - curve.end_level) / curve.span
    return gained if at_end >= half_way and gained >= RELIEF else None


def _way_to_go(curve: Curve) -> tuple[float, ...] | None:
    """A loss as it is, a score that is a part of one as its distance to 1; None for any other scale."""
    if curve.direction == "minimize":
        return curve.values if min(curve.values) > 0 else None
    ways = tuple(1 - value for value in curve.values)
    return ways if min(curve.values) >= 0 and min(ways) > 0 else None


def _rate_time(curve: Curve, lr: Curve | None) -> list[float]:
    """Sum of the learning rates up to each epoch; the epoch's number where the rate is not reported."""
    if lr is None or len(lr.values) != len(curve.values) or min(lr.values) < 0 or not max(lr.values):
        return [float(index) for index in range(len(curve.values))]
    return list(accumulate(lr.values))


def _halves(time: Sequence[float], ways: Sequence[float]) -> tuple[float, float]:
    """How much was gained per unit of time in each half of the time."""
    smooth = _smooth(ways)
    middle = (time[0] + time[-1]) / 2
    at = min(range(1, len(time) - 1), key=lambda index: abs(time[index] - middle))
    before, after = time[at] - time[0], time[-1] - time[at]
    if before <= 0 or after <= 0:
        return 0.0, 0.0
    # The first value as it is: smoothing would hide that a pretrained model gains most of it at once.
    return (ways[0] - smooth[at]) / before, (smooth[at] - smooth[-1]) / after


def _correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Pearson's; 0 where one of them is constant."""
    try:
        return statistics.correlation(x, y)
    except statistics.StatisticsError:
        return 0.0


def _smooth(values: Sequence[float]) -> list[float]:
    """Running median over three epochs; the ends take the median of the nearest three."""
    inner = [statistics.median(values[index - 1 : index + 2]) for index in range(1, len(values) - 1)]
    return [inner[0], *inner, inner[-1]]
