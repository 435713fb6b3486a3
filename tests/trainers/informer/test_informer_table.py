"""Reading CSV files: what is accepted, and each refusal with its place and remedy. Runs without torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from informer_cases import ETTH1, ROOT, needs_etth1, write_csv

from trainers.contract import DataProblem
from trainers.informer.frequency import Frequency, find_frequency
from trainers.informer.options import Options, Rows, chosen_columns, split_rows
from trainers.informer.precheck import check
from trainers.informer.table import Table, read_table

HOUR = Frequency(seconds=3600)


def read(path: Path, **changed: Any) -> Table:
    settings: dict[str, Any] = {"date": "date", "wanted": (), "frequency": None, "fill": "none"}
    return read_table(path, **(settings | changed))


def edited(path: Path, change: Callable[[list[str]], object]) -> Path:
    """The small series with its lines changed; line 0 is the header."""
    lines = write_csv(path).read_text().splitlines()
    change(lines)
    path.write_text("\n".join(lines) + "\n")
    return path


def set_cell(line: int, column: int, text: str) -> Callable[[list[str]], None]:
    def change(lines: list[str]) -> None:
        cells = lines[line].split(",")
        cells[column] = text
        lines[line] = ",".join(cells)

    return change


def swap(lines: list[str]) -> None:
    lines[5], lines[6] = lines[6], lines[5]


REFUSED: list[tuple[Callable[[list[str]], object], list[str]]] = [
    (
        set_cell(3, 1, "abc"),
        ["line 4, column load: 'abc' is not a number", "--data missing=abc --data fill=previous", "columns=wind,OT"],
    ),
    (set_cell(3, 1, "inf"), ["line 4, column load: 'inf' is not a number"]),
    (set_cell(3, 1, "1_000"), ["'1_000' is not a number"]),
    (set_cell(3, 0, "01/02/2020"), ["line 4, column date: '01/02/2020' is not an ISO date"]),
    (set_cell(3, 2, ""), ["values are missing: 1 of wind", "--data fill=previous"]),
    (set_cell(3, 2, "NaN"), ["values are missing: 1 of wind"]),
    (lambda lines: lines.insert(3, lines[3]), ["1 dates stand twice (2020-01-01 02:00:00)"]),
    (lambda lines: lines.append(lines[3]), ["dates stand twice", "not sorted"]),
    (swap, ["not sorted by date: 1 come after a later one (2020-01-01 04:00:00)", "sort them"]),
    (
        lambda lines: lines.pop(9),
        ["1 rows are missing at steps of 1h (1 after 2020-01-01 07:00:00)", "fill=previous"],
    ),
    (set_cell(9, 0, "2020-01-01 08:20:00"), ["1 dates are no whole number of steps of 1h", "2020-01-01 08:20:00"]),
    (set_cell(9, 0, "2020-01-01 08:00:00+01:00"), ["1 of 360 dates carry a UTC offset"]),
    (lambda lines: lines.insert(7, "2020-01-01 05:30:00,1"), ["line 8 has 2 cells, the header 4"]),
    (set_cell(0, 0, "time"), ["no column 'date' of dates (columns: time, load, wind, OT)", "--data date=time"]),
    (set_cell(0, 2, "load"), ["a column name stands twice"]),
    (lambda lines: lines.clear(), ["no column 'date' of dates"]),
    (lambda lines: lines.__delitem__(slice(2, None)), ["1 rows: no step between dates can be found"]),
    (set_cell(3, 1, '"x'), ["not CSV"]),
]


@pytest.mark.parametrize(("change", "messages"), REFUSED)
def test_what_cannot_be_a_series_is_refused(
    change: Callable[[list[str]], None], messages: list[str], tmp_path: Path
) -> None:
    path = edited(tmp_path / "bad.csv", change)
    with pytest.raises(DataProblem) as caught:
        read(path)
    for message in [str(path), *messages]:
        assert message in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataProblem, match=r"absent.csv: there is no such file"):
        read(tmp_path / "absent.csv")
    with pytest.raises(DataProblem, match="cannot be read: Is a directory"):
        read(tmp_path)
    (tmp_path / "latin.csv").write_bytes("date,größe\n".encode("latin-1"))
    with pytest.raises(DataProblem, match="not UTF-8 text"):
        read(tmp_path / "latin.csv")
    (tmp_path / "alone.csv").write_text("date\n2020-01-01\n")
    with pytest.raises(DataProblem, match="has no column beside 'date'"):
        read(tmp_path / "alone.csv")


def test_a_good_file(tmp_path: Path) -> None:
    table = read(write_csv(tmp_path / "good.csv"))
    assert list(table.columns) == ["load", "wind", "OT"] and len(table) == 360
    assert table.frequency == HOUR and table.dates[25] == datetime(2020, 1, 2, 1)
    assert table.notes == {"rows": 360, "frequency": "1h"}
    assert list(read(tmp_path / "good.csv", wanted=("OT", "load")).columns) == ["load", "OT"]
    with pytest.raises(DataProblem, match=r"no column 'OZ', 'date'; its columns are: load, wind, OT"):
        read(tmp_path / "good.csv", wanted=("OZ", "date"))


def test_columns_that_are_not_read_may_hold_anything(tmp_path: Path) -> None:
    path = edited(tmp_path / "names.csv", set_cell(3, 1, "station A"))
    assert list(read(path, wanted=("wind", "OT")).columns) == ["wind", "OT"]


@pytest.mark.parametrize(("fill", "expected"), [("previous", [1.0, 1.0]), ("interpolate", [2.0, 3.0])])
def test_gaps_and_missing_values_are_filled_when_asked_and_told(
    fill: str, expected: list[float], tmp_path: Path
) -> None:
    path = tmp_path / "gaps.csv"
    rows = ["0,1", "3,4", "4,", "5,6", "6,"]
    path.write_text("date,a\n" + "".join(f"2020-01-01 0{row.replace(',', ':00,')}\n" for row in rows))
    table = read(path, fill=fill, frequency=HOUR)
    assert list(table.columns["a"][1:3]) == expected
    assert table.columns["a"][4] == (4.0 if fill == "previous" else 5.0) and table.columns["a"][6] == 6.0
    assert table.notes == {"rows": 7, "frequency": "1h", "gap_rows": 2, "missing_values": {"a": 4}, "fill": fill}
    path.write_text("date,a\n2020-01-01,\n2020-01-02,1\n2020-01-03,2\n")
    with pytest.raises(
        DataProblem, match="column a begins with 1 missing values, which nothing before them can fill"
    ):
        read(path, fill=fill)


@pytest.mark.parametrize(
    ("dates", "step", "season"),
    [
        (["2020-01-01 00:00", "2020-01-01 00:15", "2020-01-01 00:30"], "15min", 96),
        (["2020-01-01", "2020-01-02", "2020-01-03"], "1d", 7),
        (["2020-01-01", "2020-01-08", "2020-01-15"], "1w", 52),
        (["2020-01-01", "2020-02-01", "2020-03-01"], "1mo", 12),
        (["2020-01-31", "2020-02-29", "2020-03-31", "2020-04-30"], "1mo", 12),
        (["2020-03-31", "2020-06-30", "2020-09-30"], "3mo", 4),
        (["2020-01-01 00:00", "2020-01-01 07:00", "2020-01-01 14:00"], "7h", 24),
        (["2020-01-01T00:00:00Z", "2020-01-01T01:00:00Z"], "1h", 24),
    ],
)
def test_the_step_is_found_in_the_dates(dates: list[str], step: str, season: int, tmp_path: Path) -> None:
    path = tmp_path / "dates.csv"
    path.write_text("date,a\n" + "".join(f"{date},{i}\n" for i, date in enumerate(dates)))
    table = read(path)
    assert str(table.frequency) == step and table.frequency.season == season and len(table) == len(dates)
    assert read(path, frequency=Frequency.parse(step)).dates == table.dates


def test_a_given_step_that_does_not_fit(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "hourly.csv")
    with pytest.raises(DataProblem, match="359 dates are no whole number of steps of 1mo"):
        read(path, frequency=Frequency.parse("1mo"))
    with pytest.raises(DataProblem, match="most rows would be missing"):
        read(path, frequency=Frequency.parse("1min"))
    for text in ("hourly", "0h", "h", "-1h", "1.5h"):
        with pytest.raises(DataProblem, match="give a number and a unit of s, min, h, d, w, mo"):
            Frequency.parse(text)
    with pytest.raises(DataProblem, match="shorter than a second"):
        find_frequency([datetime(2020, 1, 1, 0, 0, 0, 1000 * i) for i in range(3)])


def options(task: str = "own", **data: Any) -> Options:
    return Options.read(task, {"path": "x.csv", **data})


@pytest.mark.parametrize(
    ("task", "data", "messages"),
    [
        ("own", {"path": "x.csv", "horizon": 3}, ["unknown key 'horizon'", "keys: path, date, target"]),
        ("own", {"path": "x.csv", "pred_len": "24"}, ["pred_len = '24': must be of type int"]),
        ("own", {"path": "x.csv", "pred_len": True}, ["pred_len = True"]),
        ("own", {"path": "x.csv", "pred_len": 0}, ["pred_len = 0: must be at least 1"]),
        ("own", {"path": "x.csv", "features": "SM"}, ["features = 'SM': allowed: M, S, MS"]),
        ("own", {"path": "x.csv", "fill": "zero"}, ["allowed: none, previous, interpolate"]),
        (
            "own",
            {"path": "x.csv", "val_fraction": 0.6, "test_fraction": 0.4},
            ["must be below 1: the rest is trained"],
        ),
        ("own", {"path": "x.csv", "freq": "often"}, ["freq = 'often'"]),
        ("own", {"path": "x.csv", "target": "OT", "columns": "a,b"}, ["target = 'OT' is not among columns = a,b"]),
        ("own", {"path": "x.csv", "download": True}, ["only etth1, etth2, ettm1, ettm2 can be downloaded"]),
        ("own", {}, ["give --data path=FILE.csv"]),
        ("etth1", {}, ["needs --data path=FILE_OR_FOLDER of ETTh1.csv, or --data download=true"]),
    ],
)
def test_options_that_are_refused(task: str, data: dict[str, Any], messages: list[str]) -> None:
    with pytest.raises(DataProblem) as caught:
        Options.read(task, data)
    for message in messages:
        assert message in str(caught.value)


def test_where_the_file_of_ett_is(tmp_path: Path) -> None:
    assert options("etth2", path=str(tmp_path)).path == tmp_path / "ETTh2.csv"
    assert options("etth2", path="mine.csv").path == Path("mine.csv")
    assert Options.read("ettm1", {"download": True}).path == Path.home() / ".cache/roundtable/ett/ETTm1.csv"
    assert options("etth1").split == "ett" and options("etth1", split="ratio").split == "ratio"
    assert options().split == "ratio"


def test_windows_counted_by_hand() -> None:
    """ETTh1: 12, 4 and 4 months of 30 days of 24 rows; a window may see history from before its part."""
    parts = split_rows(options("etth1"), 17_420, HOUR, fold=0, folds=1)
    assert parts == {"train": Rows(0, 8640), "val": Rows(8640, 11_520), "test": Rows(11_520, 14_400)}
    counts = {name: len(rows.starts(96, 24)) for name, rows in parts.items()}
    assert counts == {"train": 8640 - 96 - 24 + 1, "val": 2857, "test": 2857}
    assert {len(parts["test"].starts(336, horizon)) for horizon in (96,)} == {2785}
    assert parts["test"].starts(336, 24) == parts["test"].starts(96, 24)  # another history, the same targets
    quarter = split_rows(options("ettm1"), 69_680, Frequency(seconds=900), fold=0, folds=1)
    assert quarter["test"] == Rows(46_080, 57_600) and len(quarter["test"].starts(96, 24)) == 11_497


def test_ratios_split_in_order() -> None:
    parts = split_rows(options(pred_len=5, val_fraction=0.15, test_fraction=0.25), 100, HOUR, fold=0, folds=1)
    assert parts == {"train": Rows(0, 60), "val": Rows(60, 75), "test": Rows(75, 100)}
    assert list(parts["train"].starts(50, 5)) == [50, 51, 52, 53, 54, 55]
    assert list(parts["val"].starts(50, 5)) == list(range(60, 71))


def test_folds_roll_the_origin() -> None:
    folds = [split_rows(options("etth1"), 17_420, HOUR, fold=fold, folds=3) for fold in range(3)]
    assert [parts["train"] for parts in folds] == [Rows(0, 2880), Rows(0, 5760), Rows(0, 8640)]
    assert [parts["val"] for parts in folds] == [Rows(2880, 5760), Rows(5760, 8640), Rows(8640, 11_520)]
    assert {parts["test"] for parts in folds} == {Rows(11_520, 14_400)}
    with pytest.raises(DataProblem, match=r"train has 0 of the 17420 rows for fold 0 of 4, each 2880 rows"):
        split_rows(options("etth1"), 17_420, HOUR, fold=0, folds=4)


@pytest.mark.parametrize(
    ("task", "data", "rows", "step", "message"),
    [
        ("own", {"pred_len": 24}, 100, HOUR, "val has 10 of the 100 rows, which is too short for a forecast"),
        ("etth1", {}, 14_399, HOUR, r"needs 14400 rows \(20 months\), there are 14399; use split=ratio"),
        ("etth1", {}, 99_999, Frequency(seconds=7 * 3600), "needs steps that divide a day, not 7h"),
        ("etth1", {}, 99_999, Frequency(months=1), "needs steps that divide a day, not 1mo"),
    ],
)
def test_series_too_short_to_split(task: str, data: dict[str, Any], rows: int, step: Frequency, message: str) -> None:
    with pytest.raises(DataProblem, match=message):
        split_rows(options(task, **data), rows, step, fold=0, folds=1)


def test_columns_and_targets() -> None:
    names = ["a", "b", "c"]
    assert chosen_columns(options(), names) == (("a", "b", "c"), (0, 1, 2))
    assert chosen_columns(options(features="S"), names) == (("c",), (0,))
    assert chosen_columns(options(features="MS", target="b"), names) == (("a", "b", "c"), (1,))
    with pytest.raises(DataProblem, match="target = 'OT': there is no such column; there are a, b, c"):
        chosen_columns(options(features="S", target="OT"), names)


def test_the_check_before_a_study_refuses_what_the_training_would(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "good.csv")
    check("own", {"path": str(path), "pred_len": 6}, {"seq_len": 24}, folds=1)
    with pytest.raises(DataProblem, match=r"seq_len = 336 and pred_len = 6 needs 342 rows, training has 252"):
        check("own", {"path": str(path), "pred_len": 6}, {"seq_len": 336}, folds=1)
    with pytest.raises(DataProblem, match=r"good.csv: target = 'OZ': there is no such column"):
        check("own", {"path": str(path), "pred_len": 6, "target": "OZ", "features": "S"}, {}, folds=1)

    def constant(lines: list[str]) -> None:
        for i in range(1, 300):
            set_cell(i, 2, "7")(lines)

    flat = edited(tmp_path / "flat.csv", constant)
    with pytest.raises(DataProblem, match=r"wind never changes in the 252 training rows \(scale 0\); leave it out"):
        check("own", {"path": str(flat), "pred_len": 6}, {}, folds=1)
    check("own", {"path": str(flat), "pred_len": 6, "columns": "load,OT"}, {}, folds=1)
    check("etth1", {"download": True, "path": str(tmp_path / "none")}, {}, folds=1)  # fetched by the first task


@needs_etth1
def test_etth1_passes_the_check() -> None:
    check("etth1", {"path": str(ETTH1.parent)}, {"seq_len": 96}, folds=3)


def test_what_the_login_node_runs_needs_the_standard_library_only() -> None:
    code = "import sys, trainers.informer.precheck, trainers.informer.config; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
