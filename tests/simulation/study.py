"""The simulated study: its trainer, its first files, and the product's tools wired to the simulated world."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.acceptance.rules_file import load_rules
from agent.api import TuneOptions
from agent.api.begin import begin
from agent.catalogue import find_trainer
from agent.launch.commands import Run
from agent.launch.profile import Profile
from agent.launch.sbatch import SbatchLauncher
from agent.launch.scheduler import Pace, SlurmReader
from agent.orchestrator import Tools
from agent.orchestrator.work import Models
from agent.policy import Policy, load_policy
from agent.propose.baseline import RandomProposer
from agent.resources import shipped_policy, shipped_rules
from agent.store.disk import Disk
from agent.store.store import Store
from agent.store.study import Settings, StudyConfig
from tests.simulation.script import Setting

TRAINER = Path(__file__).parent / "trainer.yaml"
#: A study whose proposals come from a language model.
AGENTS: Mapping[str, Any] = {"provider": "scripted", "proposer": "llm", "llm": {"provider": "scripted"}}
GRACE_S = Settings().result_grace_s
PROFILE = Profile(name="simulated", partition="main", gpus=1, cpus=1, mem="4G", time="00:10:00", max_mem="32G")


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """What every simulated study begins with."""

    config: StudyConfig
    reference: str
    trainer_file: str


@functools.cache
def beginning(home: Path, seeds: int) -> Beginning:
    """Made by the product's own `begin`, once a process. home: a folder for the study that it is read from."""
    options = TuneOptions(
        task="sim", study=f"pattern{seeds}", trainer=str(TRAINER), output_dir=home, seeds=tuple(range(seeds))
    )
    store = begin(options)
    return Beginning(
        config=replace(store.config, study="sim"),
        reference=store.paths.reference.read_text(),
        trainer_file=store.paths.trainer_file.read_text(),
    )


def create(root: Path, setting: Setting, *, home: Path, disk: Disk, clock: Callable[[], datetime]) -> Store:
    """A new study in `root`."""
    first = beginning(home, setting.seeds)
    store = Store.create(
        root, first.config, reference=first.reference, trainer_file=first.trainer_file, disk=disk, clock=clock
    )
    store.put_settings(
        Settings(
            launcher="sbatch",
            auto_train=True,
            confirm=setting.confirm,
            candidates=setting.candidates,
            rungs=setting.rungs,
            max_gpu_hours=setting.max_gpu_hours,
            target_round=setting.rounds,
            **(AGENTS if setting.models else {}),
        )
    )
    return store


def tools(
    store: Store,
    setting: Setting,
    *,
    programs: Run,
    models: Models | None,
    clock: Callable[[], float],
    say: Callable[[str], None],
) -> Tools:
    """The product's tools; outside of them are only the simulated programs and the simulated clock."""
    settings = store.settings()
    reader = SlurmReader(
        Pace(interval_s=settings.poll_s),
        memory=store.paths.scheduler_memory,
        environment={},
        clock=clock,
        say=say,
        programs=programs,
    )
    launcher = SbatchLauncher(reader, environment={}, clock=clock, programs=programs)
    trainer, policy = _trainer(), _policy()
    return Tools(
        proposer=RandomProposer(),
        models=models,
        launcher=lambda: launcher,
        trainer=trainer,
        profile=PROFILE,
        policy=replace(policy, quorum=setting.quorum),
        rules=_rules(),
        python=Path(sys.executable),
        import_root=None,
        check_fit=lambda reference: None,
        check_environment=lambda: None,
        check_script=lambda path: None,
        say=say,
        detail=lambda line: None,
    )


@functools.cache
def _trainer():  # type: ignore[no-untyped-def]
    return find_trainer(str(TRAINER)).trainer


@functools.cache
def _policy() -> Policy:
    return load_policy(shipped_policy())


@functools.cache
def _rules():  # type: ignore[no-untyped-def]
    return load_rules(shipped_rules())
