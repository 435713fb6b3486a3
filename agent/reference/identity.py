"""When two settings are the same: canonical values and the key under which a configuration is known."""

from __future__ import annotations

import json
from collections.abc import Mapping

from agent.errors import UsageError
from agent.reference.domain import type_refusal
from agent.reference.expression import Value
from agent.reference.model import Reference, show

REMEMBERED = 16_384
"""Keys that are remembered, at half a kilobyte each."""

_keys: dict[tuple[Reference, str], str] = {}
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def canonical(reference: Reference, values: Mapping[str, Value] | None = None) -> dict[str, Value]:
    """The settings that take effect with `values` over the reference's own, freed of float noise; in file order.

    Inactive parameters are left out; floats are rounded (see DIGITS in rounding.py) or snapped to their grid,
    integers of a float parameter become floats. Values out of range are kept, so that an old trial keeps its key
    when the range is narrowed.
    Raises UsageError for an unknown name or a value of the wrong type.
    """
    for name, value in reference.known(values or {}).items():
        parameter = reference.parameters[name]
        if message := type_refusal(parameter.type, value):
            raise UsageError(f"{name} = {show(value)}: {message}")
    effective = reference.effective(values)
    return {name: reference.parameters[name].canonical(value) for name, value in effective.items()}


def config_key(reference: Reference, values: Mapping[str, Value] | None = None) -> str:
    """16 hex digits that two settings share exactly when their canonical values are equal.

    Raises as `canonical` does.
    """
    # The steps of a round ask for each candidate's key again and again; the text tells 1, 1.0 and true apart.
    asked = (reference, repr(dict(values or {})))
    if (found := _keys.get(asked)) is None:
        if len(_keys) >= REMEMBERED:
            _keys.clear()
        found = _keys[asked] = key_of(canonical(reference, values))
    return found


def key_of(settings: Mapping[str, Value]) -> str:
    """The key of settings that are canonical already."""
    import hashlib

    return hashlib.sha256(_encode(settings).encode("ascii")).hexdigest()[:16]
