"""Every flag on a curve that deserves it, and none on curves that do not."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from agent.diagnosis import FLAGS, EpochTable, analyse_round, analyse_trial, fold_outliers, weak_classes
from agent.diagnosis.trends import slope
from agent.records import CandidateResult, Objective, Outcome, TrialAnalysis

Row = dict[str, float]
Shape = Callable[[int, random.Random], float]


def table(epochs: int = 30, *, seed: int = 0, **columns: Shape) -> list[Row]:
    rng = random.Random(seed)
    return [
        {"epoch": float(k + 1), **{name: shape(k, rng) for name, shape in columns.items()}} for k in range(epochs)
    ]


def falling(start: float, end: float, rate: float, noise: float = 0.0) -> Shape:
    return lambda k, rng: end + (start - end) * math.exp(-k / rate) + rng.gauss(0, noise)


def rising(start: float, end: float, rate: float, noise: float = 0.0) -> Shape:
    return lambda k, rng: min(1.0, max(0.0, end - (end - start) * math.exp(-k / rate) + rng.gauss(0, noise)))


def cosine(peak: float, epochs: int = 30) -> Shape:
    return lambda k, rng: peak * (1 + math.cos(math.pi * k / (epochs - 1))) / 2


def spiked(start: float, peak: float, end: float) -> Shape:
    return lambda k, rng: peak if k == 1 else end + (start - end) * math.exp(-k / 6)


def healthy(seed: int, noise: float) -> list[Row]:
    """Learns, generalises, still gains a little: what must not be called ill."""
    return table(
        seed=seed,
        train_loss=falling(2.3, 0.30, 7, noise),
        val_loss=falling(2.3, 0.36, 7, noise),
        train_acc=rising(0.1, 0.93, 6, noise / 4),
        val_acc=rising(0.1, 0.91, 6, noise / 4),
        lr=cosine(0.1),
    )


def flags(rows: list[Row], summary: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    analysis = analyse_trial(rows, summary or {})
    json.dumps(analysis, allow_nan=False)
    found = {flag["name"]: flag for flag in analysis["flags"]}
    assert len(found) == len(analysis["flags"])
    assert all(name in FLAGS and flag["evidence"] and flag["text"] for name, flag in found.items())
    return found


CASES: dict[str, tuple[list[Row], set[str]]] = {
    "validation loss turns while training goes on": (
        table(
            train_loss=falling(2.3, 0.02, 6, 0.01),
            val_loss=lambda k, rng: 0.8 + 1.5 * math.exp(-k / 3) + 0.03 * max(0, k - 9) + rng.gauss(0, 0.01),
        ),
        {"overfitting"},
    ),
    "validation accuracy stands far behind": (
        table(train_acc=rising(0.2, 1.0, 4), val_acc=lambda k, rng: 0.7 - 0.4 * math.exp(-k / 2) - 0.0005 * k),
        {"overfitting"},
    ),
    "hardly anything learned": (
        table(
            train_loss=falling(2.30, 2.0, 12, 0.002),
            val_loss=falling(2.30, 2.0, 12, 0.002),
            train_acc=rising(0.1, 0.3, 12),
            val_acc=rising(0.1, 0.29, 12),
        ),
        {"underfitting", "still_improving"},
    ),
    "low on training data, lower on validation data": (
        table(train_acc=rising(0.1, 0.4, 9), val_acc=rising(0.1, 0.22, 9)),
        {"underfitting", "still_improving"},
    ),
    "a loss that hardly falls, without a score": (
        table(train_loss=falling(2.30, 2.25, 3)),
        {"underfitting", "plateau"},
    ),
    "nothing new for ten epochs": (
        table(train_loss=falling(2.3, 0.3, 1.5), val_loss=falling(2.3, 0.36, 1.5), lr=lambda k, rng: 0.1),
        {"plateau"},
    ),
    "a constant loss": (table(train_loss=lambda k, rng: 2.3), {"plateau", "underfitting"}),
    "the loss explodes": (
        table(train_loss=lambda k, rng: 2.3 * math.exp(-k / 5) if k < 12 else 1.4**k, val_loss=falling(2, 1, 5)),
        {"divergence"},
    ),
    "the loss only rises": (table(8, train_loss=lambda k, rng: 2.3 + 0.5 * k), {"divergence"}),
    "the loss is lost": (
        table(train_loss=lambda k, rng: math.nan if k > 20 else 2.3 - 0.05 * k, val_loss=falling(2.3, 1.0, 9)),
        {"nan"},
    ),
    "infinite at once": (table(2, train_loss=lambda k, rng: math.inf), {"nan"}),
    "up and down": (
        table(
            train_loss=falling(2.3, 0.3, 5), val_loss=lambda k, rng: 1.0 + (0.4 if k % 2 else -0.3) + 0.5 / (k + 1)
        ),
        {"oscillation"},
    ),
    "a jump in the second epoch": (
        table(train_loss=spiked(2.3, 9.0, 0.4), val_loss=falling(2.3, 0.5, 6)),
        {"unstable_start"},
    ),
    "cut off on the way down": (
        table(20, train_loss=lambda k, rng: 2.3 - 0.08 * k, val_loss=lambda k, rng: 2.3 - 0.07 * k),
        {"still_improving"},
    ),
    "cut off on the way up, accuracy only": (
        table(20, train_acc=lambda k, rng: 0.1 + 0.03 * k, val_acc=lambda k, rng: 0.1 + 0.029 * k),
        {"still_improving"},
    ),
    "an error that is to fall": (
        table(20, train_mae=lambda k, rng: 5 - 0.1 * k, val_mae=lambda k, rng: 5 - 0.09 * k),
        {"still_improving"},
    ),
}


@pytest.mark.parametrize(("rows", "expected"), CASES.values(), ids=CASES)
def test_each_flag_and_no_other(rows: list[Row], expected: set[str]) -> None:
    assert set(flags(rows)) == expected


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.03])
def test_a_healthy_curve_is_left_alone(seed: int, noise: float) -> None:
    assert set(flags(healthy(seed, noise))) <= {"plateau", "still_improving"}


@pytest.mark.parametrize("seed", range(20))
def test_noise_around_a_level_is_no_overfitting_and_no_divergence(seed: int) -> None:
    rows = table(
        40, seed=seed, train_loss=falling(2.3, 0.4, 4, 0.01), val_loss=falling(2.3, 0.5, 4, 0.03), lr=cosine(0.1, 40)
    )
    assert set(flags(rows)) <= {"plateau"}


def test_a_small_gap_between_losses_is_no_overfitting() -> None:
    assert "overfitting" not in flags(table(train_loss=falling(2.3, 0.1, 5), val_loss=falling(2.3, 0.3, 5)))


def test_training_below_validation_by_augmentation_is_no_underfitting() -> None:
    assert not set(flags(table(train_acc=rising(0.1, 0.80, 5), val_acc=rising(0.1, 0.90, 5)))) & {
        "underfitting",
        "overfitting",
    }


def test_a_jump_at_the_very_end_of_an_epoch_is_no_divergence() -> None:
    rows = table(train_loss=falling(2.3, 0.3, 5), val_loss=falling(2.3, 0.4, 5))
    rows[-1]["train_loss"] = 2.0
    assert "divergence" not in flags(rows)


@pytest.mark.parametrize("epochs", range(5))
def test_short_curves_say_nothing(epochs: int) -> None:
    rows = table(epochs, train_loss=lambda k, rng: 2.0 - 0.1 * k, val_loss=lambda k, rng: 2.0 - 0.1 * k)
    assert flags(rows) == {}


def test_numbers_in_the_evidence() -> None:
    flag = flags(CASES["a jump in the second epoch"][0])["unstable_start"]
    assert flag["evidence"] == {"column": "train_loss", "first": 2.3, "peak": 9.0, "epoch": 2}
    rows = CASES["the loss is lost"][0]
    assert flags(rows)["nan"]["evidence"] == {"column": "train_loss", "epoch": 22, "count": 9}


def test_trends() -> None:
    rows = table(
        12, train_loss=lambda k, rng: 3 - 0.1 * k, val_loss=lambda k, rng: 3 + abs(k - 5), lr=cosine(0.1, 12)
    )
    found = analyse_trial(rows, {})["trends"]
    assert found["epochs"] == 12
    assert found["slope_last_third"] == pytest.approx({"train_loss": -0.1, "val_loss": 1.0})
    assert (found["monitored"], found["best_epoch"], found["best"], found["last"]) == ("val_loss", 6, 3, 9)
    assert found["best_position"] == 0.5
    assert found["generalisation_gap"] == pytest.approx(8 - 2.0)
    assert found["lr"]["first"] == 0.1
    assert slope([1.0]) == 0


def test_direction_of_a_score_is_the_trials_own() -> None:
    rows = table(20, train_quality=lambda k, rng: 10 - 0.1 * k, val_quality=lambda k, rng: 10 - 0.1 * k)
    assert analyse_trial(rows, {"directions": {"quality": "minimize"}})["trends"]["best_epoch"] == 20
    summary = {"metrics": {"val_quality": {"value": 1, "direction": "maximize"}}}
    assert analyse_trial(rows, summary)["trends"]["best_epoch"] == 1


def test_keywords_come_from_the_flags() -> None:
    analysis = analyse_trial(CASES["nothing new for ten epochs"][0], {})
    assert analysis["keywords"] == ["training plateau", "learning rate schedule"]


def test_what_the_summary_alone_says() -> None:
    per_class = {f"class {k}": {"dice": 0.9} for k in range(9)} | {"spleen": {"dice": 0.2}, "absent": {"dice": None}}
    summary = {"per_class": per_class, "notes": {"oom_adjusted": True}, "effective": {"batch_size": 64}}
    found = flags([], summary)
    assert set(found) == {"weak_classes", "oom_adjusted"}
    assert "spleen (0.2)" in found["weak_classes"]["text"]
    assert found["oom_adjusted"]["evidence"] == {"effective": {"batch_size": 64}}


@pytest.mark.parametrize("junk", [None, 3, "x", [], {"a": None}, {"a": {"dice": "high"}}])
def test_a_strange_summary_does_no_harm(junk: object) -> None:
    summary = dict.fromkeys(("per_class", "notes", "effective", "directions", "metrics"), junk)
    assert flags(healthy(0, 0.0), summary).keys() <= {"plateau", "still_improving"}


def test_problems_of_the_log_are_a_flag() -> None:
    found = analyse_trial(EpochTable(problems=("metrics_epoch.csv: line 1: no column epoch",)), {})["flags"]
    assert [flag["name"] for flag in found] == ["unreadable_log"]


def test_weak_classes_are_sorted_and_measured_against_the_mean() -> None:
    per_class = {
        name: {"dice": value, "n": 3.0} for name, value in zip("abcdefgh", [0.9] * 6 + [0.5, 0.4], strict=True)
    }
    found = weak_classes(per_class)
    assert [entry["class"] for entry in found] == ["h", "g"]
    assert found[0] == {"class": "h", "metric": "dice", "value": 0.4, "mean": 0.7875, "behind": 0.3875}
    errors = {name: {"dice": 1 - entry["dice"]} for name, entry in per_class.items()}
    assert [entry["class"] for entry in weak_classes(errors, direction="minimize")] == ["h", "g"]


@pytest.mark.parametrize(
    "values", [[0.9, 0.2], [0.90, 0.91, 0.88, 0.87], [0.3, 0.9, 0.3, 0.9], [0.9] * 5, [0.9, None, math.nan, 0.1]]
)
def test_even_or_few_classes_have_no_weak_one(values: list[float | None]) -> None:
    assert weak_classes({str(k): {"dice": value} for k, value in enumerate(values)}) == []


@pytest.mark.parametrize(
    ("values", "outlying"),
    [
        ([0.90, 0.91, 0.89, 0.90, 0.60], [4]),
        ([0.90, 0.91, 0.89, 0.90, 0.99], [4]),
        ([0.90, 0.91, 0.89, 0.92, 0.88], []),
        ([0.90, 0.90, 0.90, 0.90, 0.905], []),
        ([0.90, 0.20, 0.91], []),
        ([0.0, 0.0, 0.0, 0.0], []),
        ([0.90, 0.91, 0.89, math.nan, 0.1], [4]),
    ],
)
def test_fold_outliers(values: list[float], outlying: list[int]) -> None:
    assert [entry["fold"] for entry in fold_outliers(dict(enumerate(values)))] == outlying


OBJECTIVE = Objective(metric="accuracy", direction="maximize")


def seen(
    number: int, name: str, value: float | None, *, outcome: Outcome = Outcome.OK, std: float | None = None
) -> CandidateResult:
    return CandidateResult(
        round=number,
        candidate=name,
        values={},
        key=f"{number}{name}",
        outcome=outcome,
        value=value,
        std=std,
        n=0 if value is None else 2,
        rows=2,
        source="default" if (number, name) == (1, "c00") else "optuna_tpe",
    )


def test_a_round_in_findings() -> None:
    history = [
        seen(1, "c00", 0.80, std=0.01),
        seen(1, "c01", 0.90, std=0.01),
        seen(2, "c00", 0.85, std=0.01),
        seen(3, "c00", None, outcome=Outcome.GPU_OOM),
        seen(3, "c01", None, outcome=Outcome.LOST),
        seen(3, "c02", None, outcome=Outcome.GPU_OOM),
    ]
    analyses = {
        "c00_f0_s1": TrialAnalysis(flags=["overfitting"]),
        "c00_f1_s1": TrialAnalysis(flags=["overfitting", "oscillation"]),
        "c01_f0_s1": TrialAnalysis(),
    }
    findings = analyse_round(history, analyses, OBJECTIVE)
    json.dumps(findings, allow_nan=False)
    texts = {finding["name"]: finding["text"] for finding in findings}
    assert list(texts) == ["best", "no_new_best", "failed_settings", "lost_trials", "overfitting", "oscillation"]
    assert texts["best"] == "best accuracy 0.9 in round 1 c01 (optuna_tpe), +0.1 against the default"
    assert texts["no_new_best"] == "no new best in the last 2 rounds (since round 1)"
    assert texts["failed_settings"] == "2 of 6 candidates gave no value (gpu_oom 2); their settings did it"
    assert texts["lost_trials"].endswith("(lost 1); this says nothing about their settings")
    assert texts["overfitting"].startswith("overfitting in 2 of 3 trials of the newest round (c00_f0_s1, c00_f1_s1)")


def test_differences_within_the_noise_are_said() -> None:
    history = [seen(1, f"c{k:02d}", 0.8 + 0.001 * k, std=0.05) for k in range(4)]
    assert [f["name"] for f in analyse_round(history, {}, OBJECTIVE)] == ["best", "within_noise"]


def test_a_round_without_values_or_history() -> None:
    assert analyse_round([], {}, OBJECTIVE) == []
    failed = [seen(1, "c00", None, outcome=Outcome.CRASHED)]
    assert [f["name"] for f in analyse_round(failed, {}, OBJECTIVE)] == ["no_value", "lost_trials"]
