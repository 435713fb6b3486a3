"""What a configuration changes in the objects that nnU-Net builds: optimizer, schedule, loss and augmentation.

Where every value is a default, each function leaves exactly what stock nnU-Net has.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

from trainers.contract import BadConfig
from trainers.nnunet.config import Config

_PROBABILITIES = {
    GaussianNoiseTransform: "p_gaussian_noise",
    GaussianBlurTransform: "p_gaussian_blur",
    MultiplicativeBrightnessTransform: "p_brightness",
    ContrastTransform: "p_contrast",
    SimulateLowResolutionTransform: "p_low_resolution",
}
"""Transform inside nnU-Net's RandomTransform -> the parameter that is its probability."""


class WarmSchedule:
    """Linear warm-up over the first `warmup` epochs, then poly or half a cosine down to 0 over the others.

    step(e) sets the rate of epoch e, as nnU-Net calls it; the first epoch of a warm-up over n has 1/(n + 1) of it.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, config: Config, warmup: int) -> None:
        self.optimizer, self.config, self.warmup = optimizer, config, warmup
        self.step(0)

    def factor(self, epoch: int) -> float:
        """What multiplies the peak learning rate in an epoch, counted from 0."""
        if epoch < self.warmup:
            return (epoch + 1) / (self.warmup + 1)
        done = (epoch - self.warmup) / max(1, self.config.num_epochs - self.warmup)
        if self.config.lr_schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        return float((1 - done) ** self.config.poly_exponent)

    def step(self, epoch: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.initial_lr * self.factor(epoch)


def optimizer_and_schedule(
    parameters: Iterable[torch.nn.Parameter], config: Config
) -> tuple[torch.optim.Optimizer, PolyLRScheduler | WarmSchedule]:
    """SGD with Nesterov momentum and poly, as stock nnU-Net, or what the configuration says instead."""
    optimizer: torch.optim.Optimizer
    if config.optimizer == "SGD":
        optimizer = torch.optim.SGD(
            parameters,
            config.initial_lr,
            weight_decay=config.weight_decay,
            momentum=config.momentum,
            nesterov=config.momentum > 0,  # torch refuses Nesterov without momentum
        )
    else:
        optimizer = torch.optim.AdamW(parameters, config.initial_lr, weight_decay=config.weight_decay)
    warmup = round(config.warmup * config.num_epochs)
    if config.lr_schedule == "poly" and warmup == 0:
        return optimizer, PolyLRScheduler(optimizer, config.initial_lr, config.num_epochs, config.poly_exponent)
    return optimizer, WarmSchedule(optimizer, config, warmup)


def weigh_loss(loss: torch.nn.Module, config: Config, class_weights: Sequence[float] | None, device: Any) -> None:
    """Put the weights of cross-entropy, Dice and the classes into the loss that nnU-Net built.

    class_weights: one for each output channel, background first; None leaves all equal.

    Raises BadConfig for class weights where labels are regions, whose loss is binary.
    """
    inner: Any = loss.loss if isinstance(loss, DeepSupervisionWrapper) else loss
    inner.weight_ce, inner.weight_dice = config.weight_ce, config.weight_dice
    if class_weights is None:
        return
    if not isinstance(inner, DC_and_CE_loss):
        raise BadConfig(
            "nnunet: class_weight_power and boosted_class have no meaning where labels are regions (binary "
            "cross-entropy): set both to 0"
        )
    inner.ce.weight = torch.tensor(class_weights, dtype=torch.float32, device=device)


def class_weights(config: Config, voxels: Mapping[int, int], labels: Sequence[int]) -> list[float] | None:
    """Cross-entropy's weight of each label (background first), mean 1 before the boost; None where all are equal.

    voxels: label -> voxels in the training cases; needed where class_weight_power is above 0. A class without any
    voxel gets the weight of one with a single voxel. Raises BadConfig for a boosted class that does not exist.
    """
    if config.class_weight_power == 0 and config.boosted_class == 0:
        return None
    weights = [1.0] * len(labels)
    if config.class_weight_power > 0:
        total = sum(voxels.get(label, 0) for label in labels)
        raw = [(total / max(1, voxels.get(label, 0))) ** config.class_weight_power for label in labels]
        weights = [weight * len(raw) / sum(raw) for weight in raw]
    if config.boosted_class:
        if config.boosted_class not in labels:
            allowed = ", ".join(str(label) for label in labels if label)
            raise BadConfig(f"nnunet: boosted_class = {config.boosted_class}: the labels are {allowed}; 0: none")
        weights[list(labels).index(config.boosted_class)] *= config.class_boost
    return weights


def set_probabilities(transforms: Any, config: Config) -> None:
    """Give each of nnU-Net's random transformations its probability. `transforms`: what nnU-Net composed."""
    for transform in transforms.transforms:
        if isinstance(transform, SpatialTransform):
            transform.p_rotation = config.p_rotation
            transform.p_scaling = config.p_scaling
            transform.p_elastic_deform = config.p_elastic
        inner = getattr(transform, "transform", None)
        if isinstance(inner, GammaTransform):
            name = "p_gamma_inverted" if inner.p_invert_image else "p_gamma"
            transform.apply_probability = getattr(config, name)
        elif type(inner) in _PROBABILITIES:
            transform.apply_probability = getattr(config, _PROBABILITIES[type(inner)])
