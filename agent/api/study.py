"""A study as an object: read its state, its best and its recent runs, or go on with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agent.records import Observation
from agent.store.store import Store


class Study:
    """A study that exists on disk. Nothing is cached: every question reads the files as they are now."""

    def __init__(self, root: Path | str) -> None:
        """Open runs/<study>. Raises UsageError when it is none."""
        self._store = Store.open(Path(root).absolute())

    @property
    def root(self) -> Path:
        return self._store.paths.root

    @property
    def rounds(self) -> list[dict[str, Any]]:
        """round.json of every closed round, oldest first."""
        return [self._store.round_record(paths) for paths in self._store.closed()]

    @property
    def history(self) -> list[Observation]:
        """Every candidate of every closed round, oldest first."""
        return self._store.history()

    def recent(self, count: int) -> list[Observation]:
        """The last `count` candidates, newest first."""
        return self._store.history()[::-1][:count]

    @property
    def best(self) -> dict[str, Any] | None:
        """best_overall.json, or None while no candidate has a value."""
        return self._store.record(self._store.paths.best)

    @property
    def pareto(self) -> dict[str, Any] | None:
        """pareto.json, or None where the study has no further objective or no closed round since it has one."""
        return self._store.record(self._store.paths.pareto)

    def tick(self) -> Any:
        """One idempotent step; see `tick_once`."""
        from agent.api.run import tick_once

        return tick_once(self._store)
