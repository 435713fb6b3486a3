"""The noise floor: how much one row's value varies for no reason of its settings. Pure.

Estimated from rows that were trained anyway. All candidates of a study train the same folds and seeds, so the rows
form a table, candidate x (fold, seed), to which the additive model y = candidate + cell + noise is fitted (two-way
analysis of variance without replication; Scheffé 1959, section 4.2). What a fold or a seed does to every candidate
alike is thereby no noise, and what is left, interaction of candidate and fold included, is exactly what a paired gain
varies by: the variance of a mean gain over n pairs is 2 variance / n.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.acceptance.student import f_sf

Cells = Mapping[Hashable, float]
Name = Hashable

#: A candidate whose own spread has a chance below this under the pooled one is not pooled (Bonferroni over them).
OUTLIER = 0.001
#: Candidates of which several may be left out at once.
_MANY = 20
#: Spreads below this share of the values are rounding: the program is deterministic.
_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class Noise:
    """A pooled estimate."""

    variance: float
    """Of one row, in the metric's unit squared."""
    df: int
    """Degrees of freedom, at least 1."""
    left_out: tuple[Name, ...] = ()
    """Outliers: candidates that were not pooled, because their own spread is far larger than the others'."""

    def __post_init__(self) -> None:
        if self.df < 1 or not (math.isfinite(self.variance) and self.variance >= 0):
            raise ValueError(f"a noise of variance {self.variance} with {self.df} degrees of freedom is none")

    def to_json(self) -> dict[str, object]:
        """The noise floor as round.json has it."""
        left_out = [list(name) if isinstance(name, tuple) else str(name) for name in self.left_out]
        return {"sd": self.sd, "variance": self.variance, "df": self.df, "left_out": left_out}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Noise:
        """Raises KeyError, TypeError or ValueError."""
        variance, df, left_out = (raw[name] for name in ("variance", "df", "left_out"))
        names = tuple(tuple(name) if isinstance(name, list) else name for name in left_out)
        return cls(variance=variance, df=df, left_out=names)

    @property
    def sd(self) -> float:
        """Standard deviation of one row."""
        return math.sqrt(self.variance)

    def of_gain(self, n: int) -> float:
        """Standard error of the mean of n paired gains."""
        return math.sqrt(2 * self.variance / n)


def estimate(
    table: Mapping[Name, Cells],
    *,
    gains: Sequence[Sequence[float]] = (),
    replicates: Sequence[Sequence[float]] = (),
) -> Noise | None:
    """The pooled noise; None without a single degree of freedom.

    table: candidate -> (fold, seed) -> value, of every round. gains: paired gains of each confirmation (two
    candidates at seeds of their own: half the sum of squares of their gains is the noise's). replicates: values of
    one configuration in one fold at several seeds; what a seed does to all candidates alike cannot be told apart
    there, so it counts as noise.
    """
    squares, df, left_out = _of_table(table)
    for values in gains:
        squares += _squares(values) / 2
        df += max(len(values) - 1, 0)
    for values in replicates:
        squares += _squares(values)
        df += max(len(values) - 1, 0)
    if df < 1:
        return None
    every = [*(v for cells in table.values() for v in cells.values()), *(v for values in replicates for v in values)]
    scale = max(map(abs, every), default=0.0)
    variance = squares / df
    return Noise(variance=0.0 if math.sqrt(variance) <= _ROUNDING * scale else variance, df=df, left_out=left_out)


def far_above(own: float, own_df: float, pooled: float, pooled_df: float, *, chance: float = OUTLIER) -> bool:
    """Whether a variance is so far above another that chance alone would hardly make it so (F test, one-sided)."""
    if own_df <= 0 or pooled_df <= 0 or own <= pooled:
        return False
    return pooled == 0 or f_sf(own / pooled, own_df, pooled_df) < chance


def _of_table(table: Mapping[Name, Cells]) -> tuple[float, int, tuple[Name, ...]]:
    """Sum of squares of the residuals, degrees of freedom, and who was left out."""
    kept = _linked(table)
    left_out: list[Name] = []
    while True:
        residuals = _residuals(kept)
        squares = {name: math.fsum(r * r for r in own.values()) for name, own in residuals.items()}
        df = _degrees(kept)
        found = _outliers(squares, df)
        if not found:
            return math.fsum(squares.values()), df, tuple(left_out)
        left_out += found
        kept = _linked({name: cells for name, cells in kept.items() if name not in found})


def _outliers(squares: Mapping[Name, float], df: int) -> set[Name]:
    """The candidates whose squares stand out from the rest, the worst first, each held against those that remain.

    An outlier also spoils the cells' effects for the others. Where these are few the table is fitted again after
    each; of many, where one weighs little, all that stand out go at once: 10,000 candidates take 0.2 s.
    """
    found: set[Name] = set()
    # Of two candidates each has the same residuals, and none can be told to be the outlier.
    if len(squares) < 3 or df < 2:
        return found
    share = df / len(squares)
    total = math.fsum(squares.values())
    left = len(squares)
    for name in sorted(squares, key=squares.__getitem__, reverse=True):
        own, rest = squares[name] / share, max(total - squares[name], 0.0) / (share * (left - 1))
        if not far_above(own, share, rest, share * (left - 1), chance=OUTLIER / len(squares)):
            break
        found.add(name)
        total, left = total - squares[name], left - 1
        if left < _MANY:
            break
    return found


def _linked(table: Mapping[Name, Cells]) -> dict[Name, Cells]:
    """The table without rows and columns of one value, which say nothing of noise."""
    kept: dict[Name, Cells] = {name: cells for name, cells in table.items() if len(cells) > 1}
    while True:
        counts: dict[Hashable, int] = {}
        for cells in kept.values():
            for cell in cells:
                counts[cell] = counts.get(cell, 0) + 1
        if all(count > 1 for count in counts.values()):
            return kept
        fewer = {name: {c: v for c, v in cells.items() if counts[c] > 1} for name, cells in kept.items()}
        kept = {name: cells for name, cells in fewer.items() if len(cells) > 1}


def _residuals(table: Mapping[Name, Cells], most: int = 200) -> dict[Name, dict[Hashable, float]]:
    """What the additive model leaves. Alternating means: exact after one turn where no row is missing."""
    cell_effects: dict[Hashable, float] = {cell: 0.0 for cells in table.values() for cell in cells}
    size: dict[Hashable, int] = dict.fromkeys(cell_effects, 0)
    for cells in table.values():
        for cell in cells:
            size[cell] += 1
    full = all(len(cells) == len(cell_effects) for cells in table.values())
    means: dict[Name, float] = {}
    for _ in range(1 if full else most):
        sums: dict[Hashable, float] = dict.fromkeys(cell_effects, 0.0)
        for name, cells in table.items():
            means[name] = math.fsum(v - cell_effects[c] for c, v in cells.items()) / len(cells)
            for cell, value in cells.items():
                sums[cell] += value - means[name]
        now = {cell: total / size[cell] for cell, total in sums.items()}
        moved = max((abs(now[cell] - cell_effects[cell]) for cell in now), default=0.0)
        cell_effects = now
        if moved <= 1e-12 * max(map(abs, means.values()), default=0.0):
            break
    residuals = {}
    for name, cells in table.items():
        own = {cell: value - cell_effects[cell] for cell, value in cells.items()}
        mean = math.fsum(own.values()) / len(own)
        residuals[name] = {cell: value - mean for cell, value in own.items()}
    return residuals


def _degrees(table: Mapping[Name, Cells]) -> int:
    """Values - candidates - cells + connected parts of the table (each part shifts its effects freely by one)."""
    columns = {cell for cells in table.values() for cell in cells}
    if all(len(cells) == len(columns) for cells in table.values()):
        return max(len(table) - 1, 0) * max(len(columns) - 1, 0)
    parent: dict[object, object] = {}

    def root(node: object) -> object:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    count = 0
    for name, cells in table.items():
        for cell in cells:
            parent[root(("candidate", name))] = root(("cell", cell))
            count += 1
    nodes = list(parent)
    parts = sum(root(node) == node for node in nodes)
    return count - len(nodes) + parts


def _squares(values: Sequence[float]) -> float:
    """Sum of squares about the mean."""
    if len(values) < 2:
        return 0.0
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values)
