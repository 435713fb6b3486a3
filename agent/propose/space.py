"""A reference as a space to draw settings from: one walk that obeys conditions and constraints, used by all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from random import Random

from agent.propose.base import Batch
from agent.reference import ExpressionError, Parameter, Reference
from trainers.contract import Value

Pick = Callable[[Parameter], Value]

ENUMERABLE = 20_000
"""Spaces of at most so many settings are searched to the end before they are called exhausted (about a second)."""
MIN_DRAWS, DRAWS_EACH, MAX_DRAWS = 200, 50, 20_000


def walk(reference: Reference, pick: Pick) -> dict[str, Value] | None:
    """Settings built by picking a value for each tunable parameter that the earlier picks make active.

    Parents come before the parameters whose conditions read them. Returns the tunable, active values in file order
    and canonical form, or None where they violate a constraint or a condition cannot be evaluated for them.
    """
    effective: dict[str, Value] = {}
    for name in reference.order:
        parameter = reference.parameters[name]
        active = _active(reference, parameter, effective)
        if active is None:
            return None
        if active:
            effective[name] = parameter.canonical(pick(parameter)) if parameter.tune else parameter.value
    return _finished(reference, effective)


def random_value(parameter: Parameter, rng: Random) -> Value:
    """One value, uniform over the choices, the grid, the range, or the logarithm of the range."""
    if parameter.type in ("bool", "categorical"):
        return rng.choice(parameter.choices or (False, True))
    assert parameter.low is not None and parameter.high is not None
    low, high = parameter.low, parameter.high
    if parameter.type == "int":
        if not parameter.log:
            steps = int(high - low) // int(parameter.step or 1)
            return int(low) + rng.randint(0, steps) * int(parameter.step or 1)
        # Half a unit on both sides, so that the ends are as likely as their neighbours.
        drawn = round(math.exp(rng.uniform(math.log(low - 0.5), math.log(high + 0.5))))
        return int(min(max(drawn, low), high))
    if parameter.step is not None:
        return grid_point(parameter, rng.randint(0, last_point(parameter)))
    drawn_float = math.exp(rng.uniform(math.log(low), math.log(high))) if parameter.log else rng.uniform(low, high)
    return min(max(drawn_float, float(low)), float(high))


def grid(parameter: Parameter, limit: int) -> tuple[Value, ...] | None:
    """All values of a parameter that has at most `limit` of them, else None."""
    if parameter.type == "bool":
        return (False, True)
    if parameter.type == "categorical":
        return parameter.choices if len(parameter.choices) <= limit else None
    assert parameter.low is not None and parameter.high is not None
    if parameter.type == "int":
        low, high, step = int(parameter.low), int(parameter.high), int(parameter.step or 1)
        return tuple(range(low, high + 1, step)) if (high - low) // step < limit else None
    if parameter.step is None or (last := last_point(parameter)) >= limit:
        return None
    return tuple(grid_point(parameter, index) for index in range(last + 1))


def last_point(parameter: Parameter) -> int:
    """Index of the last point of a number's grid; the first is 0."""
    assert parameter.low is not None and parameter.high is not None and parameter.step is not None
    return math.floor((parameter.high - parameter.low) / parameter.step + 1e-9)


def grid_point(parameter: Parameter, index: int) -> int | float:
    """The grid's point, held below high: in floats 23 steps of 3255.25 / 23 go a little beyond 3255.25."""
    assert parameter.low is not None and parameter.high is not None and parameter.step is not None
    return min(parameter.low + index * parameter.step, parameter.high)


def every(reference: Reference) -> Iterator[dict[str, Value]] | None:
    """Every valid setting of a finite space, as `walk` gives them; None where a parameter is continuous or
    the product of the numbers of values exceeds ENUMERABLE."""
    size = 1
    grids: dict[str, tuple[Value, ...]] = {}
    for name in reference.tunable():
        values = grid(reference.parameters[name], ENUMERABLE)
        size *= len(values or ())
        if values is None or size > ENUMERABLE:
            return None
        grids[name] = values
    return _branches(reference, grids, {}, 0)


def fill(batch: Batch, rng: Random) -> str:
    """Fill a batch at random: how it was established that there is no more, or "" where it is full.

    Draws with rejection; where that does not get there, a small finite space is listed to its end, and another is
    given up after MAX_DRAWS draws.
    """
    for _ in range(MIN_DRAWS + DRAWS_EACH * batch.count):
        if batch.full:
            return ""
        _draw(batch, rng)
    settings = every(batch.reference)
    if settings is None:
        for _ in range(MAX_DRAWS):
            if batch.full:
                return ""
            _draw(batch, rng)
        return f"{MAX_DRAWS:,} random draws from this space gave no further one"
    listed = list(settings)
    for values in rng.sample(listed, len(listed)):
        batch.offer(values)
    return "" if batch.full else f"the space holds {len(listed):,} valid settings, and no further one is untried"


def _draw(batch: Batch, rng: Random) -> None:
    values = walk(batch.reference, lambda parameter: random_value(parameter, rng))
    if values is not None:
        batch.offer(values)


def _active(reference: Reference, parameter: Parameter, effective: Mapping[str, Value]) -> bool | None:
    """Whether the parameter takes effect; None where its condition cannot be evaluated."""
    try:
        return reference.enabled(parameter.name, effective)
    except ExpressionError:
        return None


def _finished(reference: Reference, effective: Mapping[str, Value]) -> dict[str, Value] | None:
    if reference.violations(effective):
        return None
    return {name: effective[name] for name, p in reference.parameters.items() if p.tune and name in effective}


def _branches(
    reference: Reference, grids: Mapping[str, tuple[Value, ...]], effective: dict[str, Value], depth: int
) -> Iterator[dict[str, Value]]:
    """The settings that extend `effective`, which holds the active parameters among the first `depth` of order."""
    if depth == len(reference.order):
        values = _finished(reference, effective)
        if values is not None:
            yield values
        return
    parameter = reference.parameters[reference.order[depth]]
    active = _active(reference, parameter, effective)
    if active is None:
        return
    values_here: tuple[Value | None, ...] = (None,)
    if active:
        values_here = grids[parameter.name] if parameter.tune else (parameter.value,)
    for value in values_here:
        if value is None:
            yield from _branches(reference, grids, effective, depth + 1)
        else:
            chosen = parameter.canonical(value) if parameter.tune else value
            yield from _branches(reference, grids, {**effective, parameter.name: chosen}, depth + 1)
