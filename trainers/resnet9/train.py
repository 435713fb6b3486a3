"""Entry points of the ResNet-9 trainer: `train` and `test` of trainers.contract."""

from __future__ import annotations

import dataclasses
import platform
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy
import torch

from trainers.contract import BadConfig, Control, OutOfMemory, TrainerError, TrialResult, TrialSpec, Value
from trainers.files import write_json
from trainers.layout import AttemptFiles
from trainers.registry import TRAINERS
from trainers.resnet9 import checkpoint, plots
from trainers.resnet9.augment import Augment
from trainers.resnet9.config import Config
from trainers.resnet9.data import Data, DataProblem, Part, load_data
from trainers.resnet9.loop import Training, evaluate, place
from trainers.resnet9.metrics import Tally, per_class
from trainers.resnet9.model import build_model, count_parameters
from trainers.resnet9.optim import choose_device, choose_dtype, is_out_of_memory

DIRECTIONS: Mapping[str, str] = {"val_accuracy": "maximize", "val_loss": "minimize", "val_f1": "maximize"}
"""The metrics on the validation split; each may be the objective."""


def train(spec: TrialSpec, control: Control) -> TrialResult:
    """Train one trial in `spec.out`, going on from a checkpoint of this or an earlier attempt where one fits.

    The metrics are those of the epoch with the best objective, whose weights checkpoint_best.pt holds.
    Raises BadConfig, DataProblem, OutOfMemory, Interrupted, TrainerError (no such device), OSError.
    """
    config, epochs = _settings(spec)
    device = _prepare_device(spec)
    data = load_data(spec)
    files = AttemptFiles(spec.out)
    training = _build(spec, config, data, device, epochs)
    notes = _resume(training, spec)
    training.run(control, files)
    best = training.best
    notes |= _notes(training, data)
    effective: dict[str, Value] = {}
    if training.batch_size != config.train_batch_size:
        effective["train_batch_size"] = training.batch_size
    result = TrialResult(
        metrics=best["metrics"],
        directions=DIRECTIONS,
        samples=len(data.val),
        per_class=per_class(best["confusion"], data.classes),
        effective=effective,
        notes=notes,
        epochs_run=training.epoch,
    )
    write_json(files.summary, _summary(spec, config, result))
    try:
        plots.draw(spec.out, training.history, best["epoch"])
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        # A missing font or a full disk must not cost a finished training; the result says what happened.
        return dataclasses.replace(result, notes={**notes, "plots_failed": f"{type(error).__name__}: {error}"})
    return result


def test(spec: TrialSpec, control: Control) -> TrialResult:
    """Evaluate checkpoint_best.pt of `spec.out` on the test set, or on validation where the data has no test set.

    Raises TrainerError (no usable checkpoint), DataProblem (the data changed since), BadConfig, OSError.
    """
    device = _prepare_device(spec)
    try:
        state = checkpoint.load(AttemptFiles(spec.out).checkpoint_best)
        config = Config.from_values(state["identity"]["values"])
        data = load_data(spec)
        if state["identity"]["data"] != data.fingerprint():
            raise DataProblem(f"the data or its split differs from what {spec.out} was trained on")
        shape = {"image_channels": data.image_shape[2], "classes": len(data.classes)}
        model = build_model(config, **shape, seed=0, device=device)
        model.load_state_dict(state["model"])
        batch = 2 * int(state["batch_size"])
    except (checkpoint.CheckpointProblem, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise TrainerError(f"no test without a good checkpoint: {error}") from error
    mean, std = data.mean_and_std()
    augment = Augment(config, mirror=data.mirror, mean=mean.to(device), std=std.to(device))
    dtype = choose_dtype(config.precision, device)
    part = data.val if data.test is None else data.test
    tally = _evaluate_within_memory(model, place(part, device), augment, len(data.classes), device, dtype, batch)
    return TrialResult(
        metrics=tally.numbers("test"),
        directions={name.replace("val_", "test_"): direction for name, direction in DIRECTIONS.items()},
        samples=len(part),
        per_class=per_class(tally.confusion.cpu(), data.classes),
        notes={"val_and_test_same_dataset": data.test is None, "best_epoch": state["epoch"], "device": _name(device)},
    )


def _settings(spec: TrialSpec) -> tuple[Config, int]:
    config = Config.from_values(spec.values)
    if spec.objective not in DIRECTIONS:
        raise BadConfig(f"objective {spec.objective!r}: resnet9 measures {', '.join(DIRECTIONS)}")
    if spec.direction != DIRECTIONS[spec.objective]:
        raise BadConfig(f"objective {spec.objective}: direction must be {DIRECTIONS[spec.objective]}")
    registered = TRAINERS["resnet9"]
    preset = registered.tasks.get(spec.task)
    epochs = spec.epochs
    if epochs is None:
        epochs = preset.epochs if preset else registered.default_epochs
    if epochs is None or epochs < 1:
        raise BadConfig(f"epochs = {epochs}: must be at least 1")
    return config, epochs


def _prepare_device(spec: TrialSpec) -> torch.device:
    """The trial's device; the process's threads and cuDNN's choice of algorithms are set for it."""
    device = choose_device(spec.gpus)
    torch.set_num_threads(max(1, spec.cpus))
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # batches all have one shape; the fastest kernel pays off
    return device


def _build(spec: TrialSpec, config: Config, data: Data, device: torch.device, epochs: int) -> Training:
    identity = {
        "values": dataclasses.asdict(config),
        "data": data.fingerprint(),
        "seed": spec.seed,
        "fold": spec.fold,
        "folds": spec.folds,
        "epochs": epochs,
        "objective": spec.objective,
    }
    try:
        return Training(
            config=config,
            data=data,
            device=device,
            seed=spec.seed,
            epochs=epochs,
            objective=spec.objective,
            direction=spec.direction,
            identity=identity,
        )
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(
            f"the model does not fit into memory, whatever the batch; use a smaller width ({error})"
        ) from error


def _resume(training: Training, spec: TrialSpec) -> dict[str, object]:
    """Go on from this folder's own last checkpoint, else from the newest earlier attempt's that can be used.

    Notes and log say from which, and why not from the others.
    """
    rejected: list[str] = []
    notes: dict[str, object] = {}
    fresh = training.snapshot()
    previous = () if spec.previous is None else (spec.previous, *spec.earlier)
    for folder in dict.fromkeys((spec.out, *previous)):
        path = AttemptFiles(folder).checkpoint_last
        if not path.exists():
            continue
        try:
            training.restore(checkpoint.load(path, identity=training.identity))
        except checkpoint.CheckpointProblem as error:
            rejected.append(str(error))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            training.restore(fresh)
            rejected.append(f"{path}: does not fit this model ({str(error)[:200]})")
        else:
            notes["resumed_from"] = f"{path} (epoch {training.epoch}, image {training.position})"
            break
    if rejected:
        notes["checkpoint_rejected"] = rejected
    _say_resume(rejected, notes.get("resumed_from"))
    return notes


def _say_resume(rejected: Sequence[str], resumed_from: object) -> None:
    """To the task's log at once: the notes are written only when the training has ended."""
    lines = [f"checkpoint not used: {reason}" for reason in rejected]
    if resumed_from is not None:
        lines.append(f"going on from {resumed_from}")
    elif rejected:
        lines.append("no earlier checkpoint can be used: training starts anew")
    sys.stderr.write("".join(f"{line}\n" for line in lines))


def _notes(training: Training, data: Data) -> dict[str, object]:
    return {
        "best_epoch": training.best["epoch"],
        "stopped_early": training.epoch < training.epochs,
        "oom_adjusted": training.oom_adjusted,
        "val_and_test_same_dataset": data.test is None,
        "model_parameters": count_parameters(training.model),
        "device": _name(training.device),
        "precision": str(training.dtype).removeprefix("torch."),
        "seconds": round(sum(row["seconds"] for row in training.history), 3),
        "samples": {
            "train": len(data.train),
            "val": len(data.val),
            "test": 0 if data.test is None else len(data.test),
        },
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__},
    }


def _summary(spec: TrialSpec, config: Config, result: TrialResult) -> dict[str, object]:
    """summary.json of an attempt, in the schema of val_summary.json, with what is known of the training beside."""
    metrics: dict[str, Any] = {
        name: {"value": value, "direction": result.directions[name]} for name, value in result.metrics.items()
    }
    return {
        "trainer": "resnet9",
        "task": spec.task,
        "objective": spec.objective,
        "metrics": metrics,
        "per_class": result.per_class,
        "parameters": dataclasses.asdict(config),
        "effective": dict(result.effective),
        "seed": spec.seed,
        "fold": spec.fold,
        "folds": spec.folds,
        "epochs_run": result.epochs_run,
        **result.notes,
    }


def _evaluate_within_memory(
    model: torch.nn.Module,
    part: Part,
    augment: Augment,
    classes: int,
    device: torch.device,
    dtype: torch.dtype,
    batch: int,
) -> Tally:
    """`evaluate`, halving the batch while memory runs out."""
    while True:
        try:
            return evaluate(model, part, augment, classes=classes, device=device, dtype=dtype, batch=batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or batch == 1:
                raise
        batch = max(1, batch // 2)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
