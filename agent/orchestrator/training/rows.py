"""A round's rows as objects, folded from the journal and the results on disk, and what is to be done next. Pure.

A row (candidate, fold, seed) has attempts; an attempt has the submission that it is part of and, once it is over and
journaled, its end. `fold` makes the rows; `next_actions` says what comes next, from the rows, the launcher's word on
their newest tasks and the policy. `read_rows` hands both what the store has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from agent.launch.base import State, Submission, TaskStatus
from agent.orchestrator.training.submissions import interrupted, submissions
from agent.policy import Policy
from agent.records import Outcome
from agent.store.events import AttemptEnded, GivenUp, QuorumReached, Resumed
from agent.store.paths import RoundPaths
from agent.store.requests import cancelled_rows
from agent.store.store import Store
from trainers.results import RowResult

Results = Mapping[int, RowResult | None]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One start of a row."""

    number: int
    """From 1; its folder's, and the same for all rows that were started together."""
    submission: Submission
    stopped: bool = False
    """Whether Roundtable itself stopped it: Ctrl-C, or the quorum was reached."""
    given_up: bool = False
    """Whether the row stays as this attempt left it."""
    ended: AttemptEnded | None = None
    """How it ended, once that is journaled."""


@dataclass(frozen=True, kw_only=True)
class RowState:
    """One row that was handed over."""

    row: int
    attempts: tuple[Attempt, ...]
    """Oldest first, at least one."""
    ends: tuple[AttemptEnded, ...] = ()
    """How its attempts ended, oldest first, as far as that was journaled."""
    result: RowResult | None = None
    """The result on disk: of the first attempt that ended ok, else of the newest that left one."""
    cancelled: bool = False
    """Whether a person cancelled it through Roundtable and nobody asked for it again since."""
    resumed: int = 0
    """Place in the journal where a person last had the study go on; 0: never."""

    @property
    def newest(self) -> Attempt:
        return self.attempts[-1]

    @property
    def newest_result(self) -> RowResult | None:
        """The result, if the newest attempt left it."""
        found = self.result
        return found if found is not None and found.attempt >= self.newest.number else None

    @property
    def ok(self) -> bool:
        """Whether it has a score."""
        return self.result is not None and self.result.outcome == Outcome.OK

    @property
    def superseded(self) -> bool:
        """Whether an earlier attempt ended well after all, so that the newest is not needed."""
        return self.ok and self.newest_result is None

    @property
    def left_alone(self) -> bool:
        """Whether it is not started again whatever its outcome is: given up, or cancelled by a person."""
        return self.cancelled or self.newest.given_up

    def is_retried(self, policy: Policy) -> bool:
        """Whether the policy starts it again; the end of its newest attempt is journaled."""
        if self.left_alone:
            return False
        # What kept it from beginning was mended before a person had the study go on: these tries count no more.
        mended = [one for one in self.ends if one.outcome is Outcome.LAUNCH_FAIL and one.seq < self.resumed]
        if self.ends[-1] in mended:
            return True
        return policy.again(one.outcome for one in self.ends if one not in mended) is not None

    def is_settled(self, policy: Policy) -> bool:
        """Whether it needs nothing further: a result that counts, or given up."""
        if self.ok:
            return True
        if self.result is not None and _is_final(Outcome(self.result.outcome), policy):
            # A newer attempt may be on its way: a person's, or one begun before this result could be seen.
            return self.newest_result is not None or self.newest.ended is not None
        return self.newest.ended is not None and not self.is_retried(policy)

    def may_still_show(self, status: TaskStatus) -> bool:
        """Whether the end of a task that is gone may still show otherwise: no result, half of one, or a failure that
        accounting has not explained."""
        found = self.newest_result
        explained = found is not None and found.outcome == Outcome.CRASHED and status.exit_code != ""
        return not explained and self.newest.ended is None

    @property
    def is_to_be_judged(self) -> bool:
        """Whether the end of its newest attempt, which is gone, is to be journaled. What Roundtable itself stopped
        says nothing."""
        return self.newest.ended is None and not (self.newest.stopped and self.newest_result is None)


def _is_final(outcome: Outcome, policy: Policy) -> bool:
    """Whether a result with this outcome needs no word of the scheduler, and is not tried again."""
    rule = policy.rules.get(outcome)
    return rule is None or (outcome is Outcome.GPU_OOM and rule.action == "give_up")


# -- from events to rows --------------------------------------------------------------------------------------------


def fold(
    made: Iterable[tuple[int, Submission]],
    *,
    ends: Iterable[AttemptEnded] = (),
    given_up: Iterable[GivenUp] = (),
    stopped: Collection[str] = (),
    cancelled: Collection[int] = (),
    resumed: int = 0,
    results: Results | None = None,
) -> dict[int, RowState]:
    """Every row that was handed over, by its number.

    made: the submissions of training, oldest first, with their attempt numbers. stopped: names of those that
    Roundtable itself stopped. results: what is on disk, None where it was not looked at.
    """
    left = {place for event in given_up for place in zip(event.rows, event.attempts, strict=True)}
    ended: dict[int, list[AttemptEnded]] = {}
    for end in ends:
        ended.setdefault(end.row, []).append(end)
    attempts: dict[int, list[Attempt]] = {}
    for number, submission in made:
        for row in submission.items:
            attempt = Attempt(
                number=number,
                submission=submission,
                stopped=submission.name in stopped,
                given_up=(row, number) in left,
                ended=next((end for end in ended.get(row, ()) if end.attempt == number), None),
            )
            attempts.setdefault(row, []).append(attempt)
    found = results or {}
    return {
        row: RowState(
            row=row,
            attempts=tuple(each),
            ends=tuple(ended.get(row, ())),
            result=found.get(row),
            cancelled=row in cancelled,
            resumed=resumed,
        )
        for row, each in sorted(attempts.items())
    }


def with_results(rows: Mapping[int, RowState], results: Results) -> dict[int, RowState]:
    """The same rows with results that were read again."""
    return {row: replace(one, result=results[row]) if row in results else one for row, one in rows.items()}


def read_rows(store: Store, paths: RoundPaths, results: Results | None = None) -> dict[int, RowState]:
    """A round's rows as the journal has them now."""
    journal, folder = store.journal, paths.root.name
    resumed = journal.last(Resumed)
    return fold(
        submissions(store, paths, "train"),
        ends=journal.of(AttemptEnded, folder=folder),
        given_up=journal.of(GivenUp, folder=folder),
        stopped=interrupted(store) | set(quorum_names(store, paths)),
        cancelled=cancelled_rows(store, paths),
        resumed=resumed.seq if resumed is not None else 0,
        results=results,
    )


def quorum_names(store: Store, paths: RoundPaths) -> tuple[str, ...]:
    """Names of the submissions that were stopped because enough rows of the round were ok."""
    reached = store.journal.last(QuorumReached, folder=paths.root.name)
    return reached.names if reached is not None else ()


def endings(store: Store, paths: RoundPaths) -> dict[int, list[AttemptEnded]]:
    """How each row's attempts ended, oldest first, as far as that was journaled."""
    found: dict[int, list[AttemptEnded]] = {}
    for ended in store.journal.of(AttemptEnded, folder=paths.root.name):
        found.setdefault(ended.row, []).append(ended)
    return found


# -- what comes next ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Judge:
    """No task of these rows may do anything any more: find out how they ended, and journal it."""

    rows: tuple[RowState, ...]
    late: tuple[RowState, ...] = ()
    """Rows, these or others, whose results a slow filesystem may still show: waited for first."""


@dataclass(frozen=True, kw_only=True)
class Cancel:
    """Stop the newest attempts of these rows: enough others are ok."""

    rows: tuple[RowState, ...]
    ok: int


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Their tasks run, wait, or cannot be told of."""

    progress: Mapping[int, TaskStatus] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class GiveUp:
    """Leave these rows as they are: another attempt would only run out of memory again."""

    rows: tuple[RowState, ...]


@dataclass(frozen=True, kw_only=True)
class Retry:
    """Start these rows again."""

    rows: tuple[RowState, ...]


Action = Judge | Cancel | Wait | GiveUp | Retry


def next_actions(
    rows: Sequence[RowState],
    polled: Mapping[int, TaskStatus],
    policy: Policy,
    *,
    ok: int,
    total: int,
    judged: bool = False,
    hopeless: Callable[[RowState], bool] = lambda row: False,
) -> list[Action]:
    """What to do about the rows that are not settled, in this order; nothing: the round needs none of them.

    polled: how each row's newest task stands. ok, total: how many of all of the round's rows have a score, and how
    many there are. judged: whether the ends of rows whose tasks are gone were looked into already. hopeless: whether
    a row ran out of memory with as much as it may have.
    """
    active = {one.row: polled[one.row] for one in rows if polled[one.row].state is not State.GONE}
    if rows and not active and not judged:
        late = tuple(one for one in rows if one.may_still_show(polled[one.row]))
        return [Judge(rows=tuple(one for one in rows if one.is_to_be_judged), late=late)]
    if all(one.ends for one in rows) and policy.quorum_reached(ok=ok, rows=total):
        stopped = tuple(one for one in rows if one.row in active)
        return [Cancel(rows=stopped, ok=ok), Wait(progress=active)] if active else []
    if active:
        return [Wait(progress=active)]
    again = [one for one in rows if one.newest.ended is None or one.is_retried(policy)]
    given_up = tuple(one for one in again if hopeless(one))
    retried = tuple(one for one in again if one not in given_up)
    found: list[Action] = [GiveUp(rows=given_up)] if given_up else []
    return [*found, Retry(rows=retried)] if retried else found
