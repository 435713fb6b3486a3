"""`roundtable trainers`: what can be trained, and with which parameters."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from trainers.contract import TrainerError
from trainers.registry import RegisteredTrainer, trainer_names, usable

if TYPE_CHECKING:
    from agent.catalogue import Found


def run(parsed: argparse.Namespace) -> int:
    if parsed.name is None:
        for name in trainer_names():
            _listed(name)
        sys.stdout.write("PATH.yaml: any program, described in one file (doc/add-a-trainer.md)\n")
        sys.stdout.write("package.module:NAME, FILE.py:NAME: one in Python (doc/plugins.md)\n")
        return 0
    from agent.catalogue import find_trainer

    _show(find_trainer(parsed.name))
    return 0


def _listed(name: str) -> None:
    try:
        trainer = usable(name)
    except TrainerError as error:
        sys.stdout.write(f"{name}: cannot be used: {error}\n")
        return
    sys.stdout.write(f"{trainer.name}: {trainer.description}\n")
    _tasks(trainer)


def _tasks(trainer: RegisteredTrainer) -> None:
    """What each task begins with: its epochs, and the values that differ from the shipped defaults."""
    for name, preset in trainer.tasks.items():
        sys.stdout.write(f"  --task {name}: {preset.description}\n")
        begins = [] if preset.epochs is None else [f"epochs {preset.epochs}"]
        begins += [f"{parameter} {value}" for parameter, value in preset.values.items()]
        if begins:
            sys.stdout.write(f"      begins with {', '.join(begins)}\n")
    if trainer.open_tasks:
        keys = trainer.data_keys or {}
        if "path" in keys or not keys:
            sys.stdout.write("  --task NAME --data path=...: your own data\n")
        else:
            sys.stdout.write("  --task NAME: your own data, told by\n")
            for name, key in keys.items():
                default = f"; by default ${key.variable}" if key.variable else ""
                sys.stdout.write(f"      --data {name}=...  {key.description}{default}\n")
        if trainer.default_epochs is not None:
            sys.stdout.write(f"      begins with epochs {trainer.default_epochs}\n")


def _show(found: Found) -> None:
    trainer = found.trainer
    task = next(iter(trainer.tasks), "task")
    reference = found.reference(task)
    sys.stdout.write(f"{trainer.name}: {trainer.description}\n")
    if found.frozen is None:
        _tasks(trainer)
    sys.stdout.write(f"objective {reference.objective.metric} ({reference.objective.direction})\n")
    for name, parameter in reference.parameters.items():
        tuned = "tuned" if parameter.tune else "fixed"
        sys.stdout.write(f"  {name} ({tuned}): {parameter.allowed}; default {parameter.default}\n")
        if parameter.description:
            sys.stdout.write(f"      {parameter.description}\n")
