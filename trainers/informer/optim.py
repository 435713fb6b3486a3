"""Optimizer, learning-rate schedule and training loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainers.informer.config import Config


def build_optimizer(config: Config, model: nn.Module) -> torch.optim.Optimizer:
    """Adam, AdamW or SGD. Biases and the scales of normalisations form a group without weight decay."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "SGD":
        nesterov = config.momentum > 0  # torch refuses look-ahead without momentum
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=nesterov)
    kind = torch.optim.AdamW if config.optimizer == "AdamW" else torch.optim.Adam
    return kind(groups, lr=config.lr)


def lr_factor(config: Config, done: float, epochs: int) -> float:
    """What multiplies lr when `done` of `epochs` epochs are over; fractions count.

    A pure function of progress, so it needs no state in a checkpoint and survives a changed batch size.
    halving is the paper's (Zhou et al. 2021, section 4.2): from 1e-4, half after each epoch.
    """
    progress = done / epochs
    if progress < config.warmup:
        return progress / config.warmup
    rest = (progress - config.warmup) / (1 - config.warmup)
    if config.scheduler == "CosineAnnealingLR":
        return 0.5 * (1 + math.cos(math.pi * rest))
    if config.scheduler == "LinearLR":
        return 1 - rest
    if config.scheduler == "none":
        return 1.0
    base, every = (0.5, 1) if config.scheduler == "halving" else (config.gamma, 1)
    if config.scheduler == "StepLR":
        every = config.step_epochs
    return float(base ** (math.floor(done) // every))


def element_losses(config: Config, forecast: Tensor, truth: Tensor) -> Tensor:
    """The criterion of each element, in the shape of the forecast."""
    if config.criterion == "L1":
        return functional.l1_loss(forecast, truth, reduction="none")
    if config.criterion == "SmoothL1":
        return functional.smooth_l1_loss(forecast, truth, reduction="none", beta=config.beta)
    return functional.mse_loss(forecast, truth, reduction="none")
