"""Entry points of the ResNet-9 trainer: `train` and `test` of trainers.contract."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import torch

from trainers.contract import Control, TrainerError, TrialResult, TrialSpec, Value
from trainers.layout import AttemptFiles
from trainers.pytorch import attempt, checkpoint
from trainers.pytorch.device import built_within_memory, choose_dtype, device_name, halving_batch, prepare_device
from trainers.resnet9 import plots
from trainers.resnet9.augment import Augment
from trainers.resnet9.config import Config
from trainers.resnet9.data import Data, DataProblem, load_data
from trainers.resnet9.loop import Training, evaluate, place
from trainers.resnet9.metrics import Tally, per_class
from trainers.resnet9.model import build_model

DIRECTIONS: Mapping[str, str] = {"val_accuracy": "maximize", "val_loss": "minimize", "val_f1": "maximize"}
"""The metrics on the validation split; each may be the objective."""


def train(spec: TrialSpec, control: Control) -> TrialResult:
    """Train one trial in `spec.out`, going on from a checkpoint of this or an earlier attempt where one fits.

    The metrics are those of the epoch with the best objective, whose weights checkpoint_best.pt holds.
    Raises BadConfig, DataProblem, OutOfMemory, Interrupted, TrainerError (no such device), OSError.
    """
    config = Config.from_values(spec.values)
    epochs = attempt.epoch_budget(spec, directions=DIRECTIONS)
    device = prepare_device(spec.gpus, cpus=spec.cpus, trainer="resnet9")
    data = load_data(spec)
    _say(data)
    training = _build(spec, config, data, device, epochs)
    notes = attempt.resume(training, spec)
    training.run(control, AttemptFiles(spec.out), save_every=spec.save_every)
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
    return attempt.finish(spec, config, result, lambda: plots.draw(spec.out, training.history, best["epoch"]))


def test(spec: TrialSpec, control: Control) -> TrialResult:
    """Evaluate checkpoint_best.pt of `spec.out` on the test set, or on validation where the data has no test set.

    Raises TrainerError (no usable checkpoint), DataProblem (the data changed since), BadConfig, OSError.
    """
    device = prepare_device(spec.gpus, cpus=spec.cpus, trainer="resnet9")
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
    placed, classes = place(part, device), len(data.classes)

    def measured(size: int) -> Tally:
        return evaluate(model, placed, augment, classes=classes, device=device, dtype=dtype, batch=size)

    tally = halving_batch(measured, batch)
    return TrialResult(
        metrics=tally.numbers("test"),
        directions={name.replace("val_", "test_"): direction for name, direction in DIRECTIONS.items()},
        samples=len(part),
        per_class=per_class(tally.confusion.cpu(), data.classes),
        notes={
            "val_and_test_same_dataset": data.test is None,
            "best_epoch": state["epoch"],
            "device": device_name(device),
        },
    )


def _build(spec: TrialSpec, config: Config, data: Data, device: torch.device, epochs: int) -> Training:
    identity = attempt.identity(spec, config, data=data.fingerprint(), epochs=epochs)
    return built_within_memory(
        lambda: Training(
            config=config,
            data=data,
            device=device,
            seed=spec.seed,
            epochs=epochs,
            objective=spec.objective,
            direction=spec.direction,
            identity=identity,
        ),
        remedy=Training.remedy,
    )


def _say(data: Data) -> None:
    """What was found in the data, to the task's log."""
    lines = [f"data: {key}: {value}" for key, value in data.notes.items() if value]
    sys.stderr.write("".join(f"{line}\n" for line in lines))


def _notes(training: Training, data: Data) -> dict[str, object]:
    found = {"data": dict(data.notes)} if data.notes else {}
    return attempt.training_notes(training) | {
        **found,
        "val_and_test_same_dataset": data.test is None,
        "samples": {
            "train": len(data.train),
            "val": len(data.val),
            "test": 0 if data.test is None else len(data.test),
        },
    }
