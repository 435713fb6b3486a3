"""What `roundtable doctor` examines: its options, and what the checks need to know of a study, profile or trainer."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import UsageError
from agent.launch.catalogue import SLURM, capabilities_of
from agent.launch.profile import Profile
from agent.options.commands import Examined
from agent.options.kinds import SECONDS
from agent.options.option import full_record
from agent.options.study import Place

if TYPE_CHECKING:
    from agent.launch.ask import Asker
    from agent.store.study import Settings
    from trainers.registry import RegisteredTrainer


@full_record
class DoctorOptions(Examined, Place):
    """What is examined. Raises UsageError for what does not go together. study: a folder."""

    def __post_init__(self) -> None:
        if self.study is not None and self.trainer is not None:
            raise UsageError(f"--trainer {self.trainer}: the study has its own; leave --trainer or --study out")
        if problems := SECONDS.problems("wait_s", self.wait_s):
            raise UsageError("\n".join(problems))


@dataclass(frozen=True, kw_only=True)
class Case:
    """What the checks need to know."""

    launcher: str
    chosen: bool
    """Whether the launcher was named, here or by the study."""
    profile: Profile
    folder: Path
    trainer: RegisteredTrainer | None = None
    description: str | None = None
    """The frozen description of a trainer brought as YAML."""
    rows: int | None = None
    candidates: int = 1
    poll_s: float = 60.0
    settings: Settings | None = None
    owner: str = ""
    """Whose the study is, where it is not the caller's: its profile says which program is run as the python."""
    judge: bool = True
    """Whether the study's rules of acceptance have a judge."""

    @property
    def slurm(self) -> bool:
        return capabilities_of(self.launcher).system == SLURM


def case_of(options: DoctorOptions, asker: Asker) -> Case:
    """Read what is named. Raises UsageError: no such study, profile or trainer."""
    from agent.catalogue import find_trainer
    from agent.launch.profile import default_profile, load_profile
    from agent.launch.select import default_launcher

    given = load_profile(options.profile) if options.profile is not None else None
    if options.study is not None:
        return _study_case(options, options.study, given)
    found = find_trainer(options.trainer) if options.trainer is not None else None
    trainer, profile = (found.trainer if found else None), given or default_profile()
    return Case(
        launcher=options.launcher or default_launcher(asker.has),
        chosen=options.launcher is not None,
        profile=_for(trainer, profile, trainer.cpus) if trainer is not None else profile,
        folder=options.output_dir.absolute(),
        trainer=trainer,
        description=found.frozen if found else None,
    )


def _for(trainer: RegisteredTrainer, profile: Profile, cpus: int | None) -> Profile:
    """The profile with what the trainer needs where it says nothing."""
    gpus = trainer.gpus if profile.gpu_count == 0 and trainer.gpus else profile.gpus
    return dataclasses.replace(profile, cpus=profile.cpus or cpus, gpus=gpus)


def _study_case(options: DoctorOptions, folder: Path, given: Profile | None) -> Case:
    from agent.acceptance import Rules
    from agent.api.begin import frozen_text
    from agent.api.models import has_judge
    from agent.api.wiring import offline_tools
    from agent.launch.select import default_launcher
    from agent.ownership import user_name
    from agent.store.store import Store
    from agent.store.study import Settings

    store = Store.open(folder)
    # A study that `init` began has no settings before its first `tune`.
    settings = store.settings() if store.driven() else Settings(launcher=default_launcher())
    if options.launcher is not None:
        settings = dataclasses.replace(settings, launcher=options.launcher)
    # Not the study's rules: those may be code, and a study may be somebody else's.
    tools = offline_tools(store, settings, rules=Rules())
    owner = store.paths.root.stat().st_uid
    return Case(
        launcher=settings.launcher,
        chosen=True,
        profile=tools.profile if given is None else _for(tools.trainer, given, tools.profile.cpus),
        folder=store.paths.root,
        trainer=tools.trainer,
        description=frozen_text(store),
        rows=settings.candidates * len(store.config.folds) * len(store.config.seeds),
        candidates=settings.candidates,
        poll_s=settings.poll_s,
        settings=settings,
        owner="" if given is not None or owner == os.geteuid() else user_name(owner),
        judge=has_judge(store),
    )
