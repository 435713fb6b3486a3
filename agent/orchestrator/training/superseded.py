"""Newer attempts of rows whose result came after all: stopped, because a row with a result is not trained again."""

from __future__ import annotations

from collections.abc import Mapping

from agent.launch.base import State, Submission
from agent.launch.states import compact
from agent.orchestrator.training.retry import Fates
from agent.orchestrator.work import Work
from agent.records import Outcome
from agent.store.events import Superseded
from trainers.results import RowResult


def stop_overtaken(work: Work, fates: Fates, results: Mapping[int, RowResult | None]) -> None:
    """Stop what a shared filesystem's delay has started: attempts of rows that an earlier attempt has ended well.

    The earlier result counts whatever they come to; without this the round would wait for them. Journaled once for
    each attempt; may be repeated. Raises SchedulerUnavailable.
    """
    rows = {
        row: fates.handed[row]
        for row, result in results.items()
        if result is not None and result.outcome == Outcome.OK and result.attempt < fates.handed[row].attempt
    }
    if not rows:
        return
    made: dict[str, Submission] = {handed.submission.name: handed.submission for handed in rows.values()}
    polled = work.tools.launcher().poll(list(made.values()))
    active = [row for row, handed in rows.items() if polled[handed.submission.name, row].state is not State.GONE]
    if not active:
        return
    folder = work.paths.root.name
    known = {
        (row, attempt)
        for event in work.store.journal.of(Superseded, folder=folder)
        for row, attempt in zip(event.rows, event.attempts, strict=True)
    }
    if new := [row for row in active if (row, rows[row].attempt) not in known]:
        attempts = tuple(rows[row].attempt for row in new)
        work.store.journal.append(Superseded(folder=folder, rows=tuple(new), attempts=attempts))
        work.say(f"{work.label}: results of rows {compact(new)} came after all; stopping their newer attempts")
    work.tools.launcher().cancel([made[name] for name in {rows[row].submission.name for row in active}], items=active)
