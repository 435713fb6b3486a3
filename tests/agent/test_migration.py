"""A study set up the old way: Task names, a reference of the old form, nnU-Net summaries dropped by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.api import Study, TuneOptions, tune
from agent.errors import InvalidReference, MissingResults, UsageError
from agent.reference import is_old, load_reference, migrated
from agent.resources import shipped_reference
from tests.nnunet_files import write_dataset

OLD: dict[str, Any] = {
    "task": "Task601_TotalSegmentatorV1",
    "hyperparameters": {
        "initial_lr": {"type": "float", "range": [0.001, 0.05], "default": 0.01, "description": "rate"},
        "weight_decay": {
            "type": "float",
            "range": [1e-6, 1e-3],
            "default": 3e-5,
            "active_value": 1e-4,
            "description": "d",
        },
        "optimizer": {"type": "categorical", "choices": ["SGD", "AdamW"], "default": "SGD", "description": "o"},
        "batch_size": {"type": "int", "range": [2, 16], "default": 2, "active_value": 4, "description": "b"},
        "patch_size": {"type": "list", "default": [128, 128, 128], "description": "p"},
        "batch_dice": {"type": "bool", "default": True, "description": "bd"},
        "num_epochs": {"type": "int", "range": [100, 1000], "default": 500, "description": "e"},
    },
}


def shipped() -> Any:
    return load_reference(shipped_reference("nnunet"))


def test_an_old_reference_is_laid_over_the_shipped_one() -> None:
    assert is_old(OLD) and is_old(OLD["hyperparameters"]) and not is_old(shipped().raw) and not is_old([])
    found = migrated(OLD, shipped(), file="old.json")
    values = found.effective()
    assert values["initial_lr"] == 0.01 and values["weight_decay"] == 1e-4 and values["num_epochs"] == 500
    assert values["batch_size"] == 4 and values["patch_size"] == "128x128x128" and values["batch_dice"] == "on"
    assert (found.parameters["initial_lr"].low, found.parameters["initial_lr"].high) == (0.001, 0.05)
    assert found.parameters["momentum"].description == shipped().parameters["momentum"].description


def test_names_that_the_trainer_lacks_are_refused_with_the_nearest() -> None:
    wrong = {"learning_rate_initial_lr": {"type": "float", "default": 0.01}, "zzz": {"default": 1}}
    with pytest.raises(InvalidReference) as caught:
        migrated(wrong, shipped(), file="old.json")
    text = str(caught.value)
    assert "initial_lr" in text and "zzz" in text and "there are: configuration" in text


def test_values_out_of_their_kind_are_refused() -> None:
    with pytest.raises(InvalidReference, match="initial_lr"):
        migrated({"initial_lr": {"default": "fast"}}, shipped(), file="old.json")


def options(root: Path, **changed: Any) -> TuneOptions:
    fields: dict[str, Any] = {
        "task": "Task601_TotalSegmentatorV1",
        "trainer": "nnunet",
        "hp_ref": root / "hyperparameter_reference.json",
        "output_dir": root / "runs",
        "data": {"raw": str(root / "raw"), "preprocessed": str(root / "preprocessed")},
        "slurm": True,
        "candidates": 1,
    }
    return TuneOptions(**(fields | changed))


def nnunet_summary(gland: float) -> str:
    """summary.json as nnU-Net writes it, with NaN where a class is in neither segmentation."""
    nan = float("nan")
    labels = {str(k): {"Dice": 0.9, "IoU": 0.8} for k in range(1, 6)} | {"6": {"Dice": gland, "IoU": gland / 2}}
    cases = [
        {"metrics": labels | {"5": {"Dice": nan, "IoU": nan}}, "prediction_file": f"/p/c_{k:03d}.nii.gz"}
        for k in range(10)
    ]
    mean = {"Dice": (4.5 + gland) / 6, "IoU": 0.7}
    return json.dumps({"foreground_mean": mean, "mean": labels, "metric_per_case": cases})


def test_the_old_way_goes_on_with_one_command(tmp_path: Path) -> None:
    write_dataset(tmp_path / "raw", name="Dataset601_TotalSegmentatorV1")
    (tmp_path / "hyperparameter_reference.json").write_text(json.dumps(OLD))
    outcome = tune(options(tmp_path))
    assert outcome.state == "rendered"
    (folder,) = (tmp_path / "runs" / "task601").glob("round_1_*")
    script = (folder / "train_task601_round1.slurm").read_text()
    assert "#SBATCH --array=0-4" in script and (folder / "prepare_task601_round1.sh").exists()
    order = [line for line in outcome.commands if "sbatch " in line]
    assert [next(k for k in ("prepare", "train", "eval") if f"{k}_task601" in line) for line in order] == [
        "prepare",
        "train",
        "eval",
    ]
    assert "--dependency=afterany:$P" in order[1] and "--dependency=afterany:$J" in order[2]

    with pytest.raises(MissingResults):
        tune(options(tmp_path))
    (folder / "val_summary.json").write_text(nnunet_summary(0.4))
    assert tune(options(tmp_path)).state == "rendered"
    assert Study(tmp_path / "runs" / "task601").history[0].value == pytest.approx((4.5 + 0.4) / 6)
    (second,) = (tmp_path / "runs" / "task601").glob("round_2_*")
    findings = {flag["name"]: flag for flag in json.loads((second / "analysis.json").read_text())["findings"]}
    (weak,) = findings["weak_classes"]["evidence"]["classes"]
    assert weak["class"] == "6" and weak["cases"] == 10 and weak["accepted"] == 0.4


def test_a_data_set_that_is_not_there_is_said_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "raw" / "Dataset004_Hippocampus").mkdir(parents=True)
    (tmp_path / "hyperparameter_reference.json").write_text(json.dumps(OLD))
    with pytest.raises(UsageError, match=r"'Task601_TotalSegmentatorV1' is not there.*Dataset004_Hippocampus"):
        tune(options(tmp_path))
    assert not (tmp_path / "runs").exists()


def test_folders_are_taken_from_the_environment_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(tmp_path / "raw", name="Dataset601_X")
    (tmp_path / "hyperparameter_reference.json").write_text(json.dumps(OLD))
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "preprocessed"))
    assert tune(options(tmp_path, data={})).state == "rendered"
    (folder,) = (tmp_path / "runs" / "task601").glob("round_1_*")
    data = json.loads((folder / "manifest.json").read_text())["data"]
    assert data == {"raw": str(tmp_path / "raw"), "preprocessed": str(tmp_path / "preprocessed")}
