"""The parts of the model, and that no forecast can see the future."""

from __future__ import annotations

import dataclasses
import math
from datetime import datetime, timedelta
from typing import Any

import pytest
import torch
from torch import nn

from tests.trainers.transfers import META, Transfers
from trainers.informer.calendar import Calendar
from trainers.informer.config import Config
from trainers.informer.data import Series
from trainers.informer.embedding import Scaled, Tables, sinusoids
from trainers.informer.frequency import Frequency
from trainers.informer.model import Distil, Encoder, Informer, build_model
from trainers.informer.normalization import Normalization
from trainers.informer.optim import build_optimizer, element_losses, lr_factor
from trainers.pytorch.attempt import count_parameters

pytestmark = pytest.mark.train
HOURLY = Calendar.of(Frequency(seconds=3600))
CPU = torch.device("cpu")


def config(**changed: Any) -> Config:
    small = {"d_model": 8, "n_heads": 2, "d_ff": 16, "factor": 1, "seq_len": 24, "label_len": 12}
    return Config(**(small | changed))


def model(targets: tuple[int, ...] = (0, 1, 2), *, pred_len: int = 6, seed: int = 0, **changed: Any) -> Informer:
    built = build_model(
        config(**changed), channels=3, targets=targets, pred_len=pred_len, calendar=HOURLY, seed=seed, device=CPU
    )
    return built.eval()


def inputs(length: int = 24, pred_len: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    dates = [datetime(2020, 5, 1) + timedelta(hours=i) for i in range(length + pred_len)]
    x = torch.randn(4, length, 3, generator=torch.Generator().manual_seed(1))
    return x, torch.from_numpy(HOURLY.marks(dates)).expand(4, -1, -1)


def test_the_papers_setting_has_the_weights_that_its_layers_add_up_to() -> None:
    """Counted by hand: embeddings, encoder layers, distilling, decoder layer, last norm and projection."""
    d, ff = 512, 2048
    attention, feed_forward, norm = 4 * (d * d + d), 2 * d * ff + ff + d, 2 * d
    embeddings = 2 * (7 * d * 3 + 4 * d)
    encoder = 2 * (attention + feed_forward + 2 * norm) + (3 * d * d + d + norm) + norm
    decoder = 2 * attention + feed_forward + 3 * norm + norm + (7 * d + 7)
    built = Informer(Config(), channels=7, targets=tuple(range(7)), pred_len=24, calendar=HOURLY)
    assert count_parameters(built) == embeddings + encoder + decoder == 11_328_007


@pytest.mark.parametrize("targets", [(0, 1, 2), (2,)])
@pytest.mark.parametrize(
    "changed", [{}, {"label_len": 0}, {"label_len": 24}, {"e_layers": 4}, {"attention": "flash"}]
)
def test_a_window_gives_a_forecast_of_the_targets(targets: tuple[int, ...], changed: dict[str, Any]) -> None:
    x, marks = inputs()
    assert model(targets, **changed)(x, marks).shape == (4, 6, len(targets))


@pytest.mark.parametrize("normalization", ["none", "RevIN", "last"])
@pytest.mark.parametrize("attention", ["prob", "full", "flash"])
def test_each_window_is_forecast_by_itself(attention: str, normalization: str) -> None:
    x, marks = inputs()
    built = model(attention=attention, normalization=normalization)
    alone = built(x[1:2], marks[1:2])
    torch.testing.assert_close(built(x, marks)[1:2], alone, rtol=1e-4, atol=1e-5)


def test_the_forecast_reads_the_calendar_of_the_future_and_nothing_else_of_it() -> None:
    """forward() is given no future value at all; the decoder's place for them holds zeros."""
    x, marks = inputs()
    built = model()
    seen: list[torch.Tensor] = []
    built.decoder_embedding.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    before = built(x, marks)
    assert seen[0].shape == (4, 18, 3) and not seen[0][:, 12:].any()
    torch.testing.assert_close(seen[0][:, :12], x[:, 12:])
    shifted = marks.clone()
    shifted[:, 24:, 0] = (shifted[:, 24:, 0] + 7) % 24
    assert not torch.allclose(built(x, shifted), before)
    blind = model(embedding="none")
    torch.testing.assert_close(blind(x, shifted), blind(x, marks))


def test_distilling_halves_the_sequence_between_layers() -> None:
    x = torch.randn(2, 23, 8)
    assert Distil(8)(x).shape == (2, 12, 8)
    lengths = {}
    for distil in (True, False):
        encoder = Encoder(config(e_layers=3, distil=distil))
        lengths[distil] = encoder(x).shape[1]
        assert len(encoder.distils) == (2 if distil else 0)
    assert lengths == {True: 6, False: 23}


def test_distilling_is_the_papers_formula() -> None:
    layer = Distil(4).eval()
    x = torch.randn(1, 6, 4)
    circular = torch.cat([x[:, -1:], x, x[:, :1]], dim=1).transpose(1, 2)
    filtered = nn.functional.conv1d(circular, layer.convolution.weight, layer.convolution.bias)
    filtered = nn.functional.elu(filtered / math.sqrt(1 + layer.norm.eps))
    padded = nn.functional.pad(filtered, (1, 1), value=-math.inf)
    expected = torch.stack([padded[..., i : i + 3].amax(-1) for i in (0, 2, 4)], dim=1)
    torch.testing.assert_close(layer(x), expected)


def test_sinusoids_are_vaswanis() -> None:
    found = sinusoids(50, 8)
    for position, pair in ((0, 0), (7, 1), (49, 3)):
        angle = position / 10_000 ** (2 * pair / 8)
        assert found[position, 2 * pair].item() == pytest.approx(math.sin(angle), abs=1e-6)
        assert found[position, 2 * pair + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_scaled_calendar_fields_run_from_minus_to_plus_a_half() -> None:
    """Hour, weekday, day, day of the year, as the authors scale them."""
    marks = torch.from_numpy(HOURLY.marks([datetime(2018, 1, 1), datetime(2016, 12, 31, 23)]))
    assert HOURLY.fields == ("hour", "weekday", "day", "month", "yearday")
    layer = Scaled(HOURLY, 4)
    nn.init.ones_(layer.linear.weight)
    expected = torch.tensor([[-2.0], [0.5 + (5 / 6 - 0.5) + 0.5 + 0.5]]).expand(2, 4)
    torch.testing.assert_close(layer(marks), expected)


def test_tables_are_fixed_or_learned_and_read_no_day_of_the_year() -> None:
    marks = torch.from_numpy(HOURLY.marks([datetime(2016, 12, 31, 23)]))
    fixed, learned = Tables(HOURLY, 8, learned=False), Tables(HOURLY, 8, learned=True)
    expected = sum(sinusoids(size, 8)[i] for size, i in ((24, 23), (7, 5), (31, 30), (12, 11)))
    torch.testing.assert_close(fixed(marks)[0], expected)
    assert count_parameters(fixed) == 0 and count_parameters(learned) == (24 + 7 + 31 + 12) * 8


def test_normalizations_take_off_and_put_back() -> None:
    x = torch.randn(4, 24, 3) * 5 + 7
    columns = torch.tensor([2, 0])
    for kind, level, spread in (("none", 0 * x[:, :1], 1 + 0 * x[:, :1]), ("last", x[:, -1:], 1 + 0 * x[:, :1])):
        taken, found_level, found_spread = Normalization(config(normalization=kind), channels=3)(x)
        torch.testing.assert_close((found_level, found_spread), (level, spread))
        torch.testing.assert_close(taken, x - level)
    revin = Normalization(config(normalization="RevIN"), channels=3)
    nn.init.constant_(revin.scale, 2.0)
    nn.init.constant_(revin.shift, 0.5)
    taken, level, spread = revin(x)
    torch.testing.assert_close(taken.mean(1), torch.full((4, 3), 0.5), atol=1e-5, rtol=0)
    torch.testing.assert_close(taken.var(1, unbiased=False).sqrt(), torch.full((4, 3), 2.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(revin.restore(taken[..., columns], level, spread, columns), x[..., columns])


def test_a_constant_window_stays_finite_under_revin() -> None:
    x, marks = inputs()
    x[:, :, 1] = 3.0
    assert model(normalization="RevIN")(x, marks).isfinite().all()


def test_initial_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, again, other = model(seed=1), model(seed=1), model(seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    pairs = list(zip(one.parameters(), again.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs) and not all(torch.equal(a, c) for a, _, c in pairs)


def test_weight_decay_spares_biases_and_norms_and_fixed_tables_are_not_trained() -> None:
    built = model(embedding="fixed")
    optimizer = build_optimizer(config(weight_decay=0.01), built)
    decayed, spared = (group["params"] for group in optimizer.param_groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.0]
    assert all(p.ndim > 1 for p in decayed) and all(p.ndim == 1 for p in spared)
    assert sum(p.numel() for p in decayed + spared) == count_parameters(built)


@pytest.mark.parametrize(
    ("changed", "kind", "settings"),
    [
        ({"optimizer": "Adam"}, torch.optim.Adam, {"decoupled_weight_decay": False}),
        ({"optimizer": "AdamW"}, torch.optim.AdamW, {"decoupled_weight_decay": True}),
        ({"optimizer": "SGD", "momentum": 0.8}, torch.optim.SGD, {"momentum": 0.8, "nesterov": True}),
        ({"optimizer": "SGD", "momentum": 0.0}, torch.optim.SGD, {"momentum": 0.0, "nesterov": False}),
    ],
)
def test_optimizers(changed: dict[str, Any], kind: type, settings: dict[str, Any]) -> None:
    optimizer = build_optimizer(config(lr=0.02, **changed), model())
    assert type(optimizer) is kind
    for group in optimizer.param_groups:
        assert group["lr"] == 0.02 and {name: group[name] for name in settings} == settings


@pytest.mark.parametrize(
    ("changed", "points"),
    [
        ({"scheduler": "halving"}, {0.0: 1.0, 0.9: 1.0, 1.0: 0.5, 2.5: 0.25, 5.99: 1 / 32}),
        ({"scheduler": "CosineAnnealingLR"}, {0.0: 1.0, 3.0: 0.5, 6.0: 0.0}),
        ({"scheduler": "StepLR", "gamma": 0.1, "step_epochs": 2}, {1.9: 1.0, 2.0: 0.1, 3.9: 0.1, 4.0: 0.01}),
        ({"scheduler": "ExponentialLR", "gamma": 0.9}, {0.5: 1.0, 1.0: 0.9, 3.2: 0.9**3}),
        ({"scheduler": "LinearLR"}, {0.0: 1.0, 3.0: 0.5, 6.0: 0.0}),
        ({"scheduler": "none"}, {0.0: 1.0, 6.0: 1.0}),
        ({"scheduler": "none", "warmup": 0.5}, {0.0: 0.0, 1.5: 0.5, 3.0: 1.0}),
        ({"scheduler": "LinearLR", "warmup": 0.5}, {1.5: 0.5, 3.0: 1.0, 4.5: 0.5}),
    ],
)
def test_schedules(changed: dict[str, Any], points: dict[float, float]) -> None:
    for done, factor in points.items():
        assert lr_factor(config(**changed), done, 6) == pytest.approx(factor)


def test_criteria() -> None:
    forecast, truth = torch.tensor([0.0, 0.0, 0.0]), torch.tensor([0.1, -0.5, 3.0])
    for changed, expected in (
        ({"criterion": "MSE"}, [0.01, 0.25, 9.0]),
        ({"criterion": "L1"}, [0.1, 0.5, 3.0]),
        ({"criterion": "SmoothL1", "beta": 1.0}, [0.005, 0.125, 2.5]),
        ({"criterion": "SmoothL1", "beta": 0.2}, [0.025, 0.4, 2.9]),
    ):
        assert element_losses(config(**changed), forecast, truth).tolist() == pytest.approx(expected)


def test_every_architecture_field_builds_another_model() -> None:
    """What a field changes in the built object, beside the numbers that test_informer_parameters compares."""
    built = model(d_model=16, n_heads=4, e_layers=3, d_layers=2, d_ff=20, factor=7, dropout=0.3, activation="relu")
    layer = built.encoder.layers[0]
    assert layer.attention.query.weight.shape == (16, 16) and layer.attention.heads == 4  # type: ignore[union-attr]
    assert layer.attention.factor == 7 and layer.attention.dropout == 0.3  # type: ignore[union-attr]
    assert layer.feed_forward.wide.out_features == 20  # type: ignore[union-attr]
    assert layer.feed_forward.activation is nn.functional.relu  # type: ignore[union-attr]
    assert (len(built.encoder.layers), len(built.decoder)) == (3, 2)
    assert {m.p for m in built.modules() if isinstance(m, nn.Dropout)} == {0.3}
    kinds = {"prob": ("prob", "full"), "full": ("full", "full"), "flash": ("flash", "flash")}
    for attention, (own, cross) in kinds.items():
        decoder = model(attention=attention).decoder[0]
        assert (decoder.attention.kind, decoder.cross.kind) == (own, cross)  # type: ignore[union-attr]
        assert decoder.attention.causal and not decoder.cross.causal  # type: ignore[union-attr]


def test_config_fields_are_all_looked_at_somewhere() -> None:
    """Nothing is left in the configuration that no module reads."""
    import inspect

    from trainers.informer import embedding, loop, normalization, optim
    from trainers.informer import model as module

    text = "".join(inspect.getsource(m) for m in (module, embedding, normalization, optim, loop))
    assert [f.name for f in dataclasses.fields(Config) if f"config.{f.name}" not in text] == []


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(
    "changed",
    [{}, {"embedding": "fixed"}, {"attention": "full"}, {"attention": "flash"}, {"normalization": "RevIN"}],
)
@pytest.mark.parametrize("targets", [(2,), (0, 1, 2)])
def test_a_forward_copies_nothing_to_the_gpu_and_waits_for_nothing(
    targets: tuple[int, ...], changed: dict[str, Any], train: bool
) -> None:
    """Eight blocking copies before: positions, sampled keys, lists as indices."""
    built = build_model(
        config(**changed), channels=3, targets=targets, pred_len=6, calendar=HOURLY, seed=0, device=META
    ).train(train)
    values, marks = torch.zeros(60, 3), torch.zeros(60, 5, dtype=torch.int64)
    series = Series(
        values=values, marks=marks, columns=("a", "b", "c"), targets=targets, calendar=HOURLY, parts={}, pred_len=6,
        season=1, notes={},
    ).to(META)  # fmt: skip
    starts = torch.arange(24, 28, device=META)
    built(*series.windows(starts, 24)[:2])  # the evaluation's keys are copied once
    with Transfers() as found:
        x, rows, truth = series.windows(starts, 24)
        loss = element_losses(config(), built(x, rows).float(), truth).mean()
    assert found == [] and loss.device == META


def test_transfers_are_noticed() -> None:
    """The test above can fail."""
    with Transfers() as found:
        there = torch.zeros(3, 4, device=META)
        there + torch.zeros(4).to(there)
        there[..., [0, 2]]
        there * torch.tensor([1.0, 2.0, 3.0, 4.0], device=META)
    assert {"indexed with a list", "made of numbers", "_to_copy"} <= set(found)
