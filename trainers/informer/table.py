"""Reading a CSV file of dated rows, and refusing what cannot be a regular series. Standard library only.

The same code runs on the login node, before a study begins, and in the training.
"""

from __future__ import annotations

import csv
import math
import re
import shlex
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice, pairwise
from math import gcd
from pathlib import Path
from typing import TextIO

from trainers.contract import DataProblem
from trainers.informer.cells import SEPARATORS, Form
from trainers.informer.dates import Clock, date_reader, read_clock, zone_of_change
from trainers.informer.frequency import DAY, Frequency, find_frequency
from trainers.informer.outliers import far_values
from trainers.informer.suggest import LINES, column_names, hint, only

SHOWN = 3
"""Problems of one kind that a message shows."""
_OTHER_FILES = (
    (b"PK\x03\x04", "a ZIP archive or an Excel sheet; unpack it, or export the sheet as CSV"),
    (b"\x1f\x8b", "compressed by gzip; unpack it with gunzip"),
    (b"BZh", "compressed by bzip2; unpack it with bunzip2"),
    (b"PAR1", "Parquet; write it as CSV, e.g. pandas.read_parquet(FILE).to_csv(NEW)"),
    (b"\x89HDF", "HDF5; write it as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel sheet; export it as CSV"),
)
"""How files begin that are often given in place of a CSV file."""


class Unreadable(DataProblem):
    """A file whose cells are not what they were said to be; how it may be written is added to the message."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows at a regular step. A value that is missing is NaN until `fill` has replaced it."""

    path: Path
    dates: Sequence[datetime]
    """What the calendar showed at each row: local where the file tells, else as written."""
    columns: dict[str, array[float]]
    frequency: Frequency
    notes: dict[str, object] = field(default_factory=dict)
    """What was found and done: rows, gaps, missing values, values far from all others."""
    told: Sequence[str] = ()
    """Of the notes what a person should look at, in sentences."""

    def __len__(self) -> int:
        return len(self.dates)


def read_table(
    path: Path, *, date: str, wanted: Sequence[str], frequency: Frequency | None, fill: str, form: Form | None = None
) -> Table:
    """The regular series in a file. Raises DataProblem, which names file, line, column and remedy.

    date: the column of dates. wanted: the columns to read, all others when empty. frequency: None to find it.
    fill: "none" refuses gaps and missing values; "previous" and "interpolate" close them. form: how it is written.
    """
    form = form or Form()
    try:
        written, columns, told = _rows(path, date, wanted, form)
    except Unreadable as error:
        raise DataProblem(f"{error}{_hint(path, date, form, wanted)}") from error
    clock = read_clock(path, written, form.timezone)
    try:
        dates, step = _axis(path, clock, frequency)
    except DataProblem as error:
        raise DataProblem(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    grid, columns, gaps = _on_grid(path, dates, columns, step, given=frequency is not None)
    missing = {name: sum(map(math.isnan, values)) for name, values in columns.items()}
    missing = {name: count for name, count in missing.items() if count}
    if (gaps or missing) and fill == "none":
        raise DataProblem(f"{path}: {_told(gaps, missing, step)}; {_how_to_fill(path, dates, columns, gaps, step)}")
    for name in missing:
        _fill(path, name, columns, fill)
    notes: dict[str, object] = {"rows": len(grid), "frequency": str(step)}
    if gaps or missing:
        notes |= {"gap_rows": sum(count for _, count in gaps), "missing_values": missing, "fill": fill}
    far = {name: found for name, values in columns.items() if (found := far_values(values))}
    if far:
        notes["far_outliers"] = {name: found.describe(name) for name, found in far.items()}
    if told:
        notes["told"] = told
    return Table(
        path=path,
        dates=clock.local(grid) if dates is clock.instants else grid,
        columns=columns,
        frequency=step,
        notes=notes,
        told=[*told, *(found.describe(name) for name, found in far.items())],
    )


def _open(path: Path) -> TextIO:
    """The file as text: UTF-8, or UTF-16 where it begins with that mark. Raises DataProblem, OSError."""
    with path.open("rb") as stream:
        start = stream.read(64)
    for mark, what in _OTHER_FILES:
        if start.startswith(mark):
            raise DataProblem(f"{path}: is {what}")
    wide = start.startswith((b"\xff\xfe", b"\xfe\xff"))
    if not wide and b"\0" in start:
        order = "le" if start[1:2] == b"\0" else "be"
        raise DataProblem(f"{path}: is no UTF-8 text; {_convert(path, f'utf-16{order}')}")
    return path.open(encoding="utf-16" if wide else "utf-8-sig", newline="")


def _convert(path: Path, encoding: str) -> str:
    return f"convert it: iconv -f {encoding} -t utf-8 {shlex.quote(str(path))} > {shlex.quote(f'{path}.utf8.csv')}"


def _hint(path: Path, date: str, form: Form, wanted: Sequence[str]) -> str:
    with _open(path) as stream:
        return hint(path, list(islice(stream, LINES)), date, form, wanted)


def _rows(
    path: Path, date: str, wanted: Sequence[str], form: Form
) -> tuple[list[datetime], dict[str, array[float]], list[str]]:
    """Dates as written, the columns, and what was left out. Raises DataProblem."""
    try:
        with _open(path) as stream:
            lines = csv.reader(stream, delimiter=SEPARATORS[form.sep], strict=True)
            header = next((line for line in lines if line), [])
            names = _header(path, header, date, wanted)
            dates, columns = _body(path, lines, date, names, form)
            told = [] if wanted else _leave_out_unnamed(path, columns, header, date)
            return dates, columns, told
    except FileNotFoundError:
        raise DataProblem(f"{path}: there is no such file") from None
    except OSError as error:
        raise DataProblem(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataProblem(
            f"{path}: not UTF-8 text (byte {error.start}); if it is Latin-1, as older programs write, "
            f"{_convert(path, 'latin1')}"
        ) from error
    except csv.Error as error:
        raise Unreadable(f"{path}: not CSV: {error}") from error


def _header(path: Path, line: list[str], date: str, wanted: Sequence[str]) -> list[str | None]:
    """For each cell of a row: the column that it belongs to, None where it is not read."""
    names = column_names(line)
    there = ", ".join(names) or "none"
    if date not in names:
        raise Unreadable(f"{path}: no column {date!r} of dates (columns: {there})")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataProblem(
            f"{path}: a column name stands twice: {', '.join(twice)} (columns: {there}); rename one in the first line"
        )
    unknown = [name for name in wanted if name not in names or name == date]
    if unknown:
        others = ", ".join(name for name in names if name != date)
        raise DataProblem(f"{path}: no column {', '.join(map(repr, unknown))}; its columns are: {others}")
    if len(names) == 1:
        raise Unreadable(f"{path}: has no column beside {date!r}")
    return [name if name == date or not wanted or name in wanted else None for name in names]


def _body(
    path: Path, lines: Iterator[list[str]], date: str, names: list[str | None], form: Form
) -> tuple[list[datetime], dict[str, array[float]]]:
    dates: list[datetime] = []
    columns: dict[str, array[float]] = {name: array("d") for name in names if name not in (None, date)}
    broken: list[str] = []
    number_of, date_of = form.number(), date_reader(form.date_format)
    for number, line in enumerate(lines, 2):
        if not line:
            continue
        if len(line) != len(names):
            raise Unreadable(_uneven(path, number, line, names))
        for name, cell in zip(names, line, strict=True):
            try:
                if name == date:
                    dates.append(date_of(cell))
                elif name is not None:
                    columns[name].append(number_of(cell))
            except (ValueError, OverflowError):
                what = "a number"
                if name == date:
                    what = (
                        f"a date by {form.date_format}"
                        if form.date_format
                        else "an ISO date such as 2016-07-01 00:00:00"
                    )
                broken.append(f"line {number}, column {name}: {cell[:40]!r} is not {what}")
        if len(broken) >= SHOWN:
            break
    if broken:
        raise Unreadable(f"{path}: {'; '.join(broken)}")
    return dates, columns


def _uneven(path: Path, number: int, line: list[str], names: Sequence[object]) -> str:
    said = f"{path}: line {number} has {len(line)} cells, the header {len(names)}"
    if len(line) == len(names) + 1 and not line[-1].strip():
        new = shlex.quote(f"{path}.new.csv")
        return f"{said}: a separator too many at its end; sed 's/[,;\\t]\\r*$//' {shlex.quote(str(path))} > {new}"
    return said


def _leave_out_unnamed(path: Path, columns: dict[str, array[float]], header: list[str], date: str) -> list[str]:
    """Leave out columns that have neither a name nor a value, and say so. Raises DataProblem: a numbering of rows."""
    told = []
    written = dict(zip(column_names(header), header, strict=True))
    for name in [name for name in columns if not written[name].strip()]:
        if all(map(math.isnan, columns[name])):
            del columns[name]
            told.append(f"column {name} has neither a name nor a value: left out")
    strange = [name for name in columns if _is_index(name, written[name], columns[name])]
    rest = [name for name in columns if name not in strange]
    if strange:
        what = "numbers the rows, as pandas writes its index" if _counts(columns[strange[0]]) else "has no name"
        raise DataProblem(
            f"{path}: column {strange[0]} {what}; leave it out with {only(rest)}, or read it with "
            f"{only([*rest, *strange])}"
            if rest
            else f"{path}: column {strange[0]} {what}, and there is no other beside {date!r}"
        )
    return told


def _is_index(name: str, written: str, values: array[float]) -> bool:
    """Whether a column is none of the person's: without a name, or a numbering under a name that pandas gives."""
    return not written.strip() or (
        re.fullmatch(r"Unnamed: \d+|index|level_\d+", name) is not None and _counts(values)
    )


def _counts(values: array[float]) -> bool:
    return len(values) > 1 and all(b - a == 1 for a, b in pairwise(values))


def _axis(path: Path, clock: Clock, frequency: Frequency | None) -> tuple[Sequence[datetime], Frequency]:
    """The dates that are regular, and their step. Raises DataProblem.

    Days and longer steps are counted on the clocks of the place, where one in spring has 23 hours; shorter ones as
    instants, unless only the clocks are regular.
    """
    if not clock.changes:
        _check_order(path, clock.shown)
        return clock.shown, frequency or find_frequency(clock.shown)
    _check_order(path, clock.instants)
    found = frequency or find_frequency(clock.instants)
    shown = frequency or find_frequency(clock.shown)
    if shown.months or shown.seconds >= DAY:
        return clock.shown, shown
    if not _regular(clock.instants, found) and _regular(clock.shown, shown):
        return clock.shown, shown
    return clock.instants, found


def _regular(dates: Sequence[datetime], step: Frequency) -> bool:
    """Whether each date is a whole number of steps after the first, and later than the one before."""
    places = [step.steps(dates[0], date) for date in dates]
    return None not in places and all(a < b for a, b in pairwise(p for p in places if p is not None))


def _check_order(path: Path, dates: Sequence[datetime]) -> None:
    if change := _repeated_hour(dates):
        raise DataProblem(f"{path}: {change}")
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


def _repeated_hour(dates: Sequence[datetime]) -> str:
    """What to say where an hour comes twice because clocks go back; empty where that is not so."""
    back = [(a, b) for a, b in pairwise(dates) if b <= a]
    if not back or any(a - b > timedelta(hours=2) for a, b in back):
        return ""
    change = zone_of_change(dates, back[0][1], back[0][0])
    if change is None:
        return ""
    zone, regular = change
    said = f"dates stand twice around {back[0][0]}, where clocks go back at the end of summer time (e.g. in {zone})"
    if regular:
        return f"{said}; if these are its local times add --data timezone={zone} (or another zone of that rule)"
    return f"{said}; write the dates with their UTC offsets or in UTC"


def _on_grid(
    path: Path, dates: Sequence[datetime], columns: dict[str, array[float]], step: Frequency, *, given: bool
) -> tuple[Sequence[datetime], dict[str, array[float]], list[tuple[datetime, int]]]:
    """Rows at every step, NaN where there was none, and the gaps: date before it, rows lacking."""
    places = [step.steps(dates[0], date) for date in dates]
    # Two dates of one month share their place where the step is given in months.
    off = [str(date) for i, date in enumerate(dates) if places[i] is None or (i and places[i] == places[i - 1])]
    if off:
        raise DataProblem(
            f"{path}: {len(off)} dates are no whole number of steps of {step} after {dates[0]} "
            f"({', '.join(off[:SHOWN])}); {_other_step(dates, given)}"
        )
    known = [place for place in places if place is not None]
    gaps = [(dates[i], b - a - 1) for i, (a, b) in enumerate(pairwise(known)) if b - a > 1]
    if not gaps:
        return dates, columns, []
    length = known[-1] + 1
    if length > 10 * len(dates):
        raise DataProblem(
            f"{path}: at steps of {step} most rows would be missing ({len(dates)} of {length} are there; the longest "
            f"gap is {max(gaps, key=lambda gap: gap[1])[1]} after {max(gaps, key=lambda gap: gap[1])[0]}); "
            f"{_other_step(dates, given)}"
        )
    spread = {}
    for name, values in columns.items():
        spread[name] = array("d", [math.nan]) * length
        for place, value in zip(known, values, strict=True):
            spread[name][place] = value
    return [step.after(dates[0], i) for i in range(length)], spread, gaps


def _other_step(dates: Sequence[datetime], given: bool) -> str:
    """What to do about dates that are not regular: a step that puts them all on a grid, where there is one."""
    if given:
        return f"leave freq out (the most frequent step is {find_frequency(dates)}), or repair them"
    apart = gcd(*(int((b - a) / timedelta(seconds=1)) for a, b in pairwise(dates)))
    length = (dates[-1] - dates[0]) / timedelta(seconds=max(1, apart)) + 1
    if apart >= 1 and length <= 10 * len(dates) and all(not date.microsecond for date in dates):
        step = Frequency(seconds=apart)
        return f"all lie on steps of {step}: add --data freq={step} --data fill=previous"
    return "repair them, or cut the rows before or after"


def _how_to_fill(
    path: Path,
    dates: Sequence[datetime],
    columns: dict[str, array[float]],
    gaps: Sequence[tuple[datetime, int]],
    step: Frequency,
) -> str:
    """What to do about gaps and missing values; what is named works."""
    begun = {name: values for name, values in columns.items() if not math.isnan(values[0])}
    if not begun:
        return "no column begins with a value: cut the first rows"
    remedy = "--data fill=previous"
    if len(begun) < len(columns):
        late = ", ".join(name for name in columns if name not in begun)
        remedy = f"{only(begun)} {remedy}"
        return f"repair the file, or add {remedy} (nothing can fill the beginning of {late})"
    for before, count in gaps:
        after = step.after(before, count + 1)
        if after - before > timedelta(hours=3):
            continue
        if change := zone_of_change(dates, before, after):
            zone, regular = change
            local = (
                f"; if these are local times add --data timezone={zone} (or another zone of that rule)"
                if regular
                else ""
            )
            return f"around {before} clocks go forward to summer time, e.g. in {zone}{local}; else add {remedy}"
    return f"repair the file, or add {remedy}"


def _told(gaps: list[tuple[datetime, int]], missing: dict[str, int], step: Frequency) -> str:
    said = []
    if gaps:
        some = ", ".join(f"{count} after {date}" for date, count in gaps[:SHOWN])
        said.append(f"{sum(count for _, count in gaps)} rows are missing at steps of {step} ({some})")
    absent = sum(count for _, count in gaps)
    if cells := {name: count - absent for name, count in missing.items() if count > absent}:
        said.append("values are missing: " + ", ".join(f"{count} of {name}" for name, count in cells.items()))
    return " and ".join(said)


def _fill(path: Path, name: str, columns: dict[str, array[float]], fill: str) -> None:
    """Close the missing values of one column in place. Raises DataProblem where there is nothing to begin with."""
    values = columns[name]
    known = [i for i, value in enumerate(values) if not math.isnan(value)]
    if not known or known[0] > 0:
        raise DataProblem(
            f"{path}: column {name} begins with {known[0] if known else len(values)} missing values, which nothing "
            f"before them can fill; cut these rows{_or_leave_out(columns)}"
        )
    for before, after in pairwise([*known, len(values)]):
        # At the end nothing follows: the last value is kept there.
        rise = 0.0
        if fill == "interpolate" and after < len(values):
            rise = (values[after] - values[before]) / (after - before)
        for i in range(before + 1, after):
            values[i] = values[before] + rise * (i - before)


def _or_leave_out(columns: dict[str, array[float]]) -> str:
    begun = [name for name, values in columns.items() if not math.isnan(values[0])]
    return f", or leave the column out with {only(begun)}" if begun else ""
