"""Starting and stopping what drives a study while nobody watches: a controller job, cron, or a foreground loop."""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from agent.api.cron import cron_lines
from agent.api.resident import Ending, Resident, held_soon
from agent.api.successor import Succession, job_of, profile_of, submit_generation
from agent.api.wiring import Say, check_requeue
from agent.errors import SchedulerUnavailable, StudyBusy, UsageError
from agent.launch.controller import ControllerJobs, check_programs, job_name, margin, script_text, time_limit
from agent.launch.local_queue import boot_id, identity, process_alive
from agent.options.commands import Controller
from agent.options.option import call_record, given, settle
from agent.options.study import Driving, Start
from agent.pasteable import quoted
from agent.store import control
from agent.store.control import Identity
from agent.store.disk import read_text
from agent.store.events import ControllerIntent, ControllerRefused, ControllerSubmitted, Started, StopRequested
from agent.store.store import Store
from agent.store.study import Settings

#: Time between cron's ticks.
EVERY_MINUTES = 10
#: How long the lease is waited for while a controller, or cron, is in a look.
PATIENCE_S = 10.0
#: A controller on another machine counts as lost when its next look is overdue by so much.
OVERDUE = timedelta(minutes=10)


@call_record
class StartOptions(Start, Driving[None], Controller):
    """How a study is to be driven. None keeps what the study has. Raises UsageError with everything that is wrong."""

    def __post_init__(self) -> None:
        if problems := list(settle(self)):
            raise UsageError("\n".join(problems))


def start(root: Path, options: StartOptions, *, say: Say) -> Ending | None:
    """Have a study driven from here on. In the foreground it returns at the end, with the reason; else at once.

    Raises UsageError (nothing is left to do, or it cannot be done this way), StudyBusy naming the controller that
    drives the study already, StudyPaused, LaunchError and its kinds.
    """
    with held_soon(root / "lease.json", seconds=PATIENCE_S):
        store = Store.open(root)
        store.journal.check_clock()
        _check_place(store, say)
        _refuse_second(store)
        _settle(store, options)
        _tell_sources(store, say)
        generation = _next_generation(store)
        store.journal.append(Started(controller=options.controller, by=_by(), generation=generation))
        # Only now: the kill switch of a study that could not be started stays.
        control.withdraw_stop(store)
        if options.controller == "slurm":
            made = _submit(store, generation)
            say(f"SLURM job {made.job_id} ({made.name}) drives {root}; its words go to")
            say(f"{quoted(store.paths.controller_log)}; `{store.command('stop')}` ends it")
            return None
    if options.controller == "cron":
        for line in cron_lines(store.paths, job_name(root, 0), every_minutes=options.every_minutes or EVERY_MINUTES):
            say(line)
        return None
    return Resident(root, _identity(generation, "foreground"), say=say).run()


def drive_job(root: Path, generation: int, *, say: Say) -> Ending:
    """What a controller job does: look until its time is nearly over. Raises RoundtableError."""
    store = Store.open(root)
    limit = time_limit(profile_of(store))
    me = _identity(generation, "slurm")
    succession = Succession(_jobs(store), me, say=say)
    return Resident(root, me, say=say, lifetime_s=limit - margin(limit), succession=succession).run()


def stop(root: Path, *, now: bool, say: Say) -> None:
    """Have the study's controllers end after their present look; `now`: also cancel their jobs.

    Running trials go on and are collected by a later start. Raises SchedulerUnavailable when a job could not be
    cancelled; the stop file is written by then.
    """
    from agent.orchestrator.moved import check_ours

    store = Store.open(root)
    if now:
        check_ours(store)
    request = control.request_stop(store)
    say(f"{store.paths.stop} written: controllers end after their present look, and cron's ticks do nothing")
    try:
        with held_soon(store.paths.lease, seconds=2.0):
            store = Store.open(root)
            store.journal.append(StopRequested(by=request["by"], now=now))
    except StudyBusy:
        say("a controller is in a look: it journals the stop when it ends")
    if now:
        jobs = ControllerJobs()
        for one in control.unended(store):
            if one.submitted is not None:
                jobs.cancel(job_of(one.submitted))
                say(f"SLURM job {one.submitted.job_id} cancelled")
    say(f"running trials go on; `{store.start_command()}` collects them and goes on")


def tick_unattended(root: Path, *, say: Say) -> Any:
    """cron's tick: nothing while the stop file is there, and no complaint about what passes by itself.

    Returns the tick's report, or None where there was no tick. Raises RoundtableError.
    """
    from agent.api.run import tick_once

    store = Store.open(root)
    if (request := control.stop_request(store.paths.stop)) is not None:
        say(f"stopped by {request.get('by', 'somebody')}; `{store.start_command()}` removes the stop file")
        return None
    standing = control.heartbeat(store.paths.controller)
    if standing is None or standing.get("kind") == "cron" or standing.get("state") == "ended":
        at = store.clock().isoformat(timespec="seconds")
        control.beat(store.disk, store.paths.controller, _identity(0, "cron"), at=at, state="running")
    try:
        return tick_once(store, say=say)
    except (StudyBusy, SchedulerUnavailable) as error:
        say(str(error))
        return None


# -- before a start -----------------------------------------------------------------------------------------------


def _check_place(store: Store, say: Say) -> None:
    """Refuse, or follow, a study whose folder was moved or copied. Raises StudyMoved, InvalidStudy."""
    from agent.api.wiring import tools_for
    from agent.orchestrator.engine import check_place
    from agent.orchestrator.moved import check_there
    from agent.store.place import elsewhere

    check_there(store)
    if elsewhere(store) is None:
        return
    settings = store.settings() if store.driven() else Settings()
    check_place(store, tools_for(store, settings, say, say, offline=True), settings)


def _refuse_second(store: Store) -> None:
    """Raises StudyBusy naming the controller that lives, SchedulerUnavailable where nobody can tell."""
    last = control.newest(store)
    if isinstance(last, ControllerIntent) and _jobs(store).find(last.name) is not None:
        # Killed between sbatch and its record.
        submit_generation(store, _jobs(store), last.generation, after=last.after)
    for one in control.unended(store):
        if (who := _alive(store, one)) is not None:
            raise StudyBusy(f"{store.paths.root} is driven already: {who}; `{store.command('stop')}` ends that")


def _alive(store: Store, one: control.Controller) -> str | None:
    """Who this controller is, if it may still tick."""
    beat = control.heartbeat(store.paths.controller) or {}
    looked = f", last look {beat['at']}" if beat.get("generation") == one.generation and "at" in beat else ""
    if one.submitted is not None:
        job = job_of(one.submitted)
        status = ControllerJobs().status(job) if ControllerJobs().alive(job) else None
        if status is None:
            return None
        return f"SLURM job {job.job_id} (generation {one.generation}, {status.raw}){looked}"
    if beat.get("generation") != one.generation or beat.get("state") == "ended":
        return None
    if beat.get("boot") == boot_id():
        lives = process_alive(beat)
    else:
        due = datetime.fromisoformat(beat.get("next_at") or beat["at"])
        lives = store.clock() < due + OVERDUE
    return f"process {beat['pid']} on {beat['host']}{looked}" if lives else None


def _settle(store: Store, options: StartOptions) -> None:
    """The study's settings with this call's on top, checked as far as can be before anything drives it."""
    from agent.api.run import take_profile
    from agent.launch.catalogue import capabilities_of
    from agent.launch.select import check_cluster, check_launcher, default_launcher
    from agent.orchestrator.closing import fresh_seeds
    from agent.orchestrator.training import circuit_breaker

    paused = circuit_breaker.paused(store.journal)
    if paused is not None and not options.resume and not circuit_breaker.is_lifted_by_a_call(paused):
        circuit_breaker.check(store)
    old = store.settings() if store.driven() else Settings(launcher=default_launcher(), target_round=0)
    changes = given(options)
    if options.max_iterations is not None:
        changes["target_round"] = options.max_iterations
    settings = dataclasses.replace(old, auto_train=True, **changes)
    check_launcher(settings.launcher)
    check_requeue(settings)
    if options.controller == "slurm":
        check_programs()
        if not capabilities_of(settings.launcher).survives_caller:
            raise UsageError(
                f"--controller slurm: the study trains with --launcher {settings.launcher}, whose trials would end "
                "with each controller job; give --launcher submitit (or sbatch), or use --controller foreground"
            )
    _check_left(store, settings, confirmed=not fresh_seeds.wanted(store, settings))
    if options.controller != "foreground":
        _check_keys(store, settings)
    if options.profile is not None:
        if not options.profile.is_file():
            raise UsageError(f"{options.profile}: there is no such file")
        take_profile(store, options.profile)
    if capabilities_of(settings.launcher).clusters:
        check_cluster(profile_of(store).cluster)
    store.put_settings(settings)
    if paused is not None:
        circuit_breaker.resume(store, by=_by())


def _check_left(store: Store, settings: Settings, *, confirmed: bool) -> None:
    """Raises UsageError where a controller would find nothing to do."""
    if store.at_work() is not None or not confirmed:
        return
    if store.next_number() > settings.target_round:
        closed = store.next_number() - 1
        raise UsageError(
            f"{store.paths.root}: {closed} rounds are closed and the study ends with round {settings.target_round}; "
            f"give --max-iterations N, more than {closed}"
        )


def _check_keys(store: Store, settings: Settings) -> None:
    """Whether the language models' keys are found without this shell: jobs and cron lines do not get them from it."""
    from agent.api.models import models_for, without_keys
    from agent.launch.environment import scrub

    def ignore(line: str) -> None:
        """Traces are not set up for this look."""

    with _environment(scrub(without_keys(settings))):
        try:
            models_for(store, settings, ignore)
        except UsageError as error:
            raise UsageError(
                f"{error}. What drives a study unattended does not inherit keys from this shell (SLURM keeps a job's "
                f"environment on disk): put them into {Path.cwd() / '.env'}, readable by you alone"
            ) from error


def _tell_sources(store: Store, say: Say) -> None:
    """Say which model is asked where, as what is started will find it."""
    from agent.api.models import without_keys
    from agent.api.run import tell_sources
    from agent.launch.environment import scrub

    settings = store.settings()
    with _environment(scrub(without_keys(settings))):
        tell_sources(store, settings, say)


@contextmanager
def _environment(wanted: dict[str, str]) -> Iterator[None]:
    """os.environ inside the block."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


# -- the job ------------------------------------------------------------------------------------------------------


def _next_generation(store: Store) -> int:
    """A generation that was begun, or submitted for certain, is over; one in doubt is settled first."""
    last = control.newest(store)
    if last is None:
        return 1
    return last.generation + (0 if isinstance(last, ControllerIntent | ControllerRefused) else 1)


def _submit(store: Store, generation: int) -> ControllerSubmitted:
    """Write the script and submit the first job of a chain."""
    import sys

    from agent.launch.training import import_root

    script = script_text(
        study=store.paths.root,
        folder=Path.cwd(),
        script=store.paths.controller_script,
        python=Path(sys.executable),
        import_root=import_root(),
        profile=profile_of(store),
    )
    path = store.paths.controller_script
    if not path.exists() or read_text(path) != script:
        store.disk.write(path, script)
    return submit_generation(store, _jobs(store), generation, after=None)


def _jobs(store: Store) -> ControllerJobs:
    """Controller jobs, which inherit no key of a language model from this process."""
    from agent.api.models import without_keys

    environment = without_keys(store.settings()) if store.driven() else None
    return ControllerJobs(environment=environment, cluster=profile_of(store).cluster)


def _identity(generation: int, kind: str) -> Identity:
    job = os.environ.get("SLURM_JOB_ID") if kind == "slurm" else None
    me = identity(os.getpid())
    return Identity(
        generation=generation,
        kind=kind,
        host=socket.gethostname(),
        pid=me["pid"],
        started=me["started"],
        boot=boot_id(),
        job_id=job,
    )


def _by() -> str:
    return f"{control.user()}@{socket.gethostname()}"
