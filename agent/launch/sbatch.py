"""Submits the rendered .slurm itself. What sbatch answers is sorted into refused, later, and nobody knows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from agent.errors import (
    AmbiguousSubmission,
    LaunchError,
    SchedulerUnavailable,
    SubmissionRefused,
    SubmitLimit,
    UsageError,
)
from agent.launch.base import Batch, LaunchSettings, Submission, TaskStatus
from agent.launch.catalogue import capabilities_of
from agent.launch.commands import CommandTimeout, Reply, Run, run
from agent.launch.environment import scrub
from agent.launch.logs import sbatch_pattern
from agent.launch.scheduler import SlurmReader, reader_of
from agent.launch.states import compact, offset_for, parse_submission

#: sbatch retries inside for up to 120 s; killing it earlier only makes more submissions ambiguous.
SUBMIT_TIMEOUT_S = 180.0

#: What each submission adds; in the settings it would cut the tie between a task and its row or its log.
MANAGED = (
    "array",
    "chdir",
    "dependency",
    "error",
    "export",
    "input",
    "job-name",
    "output",
    "parsable",
    "test-only",
    "wait",
    "wrap",
)


#: Nothing was sent: sbatch failed before it could talk to the controller.
_NOT_SENT = ("Could not establish a configuration source", "Munge encode failed", "fetch_config:")
#: Limits on how many jobs a person, account or QOS may have in the queue (squeue(1), "JOB REASON CODES").
_OWN_LIMITS = ("MaxSubmitJob", "GrpSubmitJob", "MaxSubmitPA")
#: The whole queue is full (MaxJobCount in slurm.conf).
_QUEUE_FULL = ("MaxJobCount", "Resource temporarily unavailable", "temporarily unable to accept job")
#: The request, or its answer, may have been lost on the way. Measured: with slurmctld frozen, sbatch prints
#: "Socket timed out" after 10 s and the job runs later.
_LOST = (
    "Socket timed out",
    "Unable to contact slurm controller",
    "Zero Bytes were transmitted",
    "Connection refused",
    "Connection reset",
    "Connection timed out",
    "Communication connection failure",
    "connect failure",
    "Unexpected message received",
    "Transport endpoint",
    "Message send failure",
    "Message receive failure",
    "standby mode",
    "Broken pipe",
)
#: How sbatch introduces an answer of the controller, or its own complaint about an option.
_REFUSED = (
    "submission failed:",
    "allocation failure:",
    "invalid option",
    "unrecognized option",
    "Invalid ",
    "Unable to open",
    "known by database",
    "Requested reservation is invalid",
    "mutually exclusive",
)
#: How sbatch words it that no node offers what is asked for, or none of those that do is in use; and that less of it
#: might be taken.
_NO_NODE = "node configuration"
_TOO_MUCH = (_NO_NODE, "Memory specification", "time limit")
#: Of these answers of --test-only no waiting, and no node that comes back, makes another one.
_FOR_GOOD = (
    "Invalid ",
    "invalid option",
    "unrecognized option",
    "known by database",
    "Requested reservation is invalid",
    "time limit is invalid",
    "Memory specification",
    "mutually exclusive",
    "did not request any GPU",
    "not permitted to use this partition",
    "More processors requested than permitted",
)
#: Said of a site's own wrapper around sbatch, not of what it was asked about.
_NO_TEST = ("test-only", "Invalid job id", "Invalid user id")

#: Longest wait for an answer to --test-only; a submission may take longer.
TEST_TIMEOUT_S = 60.0

_REMEDIES = {
    "known by database": "list the clusters with `sacctmgr list clusters` and set `cluster` in the cluster profile",
    "mem_per_tres": "set `gpus`, or `mem` in place of `mem-per-gpu`, in the cluster profile",
    "reservation": "list the reservations with `scontrol show reservation` and set `extra: {reservation: NAME}`",
    "accounting/QOS policy": "a limit of your account or QOS: ask for less in the cluster profile, or set `qos`",
    # Before the partition: "Invalid account or account/partition combination specified" names both.
    "account": "list your accounts with `sacctmgr show assoc user=$USER` and set `account` in the cluster profile",
    "partition": "list the partitions with sinfo and set `partition` in the cluster profile",
    "qos": "list your QOS with `sacctmgr show assoc user=$USER format=qos` and set `qos` in the cluster profile",
    "generic resource": "`sinfo -o '%N %G'` shows what nodes offer; set `gres` or `gpus` in the cluster profile",
    "time limit": "lower `time` in the cluster profile; `sinfo -o '%P %l'` shows each partition's limit",
    "array": "fewer rows per array: `scontrol show config | grep -i array` shows the limits",
    "node configuration": "ask for less (cpus, mem, gpus) in the cluster profile; `sinfo -Nl` shows the nodes",
    "Memory specification": "lower `mem` in the cluster profile; `sinfo -Nl` shows the nodes",
    "feature": "set another `constraint` in the cluster profile; `sinfo -o '%N %f'` shows the features",
}


def refusal(reply: Reply, name: str) -> LaunchError:
    """The error that a failed sbatch stands for.

    What is not clearly an answer of the controller is ambiguous, so that it is looked up before any second try.
    """
    words = reply.words
    # Killed, maybe while it asked a full queue again by itself: its last try may be the one that was taken, or lost.
    killed = reply.code < 0 or reply.code > 128
    lost = killed or any(phrase in words for phrase in _LOST)
    own = any(phrase in words for phrase in _OWN_LIMITS)
    if not lost and (own or any(phrase in words for phrase in _QUEUE_FULL)):
        whose = "jobs of yours" if own else "jobs"
        return SubmitLimit(f"the cluster takes no more {whose} now: {words}; waiting until some have ended", own=own)
    if any(phrase in words for phrase in _NOT_SENT):
        return SchedulerUnavailable(f"sbatch could not reach SLURM: {words}; nothing was submitted, ask again later")
    if not lost and any(phrase in words for phrase in _REFUSED):
        remedy = next((text for word, text in _REMEDIES.items() if word.lower() in words.lower()), "")
        return SubmissionRefused(
            f"sbatch refused {name}: {words}" + (f" ({remedy})" if remedy else ""),
            remedy=remedy,
            no_node=_NO_NODE in words,
            too_much=any(phrase in words for phrase in _TOO_MUCH),
            for_good=any(p in words for p in _FOR_GOOD) and not any(p in words for p in _NO_TEST),
        )
    return AmbiguousSubmission(
        f"sbatch failed and may have submitted {name} all the same: {words}; it is looked up by its name first",
        name=name,
    )


def withdrawn(error: LaunchError, name: str, reader: SlurmReader) -> LaunchError:
    """The error, once nothing is left in the queue of a submission that was refused for what no node offers.

    Where nobody can tell it is ambiguous: the job is looked up by its name before any second try.
    """
    if not (isinstance(error, SubmissionRefused) and error.no_node):
        return error
    try:
        left = reader.withdraw(name)
    except SchedulerUnavailable as trouble:
        return AmbiguousSubmission(f"{error}; whether a job was left behind is not known: {trouble}", name=name)
    if left:
        error.args = (f"{error}; SLURM kept job {', '.join(left)} all the same: cancelled",)
    return error


def from_settings(settings: LaunchSettings) -> SbatchLauncher:
    """The launcher of a study."""
    return SbatchLauncher(reader_of(settings), environment=settings.environment)


class SbatchLauncher:
    """`sbatch --array` on the round's .slurm. Tasks start in the round's folder, logs go to its logs/."""

    name = "sbatch"
    capabilities = capabilities_of(name)

    def __init__(
        self,
        reader: SlurmReader | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        submit_timeout_s: float = SUBMIT_TIMEOUT_S,
        clock: Callable[[], float] = time.time,
        programs: Run = run,
    ) -> None:
        self._reader = reader or SlurmReader(environment=environment)
        self._environment = environment
        self._submit_timeout_s = submit_timeout_s
        self._clock = clock
        self._programs = programs

    def submit(self, batch: Batch) -> Submission:
        offset = self._offset(batch)
        argv = self.command(batch)
        (batch.round_dir / "logs").mkdir(parents=True, exist_ok=True)
        environment = scrub(os.environ if self._environment is None else self._environment)
        before = self._clock()
        try:
            reply = self._programs(argv, timeout_s=self._submit_timeout_s, environment=environment)
        except CommandTimeout as error:
            raise AmbiguousSubmission(
                f"{error}; {batch.name} may have been submitted: it is looked up by its name first", name=batch.name
            ) from error
        if reply.code:
            raise withdrawn(refusal(reply, batch.name), batch.name, self._reader)
        parsed = parse_submission(reply.out)
        if parsed is None:
            said = f"sbatch took {batch.name} but printed no job id: {reply.words}"
            raise AmbiguousSubmission(said, name=batch.name)
        self._reader.note_made(batch.name)
        return _submission(batch, offset, parsed[0], parsed[1] or self._reader.cluster, before)

    def command(self, batch: Batch) -> list[str]:
        """The sbatch command line.

        Every directive stands there although the script holds it too: on the command line it beats SBATCH_*
        variables that a site's wrapper may set.
        """
        offset = self._offset(batch)
        array = compact(item - offset for item in batch.items)
        throttle = f"%{batch.parallel}" if batch.parallel is not None else ""
        argv = ["sbatch", "--parsable", *_directives(batch)]
        argv += [f"--job-name={batch.name}", f"--array={array}{throttle}", "--export=ALL"]
        argv += [f"--chdir={batch.round_dir}", f"--output={sbatch_pattern(batch.round_dir)}"]
        if batch.after:
            argv.append(f"--dependency={dependency(batch.after)}")
        return [*argv, str(batch.array_script), str(offset), str(batch.attempt)]

    def _offset(self, batch: Batch) -> int:
        # Index 0 fits any cluster; else MaxArraySize (1001 unless the site chose otherwise) is asked for once.
        return offset_for(batch.items, self.largest_index()) if batch.items[-1] > 0 else 0

    def find(self, batch: Batch) -> Submission | None:
        found = self._reader.find(batch.name)
        return _submission(batch, self._offset(batch), *found) if found else None

    def poll(self, submissions: Sequence[Submission]) -> Mapping[tuple[str, int], TaskStatus]:
        return self._reader.poll(submissions)

    def cancel(self, submissions: Sequence[Submission], *, items: Collection[int] | None = None) -> None:
        self._reader.cancel(submissions, items=items)

    def largest_index(self) -> int | None:
        return self._reader.largest_index()

    def elapsed(self, submissions: Sequence[Submission], *, ask: bool = True) -> Mapping[tuple[str, int], float]:
        return self._reader.elapsed(submissions, ask=ask)

    def held(self, submissions: Sequence[Submission]) -> Mapping[tuple[str, int], Mapping[str, float]]:
        return self._reader.held(submissions)

    def test_only(self, batch: Batch) -> str | None:
        # The very line of a submission, so that what is refused here would be refused there.
        argv = self.command(batch)
        argv = [argv[0], "--test-only", *argv[1:]]
        environment = scrub(os.environ if self._environment is None else self._environment)
        try:
            reply = self._programs(
                argv, timeout_s=min(self._submit_timeout_s, TEST_TIMEOUT_S), environment=environment
            )
        except CommandTimeout as error:
            raise SchedulerUnavailable(f"{error}; ask again later") from error
        if reply.code == 0:
            return reply.words.removeprefix("sbatch: ")
        refused = refusal(reply, batch.array_script.name)
        if isinstance(refused, AmbiguousSubmission):
            # Nothing can have been submitted by a test.
            raise SchedulerUnavailable(f"sbatch --test-only failed: {reply.words}; ask again later")
        raise refused


def _submission(batch: Batch, offset: int, job: str, cluster: str | None, at: float) -> Submission:
    return Submission(
        launcher="sbatch",
        name=batch.name,
        job_id=job,
        items=batch.items,
        tasks=tuple(f"{job}_{item - offset}" for item in batch.items),
        cluster=cluster,
        submitted_at=at,
    )


def dependency(after: Sequence[Submission]) -> str:
    """afterany: measured, afterok starts at once on a purged id and waits for ever on a failed one."""
    strangers = sorted({s.launcher for s in after} - {"sbatch", "submitit"})
    if strangers:
        raise UsageError(
            f"a SLURM job cannot wait for work started by {', '.join(strangers)}: keep to one launcher within a round"
        )
    return "afterany:" + ":".join(sorted({s.job_id for s in after}, key=int))


def checked_directives(batch: Batch) -> tuple[tuple[str, str | None], ...]:
    """The batch's directives, with --no-requeue (retries have one owner) and appended logs unless they say otherwise.

    Raises UsageError for a directive that Roundtable sets itself.
    """
    given = batch.settings.directives
    managed = [name for name, _ in given if name in MANAGED]
    if managed:
        raise UsageError(
            f"the settings hold {', '.join(managed)}, which each submission sets itself: take it out"
            f" (set by submissions: {', '.join(MANAGED)})"
        )
    names = {name for name, _ in given}
    if not names & {"requeue", "no-requeue"}:
        given = (*given, ("no-requeue", None))
    return given if "open-mode" in names else (*given, ("open-mode", "append"))


def _directives(batch: Batch) -> list[str]:
    return [f"--{name}" if value is None else f"--{name}={value}" for name, value in checked_directives(batch)]
