"""Reading a CSV file of dated rows, and refusing what cannot be a regular series. Standard library only.

The same code runs on the login node, before a study begins, and in the training.
"""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from trainers.contract import DataProblem
from trainers.informer.frequency import Frequency, find_frequency

MISSING = frozenset({"", "nan", "na", "n/a", "null", "none"})
"""Cells that hold no number, whatever their case."""
SHOWN = 3
"""Problems of one kind that a message shows."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows at a regular step. A value that is missing is NaN until `fill` has replaced it."""

    path: Path
    dates: Sequence[datetime]
    columns: dict[str, array[float]]
    frequency: Frequency
    notes: dict[str, object] = field(default_factory=dict)
    """What was found and done: rows, gaps, missing values."""

    def __len__(self) -> int:
        return len(self.dates)


def read_table(path: Path, *, date: str, wanted: Sequence[str], frequency: Frequency | None, fill: str) -> Table:
    """The regular series in a file. Raises DataProblem, which names file, line, column and remedy.

    date: the column of dates. wanted: the columns to read, all others when empty. frequency: None to find it.
    fill: "none" refuses gaps and missing values; "previous" and "interpolate" close them.
    """
    dates, columns = _rows(path, date, wanted)
    _check_order(path, dates)
    try:
        step = frequency or find_frequency(dates)
    except DataProblem as error:
        raise DataProblem(f"{path}: {error}") from None
    grid, columns, gaps = _on_grid(path, dates, columns, step)
    missing = {name: sum(map(math.isnan, values)) for name, values in columns.items()}
    missing = {name: count for name, count in missing.items() if count}
    if (gaps or missing) and fill == "none":
        raise DataProblem(f"{path}: {_told(gaps, missing, step)}; repair the file, or add --data fill=previous")
    for name in missing:
        _fill(path, name, columns[name], fill)
    notes: dict[str, object] = {"rows": len(grid), "frequency": str(step)}
    if gaps or missing:
        notes |= {"gap_rows": sum(count for _, count in gaps), "missing_values": missing, "fill": fill}
    return Table(path=path, dates=grid, columns=columns, frequency=step, notes=notes)


def _rows(path: Path, date: str, wanted: Sequence[str]) -> tuple[list[datetime], dict[str, array[float]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = csv.reader(stream, strict=True)
            names = _header(path, next(lines, []), date, wanted)
            return _body(path, lines, date, names)
    except FileNotFoundError:
        raise DataProblem(f"{path}: there is no such file") from None
    except OSError as error:
        raise DataProblem(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataProblem(f"{path}: not UTF-8 text (byte {error.start}); save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise DataProblem(f"{path}: not CSV: {error}") from error


def _header(path: Path, line: list[str], date: str, wanted: Sequence[str]) -> list[str | None]:
    """For each cell of a row: the column that it belongs to, None where it is not read."""
    names = [name.strip() for name in line]
    there = ", ".join(names) or "none"
    if date not in names:
        raise DataProblem(f"{path}: no column {date!r} of dates (columns: {there}); name it with --data date=COLUMN")
    if len(set(names)) < len(names):
        raise DataProblem(f"{path}: a column name stands twice ({there})")
    unknown = [name for name in wanted if name not in names or name == date]
    if unknown:
        others = ", ".join(name for name in names if name != date)
        raise DataProblem(f"{path}: no column {', '.join(map(repr, unknown))}; its columns are: {others}")
    if len(names) == 1:
        raise DataProblem(f"{path}: has no column beside {date!r}")
    return [name if name == date or not wanted or name in wanted else None for name in names]


def _body(
    path: Path, lines: Iterator[list[str]], date: str, names: list[str | None]
) -> tuple[list[datetime], dict[str, array[float]]]:
    dates: list[datetime] = []
    columns: dict[str, array[float]] = {name: array("d") for name in names if name not in (None, date)}
    broken: list[str] = []
    for number, line in enumerate(lines, 2):
        if not line:
            continue
        if len(line) != len(names):
            raise DataProblem(f"{path}: line {number} has {len(line)} cells, the header {len(names)}")
        for name, cell in zip(names, line, strict=True):
            try:
                if name == date:
                    dates.append(datetime.fromisoformat(cell.strip()))
                elif name is not None:
                    columns[name].append(_number(cell))
            except ValueError:
                what = "an ISO date such as 2016-07-01 00:00:00" if name == date else "a number"
                broken.append(f"line {number}, column {name}: {cell[:40]!r} is not {what}")
        if len(broken) >= SHOWN:
            break
    if broken:
        hint = "; name the columns to read with --data columns=A,B,..." if "not a number" in " ".join(broken) else ""
        raise DataProblem(f"{path}: {'; '.join(broken)}{hint}")
    return _without_offsets(path, dates), columns


def _number(cell: str) -> float:
    """The cell's number, NaN where it is missing. Raises ValueError: anything else, infinity too."""
    text = cell.strip()
    if text.lower() in MISSING:
        return math.nan
    value = float(text)
    if not math.isfinite(value) or "_" in text:
        raise ValueError(text)
    return value


def _without_offsets(path: Path, dates: list[datetime]) -> list[datetime]:
    """Dates in UTC where they carry offsets. Raises DataProblem where only some do."""
    aware = sum(date.tzinfo is not None for date in dates)
    if aware and aware < len(dates):
        raise DataProblem(f"{path}: {aware} of {len(dates)} dates carry a UTC offset; give it to all or to none")
    return [date.astimezone(UTC).replace(tzinfo=None) for date in dates] if aware else dates


def _check_order(path: Path, dates: Sequence[datetime]) -> None:
    twice = [str(a) for a, b in pairwise(dates) if a == b]
    if twice:
        raise DataProblem(
            f"{path}: {len(twice)} dates stand twice ({', '.join(twice[:SHOWN])}); keep one row of each"
        )
    if len(set(dates)) < len(dates):
        raise DataProblem(
            f"{path}: dates stand twice and the rows are not sorted by date; sort them, keep one of each"
        )
    falling = [str(b) for a, b in pairwise(dates) if b < a]
    if falling:
        raise DataProblem(
            f"{path}: the rows are not sorted by date: {len(falling)} come after a later one "
            f"({', '.join(falling[:SHOWN])}); sort them"
        )


def _on_grid(
    path: Path, dates: Sequence[datetime], columns: dict[str, array[float]], step: Frequency
) -> tuple[Sequence[datetime], dict[str, array[float]], list[tuple[datetime, int]]]:
    """Rows at every step, NaN where there was none, and the gaps: date before it, rows lacking."""
    places = [step.steps(dates[0], date) for date in dates]
    # Two dates of one month share their place where the step is given in months.
    off = [str(date) for i, date in enumerate(dates) if places[i] is None or (i and places[i] == places[i - 1])]
    if off:
        raise DataProblem(
            f"{path}: {len(off)} dates are no whole number of steps of {step} after {dates[0]} "
            f"({', '.join(off[:SHOWN])}); give the step with --data freq=..., or repair them"
        )
    known = [place for place in places if place is not None]
    gaps = [(dates[i], b - a - 1) for i, (a, b) in enumerate(pairwise(known)) if b - a > 1]
    if not gaps:
        return dates, columns, []
    length = known[-1] + 1
    if length > 10 * len(dates):
        raise DataProblem(
            f"{path}: at steps of {step} most rows would be missing ({len(dates)} of {length} are there); "
            "give the step with --data freq=..."
        )
    spread = {}
    for name, values in columns.items():
        spread[name] = array("d", [math.nan]) * length
        for place, value in zip(known, values, strict=True):
            spread[name][place] = value
    return [step.after(dates[0], i) for i in range(length)], spread, gaps


def _told(gaps: list[tuple[datetime, int]], missing: dict[str, int], step: Frequency) -> str:
    said = []
    if gaps:
        some = ", ".join(f"{count} after {date}" for date, count in gaps[:SHOWN])
        said.append(f"{sum(count for _, count in gaps)} rows are missing at steps of {step} ({some})")
    absent = sum(count for _, count in gaps)
    if cells := {name: count - absent for name, count in missing.items() if count > absent}:
        said.append("values are missing: " + ", ".join(f"{count} of {name}" for name, count in cells.items()))
    return " and ".join(said)


def _fill(path: Path, name: str, values: array[float], fill: str) -> None:
    """Close the missing values of one column in place. Raises DataProblem where there is nothing to begin with."""
    known = [i for i, value in enumerate(values) if not math.isnan(value)]
    if not known or known[0] > 0:
        raise DataProblem(
            f"{path}: column {name} begins with {known[0] if known else len(values)} missing values, which nothing "
            "before them can fill; cut these rows, or leave the column out with --data columns=A,B,..."
        )
    for before, after in pairwise([*known, len(values)]):
        # At the end nothing follows: the last value is kept there.
        rise = 0.0
        if fill == "interpolate" and after < len(values):
            rise = (values[after] - values[before]) / (after - before)
        for i in range(before + 1, after):
            values[i] = values[before] + rise * (i - before)
