"""A person who stops a round's tasks with the scheduler's own command means what `roundtable cancel` means.

Going on, with a new round in the queue, would be against their will; so the round is halted and waits for them. One
task of many that was cancelled is that row's end, and the round goes on without it. So is it with an evaluation.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from agent.launch.base import Submission, TaskStatus
from agent.orchestrator.training.cancel import check_halted
from agent.orchestrator.training.rows import RowState
from agent.orchestrator.work import Work
from agent.records import Outcome
from agent.store.events import Cancelled, Released, RetryAsked, Submitted

#: Seconds from scancel to the last sign of a task that it stopped: SLURM's KillWait is 30 s unless the site chose.
STOPS_WITHIN_S = 60.0

#: Results that need nothing further.
_LEARNT = (Outcome.OK, Outcome.BAD_CONFIG, Outcome.GPU_OOM)


def halt_if_cancelled(work: Work, known: Mapping[int, RowState], statuses: Mapping[int, TaskStatus]) -> None:
    """Halt the round if a person has cancelled all of it that was not over, beside Roundtable: journaled as a
    cancellation of the whole round. Called when no task of it may do anything any more. Raises RoundCancelled."""
    if not work.tools.launcher().capabilities.cancel_command:
        return
    rows = [one.row for one in known.values() if _is_cancelled(one, statuses[one.row])]
    if not rows:
        return
    others = [row for row in known if row not in rows]
    learnt = [row for row in others if (found := known[row].result) is not None and Outcome(found.outcome) in _LEARNT]
    # A row that was cancelled alone, where others have told something, is left out; all that was left is a round.
    if (learnt and len(rows) < 2) or not _all_that_was_left(rows, others, statuses):
        return
    _halt(work, rows, {known[row].newest.submission.name for row in rows}, statuses[rows[0]].raw)


def halt_if_evaluation_cancelled(
    work: Work,
    made: Sequence[Submission],
    items: Collection[int],
    statuses: Mapping[tuple[str, int], TaskStatus],
) -> None:
    """Halt the round if a person has cancelled these items of its newest evaluation, beside Roundtable.

    made: the round's evaluations, oldest first, all gone. What was cancelled before a person had the round go on
    (`retry`, `collect`) has been obeyed. Raises RoundCancelled.
    """
    if not work.tools.launcher().capabilities.cancel_command:
        return
    names = {one.name for one in made}
    fresh: dict[str, int] = {}
    for event in work.store.journal.of(Submitted, RetryAsked, Released, folder=work.paths.root.name):
        if not isinstance(event, Submitted):
            fresh.clear()
        elif event.name in names:
            fresh[event.name] = event.attempt
    newest = [one for one in made if fresh.get(one.name) == max(fresh.values(), default=0)]
    found = {
        one.name: statuses[one.name, item].raw
        for one in newest
        for item in one.items
        if item in items and statuses[one.name, item].raw.startswith("CANCELLED")
    }
    if found:
        _halt(work, [], found, next(iter(found.values())))


def _halt(work: Work, rows: Sequence[int], names: Collection[str], raw: str) -> None:
    """Journal the cancellation of a whole round, of which these rows were left (none: its evaluation alone)."""
    work.store.journal.append(
        Cancelled(
            folder=work.paths.root.name,
            round=work.number,
            rows=tuple(rows),
            whole=True,
            names=tuple(sorted(names)),
            who="scancel",
            by=_by(raw),
        )
    )
    check_halted(work)


def _is_cancelled(one: RowState, status: TaskStatus) -> bool:
    """Whether somebody cancelled a row's newest attempt, and neither Roundtable nor a person through it."""
    if one.newest.stopped or one.cancelled or one.newest.ended is not None:
        return False
    # A training that saved a result before it was ended is over; one that failed because of the end is not.
    found = one.newest_result
    over = found is not None and found.outcome != Outcome.CRASHED
    return not over and status.raw.startswith("CANCELLED")


def _all_that_was_left(rows: list[int], others: list[int], statuses: Mapping[int, TaskStatus]) -> bool:
    """Whether no other row went on after these were cancelled. Where nobody tells when that was, only a whole round
    is taken for one."""
    times = [at for row in rows if (at := statuses[row].ended) is not None]
    if not times:
        return not others
    last = min(times) + STOPS_WITHIN_S
    return all((at := statuses[row].ended) is not None and at <= last for row in others)


def _by(raw: str) -> str:
    """ "CANCELLED by 1000" in a person's words."""
    import pwd

    match = re.search(r"by (\d+)", raw)
    if match is None:
        return "by whom the scheduler does not say"
    try:
        return f"by {pwd.getpwuid(int(match[1])).pw_name}"
    except KeyError:
        return f"by uid {match[1]}"
