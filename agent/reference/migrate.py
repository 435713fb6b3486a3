"""Taking over a hyperparameter_reference.json from before schema_version: parameters with type, range and default.

    {"initial_lr": {"type": "float", "range": [1e-4, 0.1], "default": 0.01, "active_value": 0.005}}

at the top, or under `parameters` or `hyperparameters`. The shipped reference stays the frame: its names, descriptions
and conditions. What the old file says of a range or a value is laid over it; what it says of a name that the trainer
does not have is refused, because it would silently do nothing.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from typing import Any, TypeGuard

from agent.errors import InvalidReference, Problem
from agent.reference.model import Reference
from agent.reference.parse import parse_reference

_PARTS = ("parameters", "hyperparameters")
_LOW, _HIGH = ("low", "min", "minimum"), ("high", "max", "maximum")
_CHOICES = ("choices", "values", "options", "range")
REMEDY = "Edit these places; the trainer's page in doc/ lists its parameters."


def is_old(raw: object) -> TypeGuard[dict[str, Any]]:
    """Whether a JSON value is a reference of the old form: no schema_version, and parameters with a default."""
    if not isinstance(raw, dict) or "schema_version" in raw:
        return False
    return any(isinstance(entry, dict) and "default" in entry for entry in _old_parameters(raw).values())


def migrated(raw: Mapping[str, Any], shipped: Reference, *, file: str) -> Reference:
    """The shipped reference with the old file's ranges, choices and values.

    Raises InvalidReference with every problem: unknown names (with the nearest that exist), values out of their kind.
    """
    found = copy.deepcopy(shipped.raw)
    problems: list[Problem] = []
    for name, entry in _old_parameters(raw).items():
        parameter = found["parameters"].get(name)
        if not isinstance(entry, dict):
            found[name if name.startswith("x_") else f"x_{name}"] = entry
        elif parameter is None:
            near = difflib.get_close_matches(name, found["parameters"], n=3, cutoff=0.4)
            known = f"nearest: {', '.join(near)}" if near else f"there are: {', '.join(found['parameters'])}"
            problems.append(Problem(file=file, where=name, value="", message=f"{shipped.trainer} has none; {known}"))
        else:
            _overlay(parameter, entry)
    if problems:
        raise InvalidReference(problems, REMEDY)
    return parse_reference(found, file=file)


def _old_parameters(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((raw[part] for part in _PARTS if isinstance(raw.get(part), dict)), raw)


def _overlay(parameter: dict[str, Any], entry: Mapping[str, Any]) -> None:
    """Lay an old entry over a parameter; what does not fit is found by the check of the whole file."""
    value = entry.get("active_value", entry.get("default"))
    if parameter["type"] == "categorical":
        value = _as_choice(value, parameter)
        offered = next((entry[key] for key in _CHOICES if isinstance(entry.get(key), list)), ())
        numeric = len(offered) == 2 and all(type(item) in (int, float) for item in offered)
        for choice in [_as_choice(item, parameter) for item in ([] if numeric else offered)] + [value]:
            if choice is not None and choice not in parameter["choices"]:
                parameter["choices"].append(choice)
    elif parameter["type"] in ("int", "float"):
        bounds = entry.get("range")
        pair = bounds if isinstance(bounds, list) and len(bounds) == 2 else (None, None)
        for key, old, position in (("low", _LOW, 0), ("high", _HIGH, 1)):
            bound = next((entry[name] for name in old if name in entry), pair[position])
            if bound is not None:
                parameter[key] = bound
    if value is not None and value != parameter["default"]:
        parameter["active_value"] = value
    if isinstance(parameter.get("default"), int | float) and "low" in parameter and parameter["type"] != "bool":
        # A narrower range may leave the shipped default outside, which no reference may have.
        outside = not parameter["low"] <= parameter["default"] <= parameter["high"]
        if outside and value is not None:
            parameter["default"] = value


def _as_choice(value: Any, parameter: Mapping[str, Any]) -> Any:
    """An old value as today's choice: true is "on" where these are the choices, [40, 56, 40] is 40x56x40."""
    if isinstance(value, bool) and {"on", "off"} <= {str(choice) for choice in parameter["choices"]}:
        return "on" if value else "off"
    if isinstance(value, list) and value and all(type(item) is int for item in value):
        return "x".join(str(item) for item in value)
    return value
