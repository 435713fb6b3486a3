"""Running a study: ticks in the foreground until this call has nothing left to do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.acceptance.rules_file import load_rules
from agent.api.begin import open_study, study_root
from agent.api.models import check_models, passed_over, role_sources
from agent.api.options import TuneOptions
from agent.api.wiring import (
    Say,
    check_own_study,
    check_requeue,
    settings_for,
    tools_for,
    tools_for_open_round,
)
from agent.errors import MissingResults, UsageError
from agent.launch.catalogue import capabilities_of
from agent.launch.gpus import check_named
from agent.pasteable import quoted
from agent.policy import load_policy
from agent.resources import shipped_rules
from agent.store.disk import Disk, read_text
from agent.store.events import PolicyGiven, RulesGiven
from agent.store.lease import held
from agent.store.paths import StudyPaths
from agent.store.store import Store
from agent.store.study import Settings, retired_keys
from agent.store.versions import sha256

if TYPE_CHECKING:
    from agent.orchestrator.work import Given, Tools

#: How often a foreground study looks at the disk while the local launcher works.
LOCAL_LOOK_S = 0.5
#: How soon a waiting call sees the stop file.
GLANCE_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a call of tune ended."""

    store: Store
    state: str
    """"finished", "rendered", "manual", or "stopped" (`roundtable stop`)."""
    opened: int
    closed: int
    message: str = ""
    commands: Sequence[str] = ()
    missing: Sequence[str] = ()


Watch = Callable[[Store, Any], None]


def _quiet(line: str) -> None:
    """Nobody listens."""


def _unwatched(store: Store, report: Any) -> None:
    """Nobody watches."""


def tune(
    options: TuneOptions,
    *,
    say: Say = _quiet,
    detail: Say = _quiet,
    watch: Watch = _unwatched,
    disk: Disk | None = None,
) -> Outcome:
    """Begin or go on with a study, for as many rounds as the options say.

    Raises RoundtableError. KeyboardInterrupt stops the local launcher's tasks (they save a checkpoint and are
    resumed by the next call); jobs of a cluster go on.

    say, detail: what the person is told, and what only --verbose shows. watch: called while tasks run.
    disk: how files are written; tests put a fault there.
    """
    from agent.launch.select import default_launcher
    from agent.orchestrator.training import circuit_breaker
    from agent.orchestrator.work import Given

    check_call(options)
    store, new = open_study(options, disk=disk, say=say)
    if new and options.warm_start:
        from agent.api.warm import told

        for line in told(store.record(store.paths.warm_start) or {}):
            say(line)
    with held(store.paths.lease):
        # Opened again under the lease: another process may have gone on since.
        store = store if new else Store.open(store.paths.root, disk=disk)
        store.journal.check_clock()
        take_files(store, options)
        settings = settings_for(store, options, default_launcher())
        tools = tools_for(store, settings, say, detail)
        for line in retired_keys(store.paths.settings) if store.paths.settings.exists() else ():
            say(line)
        store.put_settings(settings)
        tell_sources(store, settings, say)
        if options.resume:
            circuit_breaker.resume(store, by="tune --resume")
        elif (standing := circuit_breaker.paused(store.journal)) is not None and circuit_breaker.is_lifted_by_a_call(
            standing
        ):
            circuit_breaker.resume(store, by="tune")
        given = Given(val_summary=options.val_summary, test_summary=options.test_summary)
        try:
            return _drive(store, tools, settings, given, options.force_round, watch)
        finally:
            tools.close()


def check_call(options: TuneOptions) -> None:
    """What the options' own checks cannot know and can still be refused before anything is written."""
    from agent.launch.profile import load_profile
    from agent.launch.select import check_answers, check_cluster, default_launcher

    files = (options.val_summary, options.test_summary, options.profile, options.policy, options.hp_ref)
    given = (*files, options.rules)
    for path in given:
        if path is not None and not path.is_file():
            raise UsageError(f"{path}: there is no such file")
    if options.gpus:
        check_named(options.gpus)
    if options.profile is not None:
        load_profile(options.profile)
    if options.policy is not None:
        load_policy(options.policy)
    rules = load_rules(options.rules if options.rules is not None else shipped_rules())
    if options.requeue_on_timeout and (options.launcher is not None or not study_root(options).exists()):
        launcher = options.launcher or default_launcher()
        asked = Settings(
            launcher=launcher, slurm=options.slurm, auto_train=options.auto_train, requeue_on_timeout=True
        )
        check_requeue(asked)
    if options.auto_train and (options.launcher is not None or not study_root(options).exists()):
        check_answers(options.launcher or default_launcher(), cluster=_cluster(options))
    if options.slurm:
        check_cluster(_cluster(options))
    if not study_root(options).exists():
        check_models(options, judge=rules.judge)
    if options.force_round is not None and not study_root(options).exists():
        raise UsageError(f"--force-round {options.force_round}: there is no study {study_root(options)} yet")


def _cluster(options: TuneOptions) -> str | None:
    """The cluster that this call's profile, else the study's, names."""
    from agent.launch.profile import load_profile

    path = options.profile or StudyPaths(study_root(options), "").profile
    return load_profile(path).cluster if path.exists() else None


def tell_sources(store: Store, settings: Settings, say: Say) -> None:
    """Say which model is asked where, and from where that is known: what of an environment holds is not seen else."""
    from agent.api.role_sources import lines

    for line in (*lines(role_sources(store, settings)), *passed_over(settings)):
        say(line)


def take_files(store: Store, options: TuneOptions) -> None:
    """Profile, policy and rules of this call, each into the study where it was given. Raises UsageError."""
    if options.profile is not None:
        take_profile(store, options.profile)
    if options.policy is not None:
        _take_policy(store, options.policy)
    if options.rules is not None:
        _take_rules(store, options.rules)


def take_profile(store: Store, path: Path) -> None:
    """Copy a checked profile into the study, so that ticks use it too."""
    from agent.launch.profile import load_profile

    load_profile(path)
    store.disk.write(store.paths.profile, read_text(path))


def _take_policy(store: Store, path: Path) -> None:
    """Copy a checked policy into the study; journaled when it is another one than before."""
    load_policy(path)
    text = read_text(path)
    store.journal.append_changed(PolicyGiven(sha256=sha256(text), path=str(path)), key=("sha256",))
    store.disk.write(store.paths.policy, text)


def _take_rules(store: Store, path: Path) -> None:
    """Copy checked rules of acceptance into the study; journaled when they are others than before.

    A Python file is executed later, from its copy, only while that is what was journaled here.
    """
    load_rules(path)
    python = path.suffix == ".py"
    if python:
        check_own_study(store.paths.root, store.paths.rules_python)
    text = read_text(path)
    given = RulesGiven(sha256=sha256(text), kind="python" if python else "table", path=str(path))
    store.journal.append_changed(given, key=("sha256", "kind"))
    store.disk.write(store.paths.rules_python if python else store.paths.rules, text)


def _drive(
    store: Store, tools: Tools, settings: Settings, given: Given | None, force: int | None, watch: Watch
) -> Outcome:
    """Tick until there is nothing left to do in this call."""
    from agent.orchestrator import tick

    opened = closed = 0
    # One that stood before is meant for controllers and cron; this call was made in spite of it.
    stood = _stop_mark(store)
    look = LOCAL_LOOK_S if capabilities_of(settings.launcher).cheap_polls else max(settings.poll_s, LOCAL_LOOK_S)
    while True:
        try:
            report = tick(store, tools, given=given, force=force)
            opened, closed = opened + report.opened, closed + report.closed
            if report.state == "waiting":
                watch(store, report)
                stopped = _stopped_while_waiting(store, stood, look)
        except KeyboardInterrupt:
            _interrupted(store, tools)
            raise
        # Both were meant for the first look only.
        given, force = None, None
        if report.state == "waiting":
            if not stopped:
                continue
            tools.say(
                f"{store.paths.stop} was written: this call ends; trials that run go on, the same command goes on"
            )
            return Outcome(store=store, state="stopped", opened=opened, closed=closed)
        if report.state == "manual" and not (opened or report.rendered):
            raise MissingResults(_missing_text(store, report))
        state = "rendered" if report.state == "manual" else "finished"
        return Outcome(
            store=store,
            state=state,
            opened=opened,
            closed=closed,
            message=report.message,
            commands=report.commands,
            missing=report.missing,
        )


def _stop_mark(store: Store) -> tuple[int, int] | None:
    """Which stop file is there: one that is written again has another mark."""
    try:
        found = store.paths.stop.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _stopped_while_waiting(store: Store, stood: tuple[int, int] | None, seconds: float) -> bool:
    """Wait so long; True as soon as somebody writes the stop file."""
    until = time.monotonic() + seconds
    while (mark := _stop_mark(store)) is None or mark == stood:
        if (left := until - time.monotonic()) <= 0:
            return False
        time.sleep(min(left, GLANCE_S))
    return True


def _missing_text(store: Store, report: Any) -> str:
    shown = list(report.missing[:20])
    if len(report.missing) > len(shown):
        shown.append(f"... and {len(report.missing) - len(shown)} more")
    paths = report.round
    head = f"{paths.label} ({quoted(paths.root)}) is not complete; logs are in {quoted(paths.logs)}:"
    return "\n".join([head, *shown, "run these lines, or give --val-summary PATH:", *report.commands])


def _interrupted(store: Store, tools: Tools) -> None:
    """Ctrl-C: local tasks stop with a checkpoint; a cluster's jobs are left alone."""
    from agent.orchestrator.training.submissions import interrupt

    open_now = store.at_work()
    if open_now is None:
        return
    tools.say("stopping: local trials save a checkpoint; the same command goes on (--max-rounds counts from here)")
    going = interrupt(store, open_now[0], tools)
    if going:
        jobs = " ".join(submission.job_id for submission in going)
        tools.say(f"stopped watching; the cluster's jobs go on ({jobs}); the same command goes on watching")


def tick_once(store: Store, *, say: Say = _quiet, detail: Say = _quiet) -> Any:
    """One idempotent step of a study with its own settings: what `roundtable tick`, cron and controllers call."""
    from agent.orchestrator import tick

    with held(store.paths.lease):
        store = Store.open(store.paths.root)
        store.journal.check_clock()
        tools, unable = tools_for_open_round(store, say, detail)
        try:
            report = tick(store, tools, only_open=unable is not None)
        finally:
            tools.close()
        if unable is not None and report.state == "finished":
            raise unable
        return report
