"""Loss, accuracy and F1 from a running sum and a confusion matrix that stay on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional


class Tally:
    """Sums over batches: cross-entropy without smoothing, and confusion[true, predicted].

    Nothing is read back from the device until a number is asked for; int64 counts make the result independent of
    the order of additions.
    """

    def __init__(self, classes: int, device: torch.device) -> None:
        self.classes = classes
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        self.confusion = torch.zeros(classes, classes, dtype=torch.int64, device=device)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """logits (n, classes) float32, labels (n,) int64, both on the device."""
        self.loss += functional.cross_entropy(logits, labels, reduction="sum").double()
        cell = labels * self.classes + logits.argmax(dim=1)
        self.confusion.view(-1).scatter_add_(0, cell, torch.ones_like(cell))

    def numbers(self, prefix: str) -> dict[str, float]:
        """`prefix`_loss, _accuracy and _f1 (macro). The loss may be NaN or infinite; the caller judges."""
        count = int(self.confusion.sum())
        return {
            f"{prefix}_loss": float(self.loss) / count,
            f"{prefix}_accuracy": int(self.confusion.diagonal().sum()) / count,
            f"{prefix}_f1": macro_f1(self.confusion),
        }


def macro_f1(confusion: Tensor) -> float:
    """Mean of the classes' F1 = 2 TP / (2 TP + FP + FN), over classes that occur in truth or prediction."""
    matrix = confusion.double()
    hits = matrix.diagonal()
    total = matrix.sum(dim=0) + matrix.sum(dim=1)
    occurs = total > 0
    return float((2 * hits[occurs] / total[occurs]).mean())


def per_class(confusion: Tensor, classes: Sequence[str]) -> Mapping[str, Mapping[str, float | None]]:
    """Per class: accuracy (the part of its images that were recognised, which is its recall), precision, recall,

    f1, and support (number of its images). None where the denominator is 0.
    """
    matrix = confusion.tolist()
    found: dict[str, Mapping[str, float | None]] = {}
    for k, name in enumerate(classes):
        hits, true, predicted = matrix[k][k], sum(matrix[k]), sum(row[k] for row in matrix)
        recall = hits / true if true else None
        found[name] = {
            "accuracy": recall,
            "precision": hits / predicted if predicted else None,
            "recall": recall,
            "f1": 2 * hits / (true + predicted) if true + predicted else None,
            "support": float(true),
        }
    return found
