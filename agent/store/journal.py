"""journal.jsonl: the append-only record of a study. One JSON object a line; a torn last line is tolerated.

Every entry has `seq` (1, 2, ...), `at` (UTC, ISO 8601) and `event`. Replaying it gives what was submitted,
adopted, decided and charged; nothing in it is ever rewritten.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agent.errors import ClockWentBack, InvalidStudy, Problem, StudyBusy
from agent.store.disk import Disk, storage
from trainers.files import open_to_read

#: Nodes of one cluster may disagree by seconds; a clock set back by more than this is refused.
CLOCK_TOLERANCE = timedelta(seconds=60)

Entry = dict[str, Any]


class Journal:
    """The journal of one study. Holds in memory what it has read, and appends through the disk."""

    def __init__(self, path: Path, disk: Disk, now: Callable[[], datetime]) -> None:
        self._path = path
        self._disk = disk
        self._now = now
        self._size = _size(path)
        self._entries = list(_read(path))

    @property
    def entries(self) -> tuple[Entry, ...]:
        return tuple(self._entries)

    def of(self, *events: str) -> Iterator[Entry]:
        """The entries of the given events, oldest first."""
        return (entry for entry in self._entries if entry["event"] in events)

    def last(self, *events: str) -> Entry | None:
        return next((entry for entry in reversed(self._entries) if entry["event"] in events), None)

    def append(self, event: str, **fields: object) -> Entry:
        """Add one entry. Raises StorageError, and before anything is written ClockWentBack and StudyBusy.

        StudyBusy: the file grew since it was read. A process that was suspended for so long that another one took
        its lease must not write under numbers that are taken.
        """
        now = self.check_clock()
        if _size(self._path) != self._size:
            raise StudyBusy(f"{self._path}: another process wrote to it meanwhile; call again to go on from there")
        entry: Entry = {"seq": len(self._entries) + 1, "at": now.isoformat(), "event": event, **fields}
        self._disk.append(self._path, json.dumps(entry, ensure_ascii=False, allow_nan=False))
        self._size = _size(self._path)
        self._entries.append(entry)
        return entry

    def check_clock(self) -> datetime:
        """The time now. Raises ClockWentBack when the journal's last entry lies in the future."""
        now = self._now().astimezone(UTC)
        if self._entries:
            last = datetime.fromisoformat(self._entries[-1]["at"])
            if now < last - CLOCK_TOLERANCE:
                raise ClockWentBack(
                    f"{self._path}: the last entry is of {last.isoformat(timespec='seconds')}, but this machine's "
                    f"clock says {now.isoformat(timespec='seconds')}; set the clock right and call again"
                )
        return now


def first_line(path: Path) -> str:
    """How a journal begins: its study, and when it was begun, which tells it from any other. Raises OSError."""
    with open(path, encoding="utf-8", errors="replace", opener=open_to_read) as file:
        return file.readline()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _read(path: Path) -> Iterator[Entry]:
    """All entries. A line that does not parse is accepted only where a killed writer could have left it: when it
    is the last one, or when the next entry takes its place in the numbering."""
    if not path.exists():
        return
    with storage(path), open(path, encoding="utf-8", errors="replace", opener=open_to_read) as file:
        lines = file.read().split("\n")
    expected = 1
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if not isinstance(entry, dict) or entry.get("seq") != expected or "event" not in entry or "at" not in entry:
            shown = line[:80]
            raise InvalidStudy(
                [
                    Problem(
                        file=str(path),
                        where=f"line {number}",
                        value=shown,
                        message=f"expected entry {expected}: lines were removed or edited; restore the file",
                    )
                ]
            )
        expected += 1
        yield entry
