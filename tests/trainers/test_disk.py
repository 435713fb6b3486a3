"""Waiting for room for a finished training's result."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from trainers import disk
from trainers.contract import StopFlag
from trainers.files import create_exclusive, read_json_object, write_atomic


class Full:
    """Replaces fsync: the disk is full so many times."""

    def __init__(self, times: int, code: int = errno.ENOSPC) -> None:
        self.times = times
        self.code = code
        self.tries = 0

    def __call__(self, descriptor: int) -> None:
        self.tries += 1
        if self.tries <= self.times:
            raise OSError(self.code, os.strerror(self.code))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No waiting; what would have been waited."""
    found: list[float] = []
    monkeypatch.setattr("trainers.disk.time.sleep", found.append)
    return found


@pytest.mark.parametrize("code", sorted(disk.REFUSALS))
def test_it_waits_until_there_is_room_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float], code: int
) -> None:
    full, said = Full(7, code), list[str]()
    monkeypatch.setattr("trainers.files.os.fsync", full)
    disk.keep(tmp_path / "result.json", {"a": 1}, say=said.append, stop=StopFlag())
    assert read_json_object(tmp_path / "result.json") == {"a": 1} and full.tries == 8
    assert pauses == [0.5, 1, 2, 4, 8, 15, 15]
    [line] = said
    assert "result.json" in line and os.strerror(code) in line and "600 s" in line
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_patience_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    monkeypatch.setattr("trainers.files.os.fsync", Full(99))
    with pytest.raises(OSError, match=r"No space left on device: .*result\.json"):
        disk.keep(tmp_path / "result.json", {}, say=str, stop=StopFlag(), patience_s=0)
    assert not list(tmp_path.iterdir())


def test_a_stop_leaves_one_last_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full, stop = Full(99), StopFlag()
    monkeypatch.setattr("trainers.files.os.fsync", full)
    monkeypatch.setattr("trainers.disk.time.sleep", lambda seconds: setattr(stop, "signal", 15))
    with pytest.raises(OSError, match="No space left"):
        disk.keep(tmp_path / "result.json", {}, say=str, stop=stop)
    assert full.tries == 2


def test_what_does_not_pass_is_raised_at_once(tmp_path: Path, pauses: list[float]) -> None:
    with pytest.raises(FileNotFoundError):
        disk.keep(tmp_path / "gone" / "result.json", {}, say=str, stop=StopFlag())
    assert pauses == []


@pytest.mark.parametrize("write", [write_atomic, create_exclusive])
def test_whoever_meets_a_full_disk_is_told_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: object
) -> None:
    monkeypatch.setattr("trainers.files.os.fsync", Full(1))
    with pytest.raises(OSError, match="No space left on device") as caught:
        write(tmp_path / "file", "text")  # type: ignore[operator]
    assert caught.value.filename == str(tmp_path / "file") and not list(tmp_path.iterdir())
