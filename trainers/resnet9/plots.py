"""The panels of a ResNet-9 training's curves."""

from __future__ import annotations

from pathlib import Path

from trainers.pytorch import curves

PANELS: curves.Panels = {
    "loss": ("cross-entropy, training and validation", ("train_loss", "val_loss")),
    "val_loss": ("cross-entropy, validation", ("val_loss",)),
    "acc": ("accuracy", ("train_acc", "val_acc")),
    "f1": ("macro F1", ("train_f1", "val_f1")),
}


def draw(folder: Path, history: curves.History, best_epoch: int) -> None:
    """Write loss.png, val_loss.png, acc.png, f1.png and combined.png. Raises ImportError, OSError."""
    curves.draw(folder, history, best_epoch, PANELS)
