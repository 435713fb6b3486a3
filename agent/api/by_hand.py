"""One training outside a study: the same trainer, contract and files, in a folder the person names."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agent.catalogue import find_trainer
from agent.datacheck import check_content, check_data, check_task, with_absolute_path
from agent.errors import UsageError
from agent.fitting import Setting, fitted, noted
from agent.launch.environment import without_secrets
from agent.launch.gpus import local_gpus
from agent.launch.profile import default_profile, load_profile
from agent.launch.training import ensure, import_root, job_module, training_python
from agent.options.commands import Training
from agent.options.option import full_record
from agent.report.naive import naive_names
from agent.store.disk import Disk, storage
from agent.store.paths import check_name
from agent.store.versions import sha256
from trainers.contract import TASK_OUTCOMES
from trainers.files import FileProblem, read_json_object
from trainers.layout import REFERENCE_NAME, AttemptFiles
from trainers.naive import worse_than_naive
from trainers.registry import RegisteredTrainer
from trainers.visible import VARIABLE

Say = Callable[[str], None]

DONE, FAILED = 0, 1


@full_record
class ByHand(Training):
    """What to train and where to leave it."""


def train_by_hand(wanted: ByHand, *, say: Say) -> int:
    """Train once; `say` is told the result, or what failed, in one line.

    Returns 0 where result.json holds a score, 1 where the training failed, 128 + the signal where it was interrupted
    and the same call goes on from its checkpoint. Raises UsageError before anything is written or removed.
    """
    check_name(wanted.task, what="--task")
    if not 0 <= wanted.fold < wanted.fold_count:
        raise UsageError(f"--fold {wanted.fold}: must be below --fold-count {wanted.fold_count}")
    files = AttemptFiles(wanted.out.absolute())
    out = files.root
    failed = _failed_before(files)
    found = find_trainer(wanted.trainer)
    preset = found.task(wanted.task)
    check_task(found.trainer, wanted.task, wanted.data, brought=found.brought)
    check_data(found.trainer, wanted.data)
    there = local_gpus()
    gpus = _gpus(wanted.gpus, found.trainer, there)
    reference = found.reference(wanted.task, wanted.hp_ref)
    told = check_content(found.trainer, wanted.task, wanted.data, reference.values(), folds=wanted.fold_count)
    about = Setting(
        trainer=found.trainer,
        task=wanted.task,
        data=with_absolute_path(wanted.data, found.trainer),
        folds=wanted.fold_count,
        description=found.frozen,
    )
    given = reference.values()
    reference = fitted(reference, about, file=str(wanted.hp_ref or f"{found.trainer.name}'s reference"))
    if reference.values() != given:
        told = (*told, *noted(reference))
    profile = load_profile(wanted.profile) if wanted.profile else default_profile()
    root = import_root()
    ensure(profile, found.trainer, root=root)
    for line in told:
        say(line)
    disk = Disk()
    disk.make_folder(out)
    if failed is not None:
        say(f"{out}: replacing the result of a training that failed ({failed})")
    # exit.json of an interrupted training goes too: what stands there afterwards is this training's.
    with storage(out):
        for path in (files.result, files.exit, files.claim):
            path.unlink(missing_ok=True)
    disk.write(out / REFERENCE_NAME, reference.to_text())
    if found.frozen is not None:
        disk.write(out / "trainer.json", found.frozen)
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
        "data": with_absolute_path(wanted.data, found.trainer),
        "cpus": profile.cpus or found.trainer.cpus,
        "gpus": gpus,
        "objective": reference.objective.metric,
        "direction": reference.objective.direction,
        "reference": str(out / REFERENCE_NAME),
        "reference_sha256": sha256(reference.to_text()),
        "out": str(out),
    }
    disk.write_json(out / "plan.json", plan)
    environment = without_secrets(os.environ)
    environment |= {name: value for name, value in profile.variables("train").items() if name not in profile.env}
    if gpus:
        # No more than it was given: a program may take all that it sees.
        environment[VARIABLE] = ",".join(there[:gpus])
    if root is not None:
        environment["PYTHONPATH"] = str(root)
    command = [str(training_python(profile)), "-P", "-m", job_module(root), "run", "--plan", str(out / "plan.json")]
    code = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL).returncode
    naive = naive_names(found.trainer.name, brought=found.brought)
    return _told(files, reference.objective.metric, code, say, naive)


def _failed_before(files: AttemptFiles) -> str | None:
    """The outcome of a failed training whose result may be replaced; None where there is no result yet.

    Raises UsageError for a result that is ok, and for one that cannot be read and so might be.
    """
    if not os.path.lexists(files.result):
        return None
    try:
        outcome = read_json_object(files.result).get("outcome")
    except FileProblem as error:
        raise UsageError(f"{error}; give another --out, or move the file away") from error
    if outcome not in TASK_OUTCOMES or outcome == "ok":
        raise UsageError(f"{files.result} exists: give another --out; a result is never overwritten")
    return str(outcome)


def _gpus(wanted: int | None, trainer: RegisteredTrainer, there: Sequence[str]) -> int:
    """How many GPUs the trainer may use: as many as asked for, else what it asks for, else one if it uses any.

    there: this machine's that CUDA_VISIBLE_DEVICES leaves. Raises UsageError.
    """
    count = len(there)
    if wanted is None:
        if trainer.gpus > count:
            raise UsageError(
                f"{trainer.name} asks for {trainer.gpus} GPU(s), and this machine has {count} to give "
                f"(nvidia-smi -L, {VARIABLE}); --gpus {count} trains with that"
            )
        return trainer.gpus or (min(1, count) if trainer.uses_gpu else 0)
    if not 0 <= wanted <= count:
        limit = f" that {VARIABLE}={os.environ[VARIABLE]!r} leaves" if VARIABLE in os.environ else ""
        raise UsageError(f"--gpus {wanted}: this machine has {count}{limit} (nvidia-smi -L); give 0 to {count}")
    if trainer.most_gpus is not None and wanted > trainer.most_gpus:
        raise UsageError(
            f"--gpus {wanted}: {trainer.name} trains on {trainer.most_gpus} GPU, and the others would stand idle: "
            f"give --gpus {trainer.most_gpus}"
        )
    return wanted


def _told(files: AttemptFiles, objective: str, code: int, say: Say, naive: Sequence[str]) -> int:
    """Say how the training ended; returns the exit code for it."""
    try:
        result = _read(files.result)
        ended = _read(files.exit)
    except FileProblem as error:
        say(f"training failed: {error}")
        return FAILED
    if result is not None and result.get("outcome") == "ok":
        say(f"{objective} {result['metrics'][objective]:.6g} in {files.root}")
        if warning := worse_than_naive(result["metrics"], naive):
            say(f"warning: {warning}")
        return DONE
    if result is not None:
        message = (result.get("error") or {}).get("message") or "no message"
        say(f"training failed ({result.get('outcome')}): {message}; see {files.root}")
        return FAILED
    if ended is not None and ended.get("outcome") == "interrupted":
        say(f"interrupted: {ended.get('message')}; the same call goes on from {files.root}")
        return code
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    say(f"training failed: its process ended {how} and left no result in {files.root}")
    return FAILED


def _read(path: Path) -> dict[str, Any] | None:
    return read_json_object(path) if path.exists() else None
