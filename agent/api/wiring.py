"""Wiring the outside world to a study: trainer, profile, launcher, proposer, and this call's settings."""

from __future__ import annotations

import dataclasses
import functools
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.api.begin import trainer_of
from agent.api.models import agent_settings, key_variables, models_for, offline_models, without_keys
from agent.api.options import TuneOptions
from agent.catalogue import Found
from agent.errors import InvalidReference, UsageError
from agent.fitting import Setting, check_fit
from agent.launch.catalogue import capabilities_of
from agent.launch.gpus import local_gpus, silent_on_gpus
from agent.objectives import check_objectives
from agent.options.option import given
from agent.ownership import other_writers
from agent.store.events import RulesGiven
from agent.store.store import Store
from agent.store.study import Settings
from trainers.registry import RegisteredTrainer, is_place

if TYPE_CHECKING:
    from agent.acceptance import Rules
    from agent.launch.base import Launcher
    from agent.launch.profile import Profile
    from agent.orchestrator.work import Tools
    from agent.reference import Reference

Say = Callable[[str], None]


def settings_for(store: Store, options: TuneOptions, launcher: str) -> Settings:
    """The study's settings with this call's on top."""
    old = store.settings() if store.driven() else Settings(launcher=launcher)
    open_round = store.open_folder()
    done = store.next_number() - 1 - (1 if open_round is not None else 0)
    manual_open = open_round is not None and not options.auto_train
    if options.max_iterations is not None:
        target = options.max_iterations
    else:
        # In the manual flow the open round was rendered by an earlier call; this one collects it and opens the next.
        target = done + (options.max_rounds or 1) + (1 if manual_open else 0)
        if options.force_round is not None:
            # The forced round is one of this call's rounds, and it moves no counter.
            target = max(target - 1, done)
    changes: dict[str, Any] = {
        "auto_train": options.auto_train,
        "slurm": options.slurm,
        "launcher": options.launcher or (old.launcher if store.driven() else launcher),
        "target_round": target,
    }
    changes = given(options) | changes
    check_objectives(store.config.objective, changes.get("also", old.also), changes.get("limits", old.limits))
    changes |= agent_settings(old, options)
    settings = dataclasses.replace(old, **changes)
    check_requeue(settings)
    _check_rungs(store, old, settings)
    return settings


def _check_rungs(store: Store, old: Settings, settings: Settings) -> None:
    """Raises UsageError where the study's rungs would not differ, or nothing says how many epochs a training has."""
    if settings.rungs == 1 or (settings.rungs, settings.eta) == (old.rungs, old.eta):
        return
    from agent.orchestrator.closing.rungs import halving_of
    from agent.reference import load_reference

    trainer = trainer_of(store).trainer
    halving_of(settings, store.config, trainer, load_reference(store.paths.reference))


def check_requeue(settings: Settings) -> None:
    """Raises UsageError where nothing could be requeued. Scripts that a person submits (--slurm) may be."""
    by_hand = settings.slurm and not settings.auto_train
    if settings.requeue_on_timeout and not by_hand and not capabilities_of(settings.launcher).time_limits:
        raise UsageError(
            f"--requeue-on-timeout: only SLURM ends tasks at a time limit; not with --launcher {settings.launcher} "
            "(--no-requeue-on-timeout takes it back)"
        )


def offline_tools(store: Store, settings: Settings, *, rules: Rules | None = None) -> Tools:
    """The tools of a replay: no model is asked, nothing is launched, nobody listens. rules: None for the study's.

    A trainer that the study names by module or file is not imported: so one looks at a study that somebody else sent.
    """

    def ignore(line: str) -> None:
        """The replay's own result is all that is told."""

    found = (
        Found(trainer=RegisteredTrainer(name=store.config.trainer, description=""))
        if is_place(store.config.trainer)
        else None
    )
    return tools_for(store, settings, ignore, ignore, offline=True, rules=rules, found=found)


def tools_for(
    store: Store,
    settings: Settings,
    say: Say,
    detail: Say,
    *,
    offline: bool = False,
    rules: Rules | None = None,
    found: Found | None = None,
) -> Tools:
    """Wire the outside world to a study. Nothing is asked of SLURM, a model or the training environment yet.

    rules: of acceptance; None for the study's own. found: the trainer; None for the study's own.
    Raises UsageError for a model that cannot be asked: no key, no SDK, no such script or table.
    """
    from agent.launch.training import ensure, import_root, training_python
    from agent.orchestrator.work import Tools
    from agent.policy import load_policy
    from agent.propose.select import make_proposer
    from agent.resources import shipped_policy

    found = found or trainer_of(store)
    profile, gpus = _profile(store, settings, found.trainer)
    root = import_root()

    @functools.cache
    def launcher() -> Launcher:
        return _launcher(store, settings, profile, gpus, say)

    @functools.cache
    def check_environment() -> None:
        frozen = store.paths.trainer_file if found.frozen is not None else None
        if found.trainer.requires:
            # Importing torch takes seconds, and on a cold shared disk minutes.
            say(f"looking whether {training_python(profile)} has what {found.trainer.name} needs")
        ensure(profile, found.trainer, root=root, trainer_file=frozen, environment=without_keys(settings))

    def check_edit(reference: Reference) -> None:
        about, file = study_setting(store, found), str(store.paths.reference)
        if offline:
            return  # a replay repeats what was decided then
        try:
            check_fit(reference, about, file=file)
        except InvalidReference:
            raise
        except UsageError as error:
            say(f"the edited reference is held against the trainer alone, because the data cannot be read: {error}")
            check_fit(reference, dataclasses.replace(about, data=None), file=file)

    return Tools(
        proposer=make_proposer(settings.proposer),
        models=offline_models(settings) if offline else models_for(store, settings, say),
        launcher=launcher,
        trainer=found.trainer,
        profile=profile,
        policy=load_policy(store.paths.policy if store.paths.policy.exists() else shipped_policy()),
        rules=rules or study_rules(store),
        python=training_python(profile),
        import_root=root,
        check_fit=check_edit,
        check_environment=check_environment,
        secrets=key_variables(settings),
        say=say,
        detail=detail,
    )


def tools_for_open_round(store: Store, say: Say, detail: Say) -> tuple[Tools, UsageError | None]:
    """`tools_for` with the study's settings. Where its models cannot be asked but a submitted round is open: the
    tools without them, and why. Tasks that run are watched, retried and collected, key or no key. Raises UsageError.
    """
    from agent.orchestrator.training.submissions import begun

    settings = store.settings()
    try:
        return tools_for(store, settings, say, detail), None
    except UsageError as error:
        open_now = store.at_work()
        if open_now is None or not begun(store, open_now[0], by_hand=False):
            raise
        return tools_for(store, settings, say, detail, offline=True), error


def study_setting(store: Store, found: Found) -> Setting:
    """What the reference of a study is held against."""
    config = store.config
    return Setting(
        trainer=found.trainer,
        task=config.task,
        data=config.data,
        folds=config.fold_count,
        epochs=config.epochs,
        description=found.frozen,
    )


def study_rules(store: Store) -> Rules:
    """The rules of acceptance that a person gave the study last, else the shipped ones.

    A Python file is executed: only what was journaled when it was given, and only where nobody else could have
    written either (`check_own_study`). Raises InvalidRules, InvalidStudy.
    """
    from agent.acceptance.rules_file import load_rules
    from agent.errors import InvalidStudy
    from agent.resources import shipped_rules
    from agent.store.disk import read_text
    from agent.store.versions import sha256

    given = store.journal.last(RulesGiven)
    if given is None:
        return load_rules(shipped_rules())
    path = store.paths.rules_python if given.kind == "python" else store.paths.rules
    if given.kind == "python":
        check_own_study(store.paths.root, path)
    if not path.exists() or (given.kind == "python" and sha256(read_text(path)) != given.sha256):
        message = "is not as it was given" if path.exists() else "is not there any more"
        raise InvalidStudy.at(path, f"{message}; give --rules again")
    return load_rules(path)


def check_own_study(root: Path, rules: Path) -> None:
    """Raises InvalidStudy where code in a study's folder (`rules`) may not be run, because somebody else could have
    put it there: they own the folder or may write to it. (That of the file: `load_rules`.)"""
    from agent.errors import InvalidStudy

    try:
        others = other_writers(root.stat())
    except OSError as error:
        raise UsageError(f"{root}: {error.strerror or error}") from error
    if not others:
        return
    remedy = "give --rules a table of numbers (YAML), which is data"
    if root.stat().st_uid == os.geteuid():
        remedy += f", or keep the folder to yourself: `chmod go-w {shlex.quote(str(root))}`"
    message = f"is code, and of the folder it is in: {others}; it is not run. Read it, then {remedy}"
    raise InvalidStudy.at(rules, message)


def _profile(store: Store, settings: Settings, trainer: RegisteredTrainer) -> tuple[Profile, tuple[str, ...]]:
    """The study's profile with this call's throttle, and the GPUs that a local launcher hands out."""
    from agent.errors import InvalidProfile
    from agent.launch.profile import default_profile, load_profile, per_gpu

    profile = load_profile(store.paths.profile) if store.paths.profile.exists() else default_profile()
    changes: dict[str, Any] = {"cpus": profile.cpus or trainer.cpus}
    if settings.parallel is not None:
        changes["max_parallel"] = settings.parallel
    if settings.requeue_on_timeout is not None:
        changes["requeue_on_timeout"] = settings.requeue_on_timeout
    gpus: tuple[str, ...] = ()
    silent = silent_on_gpus(profile)
    can = capabilities_of(settings.launcher)
    if can.hands_out_gpus:
        wanted = profile.gpu_count or (silent and (trainer.gpus or trainer.uses_gpu))
        gpus = settings.gpus or (local_gpus() if wanted else ())
    if (silent and (gpus or trainer.gpus)) or (settings.gpus and gpus and profile.gpu_count == 0):
        changes["gpus"] = max(trainer.gpus, 1)
    found = dataclasses.replace(profile, **changes)
    if (settings.slurm or can.array_scripts) and found.gpu_count == 0 and (options := per_gpu(found)):
        message = "the training asks for no GPU: set `gpus`, or take it out; memory is `mem`"
        where = f"extra.{options[0]}"
        raise InvalidProfile.at(store.paths.profile, message, where=where)
    return found, gpus


def _launcher(store: Store, settings: Settings, profile: Profile, gpus: tuple[str, ...], say: Say) -> Launcher:
    from agent.launch.base import LaunchSettings
    from agent.launch.select import make_launcher

    keys = key_variables(settings)
    found = LaunchSettings(
        environment={variable: value for variable, value in os.environ.items() if variable not in keys},
        workers=settings.parallel,
        cpus_per_task=profile.cpu_count,
        gpus=gpus,
        gpus_per_task=profile.gpu_count,
        poll_s=settings.poll_s,
        memory=store.paths.scheduler_memory,
        cluster=profile.cluster,
        say=say,
    )
    return make_launcher(settings.launcher, found)
