"""Settings as points: each parameter is a column, a number on [0, 1] or the index of a category.

A point is a row of floats, one a parameter. Numbers lie on the unit interval by their position in the range (by the
logarithm where the parameter says so); whole numbers and ordered grids at the places of their values; unordered
choices hold their index. A parameter without effect under a point's other values is *inactive*: it is then held at
one constant, so that it makes no difference between two points where neither uses it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainers.contract import Value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Points = NDArray[np.float64]
    Mask = NDArray[np.bool_]

#: Where inactive numbers stand: in the middle, so that they are as near as can be to all that use them.
INACTIVE = 0.5


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One parameter. A number has low and high, or `values`, an ordered grid; a category has `values` alone."""

    name: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    integer: bool = False
    values: tuple[Value, ...] = ()
    ordered: bool = True
    """Whether near values are alike: False for categories."""

    @property
    def size(self) -> float:
        """How many values there are; infinite for a continuous one."""
        if self.values:
            return len(self.values)
        return self.high - self.low + 1 if self.integer else math.inf

    @property
    def category(self) -> bool:
        return not self.ordered

    def encode(self, value: Value) -> float:
        """The place of a value. Raises ValueError for one that the dimension does not hold."""
        if self.values:
            index = next(i for i, known in enumerate(self.values) if type(known) is type(value) and known == value)
            if self.category:
                return float(index)
            return index / (len(self.values) - 1) if len(self.values) > 1 else INACTIVE
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{self.name} is {value!r}: must be a number")
        low, high = self._ends
        return (self._scaled(float(value)) - low) / (high - low) if high > low else INACTIVE

    def decode(self, place: float) -> Value:
        """The value at a place."""
        if self.values:
            last = len(self.values) - 1
            index = round(place) if self.category else math.floor(place * (last + 1))
            return self.values[min(max(index, 0), last)]
        low, high = self._ends
        drawn = self._unscaled(low + place * (high - low))
        inside = min(max(round(drawn) if self.integer else drawn, self.low), self.high)
        return int(inside) if self.integer else float(inside)

    def snapped(self, column: Points) -> Points:
        """A column with each entry moved to the place of the value that it decodes to."""
        if self.category or self.size == math.inf:
            return column
        if self.values:
            last = len(self.values) - 1
            cells = np.clip(np.floor(column * (last + 1)), 0, last)
            return cells / last if last else np.full_like(column, INACTIVE)
        low, high = self._ends
        drawn = low + column * (high - low)
        whole = np.clip(np.round(np.exp(drawn) if self.log else drawn), self.low, self.high)
        places: Points = ((np.log(whole) if self.log else whole) - low) / (high - low)
        return places

    @property
    def _ends(self) -> tuple[float, float]:
        """What lies at 0 and at 1: beyond whole numbers half a unit, so that all their cells are of one width."""
        more = 0.5 if self.integer else 0.0
        return self._scaled(self.low - more), self._scaled(self.high + more)

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.log else value

    def _unscaled(self, value: float) -> float:
        return math.exp(value) if self.log else value


@dataclass(frozen=True, kw_only=True)
class Space:
    """All dimensions, which of them take effect where, and which points are allowed."""

    dimensions: tuple[Dimension, ...]
    active: Callable[[Points], Mask] | None = None
    """(m, d) points -> (m, d) whether each parameter takes effect; None: all do everywhere."""
    allowed: Callable[[Points], Mask] | None = None
    """(m, d) points -> (m,) whether a point meets the constraints; None: all do."""

    def __len__(self) -> int:
        return len(self.dimensions)

    @property
    def categories(self) -> Mask:
        """(d,) which columns hold an index."""
        return np.array([dimension.category for dimension in self.dimensions], dtype=bool)

    @property
    def size(self) -> float:
        """How many points there are at most."""
        return math.prod(dimension.size for dimension in self.dimensions)

    def normal(self, points: Points) -> tuple[Points, Mask]:
        """Points at places that values have, with inactive parameters at their constant; and which are allowed."""
        points = points.copy()
        for column, dimension in enumerate(self.dimensions):
            points[:, column] = dimension.snapped(points[:, column])
        if self.active is not None:
            points = np.where(self.active(points), points, self._constants())
        return points, np.ones(len(points), dtype=bool) if self.allowed is None else self.allowed(points)

    def _constants(self) -> Points:
        return np.where(self.categories, 0.0, INACTIVE)

    def encode(self, config: Mapping[str, Value]) -> Points:
        """One point; parameters that the settings lack are inactive. Raises ValueError for a value outside."""
        constants = self._constants()
        return np.array(
            [d.encode(config[d.name]) if d.name in config else constants[i] for i, d in enumerate(self.dimensions)]
        )

    def decode(self, point: Points) -> dict[str, Value]:
        """The settings at a point: the active parameters alone."""
        active = self.active(point[None])[0] if self.active is not None else np.ones(len(self), dtype=bool)
        return {d.name: d.decode(float(point[i])) for i, d in enumerate(self.dimensions) if active[i]}

    def random(self, rng: np.random.Generator, count: int) -> Points:
        """Uniform points, not yet normal: over the unit interval, or the indices."""
        return self._of_uniform(rng.random((count, len(self))))

    def spread(self, rng: np.random.Generator, count: int) -> Points:
        """Points that fill the space evenly: a Halton sequence with a random shift (Cranley and Patterson 1976)."""
        shift = rng.random(len(self))
        columns = [_van_der_corput(base, count) for base in _primes(len(self))]
        return self._of_uniform((np.stack(columns, axis=1) + shift) % 1.0)

    def _of_uniform(self, drawn: Points) -> Points:
        for column, dimension in enumerate(self.dimensions):
            if dimension.category:
                drawn[:, column] = np.floor(drawn[:, column] * len(dimension.values))
        return drawn


def _primes(count: int) -> list[int]:
    found: list[int] = []
    number = 2
    while len(found) < count:
        if all(number % prime for prime in found):
            found.append(number)
        number += 1
    return found


def _van_der_corput(base: int, count: int) -> Points:
    """The numbers 1 to count with their digits mirrored at the point, in some base."""
    index, weight = np.arange(1, count + 1), 1.0 / base
    total = np.zeros(count)
    while index.any():
        total += weight * (index % base)
        index, weight = index // base, weight / base
    return total
