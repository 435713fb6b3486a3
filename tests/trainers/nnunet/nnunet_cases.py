"""What the tests of the nnU-Net trainer share: a tiny learnable data set in nnU-Net's folders, and trials on it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainers.contract import Control, StopFlag, TrialSpec, Value
from trainers.files import write_json
from trainers.nnunet.config import Config

NAME = "Dataset601_Tiny"
TINY: Mapping[str, Value] = {
    "width": 0.125,
    "max_stages": 3,
    "num_iterations_per_epoch": 2,
    "num_val_iterations_per_epoch": 1,
    "num_epochs": 1,
    "batch_size": 2,
    "patch_size": "16x16x16",
}
"""A network of some ten thousand weights on patches of 16^3."""


def write_raw(root: Path, *, cases: int = 6, absent: tuple[int, ...] = (), test: int = 0) -> Path:
    """nnUNet_raw with one data set: a bright and a dim ball in noise, labels 1 and 2; `absent` cases lack label 2.

    Cases differ in size, so that the mean over folds is not the mean over cases. Returns the data set's folder.
    """
    import SimpleITK

    folder = root / NAME
    generator = np.random.RandomState(0)
    for part, count in (("Tr", cases), ("Ts", test)):
        for number in range(count):
            image, labels = _case(generator, two=number not in absent)
            name = f"tiny_{number:03d}"
            for kind, array, file in (("images", image, f"{name}_0000"), ("labels", labels, name)):
                (folder / f"{kind}{part}").mkdir(parents=True, exist_ok=True)
                target = folder / f"{kind}{part}" / f"{file}.nii.gz"
                SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(target))
    description = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "Front": 1, "Back": 2},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def _case(generator: np.random.RandomState, *, two: bool) -> tuple[np.ndarray, np.ndarray]:
    size = generator.randint(18, 24, 3)
    grid = np.stack(np.meshgrid(*(np.arange(side) for side in size), indexing="ij"))
    image = generator.normal(0, 0.3, size)
    labels = np.zeros(size, dtype=np.uint8)
    for label, brightness, centre in ((1, 3.0, size // 3), (2, -3.0, 2 * size // 3)):
        if label == 2 and not two:
            continue
        ball = ((grid - centre[:, None, None, None]) ** 2).sum(0) < generator.randint(9, 16)
        image[ball] += brightness
        labels[ball] = label
    return image.astype(np.float32), labels


def values(**changed: Value) -> dict[str, Value]:
    return {**dataclasses.asdict(Config()), **TINY, **changed}


def write_reference(path: Path, found: Mapping[str, Value]) -> Path:
    """As much of a reference as the trainer class reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"parameters": {name: {"default": value} for name, value in found.items()}})
    return path


def make_spec(
    out: Path, *, data: Mapping[str, Value], hyper: Mapping[str, Value] | None = None, **changed: Any
) -> TrialSpec:
    found = values(**(hyper or {}))
    settings: dict[str, Any] = {
        "study": "s",
        "task": "Task601_Tiny",
        "trainer": "nnunet",
        "round": 1,
        "candidate": "c00",
        "row": 0,
        "fold": 0,
        "folds": 5,
        "seed": 0,
        "attempt": 1,
        "values": found,
        "reference": write_reference(out / "hyperparameter_reference.json", found),
        "out": out,
        "data": data,
        "objective": "Dice",
        "direction": "maximize",
    }
    return TrialSpec(**(settings | changed))


def quiet(stop: StopFlag | None = None) -> Control:
    return Control(stop=stop or StopFlag(), report=lambda epoch, metrics: None)


def write_tiny_reference(path: Path) -> Path:
    """The shipped reference as a person would cut it down to this data: active values, and one patch size more."""
    shipped = Path(__file__).parents[3] / "doc" / "hyperparameter_reference" / "nnunet.json"
    reference: dict[str, Any] = json.loads(shipped.read_text())
    reference["parameters"]["patch_size"]["choices"].append(TINY["patch_size"])
    for name, value in TINY.items():
        reference["parameters"][name]["active_value"] = value
    path.write_text(json.dumps(reference))
    return path
