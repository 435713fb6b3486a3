"""Windows, scaling and splits of the loaded series, the baselines, and the download."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from informer_cases import ETTH1, ROWS, make_spec, needs_etth1, write_csv

from trainers.contract import DataProblem
from trainers.informer import baselines, download
from trainers.informer.baselines import forecast_nlinear, measure
from trainers.informer.data import Series, load_series

pytestmark = pytest.mark.train


def load(path: Path, tmp_path: Path, **data: Any) -> Series:
    task = data.pop("task", "own")
    fold, folds = data.pop("fold", 0), data.pop("folds", 1)
    return load_series(
        make_spec(tmp_path / "out", task=task, data={"path": str(path), **data}, fold=fold, folds=folds)
    )


def raw(path: Path, column: int) -> np.ndarray:
    return np.array([float(line.split(",")[column]) for line in path.read_text().splitlines()[1:]])


def test_the_scaler_is_fitted_on_the_training_rows_alone(series_csv: Path, tmp_path: Path) -> None:
    series = load(series_csv, tmp_path)
    assert series.parts["train"].last == 252
    train = series.values[:252].double()
    torch.testing.assert_close(train.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(train.std(0, unbiased=False), torch.ones(3, dtype=torch.float64), atol=1e-6, rtol=0)
    scaler: Any = series.notes["scaler"]
    column = raw(series_csv, 2)
    assert scaler["mean"][1] == pytest.approx(column[:252].mean())
    assert scaler["deviation"][1] == pytest.approx(column[:252].std())
    lines = series_csv.read_text().splitlines()
    changed = tmp_path / "changed.csv"
    changed.write_text(
        "\n".join([*lines[:300], *(",".join([*line.split(",")[:1], "9", "9", "9"]) for line in lines[300:])])
    )
    assert load(changed, tmp_path).notes["scaler"] == scaler  # what comes later plays no part


def test_windows_hold_what_was_seen_and_what_came(series_csv: Path, tmp_path: Path) -> None:
    series = load(series_csv, tmp_path, features="MS", target="wind")
    starts = series.starts("val", 24)
    assert starts.tolist() == list(range(252, 252 + 36 - 6 + 1))
    x, marks, truth = series.windows(starts[[3]], 24)
    assert x.shape == (1, 24, 3) and marks.shape == (1, 30, 5) and truth.shape == (1, 6, 1)
    torch.testing.assert_close(x[0], series.values[231:255])
    torch.testing.assert_close(truth[0, :, 0], series.values[255:261, 1])
    assert marks[0, :, 0].tolist() == [(231 + i) % 24 for i in range(30)]  # hourly from midnight on
    assert series.columns == ("load", "wind", "OT") and series.targets == (1,)


def test_features_choose_inputs_and_targets(series_csv: Path, tmp_path: Path) -> None:
    shapes = {}
    for features in ("M", "S", "MS"):
        series = load(series_csv, tmp_path, features=features)
        x, _, truth = series.windows(series.starts("test", 24)[:1], 24)
        shapes[features] = (x.shape[2], truth.shape[2], series.notes["targets"])
    assert shapes == {"M": (3, 3, ["load", "wind", "OT"]), "S": (1, 1, ["OT"]), "MS": (3, 1, ["OT"])}


def test_the_fingerprint_tells_data_columns_and_splits_apart(series_csv: Path, tmp_path: Path) -> None:
    different: list[dict[str, Any]] = [
        {},
        {"features": "MS"},
        {"columns": "load,OT"},
        {"pred_len": 5},
        {"val_fraction": 0.2},
        {"fold": 0, "folds": 2},
    ]
    prints = [load(series_csv, tmp_path, **data).fingerprint() for data in different]
    assert len(set(prints)) == len(different)
    other = write_csv(tmp_path / "other.csv", rows=ROWS + 1)
    assert load(other, tmp_path).fingerprint() not in prints
    assert load(series_csv, tmp_path).fingerprint() == prints[0]


def test_baselines_equal_loops_over_windows(series_csv: Path, tmp_path: Path) -> None:
    series = load(series_csv, tmp_path)
    values = series.values.numpy().astype(float)
    repeated, seasonal = [], []
    for start in range(288, 360 - 6 + 1):
        for h in range(6):
            repeated.append(values[start - 1] - values[start + h])
            seasonal.append(values[start - 24 + h] - values[start + h])
    found = measure(series, "test", 24)
    assert found["repeat_last"]["mse"] == pytest.approx(np.square(repeated).mean())
    assert found["seasonal_naive"]["mse"] == pytest.approx(np.square(seasonal).mean())
    assert found["seasonal_naive"]["mae"] == pytest.approx(np.abs(seasonal).mean())
    assert found["nlinear"]["mse"] < found["seasonal_naive"]["mse"] < found["repeat_last"]["mse"]


def test_a_season_shorter_than_the_forecast_repeats(series_csv: Path, tmp_path: Path) -> None:
    series = load(series_csv, tmp_path, season=4)
    values = series.values.numpy().astype(float)
    errors = [values[start - 4 + h % 4] - values[start + h] for start in range(288, 360 - 6 + 1) for h in range(6)]
    assert measure(series, "test", 24)["seasonal_naive"]["mse"] == pytest.approx(np.square(errors).mean())
    with pytest.raises(DataProblem, match="season = 300: before validation there are only 252 rows"):
        load(series_csv, tmp_path, season=300)


def test_nlinear_solves_the_ridge_problem(series_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against least squares on the windows stacked one by one, with the penalty as further rows."""
    series = load(series_csv, tmp_path)
    values = series.values.numpy().astype(float)
    x, y = [], []
    for column in values.T:
        for start in range(24, 252 - 6 + 1):
            x.append([*(column[start - 24 : start] - column[start - 1]), 1.0])
            y.append(column[start : start + 6] - column[start - 1])
    stacked, wanted = np.array(x), np.array(y)
    penalty = np.sqrt(baselines.RIDGE * np.trace(stacked.T @ stacked) / 24) * np.eye(25)[:24]
    expected, *_ = np.linalg.lstsq(np.vstack([stacked, penalty]), np.vstack([wanted, np.zeros((24, 6))]), rcond=None)
    for chunk in (4096, 17):
        monkeypatch.setattr(baselines, "CHUNK", chunk)
        weights, bias = baselines.fit_nlinear(series, values, 24)
        np.testing.assert_allclose(weights, expected[:24], atol=1e-8)
        np.testing.assert_allclose(bias, expected[24], atol=1e-8)
        found = forecast_nlinear(values, np.array([100, 200, 300]), weights, bias)
        seen = values[276:300, 1] - values[299, 1]
        np.testing.assert_allclose(found[2, :, 1], seen @ weights + bias + values[299, 1])


@needs_etth1
def test_known_figures_of_etth1(tmp_path: Path) -> None:
    """Repeating the last value in the 7-input, OT-only, 336 -> 96 setting: .137 on validation."""
    series = load(ETTH1, tmp_path, task="etth1", features="MS", pred_len=96)
    assert series.notes["targets"] == ["OT"] and series.notes["published_file"] is True
    assert [len(series.starts(part, 336)) for part in ("train", "val", "test")] == [8209, 2785, 2785]
    found = measure(series, "val", 336)
    assert found["repeat_last"]["mse"] == pytest.approx(0.1373, abs=5e-4)
    assert found["nlinear"]["mse"] == pytest.approx(0.090, abs=2e-3)


class _Files(http.server.BaseHTTPRequestHandler):
    content = b"date,OT\n"

    def do_GET(self) -> None:
        found = self.path == "/ETTh1.csv"
        self.send_response(200 if found else 404)
        self.end_headers()
        if found:
            self.wfile.write(self.content)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    """A web server on loopback that has ETTh1.csv only."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_a_download_is_kept_only_with_the_known_checksum(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "new" / "ETTh1.csv"
    with pytest.raises(DataProblem, match=r"not f18de3ad269cef59.*nothing was kept"):
        download.download("etth1", target, address=address)
    assert not target.exists()
    with pytest.raises(DataProblem, match=r"could not be fetched .*404.*give --data path=FILE"):
        download.download("etth2", target, address=address)
    known = {"etth1": ("ETTh1.csv", hashlib.sha256(_Files.content).hexdigest())}
    monkeypatch.setattr(download, "ETT", known)
    download.download("etth1", target, address=address)
    assert target.read_bytes() == _Files.content
    download.download("etth1", target, address="http://127.0.0.1:9/")  # there already: nothing is asked


def test_nothing_is_downloaded_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: object, **named: object) -> None:
        raise AssertionError("a download was tried")

    monkeypatch.setattr("trainers.informer.data.download", forbidden)
    with pytest.raises(DataProblem, match="there is no such file"):
        load(tmp_path, tmp_path, task="etth1")
    with pytest.raises(AssertionError):
        load(tmp_path, tmp_path, task="etth1", download=True)


def test_folds_must_be_there(series_csv: Path, tmp_path: Path) -> None:
    with pytest.raises(DataProblem, match="fold = 2: must be from 0 to 1"):
        load(series_csv, tmp_path, fold=2, folds=2)
