"""Every flag on several curves that deserve it: losses of any scale, scores that rise and errors that fall."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from agent.diagnosis import FLAGS, EpochTable, analyse_trial
from agent.diagnosis.trends import slope_significance
from tests.agent.diagnosis_curves import Row, cosine, decay, noisy, share

SEEDS = range(5)
Shape = Callable[[int, random.Random], float]


def rows(epochs: int, **columns: Shape) -> Callable[[int], list[Row]]:
    """Rows by seed."""

    def build(seed: int) -> list[Row]:
        rng = random.Random(seed)
        return [{"epoch": k + 1.0, **{name: shape(k, rng) for name, shape in columns.items()}} for k in range(epochs)]

    return build


def falling(start: float, end: float, rate: float, noise: float = 0.02) -> Shape:
    return lambda k, rng: noisy(rng, decay(k, start, end, rate), noise)


def driven(start: float, per_rate: float, peak: float, epochs: int) -> Shape:
    """A loss that falls in proportion to the cosine schedule's rates."""
    return lambda k, rng: start - per_rate * sum(cosine(i, epochs, peak) for i in range(k + 1)) + rng.gauss(0, 1e-3)


def annealed(peak: float, epochs: int) -> Shape:
    return lambda k, rng: cosine(k, epochs, peak)


def constant(value: float) -> Shape:
    return lambda k, rng: value


def overfitted(scale: float, turn: int, climb: float) -> dict[str, Shape]:
    return {
        "train_loss": lambda k, rng: scale * noisy(rng, decay(k, 2.3, 0.02, 6), 0.02),
        "val_loss": lambda k, rng: scale * noisy(rng, decay(k, 2.3, 0.8, 3) + climb * max(0, k - turn), 0.02),
    }


def jumping(level: float, step: float) -> Shape:
    return lambda k, rng: level + (step if k % 2 else -step) * rng.uniform(0.8, 1.2) + 0.5 * level / (k + 1)


def bouncing(k: int, rng: random.Random) -> float:
    """Falls, climbs while the rate is at its peak, falls again with the rate."""
    return noisy(rng, decay(k, 2.3, 0.8, 2) + 1.2 * math.exp(-(((k - 14) / 4) ** 2)), 0.05)


#: Flag -> name -> rows by seed. The flag must be raised for every seed.
DESERVED: dict[str, dict[str, Callable[[int], list[Row]]]] = {
    "nan": {
        "late": rows(20, train_loss=lambda k, rng: math.nan if k == 15 else 1.0, val_loss=falling(2, 1, 3)),
        "at once": rows(3, train_loss=lambda k, rng: math.inf),
        "in a score": rows(10, val_dice=lambda k, rng: math.nan if k == 2 else 0.5),
    },
    "divergence": {
        "explodes": rows(30, train_loss=lambda k, rng: 2.3 * math.exp(-k / 5) if k < 12 else 1.4**k),
        "tiny scale": rows(20, train_loss=lambda k, rng: 1e-5 * (decay(k, 2, 0.5, 2) if k < 10 else 3.0)),
        "large scale": rows(20, train_loss=lambda k, rng: 1e6 * noisy(rng, 1 + max(0, k - 5), 0.05)),
        "a score that falls": rows(20, val_reward=lambda k, rng: 10.0 - abs(k - 4) ** 1.5 + rng.gauss(0, 0.1)),
    },
    "overfitting": {
        "cross-entropy": rows(30, **overfitted(1.0, 9, 0.03)),
        "small scale": rows(30, **overfitted(1e-4, 12, 0.05)),
        "large scale": rows(60, **overfitted(1e3, 20, 0.02)),
        "accuracy": rows(
            30,
            train_acc=lambda k, rng: share(decay(k, 0.2, 1.0, 4)),
            val_acc=lambda k, rng: share(decay(k, 0.3, 0.70, 2) - 0.001 * k + rng.gauss(0, 0.001)),
        ),
        "error that is to fall": rows(
            30,
            train_error=lambda k, rng: decay(k, 0.8, 0.0, 4),
            val_error=lambda k, rng: decay(k, 0.7, 0.30, 2) + 0.001 * k,
        ),
    },
    "underfitting": {
        "low on both": rows(
            30,
            train_acc=lambda k, rng: share(decay(k, 0.1, 0.3, 5) + rng.gauss(0, 0.003)),
            val_acc=lambda k, rng: share(decay(k, 0.1, 0.29, 5) + rng.gauss(0, 0.005)),
        ),
        "loss alone": rows(20, train_loss=falling(2.30, 2.25, 2, 0.001)),
        "any scale": rows(20, train_loss=falling(4000, 3800, 2, 0.001)),
        "dice": rows(40, train_dice=lambda k, rng: 0.4 + rng.gauss(0, 0.003), val_dice=constant(0.35)),
    },
    "plateau": {
        "cross-entropy": rows(40, train_loss=falling(2.3, 0.3, 1.5), val_loss=falling(2.3, 0.36, 1.5, 0.002)),
        "dice": rows(60, val_dice=lambda k, rng: 0.8 - 0.6 * math.exp(-k / 3)),
        "squared error": rows(30, val_loss=falling(5e4, 1e4, 1.5, 0.0005)),
        "constant": rows(12, val_loss=constant(0.7)),
    },
    "oscillation": {
        "validation loss": rows(30, train_loss=falling(2.3, 0.3, 5), val_loss=jumping(1.0, 0.35)),
        "tiny scale": rows(30, val_loss=jumping(1e-4, 4e-5)),
        "accuracy": rows(30, val_acc=lambda k, rng: 0.6 + (0.15 if k % 2 else -0.15) + rng.gauss(0, 0.01)),
        "after an absurd start": rows(
            20, val_loss=lambda k, rng: 287.0 if k == 0 else jumping(2.0, 0.8)(k, rng), train_loss=falling(2.3, 1, 5)
        ),
    },
    "unstable_start": {
        "training loss": rows(30, train_loss=lambda k, rng: 9.0 if k == 1 else decay(k, 2.3, 0.4, 6)),
        "validation loss": rows(
            15, train_loss=falling(2.1, 0.2, 3), val_loss=lambda k, rng: 9.7 if k == 1 else decay(k, 1.8, 0.2, 2)
        ),
        "large scale": rows(24, train_loss=lambda k, rng: 5e5 if k == 3 else 1e5 * decay(k, 2.0, 0.5, 4)),
    },
    "still_improving": {
        "cut off": rows(20, train_loss=lambda k, rng: 2.3 - 0.08 * k, val_loss=lambda k, rng: 2.3 - 0.07 * k),
        "a score": rows(20, val_acc=lambda k, rng: 0.1 + 0.03 * k + rng.gauss(0, 0.001)),
        "an error": rows(20, val_mae=lambda k, rng: 5000 - 100.0 * k),
        "slow": rows(
            60,
            train_loss=lambda k, rng: 1.0 + 1.3 * math.exp(-k / 4) - 0.0016 * k,
            val_loss=lambda k, rng: 1.1 + 1.3 * math.exp(-k / 4) - 0.0015 * k + 1e-4 * (k % 2),
        ),
        "slow score": rows(90, val_dice=lambda k, rng: 0.7 - 0.5 * math.exp(-k / 5) + 0.0005 * k),
    },
    "lr_too_high": {
        "climbs and is unstable": rows(30, train_loss=bouncing, val_loss=jumping(2.0, 0.9), lr=annealed(5.0, 30)),
        "progress only once the rate fell": rows(
            30,
            train_loss=lambda k, rng: bouncing(k, rng) if k < 18 else decay(k - 18, 1.4, 0.3, 3),
            lr=annealed(5, 30),
        ),
        "climbs until it is no number": rows(
            20, train_loss=lambda k, rng: decay(k, 2.3, 0.9, 2) + 0.5 * max(0, k - 8) if k < 15 else math.nan
        ),
        "jumps at first and never calms down": rows(
            20, train_loss=lambda k, rng: (2.3, 9.0)[k] if k < 2 else jumping(1.0, 0.4)(k, rng), lr=constant(1.0)
        ),
        "any scale": rows(
            30, train_loss=lambda k, rng: 1e-4 * bouncing(k, rng), val_loss=jumping(2e-4, 9e-5), lr=annealed(5, 30)
        ),
    },
    "lr_too_low": {
        "cosine": rows(20, train_loss=driven(2.31, 2000, 1e-5, 20), lr=annealed(1e-5, 20)),
        "constant": rows(15, train_loss=lambda k, rng: 2.31 - 0.012 * k + rng.gauss(0, 0.002), lr=constant(1e-5)),
        "no rate reported": rows(15, train_loss=lambda k, rng: 7e3 - 40.0 * k + rng.gauss(0, 5)),
        "accuracy": rows(
            20,
            train_acc=lambda k, rng: share(0.10 + 0.006 * k + rng.gauss(0, 0.001)),
            val_acc=lambda k, rng: share(0.10 + 0.005 * k + rng.gauss(0, 0.002)),
        ),
        "speeding up": rows(20, train_loss=lambda k, rng: 2.31 - 0.001 * k**2 + rng.gauss(0, 0.002)),
    },
}
SUMMARY_FLAGS = {"weak_classes", "oom_adjusted", "unreadable_log"}
"""What the summary or the file says; tested in test_diagnosis.py."""
CASES = [(flag, name, build) for flag, cases in DESERVED.items() for name, build in cases.items()]


def raised(found: list[Row]) -> dict[str, dict[str, Any]]:
    return {flag["name"]: flag for flag in analyse_trial(EpochTable(rows=tuple(found)), {})["flags"]}


def test_every_flag_of_a_curve_has_cases() -> None:
    assert set(DESERVED) == set(FLAGS) - SUMMARY_FLAGS
    assert all(len(cases) >= 3 for cases in DESERVED.values())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("flag", "build"), [case[::2] for case in CASES], ids=[f"{c[0]}: {c[1]}" for c in CASES])
def test_a_flag_is_raised_where_it_is_deserved(flag: str, build: Callable[[int], list[Row]], seed: int) -> None:
    found = raised(build(seed))
    assert flag in found
    assert found[flag]["evidence"]
    assert found[flag]["text"]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("flag", "build"), [case[::2] for case in CASES], ids=[f"{c[0]}: {c[1]}" for c in CASES])
def test_no_two_conclusions_contradict_each_other(flag: str, build: Callable[[int], list[Row]], seed: int) -> None:
    found = set(raised(build(seed)))
    for one, other in (
        ("lr_too_high", "lr_too_low"),
        ("lr_too_low", "underfitting"),
        ("plateau", "still_improving"),
        ("overfitting", "underfitting"),
        ("divergence", "plateau"),
    ):
        assert not {one, other} <= found


def test_one_sign_alone_is_no_high_rate() -> None:
    alone = Counter[str]()
    for seed in SEEDS:
        alone.update(raised(DESERVED["unstable_start"]["training loss"](seed)).keys())
        alone.update(raised(DESERVED["divergence"]["explodes"](seed)).keys())
        alone.update(raised(DESERVED["nan"]["late"](seed)).keys())
    assert alone["unstable_start"] and alone["divergence"] and alone["nan"]
    assert "lr_too_high" not in alone


def jumped(val_noise: float) -> Callable[[int], list[Row]]:
    """A jump at the start; the validation loss restless or not."""
    return rows(
        24,
        train_loss=lambda k, rng: 9.0 if k == 1 else noisy(rng, decay(k, 2.3, 0.3, 3), 0.01),
        val_loss=lambda k, rng: decay(k, 2.3, 0.4, 3) * math.exp(val_noise * (-1) ** k * rng.uniform(0.4, 0.6)),
        lr=constant(1.0),
    )


def test_a_jump_and_a_restless_validation_loss_are_two_signs() -> None:
    restless, calm = jumped(0.4), jumped(0.05)
    assert all("lr_too_high" in raised(restless(seed)) for seed in SEEDS)
    assert not any("lr_too_high" in raised(calm(seed)) for seed in SEEDS)


def test_a_small_climb_is_no_sign() -> None:
    build = rows(
        24,
        train_loss=lambda k, rng: decay(k, 2.3, 0.3, 2) + (0.3 if 10 <= k < 15 else 0.0),
        val_loss=falling(2.3, 0.4, 3, 0.4),
    )
    assert not any("lr_too_high" in raised(build(seed)) for seed in SEEDS)


def test_hardly_anything_learned_by_fits_and_starts_is_no_low_rate() -> None:
    build = rows(20, train_loss=lambda k, rng: 2.3 - 0.004 * k + rng.gauss(0, 0.04), lr=constant(1e-3))
    assert not any("lr_too_low" in raised(build(seed)) for seed in SEEDS)


def test_scatter_that_is_small_beside_the_level_is_no_oscillation() -> None:
    build = rows(30, train_loss=lambda k, rng: 10 + rng.gauss(0, 0.05))
    assert not any("oscillation" in raised(build(seed)) for seed in SEEDS)


def test_little_of_the_range_may_be_much_of_the_level() -> None:
    """From 13 to 0.3 in four epochs, then slowly to 0.18: no plateau."""
    build = rows(24, val_loss=lambda k, rng: 0.3 - 0.005 * k + 12 * math.exp(-k / 0.7) + rng.gauss(0, 0.002))
    assert not any("plateau" in raised(build(seed)) for seed in SEEDS)


def test_the_signals_are_named() -> None:
    flag = raised(DESERVED["lr_too_high"]["progress only once the rate fell"](0))["lr_too_high"]
    assert {"rise", "relief"} <= flag["evidence"]["signals"].keys()
    assert "a climb after the first third" in flag["text"]
    assert flag["evidence"]["lr_peak"] == pytest.approx(5.0, rel=0.01)
    low = raised(DESERVED["lr_too_low"]["cosine"](0))["lr_too_low"]["evidence"]
    assert low.keys() == {"column", "closed", "steady", "second_half_over_first", "lr_peak"}
    assert 0 < low["closed"] < 0.25 and low["steady"] > 0.9


def test_a_model_at_its_limit_is_not_driven_too_slowly() -> None:
    limited = rows(30, train_loss=falling(2.30, 2.0, 5, 0.002), lr=constant(0.01))
    assert all("lr_too_low" not in raised(limited(seed)) for seed in SEEDS)


def test_a_schedule_that_ends_is_allowed_for() -> None:
    """Under cosine the loss flattens because the rate falls: per unit of rate it does not."""
    build = DESERVED["lr_too_low"]["cosine"]
    without = [{name: value for name, value in row.items() if name != "lr"} for row in build(0)]
    assert "lr_too_low" in raised(build(0))
    assert raised(without).keys() != raised(build(0)).keys()


def test_the_pace_of_what_still_improves() -> None:
    cases = DESERVED["still_improving"]
    paces = {name: raised(build(0))["still_improving"]["evidence"]["pace"] for name, build in cases.items()}
    assert paces == {"cut off": "fast", "a score": "fast", "an error": "fast", "slow": "slow", "slow score": "slow"}


def test_the_rate_may_be_called_learning_rate() -> None:
    found = [
        {("learning_rate" if name == "lr" else name): value for name, value in row.items()}
        for row in DESERVED["lr_too_low"]["cosine"](0)
    ]
    assert "lr_peak" in raised(found)["lr_too_low"]["evidence"]


def test_significance_of_a_slope() -> None:
    assert slope_significance([1.0, 2.0, 3.0]) == 0
    assert slope_significance([4.0, 3.0, 2.0, 1.0]) == -math.inf
    assert slope_significance([1.0] * 5) == 0
    # Slope 0.9, residual variance 0.7 / 2, sum of squares 5: computed by hand.
    assert slope_significance([1.0, 3.0, 2.5, 4.0]) == pytest.approx(0.85 / math.sqrt(1.0750 / 2 / 5), rel=1e-6)


@pytest.mark.parametrize("seed", range(300))
def test_no_numbers_can_break_it(seed: int) -> None:
    """Any floats at all in any columns: an analysis, as JSON, and never an error."""
    rng = random.Random(seed)
    odd = [0.0, -0.0, 1.0, -1.0, 5e-324, 1e-300, 1e99, -1e99, 1e101, 1e308, -1e308, math.inf, -math.inf, math.nan]
    names = ["train_loss", "val_loss", "train_acc", "val_acc", "val_other", "lr"]
    used = rng.sample(names, rng.randint(1, len(names)))
    found = []
    for k in range(rng.randint(0, 25)):
        row = {"epoch": k + 1.0}
        for name in used:
            if rng.random() < 0.95:
                row[name] = (
                    rng.choice(odd) if rng.random() < seed / 300 else rng.gauss(0, 1) * 10 ** rng.uniform(-5, 5)
                )
        found.append(row)
    json.dumps(analyse_trial(found, {}), allow_nan=False)
