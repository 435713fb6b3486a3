"""A disk that fills while a study runs: a clear error, and the same call goes on once there is room."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.api import Study, TuneOptions, tune
from agent.errors import RoundtableError
from tests.agent.orchestrator.conftest import NOOP, Lab


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if done.returncode != 0:
        pytest.skip("needs root to mount a small tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def options(small: Path, tmp_path: Path, rounds: int) -> TuneOptions:
    return TuneOptions(
        task="demo",
        trainer=str(NOOP),
        output_dir=small,
        auto_train=True,
        launcher="local",
        confirm="never",
        candidates=2,
        max_iterations=rounds,
        data={"log": str(tmp_path / "trained.log")},
    )


def fill(small: Path, *, leave: int) -> Path:
    """Take all room but `leave` bytes."""
    hog = small / "hog"
    with open(hog, "wb", buffering=0) as stream:
        try:
            while True:
                stream.write(b"x" * 4096)
        except OSError:
            pass
        stream.truncate(max(stream.tell() - leave, 0))
    return hog


@pytest.mark.parametrize("leave", [0, 8192, 40960, 90112])
def test_a_full_disk_stops_the_study_and_nothing_is_lost(small: Path, tmp_path: Path, leave: int) -> None:
    tune(options(small, tmp_path, 1))
    before = Study(small / "demo").history
    hog = fill(small, leave=leave)
    with pytest.raises(RoundtableError) as caught:
        tune(options(small, tmp_path, 3))
    # Wherever it struck: in our own writing, or in a queue that could not start.
    assert "disk is full" in str(caught.value) or "No space left" in str(caught.value)
    hog.unlink()
    tune(options(small, tmp_path, 3))
    study = Study(small / "demo")
    assert study.history[: len(before)] == before
    assert [record["round"] for record in study.rounds] == [1, 2, 3]


def test_a_full_disk_begins_no_study(lab: Lab, small: Path, tmp_path: Path) -> None:
    fill(small, leave=0)
    with pytest.raises(RoundtableError, match="disk is full"):
        tune(options(small, tmp_path, 1))
    assert [path.name for path in small.iterdir()] == ["hog"]
