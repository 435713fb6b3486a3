"""Entry points of the Informer trainer: `train` and `test` of trainers.contract."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch

from trainers.contract import Control, DataProblem, TrainerError, TrialResult, TrialSpec, Value
from trainers.informer import baselines
from trainers.informer.config import Config
from trainers.informer.data import Series, load_series, refuse_short
from trainers.informer.loop import Sums, Training, evaluate
from trainers.informer.model import build_model
from trainers.layout import AttemptFiles
from trainers.naive import worse_than_naive
from trainers.pytorch import attempt, checkpoint, curves
from trainers.pytorch.device import built_within_memory, choose_dtype, device_name, halving_batch, prepare_device

DIRECTIONS: Mapping[str, str] = {"val_mse": "minimize", "val_mae": "minimize", "val_loss": "minimize"}
"""The metrics on the validation part; each may be the objective."""
PANELS: curves.Panels = {
    "loss": ("training loss (criterion)", ("train_loss", "val_loss")),
    "val_loss": ("validation loss (criterion)", ("val_loss",)),
    "mse": ("squared error", ("train_mse", "val_mse")),
    "mae": ("absolute error", ("train_mae", "val_mae")),
}


def train(spec: TrialSpec, control: Control) -> TrialResult:
    """Train one trial in `spec.out`, going on from a checkpoint of this or an earlier attempt where one fits.

    The metrics are those of the epoch with the best objective, whose weights checkpoint_best.pt holds; beside them
    stand the baselines' errors on the same windows.
    Raises BadConfig, DataProblem, OutOfMemory, Interrupted, TrainerError (no such device), OSError.
    """
    config = Config.from_values(spec.values)
    epochs = attempt.epoch_budget(spec, directions=DIRECTIONS)
    device = prepare_device(spec.gpus, cpus=spec.cpus, trainer="informer")
    series = load_series(spec)
    refuse_short(series, config.seq_len)
    sys.stderr.write("".join(f"data: {line}\n" for line in series.told))
    training = _build(spec, config, series, device, epochs)
    notes = attempt.resume(training, spec)
    training.run(control, AttemptFiles(spec.out), save_every=spec.save_every)
    best = training.best
    beside = baselines.measure(series, "val", config.seq_len)
    windows = {part: len(series.starts(part, config.seq_len)) for part in series.parts}
    notes |= attempt.training_notes(training) | {"data": dict(series.notes), "windows": windows}
    effective: dict[str, Value] = {}
    if training.batch_size != config.batch_size:
        effective["batch_size"] = training.batch_size
    result = _result("val", best["metrics"], beside, windows["val"], notes, effective, epochs_run=training.epoch)
    return attempt.finish(
        spec, config, result, lambda: curves.draw(spec.out, training.history, best["epoch"], PANELS)
    )


def test(spec: TrialSpec, control: Control) -> TrialResult:
    """Evaluate checkpoint_best.pt of `spec.out` on the test part.

    Raises TrainerError (no usable checkpoint), DataProblem (the data changed since), BadConfig, OSError.
    """
    device = prepare_device(spec.gpus, cpus=spec.cpus, trainer="informer")
    try:
        state = checkpoint.load(AttemptFiles(spec.out).checkpoint_best)
        config = Config.from_values(state["identity"]["values"])
        series = load_series(spec)
        if state["identity"]["data"] != series.fingerprint():
            raise DataProblem(f"the data or its split differs from what {spec.out} was trained on")
        model = build_model(
            config,
            channels=len(series.columns),
            targets=series.targets,
            pred_len=series.pred_len,
            calendar=series.calendar,
            seed=0,
            device=device,
        )
        model.load_state_dict(state["model"])
        batch = 2 * int(state["batch_size"])
    except (checkpoint.CheckpointProblem, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise TrainerError(f"no test without a good checkpoint: {error}") from error
    placed, dtype = series.to(device), choose_dtype(config.precision, device)

    def measured(size: int) -> Sums:
        return evaluate(model, config, placed, "test", dtype=dtype, batch=size)

    numbers = halving_batch(measured, batch).numbers("test")
    beside = baselines.measure(series, "test", config.seq_len)
    windows = len(series.starts("test", config.seq_len))
    notes = {"best_epoch": state["epoch"], "device": device_name(device), "windows": {"test": windows}}
    return _result("test", numbers, beside, windows, notes, {}, epochs_run=None)


def _build(spec: TrialSpec, config: Config, series: Series, device: torch.device, epochs: int) -> Training:
    identity = attempt.identity(spec, config, data=series.fingerprint(), epochs=epochs)
    return built_within_memory(
        lambda: Training(
            config=config,
            series=series,
            device=device,
            seed=spec.seed,
            epochs=epochs,
            objective=spec.objective,
            direction=spec.direction,
            identity=identity,
        ),
        remedy=Training.remedy,
    )


def _result(
    part: str,
    numbers: Mapping[str, float],
    beside: Mapping[str, Mapping[str, float]],
    windows: int,
    notes: dict[str, Any],
    effective: Mapping[str, Value],
    *,
    epochs_run: int | None,
) -> TrialResult:
    """The result of one part, the baselines' squared errors among its metrics; the comparison goes to the log."""
    model = {name: numbers[f"{part}_{name}"] for name in ("mse", "mae")}
    sys.stderr.write(baselines.table(part, model, beside, windows) + "\n")
    notes["baselines"] = {part: {name: dict(found) for name, found in beside.items()}}
    metrics = {**numbers, **{f"{part}_mse_{name}": found["mse"] for name, found in beside.items()}}
    if warning := worse_than_naive(metrics, baselines.NAMES):
        sys.stderr.write(f"warning: {warning}\n")
        notes["warning"] = warning
    return TrialResult(
        metrics=metrics,
        directions=dict.fromkeys(metrics, "minimize"),
        samples=windows,
        effective=effective,
        notes=notes,
        epochs_run=epochs_run,
    )
