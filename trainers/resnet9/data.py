"""Splitting images into training, validation and test parts.

The split depends on split_seed and the fold alone, never on a trial's seed: candidates are compared on the same
images. The test part is never trained on or used to choose anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.contract import DataProblem, TrialSpec
from trainers.resnet9 import sources
from trainers.resnet9.options import DataOptions, refuse_few
from trainers.resnet9.pixels import Labels
from trainers.resnet9.precheck import refuse_split

__all__ = ["Data", "DataProblem", "Part", "load_data"]


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
    notes: Mapping[str, object] = field(default_factory=dict)
    """What was found in the data and done to it."""

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
    options = DataOptions.read(spec.task, spec.data, cpus=spec.cpus)
    if options.kind == "digits":
        source = sources.load_digits()
    elif options.kind == "cifar10":
        source = sources.load_cifar10(options)
    else:
        source = sources.load_npz(options) if options.kind == "npz" else sources.load_folder(options)
    images, labels = source.images[: options.limit], source.labels[: options.limit]
    if not 0 <= spec.fold < spec.folds:
        raise DataProblem(f"fold = {spec.fold}: must be from 0 to {spec.folds - 1}")
    validated = source.val_images is not None
    counts = np.bincount(labels, minlength=len(source.classes)).tolist()
    where = options.path or options.kind
    refuse_few(counts, source.classes, folds=spec.folds, validated=validated, where=where)
    if options.kind == "folder" and not (images != images[0, 0, 0]).any():
        raise DataProblem(f"{options.path}: all {len(images)} training images are of one and the same colour")
    if source.val_images is not None and source.val_labels is not None:
        refuse_split(options, folds=spec.folds)
        train, val = _part(images, labels), _part(source.val_images, source.val_labels)
    else:
        held = _validation_mask(labels, options, fold=spec.fold, folds=spec.folds)
        train, val = _part(images[~held], labels[~held]), _part(images[held], labels[held])
    test = None
    if source.test_images is not None and source.test_labels is not None:
        test = _part(source.test_images, source.test_labels)
    return Data(train=train, val=val, test=test, classes=source.classes, mirror=source.mirror, notes=source.notes)


def _part(images: NDArray[np.uint8], labels: Labels) -> Part:
    return Part(images=torch.from_numpy(images), labels=torch.from_numpy(labels))


def _validation_mask(labels: Labels, options: DataOptions, *, fold: int, folds: int) -> NDArray[np.bool_]:
    """Which images validate: a held-out part of each class, or this fold of a stratified k-fold."""
    if folds == 1:
        return sources.stratified_holdout(labels, options.held_out, options.split_seed)
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
