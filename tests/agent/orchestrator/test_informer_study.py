"""Rounds of a real Informer on a small series, with the test part and the baselines beside the model."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from agent.api import Study, TuneOptions, tune
from agent.report.overview import overview
from agent.resources import shipped_reference
from agent.store.store import Store

pytestmark = pytest.mark.train


def test_two_rounds_of_informer_on_a_csv_file(tmp_path: Path) -> None:
    lines = ["date,load,OT"]
    for i in range(500):
        wave = math.sin(2 * math.pi * i / 24)
        lines.append(
            f"2020-{1 + i // 672:02d}-{1 + i // 24 % 28:02d} {i % 24:02d}:00:00,{wave:.4f},{wave * (i % 7):.4f}"
        )
    (tmp_path / "power.csv").write_text("\n".join(lines) + "\n")
    reference = json.loads(shipped_reference("informer").read_text())
    small = {"d_model": 32, "n_heads": 2, "d_ff": 64, "seq_len": 24, "label_len": 12, "batch_size": 128, "lr": 0.003}
    for name, value in small.items():
        reference["parameters"][name] |= {"active_value": value, "tune": name in ("lr", "batch_size")}
    for name in ("e_layers", "d_layers"):
        reference["parameters"][name]["tune"] = False  # four layers of a proposal would cost more than the rest
    (tmp_path / "small.json").write_text(json.dumps(reference))
    said: list[str] = []
    outcome = tune(
        TuneOptions(
            task="power",
            trainer="informer",
            output_dir=tmp_path / "runs",
            hp_ref=tmp_path / "small.json",
            data={"path": str(tmp_path / "power.csv"), "pred_len": 6, "features": "MS"},
            auto_train=True,
            launcher="local",
            candidates=1,
            epochs=1,
            max_rounds=2,
            use_test=True,
            confirm="never",
        ),
        say=said.append,
    )
    assert outcome.closed == 2
    study = Study(tmp_path / "runs" / "power")
    assert all(trial.value is not None and trial.n == 1 for trial in study.history)
    assert any("beside c0" in line and "nlinear" in line and "repeat_last" in line for line in said)
    # One epoch without normalisation learns nothing that a straight line does not know.
    warnings = [line for line in said if line.startswith("warning: the best so far, round ")]
    assert len(warnings) == 2 and all("nlinear" in line for line in warnings)
    assert f"warning: {overview(Store.open(study.root))['warning']}" == warnings[-1]
    folder = next((tmp_path / "runs" / "power").glob("round_2_*"))
    attempt = json.loads(next(folder.glob("trials/*/attempt_1/summary.json")).read_text())
    assert "nlinear" in attempt["warning"]
    summary = json.loads((folder / "val_summary.json").read_text())
    assert {"val_mse", "val_mse_repeat_last", "val_mse_seasonal_naive", "val_mse_nlinear"} <= set(summary["metrics"])
    assert [entry["samples"] for entry in summary["per_fold"]] == [45]
    tested = json.loads((folder / "test_summary.json").read_text())
    assert tested["metrics"]["test_mse"]["n"] == 1 and tested["metrics"]["test_mse_nlinear"]["value"] > 0
