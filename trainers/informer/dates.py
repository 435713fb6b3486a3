"""Cells of a CSV file as dates, with or without UTC offsets, and the clocks they were read from.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from trainers.contract import DataProblem

_DAYS = (
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%d.%m.%y",
    "%m/%d/%y",
    "%d/%m/%y",
)
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H.%M", " %I:%M %p", " %I:%M:%S %p", "T%H:%M", " %H")
FORMATS = (
    *(day + time for day in _DAYS for time in _TIMES),
    "%Y%m%d%H",
    "%Y%m%d%H%M",
    "%Y-%m-%d %H",
    "unix",
    "unix_ms",
)
"""Formats that are tried where a column holds no ISO dates."""
ZONES = (
    *("Europe/London", "Europe/Berlin", "Europe/Athens", "Europe/Lisbon", "Europe/Chisinau"),
    *("America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles", "America/Anchorage"),
    *("America/Halifax", "America/St_Johns", "America/Santiago", "America/Sao_Paulo", "America/Mexico_City"),
    *("Australia/Sydney", "Australia/Adelaide", "Australia/Lord_Howe", "Pacific/Auckland"),
    *(
        "Asia/Jerusalem",
        "Asia/Tehran",
        "Asia/Beirut",
        "Africa/Cairo",
        "Africa/Casablanca",
        "Europe/Istanbul",
        "Europe/Moscow",
    ),
)
"""One zone for each rule of clock changes, to tell one from a gap."""
UNIX_PER_S = {"unix": 1, "unix_ms": 1000}
_EPOCH = datetime(1970, 1, 1)

Date = Callable[[str], datetime]


def date_reader(form: str) -> Date:
    """What reads a cell as a date by `date_format`. It raises ValueError."""
    if not form:
        return _iso
    if form in UNIX_PER_S:
        return lambda cell: _EPOCH + timedelta(seconds=float(cell) / UNIX_PER_S[form])
    return lambda cell: datetime.strptime(cell.strip(), form)


def _iso(cell: str) -> datetime:
    """ISO 8601. Raises ValueError; digits without an end too, which could be seconds since 1970."""
    text = cell.strip()
    if text.isdigit() and len(text) != 8:
        raise ValueError(text)
    return datetime.fromisoformat(text)


def formats_of(cells: Sequence[str]) -> list[str]:
    """The formats by which all cells are dates from 1900 to 2199: [""] for ISO dates, else the most regular first."""
    if _fits(_iso, cells):
        return [""]
    fits = {}
    for form in FORMATS:
        read = date_reader(form)
        if _fits(read, cells):
            fits[form] = _irregular([read(cell) for cell in cells])
    falls = min((falls for falls, _ in fits.values()), default=False)
    return sorted((form for form in fits if fits[form][0] == falls), key=lambda form: fits[form])


def _irregular(dates: Sequence[datetime]) -> tuple[bool, int]:
    """How little some dates look like a series: whether they fall, and how many different steps there are."""
    steps = {b - a for a, b in pairwise(dates)}
    return any(step < timedelta(0) for step in steps), len(steps)


def _fits(read: Date, cells: Sequence[str]) -> bool:
    try:
        return bool(cells) and all(1900 <= read(cell).year < 2200 for cell in cells)
    except (ValueError, OverflowError):
        return False


@dataclass(frozen=True, kw_only=True)
class Clock:
    """A column of dates as instants and as what clocks showed."""

    instants: Sequence[datetime]
    """In UTC where that is known, without an offset; else as written."""
    shown: Sequence[datetime]
    """What a clock on the spot showed; the same as `instants` where nothing tells them apart."""
    zone: ZoneInfo | None = None

    @property
    def changes(self) -> bool:
        """Whether instants and clocks differ."""
        return self.instants is not self.shown

    def local(self, instants: Sequence[datetime]) -> Sequence[datetime]:
        """What clocks show at further instants, where the zone is known; else the instants."""
        if self.zone is None:
            return instants
        return [at.replace(tzinfo=UTC).astimezone(self.zone).replace(tzinfo=None) for at in instants]


def read_clock(path: Path, dates: list[datetime], timezone: str) -> Clock:
    """The dates of a file. Raises DataProblem: offsets for some only, an unknown zone, times that its clocks skip."""
    aware = sum(date.tzinfo is not None for date in dates)
    if aware and aware < len(dates):
        raise DataProblem(f"{path}: {aware} of {len(dates)} dates carry a UTC offset; give it to all or to none")
    zone = find_zone(timezone) if timezone else None
    if aware:
        shown = [(date.astimezone(zone) if zone else date).replace(tzinfo=None) for date in dates]
        return Clock(instants=[date.astimezone(UTC).replace(tzinfo=None) for date in dates], shown=shown, zone=zone)
    if zone is None:
        return Clock(instants=dates, shown=dates)
    instants, skipped = localised(dates, zone)
    if skipped:
        raise DataProblem(
            f"{path}: {len(skipped)} dates do not exist in {timezone}, whose clocks skip them "
            f"({', '.join(map(str, skipped[:3]))}); leave timezone out, or name another zone"
        )
    return Clock(instants=instants, shown=dates, zone=zone)


def find_zone(name: str) -> ZoneInfo:
    """Raises DataProblem."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise DataProblem(
            f"timezone = {name!r}: there is no such zone on this machine; name one such as Europe/Berlin "
            "(where the system has none at all: pip install tzdata)"
        ) from error


def localised(dates: Sequence[datetime], zone: ZoneInfo) -> tuple[list[datetime], list[datetime]]:
    """Local times as UTC, and those that the zone's clocks skip. An hour that comes twice is told apart by order."""
    found: list[datetime] = []
    skipped = []
    for date in dates:
        at = date.replace(tzinfo=zone).astimezone(UTC).replace(tzinfo=None)
        if found and at <= found[-1]:
            at = date.replace(tzinfo=zone, fold=1).astimezone(UTC).replace(tzinfo=None)
        if at.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None) != date:
            skipped.append(date)
        found.append(at)
    return found, skipped


def zone_of_change(dates: Sequence[datetime], before: datetime, after: datetime) -> tuple[str, bool] | None:
    """A zone whose clocks change between two neighbouring dates, and whether all dates are regular there.

    None where no zone's do. The first that makes the dates regular is preferred.
    """
    found = None
    for name in ZONES:
        try:
            zone = ZoneInfo(name)
        except (ZoneInfoNotFoundError, OSError):
            continue
        # A day on either side covers the hour that comes twice.
        day = timedelta(hours=3)
        if (before - day).replace(tzinfo=zone).utcoffset() == (after + day).replace(tzinfo=zone).utcoffset():
            continue
        instants, skipped = localised(dates, zone)
        if not skipped and len({b - a for a, b in pairwise(instants)}) == 1:
            return name, True
        found = found or (name, False)
    return found
