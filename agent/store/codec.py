"""Between a line of the journal and a typed record: which class a name stands for, and what its fields may hold.

A line names its event; every other key is a field of that event's class. What a later version writes in addition is
passed over, and an event that this version does not know is `events.Unknown`. A field that an earlier version did not
write has a default in its class, so that a journal of any version is read.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from inspect import get_annotations
from typing import Any, NamedTuple, TypeVar, dataclass_transform

Json = dict[str, Any]
#: Keys that every line has.
HEAD = ("seq", "at", "event")
Read = Callable[[Any], Any]
R = TypeVar("R")


class Unsaid(Enum):
    """What a field holds where null means something and the line says nothing."""

    UNSAID = "unsaid"


UNSAID = Unsaid.UNSAID

_REQUIRED: Any = object()
"""The default of a field that has none."""


class FieldProblem(Exception):
    """A field that is missing or holds what it may not. where: which, such as "groups[0].rows"."""

    def __init__(self, where: str, value: object, message: str) -> None:
        self.where, self.value, self.message = where, value, message
        super().__init__(f"{where}: {message}")

    def within(self, outer: str) -> FieldProblem:
        """The same problem, named from one level further out."""
        inner = self.where if not self.where or self.where.startswith("[") else f".{self.where}"
        return FieldProblem(f"{outer}{inner}", self.value, self.message)


class _Field(NamedTuple):
    """What a class says of a field beside its type."""

    default: Any = _REQUIRED
    omitted: bool = False
    """Whether it is not written while it holds its default."""
    others: bool = False
    """Whether it is a mapping of all keys of a line that no other field names."""


def omitted(*, default: Any) -> Any:
    """A field that is not written while it holds its default."""
    return _Field(default=default, omitted=True)


def others() -> Any:
    """A field that is a mapping of all keys of a line that no other field names."""
    return _Field(others=True)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(omitted, others))
class Record:
    """A frozen keyword-only dataclass: an event of the journal, or a part of one.

    `dataclass` itself generates code, which takes up to 1 ms a class (Python 3.11): for all events together three
    times what bare Python takes to start, where a command needs a few of them.
    """

    def __init__(self, **given: Any) -> None:
        values = self.__dict__
        for name, one in _fields(type(self)).items():
            values[name] = given.pop(name, one.default)
            if values[name] is _REQUIRED:
                raise TypeError(f"{type(self).__name__} needs {name}")
        if given:
            raise TypeError(f"{type(self).__name__} has no {', '.join(given)}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name}")

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), *self.__dict__.values()))

    def changed(self: R, **fields: Any) -> R:
        """The same record with other values in these fields."""
        return type(self)(**(self.__dict__ | fields))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"


_FIELDS: dict[type, Mapping[str, _Field]] = {}
_RECORDS: dict[type, Read] = {}


def _fields(cls: type) -> Mapping[str, _Field]:
    """The fields of a record's class, its bases' first."""
    if cls not in _FIELDS:
        _FIELDS[cls] = _find_fields(cls)
    return _FIELDS[cls]


def _find_fields(cls: type) -> Mapping[str, _Field]:
    found: dict[str, _Field] = {}
    for each in reversed(cls.__mro__):
        for name, hint in get_annotations(each).items():
            if not hint.startswith("ClassVar"):
                given = each.__dict__.get(name, _REQUIRED)
                found[name] = given if isinstance(given, _Field) else _Field(default=given)
    return found


# -- from JSON ------------------------------------------------------------------------------------------------------


def decode(cls: type[R], raw: Mapping[str, Any]) -> R:
    """The record that JSON stands for. Raises FieldProblem."""
    found: R = _record_reader(cls)(raw)
    return found


def _record_reader(cls: type) -> Read:
    if cls not in _RECORDS:
        _RECORDS[cls] = _RecordReader(cls).read
    return _RECORDS[cls]


class _RecordReader:
    """Reads the records of one class.

    Lines of one kind look alike: what the first one has shown (which keys stay as they are, which become something
    else, which defaults it needs) holds for every line with the same keys and types of values. Checking each field of
    each line took three times as long, which a journal of 10,000 entries made felt.
    """

    def __init__(self, cls: type) -> None:
        self._cls = cls
        hints = typing.get_type_hints(cls)
        self._fields = {name: one for name, one in _fields(cls).items() if not one.others}
        self._others = next((name for name, one in _fields(cls).items() if one.others), "")
        self._plain = {name: _plain_types(hints[name]) for name in self._fields}
        self._readers = {name: _reader(hints[name]) for name in self._fields}
        self._seen: dict[tuple[Any, ...], tuple[list[tuple[str, Read]], Json, list[str]]] = {}

    def read(self, raw: Any) -> Any:
        if not isinstance(raw, dict):
            raise FieldProblem("", raw, "must be an object")
        made: Any = object.__new__(self._cls)
        values: Json = made.__dict__
        if self._others:
            values[self._others] = {n: v for n, v in raw.items() if n not in self._fields and n != "event"}
            raw = {name: raw[name] for name in self._fields if name in raw}
        kind = (*raw, *map(type, raw.values()))
        if kind not in self._seen:
            self._seen[kind] = self._look(raw)
        changed, defaults, unknown = self._seen[kind]
        values.update(raw)
        values.update(defaults)
        for name in unknown:
            del values[name]
        for name, read in changed:
            try:
                values[name] = read(values[name])
            except FieldProblem as problem:
                raise problem.within(name) from None
        return made

    def _look(self, raw: Json) -> tuple[list[tuple[str, Read]], Json, list[str]]:
        """Of lines with these keys and types: fields that are read by a reader, defaults, and keys that are none."""
        absent = {name: one.default for name, one in self._fields.items() if name not in raw}
        if missing := [name for name, default in absent.items() if default is _REQUIRED]:
            raise FieldProblem(missing[0], "", "is missing")
        changed = [
            (name, self._readers[name])
            for name, value in raw.items()
            if name in self._fields and type(value) not in self._plain[name]
        ]
        return changed, absent, [name for name in raw if name not in self._fields]


def _plain_types(hint: Any) -> frozenset[type]:
    """Types of JSON values that a hint takes as they are."""
    given = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    found = {one for one in given if one in _WORDS or one is types.NoneType}
    return frozenset(found | ({int} if float in found else set()))


def _reader(hint: Any) -> Read:
    """What checks a value against a type and makes it that type."""
    origin, given = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return _optional([one for one in given if one is not Unsaid])
    if origin is tuple:
        return _tuple(given[0])
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(*given)
    if hint is Any:
        return lambda value: value
    if issubclass(hint, Record):
        return _record_reader(hint)
    if issubclass(hint, Enum):
        return lambda value: _converted(hint, value, f"must be one of {', '.join(str(one.value) for one in hint)}")
    if issubclass(hint, datetime):
        return lambda value: _converted(datetime.fromisoformat, value, "must be a time in ISO 8601")
    return _simple(hint)


def _converted(make: Callable[[Any], Any], value: Any, message: str) -> Any:
    try:
        return make(value)
    except (TypeError, ValueError):
        raise FieldProblem("", value, message) from None


_WORDS: Mapping[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def _simple(kind: type) -> Read:
    kinds, message = ((int, float) if kind is float else (kind,)), f"must be {_WORDS[kind]}"

    def read(value: Any) -> Any:
        if type(value) not in kinds:
            raise FieldProblem("", value, message)
        return value

    return read


def _optional(options: list[Any]) -> Read:
    """None or one other type."""
    [other] = [one for one in options if one is not types.NoneType]
    read = _reader(other)
    return read if types.NoneType not in options else lambda value: None if value is None else read(value)


def _tuple(item: Any) -> Read:
    read = _reader(item)

    def read_all(value: Any) -> Any:
        if type(value) is not list:
            raise FieldProblem("", value, "must be a list")
        if item in (int, str) and all(type(one) is item for one in value):
            return tuple(value)  # arrays of 10,000 rows
        found = []
        for place, one in enumerate(value):
            try:
                found.append(read(one))
            except FieldProblem as problem:
                raise problem.within(f"[{place}]") from None
        return tuple(found)

    return read_all


def _mapping(key: Any, item: Any) -> Read:
    read, plain = _reader(item), _plain_types(item)

    def read_all(value: Any) -> Any:
        if not isinstance(value, dict):
            raise FieldProblem("", value, "must be an object")
        if item is Any or plain.issuperset(map(type, value.values())):
            if key is str:
                return value
            if all(map(str.isdecimal, value)):
                return dict(zip(map(int, value), value.values(), strict=True))
        found = {}
        for name, one in value.items():
            try:
                made: Any = name if key is str else _converted(key, name, "must have whole numbers as its keys")
                found[made] = read(one)
            except FieldProblem as problem:
                raise problem.within(f"[{name}]") from None
        return found

    return read_all


# -- to JSON --------------------------------------------------------------------------------------------------------


def encode(record: Record) -> Json:
    """The record as JSON types, its fields in the order of the class."""
    found: Json = {}
    for name, one in _fields(type(record)).items():
        value = record.__dict__[name]
        if one.others:
            found |= _plain(value)
        elif not (one.omitted and value == one.default):
            found[name] = _plain(value)
    return found


_AS_IT_IS = frozenset((str, int, float, bool, types.NoneType))


def _plain(value: Any) -> Any:
    if type(value) in _AS_IT_IS:
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Record):
        return encode(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return value
