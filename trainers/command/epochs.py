"""The program's per-epoch CSV: reported while it grows, and kept under Roundtable's names. Standard library only."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from trainers.command.record import EpochFile
from trainers.files import write_atomic

MAX_BYTES = 64 * 2**20
MAX_LINE = 64 * 2**10


class EpochLog:
    """Follows a CSV whose first line names its columns and whose every further line is an epoch."""

    def __init__(self, source: EpochFile, out: Path, report: Callable[[int, Mapping[str, float]], None]) -> None:
        self._path = out / source.file
        self._target = out / "metrics_epoch.csv"
        self._names = {theirs: ours for ours, theirs in source.columns.items()}
        self._report = report
        self._offset = 0
        self._rest = b""
        self._header: list[str] = []
        self._last = -1

    def poll(self) -> None:
        """Report the lines that are complete and new. Progress only: what cannot be read yet is left alone."""
        try:
            size = self._path.stat().st_size
            if size < self._offset:  # written anew
                self._offset, self._rest, self._header = 0, b"", []
            if size == self._offset:
                return
            with self._path.open("rb") as stream:
                stream.seek(self._offset)
                data = stream.read(MAX_BYTES)
        except OSError:
            return
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[:MAX_LINE]
        for line in lines:
            self._take(line.decode("utf-8-sig", errors="replace").strip())

    def _take(self, line: str) -> None:
        cells = next(csv.reader([line]), []) if line and len(line) <= MAX_LINE else []
        if not self._header:
            self._header = [self._names.get(cell.strip(), cell.strip()) for cell in cells]
            return
        row = dict(zip(self._header, map(_number, cells), strict=False))
        epoch = row.pop("epoch", None)
        if epoch is not None and epoch == int(epoch) and int(epoch) > self._last:
            self._last = int(epoch)
            self._report(self._last, {name: value for name, value in row.items() if value is not None})

    def keep(self) -> str:
        """Write metrics_epoch.csv with the standard names; what is wrong with the program's file, or ""."""
        try:
            if self._path.stat().st_size > MAX_BYTES:
                return f"{self._path}: larger than {MAX_BYTES // 2**20} MiB"
            text = self._path.read_text(encoding="utf-8-sig", errors="replace")
            rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
        except OSError as error:
            return f"{self._path}: {error.strerror or error}"
        except csv.Error as error:
            return f"{self._path}: not CSV: {error}"
        header = [name.strip() for name in rows[0]] if rows else []
        absent = [theirs for theirs in self._names if theirs not in header]
        renamed = [self._names.get(name, name) for name in header]
        if absent or "epoch" not in renamed or len(set(renamed)) < len(renamed):
            what = f"no column {', '.join(absent)}" if absent else "it needs one column epoch, and no name twice"
            return f"{self._path}: {what}; its columns: {', '.join(header)[:300] or 'none'}"
        kept = io.StringIO(newline="")
        writer = csv.writer(kept, lineterminator="\n")
        writer.writerows([renamed, *rows[1:]])
        write_atomic(self._target, kept.getvalue())
        return ""


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
