"""Cells of a CSV file as numbers: decimal and thousands separators, and what stands for a missing value.

Standard library only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MISSING = frozenset(
    {
        *("", "nan", "-nan", "na", "n/a", "<na>", "#na", "#n/a", "#n/a n/a", "null", "none", "?"),
        *("1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"),
    }
)
"""Cells that hold no number, whatever their case: as pandas has them, and the question mark of the UCI archive."""
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "space": " "}
DECIMALS = {"point": ".", "comma": ","}
THOUSANDS = {"none": "", "comma": ",", "point": ".", "space": " ", "apostrophe": "'"}
NOTATIONS = (
    ("point", "none"),
    ("comma", "none"),
    ("point", "comma"),
    ("comma", "point"),
    ("point", "space"),
    ("comma", "space"),
    ("point", "apostrophe"),
)
"""Decimal and thousands separators that occur together, the most usual first."""

Number = Callable[[str], float]


@dataclass(frozen=True, kw_only=True)
class Form:
    """How a file is written, by the words of `--data`."""

    sep: str = "comma"
    """What separates cells."""
    decimal: str = "point"
    thousands: str = "none"
    missing: tuple[str, ...] = ()
    """Cells that stand for a missing value, beside MISSING; what is a number is compared as one."""
    date_format: str = ""
    """ISO 8601 when empty; unix, unix_ms, or as of strptime."""
    timezone: str = ""
    """Where dates without an offset were recorded; empty: nowhere that changes its clocks."""

    def number(self) -> Number:
        """What reads a cell: NaN where it is missing, ValueError where it is no finite number."""
        words = MISSING | {word.strip().lower() for word in self.missing}
        values = {value for word in self.missing if (value := _float(word)) is not None}
        if self.decimal == "point" and self.thousands == "none":
            plain: Number = _plain
        else:
            plain = _written(DECIMALS[self.decimal], THOUSANDS[self.thousands])

        def number(cell: str) -> float:
            try:  # nearly every cell of a file is a number: looking for words first takes twice as long
                value = plain(cell)
            except ValueError:
                pass
            else:
                return math.nan if value in values else value
            text = cell.strip()
            if text.lower() in words:
                return math.nan
            value = plain(text)
            return math.nan if value in values else value

        return number


def _plain(text: str) -> float:
    """Raises ValueError: anything but a finite number, Python's underscores too."""
    value = float(text)
    if not math.isfinite(value) or "_" in text:
        raise ValueError(text)
    return value


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _written(decimal: str, thousands: str) -> Number:
    """What reads numbers with these separators, thousands in groups of three before the decimal one."""
    whole = r"\d+" if not thousands else rf"(?:\d{{1,3}}(?:{re.escape(thousands)}\d{{3}})+|\d+)"
    form = re.compile(rf"[+-]?(?:{whole}(?:{re.escape(decimal)}\d*)?|{re.escape(decimal)}\d+)(?:[eE][+-]?\d+)?")

    def number(text: str) -> float:
        text = text.replace("\xa0", " ").replace("\u202f", " ")  # spaces that do not break, as some programs write
        if form.fullmatch(text) is None:
            raise ValueError(text)
        return _plain((text.replace(thousands, "") if thousands else text).replace(decimal, "."))

    return number


def readable(form: Form, cells: Sequence[str]) -> bool:
    """Whether every cell is a number or missing, and one at least a number."""
    return not unread(form, cells) and not all(map(math.isnan, map(form.number(), cells)))


def unread(form: Form, cells: Sequence[str]) -> list[str]:
    """The cells that are neither numbers nor missing."""
    number = form.number()
    found = []
    for cell in cells:
        try:
            number(cell)
        except ValueError:
            found.append(cell.strip())
    return found
