"""What a person steers a study with, between and beside its ticks: submit, collect and retry the open round.

The caller holds the lease. Cancelling, which needs none, is in cancel.py.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from agent.errors import MissingResults, UsageError
from agent.launch.base import State
from agent.launch.states import compact
from agent.orchestrator import engine
from agent.orchestrator.closing import nothing_learnt
from agent.orchestrator.training import asked_retry, cancel, hours
from agent.orchestrator.training.submissions import KINDS, begun, submissions
from agent.orchestrator.training.submit import check_launcher
from agent.orchestrator.work import Report, StepResult, Tools, Work
from agent.pasteable import quoted
from agent.store.events import Released
from agent.store.paths import RoundPaths
from agent.store.requests import halted
from agent.store.steps import StepRecord
from agent.store.store import Store
from trainers.manifest import load_manifest

#: Rows that a message lists, the first.
MOST_LISTED = 20


def open_round(store: Store, only: int | None) -> tuple[RoundPaths, str]:
    """The open round, or confirmation. `only`: it must be this one.

    Raises UsageError where nothing is open, naming what there is and how a closed round is run again.
    """
    closed = [paths.number for paths in store.closed()]
    if (found := store.at_work(only=only)) is not None:
        return found
    if only in closed:
        raise UsageError(
            f"round {only} is closed: `{store.tune_command('--force-round', only)}` runs it again, "
            f"`{store.command('status', '--round', only)}` shows it"
        )
    if only is not None and (there := store.at_work()) is not None:
        raise UsageError(f"--round {only}: the open round is {there[0].number}")
    rounds = f"closed rounds: {compact(closed)}" if closed else "there is no round yet"
    asked = f"--round {only}: " if only is not None else ""
    raise UsageError(f"{asked}no round is open ({rounds}); `roundtable tune` opens the next one")


def _work(store: Store, tools: Tools, only: int | None) -> Work:
    paths, kind = open_round(store, only)
    settings = store.settings()
    check_launcher(store, paths, settings)
    return engine.work_on(store, settings, tools, paths, kind)


def _record(work: Work, step: str) -> StepRecord | None:
    return work.steps.read(step)


def submit_round(store: Store, tools: Tools, *, only: int | None = None) -> Report:
    """Hand a round that was rendered for a person to the study's launcher.

    Raises UsageError where submissions, submissions in doubt or tasks of a person are there already, naming them.
    """
    with engine.named_problems():
        engine.check_place(store, tools, store.settings())
        cancel.obey(store, tools)
        work = _work(store, tools, only)
        made = [one for kind in KINDS for _, one in submissions(store, work.paths, kind)]
        doubtful = cancel.in_doubt(store, work.paths, tools)
        if made or doubtful:
            jobs = [f"{one.name} ({one.launcher} {one.job_id})" for one in made]
            jobs += [f"{one.name} (in doubt: it is looked up by the next tick)" for one in doubtful]
            raise UsageError(f"{work.label} was submitted already: {', '.join(jobs[:MOST_LISTED])}")
        if begun(store, work.paths):
            claims = sorted(path.parent.parent.name for path in work.paths.root.glob("trials/*/attempt_*/claim.json"))
            raise UsageError(
                f"{work.label} was begun by hand: {', '.join(claims[:MOST_LISTED])} are claimed; let that end, or "
                f"stop it, and `{store.tune_command('--force-round', work.number)}` begins the round anew"
            )
        if _record(work, "render") is None:
            raise UsageError(f"{work.label} is not rendered yet: `roundtable tune` without --auto-train renders it")
        # Asked before anything is rendered anew: without a scheduler the round stays as the person has it.
        tools.launcher().largest_index()
        work = replace(work, settings=replace(work.settings, auto_train=True))
        waiting, ran = engine.advance(work)
        return _report(work, waiting, ran)


def collect_round(store: Store, tools: Tools, *, only: int | None = None) -> Report:
    """What a tick does about the open round from its results on, without opening another one.

    A round that was cancelled is closed with what is there. Where none is open, accounting is asked for the hours
    that it did not know yet when the last round closed (sacct lags by seconds). Raises MissingResults while rows are
    missing, UsageError for a round that is not submitted yet.
    """
    with engine.named_problems():
        engine.check_place(store, tools, store.settings())
        cancel.obey(store, tools)
        if only is None and _owed(store):
            hours.settle(store, tools, however_late=True)
            left = sum(map(len, store.ledger().unaccounted().values()))
            message = f"accounting does not know {left} tasks" if left else "all hours are known"
            tools.say(f"no round is open; {message}")
            return Report(state="finished", round=None, message=message)
        work = _work(store, tools, only)
        submitted = _record(work, "submit")
        if submitted is None or not submitted.final:
            raise UsageError(
                f"{work.label} is not submitted yet: nothing to collect; `roundtable tune` (or tick) goes on with it"
            )
        _release(work)
        waiting, ran = engine.advance(work)
        report = _report(work, waiting, ran)
        if waiting is None:
            nothing_learnt.stop_if_nothing_learnt(work)
            return report
        raise MissingResults(_missing_text(work, report))


def _owed(store: Store) -> bool:
    """Whether no round is open and hours of closed ones are not accounted for."""
    if store.at_work() is not None:
        return False
    return bool(store.ledger().unaccounted())


def retry_rows(
    store: Store,
    tools: Tools,
    *,
    only: int | None = None,
    rows: Collection[int] | None = None,
    failed: bool = False,
) -> tuple[Report, list[int]]:
    """Start rows of the open round again, as a new attempt with their original indices and a fresh evaluation.

    Returns the rows too: none where only a cancelled evaluation was to start again, or where a submission in doubt
    had to be settled first; the report's message says which. Raises UsageError as `asked_retry.choose` does, and for
    a round that is closed or was not submitted by Roundtable.
    """
    with engine.named_problems():
        engine.check_place(store, tools, store.settings())
        cancel.obey(store, tools)
        work = _work(store, tools, only)
        if not begun(store, work.paths, by_hand=False):
            raise UsageError(
                f"{work.label} was not submitted by Roundtable: `{store.command('submit')}` does that, or "
                "run a row by hand with the round's train script"
            )
        doubtful = cancel.in_doubt(store, work.paths, tools)
        submitted = _record(work, "submit")
        if doubtful or submitted is None or not submitted.final:
            return _settle_first(work, [one.name for one in doubtful]), []
        manifest = load_manifest(work.paths.manifest)
        try:
            chosen = asked_retry.choose(work, manifest, rows, failed=failed)
        except UsageError:
            if rows is not None or failed or not _evaluation_alone(work):
                raise
            # No row is to be trained, and the evaluation that a person cancelled is started again.
            asked_retry.journal(work, [])
            waiting, ran = engine.advance(work)
            return _report(work, waiting, ran), []
        tools.check_environment()
        asked_retry.plan(work, manifest, chosen)
        # What an interrupted call collected counts the earlier attempts.
        work.steps.forget(["collect", "assess"])
        waiting, ran = engine.advance(work)
        return _report(work, waiting, ran), chosen


def _settle_first(work: Work, doubtful: list[str]) -> Report:
    """A submission in doubt is looked up before rows are started under another name: else they might run twice."""
    if not _release(work):
        names = ", ".join(doubtful) or "its submission"
        raise UsageError(
            f"{work.label}: {names} is not settled yet; `{work.store.command('tick')}` looks it up, then retry"
        )
    waiting, ran = engine.advance(work)
    report = _report(work, waiting, ran)
    said = f"a submission was in doubt when it was cancelled: {report.message or report.state}; then call again"
    return replace(report, message=said)


def _evaluation_alone(work: Work) -> bool:
    """Whether the round is halted, and nothing but its evaluation was left to cancel."""
    cancelled = halted(work.store, work.paths)
    return cancelled is not None and not cancelled.rows


def _release(work: Work) -> bool:
    """Let a cancelled round go on. False where it was not halted."""
    if halted(work.store, work.paths) is None:
        return False
    work.store.journal.append(Released(folder=work.paths.root.name, round=work.number, source="person"))
    return True


def _report(work: Work, waiting: StepResult | None, ran: set[str]) -> Report:
    if waiting is None:
        return Report(state="finished", round=work.paths, closed=1, message=f"{work.label} is closed")
    return engine.report(work, waiting, 0, 0, rendered="render" in ran)


def _missing_text(work: Work, report: Report) -> str:
    """What the round still waits for, as `tune` words it."""
    waits = [
        f"row {row}: {status.state.value}" + (f" ({status.reason})" if status.reason else "")
        for row, status in sorted(report.progress.items())
        if status.state is not State.GONE
    ]
    lines = [*report.missing, *waits]
    shown = lines[:MOST_LISTED]
    if len(lines) > len(shown):
        shown.append(f"... and {len(lines) - len(shown)} more")
    head = f"{work.label} ({quoted(work.paths.root)}) is not complete; logs are in {quoted(work.paths.logs)}:"
    advice = ["run these lines, or give `roundtable tune --val-summary PATH`:", *report.commands]
    message = [report.message] if report.message else []
    return "\n".join([head, *message, *shown, *(advice if report.commands else ())])
