"""Rows of a round as objects, and what comes next for them: tables, without a launcher, a disk or a clock."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from agent.launch.base import State, Submission, TaskStatus
from agent.orchestrator.training.rows import (
    Cancel,
    GiveUp,
    Judge,
    Retry,
    RowState,
    Wait,
    fold,
    next_actions,
    with_results,
)
from agent.policy import Policy, Rule
from agent.records import Outcome
from agent.store.events import AttemptEnded, GivenUp
from trainers.manifest import Row
from trainers.results import RowResult

FOLDER = "round_1_x"
PLACE = Row(row=0, candidate="c00", fold=0, seed=0)
POLICY = Policy(
    rules={
        outcome: Rule(action="retry", limit=2)
        if outcome not in (Outcome.CRASHED, Outcome.GPU_OOM, Outcome.CANCELLED)
        else Rule(action="give_up")
        for outcome in Outcome
        if outcome not in (Outcome.OK, Outcome.BAD_CONFIG)
    },
    max_attempts=3,
)
RUNNING, GONE, UNKNOWN = (TaskStatus(state=state) for state in (State.RUNNING, State.GONE, State.UNKNOWN))


def made(attempt: int, *rows: int) -> tuple[int, Submission]:
    tasks = tuple(f"7{attempt}_{row}" for row in rows)
    return attempt, Submission(launcher="sbatch", name=f"a{attempt}", job_id=f"7{attempt}", items=rows, tasks=tasks)


def result(attempt: int, outcome: str = "ok", message: str = "") -> RowResult:
    return RowResult(row=PLACE, outcome=outcome, attempt=attempt, message=message)


def end(row: int, attempt: int, outcome: str, seq: int = 1) -> AttemptEnded:
    return AttemptEnded(
        seq=seq,
        folder=FOLDER,
        row=row,
        attempt=attempt,
        outcome=Outcome(outcome),
        raw="",
        node="n1",
        exit_code="",
        evidence="",
        memory=None,
    )


def given_up(row: int, attempt: int) -> GivenUp:
    return GivenUp(folder=FOLDER, rows=(row,), attempts=(attempt,), message="why")


# -- rows from events -----------------------------------------------------------------------------------------------


def test_a_rows_attempts_carry_their_submission_and_their_end() -> None:
    rows = fold(
        [made(1, 0, 1, 2), made(2, 1)],
        ends=[end(1, 1, "lost"), end(1, 2, "timeout"), end(2, 1, "node_fail")],
        given_up=[given_up(2, 1)],
        stopped={"a2"},
        cancelled={0},
        resumed=7,
        results={0: result(1), 1: None},
    )
    assert list(rows) == [0, 1, 2]
    assert [attempt.number for attempt in rows[1].attempts] == [1, 2]
    assert [attempt.submission.job_id for attempt in rows[1].attempts] == ["71", "72"]
    ended = [attempt.ended for attempt in rows[1].attempts]
    assert [one.outcome for one in ended if one is not None] == [Outcome.LOST, Outcome.TIMEOUT]
    assert [attempt.stopped for attempt in rows[1].attempts] == [False, True]
    assert (rows[2].newest.given_up, rows[2].left_alone) == (True, True)
    assert (rows[0].cancelled, rows[0].left_alone, rows[0].ok) == (True, True, True)
    assert {one.resumed for one in rows.values()} == {7}


def test_giving_up_an_attempt_holds_until_a_person_starts_another() -> None:
    rows = fold([made(1, 0), made(2, 0)], given_up=[given_up(0, 1)])
    assert rows[0].attempts[0].given_up and not rows[0].left_alone


def test_a_result_is_the_newest_attempts_or_comes_from_an_earlier_one() -> None:
    rows = fold([made(1, 0, 1), made(2, 0, 1)], results={0: result(1), 1: result(2)})
    assert (rows[0].newest_result, rows[0].superseded) == (None, True)
    assert (rows[1].newest_result, rows[1].superseded) == (result(2), False)
    again = with_results(rows, {0: None})
    assert again[0].result is None and again[1] == rows[1]


@pytest.mark.parametrize(
    ("attempts", "found", "ends", "settled"),
    [
        (1, None, [], False),
        (1, result(1), [], True),
        (2, result(1), [], True),  # it came after all
        (1, result(1, "bad_config"), [], True),
        (2, result(1, "bad_config"), [], False),  # a person's retry is on its way
        (2, result(1, "bad_config"), [end(0, 2, "lost")], True),
        (1, result(1, "gpu_oom"), [], True),  # the policy gives it up, whatever the scheduler says
        (1, result(1, "crashed"), [], False),  # the scheduler's word may explain it
        (1, result(1, "crashed"), [end(0, 1, "crashed")], True),
        (1, result(1, "crashed"), [end(0, 1, "node_fail")], False),
        (1, None, [end(0, 1, "lost")], False),
        (3, None, [end(0, 1, "lost"), end(0, 2, "lost"), end(0, 3, "lost")], True),  # out of tries
        (2, None, [end(0, 1, "crashed")], False),  # its newest attempt is not over
    ],
)
def test_a_row_is_settled_by_a_result_that_counts_or_when_the_policy_gives_it_up(
    attempts: int, found: RowResult | None, ends: list[AttemptEnded], settled: bool
) -> None:
    rows = fold([made(number, 0) for number in range(1, attempts + 1)], ends=ends, results={0: found})
    assert rows[0].is_settled(POLICY) is settled


@pytest.mark.parametrize(("resumed", "retried"), [(0, False), (9, True)])
def test_tries_that_never_began_count_no_more_once_a_person_has_mended_their_cause(
    resumed: int, retried: bool
) -> None:
    ends = [end(0, number, "launch_fail", seq=number) for number in (1, 2, 3)]
    rows = fold([made(number, 0) for number in (1, 2, 3)], ends=ends, resumed=resumed)
    assert rows[0].is_retried(POLICY) is retried


# -- what comes next ------------------------------------------------------------------------------------------------


def actions(
    rows: Sequence[RowState], *states: TaskStatus, ok: int = 0, judged: bool = True, quorum: float = 1.0
) -> list[object]:
    """In short: the class of each action with its rows."""
    policy = Policy(rules=POLICY.rules, max_attempts=POLICY.max_attempts, quorum=quorum)
    polled = {one.row: status for one, status in zip(rows, states, strict=True)}
    hopeless = {one.row for one in rows if one.ends and one.ends[-1].outcome is Outcome.HOST_OOM}
    found = next_actions(
        rows,
        polled,
        policy,
        ok=ok,
        total=ok + len(rows),
        judged=judged,
        hopeless=lambda one: one.row in hopeless,
    )
    told: list[object] = []
    for action in found:
        if isinstance(action, Wait):
            told.append((Wait, sorted(action.progress)))
        elif isinstance(action, Judge):
            told.append((Judge, [one.row for one in action.rows], [one.row for one in action.late]))
        else:
            told.append((type(action), [one.row for one in action.rows]))
    return told


def rows_of(*ends: AttemptEnded, attempts: int = 1, **more: object) -> list[RowState]:
    numbers = {one.row for one in ends} | {0, 1}
    submitted = [made(number, *sorted(numbers)) for number in range(1, attempts + 1)]
    return list(fold(submitted, ends=ends, **more).values())  # type: ignore[arg-type]


def test_nothing_is_to_be_done_about_no_row() -> None:
    assert actions([], judged=False) == []


@pytest.mark.parametrize("still", [RUNNING, UNKNOWN])
def test_rows_that_may_still_do_something_are_waited_for_before_any_is_judged(still: TaskStatus) -> None:
    assert actions(rows_of(), still, GONE, judged=False) == [(Wait, [0])]


def test_rows_whose_tasks_are_gone_are_judged_once_and_late_results_waited_for() -> None:
    explained = TaskStatus(state=State.GONE, exit_code="1:0")
    rows = rows_of(results={0: result(1, "crashed"), 1: None})
    assert actions(rows, explained, GONE, judged=False) == [(Judge, [0, 1], [1])]
    assert actions(rows, GONE, GONE, judged=False) == [(Judge, [0, 1], [0, 1])]
    judged = rows_of(end(0, 1, "lost"), end(1, 1, "lost"))
    assert actions(judged, GONE, GONE, judged=False) == [(Judge, [], [])]


def test_what_roundtable_itself_stopped_is_not_judged_and_goes_on() -> None:
    rows = rows_of(stopped={"a1"})
    assert actions(rows, GONE, GONE, judged=False) == [(Judge, [], [0, 1])]
    assert actions(rows, GONE, GONE) == [(Retry, [0, 1])]


def test_the_policy_says_which_rows_are_started_again() -> None:
    rows = rows_of(end(0, 1, "lost"), end(1, 1, "crashed"))
    assert actions(rows, GONE, GONE) == [(Retry, [0])]


def test_rows_that_would_only_run_out_of_memory_again_are_given_up_before_the_others_start() -> None:
    assert actions(rows_of(end(0, 1, "host_oom"), end(1, 1, "lost")), GONE, GONE) == [(GiveUp, [0]), (Retry, [1])]
    assert actions(rows_of(end(0, 1, "host_oom"), end(1, 1, "host_oom")), GONE, GONE) == [(GiveUp, [0, 1])]


def test_a_row_that_a_person_cancelled_is_left_alone() -> None:
    rows = rows_of(end(0, 1, "lost"), end(1, 1, "lost"), cancelled={0})
    assert actions(rows, GONE, GONE) == [(Retry, [1])]


def test_with_a_quorum_retries_that_still_run_are_stopped_once_every_row_was_tried() -> None:
    tried = rows_of(end(0, 1, "lost"), end(1, 1, "lost"), attempts=2)
    assert actions(tried, RUNNING, RUNNING, ok=8, quorum=0.8) == [(Cancel, [0, 1]), (Wait, [0, 1])]
    assert actions(tried, RUNNING, GONE, ok=8, quorum=0.8) == [(Cancel, [0]), (Wait, [0])]
    assert actions(tried, RUNNING, RUNNING, ok=7, quorum=0.8) == [(Wait, [0, 1])]
    # Gone at last: the round closes without them.
    assert actions(tried, GONE, GONE, ok=8, quorum=0.8) == []
    # The first attempt of row 1 is not over.
    untried = rows_of(end(0, 1, "lost"))
    assert actions(untried, RUNNING, RUNNING, ok=8, quorum=0.8) == [(Wait, [0, 1])]
