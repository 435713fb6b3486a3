"""Entry points of the nnU-Net trainer: `train` and `test` of trainers.contract.

Each trial has an nnUNet_results of its own, `nnUNet_results` in its attempt's folder: nnU-Net names results by class,
plans and configuration, not by hyperparameters, so that trials that share one would overwrite each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import random
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainers.contract import (
    BadConfig,
    Control,
    OutOfMemory,
    TrainerError,
    TrialResult,
    TrialSpec,
    Value,
)
from trainers.files import FileProblem, decoded, open_in_place, read_json_object, write_json
from trainers.layout import AttemptFiles
from trainers.nnunet import accumulate, prepare, workers
from trainers.nnunet.config import Config
from trainers.nnunet.plans import IDENTIFIERS
from trainers.nnunet.where import Dataset, locate

DIRECTIONS: Mapping[str, str] = {"Dice": "maximize", "IoU": "maximize"}
"""Means over the foreground classes, of the validation predictions at full resolution."""
RESULTS = "nnUNet_results"
"""Folder in an attempt's own, and nnU-Net's variable that names it."""
_IDENTITY = "roundtable.json"
_LATEST, _FINAL = "checkpoint_latest.pth", "checkpoint_final.pth"


def train(spec: TrialSpec, control: Control) -> TrialResult:
    """Train and validate one fold in `spec.out`, going on from an earlier attempt's checkpoint where one fits.

    Raises BadConfig, DataProblem, OutOfMemory, Interrupted, TrainerError (no nnU-Net, no such device, the folder is
    in use, too little memory), OSError.
    """
    config = _settings(spec)
    with _only_trial(spec.out):
        dataset = locate(spec.task, spec.data, os.environ)
        prepare.enter(dataset)
        os.environ[RESULTS] = str(spec.out / RESULTS)
        os.environ["NNUNET_HP_REF"] = str(spec.reference)
        pools = workers.bound(spec.cpus, gpu=spec.gpus > 0)
        want = (config.plans, config.configuration)
        folds = max(spec.folds, spec.fold + 1)
        prepare.ensure(dataset, [want], folds=folds, cpus=pools, stop=control.stop, say=prepare.say)
        with _memory_explained(config), workers.pools_for(workers.usable(spec.cpus)):
            return _train(spec, control, config, dataset)


def _train(spec: TrialSpec, control: Control, config: Config, dataset: Dataset) -> TrialResult:
    trainer = build(spec, config, dataset)
    folder = Path(trainer.output_folder)
    files = AttemptFiles(spec.out)
    trainer.stop, trainer.report, trainer.metrics_file = control.stop, control.report, files.metrics
    trainer.save_every = spec.save_every
    identity = _identity(spec, dataset, trainer)
    notes = _resume(spec, trainer, identity)
    write_json(folder / _IDENTITY, identity)
    _link(files.checkpoint_last, folder / _LATEST)
    try:
        if trainer.current_epoch < trainer.num_epochs:
            trainer.run_training()
        else:
            trainer.on_train_start()  # an earlier attempt was stopped in its validation
        _link(files.checkpoint_last, folder / _FINAL)
        trainer.perform_actual_validation()
    finally:
        trainer.close_loaders()
    summary = read_nnunet_summary(folder / "validation" / "summary.json")
    cases = accumulate.per_case(summary, class_names(dataset), fold=spec.fold)
    result = _result(spec, config, trainer, cases, notes)
    write_json(files.summary, {"trainer": "nnunet", "objective": spec.objective, **_plain(result)})
    return result


def build(spec: TrialSpec, config: Config, dataset: Dataset) -> Any:
    """The trainer object for a trial, seeded and not yet initialized."""
    try:
        import numpy as np
        import torch

        from trainers.nnunet.trainer import nnUNetTrainerRoundtable
        from trainers.pytorch.device import choose_device
    except ModuleNotFoundError as error:
        raise TrainerError(f"{error}: install the extra nnunet (uv sync --extra nnunet)") from error
    device = choose_device(spec.gpus, trainer="nnunet")
    torch.set_num_threads(workers.torch_threads(spec.cpus, gpu=device.type == "cuda"))
    random.seed(spec.seed)
    np.random.seed(spec.seed)
    torch.manual_seed(spec.seed)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # as nnU-Net's own run_training
    plans = prepare.read_plans(dataset, config.plans)
    assert plans is not None  # ensure() made them
    trainer = nnUNetTrainerRoundtable(
        plans={**plans, "continue_training": False},
        configuration=config.configuration,
        fold=spec.fold,
        dataset_json=read_json_object(dataset.preprocessed / "dataset.json"),
        device=device,
    )
    trainer.apply(config)
    return trainer


def test(spec: TrialSpec, control: Control) -> TrialResult:
    """Predict imagesTs with the final checkpoint of `spec.out` and compare with labelsTs.

    Raises TrainerError: no labelled test cases, no checkpoint, no such device.
    """
    config = _settings(spec)
    dataset = locate(spec.task, spec.data, os.environ)
    prepare.enter(dataset)
    workers.bound(spec.cpus, gpu=spec.gpus > 0)
    images, labels = ((dataset.raw / part) if dataset.raw else Path(part) for part in ("imagesTs", "labelsTs"))
    if not images.is_dir() or not labels.is_dir():
        raise TrainerError(
            f"--use-test-data: {dataset.name} has no labelled test cases; they belong in imagesTs and labelsTs "
            f"of its folder in nnUNet_raw ({dataset.raw or 'not given: --data raw=FOLDER'})"
        )
    from trainers.nnunet.predict import predict_folder

    model = _model_folder(spec.out, dataset, config)
    target = spec.out / "test"
    with _memory_explained(config), workers.pools_for(workers.usable(spec.cpus)):
        summary = predict_folder(model, spec.fold, images, labels, target, gpus=spec.gpus, cpus=spec.cpus)
    cases = accumulate.per_case(summary, class_names(dataset), fold=spec.fold)
    classes = accumulate.per_class(cases)
    measured = accumulate.foreground(classes)
    return TrialResult(
        metrics={f"test_{name}": value for name, value in measured.items()} | measured,
        directions=dict(DIRECTIONS) | {f"test_{name}": direction for name, direction in DIRECTIONS.items()},
        samples=len(cases),
        per_class=classes,
        per_case=cases,
    )


def _settings(spec: TrialSpec) -> Config:
    config = Config.from_values(spec.values, epochs=spec.epochs)
    if spec.objective not in DIRECTIONS:
        raise BadConfig(f"objective {spec.objective!r}: nnunet measures {', '.join(DIRECTIONS)}")
    if spec.direction != DIRECTIONS[spec.objective]:
        raise BadConfig(f"objective {spec.objective}: direction must be {DIRECTIONS[spec.objective]}")
    return config


def _identity(spec: TrialSpec, dataset: Dataset, trainer: Any) -> dict[str, Any]:
    """What a checkpoint must agree in to be gone on from. More epochs may follow: so a training is extended."""
    free = ("num_epochs", "compile")
    values = {name: value for name, value in vars(trainer.config).items() if name not in free}
    plan = trainer.configuration_manager.configuration
    return {
        "values": values,
        "dataset": dataset.name,
        "fold": spec.fold,
        "seed": spec.seed,
        "network": plan["architecture"],
        "patch_size": [int(side) for side in plan["patch_size"]],
        "batch_size": plan["batch_size"],
    }


def _resume(spec: TrialSpec, trainer: Any, identity: Mapping[str, Any]) -> dict[str, object]:
    """Go on from this attempt's own checkpoint, else from the newest earlier attempt's that can be used.

    Notes and log say from which, and why not from the others.
    """
    from trainers.nnunet.trainer import CheckpointProblem

    rejected: list[str] = []
    notes: dict[str, object] = {}
    folder = Path(trainer.output_folder)
    relative = folder.relative_to(spec.out)
    previous = () if spec.previous is None else (spec.previous, *spec.earlier)
    for source in dict.fromkeys((spec.out, *previous)):
        for name in (_FINAL, _LATEST):
            path = source / relative / name
            if not path.exists():
                continue
            problem = _stranger(path.with_name(_IDENTITY), identity)
            if problem:
                rejected.append(problem)
                continue
            try:
                trainer.load_checkpoint(str(path))
            except CheckpointProblem as error:
                rejected.append(str(error))
                continue
            if source != spec.out:
                shutil.copyfile(path, folder / name)
            notes["resumed_from"] = f"{path} (epoch {trainer.current_epoch})"
            break
        if notes:
            break
    if rejected:
        notes["checkpoint_rejected"] = rejected
        for text in rejected:
            prepare.say(f"not resumed: {text}")
    return notes


def _stranger(path: Path, identity: Mapping[str, Any]) -> str:
    """Why the checkpoint beside this file belongs to another training, or an empty string."""
    try:
        found = read_json_object(path)
    except FileProblem as error:
        return f"the checkpoint beside it says nothing about its training: {error}"
    different = [key for key in identity if found.get(key) != identity[key]]
    return f"{path.parent}: belongs to another training (different: {', '.join(different)})" if different else ""


def _link(link: Path, target: Path) -> None:
    """checkpoint_last.pt names nnU-Net's checkpoint, so that what looks for a trial's checkpoint finds it."""
    temporary = link.with_suffix(".link")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target.relative_to(link.parent))
    temporary.replace(link)


def _result(
    spec: TrialSpec, config: Config, trainer: Any, cases: list[dict[str, Any]], notes: dict[str, object]
) -> TrialResult:
    import torch

    from trainers.pytorch.device import device_name

    classes = accumulate.per_class(cases)
    absent = [name for name, entry in classes.items() if not entry["cases"]]
    metrics = accumulate.foreground(classes)
    if not metrics:
        raise TrainerError(f"fold {spec.fold}: no validation case has any foreground, in label or prediction")
    plan = trainer.configuration_manager
    effective: dict[str, Value] = {}
    if spec.epochs is not None and spec.epochs != spec.values.get("num_epochs"):
        effective["num_epochs"] = spec.epochs
    return TrialResult(
        metrics=metrics,
        directions=DIRECTIONS,
        samples=len(cases),
        per_class=classes,
        per_case=cases,
        effective=effective,
        notes=notes
        | {
            "patch_size": [int(side) for side in plan.patch_size],
            "batch_size": int(plan.batch_size),
            "features_per_stage": list(plan.network_arch_init_kwargs["features_per_stage"]),
            "model_parameters": sum(p.numel() for p in trainer.network.parameters()),
            "classes_absent": absent,
            "device": device_name(trainer.device),
            "seed_leaves_open": _seed_leaves_open(trainer.device),
            "processes": {name: os.environ[name] for name in (workers.POOLS, workers.AUGMENTING)},
            "versions": {"python": platform.python_version(), "torch": torch.__version__, "nnunetv2": _version()},
        },
        epochs_run=trainer.current_epoch,
    )


def _seed_leaves_open(device: Any) -> str:
    """What two trainings with one seed may still differ in, for the summary."""
    from trainers.pytorch.device import seed_leaves_open

    workers_too = "the order in which worker processes hand over batches, and their augmentation; "
    return (workers_too if int(os.environ[workers.AUGMENTING]) > 0 else "") + seed_leaves_open(device)


def _plain(result: TrialResult) -> dict[str, Any]:
    metrics = {n: {"value": v, "direction": result.directions[n]} for n, v in result.metrics.items()}
    return {
        "metrics": metrics,
        "samples": result.samples,
        "per_class": result.per_class,
        "per_case": result.per_case,
        "effective": dict(result.effective),
        "epochs_run": result.epochs_run,
        **result.notes,
    }


def class_names(dataset: Dataset) -> dict[str, str]:
    """nnU-Net's key of a class in its summaries ("1", "(1, 2)") -> its name in dataset.json."""
    labels: Any = dataset.description()["labels"]
    names = {}
    for name, value in labels.items():
        key = str(tuple(value)) if isinstance(value, list) else str(value)
        names[key] = name
    return names


def read_nnunet_summary(path: Path) -> dict[str, Any]:
    """nnU-Net's summary.json, whose NaN means that a class is in neither segmentation. Raises TrainerError."""
    import json

    try:
        found: dict[str, Any] = json.loads(decoded(path.read_bytes(), name=str(path)))
    except (OSError, ValueError, FileProblem) as error:
        raise TrainerError(f"{path}: nnU-Net's validation left no readable summary: {error}") from error
    return found


def _model_folder(out: Path, dataset: Dataset, config: Config) -> Path:
    name = f"nnUNetTrainerRoundtable__{IDENTIFIERS[config.plans]}__{config.configuration}"
    return out / RESULTS / dataset.name / name


@contextlib.contextmanager
def _only_trial(out: Path) -> Iterator[None]:
    """Refuse a folder in which another training runs: they would overwrite each other's checkpoints."""
    out.mkdir(parents=True, exist_ok=True)
    with open(out / ".nnunet.lock", "a", encoding="utf-8", opener=open_in_place) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainerError(f"{out}: another nnU-Net training runs in this folder; give each its own") from None
        yield


@contextlib.contextmanager
def _memory_explained(config: Config) -> Iterator[None]:
    """Turn running out of memory into OutOfMemory with what helps."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        from trainers.pytorch.device import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(
            f"nnunet: the network with batch_size {config.batch_size}, patch_size {config.patch_size}, patch_scale "
            f"{config.patch_scale} and width {config.width} does not fit into memory: {str(error)[:300]}"
        ) from error


def _version() -> str:
    from importlib.metadata import version

    return version("nnunetv2")
