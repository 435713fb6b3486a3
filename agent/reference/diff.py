"""What differs between two references, for people and reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agent.reference.expression import equal
from agent.reference.model import Reference, show

Kind = Literal["value", "range", "added", "removed", "other"]

BOOKKEEPING = ("round", "version", "parent_sha256", "source", "changes")
"""Header keys that every version changes."""
VALUE_KEYS = ("default", "active_value")
RANGE_KEYS = ("type", "low", "high", "log", "step", "choices", "condition", "tune")


@dataclass(frozen=True, kw_only=True)
class Change:
    """One difference. parameter: "" for the header; field: the key, "" for a whole parameter; None: absent."""

    kind: Kind
    parameter: str
    field: str
    old: object
    new: object

    def __str__(self) -> str:
        place = ".".join(part for part in (self.parameter, self.field) if part)
        if self.kind == "added":
            return f"{place}: added, default {show(_default(self.new))}"
        if self.kind == "removed":
            return f"{place}: removed"
        return f"{place}: {_shown(self.old)} -> {_shown(self.new)}"


def diff(old: Reference, new: Reference) -> list[Change]:
    """All differences, parameters first, in the order of the new file. Order of keys and 1 against 1.0 are none."""
    before, after = old.raw, new.raw
    ours, theirs = before.pop("parameters"), after.pop("parameters")
    changes: list[Change] = []
    for name in _union(theirs, ours):
        if name not in ours:
            changes.append(Change(kind="added", parameter=name, field="", old=None, new=theirs[name]))
        elif name not in theirs:
            changes.append(Change(kind="removed", parameter=name, field="", old=ours[name], new=None))
        else:
            changes += _fields(ours[name], theirs[name], name)
    for key in BOOKKEEPING:
        before.pop(key, None)
        after.pop(key, None)
    return [*changes, *_fields(before, after, "")]


def describe(changes: Sequence[Change]) -> str:
    """One line for each change; "no changes" where there is none."""
    return "\n".join(str(change) for change in changes) or "no changes"


def _fields(old: Mapping[str, Any], new: Mapping[str, Any], parameter: str) -> Iterator[Change]:
    for key in _union(new, old):
        if key in old and key in new and _same(old[key], new[key]):
            continue
        kind: Kind = "other"
        if parameter and key in VALUE_KEYS:
            kind = "value"
        elif (parameter and key in RANGE_KEYS) or (not parameter and key == "constraints"):
            kind = "range"
        yield Change(kind=kind, parameter=parameter, field=key, old=old.get(key), new=new.get(key))


def _same(one: object, other: object) -> bool:
    """Equality of JSON values: true is not 1, 1 is 1.0, the order of keys is free."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, bool | int | float | str) and isinstance(other, bool | int | float | str):
        return equal(one, other)
    return one == other


def _union(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    return [*first, *(key for key in second if key not in first)]


def _default(entry: object) -> object:
    return entry.get("default") if isinstance(entry, dict) else None


def _shown(value: object) -> str:
    return "-" if value is None else show(value)
