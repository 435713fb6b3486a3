"""The records of a reference: what a study may vary, and what it trains with now.

They are built by `parse_reference`, which has checked everything they hold.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any, Literal

from agent.errors import UsageError
from agent.reference.expression import Expression, ExpressionError, Value
from agent.reference.keys import listed
from agent.reference.rounding import rounded
from agent.reference.template import Template

ParameterType = Literal["float", "int", "categorical", "bool"]
Impact = Literal["small", "medium", "radical"]
Direction = Literal["minimize", "maximize"]

# Doubles, and so JSON, hold integers exactly up to here.
LARGEST_INT = 2**53
# A grid is met, and two floats are one, when they differ by less than this part of the range.
TOLERANCE = 1e-9


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is tuned for: a metric of the validation summary, and which way is better."""

    metric: str
    direction: Direction


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One hyperparameter: its domain, default and present value. Numbers of a float parameter are floats."""

    name: str
    type: ParameterType
    default: Value
    active_value: Value | None = None
    """None where the file has none; null is no value."""
    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    step: int | float | None = None
    choices: tuple[Value, ...] = ()
    description: str = ""
    group: str = ""
    impact: Impact = "small"
    condition: Expression | None = None
    tune: bool = True
    unit: str = ""
    data_note: str = ""
    """Why the study's data leaves less of the parameter than its trainer has; empty where it leaves all."""

    @property
    def value(self) -> Value:
        """active_value, else default."""
        return self.default if self.active_value is None else self.active_value

    @cached_property
    def allowed(self) -> str:
        """The domain in words, for messages, tables and prompts."""
        if self.type == "bool":
            return "true or false"
        if self.type == "categorical":
            return f"one of {listed(show(choice) for choice in self.choices)}"
        noun = "an integer" if self.type == "int" else "a number"
        scale = ", log scale" if self.log else f" in steps of {show(self.step)}" if self.step else ""
        return f"{noun} from {show(self.low)} to {show(self.high)}{scale}{f' {self.unit}' if self.unit else ''}"

    def refusal(self, value: object) -> str | None:
        """Why `value` is outside the domain, with what is allowed; None where it is inside."""
        if self.type == "bool":
            fits = isinstance(value, bool)
        elif self.type == "categorical":
            fits = isinstance(value, bool | int | float | str) and self.choice(value) is not None
        elif isinstance(value, bool) or not isinstance(value, int | float if self.type == "float" else int):
            return f"is not {'an integer' if self.type == 'int' else 'a number'}; allowed: {self.allowed}"
        else:
            assert self.low is not None and self.high is not None
            fits = self.low <= value <= self.high and self.on_grid(value)
        return None if fits else f"allowed: {self.allowed}"

    def choice(self, value: Value) -> Value | None:
        """The choice that equals `value` (1.0 equals 1, true does not), else None."""
        return self._choices.get((isinstance(value, bool), value))

    @cached_property
    def _choices(self) -> Mapping[tuple[bool, Value], Value]:
        # Told apart as `equal` does: 1.0 is the same key as 1, and true is not.
        return {(isinstance(choice, bool), choice): choice for choice in reversed(self.choices)}

    def canonical(self, value: Value) -> Value:
        """A value in the form that files and keys have: a choice as it is listed, a float rounded (see rounding.py).

        A value of another type, out of range or none of the choices stays as it is.
        """
        if self.type == "categorical":
            choice = self.choice(value)
            return value if choice is None else choice
        if self.type != "float" or isinstance(value, bool | str):
            return value
        assert self.low is not None and self.high is not None
        step = None if self.step is None else float(self.step)
        return rounded(float(value), float(self.low), float(self.high), log=self.log, step=step)

    def on_grid(self, value: int | float) -> bool:
        """Whether a number lies on low + k step (floats: within 1e-9 of the range)."""
        if self.step is None:
            return True
        assert self.low is not None and self.high is not None
        if self.type == "int":
            return (value - self.low) % self.step == 0
        nearest = self.low + round((value - self.low) / self.step) * self.step
        return abs(value - nearest) <= TOLERANCE * (self.high - self.low)


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """A rule across parameters, and what a person is told when it does not hold."""

    expression: Expression
    message: str


@dataclass(frozen=True, kw_only=True)
class RecordedChange:
    """One change of this version against its parent; None: the parameter was, or became, inactive."""

    parameter: str
    old: Value | None
    new: Value | None
    source: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A checked reference. Two are equal when their canonical texts are; nothing in it can be changed in place."""

    text: str
    """The canonical text (see `to_text`), from which all else was read."""
    trainer: str = field(compare=False)
    task: str | None = field(compare=False)
    round: int = field(compare=False)
    version: int = field(compare=False)
    parent_sha256: str | None = field(compare=False)
    source: str = field(compare=False)
    objective: Objective = field(compare=False)
    changes: tuple[RecordedChange, ...] = field(compare=False)
    parameters: Mapping[str, Parameter] = field(compare=False)
    """In file order."""
    constraints: tuple[Constraint, ...] = field(compare=False)
    order: tuple[str, ...] = field(compare=False, repr=False)
    """Names with every parameter behind those that its condition reads."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))

    @property
    def raw(self) -> dict[str, Any]:
        """A fresh copy of the file's object, unknown keys included."""
        raw: dict[str, Any] = json.loads(self.text)
        return raw

    @cached_property
    def template(self) -> Template:
        """For the texts of its successors."""
        return Template(self.raw)

    @cached_property
    def sha256(self) -> str:
        """Hex SHA-256 of the canonical text: reformatting a file by hand does not change it."""
        import hashlib

        return hashlib.sha256(self.text.encode("utf-8")).hexdigest()

    def to_text(self) -> str:
        """The file's text: JSON, indent 2, keys in file order, Unicode as it is, one newline at the end."""
        return self.text

    def values(self) -> dict[str, Value]:
        """name -> active_value, else default, for every parameter whether active or not."""
        return {name: parameter.value for name, parameter in self.parameters.items()}

    def effective(self, overrides: Mapping[str, Value] | None = None) -> dict[str, Value]:
        """The values that take effect: `values()` with `overrides`, less the inactive parameters; in file order.

        A parameter is active when those that its condition reads are active and the condition holds for them, in
        their canonical form: what is noise in a value does not decide whether another one counts.
        Raises UsageError for an unknown name, ExpressionError where a condition cannot be evaluated.
        """
        if not overrides:
            return dict(self._own)
        return self._effective({**self._values, **self.known(overrides)})

    @cached_property
    def _values(self) -> dict[str, Value]:
        return self.values()

    @cached_property
    def _own(self) -> dict[str, Value]:
        return self._effective(self._values)

    @cached_property
    def settings(self) -> Mapping[str, Value]:
        """The canonical form of `values()`."""
        return {name: parameter.canonical(parameter.value) for name, parameter in self.parameters.items()}

    @cached_property
    def _conditions(self) -> tuple[tuple[str, Expression | None], ...]:
        return tuple((name, self.parameters[name].condition) for name in self.order)

    def _effective(self, values: Mapping[str, Value]) -> dict[str, Value]:
        active: dict[str, Value] = {}
        for name, condition in self._conditions:
            if condition is None or (condition.names <= active.keys() and self._holds(condition, active)):
                active[name] = values[name]
        return {name: active[name] for name in self.parameters if name in active}

    def enabled(self, name: str, active: Mapping[str, Value]) -> bool:
        """Whether `name` takes effect beside `active`, the values of the active parameters before it in `order`.

        Raises ExpressionError where its condition cannot be evaluated.
        """
        condition = self.parameters[name].condition
        return condition is None or (condition.names <= active.keys() and self._holds(condition, active))

    def is_active(self, name: str, values: Mapping[str, Value] | None = None) -> bool:
        """Whether `name` takes effect under `values()` overridden by `values`. Raises as `effective` does."""
        if name not in self.parameters:
            raise UsageError(f"unknown parameter {name!r}; parameters: {listed(self.parameters)}")
        return name in self.effective(values)

    def tunable(self) -> tuple[str, ...]:
        """Names that may be proposed (tune: true), active or not; in file order."""
        return tuple(name for name, parameter in self.parameters.items() if parameter.tune)

    def violations(self, effective: Mapping[str, Value]) -> list[tuple[int, str]]:
        """(index, message) of each constraint that does not hold, or cannot be evaluated, for effective values.

        A constraint applies only when all its parameters are active.
        """
        found = []
        for index, constraint in enumerate(self.constraints):
            expression = constraint.expression
            if not expression.names <= effective.keys():
                continue
            try:
                holds = self._holds(expression, effective)
            except ExpressionError as error:
                found.append((index, str(error)))
                continue
            if not holds:
                found.append((index, f"{constraint.message} ({self._shown(expression, effective)})"))
        return found

    def condition_owner(self, error: ExpressionError) -> str:
        """The first parameter whose condition raised `error` in `effective`."""
        for name in self.order:
            condition = self.parameters[name].condition
            if condition is not None and condition.text == error.text:
                return name
        raise error

    def known(self, overrides: Mapping[str, Value]) -> Mapping[str, Value]:
        """`overrides`, all of whose names exist. Raises UsageError."""
        unknown = [name for name in overrides if name not in self.parameters]
        if unknown:
            raise UsageError(f"unknown parameter {listed(unknown)}; parameters: {listed(self.parameters)}")
        return overrides

    def _holds(self, expression: Expression, values: Mapping[str, Value]) -> bool:
        rule = self._rules.get(expression.text) or self._remember(expression)
        return rule(*[values[name] for name in sorted(expression.names)])

    @cached_property
    def _rules(self) -> dict[str, Callable[..., bool]]:
        """An expression's text -> whether it holds for the values of its names, in alphabetical order."""
        return {}

    def _remember(self, expression: Expression) -> Callable[..., bool]:
        names = sorted(expression.names)

        # Rules read mostly choices, which are few, and a round asks them 100,000 times. typed: true is not 1.
        @lru_cache(maxsize=256, typed=True)
        def rule(*values: Value) -> bool:
            found = zip(names, values, strict=True)
            return expression.holds({name: self.parameters[name].canonical(value) for name, value in found})

        return self._rules.setdefault(expression.text, rule)

    def _shown(self, expression: Expression, values: Mapping[str, Value]) -> str:
        return listed(
            f"{name} = {show(parameter.canonical(values[name]))}"
            for name, parameter in self.parameters.items()
            if name in expression.names
        )


def show(value: object) -> str:
    """A value as JSON writes it, shortened; for messages."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= 80 else text[:77] + "..."


def is_number(value: object) -> bool:
    """A finite number whose size doubles and JSON hold: no bool, NaN, infinity, or integer beyond 2**53."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= LARGEST_INT if isinstance(value, int) else math.isfinite(value)
