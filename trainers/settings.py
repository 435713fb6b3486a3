"""Checking a trial's values against the configuration class of its trainer. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from trainers.contract import BadConfig, Value

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


def _fits(value: object, kind: str) -> bool:
    if isinstance(value, bool) or kind == "bool":
        return isinstance(value, bool) and kind == "bool"
    return isinstance(value, {"float": int | float, "int": int, "str": str}[kind])
