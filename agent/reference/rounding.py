"""The rounding that frees a setting of float noise, so that one setting has one text and one key."""

from __future__ import annotations

import math

DIGITS = 9
"""Floats are rounded to 10 significant digits on a log scale, to 1e-9 to 1e-10 of the range on a linear one."""


def rounded(number: float, low: float, high: float, *, log: bool = False, step: float | None = None) -> float:
    """`number` on its grid or with the digits that count, inside low..high; out of range it stays as it is.

    Twice is the same as once, and order is kept: of two numbers the smaller is never rounded above the other.
    """
    if not low <= number <= high:
        return number
    if step is not None:
        found = _snapped(number, low, step)
    elif log:
        found = float(f"{number:.{DIGITS}e}")
    else:
        found = _to_digits(number, DIGITS - math.floor(math.log10(high - low)))
    return min(max(found, low), high) + 0.0  # + 0.0 turns -0.0 into 0.0


def _snapped(number: float, low: float, step: float) -> float:
    """The nearest low + k step, computed in decimal: 0.1 + 2 * 0.1 is to be 0.3."""
    from decimal import Decimal

    return float(Decimal(repr(low)) + round((number - low) / step) * Decimal(repr(step)))


def _to_digits(number: float, digits: int) -> float:
    try:
        return round(number, digits)
    except OverflowError:  # 1.7e308 to the nearest 1e308
        return number
