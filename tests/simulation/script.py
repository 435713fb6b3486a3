"""What befalls one simulated study: a script of faults, drawn from a seed or written down by hand.

A script is data. Each fault names the place where it strikes, so that leaving one out does not move the others: that
is what makes a failing script shrink (shrink.py).
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

#: Where a fault strikes -> what the numbers of its place mean.
PLACES: Mapping[str, str] = {
    "row": "(round, row, attempt) of a training task",
    "array": "(n,): every task of the n-th training array of the study",
    "eval": "(n,): the n-th evaluation job of the study",
    "sbatch": "(n,): the n-th submission of the study",
    "squeue": "(second,) since the study began; lasts `seconds`",
    "sacct": "(second,) since the study began; lasts `seconds`",
    "kill": "(tick, change): the process dies at this change on disk of this tick",
    "full": "(tick, change): the disk refuses from this change on, `seconds` changes long",
    "clock": "(tick,): the orchestrator's clock is wrong by `seconds` from here on, for as many ticks as `what` says",
    "person": "(tick,): a person does something before this tick, and dies at change `seconds` of it (0: never)",
    "shell": "(tick, change): a person's second shell does something in the middle of this tick",
    "model": "(n,): the n-th call of a language model",
}

#: What may happen to a training task, with how often it is drawn.
ROWS: Mapping[str, float] = {
    "crash": 2,  # the program fails; result.json says so
    "bad_config": 1.5,
    "gpu_oom": 1,
    "host_oom": 2,
    "timeout": 2,
    "warned": 1,  # stopped by the warning before its time limit, with an exit marker
    "node_fail": 2,
    "preempted": 2,
    "requeued": 2,  # the scheduler starts the same task again
    "dies_unclaimed": 2,  # before it claims its row
    "launch_failed": 1.5,  # 0:53, the script never ran
    "killed": 3,  # kill -9: neither result nor marker
    "leaves_nothing": 2,  # ends well, without a result
    "no_claim": 1,  # ends well, without even a claim
    "half": 2,  # half a result
    "corrupt": 1,  # another row's result
    "late": 4,  # the result appears `seconds` after the end
    "late_fail": 1,  # so does a failure's
    "scancel": 1,  # a person cancels this task beside Roundtable
    "root_cancel": 1,
    "vanishes": 1.5,  # in neither squeue nor sacct any more
    "slow": 2,
    "held": 1,  # pending with a reason that needs somebody
}
LATE_S = (5.0, 20.0, 45.0, 100.0, 140.0, 170.0, 200.0, 400.0, 2000.0)

EVALS: Mapping[str, float] = {"dies": 2, "half_way": 2, "vanishes": 1, "scancel": 0.5, "slow": 1}

#: What may become of one sbatch.
SUBMISSIONS: Mapping[str, float] = {
    "refused": 1,
    "limit": 1,  # MaxSubmitJobs
    "full_queue": 0.5,
    "not_sent": 1,
    "lost_before": 2,  # "Socket timed out", and nothing was submitted
    "lost_after": 3,  # "Socket timed out", and it was
    "late": 3,  # it arrives `seconds` after sbatch gave up
    "timeout_before": 1,  # sbatch itself hangs and is killed
    "timeout_after": 2,
    "no_id": 1,
    "noise": 1,
    "killed_before": 1,  # the orchestrator dies before sbatch has sent anything
    "killed_after": 3,  # and after: nobody records the id
    "twice": 1,  # a site's wrapper submits it twice
}
LATE_SUBMISSION_S = (30.0, 120.0, 290.0, 700.0)

QUERIES: Mapping[str, float] = {"error": 2, "timeout": 1, "late": 3, "forgets": 2, "blind": 3, "slow": 3}

PERSON: Mapping[str, float] = {
    "edit": 2,
    "break_reference": 0.5,
    "cancel_row": 3,
    "cancel_round": 1.5,
    "retry": 2,
    "retry_row": 1,
    "collect": 1,
    "force": 1.5,
    "tick": 1,  # a second tick at once
    "delete_round": 0.7,  # the newest closed round's folder is gone for a while
    "delete_settings": 0.5,
    "stop": 0.5,
}
SHELL: Mapping[str, float] = {"tick": 3, "cancel_row": 3, "cancel_round": 1, "retry": 1, "force": 1, "edit": 1}

CLOCK_S = (-45.0, -90.0, -250.0, -4000.0, 30.0, 250.0, 900.0)

MODEL: Mapping[str, float] = {"useless": 3, "error": 2, "refusal": 1, "late": 1}


@dataclass(frozen=True, kw_only=True, order=True)
class Fault:
    """One thing that goes wrong."""

    where: str
    at: tuple[int, ...]
    what: str = ""
    seconds: float = 0.0

    def __repr__(self) -> str:
        """As it is written in a test."""
        parts = [f"where={self.where!r}", f"at={self.at!r}"]
        parts += [f"what={self.what!r}"] if self.what else []
        parts += [f"seconds={self.seconds!r}"] if self.seconds else []
        return f"Fault({', '.join(parts)})"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What kind of study is simulated."""

    rounds: int = 4
    candidates: int = 2
    seeds: int = 2
    resident: bool = False
    """One process that stays (a controller); else each look is a process of its own (cron)."""
    accounting: bool = True
    quorum: float = 1.0
    confirm: str = "never"
    rungs: int = 1
    models: bool = False
    max_gpu_hours: float | None = None
    array_size: int | None = None
    """MaxArraySize of the cluster."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """One simulated study: its kind, its seed (durations and values), and all that goes wrong."""

    seed: int
    setting: Setting = field(default_factory=Setting)
    faults: tuple[Fault, ...] = ()

    def without(self, fault: Fault) -> Script:
        return replace(self, faults=tuple(one for one in self.faults if one is not fault))


def unit(*key: object) -> float:
    """A number in [0, 1) that depends on its arguments alone: no fault that is left out moves another's chance."""
    return zlib.crc32(repr(key).encode()) / 2**32


def draw(seed: int, *, rounds: int = 4, rate: float = 1.0) -> Script:
    """The script of a seed. rate: how many faults, 1 for about one in four tasks."""
    rng = random.Random(seed)
    setting = _setting(rng, rounds)
    faults = [*_tasks(rng, setting, rate), *_around(rng, setting, rate)]
    return Script(seed=seed, setting=setting, faults=tuple(sorted(set(faults))))


def _setting(rng: random.Random, rounds: int) -> Setting:
    return Setting(
        rounds=rounds,
        resident=rng.random() < 0.5,
        accounting=rng.random() < 0.85,
        quorum=rng.choice((1.0, 1.0, 1.0, 0.5, 0.75)),
        confirm=rng.choice(("never", "never", "never", "never", "round", "final")),
        models=rng.random() < 0.12,
        max_gpu_hours=rng.choice((None, None, None, 1.0, 1.7)),
        array_size=rng.choice((None, None, None, 3)),
    )


def _tasks(rng: random.Random, setting: Setting, rate: float) -> list[Fault]:
    """Faults of the tasks, round by round. Some rounds are left in peace, some are hit hard."""
    found = []
    for number in range(1, setting.rounds + 1):
        share = rate * rng.choice((0.0, 0.15, 0.3, 0.6))
        for row in range(setting.candidates * setting.seeds):
            for attempt in (1, 2, 3):
                if rng.random() < share * (1.0 if attempt == 1 else 0.5):
                    what = _drawn(rng, ROWS)
                    seconds = rng.choice(LATE_S) if what.startswith("late") else 0.0
                    found.append(Fault(where="row", at=(number, row, attempt), what=what, seconds=seconds))
    return found


def _around(rng: random.Random, setting: Setting, rate: float) -> list[Fault]:
    """Faults of everything else: so many a round on average, each at a drawn place."""
    found = []
    ticks, calls, seconds = 6 * setting.rounds, 3 * setting.rounds, 400 * setting.rounds

    def some(mean: float) -> range:
        return range(sum(rng.random() < mean * rate / 2 for _ in range(2 * setting.rounds)))

    # What is broken stays so for a while: an environment, an account. That pauses a study.
    if rng.random() < 0.12 * rate:
        begins = rng.randint(1, setting.rounds)
        found += [Fault(where="array", at=(begins + n,), what="dies_unclaimed") for n in range(4)]
    if rng.random() < 0.12 * rate:
        begins = rng.randint(1, calls)
        found += [Fault(where="sbatch", at=(begins + n,), what="refused") for n in range(11)]
    for _ in some(0.5):
        what = _drawn(rng, SUBMISSIONS)
        late = rng.choice(LATE_SUBMISSION_S) if what == "late" else 0.0
        found.append(Fault(where="sbatch", at=(rng.randint(1, calls),), what=what, seconds=late))
    for _ in some(0.2):
        found.append(Fault(where="eval", at=(rng.randint(1, calls // 2),), what=_drawn(rng, EVALS)))
    for _ in some(0.3):
        where = rng.choice(("squeue", "sacct", "sacct"))
        what = _drawn(rng, QUERIES)
        # A queue that shows nothing for longer than a task's absence is waited for would be no SLURM's.
        lasts = float(rng.choice((60, 200, 600))) if what != "blind" else 110.0
        found.append(Fault(where=where, at=(rng.randint(0, seconds),), what=what, seconds=lasts))
    for _ in some(0.6):
        found.append(Fault(where="kill", at=(rng.randint(1, ticks), rng.randint(1, 140))))
    for _ in some(0.15):
        found.append(Fault(where="full", at=(rng.randint(1, ticks), rng.randint(1, 100)), seconds=rng.choice((1, 3))))
    for _ in some(0.15):
        wrong = rng.choice(CLOCK_S)
        what = str(rng.choice((1, 3, 20)))
        found.append(Fault(where="clock", at=(rng.randint(2, ticks),), what=what, seconds=wrong))
    for _ in some(0.8) if setting.models else ():
        found.append(Fault(where="model", at=(rng.randint(1, calls),), what=_drawn(rng, MODEL)))
    for _ in some(0.3):
        dies = float(rng.choice((0, 0, 0, 1, 3, 5, 7)))
        found.append(Fault(where="person", at=(rng.randint(1, ticks),), what=_drawn(rng, PERSON), seconds=dies))
    for _ in some(0.2):
        at = (rng.randint(1, ticks), rng.randint(1, 100))
        found.append(Fault(where="shell", at=at, what=_drawn(rng, SHELL)))
    return found


def _drawn(rng: random.Random, weights: Mapping[str, float]) -> str:
    names: Sequence[str] = list(weights)
    return rng.choices(names, list(weights.values()))[0]
