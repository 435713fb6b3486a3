"""The checks of one parameter: its keys, domain, condition, default and active value."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping
from typing import Any

from agent.errors import Problem
from agent.reference.expression import Expression, ExpressionError, Value, parse_expression
from agent.reference.jsontext import join
from agent.reference.keys import (
    FOREIGN_KEYS,
    IMPACTS,
    MAX_CHOICES,
    PARAMETER,
    REQUIRED_PARAMETER,
    TYPES,
    listed,
    misspelled,
    name_refusal,
)
from agent.reference.model import LARGEST_INT, TOLERANCE, Parameter, is_number, show

ABSENT = object()


class Findings:
    """The problems of one file, the first for each place."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._by_place: dict[str, Problem] = {}

    def add(self, where: str, value: object, message: str) -> None:
        shown = "" if value is ABSENT else show(value)
        self._by_place.setdefault(where, Problem(file=self.file, where=where, value=shown, message=message))

    @property
    def problems(self) -> list[Problem]:
        return list(self._by_place.values())

    def misspelled_keys(self, raw: Mapping[str, object], known: Collection[str], where: str) -> None:
        """Report unknown keys that look like slips; other unknown keys are a person's notes."""
        for key in raw:
            if isinstance(key, str) and key not in known and (meant := misspelled(key, known)):
                message = f"unknown key; did you mean {meant}? Keys: {listed(known)} (your own notes: x_...)"
                self.add(join(where, key), ABSENT, message)

    def text(self, raw: Mapping[str, object], key: str, where: str, *, blank: bool = True) -> str:
        """raw[key] where it is a text, else "" and a problem; an absent key is "" and none."""
        value = raw.get(key, "")
        if not isinstance(value, str) or (not blank and key in raw and not value.strip()):
            self.add(join(where, key), value, f"must be {'a text' if blank else 'a text that is not blank'}")
            return ""
        return value

    def flag(self, raw: Mapping[str, object], key: str, where: str, default: bool) -> bool:
        value = raw.get(key, default)
        if not isinstance(value, bool):
            self.add(join(where, key), value, "allowed: true, false")
            return default
        return value

    def one_of(self, raw: Mapping[str, object], key: str, where: str, allowed: Collection[str]) -> bool:
        """Whether raw[key] is one of the allowed texts; a problem where it is not or is absent."""
        value = raw.get(key, ABSENT)
        if isinstance(value, str) and value in allowed:
            return True
        message = f"allowed: {listed(allowed)}"
        self.add(join(where, key), value, message if key in raw else f"missing; {message}")
        return False

    def expression(self, text: object, where: str, names: Collection[str]) -> Expression | None:
        if not isinstance(text, str):
            self.add(where, text, "must be a text that holds an expression, such as optimizer == 'sgd'")
            return None
        try:
            return parse_expression(text, names)
        except ExpressionError as error:
            self.add(where, ABSENT, str(error))
            return None


def examine_parameter(name: str, raw: object, names: Collection[str], findings: Findings) -> Parameter | None:
    """Report every problem of one parameter. None where its domain or the type of a value is unusable."""
    where = join("parameters", name)
    if message := name_refusal(name):
        findings.add(where, ABSENT, message)
    if not isinstance(raw, dict):
        findings.add(where, raw, f"must be an object with the keys {listed(PARAMETER)}")
        return None
    findings.misspelled_keys(raw, PARAMETER, where)
    fields: dict[str, Any] = {
        "description": findings.text(raw, "description", where, blank=False),
        "group": findings.text(raw, "group", where),
        "unit": findings.text(raw, "unit", where),
        "data_note": findings.text(raw, "data_note", where),
        "tune": findings.flag(raw, "tune", where, True),
        "log": findings.flag(raw, "log", where, False),
    }
    if "impact" in raw and findings.one_of(raw, "impact", where, IMPACTS):
        fields["impact"] = raw["impact"]
    if "condition" in raw:
        fields["condition"] = findings.expression(raw["condition"], f"{where}.condition", names)
    if not findings.one_of(raw, "type", where, TYPES):
        return None
    kind = raw["type"]
    for key in REQUIRED_PARAMETER[kind]:
        if key not in raw:
            needed = listed(REQUIRED_PARAMETER[kind])
            findings.add(f"{where}.{key}", ABSENT, f"missing; a {kind} parameter needs {needed}")
    for key in FOREIGN_KEYS[kind]:
        if key in raw:
            findings.add(f"{where}.{key}", raw[key], f"has no meaning for type {kind}; remove it")
    domain = _domain(kind, raw, where, findings, log=fields["log"])
    values: dict[str, Any] | None = _values(kind, raw, where, findings)
    if domain is None or values is None:
        return None
    parameter = Parameter(name=name, type=kind, **fields, **domain, **values)
    for key, value in values.items():
        if message := parameter.refusal(value):
            findings.add(f"{where}.{key}", raw[key], message)
    return parameter


def examine_literals(
    expression: Expression, where: str, parameters: Mapping[str, Parameter], findings: Findings
) -> None:
    """Report what a parameter is never equal to (an unknown choice, a text where a number stands, a number between
    the steps), and numbers with more digits than values are compared with."""
    for name, literal in expression.literals:
        parameter = parameters.get(name)
        if parameter is not None and (message := _unequal(parameter, literal)):
            findings.add(where, expression.text, f"compares {name} with {show(literal)}; {name} is {message}")
    for name, literal in expression.bounds:
        parameter = parameters.get(name)
        if parameter is not None and (kept := _overlong(parameter, literal)) is not None:
            message = f"compares {name} with {show(literal)}, but values are rounded first; write {show(kept)}"
            findings.add(where, expression.text, message)


def _unequal(parameter: Parameter, literal: Value) -> str | None:
    """What the parameter is instead of `literal`, which it never equals; None where it may."""
    if parameter.type in ("categorical", "bool"):
        return None if parameter.refusal(literal) is None else parameter.allowed
    if not is_number(literal):
        return parameter.allowed
    if (kept := _overlong(parameter, literal)) is not None:
        return f"rounded to {show(kept)} first; write that"
    return parameter.allowed if parameter.canonical(literal) != literal else None


def _overlong(parameter: Parameter, literal: Value) -> Value | None:
    """What a literal with too many digits is to be; None where it is right, out of range, or between the steps."""
    if parameter.type != "float" or parameter.refusal(literal):
        return None
    kept = parameter.canonical(literal)
    return None if kept == literal else kept


def _domain(kind: str, raw: Mapping[str, Any], where: str, findings: Findings, *, log: bool) -> dict[str, Any] | None:
    """The parameter's low, high and step, or choices; None where they cannot be used."""
    if kind == "bool":
        return {}
    if kind == "categorical":
        choices = _choices(raw, where, findings)
        return None if choices is None else {"choices": choices}
    numbers: dict[str, Any] = {}
    for key in ("low", "high", "step"):
        if key not in raw:
            continue
        if message := type_refusal(kind, raw[key]):
            findings.add(f"{where}.{key}", raw[key], message)
        else:
            numbers[key] = float(raw[key]) if kind == "float" else raw[key]
    if "low" not in numbers or "high" not in numbers or ("step" in raw and "step" not in numbers):
        return None
    low, high = numbers["low"], numbers["high"]
    if not low < high:
        message = f"must be below high = {show(high)} (to hold a value still, set tune to false)"
        findings.add(f"{where}.low", low, message)
        return None
    if not is_number(high - low):
        findings.add(f"{where}.high", high, f"the range from low = {show(low)} is too large")
        return None
    if log and low <= 0:
        findings.add(f"{where}.low", low, "a log scale needs low > 0")
        return None
    return numbers if "step" not in raw or _step_fits(numbers, where, findings, log=log) else None


def _step_fits(numbers: Mapping[str, Any], where: str, findings: Findings, *, log: bool) -> bool:
    step, size = numbers["step"], numbers["high"] - numbers["low"]
    message = None
    if log:
        message = "a log scale has no step; remove step or log"
    elif step <= 0:
        message = "must be above 0"
    elif step > size:
        message = f"larger than the range {show(size)}"
    elif step < TOLERANCE * size:
        message = f"smaller than {TOLERANCE} of the range {show(size)}; remove it"
    if message:
        findings.add(f"{where}.step", step, message)
    return message is None


def _choices(raw: Mapping[str, Any], where: str, findings: Findings) -> tuple[Value, ...] | None:
    where = f"{where}.choices"
    choices = raw.get("choices", ABSENT)
    if choices is ABSENT:
        return None
    if not isinstance(choices, list) or not choices:
        findings.add(where, choices, "must be a list of one or more texts, numbers, true, false")
        return None
    if len(choices) > MAX_CHOICES:
        findings.add(where, ABSENT, f"has {len(choices)} choices; at most {MAX_CHOICES} are allowed")
        return None
    found: dict[tuple[bool, Value], Value] = {}  # true is not 1, 1 is 1.0
    sound = True
    for index, choice in enumerate(choices):
        message = type_refusal("categorical", choice)
        if message is None and (isinstance(choice, bool), choice) in found:
            message = "occurs twice; keep one"
        if message:
            findings.add(f"{where}[{index}]", choice, message)
            sound = False
        else:
            found[isinstance(choice, bool), choice] = choice
    return tuple(found.values()) if sound else None


def _values(kind: str, raw: Mapping[str, Any], where: str, findings: Findings) -> dict[str, Value] | None:
    """The default and active_value that the file has; None where one is of the wrong type or no default is there."""
    values: dict[str, Value] = {}
    for key in ("default", "active_value"):
        if key not in raw:
            continue
        value = raw[key]
        if key == "active_value" and value is None:
            findings.add(f"{where}.{key}", value, "null is no value; remove the key to use the default")
        elif message := type_refusal(kind, value):
            findings.add(f"{where}.{key}", value, message)
        else:
            values[key] = float(value) if kind == "float" else value
    unusable = "default" not in values or ("active_value" in raw and "active_value" not in values)
    return None if unusable else values


def type_refusal(kind: str, value: object) -> str | None:
    """Why a value of the file cannot be of type `kind`, or None."""
    if kind == "bool":
        return None if isinstance(value, bool) else "allowed: true, false"
    if kind == "int":
        fits = isinstance(value, int) and is_number(value)
        return None if fits else f"must be an integer of at most {LARGEST_INT} in size"
    if kind == "float":
        return None if is_number(value) else "must be a finite number"
    if isinstance(value, str):
        control = any(unicodedata.category(character) == "Cc" for character in value)
        return "must not hold control characters such as newline" if control else None
    fits = isinstance(value, bool) or is_number(value)
    return None if fits else "must be a text, a number, true or false"
