"""Reading summaries: three shapes are understood, everything doubtful is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.errors import InvalidSummary
from agent.records import Objective, Outcome
from agent.summaries import read_summary, refuse_impossible
from tests.shared_cases import case

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
    def entry(name: str, one: float, two: float) -> dict[str, Any]:
        metrics = {"1": {"Dice": one, "IoU": one / 2}, "2": {"Dice": two, "IoU": two}}
        return {"metrics": metrics, "prediction_file": f"/x/{name}.nii.gz", "reference_file": "/y"}

    nan = float("nan")
    raw = {
        "foreground_mean": {"Dice": 0.75, "IoU": 0.6},
        "mean": {"1": {"Dice": 0.8, "IoU": 0.7}, "2": {"Dice": 0.7, "IoU": nan}},
        "metric_per_case": [entry("a_001", 0.8, 0.7), entry("a_002", 0.8, nan)],
    }
    path.write_text(json.dumps(raw))
    summary = read_summary(path, DICE)
    assert summary.value == 0.75
    assert summary.per_class["1"] == {"Dice": 0.8, "IoU": 0.7, "cases": 2}
    assert summary.per_class["2"] == {"Dice": 0.7, "IoU": None, "cases": 1}
    assert summary.per_case[1] == {"case": "a_002", "fold": None, "Dice": {"1": 0.8, "2": None}}


def segmented(**classes: float | None) -> dict[str, Any]:
    """Means of classes c1, c2, ... (label 1, 2, ...), with nnU-Net's own mean over them, NaN where one is."""
    values = [float("nan") if value is None else value for value in classes.values()]
    means = {name.removeprefix("c"): {"Dice": value} for name, value in zip(classes, values, strict=True)}
    return {"foreground_mean": {"Dice": sum(values) / len(values)}, "mean": means, "metric_per_case": []}


def per_case(*cases: dict[str, float | None]) -> dict[str, Any]:
    entries = [
        {"metrics": {label: {"Dice": value} for label, value in case.items()}, "prediction_file": f"/x/case{n}.png"}
        for n, case in enumerate(cases)
    ]
    return {"metric_per_case": entries}


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (segmented(c1=0.8, c2=0.4, c3=None), 0.6),
        ({"mean": {"0": {"Dice": 0.99}, "1": {"Dice": 0.8}, "2": {"Dice": 0.4}}}, 0.6),
        ({"mean": {"(1, 2)": {"Dice": 0.9}, "2": {"Dice": 0.5}, "3": {"Dice": None}}}, 0.7),
        (per_case({"1": 0.8, "2": None}, {"1": 0.6, "2": 0.5}, {"1": None, "2": 0.3}), 0.55),
        ({"foreground_mean": {"IoU": 0.3}, **per_case({"1": 0.8})}, 0.8),
        (
            {"results": {"mean": {"0": {"Dice": 0.99}, "1": {"Dice": 0.8}, "2": {"Dice": None}, "3": {"Dice": 0.2}}}},
            0.5,
        ),
        ({"results": {"all": [{"1": {"Dice": 0.4}, "test": "/a/b.nii.gz"}, {"1": {"Dice": 0.6}}]}}, 0.5),
    ],
    ids=[
        "absent class",
        "no foreground_mean",
        "regions",
        "cases alone",
        "other mean",
        "version 1",
        "its cases alone",
    ],
)
def test_the_mean_is_over_the_classes_that_occur(path: Path, raw: dict[str, Any], value: float) -> None:
    path.write_text(json.dumps(raw))
    assert read_summary(path, DICE).value == pytest.approx(value, abs=1e-12)


def test_version_1_of_nnunet_gives_classes_and_cases(path: Path) -> None:
    told = {
        "0": {"Dice": 0.9},
        "1": {"Dice": 0.8, "Jaccard": 0.7},
        "reference": "/r/s1.nii.gz",
        "test": "/p/s1.nii.gz",
    }
    path.write_text(json.dumps({"results": {"mean": {"1": {"Dice": 0.8, "Jaccard": 0.7}}, "all": [told]}, "id": "x"}))
    summary = read_summary(path, Objective(metric="IoU", direction="maximize"))
    assert summary.value == 0.7 and summary.per_class == {"1": {"Dice": 0.8, "IoU": 0.7, "cases": 1}}
    assert summary.per_case == [{"case": "s1", "fold": None, "Dice": {"1": 0.8}}]


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (segmented(c1=None, c2=None), ["Dice", "no class occurs in label or prediction of any case"]),
        (segmented(c1=81.0, c2=40.0), ["foreground_mean.Dice = 60.5", "mean.1.Dice = 81.0", "percent, write 0.81"]),
        ({"foreground_mean": {"Dice": 0.8}, **per_case({"1": 80.1})}, ["case0.1.Dice = 80.1"]),
        ({"mean": {"1": {"Dice": -0.2}}}, ["mean.1.Dice = -0.2", "from 0 to 1"]),
        ({"mean": {"1": {"Dice": "nan"}}}, ["mean.1.Dice = 'nan'", "NaN or null where a class is in neither"]),
        ({"mean": {"1": {"Dice": True}}}, ["mean.1.Dice = True", "must be a number"]),
        ({"mean": {"1": {"Dice": 1e999}}}, ["Infinity is not JSON"]),
        ({"results": {"mean": {"1": {"Dice": "0.8"}}}}, ["results.mean.1.Dice = '0.8'"]),
        ({"mean": {"1": {"IoU": 0.8}}}, ["objective is missing; present: IoU"]),
        ({"Dice": 81.2}, ["Dice = 81.2", "from 0 to 1; if this is percent, write 0.812"]),
        ({"Dice": 1.7}, ["Dice = 1.7", "from 0 to 1"]),
        ({"Dice": -0.1}, ["from 0 to 1"]),
        ({"Dice": "0.81"}, ["is a text; write a number without quotes"]),
        ({"dice": 0.81}, ["present: dice; write dice as Dice"]),
        (
            own(metrics={"Dice": {"value": 81.2, "direction": "maximize", "std": 1, "n": 2}}),
            ["metrics.Dice.value = 81"],
        ),
        (own(per_class={"liver": {"Dice": 80.1}}), ["per_class.liver.Dice = 80.1"]),
        (own(per_fold=[{"row": 0, "metrics": {"Dice": 80.1}}]), ["per_fold[0].metrics.Dice = 80.1"]),
    ],
)
def test_values_that_an_overlap_cannot_have_are_refused_in_every_shape(
    path: Path, raw: dict[str, Any], named: list[str]
) -> None:
    path.write_text(json.dumps(raw))
    with pytest.raises(InvalidSummary) as caught:
        read_summary(path, DICE)
    for text in (str(path), *named):
        assert text in str(caught.value)


def test_numbers_beside_a_mean_of_another_program_are_read(path: Path) -> None:
    path.write_text(json.dumps({"Dice": 0.8, "mean": {"x": {"name": "a text", "y": 1}}}))
    assert read_summary(path, DICE).value == 0.8


@pytest.mark.parametrize(
    "raw",
    [
        {"test_Dice": 81.2},
        segmented(c1=81.0),
        {"results": {"mean": {"1": {"Dice": 81.0}}}},
        own(metrics={"test_Dice": {"value": 81.2, "direction": "maximize", "std": None, "n": 1}}),
    ],
)
def test_a_test_summary_need_not_hold_the_objective_but_nothing_impossible(path: Path, raw: dict[str, Any]) -> None:
    path.write_text(json.dumps(raw))
    with pytest.raises(InvalidSummary, match="from 0 to 1"):
        refuse_impossible(path)
    path.write_text(json.dumps({"test_accuracy": 93.0, "test_Dice": 0.8, "done": True}))
    refuse_impossible(path)


def test_many_problems_of_one_file_are_not_all_listed(path: Path) -> None:
    path.write_text(json.dumps(per_case(*({"1": 80.0} for _ in range(500)))))
    with pytest.raises(InvalidSummary, match="further problems of these kinds") as caught:
        read_summary(path, DICE)
    assert len(caught.value.problems) < 30


@pytest.mark.parametrize("metric", ["val_accuracy", "val_f1", "val_mse"])
def test_what_shipped_trainers_measure_has_bounds_and_a_program_knows_its_own_scale(path: Path, metric: str) -> None:
    value, direction = (-1.0, "minimize") if metric == "val_mse" else (93.5, "maximize")
    entry = {"value": value, "direction": direction, "std": None, "n": 1}
    path.write_text(json.dumps(own(objective=metric, metrics={metric: entry}, per_fold=[])))
    objective = Objective(metric=metric, direction=direction)  # type: ignore[arg-type]
    with pytest.raises(InvalidSummary, match=rf"metrics\.{metric}\.value"):
        read_summary(path, objective)
    assert read_summary(path, objective, shipped=False).value == value


def test_a_dice_loss_may_be_negative(path: Path) -> None:
    path.write_text(json.dumps({"dice_loss": -0.8}))
    assert read_summary(path, Objective(metric="dice_loss", direction="minimize")).value == -0.8


def test_a_byte_order_mark_is_no_part_of_a_summary(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"Dice": 0.81}).encode())
    assert read_summary(path, DICE).value == 0.81
    path.write_bytes(json.dumps({"Dice": 0.81}).encode("utf-16"))
    with pytest.raises(InvalidSummary, match="begins as UTF-16"):
        read_summary(path, DICE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("61-summary-v1/summary.json", 0.65),
        ("62-summary-regions/summary.json", 0.7),
        ("62-summary-regions/foreground_nan.json", 0.775),
        ("62-summary-regions/nnunet_made_absent_class.json", 1.0),
        ("62-summary-regions/real_fold0_rare.json", 0.11655603949884745),
        ("63-summary-shapes/bom.json", 0.81),
        *(
            (f"63-summary-shapes/{name}.json", None)
            for name in ("percent", "above1", "lower", "nan", "string", "list")
        ),
        *((f"63-summary-shapes/{name}.json", None) for name in ("halfown", "trailing", "utf16")),
    ],
)
def test_summaries_of_outsiders(name: str, value: float | None) -> None:
    folder, file = name.split("/")
    if value is not None:
        assert read_summary(case(folder) / file, DICE).value == pytest.approx(value, abs=1e-12)
        return
    with pytest.raises(InvalidSummary, match=file):
        read_summary(case(folder) / file, DICE)


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
