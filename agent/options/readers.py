"""What turns an option's text into a value, or refuses it with a line that argparse prints.

`pathlib` is imported by the reader of a path alone: with urllib, which it brings, it is an eighth of --help.
"""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def path(text: str) -> Path:
    """A path as it was given. argparse applies it to a default that is text, too."""
    from pathlib import Path

    return Path(text)


def count(text: str) -> int:
    """A whole number from 1."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number from 1")
    return int(text)


def natural(text: str) -> int:
    """A whole number from 0."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number from 0")
    return int(text)


def seconds(text: str) -> float:
    """A number of seconds above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 86400:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number of seconds above 0")
    return value


def minutes(text: str) -> int:
    """Whole minutes of 10m, 2h, or a bare number of minutes."""
    match = re.fullmatch(r"([1-9][0-9]{0,3})([mh]?)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r}: must be minutes or hours such as 10m or 2h")
    return int(match[1]) * (60 if match[2] == "h" else 1)


def amount(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number above 0")
    return value


def share(text: str) -> float:
    """A number above 0 and at most 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a share such as 0.3, above 0 and at most 1")
    return value


def word(text: str) -> str:
    """Text that is not empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r}: must not be empty")
    return text


def numbers(text: str) -> tuple[int, ...]:
    """A list such as 0-4 or 0,2,5-7, as ascending distinct numbers."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part.strip())
        if match is None or int(match[2] or match[1]) < int(match[1]) or int(match[2] or 0) - int(match[1]) > 10_000:
            raise argparse.ArgumentTypeError(f"{text!r}: must be numbers and ranges such as 0-4 or 0,2,5")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    if len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"{text!r}: a number stands twice")
    return tuple(sorted(found))


def words(text: str) -> tuple[str, ...]:
    """A comma-separated list of words."""
    found = tuple(part.strip() for part in text.split(","))
    if not all(found):
        raise argparse.ArgumentTypeError(f"{text!r}: must be names separated by commas")
    return found


def pair(text: str) -> tuple[str, str | int | float | bool]:
    """KEY=VALUE; numbers, true and false become what they are."""
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
        raise argparse.ArgumentTypeError(f"{text!r}: must be KEY=VALUE")
    if value in ("true", "false"):
        return key, value == "true"
    for kind in (int, float):
        try:
            return key, kind(value)
        except ValueError:
            continue
    return key, value
