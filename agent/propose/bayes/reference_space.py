"""A reference as a space of points: its grids, conditions and constraints, and the way back to settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from agent.propose.bayes.space import Dimension, Space
from agent.propose.space import grid_point, last_point, walk
from agent.reference import Expression, ExpressionError, Parameter, Reference
from trainers.contract import Value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Points = NDArray[np.float64]
    Mask = NDArray[np.bool_]


class ReferenceSpace:
    """The tunable parameters of a reference, in file order, as the columns of a `Space`.

    Choices that are all numbers are an ordered grid in the order of their size, others are categories. A step makes a
    grid of whole indices.
    """

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self._parameters = [reference.parameters[name] for name in reference.tunable()]
        self._columns = {parameter.name: column for column, parameter in enumerate(self._parameters)}
        conditional = any(reference.parameters[name].condition is not None for name in reference.order)
        self.space = Space(
            dimensions=tuple(_dimension(parameter) for parameter in self._parameters),
            active=self._active if conditional else None,
            allowed=self._allowed if reference.constraints else None,
        )

    def point(self, values: Mapping[str, Value]) -> Points:
        """The normal point of valid settings; parameters that they lack are inactive."""
        shown = {name: self._to_place(name, value) for name, value in values.items()}
        points, _ = self.space.normal(self.space.encode(shown)[None])
        first: Points = points[0]
        return first

    def values(self, point: Points) -> dict[str, Value] | None:
        """The settings at a point, canonical and complete; None where they break a condition or a constraint."""
        return walk(self.reference, lambda parameter: self._value(parameter.name, point))

    def _to_place(self, name: str, value: Value) -> Value:
        """A value as the dimension holds it: an index where the parameter has a step, a choice as it is listed."""
        parameter = self.reference.parameters[name]
        if parameter.step is not None:
            assert parameter.low is not None and isinstance(value, int | float)
            return round((value - parameter.low) / parameter.step)
        if parameter.type == "categorical":
            choice = parameter.choice(value)
            return value if choice is None else choice
        return value

    def _value(self, name: str, point: Points) -> Value:
        column = self._columns[name]
        parameter = self._parameters[column]
        value = self.space.dimensions[column].decode(float(point[column]))
        if parameter.step is None:
            return value
        assert isinstance(value, int)
        return grid_point(parameter, value)

    def _active(self, points: Points) -> Mask:
        """(m, d) points -> (m, d) whether each tunable parameter takes effect."""
        active: dict[str, Mask] = {}
        for name in self.reference.order:
            condition = self.reference.parameters[name].condition
            if condition is None:
                active[name] = np.ones(len(points), dtype=bool)
            else:
                active[name] = self._holds(condition, points, active)
        return np.stack([active[parameter.name] for parameter in self._parameters], axis=1)

    def _allowed(self, points: Points) -> Mask:
        """(m, d) points -> (m,) whether every constraint whose parameters are active holds."""
        active = self._active(points) if self.space.active is not None else None
        found = np.ones(len(points), dtype=bool)
        for constraint in self.reference.constraints:
            names = sorted(constraint.expression.names & self._columns.keys())
            columns = [self._columns[name] for name in names]
            applies = np.ones(len(points), dtype=bool) if active is None else np.all(active[:, columns], axis=1)
            masks = dict.fromkeys(constraint.expression.names, applies)
            found &= np.logical_or(~applies, self._holds(constraint.expression, points, masks))
        return found

    def _holds(self, expression: Expression, points: Points, active: Mapping[str, Mask]) -> Mask:
        """(m,) whether an expression holds where all that it reads is active; one that cannot be evaluated does not.

        Each combination of what it reads is evaluated once: conditions read choices, which are few.
        """
        read = sorted(expression.names)
        there = np.ones(len(points), dtype=bool)
        for name in read:
            there &= active[name]
        columns = [self._columns[name] for name in read if name in self._columns]
        fixed = {name: self.reference.parameters[name].value for name in read if name not in self._columns}
        unique, back = np.unique(points[:, columns], axis=0, return_inverse=True)
        tuned = [name for name in read if name in self._columns]
        answers = np.zeros(len(unique), dtype=bool)
        for index, row in enumerate(unique):
            values = dict(fixed)
            for name, column, place in zip(tuned, columns, row, strict=True):
                point = np.zeros(len(self._columns))
                point[column] = place
                values[name] = self.reference.parameters[name].canonical(self._value(name, point))
            try:
                answers[index] = expression.holds(values)
            except ExpressionError:
                answers[index] = False
        found: Mask = there & answers[back.reshape(-1)]
        return found


def _dimension(parameter: Parameter) -> Dimension:
    if parameter.type == "bool":
        return Dimension(name=parameter.name, values=(False, True), ordered=False)
    if parameter.type == "categorical":
        choices = parameter.choices
        numbers = all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in choices)
        ordered = tuple(sorted(choices, key=_size)) if numbers else choices
        return Dimension(name=parameter.name, values=ordered, ordered=numbers)
    if parameter.step is not None:
        return Dimension(name=parameter.name, low=0, high=last_point(parameter), integer=True)
    assert parameter.low is not None and parameter.high is not None
    return Dimension(
        name=parameter.name,
        low=float(parameter.low),
        high=float(parameter.high),
        log=parameter.log,
        integer=parameter.type == "int",
    )


def _size(choice: Value) -> float:
    assert isinstance(choice, int | float)
    return float(choice)
