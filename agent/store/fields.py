"""Reading a JSON file of a study field by field: what is missing or of another type is named with its value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, TypeVar

from agent.errors import InvalidStudy

T = TypeVar("T")
RESTORE = "restore the file"
_MISSING = object()
_NUMBERS = (int, float)


class Fields:
    """An object of a JSON file. Every question raises InvalidStudy, which names file, field and what stands there.

    Made for files with thousands of entries: an object below another one keeps its parent, and its place in the file
    is put into words only where something is wrong with it.
    """

    __slots__ = ("_name", "_parent", "_position", "file", "raw", "remedy")

    def __init__(
        self,
        raw: Mapping[str, Any],
        *,
        file: str,
        remedy: str = RESTORE,
        parent: Fields | None = None,
        name: str = "",
        position: int | None = None,
    ) -> None:
        """raw: the object as it was read. file, remedy: for messages."""
        self.raw, self.file, self.remedy = raw, file, remedy
        self._parent, self._name, self._position = parent, name, position

    def __contains__(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.raw.get(name) is not None

    def wrong(self, name: str, why: str) -> NoReturn:
        """Raises InvalidStudy about a field."""
        value = repr(self.raw[name])[:80] if name in self.raw else ""
        raise InvalidStudy.at(self.file, f"{why}; {self.remedy}", where=self._place(name), value=value)

    def _place(self, name: str) -> str:
        own = self._name if self._position is None else f"{self._name}[{self._position}]"
        path = f"{own}.{name}" if own else name
        return path if self._parent is None else self._parent._place(path)

    def take(self, name: str, kinds: tuple[type, ...], wanted: str) -> Any:
        """A field of one of these types; `wanted` is what a message calls them."""
        value = self.raw.get(name, _MISSING)
        if type(value) not in kinds:
            self.wrong(name, f"must be {wanted}" if value is not _MISSING else "is missing")
        return value

    def text(self, name: str) -> str:
        found: str = self.take(name, (str,), "a text")
        return found

    def optional_text(self, name: str) -> str | None:
        """None where it is null or not there."""
        return self.text(name) if name in self else None

    def flag(self, name: str) -> bool:
        return bool(self.take(name, (bool,), "true or false"))

    def whole(self, name: str) -> int:
        found: int = self.take(name, (int,), "a whole number")
        return found

    def number(self, name: str) -> float:
        found: float = self.take(name, (int, float), "a number")
        return found

    def number_or_null(self, name: str) -> float | None:
        """The field must be there."""
        found: float | None = self.take(name, (int, float, type(None)), "a number or null")
        return found

    def mapping(self, name: str) -> dict[str, Any]:
        """An object as it is: names are a person's, values are theirs."""
        found: dict[str, Any] = self.take(name, (dict,), "an object")
        return found

    def numbers(self, name: str) -> dict[str, Any]:
        """An object of name -> number."""
        found = self.mapping(name)
        for value in found.values():
            if type(value) not in _NUMBERS:
                self.wrong(name, "must be an object of name -> number")
        return found

    def values(self, name: str) -> list[Any]:
        found: list[Any] = self.take(name, (list,), "a list")
        return found

    def texts(self, name: str) -> tuple[str, ...]:
        found = self.values(name)
        if not all(type(value) is str for value in found):
            self.wrong(name, "must be a list of texts")
        return tuple(found)

    def wholes(self, name: str) -> tuple[int, ...]:
        found = self.values(name)
        if not all(type(value) is int for value in found):
            self.wrong(name, "must be a list of whole numbers")
        return tuple(found)

    def optional_texts(self, name: str) -> tuple[str, ...]:
        """Empty where it is null or not there."""
        return self.texts(name) if name in self else ()

    def entry(self, name: str) -> Fields:
        return Fields(self.mapping(name), file=self.file, remedy=self.remedy, parent=self, name=name)

    def optional_entry(self, name: str) -> Fields | None:
        """None where it is null or not there."""
        return self.entry(name) if name in self else None

    def entries(self, name: str) -> Iterator[Fields]:
        """The objects of a list."""
        for position, entry in enumerate(self.values(name)):
            if type(entry) is not dict:
                self.wrong(name, f"[{position}] must be an object")
            yield Fields(entry, file=self.file, remedy=self.remedy, parent=self, name=name, position=position)

    def read(self, name: str, make: Callable[[Any], T]) -> T:
        """What `make` makes of the field, whose AttributeError, KeyError, TypeError and ValueError are about it."""
        value = self.raw.get(name, _MISSING)
        if value is _MISSING:
            self.wrong(name, "is missing")
        try:
            return make(value)
        except KeyError as error:
            self.wrong(name, f"has no {error.args[0]}")
        except (AttributeError, TypeError, ValueError) as error:
            self.wrong(name, str(error))

    def optional(self, name: str, make: Callable[[Any], T]) -> T | None:
        """The same, and None where it is null or not there."""
        return self.read(name, make) if name in self else None
