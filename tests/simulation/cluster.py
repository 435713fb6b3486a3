"""A SLURM of one user, on a clock of its own: jobs arrive, wait, run, end, are requeued and forgotten.

Nothing here sleeps. `Cluster.advance` lets time pass and carries out what falls due, in order; what tasks do on disk
is in tasks.py, what SLURM's programs say of it in programs.py.
"""

from __future__ import annotations

import functools
import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulation import tasks
from tests.simulation.script import Fault, unit

BEGINNING = 1_900_000_000.0
#: How long squeue shows an ended job (MinJobAge).
FORGETS_AFTER_S = 300.0
NODES = ("n1", "n2", "n3")
ACTIVE = ("PENDING", "RUNNING", "COMPLETING", "REQUEUED")


@dataclass(kw_only=True)
class Run:
    """One run of a task, as accounting has a line for each."""

    submitted: float
    began: float | None = None
    ended: float | None = None
    raw: str = "PENDING"
    exit_code: str = "0:0"
    node: str = ""
    told: list[tuple[float, str, float | None]] = field(default_factory=list)
    """What accounting knows from when on: (time, state, ended)."""


@dataclass(kw_only=True)
class Task:
    """One element of an array."""

    job: Job
    index: int
    fault: Fault | None = None
    reason: str = "Priority"
    restarts: int = 0
    vanished: bool = False
    runs: list[Run] = field(default_factory=list)
    claimed: int | None = None
    """The attempt that its present run has claimed, while it trains."""

    @property
    def id(self) -> str:
        return f"{self.job.id}_{self.index}"

    @property
    def item(self) -> int:
        return self.index + self.job.offset

    @property
    def run(self) -> Run:
        return self.runs[-1]

    @property
    def active(self) -> bool:
        return self.run.ended is None


@dataclass(kw_only=True)
class Job:
    """One array."""

    id: int
    name: str
    kind: str
    folder: Path
    attempt: int
    offset: int
    after: tuple[int, ...]
    gpus: int = 0
    limit_s: float = 600.0
    submitted: float = 0.0
    tasks: list[Task] = field(default_factory=list)


class Cluster:
    """All jobs, and the time."""

    def __init__(self, seed: int, faults: Iterable[Fault], *, lag_s: float = 2.0) -> None:
        self.now = BEGINNING
        self.seed = seed
        self.jobs: dict[int, Job] = {}
        self.rows = {one.at: one for one in faults if one.where == "row"}
        self._arrays = {one.at[0]: one for one in faults if one.where == "array"}
        self.evals = {one.at[0]: one for one in faults if one.where == "eval"}
        self.lag_s = lag_s
        self.acting = False
        """Whether tasks act now, rather than the orchestrator."""
        self.wrong: list[str] = []
        """What no cluster may see, such as two trainings of one row at a time."""
        self.befallen: Counter[str] = Counter()
        self.good: dict[tuple[str, int], float] = {}
        """(folder, row) -> when a result that counts appeared."""
        self._ids = itertools.count(100)
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._waiting: list[tuple[Task, Run]] = []
        """Whose jobs they depend on have not ended."""
        self._training: dict[tuple[Path, int], list[Task]] = {}
        self._began: dict[tuple[Path, int, int], list[str]] = {}
        self._evaluations = self._trainings = 0

    # -- time ----------------------------------------------------------------------------------------------------

    def advance(self, until: float) -> None:
        """Let time pass."""
        self.acting, before = True, self.acting
        while self._due and self._due[0][0] <= until:
            self.now, _, act = heapq.heappop(self._due)
            act()
        self.acting = before
        self.now = max(self.now, until)

    def at(self, when: float, act: Callable[[], None]) -> None:
        """Have something done when its time comes."""
        heapq.heappush(self._due, (when, next(self._order), act))

    @property
    def next_due(self) -> float | None:
        return self._due[0][0] if self._due else None

    def chance(self, *key: object) -> float:
        """Fixed by the study's seed and the place."""
        return unit(self.seed, *key)

    # -- jobs ----------------------------------------------------------------------------------------------------

    def submit(self, job: Mapping[str, object], indices: Iterable[int]) -> Job:
        """Take an array into the queue."""
        made = Job(id=next(self._ids), submitted=self.now, **job)  # type: ignore[arg-type]
        self.jobs[made.id] = made
        self._evaluations += made.kind == "eval"
        self._trainings += made.kind == "train"
        for index in indices:
            task = Task(job=made, index=index)
            task.fault = self._fault_of(task)
            made.tasks.append(task)
            self._queue(task)
        return made

    def _fault_of(self, task: Task) -> Fault | None:
        if task.job.kind == "eval":
            return self.evals.get(self._evaluations)
        if (broken := self._arrays.get(self._trainings)) is not None:
            return broken
        return self.rows.get((tasks.round_of(task.job.folder), task.item, task.job.attempt))

    def _queue(self, task: Task, wait_s: float = 0.0) -> None:
        run = Run(submitted=self.now)
        task.runs.append(run)
        self._tell(run)
        wait = wait_s + 5 + 30 * self.chance("wait", task.id, task.restarts)
        if task.fault is not None and task.fault.what == "held" and not task.restarts:
            self.note(task)
            task.reason = "JobHeldUser"
            wait += 900
        self.at(self.now + wait, lambda: self._start(task, run))

    def _start(self, task: Task, run: Run) -> None:
        if run is not task.run or run.ended is not None:
            return
        if any(other.active for job in task.job.after if job in self.jobs for other in self.jobs[job].tasks):
            task.reason = "Dependency"
            self._waiting.append((task, run))
            return
        run.began, run.raw = self.now, "RUNNING"
        run.node = NODES[int(3 * self.chance("node", task.id, task.restarts))]
        self._tell(run)
        tasks.start(self, task)

    def end(self, task: Task, run: Run, raw: str, exit_code: str = "0:0") -> None:
        """A run is over, however it ended; nothing when it was over before."""
        if run.ended is not None:
            return
        self.stops_training(task)
        run.ended, run.raw, run.exit_code = self.now, raw, exit_code
        self._tell(run)
        waiting, self._waiting = self._waiting, []
        for other, its in waiting:
            self.at(self.now + 5, functools.partial(self._start, other, its))

    def requeue(self, task: Task, run: Run, raw: str) -> None:
        """The scheduler starts the same task again, a while later."""
        if run.ended is None:
            self.end(task, run, raw)
            task.restarts += 1
            self._queue(task, wait_s=120)

    def cancel(self, task: Task, by: int) -> None:
        """scancel: a pending task is gone at once, a running one stops within seconds."""
        run = task.run
        if run.ended is not None:
            return
        if run.began is None:
            self.end(task, run, f"CANCELLED by {by}")
        else:
            self.at(self.now + 2, lambda: tasks.stop(self, task, run, f"CANCELLED by {by}"))

    def _tell(self, run: Run) -> None:
        """What accounting comes to know, a while later."""
        run.told.append((self.now + self.lag_s, run.raw, run.ended))

    # -- what tasks report ---------------------------------------------------------------------------------------

    def note(self, task: Task) -> None:
        """A fault has struck."""
        if task.fault is not None:
            self.befallen[f"{task.fault.where} {task.fault.what}"] += 1

    def trains(self, task: Task, attempt: int) -> None:
        """A task begins to train its row."""
        task.claimed = attempt
        place = (task.job.folder, task.item)
        living = self._training.setdefault(place, [])
        if living:
            others = [other.id for other in living]
            self.wrong.append(
                f"two trainings of one row at a time: {place[0].name} row {place[1]}: {others}, {task.id}"
            )
        living.append(task)
        known = self._began.setdefault((*place, attempt), [])
        if task.id in known and not task.restarts:
            self.wrong.append(f"{task.id} began attempt {attempt} of row {place[1]} twice")
        if set(known) - {task.id}:
            self.wrong.append(f"attempt {attempt} of {place[0].name} row {place[1]} begun by {known} and {task.id}")
        known.append(task.id)

    def stops_training(self, task: Task) -> None:
        task.claimed = None
        living = self._training.get((task.job.folder, task.item), [])
        if task in living:
            living.remove(task)

    def living(self) -> list[Task]:
        """Every task that waits or runs."""
        return [task for job in self.jobs.values() for task in job.tasks if task.active]
