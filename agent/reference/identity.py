"""When two settings are the same: canonical values and the key under which a configuration is known."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from agent.errors import UsageError
from agent.reference.domain import type_refusal
from agent.reference.expression import Value
from agent.reference.model import Parameter, Reference, show

DIGITS = 9
"""Floats are rounded to 10 significant digits on a log scale, to 1e-9 to 1e-10 of the range on a linear one."""


def canonical(reference: Reference, values: Mapping[str, Value] | None = None) -> dict[str, Value]:
    """The settings that take effect with `values` over the reference's own, freed of float noise; in file order.

    Inactive parameters are left out; floats are rounded (see DIGITS) or snapped to their grid, integers of a
    float parameter become floats. Values out of range are kept, so that an old trial keeps its key when the range
    is narrowed.
    Raises UsageError for an unknown name or a value of the wrong type.
    """
    for name, value in reference.known(values or {}).items():
        parameter = reference.parameters[name]
        if message := type_refusal(parameter.type, value):
            raise UsageError(f"{name} = {show(value)}: {message}")
    effective = reference.effective(values)
    return {name: canonical_value(reference.parameters[name], value) for name, value in effective.items()}


def config_key(reference: Reference, values: Mapping[str, Value] | None = None) -> str:
    """16 hex digits that two settings share exactly when their canonical values are equal.

    Raises as `canonical` does.
    """
    import hashlib

    text = json.dumps(canonical(reference, values), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def canonical_value(parameter: Parameter, value: Value) -> Value:
    """One value of the parameter's type in its canonical form; twice is the same as once."""
    if parameter.type == "categorical":
        choice = parameter.choice(value)
        return value if choice is None else choice
    if parameter.type != "float":
        return value
    assert isinstance(value, int | float) and parameter.low is not None and parameter.high is not None
    number, low, high = float(value), float(parameter.low), float(parameter.high)
    if not low <= number <= high:
        return number
    if parameter.step is not None:
        rounded = _snapped(number, low, float(parameter.step))
    elif parameter.log:
        rounded = float(f"{number:.{DIGITS}e}")
    else:
        rounded = _rounded(number, DIGITS - math.floor(math.log10(high - low)))
    return min(max(rounded, low), high) + 0.0  # + 0.0 turns -0.0 into 0.0


def _snapped(number: float, low: float, step: float) -> float:
    """The nearest low + k step, computed in decimal: 0.1 + 2 * 0.1 is to be 0.3."""
    from decimal import Decimal

    return float(Decimal(repr(low)) + round((number - low) / step) * Decimal(repr(step)))


def _rounded(number: float, digits: int) -> float:
    try:
        return round(number, digits)
    except OverflowError:  # 1.7e308 to the nearest 1e308
        return number
