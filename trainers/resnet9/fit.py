"""What of a reference the ResNet-9 can do, and what the images leave of it. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping

from trainers.contract import Value
from trainers.fit import Fit, Ruling, Space
from trainers.resnet9.config import CHOICES, NUMBERS, Config
from trainers.settings import misfits


def fit(
    space: Space, *, task: str, data: Mapping[str, Value] | None, folds: int, description: str | None = None
) -> Fit:
    """As `trainers.fit` describes.

    A batch larger than the training images is those images, so further sizes above them would be the same training
    under other names.
    """
    refused = misfits(space, Config, trainer="resnet9", choices=CHOICES, numbers=NUMBERS)
    ruling = Ruling(space)
    limit = (data or {}).get("limit")
    asked = space.get("train_batch_size")
    if isinstance(limit, int) and not isinstance(limit, bool) and limit >= 1 and asked is not None:
        largest = max(limit, asked.value) if isinstance(asked.value, int) else limit
        reason = f"--data limit={limit} leaves at most {limit} training images, and a larger batch is all of them"
        ruling.at_most("train_batch_size", largest, reason, "give it a smaller active_value")
    return ruling.fit(refused)
