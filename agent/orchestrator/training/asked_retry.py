"""Starting rows of an open round again because a person asks for it: new attempt, same indices, fresh evaluation.

What the policy retries by itself is in retry.py; a person's rows go the same way from the journaled wave on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from agent.errors import UsageError
from agent.launch.base import State
from agent.launch.states import compact
from agent.orchestrator.training import retry
from agent.orchestrator.training.cancel import check_rows, named
from agent.orchestrator.training.collect import row_statuses
from agent.orchestrator.training.retry import open_wave
from agent.orchestrator.training.rows import read_rows
from agent.orchestrator.training.submissions import submissions
from agent.orchestrator.work import StepResult, Work
from agent.store.events import RetryAsked
from agent.store.requests import cancelled_rows
from agent.store.steps import Status
from trainers.manifest import Manifest, load_manifest
from trainers.results import read_row


def choose(work: Work, manifest: Manifest, rows: Collection[int] | None, *, failed: bool) -> list[int]:
    """The rows that are started again.

    Without `rows` those that were cancelled or ended without a result (lost, killed), with `failed` also those whose
    result is no score. Raises UsageError for rows that the round does not have, that are ok, or that still may do
    something, and when nothing is left.
    """
    check_rows(work.paths, manifest, rows or ())
    statuses = row_statuses(work)
    # Read after the launcher was asked: a row that ends between the two would otherwise be trained twice.
    results = {row.row: read_row(work.paths, manifest, row) for row in manifest.rows}
    scored = sorted(row for row, result in results.items() if result is not None and result.outcome == "ok")
    newest = _newest_attempts(work)
    # A task that has just left its newest attempt's result is as good as gone.
    over = {row for row, result in results.items() if result is not None and result.attempt >= newest.get(row, 0)}
    active = sorted(
        row for row, status in statuses.items() if status.state is not State.GONE and row not in {*scored, *over}
    )
    if rows is not None:
        if again := sorted(set(rows) & set(scored)):
            raise UsageError(f"--rows {compact(again)}: already ok; no row that has a score is trained twice")
        if going := sorted(set(rows) & set(active)):
            raise UsageError(
                f"--rows {compact(going)}: still running or pending; "
                f"`{work.store.command('cancel', '--rows', compact(going))}` stops them"
            )
        return sorted(rows)
    # What a cancelled row left as a result is how its program took the end, not what its settings are worth.
    cancelled = cancelled_rows(work.store, work.paths)
    if stopping := sorted(cancelled & set(active)):
        raise UsageError(
            f"{work.label}: {named(stopping)} cancelled and still stopping; call again when they are gone, or name "
            "the rows with --rows"
        )
    ended = [row for row in results if row not in scored and row not in active]
    chosen = [row for row in ended if failed or row in cancelled or results[row] is None]
    if not chosen:
        hints = [f"{named(scored)} ok"] if scored else []
        hints += [f"{named(active)} running or pending"] if active else []
        hints += [f"{named(ended)} ended with a failure as the result: see --failed"] if ended else []
        raise UsageError(f"{work.label}: nothing to retry: {'; '.join(hints)}")
    return chosen


def _newest_attempts(work: Work) -> dict[int, int]:
    """The attempt that each row was handed over for last."""
    return {row: number for number, made in submissions(work.store, work.paths, "train") for row in made.items}


def plan(work: Work, manifest: Manifest, rows: Sequence[int]) -> None:
    """Journal a person's retry; the collect step hands it over, also after a kill."""
    journal(work, rows)
    known = read_rows(work.store, work.paths)
    retry.plan(work, [known[row] for row in rows], manifest)


def journal(work: Work, rows: Sequence[int]) -> None:
    """That a person wants a round to go on, with these rows trained again. It is not halted any more."""
    folder = work.paths.root.name
    work.store.journal.append(RetryAsked(folder=folder, round=work.number, rows=tuple(rows), source="person"))


def on_their_way(work: Work) -> StepResult | None:
    """A waiting result while a row that a person retries has a failure of an earlier attempt and may get another
    result: to all else such a row looks finished."""
    asked = {row for event in work.store.journal.of(RetryAsked, folder=work.paths.root.name) for row in event.rows}
    if not asked or open_wave(work) is not None:
        return None
    manifest = load_manifest(work.paths.manifest)
    newest = _newest_attempts(work)

    def older_failure(row: int) -> bool:
        result = read_row(work.paths, manifest, manifest.rows[row])
        return result is not None and result.outcome != "ok" and result.attempt < newest[row]

    # The launcher is asked only where the disk does not tell already.
    if not any(map(older_failure, asked)):
        return None
    statuses = row_statuses(work)
    progress = {row: statuses[row] for row in asked if statuses[row].state is not State.GONE and older_failure(row)}
    return StepResult(status=Status.WAITING, progress=progress) if progress else None
