"""Whole trainings: files, the report beside baselines, determinism, stopping and going on, memory, the test part."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from informer_cases import ETTH1, StopAfter, epochs, make_spec, needs_etth1, quiet, run, same_weights, write_csv

torch = pytest.importorskip("torch")

from trainers.contract import BadConfig, Control, DataProblem, Interrupted, StopFlag, TrainerError  # noqa: E402
from trainers.informer.loop import Sums  # noqa: E402
from trainers.informer.model import Informer  # noqa: E402
from trainers.informer.train import test as run_test  # noqa: E402
from trainers.informer.train import train  # noqa: E402

pytestmark = pytest.mark.train
PLOTS = ("loss.png", "val_loss.png", "mse.png", "mae.png", "combined.png")
BASELINES = ("repeat_last", "seasonal_naive", "nlinear")


def test_a_training_leaves_its_files_and_reports_each_epoch(
    series_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[int, dict[str, float]]] = []
    control = Control(stop=StopFlag(), report=lambda epoch, metrics: seen.append((epoch, dict(metrics))))
    result = train(make_spec(tmp_path, data={"path": str(series_csv)}, epochs=3), control)
    header = (tmp_path / "metrics_epoch.csv").read_text().splitlines()[0]
    assert header == "epoch,train_loss,train_mse,train_mae,val_loss,val_mse,val_mae,lr,seconds"
    rows = epochs(tmp_path)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"] and [epoch for epoch, _ in seen] == [1, 2, 3]
    best = min(rows, key=lambda row: float(row["val_mse"]))
    assert result.metrics["val_mse"] == float(best["val_mse"]) == min(m["val_mse"] for _, m in seen)
    assert result.notes["best_epoch"] == int(best["epoch"])
    for name in PLOTS:
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG") and "plots_failed" not in result.notes
    found = json.loads((tmp_path / "summary.json").read_text())
    assert found["trainer"] == "informer" and found["objective"] == "val_mse" and found["device"] == "cpu"
    assert found["windows"] == {"train": 223, "val": 31, "test": 67} and result.samples == 31
    assert found["metrics"]["val_mse_nlinear"]["value"] == found["baselines"]["val"]["nlinear"]["mse"]
    assert found["data"]["frequency"] == "1h" and found["data"]["columns"] == ["load", "wind", "OT"]
    printed = capsys.readouterr().err
    assert "val, 31 windows" in printed and all(name in printed for name in ("informer", *BASELINES))
    assert f"{result.metrics['val_mse']:.4f}" in printed
    assert set(result.directions.values()) == {"minimize"} and not list(tmp_path.glob(".*"))


def test_sums_weigh_elements_and_not_batches() -> None:
    sums = Sums(torch.device("cpu"))
    for values in ([1.0, 1.0, 1.0, 1.0], [4.0]):
        error = torch.tensor(values)
        sums.add(error.abs(), error)
    assert sums.numbers("val") == {"val_loss": 8 / 5, "val_mse": 20 / 5, "val_mae": 8 / 5}


@pytest.mark.usefixtures("no_plots")
def test_every_window_is_measured_once_and_in_order(series_csv: Path, tmp_path: Path) -> None:
    """The errors of the best weights, window by window, in batches that do not divide their number."""
    spec = make_spec(tmp_path, data={"path": str(series_csv)}, hyper={"batch_size": 7})
    result = run(spec)
    from trainers.informer.config import Config
    from trainers.informer.data import load_series
    from trainers.informer.model import build_model

    series, config = load_series(spec), Config.from_values(spec.values)
    model = build_model(
        config,
        channels=3,
        targets=(0, 1, 2),
        pred_len=6,
        calendar=series.calendar,
        seed=9,
        device=torch.device("cpu"),
    ).eval()
    best = torch.load(tmp_path / "checkpoint_best.pt", weights_only=True)
    model.load_state_dict(best["model"])
    squared = []
    with torch.inference_mode():
        for start in range(252, 252 + 31):
            x, marks, truth = series.windows(torch.tensor([start]), 24)
            squared.append((model(x, marks) - truth).square())
    assert len(squared) == 31 == result.samples
    assert torch.cat(squared).mean().item() == pytest.approx(result.metrics["val_mse"], rel=1e-5)


@pytest.mark.usefixtures("no_plots")
def test_the_best_checkpoint_is_the_best_epochs_and_not_the_lasts(series_csv: Path, tmp_path: Path) -> None:
    hyper = {"lr": 0.05, "scheduler": "none", "patience": 0}
    spec = make_spec(tmp_path, data={"path": str(series_csv)}, hyper=hyper, epochs=8)
    result = run(spec)
    best = torch.load(tmp_path / "checkpoint_best.pt", weights_only=True)
    assert best["epoch"] == result.notes["best_epoch"] < 8  # the rate is too large: it gets worse again
    last = torch.load(tmp_path / "checkpoint_last.pt", weights_only=True)["model"]
    assert any(not torch.equal(best["model"][name], last[name]) for name in last)


@pytest.mark.usefixtures("no_plots")
def test_the_model_learns_more_than_repeating(series_csv: Path, tmp_path: Path) -> None:
    spec = make_spec(tmp_path, data={"path": str(series_csv)}, hyper={"lr": 0.01, "d_model": 16}, epochs=6)
    result = run(spec)
    assert result.metrics["val_mse"] < result.metrics["val_mse_repeat_last"] / 2
    tested = run_test(spec, quiet())
    assert tested.metrics["test_mse"] < tested.metrics["test_mse_repeat_last"] / 2


@pytest.mark.usefixtures("no_plots")
def test_the_seed_decides_everything_on_a_cpu(series_csv: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        torch.manual_seed(len(name))  # what the process did before must not matter
        run(make_spec(tmp_path / name, data={"path": str(series_csv)}, hyper={"dropout": 0.3}, seed=seed))
    assert epochs(tmp_path / "one") == epochs(tmp_path / "again") != epochs(tmp_path / "other")
    assert same_weights(tmp_path / "one", tmp_path / "again")


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize("same_folder", [True, False])
# An epoch looks 4 times while training and once while validating: before the first step, inside epoch 2, while it
# validates, and in the last epoch.
@pytest.mark.parametrize("looks", [0, 7, 9, 13])
def test_stopped_and_continued_equals_never_stopped(
    looks: int, same_folder: bool, series_csv: Path, tmp_path: Path
) -> None:
    hyper = {"dropout": 0.3}
    whole = make_spec(tmp_path / "whole", data={"path": str(series_csv)}, hyper=hyper, epochs=3)
    expected = run(whole)
    first = make_spec(tmp_path / "first", data={"path": str(series_csv)}, hyper=hyper, epochs=3)
    with pytest.raises(Interrupted, match=f"in epoch {looks // 5 + 1} of 3 after .* windows"):
        train(first, quiet(StopAfter(looks)))
    second = first
    if not same_folder:
        (tmp_path / "second").mkdir()
        second = dataclasses.replace(first, out=tmp_path / "second", previous=first.out, attempt=2)
    result = run(second)
    assert result.metrics == expected.metrics
    assert epochs(second.out) == epochs(whole.out) and same_weights(second.out, whole.out)
    assert str(first.out) in str(result.notes["resumed_from"])
    assert run_test(second, quiet()).metrics == run_test(whole, quiet()).metrics


@pytest.mark.usefixtures("no_plots")
def test_out_of_memory_halves_the_batch(series_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = run(make_spec(tmp_path / "small", data={"path": str(series_csv)}, hyper={"batch_size": 16}))
    forward = Informer.forward

    def limited(self: Any, x: Any, marks: Any) -> Any:
        if self.training and len(x) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(self, x, marks)

    monkeypatch.setattr(Informer, "forward", limited)
    result = run(make_spec(tmp_path / "large", data={"path": str(series_csv)}, hyper={"batch_size": 64}))
    assert result.effective == {"batch_size": 16} and result.notes["oom_adjusted"] is True
    assert epochs(tmp_path / "large") == epochs(tmp_path / "small") and not small.effective


@pytest.mark.usefixtures("no_plots")
def test_divergence_is_a_bad_configuration(series_csv: Path, tmp_path: Path) -> None:
    hyper = {"lr": 1e30, "optimizer": "SGD", "scheduler": "none"}
    with pytest.raises(BadConfig, match=r"diverged at epoch 1: the (training|validation) loss is (nan|inf)"):
        run(make_spec(tmp_path, data={"path": str(series_csv)}, hyper=hyper))
    assert not (tmp_path / "summary.json").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"objective": "val_accuracy"}, "informer measures val_mse, val_mae, val_loss"),
        ({"hyper": {"d_model": 8, "n_heads": 3}}, "must be a multiple of n_heads"),
        ({"hyper": {"label_len": 25}}, "label_len = 25: must be at most seq_len = 24"),
        ({"hyper": {"seq_len": 300}}, "needs 306 rows, training has 252"),
    ],
)
def test_refused_settings(changed: dict[str, Any], message: str, series_csv: Path, tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=message):
        run(make_spec(tmp_path, data={"path": str(series_csv)}, **changed))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_plots")
def test_the_test_part_is_measured_with_the_best_weights_beside_the_baselines(
    series_csv: Path, tmp_path: Path
) -> None:
    spec = make_spec(tmp_path, data={"path": str(series_csv)})
    result = run(spec)
    tested = run_test(spec, quiet())
    expected = {"test_loss", "test_mse", "test_mae", *(f"test_mse_{name}" for name in BASELINES)}
    assert set(tested.metrics) == set(tested.directions) == expected and tested.samples == 67
    assert tested.notes["best_epoch"] == result.notes["best_epoch"]
    assert not any("test" in name for name in result.metrics)


@pytest.mark.usefixtures("no_plots")
def test_testing_needs_a_good_checkpoint_and_the_same_data(series_csv: Path, tmp_path: Path) -> None:
    spec = make_spec(tmp_path / "out", data={"path": str(series_csv)})
    with pytest.raises(TrainerError, match="there is no such checkpoint"):
        run_test(spec, quiet())
    run(spec)
    other = write_csv(tmp_path / "other.csv", rows=400)
    with pytest.raises(DataProblem, match="differs from what"):
        run_test(dataclasses.replace(spec, data={"path": str(other), "pred_len": 6}), quiet())
    (spec.out / "checkpoint_best.pt").write_bytes(b"PK")
    with pytest.raises(TrainerError, match="damaged"):
        run_test(spec, quiet())


@pytest.mark.usefixtures("no_plots")
def test_filled_gaps_are_told_in_the_summary(series_csv: Path, tmp_path: Path) -> None:
    lines = series_csv.read_text().splitlines()
    path = tmp_path / "gaps.csv"
    path.write_text("\n".join(lines[:50] + lines[53:]) + "\n")
    with pytest.raises(DataProblem, match="3 rows are missing at steps of 1h"):
        run(make_spec(tmp_path / "refused", data={"path": str(path)}))
    run(make_spec(tmp_path / "filled", data={"path": str(path), "fill": "previous"}, epochs=1))
    data = json.loads((tmp_path / "filled" / "summary.json").read_text())["data"]
    assert (data["gap_rows"], data["fill"], data["rows"]) == (3, "previous", 360)


@pytest.mark.usefixtures("no_plots")
def test_float16_scales_its_loss_and_learns(
    series_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The arithmetic of GPUs without bfloat16, run on a CPU."""
    monkeypatch.setattr("trainers.informer.loop.choose_dtype", lambda precision, device: torch.float16)
    for kind in ("prob", "full", "flash"):
        result = run(make_spec(tmp_path / kind, data={"path": str(series_csv)}, hyper={"attention": kind}, epochs=3))
        assert result.notes["precision"] == "float16"
        losses = [float(row["train_loss"]) for row in epochs(tmp_path / kind)]
        assert losses[-1] < losses[0]


@pytest.mark.usefixtures("no_plots")
@needs_etth1
def test_etth1_is_learned_a_little_in_a_few_seconds(tmp_path: Path) -> None:
    """The smallest sensible model against repeating the last value: the whole path on the real file."""
    hyper = {"normalization": "last", "seq_len": 48, "label_len": 24, "d_model": 8, "batch_size": 128, "lr": 0.01}
    spec = make_spec(
        tmp_path, task="etth1", data={"path": str(ETTH1), "pred_len": 24}, hyper=hyper | {"e_layers": 1}, epochs=1
    )
    result = run(spec)
    tested = run_test(spec, quiet())
    assert (result.samples, tested.samples) == (2857, 2857)
    assert result.metrics["val_mse"] < result.metrics["val_mse_repeat_last"]
    assert tested.metrics["test_mse"] < 0.9 * tested.metrics["test_mse_repeat_last"]
