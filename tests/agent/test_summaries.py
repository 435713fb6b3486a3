"""Reading summaries: three shapes are understood, everything doubtful is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.errors import InvalidSummary
from agent.records import Objective, Outcome
from agent.summaries import read_summary

DICE = Objective(metric="Dice", direction="maximize")


def own(**changes: Any) -> dict[str, Any]:
    metric = {"value": 0.8, "direction": "maximize", "std": 0.1, "n": 2}
    fields: dict[str, Any] = {
        "schema_version": 1,
        "split": "val",
        "objective": "Dice",
        "metrics": {"Dice": metric},
        "per_fold": [{"row": 0, "outcome": "ok"}, {"row": 1, "outcome": "ok"}],
        "outcomes": {"ok": 2},
        "costs": {"wall_seconds": 3.5},
    }
    return fields | changes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "val_summary.json"


def test_our_own_schema(path: Path) -> None:
    path.write_text(json.dumps(own()))
    summary = read_summary(path, DICE)
    assert (summary.value, summary.std, summary.n, summary.rows) == (0.8, 0.1, 2, 2)
    assert summary.outcome is Outcome.OK and summary.costs == {"wall_seconds": 3.5}


def test_a_candidate_without_a_score_has_outcomes_only(path: Path) -> None:
    failed = {"row": 0, "outcome": "gpu_oom", "message": "batch 32 does not fit"}
    path.write_text(json.dumps(own(metrics={}, outcomes={"gpu_oom": 2}, per_fold=[failed])))
    summary = read_summary(path, DICE)
    assert (summary.value, summary.n, summary.rows) == (None, 0, 2)
    assert summary.outcome is Outcome.GPU_OOM and summary.message == "batch 32 does not fit"


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ({"Dice": 0.75}, 0.75),
        ({"Dice": 1, "IoU": 0.5}, 1.0),
        ({"foreground_mean": {"Dice": 0.89, "IoU": 0.8}, "mean": {"1": {"Dice": 0.9}}, "metric_per_case": []}, 0.89),
    ],
    ids=["flat", "integer", "nnU-Net"],
)
def test_foreign_shapes(path: Path, raw: dict[str, Any], value: float) -> None:
    path.write_text(json.dumps(raw))
    summary = read_summary(path, DICE)
    assert (summary.value, summary.n, summary.rows, summary.outcome) == (value, 1, 1, Outcome.OK)


def test_nnunets_summary_gives_classes_and_cases_and_its_nan_says_not_there(path: Path) -> None:
    def case(name: str, one: float, two: float) -> dict[str, Any]:
        metrics = {"1": {"Dice": one, "IoU": one / 2}, "2": {"Dice": two, "IoU": two}}
        return {"metrics": metrics, "prediction_file": f"/x/{name}.nii.gz", "reference_file": "/y"}

    nan = float("nan")
    raw = {
        "foreground_mean": {"Dice": 0.75, "IoU": 0.6},
        "mean": {"1": {"Dice": 0.8, "IoU": 0.7}, "2": {"Dice": 0.7, "IoU": nan}},
        "metric_per_case": [case("a_001", 0.8, 0.7), case("a_002", 0.8, nan)],
    }
    path.write_text(json.dumps(raw))
    summary = read_summary(path, DICE)
    assert summary.value == 0.75
    assert summary.per_class["1"] == {"Dice": 0.8, "IoU": 0.7, "cases": 2}
    assert summary.per_class["2"] == {"Dice": 0.7, "IoU": None, "cases": 1}
    assert summary.per_case[1] == {"case": "a_002", "fold": None, "Dice": {"1": 0.8, "2": None}}
    path.write_text(json.dumps(raw | {"foreground_mean": {"Dice": nan}}))
    with pytest.raises(InvalidSummary, match="must be a finite number"):
        read_summary(path, DICE)


def broken(**changes: Any) -> dict[str, Any]:
    metric = {"value": 0.8, "direction": "maximize", "std": 0.1, "n": 2} | changes
    return own(metrics={"Dice": metric})


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (broken(direction="minimize"), ["Dice.direction", "maximize"]),
        (broken(value="0.8"), ["Dice.value", "finite number"]),
        (broken(std=-1), ["Dice.std"]),
        (broken(n=0), ["Dice.n"]),
        (own(metrics={"Dice": 0.8}), ["metrics.Dice", "object"]),
        (own(metrics=[]), ["metrics"]),
        (own(metrics={}), ["Dice", "missing"]),
        (own(objective="IoU"), ["objective", "'Dice'"]),
        (own(outcomes={"fine": 2}), ["outcomes", "bad_config"]),
        (own(outcomes={"ok": -1}), ["outcomes"]),
        (own(per_fold={}), ["per_fold"]),
        ({"IoU": 0.5}, ["Dice", "IoU"]),
        ({"Dice": "high"}, ["Dice", "no numbers"]),
        ({}, ["Dice", "no numbers"]),
    ],
)
def test_doubtful_summaries_are_refused_by_name(path: Path, raw: dict[str, Any], named: list[str]) -> None:
    path.write_text(json.dumps(raw))
    with pytest.raises(InvalidSummary) as caught:
        read_summary(path, DICE)
    for text in (str(path), *named):
        assert text in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"Dice": NaN}', '{"Dice": Infinity}', '{"Dice": 1, "Dice": 2}', "\xff"]
)
def test_broken_files_are_refused(path: Path, text: str) -> None:
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidSummary, match=r"val_summary\.json"):
        read_summary(path, DICE)


def test_every_problem_is_listed_at_once(path: Path) -> None:
    path.write_text(json.dumps(broken(direction="up", n=0) | {"outcomes": {}}))
    with pytest.raises(InvalidSummary) as caught:
        read_summary(path, DICE)
    assert len(caught.value.problems) >= 3
