"""A round of a real study: prepared once before the array, two candidates on two folds, folded case by case."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from nnunet_cases import NAME, write_raw, write_tiny_reference

from agent.api import TuneOptions, tune
from agent.orchestrator.training.submissions import submissions
from agent.store.store import Store
from tests.cluster.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.train]


def options(root: Path, **changed: Any) -> TuneOptions:
    fields: dict[str, Any] = {
        "task": "Task601_Tiny",
        "trainer": "nnunet",
        "hp_ref": root / "tiny.json",
        "output_dir": root / "runs",
        "data": {"raw": str(root / "raw"), "preprocessed": str(root / "preprocessed")},
        "profile": root / "profile.yaml",
        "auto_train": True,
        "launcher": "sbatch",
        "candidates": 2,
        "folds": (0, 1),
        "confirm": "never",
        "poll_s": 0.5,
    }
    return TuneOptions(**(fields | changed))


def place(root: Path, **raw: Any) -> Path:
    """Raw data, a reference and a profile, as a person has them before a study."""
    write_raw(root / "raw", **raw)
    write_tiny_reference(root / "tiny.json")
    (root / "profile.yaml").write_text("partition: main\ncpus: 1\ntime: 10\n")
    return root


def test_a_round_on_slurm(tmp_path: Path, slurm: Cluster) -> None:
    outcome = tune(options(place(tmp_path)))
    assert outcome.closed == 1
    store = Store.open(tmp_path / "runs" / "task601")
    paths = store.closed()[0]
    (_, prepared), (_, train) = (submissions(store, paths, kind)[0] for kind in ("prepare", "train"))
    assert len(train.items) == 4 and json.loads(paths.prepared.read_text())["outcome"] == "ok"
    done = slurm.run(["sacct", "-n", "-P", "-X", "-j", prepared.job_id, "--format=State,End"], check=True).stdout
    state, ended = done.split()[0].split("|")
    begun = slurm.run(["sacct", "-n", "-P", "-X", "-j", train.job_id, "--format=Start"], check=True).stdout.split()
    assert state == "COMPLETED" and ended <= min(begun)

    summary = json.loads(paths.val_summary.read_text())
    assert summary["outcomes"] == {"ok": 2} and summary["metrics"]["Dice"]["n"] == 2
    splits = json.loads((tmp_path / "preprocessed" / NAME / "splits_final.json").read_text())
    cases = {case for fold in splits[:2] for case in fold["val"]}
    assert {case["case"] for case in summary["per_case"]} == cases
    assert set(summary["per_class"]) == {"Front", "Back"}
    assert summary["per_class"]["Front"]["cases"] == len(cases)
    other = json.loads(paths.candidate_summary("c01", "val").read_text())
    assert other["metrics"]["Dice"]["value"] != summary["metrics"]["Dice"]["value"]
    # Nothing is left to prepare: a second round has no such job.
    assert tune(options(tmp_path, auto_train=False, slurm=True, hp_ref=None)).state == "rendered"
    again = sorted((tmp_path / "runs" / "task601").glob("round_2_*"))[0]
    assert (again / "prepare_task601_round2.slurm").exists()


def test_a_preparation_that_fails_stops_the_rows_with_its_cause(tmp_path: Path, slurm: Cluster) -> None:
    place(tmp_path)
    broken = tmp_path / "raw" / NAME / "imagesTr" / "tiny_002_0000.nii.gz"
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(Exception, match="nnU-Net cannot use this data") as caught:
        tune(options(tmp_path))
    assert "was not prepared" in str(caught.value) and "tiny_002" in str(caught.value)
