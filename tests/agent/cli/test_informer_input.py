"""Series that Informer refuses, told by `tune` and `train` before anything is written, and without torch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.__main__ import main
from agent.resources import shipped_reference


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    """Two weeks of hours, three columns; one never changes."""
    lines = ["date,load,flat,OT"]
    lines += [f"2020-01-{1 + i // 24:02d} {i % 24:02d}:00:00,{i % 7},1,{i % 5}" for i in range(336)]
    path = tmp_path / "series.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, *options: str, task: str = "own") -> str:
    """The message of `tune` and of `train`, which must be the same usage error and leave nothing behind."""
    messages = []
    for command in (["tune", "--output-dir", str(tmp_path / "runs")], ["train", "--out", str(tmp_path / "out")]):
        assert main([*command, "--trainer", "informer", "--task", task, *options]) == 2
        messages.append(capsys.readouterr().err.replace(f"roundtable {command[0]}: ", ""))
        assert "Traceback" not in messages[-1]
    assert messages[0] == messages[1]
    assert not (tmp_path / "runs").exists() and not (tmp_path / "out").exists()
    return messages[0]


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ([], ["flat never changes in the 236 training rows (scale 0)", "--data columns=load,OT"]),
        (["columns=load,OT", "target=oil", "features=S"], ["target = 'oil' is not among columns = load,OT"]),
        (["target=oil"], ["target = 'oil': there is no such column; there are load, flat, OT"]),
        (["columns=load,oil"], ["no column 'oil'; its columns are: load, flat, OT"]),
        (["columns=load,OT", "pred_len=48"], ["val has 33 of the 336 rows", "pred_len = 48"]),
        (["date=day"], ["no column 'day' of dates (columns: date, load, flat, OT)"]),
        (["features=U"], ["features = 'U': allowed: M, S, MS"]),
        (["freq=hourly"], ["freq = 'hourly'"]),
        (["horizon=3"], ["--data horizon=3: informer has no such key", "pred_len: time steps to forecast"]),
    ],
)
def test_data_options(
    data: list[str], named: list[str], csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [word for pair in [f"path={csv}", *data] for word in ("--data", pair)]
    message = refused(capsys, tmp_path, *options)
    assert [text for text in named if text not in message] == []


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("2020-01-02 03:00:00,", "2020-01-02 03:00:00,x", ["line 29, column load: 'x6' is not a number"]),
        ("2020-01-02 03:00:00", "2020-01-02 02:00:00", ["1 dates stand twice (2020-01-02 02:00:00)"]),
        ("2020-01-02 03:00:00", "2020-01-01 03:30:00", ["not sorted by date"]),
        ("2020-01-02 03:00:00,6", "2020-01-02 03:00:00,", ["values are missing: 1 of load", "--data fill=previous"]),
    ],
)
def test_broken_files(
    old: str, new: str, named: list[str], csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = csv.read_text()
    assert text.count(old) == 1
    csv.write_text(text.replace(old, new))
    message = refused(capsys, tmp_path, "--data", f"path={csv}", "--data", "columns=load,OT")
    assert [text for text in [str(csv), *named] if text not in message] == []


def test_a_missing_file_and_a_task_without_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "does not exist" in refused(capsys, tmp_path, "--data", f"path={tmp_path}/none.csv")
    assert "or --data download=true" in refused(capsys, tmp_path, task="etth1")
    assert f"{tmp_path}/ETTh1.csv: there is no such file" in refused(
        capsys, tmp_path, "--data", f"path={tmp_path}", task="etth1"
    )


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"n_heads": 16, "d_model": 1000}, ["d_model", "1000"]),
        ({"label_len": 97}, ["label_len must be at most seq_len"]),
        ({"seq_len": 336}, ["seq_len = 336 and pred_len = 24 needs 360 rows, training has 236"]),
    ],
)
def test_hyperparameters_that_do_not_fit(
    values: dict[str, int], named: list[str], csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = json.loads(shipped_reference("informer").read_text())
    for name, value in values.items():
        reference["parameters"][name]["active_value"] = value
    path = tmp_path / "reference.json"
    path.write_text(json.dumps(reference))
    given = ["--data", f"path={csv}", "--data", "columns=load,OT", "--hp-ref", str(path)]
    message = refused(capsys, tmp_path, *given)
    assert [text for text in named if text not in message] == []
