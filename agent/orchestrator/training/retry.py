"""Rows that did not end well: how each of their attempts ended, which are started again, and what with.

Everything is journaled before it is done: an `outcome` once for each (row, attempt), then one `wave` with the groups
that are started again, and `wave_submitted` when all of it was handed over. A wave that was cut short is carried on
under the same attempt number, so that what was in doubt is found under its name.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from agent.environment_fault import environment_fault
from agent.errors import SubmissionRefused
from agent.launch.base import Batch, Submission, TaskStatus
from agent.launch.logs import log_file
from agent.launch.states import compact
from agent.orchestrator.training import hours, render
from agent.orchestrator.training.retry_resources import MEMORY, Ask, ask_for, memory_of
from agent.orchestrator.training.rows import RowState, quorum_names, read_rows
from agent.orchestrator.training.submissions import KINDS, submissions
from agent.orchestrator.training.submit import batches, evaluation_of, start
from agent.orchestrator.work import Work
from agent.outcomes import classify
from agent.records import Outcome
from agent.store.events import (
    AttemptEnded,
    EnvironmentFault,
    GivenUp,
    QuorumReached,
    Wave,
    WaveGroup,
    WaveSubmitted,
)
from trainers.files import FileProblem, open_to_read, read_json_object
from trainers.layout import AttemptFiles
from trainers.manifest import Manifest, Row
from trainers.results import read_exit

#: Bytes of a task's log that are read for what kept it from beginning: the end of it.
_LOG_TAIL = 8192


def _other_claim(folder: AttemptFiles, made: Submission, row: int) -> str:
    """Who has claimed an attempt, if it was not the task that it was handed to; empty otherwise."""
    try:
        claim = read_json_object(folder.claim)
    except FileProblem:
        return ""
    task, host = claim.get("task"), claim.get("host")
    can = made.capabilities
    if can.claim_prefix:
        mine = task == f"{can.claim_prefix}{made.tasks[made.items.index(row)]}"
    else:
        mine = not can.this_machine or host == socket.gethostname()
    return "" if mine else f"{task} on {host}"


# -- how a row ended -----------------------------------------------------------------------------------------------


def judge(work: Work, place: Row, state: RowState, status: TaskStatus) -> None:
    """Journal how the newest attempt of a row ended whose task is gone. place: the row in the manifest."""
    newest = state.newest
    outcome, evidence = _ending(work, place, state, status)
    work.store.journal.append(
        AttemptEnded(
            folder=work.paths.root.name,
            row=state.row,
            attempt=newest.number,
            outcome=outcome,
            raw=status.raw,
            node=status.node,
            exit_code=status.exit_code,
            evidence=evidence,
            memory=memory_of(_ask(work, state), work.tools.profile),
            environment=_environment_fault(work, state, outcome, status),
        )
    )


def _ending(work: Work, place: Row, state: RowState, status: TaskStatus) -> tuple[Outcome, str]:
    """How the newest attempt ended, and one line of evidence."""
    folder = work.paths.attempt(place.candidate, place.fold, place.seed, state.newest.number)
    found = state.newest_result
    if found is None and state.cancelled:
        # Without accounting nothing else tells that a person ended it.
        return Outcome.CANCELLED, f"a person cancelled it: {status.raw}"
    claimed, holder = folder.claim.exists(), _other_claim(folder, state.newest.submission, state.row)
    return classify(found, read_exit(folder), status, claimed=claimed, holder=holder)


def _environment_fault(work: Work, state: RowState, outcome: Outcome, status: TaskStatus) -> EnvironmentFault | None:
    """What of this end is the environment's, with the remedy, from the task's log or the trainer's own words."""
    found = state.newest_result
    if outcome is Outcome.CRASHED and found is not None:
        words = f"{(found.raw.get('error') or {}).get('type', '')}: {found.message}"
    elif outcome is Outcome.LAUNCH_FAIL:
        words = _log_tail(log_file(work.paths.root, state.newest.submission, state.row))
    else:
        return None
    tools, profile = work.tools, work.store.paths.profile
    python, setup = str(tools.python), bool(tools.profile.setup)
    fault = environment_fault(outcome, status.exit_code, words, python=python, setup=setup)
    if fault is None:
        return None
    root = str(tools.import_root) if tools.import_root is not None else None
    remedy = fault.remedy(python=python, root=root, profile=str(profile) if profile.exists() else None)
    return EnvironmentFault(where=fault.where, said=fault.said, remedy=remedy)


def _log_tail(path: Path) -> str:
    """The end of a task's log; empty where it has none."""
    try:
        with open(path, "rb", opener=open_to_read) as stream:
            stream.seek(max(0, path.stat().st_size - _LOG_TAIL))
            return stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


# -- what a retry asks for -----------------------------------------------------------------------------------------


def _ask(work: Work, state: RowState) -> Ask:
    """What the next attempt of a row asks for beyond the profile, after the ends journaled so far."""
    if not work.tools.launcher().capabilities.resource_requests:
        return Ask()
    return ask_for(state.ends, work.tools.policy, work.tools.profile)


def has_all_memory(work: Work, state: RowState) -> bool:
    """Whether a row ran out of memory with as much as it may have."""
    ask, past, policy = _ask(work, state), state.ends, work.tools.policy
    if state.newest.stopped or not past or ask.memory is None:
        return False
    rule = policy.rules.get(past[-1].outcome)
    if rule is None or rule.memory_factor <= 1:
        return False
    return ask.memory == ask_for(past[:-1], policy, work.tools.profile, always=True).memory


def plan(work: Work, rows: Sequence[RowState], manifest: Manifest) -> None:
    """Journal the wave that starts these rows again, grouped by what they ask for."""
    asks = {one.row: _ask(work, one) for one in rows}
    # One list for all that avoid a node: each row's own would split a partition's outage into an array a node.
    shunned = tuple(sorted({node for ask in asks.values() for node in ask.exclude}))
    groups: dict[Ask, list[int]] = {}
    for row, ask in sorted(asks.items()):
        groups.setdefault(replace(ask, exclude=shunned if ask.exclude else ()), []).append(row)
    names = {manifest.rows[row].candidate for row in asks}
    work.store.journal.append(
        Wave(
            folder=work.paths.root.name,
            attempt=next_attempt(work),
            groups=tuple(
                WaveGroup(rows=tuple(members), memory=ask.memory, time=ask.time, exclude=ask.exclude)
                for ask, members in groups.items()
            ),
            candidates=tuple(place for place, name in enumerate(manifest.candidates) if name in names),
        )
    )
    _say(work, rows)


def _say(work: Work, rows: Sequence[RowState]) -> None:
    profile = work.tools.profile
    ends = Counter(one.ends[-1].outcome for one in sorted(rows, key=lambda one: one.row) if one.ends)
    if not work.tools.launcher().capabilities.resource_requests or not ends:
        return
    asked = {option for option, _ in profile.settings("train").directives}
    for outcome in ends:
        rule = work.tools.policy.rules.get(outcome)
        if rule and rule.memory_factor > 1 and not asked & set(MEMORY):
            work.say(f"{outcome}: the profile names no mem to take {rule.memory_factor:g} times: as before")
        if rule and rule.time_factor > 1 and "time" not in asked:
            work.say(f"{outcome}: the profile names no time to take {rule.time_factor:g} times: as before")


# -- carrying a wave out -------------------------------------------------------------------------------------------


def open_wave(work: Work) -> Wave | None:
    """The wave that was not handed over wholly, if there is one."""
    folder = work.paths.root.name
    wave, done = work.store.journal.last(Wave, folder=folder), work.store.journal.last(WaveSubmitted, folder=folder)
    return wave if wave is not None and (done is None or done.attempt != wave.attempt) else None


def carry_out(work: Work, manifest: Manifest, wave: Wave) -> str:
    """Hand over what of a wave is not yet, and behind it a fresh evaluation. Raises as submit.start does."""
    attempt = wave.attempt
    made: list[Submission] = []
    told: list[str] = []
    known, first = read_rows(work.store, work.paths), 0
    _admit(work, manifest, wave, known)
    render.refresh_scripts(work)
    for group in wave.groups:
        ask = Ask(memory=group.memory, time=group.time, exclude=group.exclude)
        # An interrupted call may have given some up, and a person may have cancelled some since.
        rows = [row for row in group.rows if not known[row].left_alone]
        started: list[Submission] = []
        if rows:
            started, ask = _start_group(work, manifest, rows, ask, attempt=attempt, first=first)
        # At most one array a row: numbers that do not depend on what an interrupted call came to.
        first += len(group.rows)
        made += started
        if begun := [row for one in started for row in one.items]:
            told.append(f"rows {compact(begun)}{_words(ask)}")
    if made:
        start(work, manifest, "eval", manifest.evaluation_items(wave.candidates), attempt=attempt, after=made)
    work.store.journal.append(WaveSubmitted(folder=work.paths.root.name, attempt=attempt))
    return f"{work.label}: attempt {attempt} started: {'; '.join(told)}" if told else ""


def _admit(work: Work, manifest: Manifest, wave: Wave, known: Mapping[int, RowState]) -> None:
    """Hold the whole wave against the caps before any of it is handed over: half of a wave would be waited for, and
    its evaluation, which the other half's refusal keeps back, would not come. Raises BudgetExceeded, NotYet."""
    made: list[Batch] = []
    first = 0
    for group in wave.groups:
        ask = Ask(memory=group.memory, time=group.time, exclude=group.exclude)
        if rows := [row for row in group.rows if not known[row].left_alone]:
            settings = ask.settings(work.tools.profile)
            made += batches(work, "train", rows, attempt=wave.attempt, settings=settings, first=first)
        first += len(group.rows)
    if made:
        hours.admit(work, made, evaluated=evaluation_of(work, manifest, wave.candidates))


def _words(ask: Ask) -> str:
    words = [f"mem {ask.memory}"] if ask.memory else []
    words += [f"time {ask.time}"] if ask.time else []
    words += [f"not on {', '.join(ask.exclude)}"] if ask.exclude else []
    return f" ({', '.join(words)})" if words else ""


def _start_group(
    work: Work, manifest: Manifest, rows: Sequence[int], ask: Ask, *, attempt: int, first: int
) -> tuple[list[Submission], Ask]:
    """Start one group; its submissions, and what they asked for in the end.

    What no node can give is asked for without the exclusion, and then given up.
    """
    profile = work.tools.profile
    try:
        settings = ask.settings(profile)
        return start(work, manifest, "train", rows, attempt=attempt, settings=settings, first=first), ask
    except SubmissionRefused as error:
        if not error.too_much or ask == Ask():
            raise
        if ask.exclude:
            work.say(f"{work.label}: no other node than {', '.join(ask.exclude)} will do: not excluded any more")
            return _start_group(work, manifest, rows, replace(ask, exclude=()), attempt=attempt, first=first)
        made = [one for number, one in submissions(work.store, work.paths, "train") if number == attempt]
        made = [one for one in made if set(one.items) <= set(rows)]
        begun = {row for one in made for row in one.items}
        known = read_rows(work.store, work.paths)
        give_up(work, [known[row] for row in rows if row not in begun], str(error))
        return made, ask


def give_up(work: Work, rows: Sequence[RowState], why: str) -> None:
    """Journal that these rows stay as their newest attempt left them."""
    numbers, attempts = tuple(one.row for one in rows), tuple(one.newest.number for one in rows)
    folder = work.paths.root.name
    work.store.journal.append(GivenUp(folder=folder, rows=numbers, attempts=attempts, message=why[:500]))
    work.say(f"{work.label}: rows {compact(numbers)} are given up: {why}")


def next_attempt(work: Work) -> int:
    """Above every attempt of rows and evaluations alike: job names are made of it and must stay unique."""
    made = [attempt for kind in KINDS for attempt, _ in submissions(work.store, work.paths, kind)]
    waves = [wave.attempt for wave in work.store.journal.of(Wave, folder=work.paths.root.name)]
    return 1 + max([*made, *waves])


# -- the quorum ----------------------------------------------------------------------------------------------------


def close_by_quorum(work: Work, active: Sequence[RowState], *, ok: int, rows: int) -> None:
    """Stop the retries that still run: the round closes without them. May be repeated."""
    made = {one.newest.submission.name: one.newest.submission for one in active}
    known = quorum_names(work.store, work.paths)
    if made and not set(made) <= set(known):
        names = tuple(sorted({*made, *known}))
        work.store.journal.append(QuorumReached(folder=work.paths.root.name, names=names, ok=ok, rows=rows))
        work.say(
            f"{work.label}: {ok} of {rows} rows are ok, which is the quorum; stopping the retries that still run"
        )
    if made:
        work.tools.launcher().cancel(list(made.values()))
