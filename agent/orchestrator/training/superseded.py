"""Newer attempts of rows whose result came after all: stopped, because a row with a result is not trained again."""

from __future__ import annotations

from collections.abc import Mapping

from agent.launch.base import State
from agent.launch.states import compact
from agent.orchestrator.training.rows import RowState
from agent.orchestrator.work import Work
from agent.store.events import Superseded


def stop_superseded(work: Work, rows: Mapping[int, RowState]) -> None:
    """Stop what a shared filesystem's delay has started: attempts of rows that an earlier attempt has ended well.

    The earlier result counts whatever they come to; without this the round would wait for them. Journaled once for
    each attempt; may be repeated. Raises SchedulerUnavailable.
    """
    found = [one for one in rows.values() if one.superseded]
    if not found:
        return
    made = {one.newest.submission.name: one.newest.submission for one in found}
    polled = work.tools.launcher().poll(list(made.values()))
    active = [one for one in found if polled[one.newest.submission.name, one.row].state is not State.GONE]
    if not active:
        return
    folder = work.paths.root.name
    known = {
        place
        for event in work.store.journal.of(Superseded, folder=folder)
        for place in zip(event.rows, event.attempts, strict=True)
    }
    if new := [one for one in active if (one.row, one.newest.number) not in known]:
        numbers, attempts = tuple(one.row for one in new), tuple(one.newest.number for one in new)
        work.store.journal.append(Superseded(folder=folder, rows=numbers, attempts=attempts))
        work.say(f"{work.label}: results of rows {compact(numbers)} came after all; stopping their newer attempts")
    names = {one.newest.submission.name for one in active}
    work.tools.launcher().cancel([made[name] for name in names], items=[one.row for one in active])
