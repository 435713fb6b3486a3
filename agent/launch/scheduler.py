"""The one reader of SLURM's state, shared by the sbatch and submitit launchers.

Active tasks come from squeue, ended ones from sacct. A task in neither is not taken for done: its absence starts a
deadline, and only then it counts as lost. However many tasks there are, one query of each per interval.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from agent.errors import SchedulerUnavailable
from agent.launch.accounting import held_by_task, seconds_by_task
from agent.launch.base import State, Submission, TaskStatus
from agent.launch.commands import CommandTimeout, Reply, run
from agent.launch.environment import for_queries
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
from trainers.files import read_regular, write_atomic

_log = logging.getLogger(__name__)

#: Login node and controller may disagree about the time by this much before a Submit time proves an id reused.
CLOCK_TOLERANCE_S = 300.0
#: How far back a job is looked for by its name alone.
FIND_WINDOW_S = 30 * 86400.0

#: The key of accounting in a reader's memory; a task's has a space.
_ACCOUNTING = "accounting"

Key = tuple[str, int]


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


class SlurmReader:
    """Asks squeue and sacct, and remembers since when a task is missing and since when accounting does not answer.

    memory: a JSON file for that, so that ticks of a few seconds each (cron) reach the deadline too and say a trouble
    once; None keeps it in this process only. cluster: where jobs are whose submission names no cluster; None: the
    one of slurm.conf.
    """

    def __init__(
        self,
        pace: Pace | None = None,
        *,
        memory: Path | None = None,
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
        cluster: str | None = None,
    ) -> None:
        self.pace = pace or Pace()
        self.cluster = cluster
        self._memory = memory
        self._environment = environment
        self._clock = clock
        self._absent: dict[str, float] | None = None
        self._known: dict[Key, TaskStatus] = {}
        self._names: frozenset[str] = frozenset()
        self._next_query = 0.0
        self._failures = 0
        self._trouble = ""
        self._config: dict[str, str] | None = None
        self._seconds: dict[Key, float] = {}
        self._held: dict[Key, dict[str, float]] = {}
        self._owed: dict[str, Submission] = {}
        self._next_sacct = 0.0
        self._made: dict[str, float] = {}

    # --- asking ---

    def run(self, *argv: str) -> Reply:
        """One of SLURM's programs. Raises SchedulerUnavailable on a time-out."""
        environment = os.environ if self._environment is None else self._environment
        try:
            return run(argv, timeout_s=self.pace.timeout_s, environment=for_queries(environment))
        except CommandTimeout as error:
            raise SchedulerUnavailable(f"{error}; ask again later") from error

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
                queue = self._ask_squeue(group, cluster)
                history, patience = self._ask_sacct([*group, *owed], cluster)
                self._account([*group, *owed], history, now)
                known.update(self._reconcile(group, queue, history, patience, now))
        except SchedulerUnavailable as error:
            self._failures += 1
            self._trouble = str(error)
            self._next_query = now + self.pace.interval_s * min(1 + self._failures, 3)
            return
        self._failures, self._trouble = 0, ""
        self._next_query = now + self.pace.interval_s
        self._known, self._names = known, frozenset(s.name for s in submissions)
        self._remember()

    def _ask_squeue(self, submissions: Sequence[Submission], cluster: str) -> list[Record]:
        # By name, not by id: squeue -j fails with rc 1 as soon as a single asked id is gone.
        names = ",".join(sorted({s.name for s in submissions}))
        reply = self.run("squeue", *_on(cluster), "-r", "-h", "-t", "all", "--name", names, "-o", SQUEUE_FORMAT)
        if reply.code:
            raise SchedulerUnavailable(f"squeue failed: {reply.words}; ask again later")
        return parse_squeue(reply.out)

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
            if self._absences().pop(_ACCOUNTING, None) is not None:
                _log.warning("accounting answers again")
                self._remember()
            return parse_sacct(reply.out), self.pace.lost_after_s
        if no_accounting(reply):
            return [], self.pace.unaccounted_after_s
        self._without_accounting(f"sacct: {reply.words}")
        return [], self.pace.lost_after_s

    def _without_accounting(self, why: str) -> None:
        """Said once for as long as it lasts, not at every look, be each look a process of its own (cron)."""
        if _ACCOUNTING not in self._absences():
            _log.warning("no accounting now, so only squeue and results tell how rows stand: %s", why)
            self._absences()[_ACCOUNTING] = self._clock()
            self._remember()

    # --- reconciling ---

    def _reconcile(
        self,
        submissions: Sequence[Submission],
        queue: Iterable[Record],
        history: Iterable[Record],
        patience: float,
        now: float,
    ) -> dict[Key, TaskStatus]:
        active: dict[tuple[str, str], Record] = {}
        twins: dict[tuple[str, str], Record] = {}
        for record in queue:
            active[record.name, record.task] = record
            if state_of(record.raw) is not State.GONE:
                twins[record.name, _index(record.task)] = record
        past: dict[tuple[str, str], Record] = {}
        for record in history:
            key = (record.name, record.task)
            if key not in past or (record.submitted or 0) >= (past[key].submitted or 0):
                past[key] = record
        result: dict[Key, TaskStatus] = {}
        for submission in submissions:
            for item, task in zip(submission.items, submission.tasks, strict=True):
                # The unique name beside the id: SLURM reuses ids, and the other job must not speak for this one.
                shown = _ours(active.get((submission.name, task)), submission)
                ended = _ours(past.get((submission.name, task)), submission)
                status = self._judge((submission.name, item), shown, ended, patience, now)
                # An array that was submitted twice: whichever task came first has the row, and must have ended too.
                twin = _ours(twins.get((submission.name, _index(task))), submission)
                if twin is not None and status.state in (State.GONE, State.UNKNOWN):
                    status = _status(twin)
                result[submission.name, item] = status
        return result

    def _judge(self, key: Key, shown: Record | None, ended: Record | None, patience: float, now: float) -> TaskStatus:
        absences = self._absences()
        if shown is not None:
            absences.pop(_label(key), None)
            status = _status(shown)
            if status.state is State.GONE and ended is not None and state_of(ended.raw) is State.GONE:
                return _status(ended)  # the same end, with exit code and the steps' OUT_OF_MEMORY
            return status
        if ended is not None and state_of(ended.raw) is State.GONE:
            absences.pop(_label(key), None)
            return _status(ended)
        before = self._known.get(key)
        if before is not None and before.state is State.GONE:
            return before  # squeue showed its end and has forgotten it since
        since = min(absences.setdefault(_label(key), now), now)
        if now - since < patience:
            said = f"sacct says {ended.raw}" if ended else "in neither squeue nor sacct"
            return TaskStatus(state=State.UNKNOWN, raw=ended.raw if ended else "", reason=said)
        return TaskStatus(state=State.GONE, raw="LOST", reason=f"missing from SLURM for {now - since:.0f} s")

    def _absences(self) -> dict[str, float]:
        """Since when each missing task is missing (seconds since the epoch), keyed by name and item; accounting that
        does not answer stands among them as `_ACCOUNTING`."""
        if self._absent is None:
            self._absent = {}
            if self._memory is not None:
                try:
                    stored = json.loads(read_regular(self._memory))
                    self._absent = {str(key): float(value) for key, value in stored.items()}
                except (OSError, ValueError, AttributeError, TypeError):
                    pass  # not there yet, or torn: the deadlines begin anew, which only costs time
        return self._absent

    def _remember(self) -> None:
        if self._memory is None or (not self._absences() and not self._memory.exists()):
            return
        text = json.dumps(self._absences(), sort_keys=True)
        try:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._memory, text, sync=False)
        except OSError as error:
            _log.warning("cannot remember which tasks are missing in %s: %s", self._memory, error)

    # --- hours ---

    def elapsed(self, submissions: Sequence[Submission], *, ask: bool = True) -> dict[Key, float]:
        """Seconds of all runs of each ended task that accounting knows: from the last query, else from one more.

        Not asked within `interval_s` of the last sacct, and where not `ask` with the next poll's question. Raises
        SchedulerUnavailable where it does not answer.
        """
        missing = [s for s in submissions if any((s.name, item) not in self._seconds for item in s.items)]
        self._owed = {s.name: s for s in missing}
        now = self._clock()
        fresh = self._fresh(now)
        missing = [s for s in missing if ask and s.name not in fresh]
        due = now >= self._next_sacct or now < self._next_sacct - 3 * self.pace.interval_s
        for cluster in self._clusters(missing) if due else ():
            group = [s for s in missing if self._of(s) == cluster]
            self._account(group, self._ask_sacct(group, cluster)[0], now)
        keys = ((s.name, item) for s in submissions for item in s.items)
        return {key: self._seconds[key] for key in keys if key in self._seconds}

    def held(self, submissions: Sequence[Submission]) -> dict[Key, dict[str, float]]:
        """CPU- and GPU-seconds that the tasks were allocated, as far as `elapsed` or `poll` heard of them last."""
        keys = ((s.name, item) for s in submissions for item in s.items)
        return {key: self._held[key] for key in keys if key in self._held}

    def _account(self, submissions: Sequence[Submission], history: Sequence[Record], now: float) -> None:
        self._next_sacct = now + self.pace.interval_s
        for submission in submissions:
            for item in submission.items:
                self._seconds.pop((submission.name, item), None)
                self._held.pop((submission.name, item), None)
        self._seconds.update(seconds_by_task(submissions, history, tolerance_s=CLOCK_TOLERANCE_S))
        self._held.update(held_by_task(submissions, history, tolerance_s=CLOCK_TOLERANCE_S))

    # --- by name, and the rest ---

    def find(self, name: str) -> tuple[str, str | None, float] | None:
        """Job id, cluster and Submit time (seconds since the epoch) of the job with this unique name, or None.

        The lowest id where there are several; the tasks' claims keep the others from doing anything.
        Raises SchedulerUnavailable when squeue, or existing accounting, does not answer: then nobody knows.
        """
        me, on = str(os.getuid()), _on(self.cluster or "")
        reply = self.run("squeue", *on, "-u", me, "-r", "-h", "-t", "all", "--name", name, "-o", SQUEUE_FORMAT)
        if reply.code:
            raise SchedulerUnavailable(f"squeue failed: {reply.words}; ask again later")
        records = parse_squeue(reply.out)
        argv = ["sacct", *on, "-u", me, "-n", "-P", "-D", "-S", format_time(self._clock() - FIND_WINDOW_S)]
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
            _log.warning("%s was submitted %d times (jobs %s); going on with %d", name, len(jobs), jobs, jobs[0])
        times = [r.submitted for r in records if r.job == str(jobs[0]) and r.submitted is not None]
        return str(jobs[0]), self.cluster, min(times, default=self._clock())

    def withdraw(self, name: str) -> list[str]:
        """Cancel what a refused submission left in the queue under its name; the jobs' ids.

        "Requested node configuration is not available" is said with return code 1, and a job with our name is there
        all the same: FAILED, BadConstraints [measured on 22.05, where it needs no cancelling], or held.
        Raises SchedulerUnavailable.
        """
        me, on = str(os.getuid()), _on(self.cluster or "")
        reply = self.run("squeue", *on, "-u", me, "-r", "-h", "-t", "all", "--name", name, "-o", SQUEUE_FORMAT)
        if reply.code:
            raise SchedulerUnavailable(f"squeue failed: {reply.words}; ask again later")
        records = [record for record in parse_squeue(reply.out) if record.name == name]
        left = sorted({record.job for record in records if state_of(record.raw) is not State.GONE})
        if left:
            reply = self.run("scancel", *on, *left)
            if reply.code and not any(word in reply.words for word in _ALREADY_GONE):
                raise SchedulerUnavailable(f"scancel failed: {reply.words}; ask again later")
        return left

    def cancel(self, submissions: Sequence[Submission], *, items: Collection[int] | None = None) -> None:
        """scancel by id, and by name for a duplicate nobody has the id of; items: these tasks of each array alone.

        SLURM sends SIGTERM, and SIGKILL when KillWait (30 s unless the site chose otherwise) has passed.
        Raises SchedulerUnavailable when the controller does not answer. Tasks that are gone already are no error.
        """
        for cluster in self._clusters(submissions):
            group = [s for s in submissions if self._of(s) == cluster]
            replies = []
            if ids := self._ids(group, items, cluster):
                replies.append(self.run("scancel", *_on(cluster), *ids))
            if items is None:
                replies += [
                    self.run("scancel", *_on(cluster), "-u", str(os.getuid()), "-n", name)
                    for name in sorted({s.name for s in group})
                ]
            for reply in replies:
                if reply.code and not any(word in reply.words for word in _ALREADY_GONE):
                    raise SchedulerUnavailable(f"scancel failed: {reply.words}; ask again later")
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
        argv = ("-u", str(os.getuid()), "-r", "-h", "--name", submission.name, "-o", SQUEUE_FORMAT)
        reply = self.run("squeue", *_on(cluster), *argv)
        if reply.code:
            raise SchedulerUnavailable(f"squeue failed: {reply.words}; ask again later")
        return {record.job for record in parse_squeue(reply.out)} - {submission.job_id}

    def config(self) -> dict[str, str]:
        """`scontrol show config`, asked once: it changes only with the controller. Raises SchedulerUnavailable."""
        if self._config is None:
            reply = self.run("scontrol", *_on(self.cluster or ""), "show", "config")
            if reply.code:
                raise SchedulerUnavailable(f"scontrol failed: {reply.words}; ask again later")
            self._config = parse_config(reply.out)
        return self._config

    def largest_index(self) -> int | None:
        """MaxArraySize - 1: SLURM refuses an index equal to MaxArraySize. None where the controller does not say."""
        size, _ = array_limits(self.config())
        return size - 1 if size else None

    def most_tasks(self) -> int | None:
        """Most tasks of one array: MaxArraySize, or max_array_tasks if lower. Raises SchedulerUnavailable."""
        size, tasks = array_limits(self.config())
        return min((limit for limit in (size or None, tasks) if limit is not None), default=None)


#: What is known of a task whose submission was made less than an interval ago.
_JUST_MADE = TaskStatus(state=State.PENDING)
_ALREADY_GONE = ("Invalid job id", "already completing or completed", "Job/step already")


def no_accounting(reply: Reply) -> bool:
    """Whether this cluster keeps no accounting at all, rather than not answering now."""
    return "accounting storage is disabled" in reply.words


def _refused_at_birth(record: Record) -> bool:
    """Whether a refused submission left this behind: it failed and never had a node, so nothing of it ran."""
    return record.raw.startswith("FAILED") and not record.node and not record.elapsed_s


def _on(cluster: str) -> tuple[str, ...]:
    return ("-M", cluster) if cluster else ()


def _index(task: str) -> str:
    """The array index of "123_4"; empty for a job that is no array."""
    return task.partition("_")[2]


def _label(key: Key) -> str:
    return f"{key[0]} {key[1]}"


def _ours(record: Record | None, submission: Submission) -> Record | None:
    if record is None or record.submitted is None:
        return record
    return record if record.submitted >= submission.submitted_at - CLOCK_TOLERANCE_S else None


def _status(record: Record) -> TaskStatus:
    status = TaskStatus(
        state=state_of(record.raw),
        raw=record.raw,
        exit_code=record.exit_code,
        node=record.node,
        elapsed_s=record.elapsed_s,
        ended=record.ended,
    )
    if status.state is State.PENDING:
        return replace(status, reason=record.reason)
    if status.state is State.UNKNOWN:
        return replace(status, reason="a SLURM state this version does not know")
    return status
