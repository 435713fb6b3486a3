"""The README's study in small: a real trainer on real images, evaluated on its test set too."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from agent.api import Study, TuneOptions, tune

pytestmark = pytest.mark.train


def test_a_round_of_resnet9_on_digits(tmp_path: Path) -> None:
    outcome = tune(
        TuneOptions(
            task="digits",
            trainer="resnet9",
            output_dir=tmp_path,
            auto_train=True,
            launcher="local",
            candidates=2,
            epochs=3,
            seeds=(0, 1),
            use_test=True,
            confirm="never",
        )
    )
    assert outcome.closed == 1
    study = Study(tmp_path / "digits")
    default = study.history[0]
    # One image in ten is right by chance; three epochs of the default are far beyond that at both seeds.
    assert default.value is not None and default.value > 0.5 and default.n == 2
    folder = next((tmp_path / "digits").glob("round_1_*"))
    attempt = folder / "trials" / "c00_f0_s0" / "attempt_1"
    for name in (
        "metrics_epoch.csv",
        "summary.json",
        "analysis.json",
        "loss.png",
        "combined.png",
        "checkpoint_best.pt",
    ):
        assert (attempt / name).stat().st_size > 0, name
    with open(attempt / "metrics_epoch.csv", newline="") as stream:
        assert [row["epoch"] for row in csv.DictReader(stream)] == ["1", "2", "3"]
    test = json.loads((folder / "test_summary.json").read_text())
    assert test["split"] == "test" and test["metrics"]["test_accuracy"]["n"] == 2
    assert len(json.loads((folder / "val_summary.json").read_text())["per_class"]) == 10
