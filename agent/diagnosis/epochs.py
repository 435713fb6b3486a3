"""metrics_epoch.csv as a table of numbers. Programs of any kind write it, so nothing about it is trusted."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 16 * 2**20
MAX_ROWS = 100_000
MAX_COLUMNS = 200


@dataclass(frozen=True, kw_only=True)
class EpochTable:
    """One row an epoch: column -> number. NaN where a cell holds no number; no entry where it is empty."""

    rows: Sequence[Mapping[str, float]] = ()
    problems: Sequence[str] = ()
    """What could not be read, a line each. A torn last line is none: the program may have been killed writing it."""


def read_epochs(path: Path) -> EpochTable:
    """The table of a file whose first line names the columns. Never raises: what is wrong is in `problems`.

    A missing file is an empty table without problems, because not every program reports epochs.
    """
    try:
        if not path.exists():
            return EpochTable()
        if not path.is_file():
            return EpochTable(problems=(f"{path.name}: not a regular file",))
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        return EpochTable(problems=(f"{path.name}: cannot be read: {error.strerror or error}",))
    if len(data) > MAX_BYTES:
        return EpochTable(problems=(f"{path.name}: larger than {MAX_BYTES // 2**20} MiB; it is not looked at",))
    return parse_epochs(data.decode("utf-8-sig", errors="replace"), name=path.name)


def parse_epochs(text: str, *, name: str) -> EpochTable:
    """The table of a file's text."""
    # NUL bytes are what a crashed file system leaves in a file's last block.
    text = text.replace("\0", "")
    torn = bool(text) and not text.endswith(("\n", "\r"))
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline="")) if line]
    except csv.Error as error:
        return EpochTable(problems=(f"{name}: not CSV: {error}",))
    header = [cell.strip() for cell in lines[0]] if lines else []
    if not header:
        return EpochTable()
    if message := _header_problem(header):
        return EpochTable(problems=(f"{name}: line 1: {message}",))
    body = lines[1:]
    if torn and body and len(body[-1]) <= len(header):
        # Even with all its cells, the last number may lack digits.
        body = body[:-1]
    problems = []
    if len(body) > MAX_ROWS:
        problems.append(f"{name}: {len(body):,} rows; only the first {MAX_ROWS:,} are looked at")
        body = body[:MAX_ROWS]
    bad = [number for number, line in enumerate(body, 2) if len(line) != len(header)]
    if bad:
        some = ", ".join(map(str, bad[:5])) + (" ..." if len(bad) > 5 else "")
        problems.append(f"{name}: {len(bad)} rows without {len(header)} cells are left out (rows {some})")
    rows = [_row(header, line) for line in body if len(line) == len(header)]
    return EpochTable(rows=tuple(rows), problems=tuple(problems))


def _header_problem(header: Sequence[str]) -> str:
    if len(header) > MAX_COLUMNS:
        return f"{len(header)} columns; at most {MAX_COLUMNS} are read"
    if len(set(header)) < len(header):
        return "a column occurs twice"
    if "epoch" not in header:
        return "no column epoch; its first line must name the columns"
    return ""


def _row(header: Sequence[str], line: Sequence[str]) -> dict[str, float]:
    return {name: _number(cell) for name, cell in zip(header, line, strict=True) if cell.strip()}


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
