"""The step of a time series: found in its dates, or given. Standard library only."""

from __future__ import annotations

import re
from calendar import monthrange
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from trainers.contract import DataProblem

_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_FORM = re.compile(r"([1-9]\d{0,5})(s|min|h|d|w|mo)")
DAY = 86_400
SHORTEST_MONTH = 28 * DAY


@dataclass(frozen=True)
class Frequency:
    """A fixed number of seconds, or of calendar months; exactly one of the two is above 0."""

    seconds: int = 0
    months: int = 0

    def __str__(self) -> str:
        if self.months:
            return f"{self.months}mo"
        name = max((n for n in _SECONDS if self.seconds % _SECONDS[n] == 0), key=_SECONDS.__getitem__)
        return f"{self.seconds // _SECONDS[name]}{name}"

    @classmethod
    def parse(cls, text: str) -> Frequency:
        """15min, 1h, 1d, 1w, 1mo, ... Raises DataProblem."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise DataProblem(
                f"freq = {text!r}: give a number and a unit of {', '.join([*_SECONDS, 'mo'])}, e.g. 15min"
            )
        count, unit = int(match[1]), match[2]
        return cls(months=count) if unit == "mo" else cls(seconds=count * _SECONDS[unit])

    def steps(self, first: datetime, later: datetime) -> int | None:
        """How many whole steps lie between, or None where `later` is on none of them."""
        if self.months:
            count, rest = divmod(_months(first, later), self.months)
            return None if rest else count
        count, odd = divmod(later - first, timedelta(seconds=self.seconds))
        return None if odd else count

    def after(self, first: datetime, count: int) -> datetime:
        """The date `count` steps after `first`."""
        if self.months:
            years, month = divmod(first.month - 1 + count * self.months, 12)
            year = first.year + years
            return first.replace(year=year, month=month + 1, day=min(first.day, monthrange(year, month + 1)[1]))
        return first + timedelta(seconds=self.seconds * count)

    @property
    def season(self) -> int:
        """Steps after which a series of this step usually repeats: a day, a week, a year; 1 where none is whole."""
        if self.months:
            return 12 // self.months if 12 % self.months == 0 else 1
        for period in (DAY, 7 * DAY):
            if self.seconds < period and period % self.seconds == 0:
                return period // self.seconds
        return 52 if self.seconds == 7 * DAY else 1


def find_frequency(dates: Sequence[datetime]) -> Frequency:
    """The most frequent step between neighbours. Raises DataProblem for a single date.

    Months are recognised by neighbours a month or more apart, all on one day of their months or all at their end.
    """
    if len(dates) < 2:
        raise DataProblem(f"{len(dates)} rows: no step between dates can be found; a series needs two at least")
    (step, _), *_ = Counter(later - earlier for earlier, later in pairwise(dates)).most_common(1)
    seconds = step // timedelta(seconds=1)
    if seconds < 1:
        raise DataProblem(f"the dates are {step} apart; steps shorter than a second are not supported")
    days = {date.day for date in dates}
    if seconds >= SHORTEST_MONTH and (len(days) == 1 or min(days) >= 28):
        return Frequency(months=Counter(_months(a, b) for a, b in pairwise(dates)).most_common(1)[0][0])
    return Frequency(seconds=seconds)


def _months(first: datetime, later: datetime) -> int:
    return (later.year - first.year) * 12 + later.month - first.month
