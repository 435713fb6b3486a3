"""What is taken off each window before the model and put back on its forecast."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainers.informer.config import Config

EPSILON = 1e-5
"""Added to a window's variance: a window may be constant where its column is not."""


class Normalization(nn.Module):
    """none, last (of NLinear; Zeng et al. 2023, section 4.1) or RevIN (Kim et al. 2022, equations 1 to 3)."""

    def __init__(self, config: Config, *, channels: int) -> None:
        super().__init__()
        self.kind = config.normalization
        if self.kind == "RevIN":
            self.scale = nn.Parameter(torch.ones(channels))
            self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (b, l, channels) -> the same taken off, and what was: level and spread, each (b, 1, channels)."""
        level, spread = torch.zeros_like(x[:, :1]), torch.ones_like(x[:, :1])
        if self.kind == "last":
            level = x[:, -1:]
        elif self.kind == "RevIN":
            level = x.mean(1, keepdim=True)
            spread = (x.var(1, keepdim=True, unbiased=False) + EPSILON).sqrt()
        taken = (x - level) / spread
        return (taken * self.scale + self.shift if self.kind == "RevIN" else taken), level, spread

    def restore(self, y: Tensor, level: Tensor, spread: Tensor, columns: Tensor) -> Tensor:
        """y (b, h, targets), the forecast of these columns, with level and spread put back."""
        if self.kind == "RevIN":
            y = (y - self.shift[columns]) / (self.scale[columns] + EPSILON**2)
        return y * spread[..., columns] + level[..., columns]
