"""ResNet-9 as David Page trained it for DAWNBench ("How to Train Your ResNet", 2018-2019), with batch norm."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainers.resnet9.config import Config


def scaled_channels(channels: int, width: float) -> int:
    """`channels` times `width`, rounded to a multiple of 8 and at least 8 (what vector units and cores like)."""
    return max(8, round(channels * width / 8) * 8)


class ConvBlock(nn.Sequential):
    """3x3 convolution, batch norm, ReLU and, where asked, 2x2 max pooling.

    ceil_mode keeps odd borders and leaves 1x1 as it is, so three pools also serve images below 8x8.
    """

    def __init__(self, inputs: int, outputs: int, *, pool: bool = False) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
        if pool:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        super().__init__(*layers)


class Residual(nn.Module):
    """x + f(x), f two convolution blocks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(ConvBlock(channels, channels), ConvBlock(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.blocks(x)
        return result


class ResNet9(nn.Module):
    """Images (n, channels, h, w) -> logits (n, classes). Width 1 has 6.57 million weights for RGB and ten classes."""

    def __init__(self, config: Config, *, image_channels: int, classes: int) -> None:
        super().__init__()
        c64, c128, c256, c512 = (scaled_channels(c, config.width) for c in (64, 128, 256, 512))
        self.features = nn.Sequential(
            ConvBlock(image_channels, c64),
            ConvBlock(c64, c128, pool=True),
            Residual(c128),
            ConvBlock(c128, c256, pool=True),
            ConvBlock(c256, c512, pool=True),
            Residual(c512),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(c512, classes, bias=False)
        self.logit_scale = config.logit_scale

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.dropout(self.features(x)))
        return logits * self.logit_scale


def build_model(config: Config, *, image_channels: int, classes: int, seed: int, device: torch.device) -> ResNet9:
    """A model whose initial weights depend on `seed` only; made on the CPU so that every device starts alike."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ResNet9(config, image_channels=image_channels, classes=classes)
    return model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
