"""How a file that cannot be read as it was asked for could be read: the options that were tried and work.

Standard library only. Nothing is read by these options unless the person gives them: what is a decimal comma in one
country separates thousands in another.
"""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from trainers.informer.cells import NOTATIONS, SEPARATORS, Form, readable, unread
from trainers.informer.dates import formats_of

LINES = 2000
"""Lines from which is judged: 83 days of hours, so that days beyond the 12th tell day and month apart."""
MOST_WORDS = 3
"""Different words that may stand for missing values; more are something else."""
PREAMBLE = 50
"""Lines among which a header is looked for."""


def column_names(header: Sequence[str]) -> list[str]:
    """Names of the columns; one without a name is called by its place, counted from 1."""
    return [name.strip() or f"unnamed_{place}" for place, name in enumerate(header, 1)]


def option(key: str, value: str) -> str:
    """`--data KEY=VALUE`, as it may be pasted into a shell."""
    return f"--data {shlex.quote(f'{key}={value}')}"


def only(names: Iterable[str]) -> str:
    """The option that reads just these columns."""
    return option("columns", _line(names))


def _line(words: Iterable[str]) -> str:
    """A list separated by commas, as a line of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(list(words))
    return text.getvalue()


def hint(path: Path, lines: Sequence[str], date: str, form: Form, wanted: Sequence[str]) -> str:
    """What the first lines of a file tell of how to read it, beginning with "; "; empty where they tell nothing."""
    if text := _before_header(path, lines, date, form):
        return f"; {text}"
    sep = _separator(lines, form.sep)
    rows = _rows(lines, sep)
    if len(rows) < 2:
        return ""
    if _is_data(rows[0]):
        header = ",".join(["date", *(f"value_{i}" for i in range(1, len(rows[0])))])
        new = shlex.quote(f"{path}.new.csv")
        return (
            f"; its first line is data already, so put a header before it: (echo {header}; cat "
            f"{shlex.quote(str(path))}) > {new}"
        )
    names = column_names(rows[0])
    columns = [[row[i] for row in rows[1:] if len(row) == len(names)] for i in range(len(names))]
    found = _dates(names, columns, date, form)
    if found is None:
        return _told_separator(sep, form)
    place, formats = found
    rest = [i for i in range(len(names)) if i != place and (not wanted or names[i] in wanted)]
    decimal, thousands, numeric = _notation([columns[i] for i in rest], replace(form, sep=sep))
    given = []
    if sep != form.sep:
        given.append(option("sep", sep))
    if names[place] != date:
        given.append(option("date", names[place]))
    if formats[0] != form.date_format:
        given.append(option("date_format", formats[0]))
    if decimal != form.decimal:
        given.append(option("decimal", decimal))
    if thousands != form.thousands:
        given.append(option("thousands", thousands))
    best = replace(form, sep=sep, decimal=decimal, thousands=thousands)
    words = _words([columns[i] for i in rest], best)
    if words:
        given += [option("missing", _line([*form.missing, *words])), option("fill", "previous")]
    elif numeric and len(numeric) < len(rest):
        given.append(only(names[rest[i]] for i in numeric))
    if not given or not (numeric or words):
        return ""
    also = [option("date_format", other) for other in formats[1:2]]
    doubt = f" ({also[0]} would fit as well: you know which)" if also else ""
    if words and numeric and len(numeric) < len(rest):
        doubt += f", or leave these columns out with {only(names[rest[i]] for i in numeric)}"
    if (decimal, thousands) == ("comma", "none") and _either_way([columns[i] for i in rest], form):
        doubt += " (--data thousands=comma instead of decimal=comma would fit as well: you know which)"
    return f"; it seems to be written otherwise: add {' '.join(given)}{doubt}"


def _before_header(path: Path, lines: Sequence[str], date: str, form: Form) -> str:
    """What to do with lines that come before the header."""
    quoted, new = shlex.quote(str(path)), shlex.quote(f"{path}.new.csv")
    comments = sum(line.lstrip().startswith("#") for line in lines)
    if comments and not (lines and date in _cells(lines[0], form.sep)):
        return f"lines that begin with # are comments to you, not to CSV: grep -v '^#' {quoted} > {new}"
    for number, line in enumerate(lines[1:PREAMBLE], 2):
        if date in _cells(line, form.sep):
            return f"its header seems to be line {number}: tail -n +{number} {quoted} > {new}"
    return ""


def _cells(line: str, sep: str) -> list[str]:
    return [cell.strip().strip('"') for cell in line.split(SEPARATORS[sep])]


def _separator(lines: Sequence[str], asked: str) -> str:
    """The separator that cuts the first lines into the most cells, each into as many; else the one asked for."""
    best, most = asked, 1
    for name in dict.fromkeys((asked, *SEPARATORS)):
        counts = {len(row) for row in _rows(lines[:PREAMBLE], name)}
        if len(counts) == 1 and (count := counts.pop()) > most:
            best, most = name, count
    return best


def _rows(lines: Sequence[str], sep: str) -> list[list[str]]:
    try:
        return [row for row in csv.reader(lines, delimiter=SEPARATORS[sep], strict=True) if row]
    except csv.Error:
        return []


def _is_data(row: Sequence[str]) -> bool:
    return any(
        formats_of([cell]) not in ([], ["unix"], ["unix", "unix_ms"], ["unix_ms"]) for cell in row if cell.strip()
    )


def _dates(
    names: Sequence[str], columns: Sequence[Sequence[str]], date: str, form: Form
) -> tuple[int, list[str]] | None:
    """The place of the column of dates and the formats that fit: the named column, else the first with dates."""
    places = [names.index(date)] if date in names else range(len(names))
    for place in places:
        formats = formats_of(columns[place])
        if form.date_format in formats:
            formats = [form.date_format]
        if formats and (date in names or formats[0] not in ("unix", "unix_ms")):
            return place, formats
    return None


def _notation(columns: Sequence[Sequence[str]], form: Form) -> tuple[str, str, list[int]]:
    """Decimal and thousands separators by which most columns are numbers, and these columns."""
    best = (form.decimal, form.thousands, [i for i, cells in enumerate(columns) if readable(form, cells)])
    for decimal, thousands in NOTATIONS:
        tried = replace(form, decimal=decimal, thousands=thousands)
        found = [i for i, cells in enumerate(columns) if readable(tried, cells)]
        if len(found) > len(best[2]):
            best = decimal, thousands, found
    return best


def _words(columns: Sequence[Sequence[str]], form: Form) -> list[str]:
    """What seems to stand for a missing value: a few words, always the same, in columns that are mostly numbers."""
    words: set[str] = set()
    for cells in columns:
        found = unread(form, cells)
        if 2 * len(found) > len(cells):
            return []
        words.update(found)
    return sorted(words) if len(words) <= MOST_WORDS else []


def _either_way(columns: Sequence[Sequence[str]], form: Form) -> bool:
    """Whether commas may as well separate thousands: each stands before three digits."""
    tried = replace(form, decimal="point", thousands="comma")
    return all(readable(tried, cells) for cells in columns)


def _told_separator(sep: str, form: Form) -> str:
    return "" if sep == form.sep else f"; its cells seem to be separated by {sep}: add {option('sep', sep)}"
