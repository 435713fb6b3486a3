"""Waiting for a round's rows, starting again what the policy retries, and taking in the summaries."""

from __future__ import annotations

import glob
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from agent.errors import InvalidSummary, LaunchError, SchedulerUnavailable, UsageError
from agent.launch.base import State, Submission, TaskStatus
from agent.orchestrator.training import pending_reasons, render
from agent.orchestrator.training.retry import (
    carry_out,
    close_by_quorum,
    give_up,
    has_all_memory,
    judge,
    next_attempt,
    open_wave,
    plan,
)
from agent.orchestrator.training.rows import (
    Action,
    Cancel,
    GiveUp,
    Judge,
    Retry,
    RowState,
    Wait,
    next_actions,
    read_rows,
    with_results,
)
from agent.orchestrator.training.scancelled import halt_if_cancelled, halt_if_evaluation_cancelled
from agent.orchestrator.training.submissions import begun, interrupted, submissions
from agent.orchestrator.training.submit import NotYet, start
from agent.orchestrator.training.superseded import stop_superseded
from agent.orchestrator.work import Around, StepResult, Work
from agent.pasteable import quoted
from agent.store.disk import read_text
from agent.store.events import ResultMissing, SummaryGiven, Wave
from agent.store.requests import cancelled_names, open_requests
from agent.store.steps import Status
from agent.summaries import read_summary, refuse_impossible
from trainers.files import FileProblem, read_json_object
from trainers.layout import trial_name
from trainers.manifest import Manifest, Row, load_manifest
from trainers.results import RowResult, read_row
from trainers.summary import fold_results

#: How often the evaluation of a round is started in all before its absence is an error.
EVAL_ATTEMPTS = 3


def collect(work: Work) -> StepResult:
    """Done when every row has ended and every candidate's summary fits those rows."""
    manifest = load_manifest(work.paths.manifest)
    if (path := _given_summary(work, manifest)) is not None:
        return _by_hand(work, manifest, path)
    results = _results(work, manifest, manifest.rows)
    if not begun(work.store, work.paths, by_hand=False):
        return _manual(work, manifest, results)
    try:
        waiting = _wait_for_rows(work, manifest, results) or _wait_for_summaries(work, manifest, results)
    except SchedulerUnavailable as error:
        return StepResult(status=Status.WAITING, message=f"the scheduler does not answer: {error}")
    except NotYet as reason:
        return StepResult(status=Status.WAITING, message=str(reason))
    return waiting or _collected(work, manifest)


Results = dict[int, RowResult | None]


def _results(work: Work, manifest: Manifest, rows: Sequence[Row]) -> Results:
    """The results of these rows. One listing tells which have begun: of 10,000 rows few may have."""
    there = work.paths.trials_begun()
    return {row.row: read_row(work.paths, manifest, row) if _name(row) in there else None for row in rows}


def _name(row: Row) -> str:
    return trial_name(row.candidate, row.fold, row.seed)


def _wait_for_rows(work: Work, manifest: Manifest, results: Results) -> StepResult | None:
    """None when all rows have ended, counting those given up; what the policy retries is started again.

    Fills in results that appear meanwhile: the launcher is asked first and the disk read after it, because a row
    that ends between the two would otherwise look lost.
    """
    if (wave := open_wave(work)) is not None:
        return _retried(work, manifest, wave)
    policy = work.tools.policy
    rows = read_rows(work.store, work.paths, results)
    stop_superseded(work, rows)
    unfinished = [row for row in manifest.rows if not rows[row.row].is_settled(policy)]
    if not unfinished:
        return None
    statuses, around = _statuses(work)
    results.update(_results(work, manifest, unfinished))
    rows = with_results(rows, results)
    unfinished = [row for row in unfinished if not rows[row.row].is_settled(policy)]
    ok = sum(one.ok for one in rows.values())

    def actions(*, judged: bool) -> list[Action]:
        return next_actions(
            [rows[row.row] for row in unfinished],
            statuses,
            policy,
            ok=ok,
            total=len(results),
            judged=judged,
            hopeless=lambda one: has_all_memory(work, one),
        )

    found = actions(judged=False)
    if found and isinstance(found[0], Judge):
        if (waiting := _judge(work, manifest, found[0], rows, statuses)) is not None:
            return waiting
        rows = read_rows(work.store, work.paths, results)
        found = actions(judged=True)
    return _carry_out(work, manifest, found, around, total=len(results))


def _carry_out(
    work: Work, manifest: Manifest, actions: Sequence[Action], around: Sequence[Around], *, total: int
) -> StepResult | None:
    """Do what is to be done about the rows; None when nothing is left to do."""
    for action in actions:
        if isinstance(action, Cancel):
            close_by_quorum(work, action.rows, ok=action.ok, rows=total)
        elif isinstance(action, GiveUp):
            give_up(work, action.rows, f"max_mem ({work.tools.profile.max_mem}) of the profile was not enough")
        elif isinstance(action, Retry):
            plan(work, action.rows, manifest)
        elif isinstance(action, Wait):
            return StepResult(status=Status.WAITING, progress=action.progress, around=around)
    wave = open_wave(work)
    return _retried(work, manifest, wave) if wave is not None else None


def _being_cancelled(work: Work) -> bool:
    """Whether a person is cancelling through Roundtable: what they meant is journaled before it is judged."""
    return any(request.folder == work.paths.root.name for request in open_requests(work.store))


def _retried(work: Work, manifest: Manifest, wave: Wave) -> StepResult:
    return StepResult(status=Status.WAITING, message=carry_out(work, manifest, wave))


def _judge(
    work: Work,
    manifest: Manifest,
    action: Judge,
    rows: Mapping[int, RowState],
    statuses: Mapping[int, TaskStatus],
) -> StepResult | None:
    """Journal how rows ended whose tasks are gone; or what it waits for. Raises RoundCancelled."""
    if action.late and not _grace_is_over(work, action.late):
        return StepResult(status=Status.WAITING, message=f"waiting for late results of {len(action.late)} rows")
    if _being_cancelled(work):
        return StepResult(status=Status.WAITING, message=f"{work.label}: a cancellation is under way")
    halt_if_cancelled(work, rows, statuses)
    for one in action.rows:
        judge(work, manifest.rows[one.row], one, statuses[one.row])
    return None


def _grace_is_over(work: Work, rows: Sequence[RowState]) -> bool:
    """Whether these rows have been gone for long enough that a slow shared filesystem is no explanation any more.

    The first sight is journaled, so that the wait also ends when each look is a process of its own.
    """
    if work.tools.launcher().capabilities.results_at_once:
        return True
    numbers, attempts = tuple(one.row for one in rows), tuple(len(one.attempts) for one in rows)
    for gone in work.store.journal.of(ResultMissing, folder=work.paths.root.name):
        if (gone.rows, gone.attempts) == (numbers, attempts):
            return work.store.clock() - gone.at >= timedelta(seconds=work.settings.result_grace_s)
    work.store.journal.append(ResultMissing(folder=work.paths.root.name, rows=numbers, attempts=attempts))
    return work.settings.result_grace_s <= 0


def row_statuses(work: Work) -> Mapping[int, TaskStatus]:
    """How the launcher's newest task for each row stands."""
    return _statuses(work)[0]


def _statuses(work: Work) -> tuple[Mapping[int, TaskStatus], list[Around]]:
    """How the launcher's newest task for each row stands, and what waits before and behind them."""
    made = [submission for _, submission in submissions(work.store, work.paths, "train")]
    # With the evaluations, which are asked about next: one question to the scheduler for all.
    others = [(kind, one) for kind in ("prepare", "eval") for _, one in submissions(work.store, work.paths, kind)]
    polled = work.tools.launcher().poll([*made, *(one for _, one in others)])
    rows = {item: polled[submission.name, item] for submission in made for item in submission.items}
    return rows, _around(others, polled)


def _around(made: Sequence[tuple[str, Submission]], polled: Mapping[tuple[str, int], TaskStatus]) -> list[Around]:
    """How the tasks of a preparation or evaluation stand, by (kind, submission). A local one only waits its turn."""
    return [
        Around(kind=kind, job_id=one.job_id, status=polled[one.name, item], cluster=one.cluster)
        for kind, one in made
        if one.job_id.isdecimal()
        for item in one.items
    ]


def _wait_for_summaries(work: Work, manifest: Manifest, results: Results) -> StepResult | None:
    """None when each candidate has a summary of exactly these results; else wait for, or start, the evaluation."""
    stale = _stale(work, manifest, results)
    made = submissions(work.store, work.paths, "eval")
    if not stale:
        return _wait_for_its_end(work, [submission for _, submission in made])
    polled = work.tools.launcher().poll([submission for _, submission in made])
    if any(status.state is not State.GONE for status in polled.values()):
        around = _around([("eval", one) for _, one in made], polled)
        held = "; ".join(pending_reasons.lines(around))
        message = f"{work.label}: {held or 'evaluating'}"
        return StepResult(status=Status.WAITING, message=message, around=around)
    # The evaluation may have written its summaries between the look at the disk and the question.
    stale = _stale(work, manifest, results)
    if not stale:
        return None
    if not any(results.values()):
        # Where no task left anything there is nothing to evaluate, and what kept the tasks from beginning would keep
        # the evaluation from it.
        _put_empty(work, manifest, stale)
        return None
    if _being_cancelled(work):
        return StepResult(status=Status.WAITING, message=f"{work.label}: a cancellation is under way")
    halt_if_evaluation_cancelled(work, [one for _, one in made], manifest.evaluation_items(stale), polled)
    trained = max(attempt for attempt, _ in submissions(work.store, work.paths, "train"))
    stopped = interrupted(work.store) | cancelled_names(work.store, work.paths)
    tried = [attempt for attempt, one in made if attempt >= trained and one.name not in stopped]
    if len(tried) >= EVAL_ATTEMPTS:
        names = ", ".join(list(manifest.candidates)[position] for position in stale)
        raise LaunchError(
            f"{work.label}: the evaluation of {names} left no fitting summary {EVAL_ATTEMPTS} times; "
            f"see its logs in {work.paths.logs}; where it ran out of memory or time, give it more with `eval: "
            "{mem: ..., time: ...}` in the profile"
        )
    start(work, manifest, "eval", manifest.evaluation_items(stale), attempt=next_attempt(work))
    return StepResult(status=Status.WAITING, message=f"{work.label}: evaluation started again")


def _put_empty(work: Work, manifest: Manifest, positions: Sequence[int]) -> None:
    """The summaries of candidates of which no row left a result."""
    names = list(manifest.candidates)
    for name in (names[position] for position in positions):
        rows: list[tuple[Row, RowResult | None]] = [(row, None) for row in manifest.of_candidate(name)]
        for split in ("val", "test") if manifest.use_test else ("val",):
            summary = fold_results(manifest, name, rows, split=split)
            work.store.disk.write_json(work.paths.candidate_summary(name, split), summary)


def _wait_for_its_end(work: Work, made: Sequence[Submission]) -> StepResult | None:
    """An evaluation ends a moment after its files are there; without accounting nobody knows until then how long
    it took."""
    if work.tools.launcher().capabilities.accounting or not made:
        return None
    states = {status.state for status in work.tools.launcher().poll(made).values()}
    if states & {State.RUNNING, State.PENDING}:
        return StepResult(status=Status.WAITING, message=f"{work.label}: evaluating")
    return None


def _stale(work: Work, manifest: Manifest, results: Results) -> list[int]:
    names = enumerate(manifest.candidates)
    return [position for position, name in names if not _fits(work, manifest, name, results)]


def _fits(work: Work, manifest: Manifest, candidate: str, results: Results) -> bool:
    """Whether a summary counts the very attempts that are on disk now: an evaluation may have run too early."""
    # Both are looked at: an evaluation that was killed between them leaves a new one and an old one.
    for split in ("val", "test") if manifest.use_test else ("val",):
        path = work.paths.candidate_summary(candidate, split)
        if not path.exists():
            return False
        summary = read_summary(path, work.store.config.objective, split=split, shipped=work.store.config.shipped)
        trials = {trial.row: trial for trial in summary.trials}
        for row in manifest.of_candidate(candidate):
            result, trial = results[row.row], trials.get(row.row)
            if trial is None or trial.attempt != (result.attempt if result else None):
                return False
    return True


def _collected(work: Work, manifest: Manifest) -> StepResult:
    """Check every summary as a whole and record the files that the round's verdict rests on."""
    paths = [work.paths.candidate_summary(name, "val") for name in manifest.candidates]
    for path in paths:
        read_summary(path, work.store.config.objective, shipped=work.store.config.shipped)
    first = next(iter(manifest.candidates))
    for split, target in (("val", work.paths.val_summary), ("test", work.paths.test_summary)):
        source = work.paths.candidate_summary(first, split)
        # The evaluation copies c00's; it may have been killed before that.
        if source.exists() and not (target.exists() and read_text(target) == read_text(source)):
            work.store.disk.write(target, read_text(source))
    return StepResult(inputs=paths, outputs=[work.paths.val_summary], details={"rows": len(manifest.rows)})


# -- the manual flow: a person submits, or brings summaries ----------------------------------------------------


def _manual(work: Work, manifest: Manifest, results: Results) -> StepResult:
    """Done when a person's own submission has left every result and every summary; until then, what is missing.

    A candidate none of whose rows has a result may have a summary that the person put into its folder instead. One
    without a value is none: an evaluation that ran before the training leaves such a file.
    """
    rows = {name: manifest.of_candidate(name) for name in manifest.candidates}
    brought = [
        name
        for name in manifest.candidates
        if all(results[row.row] is None for row in rows[name]) and _has_value(work, name)
    ]
    rest = [name for name in manifest.candidates if name not in brought]
    absent = [row for name in rest for row in rows[name] if results[row.row] is None]
    there = work.paths.trials_begun()
    missing = [f"row {row.row}: {_absent(work, row, there)}" for row in absent]
    unfit = [name for name in rest if not _fits(work, manifest, name, results)]
    if not missing:
        splits = "val_summary.json and test_summary.json" if manifest.use_test else "val_summary.json"
        missing = [
            f"{name}: no {splits} of these results in {quoted(work.paths.candidate(name))} (run the eval script)"
            for name in unfit
        ]
    if missing:
        late = {row.candidate for row in absent} | set(unfit)
        positions = [position for position, name in enumerate(manifest.candidates) if name in late]
        commands = render.commands_for(work, manifest, [row.row for row in absent], positions)
        return StepResult(status=Status.WAITING, missing=missing, commands=commands)
    done = _collected(work, manifest)
    for name in brought:
        path = work.paths.candidate_summary(name, "val")
        work.store.journal.append(SummaryGiven(folder=work.paths.root.name, path=str(path), source="person"))
    return replace(done, details={**done.details, "source": "person", "given": brought}) if brought else done


def _has_value(work: Work, candidate: str) -> bool:
    """Whether a candidate's folder holds a summary with a value in it."""
    path = work.paths.candidate_summary(candidate, "val")
    return (
        path.exists()
        and read_summary(path, work.store.config.objective, shipped=work.store.config.shipped).value is not None
    )


def _absent(work: Work, row: Row, there: Collection[str]) -> str:
    """That a row has no result, and how far it came: who has begun it, and its log. there: trials that have begun."""
    name = _name(row)
    attempts = work.paths.attempts(row.candidate, row.fold, row.seed) if name in there else []
    if not attempts:
        return f"{name} has no result"
    folder = work.paths.attempt(row.candidate, row.fold, row.seed, attempts[-1])
    try:
        claim = read_json_object(folder.claim)
    except FileProblem:
        return f"{name} has no result; see {quoted(folder.root)}"
    task = str(claim.get("task"))
    logs = sorted(work.paths.logs.glob(f"*_{glob.escape(task.removeprefix('slurm:'))}.log"))
    where = f"; log {quoted(logs[-1])}" if task.startswith("slurm:") and logs else f"; see {quoted(folder.root)}"
    return f"{name} has no result: begun by {task} on {claim.get('host')}, running or ended without one{where}"


def _given_summary(work: Work, manifest: Manifest) -> Path | None:
    """A summary that a person brought for this round, by option or dropped into its folder."""
    path = work.given.val_summary
    name = next(iter(manifest.candidates))
    if path is None and work.paths.val_summary.exists() and not _evaluated(work, name):
        path = work.paths.val_summary
    if path is None:
        return None
    if len(manifest.candidates) > 1:
        raise UsageError(
            f"{path}: {work.label} has {len(manifest.candidates)} candidates, so one summary cannot stand for "
            f"all; put one val_summary.json into each of {work.paths.root}/candidates/cNN/"
        )
    if begun(work.store, work.paths, by_hand=False):
        raise UsageError(f"{path}: {work.label} was submitted by Roundtable; its own results count")
    return path


def _evaluated(work: Work, candidate: str) -> bool:
    """Whether the round's val_summary.json is its evaluation's, or the candidate has a summary that counts anyway."""
    own = work.paths.candidate_summary(candidate, "val")
    if not own.exists():
        return False
    # An evaluation that is repeated writes the candidate's first: until it writes the round's, the two differ.
    return _of_this_round(work, work.paths.val_summary, candidate) or _has_value(work, candidate)


def _of_this_round(work: Work, path: Path, candidate: str) -> bool:
    """Whether an evaluation of this round wrote a summary: it names study, round and candidate."""
    try:
        found = read_json_object(path)
    except FileProblem:
        return False
    written = {"study": work.store.config.study, "round": work.number, "candidate": candidate}
    return all(found.get(name) == value for name, value in written.items())


def _by_hand(work: Work, manifest: Manifest, path: Path) -> StepResult:
    """Take in the person's summaries, checked like any other, and record that a person gave them."""
    name = next(iter(manifest.candidates))
    if read_summary(path, work.store.config.objective, shipped=work.store.config.shipped).value is None:
        message = "holds no value: it was written before the training had left a result"
        raise InvalidSummary.at(path, message, where="metrics")
    given = [(path, "val", work.paths.val_summary)]
    if work.given.test_summary is not None:
        given.append((work.given.test_summary, "test", work.paths.test_summary))
    for source, _, _ in given:
        try:
            refuse_impossible(source, shipped=work.store.config.shipped)
        except FileProblem as error:
            raise InvalidSummary.at(source, str(error)) from error
    for source, split, target in given:
        text = read_text(source)
        work.store.disk.write(work.paths.candidate_summary(name, split), text)
        if source != target:
            work.store.disk.write(target, text)
    work.store.journal.append(SummaryGiven(folder=work.paths.root.name, path=str(path), source="person"))
    outputs = [work.paths.candidate_summary(name, "val"), work.paths.val_summary]
    return StepResult(outputs=outputs, details={"source": "person", "path": str(path)})
