"""Augmentation against plain one-image implementations."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from trainers.resnet9.augment import Augment, colour_jitter, cut_out, shift_and_mirror
from trainers.resnet9.config import Config

pytestmark = pytest.mark.train


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 64, size: int = 8, channels: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (n, size, size, channels), dtype=torch.uint8, generator=seeded(9))


@pytest.mark.parametrize("mirror", [False, True])
def test_each_image_is_one_crop_of_its_reflect_padded_self(mirror: bool) -> None:
    before = images()
    after = shift_and_mirror(before, 0.25, mirror, seeded())
    seen = set()
    for old, new in zip(before, after, strict=True):
        padded = functional.pad(old.permute(2, 0, 1).float(), (2, 2, 2, 2), mode="reflect").permute(1, 2, 0)
        matches = [
            (y, x, flipped)
            for y in range(5)
            for x in range(5)
            for flipped in (False, True)
            if torch.equal(
                new.float(), padded[y : y + 8, x : x + 8].flip(1) if flipped else padded[y : y + 8, x : x + 8]
            )
        ]
        assert len(matches) == 1
        seen.add(matches[0])
    assert {flipped for *_, flipped in seen} == ({False, True} if mirror else {False})
    assert {y for y, _, _ in seen} == {x for _, x, _ in seen} == set(range(5))


def test_a_shift_stays_inside_tiny_images() -> None:
    one = images(size=1)
    assert torch.equal(shift_and_mirror(one, 0.99, True, seeded()), one)


def test_cutout_blanks_one_square_inside_each_image() -> None:
    holes = cut_out(torch.ones(200, 8, 10, 3), 0.5, seeded()) == 0
    assert holes.sum(dim=(1, 2, 3)).unique().tolist() == [4 * 4 * 3]
    assert holes.any(dim=2).sum(dim=1).unique().tolist() == [4]  # four full rows, so it is a square
    assert holes.any(dim=0).all()  # every pixel is hit in some image


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_stays_in_range_and_changes_every_image_differently(channels: int) -> None:
    x = torch.full((16, 4, 4, channels), 0.5)
    y = colour_jitter(x, 0.4, seeded())
    assert y.min() >= 0 and y.max() <= 1
    levels = y[:, 0, 0, 0]
    assert len(levels.unique()) == 16
    assert ((levels >= 0.3 - 1e-6) & (levels <= 0.7 + 1e-6)).all()  # brightness alone acts on an even grey


def test_saturation_only_moves_colours_towards_or_from_grey() -> None:
    grey = torch.rand(8, 4, 4, 1, generator=seeded(3)).expand(-1, -1, -1, 3)
    y = colour_jitter(grey, 0.5, seeded())
    assert (y.amax(dim=3) - y.amin(dim=3)).max() < 1e-6


def test_evaluation_is_normalisation_alone_in_channels_last() -> None:
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.6, 0.7])
    x = Augment(Config(augmentation="strong"), mirror=True, mean=mean, std=std)(images())
    expected = (images().float() / 255 - mean) / std
    assert torch.allclose(x, expected.permute(0, 3, 1, 2), atol=1e-6)
    assert x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", ["basic", "strong"])
def test_the_generator_decides_everything(kind: str) -> None:
    augment = Augment(Config(augmentation=kind), mirror=True, mean=torch.zeros(3), std=torch.ones(3))
    first, again, other = (augment(images(), seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.is_contiguous(memory_format=torch.channels_last)
