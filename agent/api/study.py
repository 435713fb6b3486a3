"""A study as an object: read its state, its best and its recent runs, or go on with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.api.runs import Run
from agent.errors import UsageError
from agent.records import CandidateResult
from agent.store.store import Store


@dataclass(frozen=True, kw_only=True)
class State:
    """Where a study stands."""

    closed: int
    """Rounds that are finished; the next call goes on after them, or finishes the open one."""
    open: int | None
    """Number of the round that is under way."""
    target: int | None
    """The last round that was asked for; None before the first call."""
    best: Run | None
    ended: dict[str, Any] | None
    """Why a planner or the patience ended it, unless a later call went on: {round, by, reason}."""

    @property
    def finished(self) -> bool:
        """Whether every round that was asked for is closed."""
        return self.open is None and self.target is not None and self.closed >= self.target


class Study:
    """A study that exists on disk. Nothing is cached: every question reads the files as they are now."""

    def __init__(self, root: Path | str) -> None:
        """Open runs/<study>. Raises UsageError when it is none."""
        self._store = Store.open(Path(root).absolute())

    @property
    def root(self) -> Path:
        return self._store.paths.root

    @property
    def state(self) -> State:
        from agent.report.overview import ended

        store = self._store
        under_way = store.open_folder()
        return State(
            closed=len(store.closed()),
            open=under_way.number if under_way is not None else None,
            target=store.settings().target_round if store.driven() else None,
            best=self.best_run,
            ended=ended(store),
        )

    @property
    def rounds(self) -> list[dict[str, Any]]:
        """round.json of every closed round, oldest first."""
        return [self._store.read(paths.closed) for paths in self._store.closed()]

    @property
    def history(self) -> list[CandidateResult]:
        """Every candidate of every closed round, oldest first."""
        return self._store.history()

    @property
    def runs(self) -> list[Run]:
        """The same as runs: with their files, trials and curves."""
        store = self._store
        held = store.incumbent()
        records = [(paths, store.round_record(paths)) for paths in store.closed()]
        return [Run.of(paths, record, result, held) for paths, record in records for result in record.candidates]

    def run(self, round: int, candidate: str = "c00") -> Run:
        """One run. Raises UsageError listing those there are in that round."""
        runs = self.runs
        for found in runs:
            if (found.round, found.candidate) == (round, candidate):
                return found
        here = [found.candidate for found in runs if found.round == round]
        there = f"round {round} has {', '.join(here)}" if here else f"{len(self._store.closed())} rounds are closed"
        raise UsageError(f"no run {candidate} of round {round}: {there}")

    @property
    def best_run(self) -> Run | None:
        """The incumbent, or None while no candidate has a value."""
        return next((run for run in self.runs if run.best), None)

    def recent_runs(self, count: int) -> list[Run]:
        """The last `count` runs, newest first."""
        return self.runs[::-1][:count]

    def recent(self, count: int) -> list[CandidateResult]:
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
