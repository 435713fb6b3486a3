"""A chain of controller jobs: each generation is submitted exactly once and waits for the end of the one before.

The successor is submitted early, behind its predecessor (afterany), so that a study also goes on where a controller
is killed, preempted, or loses its node. A controller that ends for good calls it off. One that a person cancelled has
no successor either: whoever is started behind it sees that and ends.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from agent.api.wiring import Say
from agent.errors import AmbiguousSubmission, LaunchError, SchedulerUnavailable, UsageError
from agent.launch.controller import ControllerJob, ControllerJobs, job_name
from agent.launch.profile import Profile, default_profile, load_profile
from agent.store import control
from agent.store.control import Identity
from agent.store.events import ControllerEnded, ControllerIntent, ControllerRefused, ControllerSubmitted
from agent.store.store import Store


def profile_of(store: Store) -> Profile:
    """The study's profile as it is now. Raises InvalidProfile."""
    return load_profile(store.paths.profile) if store.paths.profile.exists() else default_profile()


def job_of(made: ControllerSubmitted) -> ControllerJob:
    """The job that the journal tells of."""
    at = made.submitted_at.timestamp()
    return ControllerJob(name=made.name, job_id=made.job_id, cluster=made.cluster, submitted_at=at)


def submit_generation(
    store: Store, jobs: ControllerJobs, generation: int, *, after: str | None
) -> ControllerSubmitted:
    """The journal's word of a generation's submission: there already, found under its name, or submitted now.

    The caller holds the lease. after: the job that it waits for. Raises LaunchError and its kinds.
    """
    if (known := control.submitted(store, generation)) is not None:
        return known
    name = job_name(store.paths.root, generation)
    last = control.newest(store, generation)
    if isinstance(last, ControllerIntent):
        if (found := jobs.find(name)) is not None:
            return _record(store, generation, found, after=last.after, at=last.at, adopted=True)
        until = last.at + timedelta(seconds=store.settings().adopt_after_s)
        if store.clock() < until:
            said = f"{name}: submitted or not is unknown; looking it up until {until:%H:%M:%S} UTC"
            raise AmbiguousSubmission(said, name=name)
    intent = store.journal.append(ControllerIntent(generation=generation, name=name, after=after))
    try:
        made = jobs.submit(
            name,
            store.paths.controller_script,
            generation=generation,
            log=store.paths.controller_log,
            profile=profile_of(store),
            after=after,
        )
    except (AmbiguousSubmission, SchedulerUnavailable):
        raise
    except LaunchError as error:
        store.journal.append(ControllerRefused(generation=generation, message=str(error)[:500]))
        raise
    return _record(store, generation, made, after=after, at=intent.at, adopted=False)


def _record(
    store: Store, generation: int, job: ControllerJob, *, after: str | None, at: datetime, adopted: bool
) -> ControllerSubmitted:
    return store.journal.append(
        ControllerSubmitted(
            kind="slurm",
            generation=generation,
            name=job.name,
            job_id=job.job_id,
            cluster=job.cluster,
            after=after,
            submitted_at=at,
            adopted=adopted,
        )
    )


class Succession:
    """The place of one controller job in its chain."""

    def __init__(self, jobs: ControllerJobs, me: Identity, *, say: Say) -> None:
        self._jobs = jobs
        self._me = me
        self._say = say
        self._next: ControllerSubmitted | None = None

    @property
    def provided(self) -> bool:
        """Whether somebody goes on after this controller."""
        return self._next is not None

    def enter(self, store: Store, me: Identity) -> str | None:
        """Why this controller must not begin, or None. Journals its submission where a kill prevented that.

        Raises UsageError for a generation that nobody submitted, SchedulerUnavailable.
        """
        mine, intent = control.submitted(store, me.generation), control.newest(store, me.generation)
        if mine is None and isinstance(intent, ControllerIntent) and me.job_id is not None:
            found = ControllerJob(name=intent.name, job_id=me.job_id)
            mine = _record(store, me.generation, found, after=intent.after, at=intent.at, adopted=True)
        if mine is None or me.job_id is None:
            raise UsageError(
                f"generation {me.generation} was not submitted for {store.paths.root}: controllers are started with "
                f"`{store.start_command()}`"
            )
        if mine.job_id != me.job_id:
            return f"SLURM job {mine.job_id} is generation {me.generation}; this one was started once too often"
        before = control.submitted(store, me.generation - 1)
        if before is None or mine.after != before.job_id:
            return None
        ends = [one for one in store.journal.of(ControllerEnded) if one.generation == me.generation - 1]
        if ends and ends[-1].final:
            return f"its predecessor ended for good: {ends[-1].reason}"
        if self._jobs.status(job_of(before)).raw.startswith("CANCELLED"):
            return f"its predecessor, SLURM job {before.job_id}, was cancelled"
        return None

    def provide(self, store: Store) -> None:
        """Make sure of the successor. Raises LaunchError and its kinds; the next look tries again."""
        if self._next is None:
            self._next = submit_generation(store, self._jobs, self._me.generation + 1, after=self._me.job_id)
            self._say(f"SLURM job {self._next.job_id} goes on when this one ends")

    def call_off(self) -> None:
        """Cancel the successor; where that fails it sees by itself that it is not wanted."""
        if self._next is None:
            return
        try:
            self._jobs.cancel(job_of(self._next))
        except (LaunchError, UsageError) as error:
            self._say(f"SLURM job {self._next.job_id} could not be cancelled ({error}); it will end by itself")
