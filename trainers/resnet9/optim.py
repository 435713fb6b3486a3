"""Optimizer and learning-rate schedule."""

from __future__ import annotations

import math

import torch
from torch import nn

from trainers.resnet9.config import Config


def build_optimizer(config: Config, model: nn.Module) -> torch.optim.Optimizer:
    """Nesterov SGD or AdamW. One-dimensional parameters (batch norm) form a group without weight decay:

    decaying the scale of a normalised layer only changes its effective learning rate.
    """
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    if config.optimizer == "adam":
        return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.adam_beta1, config.adam_beta2))
    nesterov = config.nesterov and config.momentum > 0  # torch refuses look-ahead without momentum
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=nesterov)


def lr_factor(progress: float, *, schedule: str, warmup: float) -> float:
    """What multiplies the learning rate when the part `progress` (0..1) of the training is done.

    A pure function of progress, so it needs no state in a checkpoint and survives a changed batch size.
    onecycle is Page's piecewise-linear form; momentum stays constant (Smith's 1cycle varies it as well).
    """
    if progress < warmup:
        return progress / warmup
    rest = (progress - warmup) / (1 - warmup)
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * rest))
    return 1 - rest if schedule == "onecycle" else 1.0
