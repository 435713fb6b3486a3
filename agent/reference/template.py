"""The canonical text of a reference in pieces, so that thousands of its successors are not each written from scratch.

A round of 2,000 candidates writes 2,000 references that differ in their header and their active values. Python's
encoder for indented JSON takes a millisecond for each of them, and almost all of it is spent on the same text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from agent.reference.expression import Value

_KEY = "active_value"


class _Entry(NamedTuple):
    """One parameter's text in three forms."""

    whole: str
    """As it stands."""
    without: str
    """Without an active value."""
    before: str
    """Up to another active value, which goes where one stands, else behind the default."""
    after: str


class Template:
    """The text of the references that share a reference's parameters, but for their active values."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._raw = raw
        self._header = {key: _text(value, 1) for key, value in raw.items() if key != "parameters"}
        self._entries = {name: _entry(entry) for name, entry in raw["parameters"].items()}

    def text(self, header: Mapping[str, object], active: Mapping[str, Value | None]) -> str:
        """The canonical text with these header keys and active values; None takes an active value away.

        Exactly what `write_json` makes of the object: absent header keys go before the parameters.
        """
        lines = []
        for key in put(self._raw, header, before="parameters"):
            if key in header:
                text = _text(header[key], 1)
            elif key == "parameters":
                text = self._parameters(active)
            else:
                text = self._header[key]
            lines.append(f"{_label(key)}{text}")
        return _object(lines, 0) + "\n"

    def _parameters(self, active: Mapping[str, Value | None]) -> str:
        lines = []
        for name, entry in self._entries.items():
            if name not in active:
                text = entry.whole
            elif (value := active[name]) is None:
                text = entry.without
            else:
                text = f"{entry.before}{_text(value, 3)}{entry.after}"
            lines.append(f"{_label(name)}{text}")
        return _object(lines, 1)


def put(
    entry: Mapping[str, Any], updates: Mapping[str, object], *, behind: str = "", before: str = ""
) -> dict[str, Any]:
    """`entry` with `updates`: present keys keep their place, absent ones go behind or before the named key."""
    absent = {key: value for key, value in updates.items() if key not in entry}
    result: dict[str, Any] = {}
    for key, value in entry.items():
        if key == before:
            result.update(absent)
        result[key] = updates.get(key, value)
        if key == behind:
            result.update(absent)
    return result


def _entry(entry: Mapping[str, Any]) -> _Entry:
    lines = {
        key: f"{_label(key)}{_text(value, 3)}"
        for key, value in put(entry, {_KEY: entry.get(_KEY)}, behind="default").items()
    }
    without = {key: line for key, line in lines.items() if key != _KEY}
    # A text that no line holds, because JSON escapes it.
    hole = "\x00"
    before, _, after = _object([*({**lines, _KEY: f'"{_KEY}": {hole}'}).values()], 2).partition(hole)
    plain = _object([*without.values()], 2)
    return _Entry(
        whole=_object([*lines.values()], 2) if _KEY in entry else plain, without=plain, before=before, after=after
    )


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def _scalar(value: object) -> str:
    # Encoders take the long way for numbers; these are finite, because the reference was read.
    if type(value) is float or type(value) is int:
        return repr(value)
    return _encode(value)


@lru_cache(maxsize=1024)
def _label(key: str) -> str:
    return f"{_encode(key)}: "


def _text(value: object, depth: int) -> str:
    """A value inside `depth` objects."""
    if isinstance(value, dict):
        return _object([f"{_label(key)}{_text(item, depth + 1)}" for key, item in value.items()], depth)
    if isinstance(value, list):
        return _object([_text(item, depth + 1) for item in value], depth, "[]")
    return _scalar(value)


def _object(lines: Sequence[str], depth: int, brackets: str = "{}") -> str:
    if not lines:
        return brackets
    inner = "\n" + "  " * (depth + 1)
    return brackets[0] + inner + f",{inner}".join(lines) + "\n" + "  " * depth + brackets[1]
