"""Collecting everything wrong with a description, so that a person mends it in one go. Standard library only."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any, TypeGuard

RANGE = re.compile(r"(\d{1,6})-(\d{1,6})")
MAX_LIST = 10_000
TEXT_NEEDED = 'must be a text; quote what YAML takes for something else, e.g. "1", "true", "{learning_rate}"'


class DescriptionProblem(Exception):
    """A trainer description that may not be used. `problems` lists (where, value, message)."""

    def __init__(self, file: str, problems: list[tuple[str, str, str]]) -> None:
        self.file = file
        self.problems = problems
        lines = (f"{file}: {where}{f' = {value}' if value else ''}: {text}" for where, value, text in problems)
        super().__init__("\n".join(lines))


class Findings:
    """The problems of one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[tuple[str, str, str]] = []

    def add(self, where: str, value: object, message: str) -> None:
        """Note a problem. value: what stood there; "" where nothing did."""
        self.problems.append((where, "" if value == "" else shown(value), message))

    def done(self) -> None:
        """Raises DescriptionProblem where there is any problem."""
        if self.problems:
            raise DescriptionProblem(self.file, self.problems)


class Section:
    """One mapping of the file: hands out its values checked, and answers unknown keys with the valid ones.

    Each reading method notes a problem and returns its default where the value is not what it should be.
    """

    def __init__(self, raw: Mapping[str, Any], where: str, keys: Collection[str], findings: Findings) -> None:
        self.raw, self.where, self.findings = raw, where, findings
        for key in raw:
            if key not in keys:
                import difflib

                near = difflib.get_close_matches(key, keys, n=1)
                hint = f"did you mean {near[0]}? " if near else ""
                self.add(key, "", f"unknown key; {hint}valid keys: {', '.join(keys)}")

    def path(self, key: str) -> str:
        name = key if key.isprintable() and len(key) <= 60 else repr(key)[:60]
        return f"{self.where}.{name}" if self.where else name

    def add(self, key: str, value: object, message: str) -> None:
        self.findings.add(self.path(key), value, message)

    def has(self, key: str) -> bool:
        return self.raw.get(key) is not None

    def missing(self, *keys: str) -> None:
        """Note each required key that is absent or empty."""
        for key in keys:
            if not self.has(key):
                self.add(key, "", "missing; it is required")

    def text(self, key: str, default: str = "") -> str:
        value = self.raw.get(key)
        if value is None:
            return default
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            self.add(key, value, 'must be a text that is not blank (in quotes where YAML reads a number: "1")')
            return default
        return value

    def texts(self, key: str, *, blank: bool = False) -> tuple[str, ...]:
        value = self.raw.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not value:
            self.add(key, value, 'must be a list of texts, such as ["one", "two"]')
            return ()
        for position, item in enumerate(value):
            if not isinstance(item, str) or "\0" in item or not (item or blank):
                self.findings.add(f"{self.path(key)}[{position}]", item, TEXT_NEEDED)
        return tuple(item for item in value if isinstance(item, str))

    def whole(self, key: str, default: int | None = None, *, low: int = 0) -> int | None:
        value = self.raw.get(key)
        if value is None:
            return default
        if not is_whole(value) or value < low:
            self.add(key, value, f"must be a whole number from {low}")
            return default
        return int(value)

    def number(self, key: str, default: float) -> float:
        value = self.raw.get(key, default)
        if not is_number(value) or value < 0:
            self.add(key, value, "must be a number from 0")
            return default
        return float(value)

    def wholes(self, key: str, *, low: int = 0, high: int = 2**31 - 1) -> tuple[int, ...]:
        """A list of whole numbers, or a range text such as "0-4"."""
        value = self.raw.get(key)
        if value is None:
            return ()
        items = value
        if isinstance(value, str) and (match := RANGE.fullmatch(value)):
            first, last = int(match[1]), int(match[2])
            items = list(range(first, min(last, first + MAX_LIST) + 1))
        fits = isinstance(items, list) and 0 < len(items) <= MAX_LIST
        if not fits or not all(is_whole(item) and low <= item <= high for item in items):
            self.add(key, value, f'must be a list of whole numbers from {low} to {high}, or a range such as "0-4"')
            return ()
        if len(set(items)) < len(items):
            self.add(key, value, "holds a number twice")
        return tuple(items)

    def one_of(self, key: str, allowed: Collection[str], default: str = "") -> str:
        value = self.raw.get(key)
        if value is None and default:
            return default
        if not isinstance(value, str) or value not in allowed:
            self.add(key, "" if value is None else value, f"must be one of {', '.join(allowed)}")
            return default
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        value = self.raw.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.add(key, value, "must be a mapping (key: value, indented below it)")
            return {}
        return value

    def section(self, key: str, keys: Collection[str]) -> Section:
        """The mapping at `key` (an empty one where it is absent or wrong)."""
        return Section(self.mapping(key), self.path(key), keys, self.findings)


def is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[int | float]:
    """A finite number that a double and JSON hold exactly enough; no bool."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= 2**53 if isinstance(value, int) else math.isfinite(value)


def shown(value: object) -> str:
    """A value on one line, shortened; for messages."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
