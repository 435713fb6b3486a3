"""What the entry points of the PyTorch trainers share: the budget, going on, notes, summary.json."""

from __future__ import annotations

import dataclasses
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy
import torch
from torch import nn

from trainers.contract import BadConfig, TrialResult, TrialSpec
from trainers.files import write_json
from trainers.layout import AttemptFiles
from trainers.pytorch import checkpoint
from trainers.pytorch.device import device_name, precision_name, seed_leaves_open
from trainers.pytorch.loop import EpochLoop
from trainers.registry import usable


def epoch_budget(spec: TrialSpec, *, directions: Mapping[str, str]) -> int:
    """The epochs to train: the spec's, else the task's, else the trainer's. Raises BadConfig.

    directions: the metrics that this trainer measures on validation; one of them must be the objective.
    """
    if spec.objective not in directions:
        raise BadConfig(f"objective {spec.objective!r}: {spec.trainer} measures {', '.join(directions)}")
    if spec.direction != directions[spec.objective]:
        raise BadConfig(f"objective {spec.objective}: direction must be {directions[spec.objective]}")
    registered = usable(spec.trainer)
    preset = registered.tasks.get(spec.task)
    epochs = spec.epochs
    if epochs is None:
        epochs = preset.epochs if preset else registered.default_epochs
    if epochs is None or epochs < 1:
        raise BadConfig(f"epochs = {epochs}: must be at least 1")
    return epochs


def identity(spec: TrialSpec, config: Any, *, data: str, epochs: int) -> dict[str, object]:
    """What a checkpoint must agree on to be continued. config: a dataclass. data: fingerprint of data and split."""
    return {
        "values": dataclasses.asdict(config),
        "data": data,
        "seed": spec.seed,
        "fold": spec.fold,
        "folds": spec.folds,
        "epochs": epochs,
        "objective": spec.objective,
    }


def resume(training: EpochLoop[Any], spec: TrialSpec) -> dict[str, object]:
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
            state = checkpoint.load(path, identity=training.identity)
            training.restore(state)
        except checkpoint.CheckpointProblem as error:
            rejected.append(str(error))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            training.restore(fresh)
            rejected.append(f"{path}: does not fit this model ({str(error)[:200]})")
        else:
            unit = training.unit.removesuffix("s")
            notes["resumed_from"] = f"{path} (epoch {training.epoch}, {unit} {training.position})"
            notes |= _changed_precision(state, training)
            break
    if rejected:
        notes["checkpoint_rejected"] = rejected
    _say_resume(rejected, notes, precision_name(training.dtype))
    return notes


def _changed_precision(state: checkpoint.State, training: EpochLoop[Any]) -> dict[str, object]:
    """A note where the checkpoint was trained in another precision: `auto` chooses by the GPU that a node has."""
    # Checkpoints of older versions do not name it, but only float16 scales its loss.
    before = state.get("precision") or ("float16" if state["scaler"] else "bfloat16 or float32")
    return {} if precision_name(training.dtype) in before.split(" or ") else {"precision_before": before}


def _say_resume(rejected: Sequence[str], notes: Mapping[str, object], precision: str) -> None:
    """To the task's log at once: the notes are written only when the training has ended."""
    lines = [f"checkpoint not used: {reason}" for reason in rejected]
    if (resumed_from := notes.get("resumed_from")) is not None:
        lines.append(f"going on from {resumed_from}")
        if before := notes.get("precision_before"):
            lines.append(
                f"the checkpoint was trained in {before}; from here on it is {precision}, as this device has it"
            )
    elif rejected:
        lines.append("no earlier checkpoint can be used: training starts anew")
    sys.stderr.write("".join(f"{line}\n" for line in lines))


def training_notes(training: EpochLoop[Any]) -> dict[str, object]:
    """What a finished training says of itself."""
    return {
        "best_epoch": training.best["epoch"],
        "stopped_early": training.epoch < training.epochs,
        "oom_adjusted": training.oom_adjusted,
        "model_parameters": count_parameters(training.model),
        "device": device_name(training.device),
        "precision": precision_name(training.dtype),
        "seed_leaves_open": seed_leaves_open(training.device),
        "seconds": round(sum(row["seconds"] for row in training.history), 3),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__},
    }


def count_parameters(model: nn.Module) -> int:
    """Trainable weights."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def finish(spec: TrialSpec, config: Any, result: TrialResult, draw: Callable[[], None]) -> TrialResult:
    """Write summary.json and draw the curves; the result says where drawing failed. Raises OSError."""
    write_json(AttemptFiles(spec.out).summary, _summary(spec, config, result))
    try:
        draw()
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        # A missing font or a full disk must not cost a finished training; the result says what happened.
        failed = {"plots_failed": f"{type(error).__name__}: {error}"}
        return dataclasses.replace(result, notes={**result.notes, **failed})
    return result


def _summary(spec: TrialSpec, config: Any, result: TrialResult) -> dict[str, object]:
    """summary.json of an attempt, in the schema of val_summary.json, with what is known of the training beside."""
    metrics: dict[str, Any] = {
        name: {"value": value, "direction": result.directions[name]} for name, value in result.metrics.items()
    }
    return {
        "trainer": spec.trainer,
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
