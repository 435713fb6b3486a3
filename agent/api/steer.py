"""Steering a study between its ticks: submit, collect, retry and cancel the open round."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.api.wiring import Say, tools_for
from agent.errors import LaunchError, StudyBusy, UsageError
from agent.store.events import Submitted
from agent.store.lease import held
from agent.store.requests import ask_to_cancel, halted, halted_text, open_requests
from agent.store.store import Store

if TYPE_CHECKING:
    from agent.orchestrator.training.cancel import Target
    from agent.orchestrator.work import Report, Tools
    from agent.store.paths import RoundPaths


def _quiet(line: str) -> None:
    """Nobody listens."""


def submit_round(root: Path, *, only: int | None = None, say: Say = _quiet, detail: Say = _quiet) -> Report:
    """Submit a round that was rendered for a person, with the study's launcher.

    only: the round's number; None: whichever is open. Raises RoundtableError, StudyBusy while another process works
    on the study.
    """
    from agent.orchestrator import steer

    with held(Store.open(root).paths.lease):
        store = Store.open(root)
        store.journal.check_clock()
        # With its models: an edit of the reference since the rendering makes the round's agents speak again.
        tools = tools_for(store, store.settings(), say, detail)
        try:
            return steer.submit_round(store, tools, only=only)
        finally:
            tools.close()


def collect_round(root: Path, *, only: int | None = None, say: Say = _quiet, detail: Say = _quiet) -> Report:
    """Take in the open round's results and close it; opens no other.

    Raises MissingResults (exit code 3) listing what is missing, and otherwise as `submit_round`.
    """
    from agent.orchestrator import steer

    with held(Store.open(root).paths.lease):
        store = Store.open(root)
        store.journal.check_clock()
        return steer.collect_round(store, _tools(store, say, detail), only=only)


def retry_rows(
    root: Path,
    *,
    only: int | None = None,
    rows: Collection[int] | None = None,
    failed: bool = False,
    say: Say = _quiet,
    detail: Say = _quiet,
) -> tuple[Report, list[int]]:
    """Start rows of the open round again: those given, else those without a result, with `failed` also those whose
    result is no score. Returns the rows too; none where a submission in doubt had to be settled first or only a
    cancelled evaluation was started again, as the report's message says.

    Raises as `submit_round`.
    """
    from agent.orchestrator import steer

    with held(Store.open(root).paths.lease):
        store = Store.open(root)
        store.journal.check_clock()
        return steer.retry_rows(store, _tools(store, say, detail), only=only, rows=rows, failed=failed)


@dataclass(frozen=True, kw_only=True)
class Cancellation:
    """A cancellation that was looked into and not begun: what it would stop, for a person to confirm."""

    store: Store
    tools: Tools
    paths: RoundPaths
    rows: tuple[int, ...] | None
    target: Target

    @property
    def text(self) -> str:
        """What would be stopped."""
        from agent.orchestrator.training import cancel

        what = "the whole round" if self.rows is None else cancel.named(self.target.rows)
        return f"{self.paths.label} ({self.paths.root}): {what}: {self.target.describe()}"

    def carry_out(self, say: Say = _quiet) -> str:
        """Stop the tasks and journal it, or, while another process holds the lease, leave that to it.

        Returns one line on how it went. Raises LaunchError where the tasks could not be stopped; the request then
        stays, and whoever works on the study next repeats it.
        """
        from agent.orchestrator.training import cancel

        request = ask_to_cancel(self.store, self.paths, self.rows)
        label = self.paths.label
        try:
            with held(self.store.paths.lease):
                store = Store.open(self.store.paths.root)
                store.journal.check_clock()
                cancel.obey(store, self.tools)
                if any(one.id == request.id for one in open_requests(store)):
                    return f"{label}: not stopped yet; the next tick tries again"
                if halted(store, self.paths) is not None:
                    return halted_text(store, self.paths)
                return f"{label}: cancelled; `{store.command('retry')}` starts cancelled rows again"
        except StudyBusy as busy:
            try:
                cancel.stop(self.tools, self.target, self.rows)
            except LaunchError as error:
                raise LaunchError(f"{error}; {request.path} asks the process that works on the study") from error
            return f"told to stop; {_holder(busy)} notes it at its next look ({request.path.name})"


def _holder(busy: StudyBusy) -> str:
    """Who holds the lease, out of the refusal: "process 7 on login1"."""
    return str(busy).partition(": ")[2].partition(" is working")[0] or "the process that works on the study"


def cancellation(
    root: Path, *, only: int | None = None, rows: Collection[int] | None = None, say: Say = _quiet
) -> Cancellation:
    """Look into a cancellation: of the open round, or of these rows of it. Writes nothing and needs no lease.

    Raises UsageError for a round that is not open, rows that it does not have, and where there is nothing to stop.
    """
    from agent.orchestrator import moved, steer
    from agent.orchestrator.engine import named_problems
    from agent.orchestrator.training import cancel

    store = Store.open(root)
    with named_problems():
        moved.check_there(store)
        paths, _ = steer.open_round(store, only)
        moved.check_ours(store, paths)
        tools = _tools(store, say, _quiet, of_round=paths)
        target = cancel.find_target(store, tools, paths, rows)
    if target.empty and (rows is not None or halted(store, paths) is not None):
        which = f"{cancel.named(rows)} of " if rows is not None else ""
        raise UsageError(f"{which}{paths.label}: nothing to cancel, {target.describe()}")
    chosen = None if rows is None else tuple(sorted(rows))
    return Cancellation(store=store, tools=tools, paths=paths, rows=chosen, target=target)


def _tools(store: Store, say: Say, detail: Say, *, of_round: RoundPaths | None = None) -> Tools:
    """The launcher without any model: nothing here asks one, and a missing key must not keep tasks running.

    of_round: with the launcher that this round was submitted with, whatever a later call chose.
    """
    settings = store.settings()
    if of_round is not None:
        used = [made.launcher for made in store.journal.of(Submitted, folder=of_round.root.name)]
        settings = dataclasses.replace(settings, launcher=used[-1] if used else settings.launcher)
    return tools_for(store, settings, say, detail, offline=True)
