"""Numbers that describe a training curve: slopes, best epoch, gap, oscillation, what may still be gained."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

HUGE = 1e100
"""From here a value counts as infinite, so that no square of one overflows."""
MIN_EPOCHS = 5
"""Shorter curves say nothing about trends."""
ABSURD = 5.0
"""Values above so many times the curve's median do not count for its range. The first validation losses of digits
trained with AdamW at a rate of 0.5 are 287 and 16, then 2.4 and less: as parts of 287, nothing later is visible."""
LOWER_IS_BETTER = ("loss", "error", "err", "mae", "mse", "rmse", "nll", "perplexity", "ppl", "bpb")
"""Words in a column's name that say so where the trial's own directions do not."""


@dataclass(frozen=True)
class Curve:
    """One column, its finite values in the order of epochs."""

    name: str
    values: tuple[float, ...]
    direction: str = "minimize"

    @cached_property
    def costs(self) -> tuple[float, ...]:
        """The values turned so that lower is better."""
        return self.values if self.direction == "minimize" else tuple(-value for value in self.values)

    @cached_property
    def span(self) -> float:
        """Largest minus smallest value, without absurd ones of a loss."""
        low, high, middle = min(self.values), max(self.values), statistics.median(self.values)
        if self.direction == "minimize" and 0 <= low < middle:
            high = min(high, ABSURD * middle)
        return high - low

    @cached_property
    def best(self) -> int:
        """Index of the best value, the first of equals."""
        return self.costs.index(min(self.costs))

    @property
    def best_level(self) -> float:
        """Median cost of the best epoch and its neighbours: a lucky epoch does not count as a level."""
        return statistics.median(self.costs[max(0, self.best - 1) : self.best + 2])

    @property
    def end_level(self) -> float:
        """Median cost of the last three epochs."""
        return statistics.median(self.costs[-3:])

    @property
    def third(self) -> int:
        """How many epochs the last third has, at least two."""
        return max(2, len(self.values) // 3)


@dataclass(frozen=True, kw_only=True)
class Curves:
    """What the flags look at. A curve is None where the program does not report it or it has no finite value."""

    epochs: int
    train_loss: Curve | None
    val_loss: Curve | None
    train_score: Curve | None
    """The counterpart of val_score on training data."""
    val_score: Curve | None
    """Accuracy where it is reported, else the first other val_ column."""
    lr: Curve | None
    lost: tuple[str, ...] = ()
    """Columns with a value that is no finite number."""

    @property
    def monitored(self) -> Curve | None:
        """The curve that progress is read from: validation loss, else validation score, else training loss."""
        return self.val_loss or self.val_score or self.train_loss

    @property
    def gap(self) -> float | None:
        """How much worse the validation score (else loss) is than the training one, over the last three epochs."""
        for train, val in ((self.train_score, self.val_score), (self.train_loss, self.val_loss)):
            if train is not None and val is not None:
                return val.end_level - train.end_level
        return None


def curves(rows: Sequence[Mapping[str, float]], directions: Mapping[str, str]) -> Curves:
    """The curves of an epoch table. directions: metric -> minimize or maximize, as far as the trial says."""
    columns = list(dict.fromkeys(name for row in rows for name in row))

    def curve(name: str, direction: str = "minimize") -> Curve | None:
        values = tuple(row[name] for row in rows if name in row and usable(row[name]))
        return Curve(name, values, direction) if values else None

    scores = [name for name in columns if name.startswith("val_") and name != "val_loss"]
    scores.sort(key=lambda name: name not in ("val_acc", "val_accuracy"))
    train_score = val_score = None
    if scores:
        direction = _direction(scores[0], directions)
        val_score = curve(scores[0], direction)
        train_score = curve("train_" + scores[0].removeprefix("val_"), direction)
    return Curves(
        epochs=len(rows),
        train_loss=curve("train_loss"),
        val_loss=curve("val_loss"),
        train_score=train_score,
        val_score=val_score,
        lr=curve("lr") or curve("learning_rate"),
        lost=tuple(name for name in columns if any(not usable(row.get(name, 0.0)) for row in rows)),
    )


def slope(values: Sequence[float]) -> float:
    """Least-squares slope per epoch; 0 below two values."""
    if len(values) < 2:
        return 0.0
    centre = (len(values) - 1) / 2
    mean = math.fsum(values) / len(values)
    products = math.fsum((index - centre) * (value - mean) for index, value in enumerate(values))
    return products / math.fsum((index - centre) ** 2 for index in range(len(values)))


def slope_significance(values: Sequence[float]) -> float:
    """Slope divided by its standard error; 0 below four values, infinite where the values lie on one line."""
    count = len(values)
    if count < 4:
        return 0.0
    rate, centre = slope(values), (count - 1) / 2
    mean = math.fsum(values) / count
    rest = math.fsum((value - mean - rate * (index - centre)) ** 2 for index, value in enumerate(values))
    error = math.sqrt(rest / (count - 2) / math.fsum((index - centre) ** 2 for index in range(count)))
    if error <= 1e-12 * abs(rate):
        return math.copysign(math.inf, rate) if rate else 0.0
    return rate / error


def oscillation(curve: Curve) -> tuple[float, float]:
    """(part of the steps that turn back, mean size of a step / span) after the first third; (0, 0) when too short."""
    tail = curve.costs[len(curve.costs) // 3 :]
    steps = [later - earlier for earlier, later in pairwise(tail)]
    if len(steps) < 4 or not curve.span:
        return 0.0, 0.0
    turns = sum(one * other < 0 for one, other in pairwise(steps))
    return turns / (len(steps) - 1), math.fsum(map(abs, steps)) / len(steps) / curve.span


def improvement_left(curve: Curve) -> float:
    """What a further third of training would gain at the last third's slope, as a part of the span so far."""
    if not curve.span:
        return 0.0
    return max(0.0, -slope(curve.costs[-curve.third :]) * curve.third / curve.span)


def trends(found: Curves) -> dict[str, Any]:
    """The features as JSON values, rounded to 6 significant digits."""
    every = [found.train_loss, found.val_loss, found.train_score, found.val_score]
    slopes = {curve.name: rounded(slope(curve.values[-curve.third :])) for curve in every if curve is not None}
    result: dict[str, Any] = {"epochs": found.epochs, "slope_last_third": slopes}
    curve = found.monitored
    if curve is not None:
        turns, step = oscillation(curve)
        result |= {
            "monitored": curve.name,
            "best_epoch": curve.best + 1,
            "best_position": rounded((curve.best + 1) / len(curve.values)),
            "best": rounded(curve.values[curve.best]),
            "last": rounded(curve.values[-1]),
            "turns": rounded(turns),
            "step_over_span": rounded(step),
            "improvement_left": rounded(improvement_left(curve)),
        }
    if found.gap is not None:
        result["generalisation_gap"] = rounded(found.gap)
    if found.lr is not None:
        result["lr"] = {"first": rounded(found.lr.values[0]), "last": rounded(found.lr.values[-1])}
    return result


def usable(value: float) -> bool:
    """Whether a value is a number to reckon with: finite, and not beyond HUGE."""
    return abs(value) < HUGE


def rounded(value: float) -> float:
    """To 6 significant digits, and within HUGE: JSON has no infinity, which a ratio of tiny values may reach."""
    return float(f"{min(HUGE, max(-HUGE, value)):.6g}")


def _direction(column: str, directions: Mapping[str, str]) -> str:
    name = column.removeprefix("val_")
    said = directions.get(column) or directions.get(name)
    if said in ("minimize", "maximize"):
        return said
    return "minimize" if any(word in LOWER_IS_BETTER for word in name.lower().split("_")) else "maximize"
