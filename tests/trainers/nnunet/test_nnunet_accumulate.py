"""Folding cases into classes and values, where folds differ and classes are missing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from trainers.manifest import Manifest, Row
from trainers.nnunet import accumulate
from trainers.results import RowResult
from trainers.summary import fold_results

NAN = math.nan


def nnunet(*cases: tuple[str, float, float]) -> dict[str, Any]:
    """metric_per_case of nnU-Net for labels 1 and 2."""

    def metrics(dice: float) -> dict[str, float]:
        return {"Dice": dice, "IoU": dice / 2, "n_ref": 0 if math.isnan(dice) else 7, "TP": 1}

    return {
        "metric_per_case": [
            {"metrics": {"1": metrics(one), "2": metrics(two)}, "prediction_file": f"/p/{name}.nii.gz"}
            for name, one, two in cases
        ]
    }


NAMES = {"1": "Front", "2": "Back"}


def row(fold: int, cases: dict[str, Any], seed: int = 0) -> tuple[Row, RowResult]:
    found = accumulate.per_case(cases, NAMES, fold=fold)
    metrics = accumulate.foreground(accumulate.per_class(found))
    place = Row(row=fold + 10 * seed, candidate="c00", fold=fold, seed=seed)
    raw = json.loads(json.dumps({"per_case": found, "samples": len(found)}))
    directions = dict.fromkeys(metrics, "maximize")
    return place, RowResult(row=place, attempt=1, outcome="ok", metrics=metrics, directions=directions, raw=raw)


def manifest(rows: list[tuple[Row, RowResult]]) -> Manifest:
    return Manifest(
        study="s", task="t", trainer="nnunet", round=1, objective="Dice", direction="maximize", folds=5, epochs=None,
        data={}, cpus=1, gpus=0, candidates={"c00": "0" * 64}, rows=tuple(place for place, _ in rows),
    )  # fmt: skip


def test_cases_keep_their_names_and_nan_becomes_null() -> None:
    (case,) = accumulate.per_case(nnunet(("a_001", 0.5, NAN)), NAMES, fold=3)
    assert case["case"] == "a_001" and case["fold"] == 3
    assert case["Dice"] == {"Front": 0.5, "Back": None} and case["voxels"] == {"Front": 7, "Back": 0}


def test_folds_of_different_size_count_by_their_cases() -> None:
    rows = [row(0, nnunet(("a", 0.9, 0.9), ("b", 0.9, 0.9), ("c", 0.9, 0.9))), row(1, nnunet(("d", 0.1, 0.1)))]
    summary = fold_results(manifest(rows), "c00", rows, split="val", accumulate=accumulate.accumulate)
    assert summary["metrics"]["Dice"]["value"] == pytest.approx(0.7)  # and not (0.9 + 0.1) / 2
    assert summary["metrics"]["Dice"]["n"] == 2
    assert summary["metrics"]["Dice"]["std"] == pytest.approx(math.sqrt(2 * 0.4**2))
    assert summary["per_class"]["Front"] == {
        "Dice": pytest.approx(0.7), "IoU": pytest.approx(0.35), "Dice_std": pytest.approx(0.4), "cases": 4,
    }  # fmt: skip
    assert [case["case"] for case in summary["per_case"]] == ["a", "b", "c", "d"]


def test_a_fold_without_a_class_takes_nothing_from_that_class() -> None:
    rows = [row(0, nnunet(("a", 0.8, 0.4))), row(1, nnunet(("b", 0.6, NAN)))]
    assert rows[1][1].metrics["Dice"] == pytest.approx(0.6)
    summary = fold_results(manifest(rows), "c00", rows, split="val", accumulate=accumulate.accumulate)
    # As nnU-Net: class means 0.7 and 0.4, then their mean; the mean of folds would be (0.6 + 0.6) / 2.
    assert summary["metrics"]["Dice"]["value"] == pytest.approx(0.55)
    assert summary["per_class"]["Back"]["cases"] == 1


def test_a_class_that_no_case_has_is_null_and_left_out() -> None:
    rows = [row(0, nnunet(("a", 0.8, NAN))), row(1, nnunet(("b", 0.6, NAN)))]
    summary = fold_results(manifest(rows), "c00", rows, split="val", accumulate=accumulate.accumulate)
    assert summary["metrics"]["Dice"]["value"] == pytest.approx(0.7)
    assert summary["per_class"]["Back"] == {"Dice": None, "IoU": None, "Dice_std": None, "cases": 0}


def test_seeds_are_accumulated_apart_and_averaged() -> None:
    rows = [
        row(0, nnunet(("a", 1.0, 1.0))), row(1, nnunet(("b", 0.5, NAN))),
        row(0, nnunet(("a", 0.6, 0.2)), seed=1), row(1, nnunet(("b", 0.4, 0.4)), seed=1),
    ]  # fmt: skip
    summary = fold_results(manifest(rows), "c00", rows, split="val", accumulate=accumulate.accumulate)
    assert summary["metrics"]["Dice"]["value"] == pytest.approx(((0.75 + 1.0) / 2 + (0.5 + 0.3) / 2) / 2)
    assert [case["seed"] for case in summary["per_case"]] == [0, 0, 1, 1]


def test_the_test_split_is_the_mean_over_its_models() -> None:
    rows = [row(0, nnunet(("t", 0.9, 0.9))), row(1, nnunet(("t", 0.5, 0.5)))]
    summary = fold_results(manifest(rows), "c00", rows, split="test")
    assert summary["metrics"]["Dice"]["value"] == pytest.approx(0.7) and "per_case" not in summary


def test_the_evaluation_of_a_round_asks_the_trainer(tmp_path: Path) -> None:
    from trainers import job
    from trainers.files import write_json
    from trainers.layout import RoundFiles
    from trainers.results import SCHEMA_VERSION

    rows = [row(0, nnunet(("a", 0.9, 0.9), ("b", 0.9, 0.9), ("c", 0.9, 0.9))), row(1, nnunet(("d", 0.1, 0.1)))]
    files = RoundFiles(tmp_path)
    found = manifest([(Row(row=k, candidate="c00", fold=k, seed=0), result) for k, (_, result) in enumerate(rows)])
    files.manifest.write_text(found.to_text())
    files.candidate("c00").mkdir(parents=True)
    for place, (_, result) in zip(found.rows, rows, strict=True):
        folder = files.attempt("c00", place.fold, 0, 1)
        folder.root.mkdir(parents=True)
        identity = {"schema_version": SCHEMA_VERSION, "study": "s", "round": 1, "row": place.row, "candidate": "c00"}
        identity |= {"fold": place.fold, "seed": 0, "attempt": 1, "reference_sha256": "0" * 64, "outcome": "ok"}
        measured = {"metrics": dict(result.metrics), "directions": dict(result.directions)}
        write_json(folder.result, identity | measured | dict(result.raw))
    assert job.main(["eval", "--round-dir", str(tmp_path), "--candidate-index", "0"]) == 0
    summary = json.loads(files.val_summary.read_text())
    assert summary["metrics"]["Dice"]["value"] == pytest.approx(0.7) and summary["outcomes"] == {"ok": 2}
