"""Checking a trial's values against the configuration class of its trainer. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from trainers.contract import BadConfig, Value
from trainers.fit import Refusal, Space, meant, not_among

C = TypeVar("C")

Meaningful = Mapping[str, tuple[Callable[[float], bool], str]]
"""Parameter -> whether a number has a meaning there, and what the numbers that have one are called."""


def typed_values(kind: type[C], values: Mapping[str, Value], *, trainer: str) -> dict[str, Any]:
    """The values as arguments of the dataclass `kind`; whole numbers serve where its field is a float.

    Raises BadConfig, which lists every unknown, missing and ill-typed name, and the valid ones.
    """
    types = {field.name: str(field.type) for field in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    problems = [f"unknown parameter {name!r}" for name in values if name not in types]
    problems += [f"missing parameter {name!r}" for name in types if name not in values]
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in types:
            continue
        if _fits(value, types[name]):
            checked[name] = float(value) if types[name] == "float" else value
        else:
            problems.append(f"{name} = {value!r}: must be of type {types[name]}")
    if problems:
        raise BadConfig(f"{trainer}: {'; '.join(problems)} (parameters: {', '.join(types)})")
    return checked


def meaningless(config: object, *, choices: Mapping[str, tuple[str, ...]], numbers: Meaningful) -> list[str]:
    """What has no meaning in a configuration, a line each: texts outside `choices`, numbers outside `numbers`."""
    problems = [
        f"{name} = {getattr(config, name)!r}: allowed: {', '.join(allowed)}"
        for name, allowed in choices.items()
        if getattr(config, name) not in allowed
    ]
    for name, (meaningful, text) in numbers.items():
        value = getattr(config, name)
        if not (math.isfinite(value) and meaningful(value)):
            problems.append(f"{name} = {value!r}: must be {text}")
    return problems


def misfits(
    space: Space,
    kind: type,
    *,
    trainer: str,
    choices: Mapping[str, tuple[str, ...]],
    numbers: Meaningful,
    further: Mapping[str, Callable[[Value], str]] | None = None,
) -> list[Refusal]:
    """What a reference offers that the dataclass `kind` has no field for, or a value that means nothing there.

    Every choice, bound, default and active value is looked at, whichever of them would be trained. choices, numbers:
    as in `meaningless`. further: parameter -> what is wrong with a value of the right type, or an empty text.
    """
    types = {field.name: str(field.type) for field in fields(kind)}
    known = ", ".join(types)
    refused = []
    for name in space:
        if name not in types:
            hint = f"; did you mean {near}?" if (near := meant(name, types)) else ""
            refused.append(
                Refusal(parameter=name, message=f"{trainer} has no such parameter{hint} (it has: {known})")
            )
    refused += [
        Refusal(parameter=name, message=f"is missing: {trainer} needs it; copy it from its shipped reference")
        for name in types
        if name not in space
    ]
    for name, asked in space.items():
        told: set[str] = set()
        for key, value in asked.listed() if name in types else ():
            message = _misfit(value, types[name], choices.get(name), numbers.get(name))
            message = message or (further or {}).get(name, _nothing)(value)
            if message and repr(value) not in told:
                told.add(repr(value))
                refused.append(Refusal(parameter=name, key=key, value=value, message=f"{trainer} {message}"))
    return refused


def _nothing(value: Value) -> str:
    return ""


def _misfit(
    value: Value,
    kind: str,
    allowed: tuple[str, ...] | None,
    number: tuple[Callable[[float], bool], str] | None,
) -> str:
    """Why a configuration cannot take a value, in words that follow the trainer's name; empty where it can."""
    if allowed is not None:
        return "" if value in allowed else f"cannot do this; {not_among(value, allowed)}"
    if not _fits(value, kind):
        whole = f"; write {int(value)}" if isinstance(value, float) and value.is_integer() else ""
        return f"needs a value of type {kind} here{whole}"
    if number is None or isinstance(value, str):
        return ""
    meaningful, words = number
    return "" if math.isfinite(value) and meaningful(value) else f"cannot use this; it must be {words}"


def _fits(value: object, kind: str) -> bool:
    if isinstance(value, bool) or kind == "bool":
        return isinstance(value, bool) and kind == "bool"
    return isinstance(value, {"float": int | float, "int": int, "str": str, "int | str": int | str}[kind])
