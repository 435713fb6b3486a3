"""One training outside a study: the same trainer, contract and files, in a folder the person names."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.api.wiring import local_gpus
from agent.catalogue import find_trainer
from agent.errors import UsageError
from agent.launch.profile import default_profile, load_profile
from agent.launch.training import ensure, import_root, training_python
from agent.store.disk import Disk
from agent.store.paths import check_name
from agent.store.versions import sha256
from trainers.contract import Value
from trainers.layout import REFERENCE_NAME


@dataclass(frozen=True, kw_only=True)
class ByHand:
    """What to train and where to leave it."""

    trainer: str
    task: str
    out: Path
    hp_ref: Path | None = None
    """None: the shipped reference with the task's preset."""
    fold: int = 0
    fold_count: int = 1
    seed: int = 0
    epochs: int | None = None
    data: Mapping[str, Value] = field(default_factory=dict)
    profile: Path | None = None
    gpus: int | None = None


def train_by_hand(wanted: ByHand) -> int:
    """Train and return the exit code of the task (0: result.json holds a score). Raises UsageError."""
    check_name(wanted.task, what="--task")
    if wanted.fold >= wanted.fold_count:
        raise UsageError(f"--fold {wanted.fold}: must be below --fold-count {wanted.fold_count}")
    out = wanted.out.absolute()
    if (out / "result.json").exists():
        raise UsageError(f"{out}/result.json exists: give another --out; a result is never overwritten")
    found = find_trainer(wanted.trainer)
    preset = found.task(wanted.task)
    reference = found.reference(wanted.task, wanted.hp_ref)
    profile = load_profile(wanted.profile) if wanted.profile else default_profile()
    root = import_root()
    ensure(profile, found.trainer, root=root)
    disk = Disk()
    disk.make_folder(out)
    disk.write(out / REFERENCE_NAME, reference.to_text())
    if found.frozen is not None:
        disk.write(out / "trainer.json", found.frozen)
    gpus = wanted.gpus if wanted.gpus is not None else min(1, len(local_gpus())) if found.trainer.uses_gpu else 0
    plan = {
        "study": "by-hand",
        "task": wanted.task,
        "trainer": found.trainer.name,
        "trainer_file": str(out / "trainer.json") if found.frozen is not None else None,
        "round": 0,
        "candidate": "c00",
        "row": 0,
        "fold": wanted.fold,
        "folds": wanted.fold_count,
        "seed": wanted.seed,
        "attempt": 1,
        "epochs": wanted.epochs or (preset.epochs if preset else found.trainer.default_epochs),
        "data": dict(wanted.data),
        "cpus": profile.cpus or found.trainer.cpus,
        "gpus": gpus,
        "objective": reference.objective.metric,
        "direction": reference.objective.direction,
        "reference": str(out / REFERENCE_NAME),
        "reference_sha256": sha256(reference.to_text()),
        "out": str(out),
    }
    disk.write_json(out / "plan.json", plan)
    environment = dict(os.environ)
    if root is not None:
        environment["PYTHONPATH"] = str(root)
    command = [str(training_python(profile)), "-m", "trainers.job", "run", "--plan", str(out / "plan.json")]
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL).returncode
