"""A disk on which the orchestrator is killed, finds no room, or is looked at by a second shell, at a given change.

Files are real files on /dev/shm, where fsync is free: an in-memory layer would have to stand in for every
`exists`, `glob` and `open` of the product, and the product's own calls are what is under test.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from agent.store.disk import Disk, storage
from tests.simulation.programs import Killed


class SimulatedDisk(Disk):
    """Counts the changes of a tick; `plan` says what befalls them."""

    def __init__(self) -> None:
        super().__init__(boundary=self._passed)
        self.__dict__ |= {"changes": 0, "kills": set(), "full": range(0), "shells": {}, "armed": True}

    def plan(self, *, kills: set[int], full: range, shells: dict[int, Callable[[], None]]) -> None:
        """What befalls the next tick: kills and shells at these changes, no room for those in `full`."""
        self.__dict__ |= {"changes": 0, "kills": kills, "full": full, "shells": shells}

    def _passed(self, name: str) -> None:
        state = self.__dict__
        if not state["armed"]:
            return
        state["changes"] += 1
        number = state["changes"]
        if number in state["kills"]:
            state["kills"].discard(number)
            raise Killed(name)
        if number in state["shells"]:
            act = state["shells"].pop(number)
            state["armed"] = False
            try:
                act()
            finally:
                state["armed"] = True

    def _room(self, path: Path) -> None:
        if self.__dict__["changes"] in self.__dict__["full"] and self.__dict__["armed"]:
            with storage(path):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def write(self, path: Path, text: str, *, private: bool = False) -> None:
        self._room(path)
        super().write(path, text, private=private)

    def make_folder(self, path: Path, *, private: bool = False) -> None:
        self._room(path)
        super().make_folder(path, private=private)

    def append(self, path: Path, line: str) -> None:
        self._room(path)
        super().append(path, line)
