"""Rows that did not end well: how each of their attempts ended, which are started again, and what with.

Everything is journaled before it is done: an `outcome` once for each (row, attempt), then one `wave` with the groups
that are started again, and `wave_submitted` when all of it was handed over. A wave that was cut short is carried on
under the same attempt number, so that what was in doubt is found under its name.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from agent.environment_fault import environment_fault
from agent.errors import SubmissionRefused
from agent.launch.base import Batch, Submission, TaskStatus
from agent.launch.logs import log_file
from agent.launch.states import compact
from agent.orchestrator.training import hours, render
from agent.orchestrator.training.retry_resources import MEMORY, Ask, ask_for, memory_of
from agent.orchestrator.training.submissions import KINDS, interrupted, submissions
from agent.orchestrator.training.submit import batches, evaluation_of, start
from agent.orchestrator.work import Work
from agent.outcomes import classify
from agent.policy import Policy
from agent.records import Outcome
from agent.store.events import (
    AttemptEnded,
    EnvironmentFault,
    GivenUp,
    QuorumReached,
    Resumed,
    Wave,
    WaveGroup,
    WaveSubmitted,
)
from agent.store.paths import RoundPaths
from agent.store.requests import cancelled_rows
from agent.store.store import Store
from trainers.files import FileProblem, open_to_read, read_json_object
from trainers.layout import AttemptFiles
from trainers.manifest import Manifest, Row
from trainers.results import RowResult, read_exit

#: Bytes of a task's log that are read for what kept it from beginning: the end of it.
_LOG_TAIL = 8192


def endings(store: Store, paths: RoundPaths) -> dict[int, list[AttemptEnded]]:
    """How each row's attempts ended, oldest first, as far as that was journaled."""
    found: dict[int, list[AttemptEnded]] = {}
    for ended in store.journal.of(AttemptEnded, folder=paths.root.name):
        found.setdefault(ended.row, []).append(ended)
    return found


@dataclass(frozen=True, kw_only=True)
class Handed:
    """The submission that had a row last."""

    attempt: int
    submission: Submission
    count: int
    """How often the row was handed over so far."""
    stopped: bool
    """Whether Roundtable itself stopped it: Ctrl-C, or the quorum was reached."""
    cancelled: bool
    """Whether a person cancelled the row through Roundtable and nobody asked for it again since."""


def handed_over(work: Work) -> dict[int, Handed]:
    """Each row's newest submission."""
    stopped = interrupted(work.store) | set(_quorum_names(work))
    cancelled = cancelled_rows(work.store, work.paths)
    found: dict[int, Handed] = {}
    for attempt, made in submissions(work.store, work.paths, "train"):
        for row in made.items:
            count = found[row].count + 1 if row in found else 1
            found[row] = Handed(
                attempt=attempt,
                submission=made,
                count=count,
                stopped=made.name in stopped,
                cancelled=row in cancelled,
            )
    return found


def _quorum_names(work: Work) -> tuple[str, ...]:
    reached = work.store.journal.last(QuorumReached, folder=work.paths.root.name)
    return reached.names if reached is not None else ()


def stranger(folder: AttemptFiles, made: Submission, row: int) -> str:
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


class Fates:
    """What is known of a round's rows beyond their results: from the journal, as it stands now."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.policy: Policy = work.tools.policy
        self.handed = handed_over(work)
        self.endings = endings(work.store, work.paths)
        resumed = work.store.journal.last(Resumed)
        self._resumed = resumed.seq if resumed is not None else 0
        self.given_up = {
            (row, attempt)
            for event in work.store.journal.of(GivenUp, folder=work.paths.root.name)
            for row, attempt in zip(event.rows, event.attempts, strict=True)
        }

    def own(self, row: int, result: RowResult | None) -> RowResult | None:
        """The result, if the row's newest attempt left it."""
        return result if result is not None and result.attempt >= self.handed[row].attempt else None

    def judged(self, row: int) -> bool:
        """Whether the end of the row's newest attempt is journaled."""
        return any(ended.attempt == self.handed[row].attempt for ended in self.endings.get(row, ()))

    def again(self, row: int) -> bool:
        """Whether a row whose newest attempt is judged is to be started again."""
        if self.out(row):
            return False
        ended = self.endings[row]
        # What kept a row from beginning was mended before a person had the study go on: these tries count no more.
        mended = [one for one in ended if one.outcome is Outcome.LAUNCH_FAIL and one.seq < self._resumed]
        if ended[-1] in mended:
            return True
        return self.policy.again(one.outcome for one in ended if one not in mended) is not None

    def out(self, row: int) -> bool:
        """Whether a row is not started again whatever its outcome is: given up, or cancelled by a person."""
        return self.handed[row].cancelled or (row, self.handed[row].attempt) in self.given_up

    def settled(self, row: int, result: RowResult | None) -> bool:
        """Whether a row needs nothing further: a result that counts, or given up."""
        if result is not None and result.outcome == Outcome.OK:
            return True
        if result is not None and self._final(Outcome(result.outcome)):
            # A newer attempt may be on its way: a person's, or one begun before this result could be seen.
            return self.own(row, result) is not None or self.judged(row)
        return self.judged(row) and not self.again(row)

    def _final(self, outcome: Outcome) -> bool:
        """Whether a result with this outcome needs no word of the scheduler, and is not tried again."""
        rule = self.policy.rules.get(outcome)
        return rule is None or (outcome is Outcome.GPU_OOM and rule.action == "give_up")

    def ending(self, row: Row, result: RowResult | None, status: TaskStatus) -> tuple[Outcome, str]:
        """How the newest attempt of a row ended whose task is gone, and one line of evidence."""
        handed = self.handed[row.row]
        folder = self.work.paths.attempt(row.candidate, row.fold, row.seed, handed.attempt)
        own = self.own(row.row, result)
        if own is None and handed.cancelled:
            # Without accounting nothing else tells that a person ended it.
            return Outcome.CANCELLED, f"a person cancelled it: {status.raw}"
        claimed, holder = folder.claim.exists(), stranger(folder, handed.submission, row.row)
        return classify(own, read_exit(folder), status, claimed=claimed, holder=holder)

    def judge(self, row: Row, result: RowResult | None, status: TaskStatus) -> None:
        """Journal how the newest attempt of a row ended whose task is gone."""
        handed = self.handed[row.row]
        outcome, evidence = self.ending(row, result, status)
        fault = self._environment_fault(row, self.own(row.row, result), outcome, status)
        ended = self.work.store.journal.append(
            AttemptEnded(
                folder=self.work.paths.root.name,
                row=row.row,
                attempt=handed.attempt,
                outcome=outcome,
                raw=status.raw,
                node=status.node,
                exit_code=status.exit_code,
                evidence=evidence,
                memory=memory_of(self._ask(row.row), self.work.tools.profile),
                environment=fault,
            )
        )
        self.endings.setdefault(row.row, []).append(ended)

    def _environment_fault(
        self, row: Row, own: RowResult | None, outcome: Outcome, status: TaskStatus
    ) -> EnvironmentFault | None:
        """What of this end is the environment's, with the remedy, from the task's log or the trainer's own words."""
        if outcome is Outcome.CRASHED and own is not None:
            words = f"{(own.raw.get('error') or {}).get('type', '')}: {own.message}"
        elif outcome is Outcome.LAUNCH_FAIL:
            words = _log_tail(log_file(self.work.paths.root, self.handed[row.row].submission, row.row))
        else:
            return None
        tools, profile = self.work.tools, self.work.store.paths.profile
        python, setup = str(tools.python), bool(tools.profile.setup)
        fault = environment_fault(outcome, status.exit_code, words, python=python, setup=setup)
        if fault is None:
            return None
        root = str(tools.import_root) if tools.import_root is not None else None
        remedy = fault.remedy(python=python, root=root, profile=str(profile) if profile.exists() else None)
        return EnvironmentFault(where=fault.where, said=fault.said, remedy=remedy)

    # -- what a retry asks for ---------------------------------------------------------------------------------

    def _ask(self, row: int) -> Ask:
        """What the next attempt of a row asks for beyond the profile, after the ends journaled so far."""
        if not self.work.tools.launcher().capabilities.resource_requests:
            return Ask()
        return ask_for(self.endings.get(row, ()), self.policy, self.work.tools.profile)

    def give_up_without_memory(self, rows: Sequence[int]) -> list[int]:
        """Give up those of the rows that would only run out of memory again; the others."""
        hopeless = [row for row in rows if self._has_all_memory(row)]
        if hopeless:
            limit = self.work.tools.profile.max_mem
            give_up(self.work, self.handed, hopeless, f"max_mem ({limit}) of the profile was not enough")
        return [row for row in rows if row not in hopeless]

    def _has_all_memory(self, row: int) -> bool:
        """Whether it ran out of memory with as much as it may have."""
        ask = self._ask(row)
        past = self.endings.get(row, [])
        if self.handed[row].stopped or not past or ask.memory is None:
            return False
        rule = self.policy.rules.get(past[-1].outcome)
        if rule is None or rule.memory_factor <= 1:
            return False
        return ask.memory == ask_for(past[:-1], self.policy, self.work.tools.profile, always=True).memory

    def plan(self, rows: Sequence[int], manifest: Manifest) -> None:
        """Journal the wave that starts these rows again, grouped by what they ask for."""
        asks = {row: self._ask(row) for row in rows}
        # One list for all that avoid a node: each row's own would split a partition's outage into an array a node.
        shunned = tuple(sorted({node for ask in asks.values() for node in ask.exclude}))
        groups: dict[Ask, list[int]] = {}
        for row, ask in sorted(asks.items()):
            groups.setdefault(replace(ask, exclude=shunned if ask.exclude else ()), []).append(row)
        names = {manifest.rows[row].candidate for row in asks}
        self.work.store.journal.append(
            Wave(
                folder=self.work.paths.root.name,
                attempt=next_attempt(self.work),
                groups=tuple(
                    WaveGroup(rows=tuple(members), memory=ask.memory, time=ask.time, exclude=ask.exclude)
                    for ask, members in groups.items()
                ),
                candidates=tuple(place for place, name in enumerate(manifest.candidates) if name in names),
            )
        )
        self._say(asks)

    def _say(self, rows: Mapping[int, Ask]) -> None:
        profile = self.work.tools.profile
        ends = Counter(self.endings[row][-1].outcome for row in rows if row in self.endings)
        if not self.work.tools.launcher().capabilities.resource_requests or not ends:
            return
        asked = {option for option, _ in profile.settings("train").directives}
        for outcome in ends:
            rule = self.policy.rules.get(outcome)
            if rule and rule.memory_factor > 1 and not asked & set(MEMORY):
                self.work.say(f"{outcome}: the profile names no mem to take {rule.memory_factor:g} times: as before")
            if rule and rule.time_factor > 1 and "time" not in asked:
                self.work.say(f"{outcome}: the profile names no time to take {rule.time_factor:g} times: as before")


def _log_tail(path: Path) -> str:
    """The end of a task's log; empty where it has none."""
    try:
        with open(path, "rb", opener=open_to_read) as stream:
            stream.seek(max(0, path.stat().st_size - _LOG_TAIL))
            return stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


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
    fates, first = Fates(work), 0
    _admit(work, manifest, wave, fates)
    render.refresh_scripts(work)
    for group in wave.groups:
        ask = Ask(memory=group.memory, time=group.time, exclude=group.exclude)
        # An interrupted call may have given some up, and a person may have cancelled some since.
        rows = [row for row in group.rows if not fates.out(row)]
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


def _admit(work: Work, manifest: Manifest, wave: Wave, fates: Fates) -> None:
    """Hold the whole wave against the caps before any of it is handed over: half of a wave would be waited for, and
    its evaluation, which the other half's refusal keeps back, would not come. Raises BudgetExceeded, NotYet."""
    made: list[Batch] = []
    first = 0
    for group in wave.groups:
        ask = Ask(memory=group.memory, time=group.time, exclude=group.exclude)
        if rows := [row for row in group.rows if not fates.out(row)]:
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
        give_up(work, handed_over(work), [row for row in rows if row not in begun], str(error))
        return made, ask


def give_up(work: Work, handed: Mapping[int, Handed], rows: Sequence[int], why: str) -> None:
    """Journal that these rows stay as their newest attempt left them."""
    attempts = tuple(handed[row].attempt for row in rows)
    folder = work.paths.root.name
    work.store.journal.append(GivenUp(folder=folder, rows=tuple(rows), attempts=attempts, message=why[:500]))
    work.say(f"{work.label}: rows {compact(rows)} are given up: {why}")


def next_attempt(work: Work) -> int:
    """Above every attempt of rows and evaluations alike: job names are made of it and must stay unique."""
    made = [attempt for kind in KINDS for attempt, _ in submissions(work.store, work.paths, kind)]
    waves = [wave.attempt for wave in work.store.journal.of(Wave, folder=work.paths.root.name)]
    return 1 + max([*made, *waves])


# -- the quorum ----------------------------------------------------------------------------------------------------


def close_by_quorum(work: Work, active: Mapping[int, Handed], *, ok: int, rows: int) -> None:
    """Stop the retries that still run: the round closes without them. May be repeated."""
    made = {handed.submission.name: handed.submission for handed in active.values()}
    if made and not set(made) <= set(_quorum_names(work)):
        names = tuple(sorted({*made, *_quorum_names(work)}))
        work.store.journal.append(QuorumReached(folder=work.paths.root.name, names=names, ok=ok, rows=rows))
        work.say(
            f"{work.label}: {ok} of {rows} rows are ok, which is the quorum; stopping the retries that still run"
        )
    if made:
        work.tools.launcher().cancel(list(made.values()))
