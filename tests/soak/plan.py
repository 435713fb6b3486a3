"""Which faults befall a round: drawn by seed and round number, so that one can be run again without the others."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ROWS, MOST_FAULTY_ATTEMPTS = 4, 2
"""Rows of a full round (two candidates at two seeds), and how many attempts of a row may be hit."""

#: What happens to a row, with how often; trainer/setup.sh and trainer/soak.sh carry it out.
ROW_FAULTS: Mapping[str, float] = {
    "exit_1": 2,  # an error of the program
    "exit_3": 2,  # settings refused
    "exit_4": 1,  # a GPU out of memory
    "no_summary": 1,
    "kill_program": 2,
    "kill_task": 3,  # kill -9 of trainers.job
    "kill_script": 2,  # kill -9 before the row is claimed
    "refuse_start": 2,  # a set-up line fails
    "leave_nothing": 2,  # ends well and leaves nothing
    "truncated": 3,  # half a result
    "cancel": 1,  # scancel by hand
    "warn": 2,  # the warning before the time limit
    "requeue": 3,  # scontrol requeue by hand
    "preempt": 2,  # a more urgent job takes the node
    "slow": 3,  # longer than any grace
    "timeout": 0.5,  # slurmctld looks at time limits twice a minute: half a minute a time
}
#: How late a result appears, in seconds: before and after the study's grace, and after the round.
LATE = (1.0, 2.0, 4.0, 8.0, 40.0)
#: What becomes of one sbatch call of the orchestrator; shims.py carries it out.
SUBMISSION_FAULTS: Mapping[str, float] = {
    "refused": 1,
    "limit": 1,  # MaxSubmitJobs
    "not_sent": 1,
    "lost_before": 2,  # "Socket timed out", and nothing was submitted
    "lost_after": 3,  # "Socket timed out", and it was
    "killed_before": 1,
    "killed_after": 2,
    "no_id": 1,
    "late": 3,  # the submission arrives seconds after sbatch gave up
    "orphaned": 2,  # the orchestrator is killed behind sbatch, before it can record the id
}
LATE_SUBMISSION = (2.0, 9.0)
DAEMON_FAULTS: Mapping[str, float] = {
    "restart slurmctld": 2,
    "kill slurmdbd": 2,
    "pause slurmdbd": 1,
    "pause slurmctld": 1,
}


@dataclass(frozen=True, kw_only=True)
class Kill:
    """One SIGKILL of the orchestrator: at its n-th change on disk, or after so many seconds."""

    boundary: int | None = None
    after_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class DaemonFault:
    """One daemon of the cluster ends, or stops answering, for a while."""

    at_s: float
    action: str
    for_s: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that befalls one round."""

    number: int
    driver: str
    """"tune": calls that stay until the round is closed. "ticks": a process for each look, as cron does it."""
    rows: Mapping[tuple[int, int], str]
    """(row, attempt) -> fault."""
    submissions: Sequence[str]
    """What becomes of the round's first sbatch calls, in order; "" for nothing."""
    kills: Sequence[Kill]
    """Of the round's first calls of the orchestrator, in order."""
    daemons: Sequence[DaemonFault]

    def describe(self) -> str:
        """One line that tells the whole sequence."""
        parts = [f"row {row} attempt {attempt}: {fault}" for (row, attempt), fault in sorted(self.rows.items())]
        parts += [f"sbatch call {n}: {fault}" for n, fault in enumerate(self.submissions, 1) if fault]
        parts += [
            f"SIGKILL at change {kill.boundary}" if kill.boundary else f"SIGKILL after {kill.after_s} s"
            for kill in self.kills
        ]
        parts += [f"{fault.action} at {fault.at_s} s for {fault.for_s} s" for fault in self.daemons]
        return f"{self.driver}; {'; '.join(parts) or 'no fault'}"


def draw(seed: int, number: int, *, patient: bool = True) -> Plan:
    """The faults of one round. patient: also those that take half a minute each."""
    rng = random.Random(f"{seed}:{number}")
    rows: dict[tuple[int, int], str] = {}
    for row in range(ROWS):
        for attempt in range(1, MOST_FAULTY_ATTEMPTS + 1):
            if rng.random() < (0.4 if attempt == 1 else 0.25):
                rows[row, attempt] = _row_fault(rng, patient)
    submissions = [_submission_fault(rng) if rng.random() < 0.2 else "" for _ in range(4)]
    kills = [_kill(rng) for _ in range(rng.choice((0, 0, 1, 1, 2, 3)))]
    daemons = [_daemon_fault(rng)] if rng.random() < 0.2 else []
    return Plan(
        number=number,
        driver=rng.choice(("tune", "tune", "ticks")),
        rows=rows,
        submissions=submissions,
        kills=kills,
        daemons=daemons,
    )


def _row_fault(rng: random.Random, patient: bool) -> str:
    if rng.random() < 0.12:
        return f"late:{rng.choice(LATE)}"
    names = [name for name in ROW_FAULTS if patient or name != "timeout"]
    return _drawn(rng, {name: ROW_FAULTS[name] for name in names})


def _submission_fault(rng: random.Random) -> str:
    fault = _drawn(rng, SUBMISSION_FAULTS)
    return f"late:{rng.choice(LATE_SUBMISSION)}" if fault == "late" else fault


def _kill(rng: random.Random) -> Kill:
    if rng.random() < 0.6:
        return Kill(boundary=rng.randint(1, 120))
    return Kill(after_s=round(rng.uniform(0.05, 6.0), 2))


def _daemon_fault(rng: random.Random) -> DaemonFault:
    return DaemonFault(
        at_s=round(rng.uniform(0.0, 6.0), 1), action=_drawn(rng, DAEMON_FAULTS), for_s=round(rng.uniform(0.5, 6.0), 1)
    )


def _drawn(rng: random.Random, weights: Mapping[str, float]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]
