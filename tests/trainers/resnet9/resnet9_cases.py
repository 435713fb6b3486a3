"""What the tests of the ResNet-9 trainer share: a small learnable data set, trial specifications, results on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.trainers.trial_cases import StopAfter, epochs, last_weights, quiet, same_weights, trial_spec
from trainers.contract import TrialResult, TrialSpec, Value
from trainers.resnet9.config import Config
from trainers.resnet9.train import train

__all__ = ["StopAfter", "epochs", "last_weights", "make_spec", "quiet", "run", "same_weights", "values", "write_npz"]

SMALL: Mapping[str, Value] = {"width": 0.0625, "train_batch_size": 32}


def write_npz(path: Path, *, images: int = 120, size: int = 8, classes: int = 3, test: bool = True) -> Path:
    """RGB noise whose brightest corner tells the class: learnable, but not at once."""
    generator = np.random.RandomState(0)

    def make(count: int) -> tuple[np.ndarray, np.ndarray]:
        y = np.arange(count) % classes
        x = generator.randint(0, 160, (count, size, size, 3))
        for k, (row, column) in enumerate([(0, 0), (0, size // 2), (size // 2, 0), (size // 2, size // 2)][:classes]):
            x[y == k, row : row + size // 2, column : column + size // 2] += 60
        return x.astype(np.uint8), y

    x, y = make(images)
    arrays = {"x_train": x, "y_train": y}
    if test:
        arrays["x_test"], arrays["y_test"] = make(30)
    np.savez(path, **arrays)
    return path


def values(**changed: Value) -> dict[str, Value]:
    return {**dataclasses.asdict(Config()), **SMALL, **changed}


def make_spec(
    out: Path, *, data: Mapping[str, Value], hyper: Mapping[str, Value] | None = None, **changed: Any
) -> TrialSpec:
    settings: dict[str, Any] = {
        "trainer": "resnet9",
        "values": values(**(hyper or {})),
        "data": data,
        "objective": "val_accuracy",
        "direction": "maximize",
    }
    return trial_spec(out, **(settings | changed))


def run(spec: TrialSpec) -> TrialResult:
    return train(spec, quiet())
