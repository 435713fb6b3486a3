"""Reading the options of `--data`, and splitting images into training, validation and test parts.

The split depends on split_seed and the fold alone, never on a trial's seed: candidates are compared on the same
images. The test part is never trained on or used to choose anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.contract import DataProblem, TrialSpec, Value
from trainers.resnet9 import sources
from trainers.resnet9.sources import Labels

__all__ = ["Data", "DataOptions", "DataProblem", "Part", "load_data"]

COMMON_KEYS = ("val_fraction", "split_seed", "limit")
KEYS: Mapping[str, tuple[str, ...]] = {
    "digits": COMMON_KEYS,
    "cifar10": (*COMMON_KEYS, "path", "download"),
    "npz": (*COMMON_KEYS, "path", "mirror"),
    "folder": (*COMMON_KEYS, "path", "size", "mirror", "workers"),
}
"""The keys of `--data` that have a meaning, by kind of source."""
_TYPES: Mapping[str, type] = {
    "val_fraction": float,
    "split_seed": int,
    "limit": int,
    "path": str,
    "download": bool,
    "mirror": bool,
    "size": int,
    "workers": int,
}


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """The checked options of one data source."""

    kind: str
    """digits, cifar10, npz or folder."""
    path: str = ""
    """File or folder; for cifar10 the folder that holds, or will hold, cifar-10-batches-py."""
    val_fraction: float = 0.1
    """Part of each class held out for validation when there is one split; 0.2 for the few digits."""
    split_seed: int = 0
    """Seed of the validation split."""
    limit: int | None = None
    """Use only the first so many training images (before the validation split)."""
    download: bool = True
    """Whether CIFAR-10 may be downloaded."""
    mirror: bool = True
    """Whether a mirrored image keeps its class; false for text and digits."""
    size: int = 32
    """Side to which images of a folder are resized, in pixels."""
    workers: int = 1
    """Threads that decode the images of a folder."""

    def __post_init__(self) -> None:
        allowed = {
            "val_fraction": (0 < self.val_fraction < 1, "above 0 and below 1"),
            "split_seed": (0 <= self.split_seed < 2**32, "from 0 to 2**32 - 1"),
            "limit": (self.limit is None or self.limit >= 1, "at least 1"),
            "size": (1 <= self.size <= 1024, "from 1 to 1024"),
            "workers": (1 <= self.workers <= 256, "from 1 to 256"),
        }
        problems = [
            f"{name} = {getattr(self, name)!r}: must be {text}" for name, (good, text) in allowed.items() if not good
        ]
        if problems:
            raise DataProblem("data: " + "; ".join(problems))

    @classmethod
    def from_spec(cls, spec: TrialSpec) -> DataOptions:
        """The options that `spec.task` and `spec.data` name. Raises DataProblem with the valid keys."""
        kind = _kind(spec.task, spec.data)
        problems = [f"unknown key {key!r} for {kind}" for key in spec.data if key not in KEYS[kind]]
        checked: dict[str, Value] = {"val_fraction": 0.2} if kind == "digits" else {"workers": max(1, spec.cpus)}
        for key in KEYS[kind]:
            if key not in spec.data:
                continue
            value, wanted = spec.data[key], _TYPES[key]
            if isinstance(value, bool) is (wanted is bool) and isinstance(
                value, (int, float) if wanted is float else wanted
            ):
                checked[key] = value
            else:
                problems.append(f"{key} = {value!r}: must be of type {wanted.__name__}")
        if problems:
            raise DataProblem(f"data: {'; '.join(problems)} (keys: {', '.join(KEYS[kind])})")
        return cls(kind=kind, **checked)  # type: ignore[arg-type]  # each was checked against _TYPES


def _kind(task: str, data: Mapping[str, Value]) -> str:
    if task == "digits":
        return "digits"
    path = data.get("path")
    if isinstance(path, str) and path.endswith(".npz"):
        return "npz"
    if task == "cifar10":
        return "cifar10"
    if isinstance(path, str) and Path(path).expanduser().is_dir():
        return "folder"
    if path is None:
        raise DataProblem(
            f"task {task!r} is neither digits nor cifar10: give data path= an .npz file, "
            "or a folder with train/<class>/ images"
        )
    raise DataProblem(f"data: path = {path!r} is neither an .npz file nor an existing folder")


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some images, in host memory: uint8 (n, h, w, channels), and labels int64 (n,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class Data:
    """What one trial trains on, chooses by and, in `test`, is measured on."""

    train: Part
    val: Part
    test: Part | None
    classes: tuple[str, ...]
    mirror: bool

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(h, w, channels)."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels

    def fingerprint(self) -> str:
        """Tells apart data and splits: a hash of shapes, classes and the labels of training and validation."""
        digest = hashlib.sha256(repr((self.image_shape, self.classes)).encode())
        for part in (self.train, self.val):
            digest.update(part.labels.numpy().tobytes())
        return digest.hexdigest()

    def mean_and_std(self) -> tuple[Tensor, Tensor]:
        """Per channel, over the training part, of pixel values in 0..1; a constant channel gets deviation 1."""
        pixels = self.train.images.flatten(0, 2)
        counts = torch.stack([torch.bincount(channel, minlength=256) for channel in pixels.unbind(1)]).double()
        values = torch.arange(256, dtype=torch.float64) / 255
        mean = (counts * values).sum(1) / counts.sum(1)
        std = ((counts * (values - mean[:, None]) ** 2).sum(1) / counts.sum(1)).sqrt()
        return mean.float(), torch.where(std > 0, std, 1.0).float()


def load_data(spec: TrialSpec) -> Data:
    """Read and split the data that a trial names. Raises DataProblem."""
    options = DataOptions.from_spec(spec)
    if options.kind == "digits":
        source = sources.load_digits()
    elif options.kind == "cifar10":
        source = sources.load_cifar10(options)
    else:
        source = sources.load_npz(options) if options.kind == "npz" else sources.load_folder(options)
    images, labels = source.images[: options.limit], source.labels[: options.limit]
    held = _validation_mask(labels, len(source.classes), options, fold=spec.fold, folds=spec.folds)
    test = None
    if source.test_images is not None and source.test_labels is not None:
        test = _part(source.test_images, source.test_labels)
    return Data(
        train=_part(images[~held], labels[~held]),
        val=_part(images[held], labels[held]),
        test=test,
        classes=source.classes,
        mirror=source.mirror,
    )


def _part(images: NDArray[np.uint8], labels: Labels) -> Part:
    return Part(images=torch.from_numpy(images), labels=torch.from_numpy(labels))


def _validation_mask(
    labels: Labels, classes: int, options: DataOptions, *, fold: int, folds: int
) -> NDArray[np.bool_]:
    """Which images validate: a held-out part of each class, or this fold of a stratified k-fold."""
    if classes < 2:
        raise DataProblem("the data has one class only; a classifier needs at least two")
    counts = np.bincount(labels, minlength=classes)
    needed = max(2, folds)
    if counts.min() < needed:
        raise DataProblem(
            f"class number {int(counts.argmin())} has {int(counts.min())} training images; "
            f"{'a validation split' if folds == 1 else f'{folds} folds'} needs {needed} of each class"
        )
    if not 0 <= fold < folds:
        raise DataProblem(f"fold = {fold}: must be from 0 to {folds - 1}")
    if folds == 1:
        return sources.stratified_holdout(labels, options.val_fraction, options.split_seed)
    mask: NDArray[np.bool_] = stratified_folds(labels, folds, options.split_seed) == fold
    return mask


def stratified_folds(labels: Labels, folds: int, seed: int) -> Labels:
    """The fold of each image. Classes are dealt out one after the other: folds differ by one image at most."""
    generator = np.random.RandomState(seed)
    assignment = np.empty(len(labels), dtype=np.int64)
    dealt = 0
    for k in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == k))
        assignment[members] = (dealt + np.arange(len(members))) % folds
        dealt += len(members)
    return assignment
