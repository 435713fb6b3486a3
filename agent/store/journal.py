"""journal.jsonl: the append-only record of a study. One JSON object a line; a torn last line is tolerated.

Every entry has `seq` (1, 2, ...), `at` (UTC, ISO 8601) and `event` (agent.store.events). Replaying it gives what was
submitted, adopted, decided and charged; nothing in it is ever rewritten.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, overload

from agent.errors import ClockWentBack, InvalidStudy, StudyBusy
from agent.store.codec import FieldProblem
from agent.store.disk import Disk, storage
from agent.store.events import Event, line_of, read_event
from trainers.files import open_to_read

#: Nodes of one cluster may disagree by seconds; a clock set back by more than this is refused.
CLOCK_TOLERANCE = timedelta(seconds=60)

Entry = dict[str, Any]
A = TypeVar("A", bound=Event)
B = TypeVar("B", bound=Event)
C = TypeVar("C", bound=Event)
D = TypeVar("D", bound=Event)
E = TypeVar("E", bound=Event)


class Journal:
    """The journal of one study. Holds in memory what it has read, and appends through the disk.

    Entries are indexed by event and folder, and become objects when they are asked for: a journal of 10,000 entries
    is opened by commands that look at a few of them.
    """

    def __init__(self, path: Path, disk: Disk, now: Callable[[], datetime]) -> None:
        self._path = path
        self._disk = disk
        self._now = now
        self._size = _size(path)
        self._entries: list[Entry] = []
        self._lines: list[int] = []
        self._events: list[Event | None] = []
        self._places: defaultdict[str, list[int]] = defaultdict(list)
        self._in_folder: defaultdict[str, list[int]] = defaultdict(list)
        for line, entry in _read(path):
            self._entries.append(entry)
            self._lines.append(line)
        self._events.extend([None] * len(self._entries))
        for place, entry in enumerate(self._entries):
            self._index(place, entry)

    def _take(self, entry: Entry, event: Event) -> None:
        self._index(len(self), entry)
        self._entries.append(entry)
        self._lines.append(event.seq)
        self._events.append(event)

    def _index(self, place: int, entry: Entry) -> None:
        name, folder = entry["event"], entry.get("folder")
        self._places[name].append(place)
        if type(folder) is str:
            self._in_folder[folder].append(place)

    @property
    def events(self) -> Sequence[Event]:
        """All events, oldest first. Raises InvalidStudy where one cannot be used."""
        return [self._at(place) for place in range(len(self._entries))]

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def folders(self) -> set[str]:
        """Every folder that any event names, also of events that this version does not know."""
        return set(self._in_folder)

    @overload
    def of(self, kind: type[A], /, *, folder: str | None = None) -> Iterator[A]: ...
    @overload
    def of(self, a: type[A], b: type[B], /, *, folder: str | None = None) -> Iterator[A | B]: ...
    @overload
    def of(self, a: type[A], b: type[B], c: type[C], /, *, folder: str | None = None) -> Iterator[A | B | C]: ...
    @overload
    def of(
        self, a: type[A], b: type[B], c: type[C], d: type[D], /, *, folder: str | None = None
    ) -> Iterator[A | B | C | D]: ...
    @overload
    def of(
        self, a: type[A], b: type[B], c: type[C], d: type[D], e: type[E], /, *, folder: str | None = None
    ) -> Iterator[A | B | C | D | E]: ...
    def of(self, *kinds: type[Event], folder: str | None = None) -> Iterator[Any]:
        """The events of the given classes, oldest first. folder: only those that name it.

        Raises InvalidStudy where one of them cannot be used.
        """
        found = self._places_of(kinds, folder)
        places = list(found[0]) if len(found) == 1 else sorted(chain.from_iterable(found))
        return map(self._at, places)

    @overload
    def last(self, kind: type[A], /, *, folder: str | None = None) -> A | None: ...
    @overload
    def last(self, a: type[A], b: type[B], /, *, folder: str | None = None) -> A | B | None: ...
    @overload
    def last(self, a: type[A], b: type[B], c: type[C], /, *, folder: str | None = None) -> A | B | C | None: ...
    def last(self, *kinds: type[Event], folder: str | None = None) -> Any:
        """The newest event of the given classes; None where there is none."""
        found = [places[-1] for places in self._places_of(kinds, folder) if places]
        return self._at(max(found)) if found else None

    def _places_of(self, kinds: Sequence[type[Event]], folder: str | None) -> list[list[int]]:
        """Places of the events of these classes, in ascending lists: one for each class, or one for a folder."""
        if folder is None:
            return [self._places.get(kind.NAME, []) for kind in kinds]
        names = {kind.NAME for kind in kinds}
        return [[place for place in self._in_folder.get(folder, ()) if self._entries[place]["event"] in names]]

    def _at(self, place: int) -> Event:
        event = self._events[place]
        if event is None:
            entry = self._entries[place]
            try:
                event = self._events[place] = read_event(entry)
            except FieldProblem as problem:
                where = f"line {self._lines[place]}, {entry['event']}.{problem.where}"
                message = f"{problem.message}: the line was edited; restore the file"
                value = repr(problem.value)[:80]
                raise InvalidStudy.at(self._path, message, where=where, value=value) from problem
        return event

    def append(self, event: A) -> A:
        """Add an event; the same with its place and time. Raises StorageError, and before anything is written
        ClockWentBack and StudyBusy.

        StudyBusy: the file grew since it was read. A process that was suspended for so long that another one took
        its lease must not write under numbers that are taken.
        """
        now = self.check_clock()
        if _size(self._path) != self._size:
            raise StudyBusy(f"{self._path}: another process wrote to it meanwhile; call again to go on from there")
        made = event.changed(seq=len(self) + 1, at=now)
        entry = line_of(made)
        self._disk.append(self._path, json.dumps(entry, ensure_ascii=False, allow_nan=False))
        self._size = _size(self._path)
        self._take(entry, made)
        return made

    def append_once(self, event: A, *, key: Sequence[str]) -> A:
        """Add an event unless one of its class has the same values in these fields; the one that stands then."""
        given = [getattr(event, name) for name in key]
        folder: str | None = event.__dict__["folder"] if "folder" in key else None
        for one in self.of(type(event), folder=folder):
            if [getattr(one, name) for name in key] == given:
                return one
        return self.append(event)

    def append_changed(self, event: A, *, key: Sequence[str]) -> A:
        """Add an event unless the newest of its class has the same values in these fields; the newest then."""
        last = self.last(type(event))
        if last is not None and all(getattr(last, name) == getattr(event, name) for name in key):
            return last
        return self.append(event)

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


def _read(path: Path) -> Iterator[tuple[int, Entry]]:
    """All entries with the numbers of their lines. A line that does not parse is accepted only where a killed writer
    could have left it: when it is the last one, or when the next entry takes its place in the numbering."""
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
        whole = type(entry) is dict and type(entry.get("event")) is str and type(entry.get("at")) is str
        if not whole or entry.get("seq") != expected:
            message = f"expected entry {expected}: lines were removed or edited; restore the file"
            raise InvalidStudy.at(path, message, where=f"line {number}", value=line[:80])
        expected += 1
        yield number, entry
