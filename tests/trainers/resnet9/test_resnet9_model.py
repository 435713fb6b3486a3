"""Model, optimizer, schedule and arithmetic as built from a configuration."""

from __future__ import annotations

import pytest
import torch

from trainers.pytorch.attempt import count_parameters
from trainers.pytorch.device import autocast
from trainers.resnet9.config import Config
from trainers.resnet9.model import ResNet9, build_model, scaled_channels
from trainers.resnet9.optim import build_optimizer, lr_factor

pytestmark = pytest.mark.train
CPU = torch.device("cpu")


def test_width_one_is_pages_resnet9() -> None:
    assert count_parameters(ResNet9(Config(), image_channels=3, classes=10)) == 6_573_120


@pytest.mark.parametrize(("channels", "width", "expected"), [(64, 1.0, 64), (64, 0.0625, 8), (128, 0.2, 24)])
def test_channels_are_multiples_of_eight(channels: int, width: float, expected: int) -> None:
    assert scaled_channels(channels, width) == expected


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 1, 1), (2, 5, 7), (3, 64, 48)])
def test_any_image_size_gives_logits(shape: tuple[int, int, int]) -> None:
    model = build_model(Config(width=0.0625), image_channels=shape[0], classes=4, seed=0, device=CPU)
    logits = model(torch.rand(3, *shape))
    assert logits.shape == (3, 4) and torch.isfinite(logits).all()


def test_initial_weights_depend_on_the_seed_alone_and_leave_the_global_generator() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    models = [build_model(Config(width=0.0625), image_channels=1, classes=2, seed=s, device=CPU) for s in (1, 1, 2)]
    assert torch.equal(torch.rand(1), expected)
    first, again, other = (model.head.weight for model in models)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_weight_decay_spares_batch_norm() -> None:
    model = ResNet9(Config(width=0.0625), image_channels=1, classes=2)
    for name, kind in (("sgd", torch.optim.SGD), ("adam", torch.optim.AdamW)):
        optimizer = build_optimizer(Config(optimizer=name, weight_decay=0.01), model)
        assert type(optimizer) is kind
        decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
        assert len(decay) == len(list(model.parameters()))
        for parameter_name, parameter in model.named_parameters():
            vector = parameter.ndim == 1
            assert decay[id(parameter)] == (0.0 if vector else 0.01), parameter_name


def test_decay_is_l2_for_sgd_and_decoupled_for_adam() -> None:
    def after_step(config: Config) -> torch.Tensor:
        layer = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(layer.weight, 2.0)
        optimizer = build_optimizer(config, layer)
        layer.weight.grad = torch.full((1, 1), 3.0)
        optimizer.step()
        return layer.weight.detach()

    sgd = after_step(Config(learning_rate=0.1, weight_decay=0.5, momentum=0.0))
    assert sgd.item() == pytest.approx(2 - 0.1 * (3 + 0.5 * 2))
    adam = after_step(Config(optimizer="adam", learning_rate=0.1, weight_decay=0.5))
    assert adam.item() == pytest.approx(2 * (1 - 0.1 * 0.5) - 0.1, rel=1e-5)  # Adam's first step has size 1


@pytest.mark.parametrize(
    ("schedule", "warmup", "points"),
    [
        ("cosine", 0.0, {0.0: 1.0, 0.5: 0.5, 1.0: 0.0}),
        ("cosine", 0.2, {0.1: 0.5, 0.2: 1.0, 0.6: 0.5, 1.0: 0.0}),
        ("none", 0.2, {0.05: 0.25, 0.2: 1.0, 1.0: 1.0}),
        ("onecycle", 0.2, {0.1: 0.5, 0.2: 1.0, 0.6: 0.5, 0.8: 0.25, 1.0: 0.0}),
        ("onecycle", 0.0, {0.0: 1.0, 0.25: 0.75}),
    ],
)
def test_schedules(schedule: str, warmup: float, points: dict[float, float]) -> None:
    for progress, factor in points.items():
        assert lr_factor(progress, schedule=schedule, warmup=warmup) == pytest.approx(factor)


def test_autocast_reaches_the_convolutions() -> None:
    model = build_model(Config(width=0.0625), image_channels=3, classes=2, seed=0, device=CPU)
    for dtype in (torch.float32, torch.bfloat16):
        with autocast(CPU, dtype):
            assert model(torch.rand(2, 3, 8, 8)).dtype is dtype
