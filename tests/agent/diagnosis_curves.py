"""Synthetic training curves: what healthy ones look like, with the noise that real ones have."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping

Row = dict[str, float]
Family = Callable[[random.Random], list[Row]]


def decay(k: float, start: float, end: float, rate: float) -> float:
    return end + (start - end) * math.exp(-k / rate)


def cosine(k: int, epochs: int, peak: float) -> float:
    return peak * (1 + math.cos(math.pi * (k + 0.5) / epochs)) / 2


def share(value: float) -> float:
    return min(1.0, max(0.0, value))


def noisy(rng: random.Random, value: float, relative: float) -> float:
    """Losses scatter in proportion to their level."""
    return value * math.exp(rng.gauss(0, relative))


def classifier(rng: random.Random) -> list[Row]:
    """Cosine schedule, cross-entropy and accuracy; a validation set of some thousand images."""
    epochs, rate = 30, rng.uniform(4, 7)
    return [
        {
            "epoch": k + 1.0,
            "train_loss": noisy(rng, decay(k, 2.3, 0.25, rate), 0.02),
            "val_loss": noisy(rng, decay(k, 2.3, 0.32, rate), 0.05),
            "train_acc": share(decay(k, 0.1, 0.94, rate) + rng.gauss(0, 0.004)),
            "val_acc": share(decay(k, 0.1, 0.91, rate) + rng.gauss(0, 0.01)),
            "lr": cosine(k, epochs, 0.1),
        }
        for k in range(epochs)
    ]


def small_validation(rng: random.Random) -> list[Row]:
    """The same with three hundred images, whose validation values scatter much."""
    rows = classifier(rng)
    for row in rows:
        row["val_loss"] = noisy(rng, row["val_loss"], 0.08)
        row["val_acc"] = share(row["val_acc"] + rng.gauss(0, 0.015))
    return rows


def step_schedule(rng: random.Random) -> list[Row]:
    """A constant rate, a tenth of it after half of the time: restless, a level, then a sharp fall."""
    rows = []
    for k in range(40):
        low = k >= 20
        train = decay(k - 20, 0.28, 0.12, 2) if low else decay(k, 2.2, 0.45, 3)
        val = decay(k - 20, 0.45, 0.34, 1.5) if low else decay(k, 2.2, 0.62, 3)
        rows.append(
            {
                "epoch": k + 1.0,
                "train_loss": noisy(rng, train, 0.015),
                "val_loss": noisy(rng, val, 0.02 if low else 0.12),
                "lr": 0.01 if low else 0.1,
            }
        )
    return rows


def warmed_up(rng: random.Random) -> list[Row]:
    """A linear warm-up over a fifth of the time, then cosine."""
    epochs, rows, done = 25, [], 0.0
    for k in range(epochs):
        lr = 0.05 * (k + 1) / 5 if k < 5 else cosine(k - 5, epochs - 5, 0.05)
        done += lr
        train = decay(done, 2.3, 0.2, 0.12)
        rows.append(
            {
                "epoch": k + 1.0,
                "train_loss": noisy(rng, train, 0.02),
                "val_loss": noisy(rng, train + 0.06, 0.05),
                "lr": lr,
            }
        )
    return rows


def warm_restarts(rng: random.Random) -> list[Row]:
    """Cosine that begins anew every ten epochs; the loss rises a little at each restart."""
    rows = []
    for k in range(40):
        phase = (k % 10) / 10
        train = decay(k, 2.3, 0.25, 7) + 0.10 * (1 - phase) * (k >= 10)
        rows.append(
            {
                "epoch": k + 1.0,
                "train_loss": noisy(rng, train, 0.02),
                "val_loss": noisy(rng, train * 1.08, 0.05),
                "lr": cosine(k % 10, 10, 0.1),
            }
        )
    return rows


def fine_tuning(rng: random.Random) -> list[Row]:
    """A pretrained language model: the loss begins low and gains little, most of it at once."""
    return [
        {
            "epoch": k + 1.0,
            "train_loss": noisy(rng, decay(k, 1.35, 1.05, 1.5), 0.006),
            "val_loss": noisy(rng, decay(k, 1.32, 1.12, 1.5), 0.004),
            "lr": cosine(k, 10, 2e-5),
        }
        for k in range(10)
    ]


def forecasting(rng: random.Random) -> list[Row]:
    """Mean squared error of a time series model, on a scale of its own; no rate reported."""
    scale = 10 ** rng.uniform(-3, 4)
    return [
        {
            "epoch": k + 1.0,
            "train_loss": scale * noisy(rng, decay(k, 1.0, 0.35, 3), 0.02),
            "val_loss": scale * noisy(rng, decay(k, 1.1, 0.42, 3), 0.05),
            "val_mae": scale * noisy(rng, decay(k, 0.9, 0.45, 3), 0.04),
        }
        for k in range(20)
    ]


def segmentation(rng: random.Random) -> list[Row]:
    """Dice alone, over a hundred epochs with polynomial decay of the rate."""
    return [
        {
            "epoch": k + 1.0,
            "val_dice": share(decay(k, 0.2, 0.83, 12) + rng.gauss(0, 0.012)),
            "lr": 0.01 * (1 - k / 100) ** 0.9,
        }
        for k in range(100)
    ]


def augmented(rng: random.Random) -> list[Row]:
    """Strong augmentation: training is worse than validation throughout."""
    return [
        {
            "epoch": k + 1.0,
            "train_loss": noisy(rng, decay(k, 2.3, 0.75, 5), 0.02),
            "val_loss": noisy(rng, decay(k, 2.2, 0.38, 5), 0.05),
            "train_acc": share(decay(k, 0.12, 0.76, 5) + rng.gauss(0, 0.005)),
            "val_acc": share(decay(k, 0.2, 0.90, 5) + rng.gauss(0, 0.01)),
            "lr": cosine(k, 30, 0.05),
        }
        for k in range(30)
    ]


def converged(rng: random.Random) -> list[Row]:
    """Quick to learn, then noise around a level at a constant small rate."""
    return [
        {
            "epoch": k + 1.0,
            "train_loss": noisy(rng, decay(k, 2.3, 0.30, 1.5), 0.015),
            "val_loss": noisy(rng, decay(k, 2.3, 0.36, 1.5), 0.05),
            "lr": 1e-3,
        }
        for k in range(40)
    ]


def short(rng: random.Random) -> list[Row]:
    """Eight epochs, the length of a quick trial."""
    return [
        {
            "epoch": k + 1.0,
            "train_loss": noisy(rng, decay(k, 2.2, 0.3, 1.6), 0.02),
            "val_loss": noisy(rng, decay(k, 2.2, 0.34, 1.6), 0.06),
            "train_acc": share(decay(k, 0.3, 0.95, 1.6) + rng.gauss(0, 0.005)),
            "val_acc": share(decay(k, 0.3, 0.93, 1.6) + rng.gauss(0, 0.015)),
            "lr": cosine(k, 8, 0.05),
        }
        for k in range(8)
    ]


def batch_norm_start(rng: random.Random) -> list[Row]:
    """The first validation loss is absurd, because batch norm's running mean has not settled yet."""
    rows = classifier(rng)
    rows[0]["val_loss"] = rng.uniform(10, 300)
    rows[1]["val_loss"] = rng.uniform(2.5, 12)
    return rows


def regression_r2(rng: random.Random) -> list[Row]:
    """A score that is to rise and begins far below zero."""
    return [
        {
            "epoch": k + 1.0,
            "train_r2": decay(k, -1.5, 0.80, 3) + rng.gauss(0, 0.008),
            "val_r2": decay(k, -1.6, 0.74, 3) + rng.gauss(0, 0.012),
        }
        for k in range(24)
    ]


def reward(rng: random.Random) -> list[Row]:
    """Reinforcement learning: a reward that rises from below zero, with much noise."""
    return [{"epoch": k + 1.0, "val_reward": decay(k, -5, 8, 10) + rng.gauss(0, 0.25)} for k in range(50)]


HEALTHY: Mapping[str, Family] = {
    family.__name__: family
    for family in (
        classifier,
        small_validation,
        step_schedule,
        warmed_up,
        warm_restarts,
        fine_tuning,
        forecasting,
        segmentation,
        augmented,
        converged,
        short,
        batch_norm_start,
        regression_r2,
        reward,
    )
}
