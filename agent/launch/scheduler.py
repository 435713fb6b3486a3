"""The one reader of SLURM's state, shared by the sbatch and submitit launchers.

Active tasks come from squeue, ended ones from sacct; `reconcile` says how each stands. However many tasks there are,
one query of each per interval.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.errors import SchedulerUnavailable
from agent.launch.accounting import Usage, usage_by_task
from agent.launch.base import LaunchSettings, State, Submission, TaskStatus, say_on_stderr
from agent.launch.commands import CommandTimeout, Reply, Run, run
from agent.launch.environment import for_queries
from agent.launch.reconcile import CLOCK_TOLERANCE_S, Absences, Key, reconcile
from agent.launch.states import (
    SACCT_FORMAT,
    SQUEUE_FORMAT,
    Record,
    array_limits,
    compact,
    format_time,
    parse_config,
    parse_sacct,
    parse_squeue,
    state_of,
)

#: How far back a job is looked for by its name alone.
FIND_WINDOW_S = 30 * 86400.0

#: The key of accounting among what is missing; a task's has a space.
_ACCOUNTING = "accounting"
#: What is known of a task whose submission was made less than an interval ago.
_JUST_MADE = TaskStatus(state=State.PENDING)
_ALREADY_GONE = ("Invalid job id", "already completing or completed", "Job/step already")


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often SLURM is asked, and how long a missing task is waited for. Seconds."""

    interval_s: float = 60.0
    """At most one query in this time; up to three times as long while the controller does not answer."""
    lost_after_s: float = 120.0
    """A task absent from squeue and sacct this long counts as lost."""
    unaccounted_after_s: float = 30.0
    """The same on a cluster without accounting, where squeue forgets ended tasks after MinJobAge."""
    timeout_s: float = 120.0
    """For one squeue, sacct, scancel or scontrol."""


def reader_of(settings: LaunchSettings) -> SlurmReader:
    """The reader of a study's launcher."""
    pace = Pace(interval_s=settings.poll_s)
    return SlurmReader(pace, memory=settings.memory, cluster=settings.cluster, say=settings.say)


class SlurmReader:
    """Asks squeue and sacct, and remembers since when a task is missing and since when accounting does not answer.

    memory: a file for that (reconcile.Absences). cluster: where jobs are whose submission names no cluster; None: the
    one of slurm.conf. say: told what a person should know and no error says. programs: what runs SLURM's programs.
    """

    def __init__(
        self,
        pace: Pace | None = None,
        *,
        memory: Path | None = None,
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
        cluster: str | None = None,
        say: Callable[[str], None] = say_on_stderr,
        programs: Run = run,
    ) -> None:
        self.pace = pace or Pace()
        self.cluster = cluster
        self.say = say
        self._environment = environment
        self._clock = clock
        self._programs = programs
        self._absences = Absences(memory, say)
        self._known: dict[Key, TaskStatus] = {}
        self._names: frozenset[str] = frozenset()
        self._next_query = 0.0
        self._failures = 0
        self._trouble = ""
        self._config: dict[str, str] | None = None
        self._usage: dict[Key, Usage] = {}
        self._unknown: set[str] = set()
        self._owed: dict[str, Submission] = {}
        self._next_sacct = 0.0
        self._made: dict[str, float] = {}

    # --- asking ---

    def run(self, *argv: str) -> Reply:
        """One of SLURM's programs. Raises SchedulerUnavailable on a time-out."""
        environment = os.environ if self._environment is None else self._environment
        try:
            return self._programs(argv, timeout_s=self.pace.timeout_s, environment=for_queries(environment))
        except CommandTimeout as error:
            raise SchedulerUnavailable(f"{error}; ask again later") from error

    def _ask(self, cluster: str, program: str, *argv: str) -> str:
        """The program's output. Raises SchedulerUnavailable where it fails or does not answer."""
        reply = self.run(program, *_on(cluster), *argv)
        if reply.code:
            raise SchedulerUnavailable(f"{program} failed: {reply.words}; ask again later")
        return reply.out

    def _queue(self, cluster: str, *which: str) -> list[Record]:
        """What squeue shows of some jobs. Raises SchedulerUnavailable."""
        return parse_squeue(self._ask(cluster, "squeue", "-r", "-h", "-t", "all", *which, "-o", SQUEUE_FORMAT))

    def _named(self, cluster: str, name: str) -> list[Record]:
        """What squeue shows of the person's jobs of this name. Raises SchedulerUnavailable."""
        found = self._queue(cluster, "-u", str(os.getuid()), "--name", name)
        return [record for record in found if record.name == name]

    def _scancel(self, cluster: str, *argv: str) -> None:
        """Raises SchedulerUnavailable; jobs that are gone already are no error."""
        reply = self.run("scancel", *_on(cluster), *argv)
        if reply.code and not any(word in reply.words for word in _ALREADY_GONE):
            raise SchedulerUnavailable(f"scancel failed: {reply.words}; ask again later")

    def _of(self, submission: Submission) -> str:
        """The cluster that a submission is on; empty for the one of slurm.conf."""
        return submission.cluster or self.cluster or ""

    def _clusters(self, submissions: Iterable[Submission]) -> list[str]:
        return sorted({self._of(submission) for submission in submissions})

    def note_made(self, name: str) -> None:
        """A submission of this name was made just now: until `interval_s` have passed it is pending, unasked."""
        self._made[name] = self._clock()

    def poll(self, submissions: Sequence[Submission]) -> dict[Key, TaskStatus]:
        """The status of every task, at most `interval_s` old; submissions not asked about before are asked at once,
        but for those just made.

        Raises SchedulerUnavailable when squeue does not answer, and again without asking until the next query is due.
        """
        now = self._clock()
        asked = frozenset(submission.name for submission in submissions) - self._fresh(now)
        # A clock that went back must not silence the reader until it catches up.
        due = now >= self._next_query or now < self._next_query - 3 * self.pace.interval_s
        if asked and (due or (not self._trouble and not asked <= self._names)):
            self._query(submissions, now)
        if self._trouble and asked:
            raise SchedulerUnavailable(self._trouble)
        keys = ((s.name, item) for s in submissions for item in s.items)
        return {key: self._known.get(key, _JUST_MADE) for key in keys}

    def _fresh(self, now: float) -> set[str]:
        """Names of submissions that were made less than an interval ago."""
        self._made = {name: at for name, at in self._made.items() if 0 <= now - at < self.pace.interval_s}
        return set(self._made)

    def _query(self, submissions: Sequence[Submission], now: float) -> None:
        try:
            known: dict[Key, TaskStatus] = {}
            for cluster in self._clusters(submissions):
                group = [s for s in submissions if self._of(s) == cluster]
                owed = [s for s in self._owed.values() if self._of(s) == cluster and s not in group]
                # By name, not by id: squeue -j fails with rc 1 as soon as a single asked id is gone.
                queue = self._queue(cluster, "--name", ",".join(sorted({s.name for s in group})))
                history, patience = self._ask_sacct([*group, *owed], cluster)
                self._account([*group, *owed], history, now)
                self._tell_unknown([*queue, *history])
                known |= reconcile(
                    group,
                    queue,
                    history,
                    before=self._known,
                    absences=self._absences,
                    patience_s=patience,
                    now=now,
                )
        except SchedulerUnavailable as error:
            self._failures += 1
            self._trouble = str(error)
            self._next_query = now + self.pace.interval_s * min(1 + self._failures, 3)
            return
        self._failures, self._trouble = 0, ""
        self._next_query = now + self.pace.interval_s
        self._known, self._names = known, frozenset(s.name for s in submissions)
        self._absences.save()

    def _tell_unknown(self, records: Iterable[Record]) -> None:
        """Words of SLURM that are no state known here, each once."""
        new = {record.raw for record in records if state_of(record.raw) is State.UNKNOWN} - self._unknown
        self._unknown |= new
        for raw in sorted(new):
            self.say(f"unknown SLURM state {raw!r}: treated as not finished")

    def _ask_sacct(self, submissions: Sequence[Submission], cluster: str) -> tuple[list[Record], float]:
        """Records, and how long an absent task is waited for given how sacct answered."""
        ids = ",".join(sorted({s.job_id for s in submissions}))
        since = format_time(min(s.submitted_at for s in submissions) - CLOCK_TOLERANCE_S)
        argv = ["sacct", *_on(cluster), "-n", "-P", "-D", "-S", since, "-j", ids, f"--format={SACCT_FORMAT}"]
        try:
            reply = self.run(*argv)
        except SchedulerUnavailable as error:
            self._without_accounting(str(error))
            return [], self.pace.lost_after_s
        if reply.code == 0:
            if self._absences.end(_ACCOUNTING):
                self.say("accounting answers again")
                self._absences.save()
            return parse_sacct(reply.out), self.pace.lost_after_s
        if no_accounting(reply):
            return [], self.pace.unaccounted_after_s
        self._without_accounting(f"sacct: {reply.words}")
        return [], self.pace.lost_after_s

    def _without_accounting(self, why: str) -> None:
        """Said once for as long as it lasts, not at every look, be each look a process of its own (cron)."""
        if _ACCOUNTING not in self._absences:
            self.say(f"no accounting now, so only squeue and results tell how rows stand: {why}")
            self._absences.since(_ACCOUNTING, self._clock())
            self._absences.save()

    # --- hours ---

    def elapsed(self, submissions: Sequence[Submission], *, ask: bool = True) -> dict[Key, float]:
        """Seconds of all runs of each ended task that accounting knows: from the last query, else from one more.

        Not asked within `interval_s` of the last sacct, and where not `ask` with the next poll's question. Raises
        SchedulerUnavailable where it does not answer.
        """
        missing = [s for s in submissions if any((s.name, item) not in self._usage for item in s.items)]
        self._owed = {s.name: s for s in missing}
        now = self._clock()
        fresh = self._fresh(now)
        missing = [s for s in missing if ask and s.name not in fresh]
        due = now >= self._next_sacct or now < self._next_sacct - 3 * self.pace.interval_s
        for cluster in self._clusters(missing) if due else ():
            group = [s for s in missing if self._of(s) == cluster]
            self._account(group, self._ask_sacct(group, cluster)[0], now)
        keys = ((s.name, item) for s in submissions for item in s.items)
        return {key: self._usage[key].seconds for key in keys if key in self._usage}

    def held(self, submissions: Sequence[Submission]) -> dict[Key, Mapping[str, float]]:
        """CPU- and GPU-seconds that the tasks were allocated, as far as `elapsed` or `poll` heard of them last."""
        keys = ((s.name, item) for s in submissions for item in s.items)
        return {key: self._usage[key].held for key in keys if key in self._usage and self._usage[key].held}

    def _account(self, submissions: Sequence[Submission], history: Sequence[Record], now: float) -> None:
        self._next_sacct = now + self.pace.interval_s
        for key in ((s.name, item) for s in submissions for item in s.items):
            self._usage.pop(key, None)
        self._usage |= usage_by_task(submissions, history, tolerance_s=CLOCK_TOLERANCE_S)

    # --- by name, and the rest ---

    def find(self, name: str) -> tuple[str, str | None, float] | None:
        """Job id, cluster and Submit time (seconds since the epoch) of the job with this unique name, or None.

        The lowest id where there are several; the tasks' claims keep the others from doing anything.
        Raises SchedulerUnavailable when squeue, or existing accounting, does not answer: then nobody knows.
        """
        cluster, me = self.cluster or "", str(os.getuid())
        records = self._named(cluster, name)
        argv = ["sacct", *_on(cluster), "-u", me, "-n", "-P", "-D", "-S", format_time(self._clock() - FIND_WINDOW_S)]
        reply = self.run(*argv, "--name", name, f"--format={SACCT_FORMAT}")
        if reply.code == 0:
            records += parse_sacct(reply.out)
        elif not no_accounting(reply):
            raise SchedulerUnavailable(f"sacct failed: {reply.words}; ask again later")
        mine = [record for record in records if record.name == name and record.job.isdigit()]
        mine = [record for record in mine if not _refused_at_birth(record)]
        # One that was withdrawn after a refusal speaks only where there is no other.
        alive = [record for record in mine if state_of(record.raw) is not State.GONE or record.node]
        jobs = sorted({int(record.job) for record in alive or mine})
        if not jobs:
            return None
        if len(jobs) > 1:
            self.say(f"{name} was submitted {len(jobs)} times (jobs {jobs}); going on with {jobs[0]}")
        times = [r.submitted for r in records if r.job == str(jobs[0]) and r.submitted is not None]
        return str(jobs[0]), self.cluster, min(times, default=self._clock())

    def withdraw(self, name: str) -> list[str]:
        """Cancel what a refused submission left in the queue under its name; the jobs' ids.

        "Requested node configuration is not available" is said with return code 1, and a job with our name is there
        all the same: FAILED, BadConstraints [measured on 22.05, where it needs no cancelling], or held.
        Raises SchedulerUnavailable.
        """
        records = self._named(self.cluster or "", name)
        left = sorted({record.job for record in records if state_of(record.raw) is not State.GONE})
        if left:
            self._scancel(self.cluster or "", *left)
        return left

    def cancel(self, submissions: Sequence[Submission], *, items: Collection[int] | None = None) -> None:
        """scancel by id, and by name for a duplicate nobody has the id of; items: these tasks of each array alone.

        SLURM sends SIGTERM, and SIGKILL when KillWait (30 s unless the site chose otherwise) has passed.
        Raises SchedulerUnavailable when the controller does not answer. Tasks that are gone already are no error.
        """
        for cluster in self._clusters(submissions):
            group = [s for s in submissions if self._of(s) == cluster]
            if ids := self._ids(group, items, cluster):
                self._scancel(cluster, *ids)
            for name in sorted({s.name for s in group}) if items is None else ():
                self._scancel(cluster, "-u", str(os.getuid()), "-n", name)
        self._next_query = 0.0

    def _ids(self, submissions: Sequence[Submission], items: Collection[int] | None, cluster: str) -> list[str]:
        """What scancel is given: whole jobs, or "A_[0-3,7]" for some tasks of an array and of its duplicates."""
        if items is None:
            return sorted({s.job_id for s in submissions if s.job_id})
        wanted: dict[str, set[int]] = {}
        for submission in submissions:
            tasks = [t for i, t in zip(submission.items, submission.tasks, strict=True) if i in items]
            for job in [submission.job_id, *self._duplicates(submission, cluster)] if tasks else []:
                # A job that is no array has no index: it is cancelled whole.
                indices = {int(index) for _, _, index in (task.partition("_") for task in tasks) if index}
                wanted.setdefault(job, set()).update(indices)
        return [f"{job}_[{compact(indices)}]" if indices else job for job, indices in sorted(wanted.items())]

    def _duplicates(self, submission: Submission, cluster: str) -> set[str]:
        """Other jobs in the queue under this submission's name."""
        found = [record for record in self._named(cluster, submission.name) if state_of(record.raw) is not State.GONE]
        return {record.job for record in found} - {submission.job_id}

    def config(self) -> dict[str, str]:
        """`scontrol show config`, asked once: it changes only with the controller. Raises SchedulerUnavailable."""
        if self._config is None:
            self._config = parse_config(self._ask(self.cluster or "", "scontrol", "show", "config"))
        return self._config

    def largest_index(self) -> int | None:
        """MaxArraySize - 1: SLURM refuses an index equal to MaxArraySize. None where the controller does not say."""
        size, _ = array_limits(self.config())
        return size - 1 if size else None

    def most_tasks(self) -> int | None:
        """Most tasks of one array: MaxArraySize, or max_array_tasks if lower. Raises SchedulerUnavailable."""
        size, tasks = array_limits(self.config())
        return min((limit for limit in (size or None, tasks) if limit is not None), default=None)


def no_accounting(reply: Reply) -> bool:
    """Whether this cluster keeps no accounting at all, rather than not answering now."""
    return "accounting storage is disabled" in reply.words


def _refused_at_birth(record: Record) -> bool:
    """Whether a refused submission left this behind: it failed and never had a node, so nothing of it ran."""
    return record.raw.startswith("FAILED") and not record.node and not record.elapsed_s


def _on(cluster: str) -> tuple[str, ...]:
    return ("-M", cluster) if cluster else ()
