"""The controller's own job: a small CPU job that ticks a study for its lifetime, and the script it runs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.errors import AmbiguousSubmission, UsageError
from agent.launch.base import State, Submission, TaskStatus
from agent.launch.commands import CommandTimeout, run
from agent.launch.environment import scrub
from agent.launch.options import MEMORY
from agent.launch.profile import Profile
from agent.launch.render import render_script
from agent.launch.sbatch import SUBMIT_TIMEOUT_S, refusal
from agent.launch.scheduler import SlurmReader
from agent.launch.states import parse_submission

DEFAULT_TIME = "01:00:00"
"""Short jobs start soon in the gaps that large ones leave, and an hour is many looks."""
DEFAULT_MEM = "2G"
"""Measured: 0.1 GB for 1,000 trials, 1.2 GB for a study of 100,000 trials (benchmarks/README.md)."""


def script_text(
    *, study: Path, folder: Path, script: Path, python: Path, import_root: Path | None, profile: Profile
) -> str:
    """controller.slurm. folder: where the job works, so that it finds the person's .env. Raises InvalidScript."""
    context = {
        "env": tuple(profile.env.items()),
        "folder": folder,
        "import_root": import_root,
        "python": python,
        "script_name": script.name,
        "setup": profile.setup,
        "study": study,
        "study_name": study.name,
    }
    return render_script("controller.slurm.j2", context, script)


def time_limit(profile: Profile) -> int:
    """Seconds that a controller job may take."""
    return profile.controller.time_seconds or 3600


def margin(limit: float) -> float:
    """Seconds before its time limit at which a controller job ends by itself: a look may wait for sbatch."""
    return min(300.0, limit / 6)


def job_name(study: Path, generation: int) -> str:
    """Unique per study folder and generation, the same after a restart: it finds the job again."""
    tag = hashlib.sha256(f"{study.resolve()}|controller|{generation}".encode()).hexdigest()[:10]
    return f"rt-ctl-{study.name[:40]}-{tag}"


def options(profile: Profile) -> list[str]:
    """sbatch's options for one CPU and no GPU; partition, account and qos are the profile's unless `controller` has
    its own."""
    own = profile.controller
    wanted: list[tuple[str, str | int | None]] = [
        ("clusters", profile.cluster),
        ("partition", own.partition or profile.partition),
        ("account", own.account or profile.account),
        ("qos", own.qos or profile.qos),
        ("nodes", 1),
        ("ntasks", 1),
        ("cpus-per-task", 1),
        ("mem", own.mem or (None if any(name in MEMORY for name in own.extra or {}) else DEFAULT_MEM)),
        ("time", own.time or DEFAULT_TIME),
        ("constraint", own.constraint),
        ("exclude", own.exclude),
        ("nodelist", own.nodelist),
    ]
    found = [f"--{name}={value}" for name, value in wanted if value is not None]
    found += [f"--{name}" if value is True else f"--{name}={value}" for name, value in (own.extra or {}).items()]
    # One owner: a lost controller is followed by its successor, not by itself.
    return [*found, "--no-requeue", "--open-mode=append", "--export=ALL"]


@dataclass(frozen=True, kw_only=True)
class ControllerJob:
    """One controller job that was submitted."""

    name: str
    job_id: str
    cluster: str | None = None
    submitted_at: float = 0.0


class ControllerJobs:
    """Submits controller jobs, finds them again, says how they stand."""

    def __init__(
        self,
        reader: SlurmReader | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        cluster: str | None = None,
    ) -> None:
        self._reader = reader or SlurmReader(environment=environment, cluster=cluster)
        self._environment = environment

    def submit(
        self, name: str, script: Path, *, generation: int, log: Path, profile: Profile, after: str | None
    ) -> ControllerJob:
        """Submit one. after: the job whose end, however it comes, this one waits for.

        Raises LaunchError (refused), SchedulerUnavailable (not submitted) or AmbiguousSubmission (`find` it first).
        """
        argv = ["sbatch", "--parsable", *options(profile), f"--job-name={name}", f"--output={_literal(log)}"]
        argv += [f"--chdir={script.parent}"]
        if after is not None:
            # afterany: a successor is needed most where its predecessor was killed.
            argv.append(f"--dependency=afterany:{after}")
        environment = scrub(os.environ if self._environment is None else self._environment)
        try:
            reply = run([*argv, str(script), str(generation)], timeout_s=SUBMIT_TIMEOUT_S, environment=environment)
        except CommandTimeout as error:
            raise AmbiguousSubmission(f"{error}; {name} may have been submitted", name=name) from error
        if reply.code:
            raise refusal(reply, name)
        parsed = parse_submission(reply.out)
        if parsed is None:
            raise AmbiguousSubmission(f"sbatch took {name} but printed no job id: {reply.words}", name=name)
        return ControllerJob(name=name, job_id=parsed[0], cluster=parsed[1] or profile.cluster)

    def find(self, name: str) -> ControllerJob | None:
        """The job with this name. Raises SchedulerUnavailable when nobody knows."""
        found = self._reader.find(name)
        return ControllerJob(name=name, job_id=found[0], cluster=found[1]) if found else None

    def status(self, job: ControllerJob) -> TaskStatus:
        """How it stands. Raises SchedulerUnavailable."""
        one = _submission(job)
        return self._reader.poll([one])[one.name, 0]

    def alive(self, job: ControllerJob) -> bool:
        """Whether the queue holds it. Raises SchedulerUnavailable.

        A job that squeue does not show cannot tick any more, whatever accounting still says of it.
        """
        status = self.status(job)
        return not status.absent and status.state in (State.PENDING, State.RUNNING, State.UNKNOWN)

    def cancel(self, job: ControllerJob) -> None:
        """scancel. A job that is gone is no error. Raises SchedulerUnavailable."""
        self._reader.cancel([_submission(job)])


def _submission(job: ControllerJob) -> Submission:
    return Submission(
        launcher="sbatch",
        name=job.name,
        job_id=job.job_id,
        items=(0,),
        tasks=(job.job_id,),
        cluster=job.cluster,
        submitted_at=job.submitted_at,
    )


def check_programs() -> None:
    """Raises UsageError where SLURM's programs are not there."""
    from agent.launch.select import require_programs

    require_programs("sbatch", ("sbatch", "squeue", "sacct", "scancel", "scontrol"))


def scrontab_answers() -> bool:
    """Whether this cluster runs people's scrontab lines: `scrontab -l` says so, or that there is no line yet."""
    try:
        reply = run(["scrontab", "-l"], timeout_s=20, environment=scrub(os.environ))
    except (CommandTimeout, UsageError):
        return False
    return reply.code == 0 or "no crontab for" in reply.words.lower()


def _literal(path: Path) -> str:
    """A path as sbatch's --output: nothing in it is a pattern."""
    return str(path).replace("%", "%%")
