"""The calendar of each row as whole numbers, from which embeddings are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from trainers.informer.frequency import DAY, SHORTEST_MONTH, Frequency


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of a date."""

    size: int
    """It takes the values 0 .. size - 1."""
    read: Callable[[datetime], int]
    below: int
    """It changes within a series only where the step is shorter than so many seconds."""


FIELDS: Mapping[str, Field] = {
    "second": Field(size=60, read=lambda t: t.second, below=60),
    "minute": Field(size=60, read=lambda t: t.minute, below=3600),
    "hour": Field(size=24, read=lambda t: t.hour, below=DAY),
    "weekday": Field(size=7, read=lambda t: t.weekday(), below=7 * DAY),
    "day": Field(size=31, read=lambda t: t.day - 1, below=SHORTEST_MONTH),
    "month": Field(size=12, read=lambda t: t.month - 1, below=366 * DAY),
    "yearday": Field(size=366, read=lambda t: t.timetuple().tm_yday - 1, below=SHORTEST_MONTH),
}


@dataclass(frozen=True)
class Calendar:
    """The fields that mean something at a series' step."""

    fields: tuple[str, ...]

    @classmethod
    def of(cls, frequency: Frequency) -> Calendar:
        """Hourly series: hour, weekday, day, month and day of the year, as in the authors' code."""
        seconds = frequency.seconds or frequency.months * SHORTEST_MONTH
        return cls(tuple(name for name, field in FIELDS.items() if seconds < field.below) or ("month",))

    def marks(self, dates: Sequence[datetime]) -> NDArray[np.int64]:
        """(rows, fields)"""
        return np.array([[FIELDS[name].read(date) for name in self.fields] for date in dates], dtype=np.int64)

    def positions(self, *, tables: bool) -> list[int]:
        """Which marks an embedding reads: tables the month, which repeats often enough; scaled fields the yearday."""
        left_out = "yearday" if tables else "month"
        kept = [i for i, name in enumerate(self.fields) if name != left_out]
        return kept or list(range(len(self.fields)))
