"""Values far from all others of their column, such as a -9999 that stands for nothing. Standard library only."""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter
from dataclasses import dataclass

FAR = 15
"""Interquartile ranges beyond the quartiles. Of a normal distribution nothing lies beyond 4; of a log-normal one with
deviation 1, one value in three thousand beyond 15."""
SAMPLED = 4001
"""Values from which the quartiles are estimated, evenly spread."""
_NINES = re.compile(r"-?9{2,}(?:\.9+|\.0)?")
"""How values that stand for a missing one are mostly written: -9999, 999.9, -99."""


@dataclass(frozen=True)
class Outliers:
    """What lies far from a column's other values."""

    count: int
    value: float
    """The most frequent of them."""
    times: int
    """How often it occurs."""
    low: float
    high: float
    """The range of all other values."""

    def describe(self, column: str) -> str:
        """One sentence, with what to do."""
        written = f"{self.value:.15g}"
        others = f" and {self.count - self.times} more" if self.count > self.times else ""
        return (
            f"column {column}: {self.times} x {written}{others} lie far from the other values ({self.low:.6g} to "
            f"{self.high:.6g}); if it stands for a missing value, add --data missing={written} --data fill=previous"
        )


def far_values(values: array[float]) -> Outliers | None:
    """The values of a column that lie far from the others, or None. NaN is passed over."""
    known = [value for value in values if not math.isnan(value)]
    if len(known) < 8:
        return None
    low, high = min(known), max(known)
    sample = sorted(known[:: max(1, len(known) // SAMPLED)])
    first, third = sample[len(sample) // 4], sample[(3 * len(sample)) // 4]
    reach = FAR * (third - first)
    # Where most values are equal (rain), or most are missing, quartiles tell nothing: then only the nines count.
    bottom, top = (first - reach, third + reach) if reach > 0 else (low, high)
    if low >= bottom and high <= top and not any(map(_is_nines, (low, high))):
        return None
    counts = Counter(value for value in known if value < bottom or value > top)
    rest = [value for value in known if bottom <= value <= top]
    for edge in {low, high}:
        if edge not in counts and _is_nines(edge) and (inner := [value for value in rest if value != edge]):
            gap = min(inner) - edge if edge == low else edge - max(inner)
            if gap > max(inner) - min(inner):
                counts[edge] = len(rest) - len(inner)
                rest = inner
    if not counts or not rest:
        return None
    value, times = max(counts.items(), key=lambda found: (found[1], abs(found[0])))
    return Outliers(count=counts.total(), value=value, times=times, low=min(rest), high=max(rest))


def _is_nines(value: float) -> bool:
    return _NINES.fullmatch(f"{value:.15g}") is not None
