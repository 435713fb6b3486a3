"""What the tests of the ResNet-9 trainer share: a small learnable data set, trial specifications, results on disk."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainers.contract import Control, StopFlag, TrialResult, TrialSpec, Value
from trainers.resnet9.config import Config
from trainers.resnet9.train import train

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
    out.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "study": "s",
        "task": "own",
        "trainer": "resnet9",
        "round": 1,
        "candidate": "c00",
        "row": 0,
        "fold": 0,
        "folds": 1,
        "seed": 0,
        "attempt": 1,
        "values": values(**(hyper or {})),
        "reference": out / "hyperparameter_reference.json",
        "out": out,
        "epochs": 2,
        "data": data,
        "objective": "val_accuracy",
        "direction": "maximize",
    }
    return TrialSpec(**(settings | changed))


class StopAfter(StopFlag):
    """Is set after it was looked at so many times."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    @property
    def requested(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def quiet(stop: StopFlag | None = None) -> Control:
    return Control(stop=stop or StopFlag(), report=lambda epoch, metrics: None)


def run(spec: TrialSpec) -> TrialResult:
    return train(spec, quiet())


def epochs(out: Path) -> list[dict[str, str]]:
    """Rows of metrics_epoch.csv without the seconds, which no two runs share."""
    with open(out / "metrics_epoch.csv", newline="") as stream:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(stream)]


def last_weights(out: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(out / "checkpoint_last.pt", weights_only=True)["model"]
    return state


def same_weights(one: Path, other: Path) -> bool:
    left, right = last_weights(one), last_weights(other)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
