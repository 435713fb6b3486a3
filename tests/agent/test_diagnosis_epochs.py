"""Reading metrics_epoch.csv, which anything may have written."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from agent.diagnosis import analyse_trial, read_epochs
from agent.diagnosis.epochs import MAX_BYTES


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics_epoch.csv"


def test_rows_are_numbers_by_column(path: Path) -> None:
    path.write_text("epoch,train_loss,val_loss\n1,2.5,\n2,1e-3,0.5\n")
    found = read_epochs(path)
    assert found.rows == ({"epoch": 1, "train_loss": 2.5}, {"epoch": 2, "train_loss": 0.001, "val_loss": 0.5})
    assert found.problems == ()


@pytest.mark.parametrize("torn", ["3", "3,0.", "3,0.4", "3,0.4,"])
def test_a_torn_last_line_is_left_out(path: Path, torn: str) -> None:
    path.write_text("epoch,train_loss,lr\n1,2.5,1\n2,2.4,1\n" + torn)
    found = read_epochs(path)
    assert [row["epoch"] for row in found.rows] == [1, 2]
    assert found.problems == ()


def test_a_cell_that_holds_no_number_becomes_nan_and_a_flag(path: Path) -> None:
    path.write_text("epoch,train_loss\n1,2.5\n2,diverged\n3,-inf\n")
    found = read_epochs(path)
    assert math.isnan(found.rows[1]["train_loss"])
    flag = analyse_trial(found, {})["flags"][0]
    assert (flag["name"], flag["evidence"]) == ("nan", {"column": "train_loss", "epoch": 2, "count": 2})


def test_rows_of_another_width_are_left_out_and_named(path: Path) -> None:
    path.write_text("epoch,train_loss\n1,2.5\n2\n3,1,1\n4,1\n")
    found = read_epochs(path)
    assert [row["epoch"] for row in found.rows] == [1, 4]
    assert found.problems == ("metrics_epoch.csv: 2 rows without 2 cells are left out (rows 3, 4)",)


@pytest.mark.parametrize("text", ["", "epoch,train_loss\n", "\n\n", "epoch,train_loss"])
def test_nothing_there_yet(path: Path, text: str) -> None:
    path.write_text(text)
    assert (read_epochs(path).rows, read_epochs(path).problems) == ((), ())


def test_a_missing_file_is_an_empty_table(path: Path) -> None:
    assert (read_epochs(path).rows, read_epochs(path).problems) == ((), ())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"1,2,3\n4,5,6\n", "no column epoch"),
        (b"epoch,loss,loss\n1,2,3\n", "occurs twice"),
        (b"epoch," + b",".join(b"c%d" % k for k in range(300)) + b"\n", "301 columns"),
        (b"epoch," + b"x" * 200_000 + b"\n", "not CSV"),
        (b"epoch,a\n" + b"1,1\n" * (MAX_BYTES // 4), "larger than 16 MiB"),
        (bytes(range(256)) * 10, ""),
    ],
)
def test_what_cannot_be_read_is_said(path: Path, data: bytes, said: str) -> None:
    path.write_bytes(data)
    found = read_epochs(path)
    assert len(found.problems) == 1
    assert said in found.problems[0]
    assert found.rows == ()


def test_a_folder_is_no_table(path: Path) -> None:
    path.mkdir()
    assert read_epochs(path).problems == ("metrics_epoch.csv: not a regular file",)


def test_marks_and_zero_bytes_do_no_harm(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbfepoch,train_loss\r\n1,2.5\r\n2,2.4\r\n\0\0\0\0")
    found = read_epochs(path)
    assert [row["train_loss"] for row in found.rows] == [2.5, 2.4]
