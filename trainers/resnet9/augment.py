"""Random image transformations as whole-batch tensor operations on the training device.

Images come as uint8 (n, h, w, channels). Shift, reflection and mirroring are one gather; the result, seen as
(n, channels, h, w), already lies in memory the way channels_last convolutions want it.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from trainers.resnet9.config import Config

_LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G and B in perceived brightness (ITU-R BT.601)."""


class Augment:
    """Turns uint8 images into normalised float images, randomly changed where a generator is given."""

    def __init__(self, config: Config, *, mirror: bool, mean: Tensor, std: Tensor) -> None:
        """mean, std: (channels,) of pixel values in 0..1 on the device. mirror: a mirrored image keeps its class."""
        self.kind = config.augmentation
        self.translate, self.cutout, self.jitter = config.translate, config.cutout, config.jitter
        self.mirror, self.mean, self.std = mirror, mean, std

    def __call__(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """(n, h, w, channels) uint8 -> (n, channels, h, w) float32 with mean 0 and deviation 1, channels_last."""
        strong = self.kind == "strong" and generator is not None
        if self.kind != "none" and generator is not None:
            images = shift_and_mirror(images, self.translate, self.mirror, generator)
        x = images.float().div_(255)
        if strong:
            x = colour_jitter(x, self.jitter, generator)
        x = x.sub_(self.mean).div_(self.std)
        if strong:
            x = cut_out(x, self.cutout, generator)
        return x.permute(0, 3, 1, 2)


def _uniform(n: int, like: Tensor, generator: Generator | None) -> Tensor:
    return torch.rand(n, generator=generator, device=like.device)


def _reflected(positions: Tensor, size: int) -> Tensor:
    """Positions in -(size-1) .. 2(size-1) reflected into 0 .. size-1 without repeating the border."""
    return (size - 1) - ((size - 1) - positions.abs()).abs()


def _shifted(n: int, size: int, part: float, like: Tensor, generator: Generator | None) -> Tensor:
    """(n, size) positions, each row shifted by a whole number of pixels up to part x size either way."""
    most = min(round(part * size), size - 1)
    shift = torch.floor(_uniform(n, like, generator) * (2 * most + 1)).long() - most
    return _reflected(torch.arange(size, device=like.device) + shift[:, None], size)


def shift_and_mirror(images: Tensor, part: float, mirror: bool, generator: Generator | None) -> Tensor:
    """Each image shifted by up to `part` of its side, the gap reflected, and mirrored half of the time."""
    n, height, width, _ = images.shape
    rows = _shifted(n, height, part, images, generator)
    columns = _shifted(n, width, part, images, generator)
    if mirror:
        flip = _uniform(n, images, generator) < 0.5
        columns = torch.where(flip[:, None], columns.flip(1), columns)
    index = torch.arange(n, device=images.device)
    return images[index[:, None, None], rows[:, :, None], columns[:, None, :]]


def colour_jitter(x: Tensor, strength: float, generator: Generator | None) -> Tensor:
    """(n, h, w, channels) in 0..1: brightness, contrast about the image's mean, and saturation, each its factor."""

    def factor() -> Tensor:
        return (1 + strength * (2 * _uniform(x.shape[0], x, generator) - 1))[:, None, None, None]

    x = x * factor()
    middle = x.mean(dim=(1, 2, 3), keepdim=True)
    x = middle + (x - middle) * factor()
    if x.shape[3] == 3:
        # Numbers, not a tensor of them, which would be copied to the device for each batch.
        red, green, blue = (weight * x[..., k : k + 1] for k, weight in enumerate(_LUMA))
        grey = red + green + blue
        x = grey + (x - grey) * factor()
    return x.clamp_(0, 1)


def cut_out(x: Tensor, part: float, generator: Generator | None) -> Tensor:
    """A square of side part x the shorter side set to 0, the mean, in each normalised image (DeVries, Taylor 2017).

    The square lies wholly inside the image, as in Page's ResNet-9.
    """
    n, height, width, _ = x.shape
    side = round(part * min(height, width))

    def inside(size: int) -> Tensor:
        start = torch.floor(_uniform(n, x, generator) * (size - side + 1))[:, None]
        position = torch.arange(size, device=x.device)
        return (position >= start) & (position < start + side)

    hole = inside(height)[:, :, None, None] & inside(width)[:, None, :, None]
    return x.masked_fill(hole, 0.0)
