"""Journal, lease, disk, steps, versions: what must hold when a process dies, a disk fills or a clock is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.errors import ClockWentBack, InvalidStudy, StorageError, StudyBusy, UsageError
from agent.store.disk import Disk
from agent.store.events import Resumed, RoundBegun
from agent.store.journal import Journal
from agent.store.lease import EXPIRY_S, held
from agent.store.paths import RoundPaths, check_name, slug
from agent.store.steps import Status, StepRecord, Steps
from agent.store.store import Store
from agent.store.study import StudyConfig, load_study

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


def config(**changes: object) -> StudyConfig:
    fields: dict[str, object] = {
        "study": "s",
        "task": "digits",
        "slug": "digits",
        "trainer": "resnet9",
        "trainer_sha256": None,
        "metric": "val_accuracy",
        "direction": "maximize",
        "folds": (0, 1),
        "fold_count": 2,
        "seeds": (0,),
        "seed": 0,
        "epochs": 2,
        "data": {},
    }
    return StudyConfig(**(fields | changes))  # type: ignore[arg-type]


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


# -- journal ---------------------------------------------------------------------------------------------------


def test_the_journal_replays_what_was_appended(tmp_path: Path, clock: Clock) -> None:
    journal = Journal(tmp_path / "j", Disk(), clock)
    journal.append(RoundBegun(folder="round_1_x", round=1))
    journal.append(Resumed(by="me"))
    again = Journal(tmp_path / "j", Disk(), clock)
    assert again.events == journal.events
    assert [event.seq for event in again.events] == [1, 2]
    assert again.last(Resumed, RoundBegun) == journal.events[1]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_last_line_loses_only_itself(tmp_path: Path, clock: Clock, cut: int) -> None:
    path = tmp_path / "j"
    journal = Journal(path, Disk(), clock)
    journal.append(Resumed(by="one"))
    whole = path.read_bytes()
    journal.append(Resumed(by="two, and something long enough to be cut"))
    path.write_bytes(path.read_bytes()[:-cut])
    again = Journal(path, Disk(), clock)
    survived = [one.by[:3] for one in again.of(Resumed)]
    # Without its newline alone the entry is whole; with anything more missing it is gone.
    assert survived == (["one", "two"] if cut == 1 else ["one"])
    again.append(Resumed(by="three"))
    assert [one.by[:3] for one in Journal(path, Disk(), clock).of(Resumed)] == [*survived, "thr"]
    assert path.read_bytes().startswith(whole)


def test_an_edited_journal_is_refused_by_line(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "j"
    journal = Journal(path, Disk(), clock)
    for who in ("one", "two", "three"):
        journal.append(Resumed(by=who))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[2]]) + "\n")
    with pytest.raises(InvalidStudy, match="line 2"):
        Journal(path, Disk(), clock)


def test_a_clock_that_went_back_is_refused_before_writing(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "j"
    journal = Journal(path, Disk(), clock)
    journal.append(Resumed(by="one"))
    before = path.read_bytes()
    clock.now = NOON - timedelta(seconds=30)
    journal.append(Resumed(by="two"))  # another node's clock may be half a minute behind
    clock.now = NOON - timedelta(hours=1)
    with pytest.raises(ClockWentBack, match="set the clock right"):
        journal.append(Resumed(by="three"))
    assert path.read_bytes().startswith(before) and b"three" not in path.read_bytes()


# -- disk ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("needs root to mount a small tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_loses_nothing_that_stood(small_disk: Path, clock: Clock) -> None:
    disk = Disk()
    journal = Journal(small_disk / "j", disk, clock)
    journal.append(Resumed(by="one"))
    disk.write(small_disk / "kept", "as it was")
    (small_disk / "filler").write_bytes(b"x" * 4096)
    with pytest.raises(OSError), open(small_disk / "hog", "wb") as hog:
        while True:
            hog.write(b"x" * 4096)
            hog.flush()
    with pytest.raises(StorageError, match="disk is full"):
        disk.write(small_disk / "kept", "new" * 10_000)
    for _ in range(3):
        with pytest.raises(StorageError, match="disk is full"):
            journal.append(Resumed(by="y" * 8192))
    assert (small_disk / "kept").read_text() == "as it was"
    (small_disk / "hog").unlink()
    journal.append(Resumed(by="three"))
    assert [one.by for one in Journal(small_disk / "j", disk, clock).of(Resumed)] == ["one", "three"]
    assert not [path for path in small_disk.iterdir() if path.suffix == ".tmp"]


def test_a_read_only_disk_is_one_clear_error(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StorageError, match="read-only"):
        Disk().write(small_disk / "file", "text")
    with pytest.raises(StorageError, match="read-only"), held(small_disk / "lease.json"):
        pass


# -- lease -----------------------------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from agent.store.lease import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_second_process_is_refused_and_a_killed_one_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StudyBusy, match=f"process {holder.pid} on"), held(path):
        pass
    holder.kill()
    holder.communicate()
    with held(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not path.exists()


def test_another_machines_lease_holds_while_its_heart_beats(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "heartbeat": time.time()}))
    with pytest.raises(StudyBusy, match="elsewhere"), held(path):
        pass
    os.utime(path, (time.time() - EXPIRY_S - 5,) * 2)
    with held(path):
        pass


# -- names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "short"),
    [
        ("Task601_TotalSegmentatorV1", "task601"),
        ("Dataset004_Hippocampus", "dataset004"),
        ("digits", "digits"),
        ("CIFAR-10", "cifar-10"),
        ("Taskforce", "taskforce"),
    ],
)
def test_a_tasks_short_form(task: str, short: str) -> None:
    assert slug(task) == short


@pytest.mark.parametrize(
    "name", ["", "a/b", "a b", "a'b", 'a"b', "$(x)", "a\nb", "ü", "..", ".hidden", "-x", "a" * 101]
)
def test_names_that_could_break_out_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="letters, digits"):
        check_name(name, what="--task")


# -- study -----------------------------------------------------------------------------------------------------


def test_a_study_is_made_whole_or_not_at_all(tmp_path: Path, clock: Clock) -> None:
    class Killed(Exception):
        pass

    seen: list[str] = []

    def record(name: str) -> None:
        seen.append(name)

    Store.create(tmp_path / "whole", config(), reference="{}", disk=Disk(boundary=record), clock=clock)
    for position in range(len(seen)):
        count = iter(range(len(seen)))

        def kill(name: str, count: Iterator[int] = count, position: int = position) -> None:
            if next(count) == position:
                raise Killed

        with pytest.raises(Killed):
            Store.create(tmp_path / "part", config(), reference="{}", disk=Disk(boundary=kill), clock=clock)
        assert not (tmp_path / "part").exists()
    assert Store.open(tmp_path / "whole", clock=clock).config == config()


def test_the_frozen_study_refuses_a_change(tmp_path: Path, clock: Clock) -> None:
    Store.create(tmp_path / "s", config(), reference="{}", clock=clock)
    path = tmp_path / "s" / "study.yaml"
    path.write_text(path.read_text().replace("fold_count: 2", "fold_count: 3"))
    with pytest.raises(InvalidStudy, match=r"study\.yaml.*changed since the study began"):
        Store.open(tmp_path / "s", clock=clock)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("task: digits\n", "", "task"),
        ("direction: maximize", "direction: up", "direction"),
        ("folds:", "foldz:", "foldz"),
        ("seed: 0\n", "seed: 0\nseed: 1\n", "stands twice"),
        ("seed: 0\n", "seed: [\n", "line"),
    ],
)
def test_a_broken_study_file_is_named(tmp_path: Path, old: str, new: str, named: str) -> None:
    path = tmp_path / "study.yaml"
    text = config().to_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(InvalidStudy, match=named):
        load_study(path)


def test_a_rerun_gets_a_later_name_even_within_one_second(tmp_path: Path, clock: Clock) -> None:
    store = Store.create(tmp_path / "s", config(), reference="{}", clock=clock)
    names = [store.begin(1).root.name for _ in range(3)]
    assert names == sorted(set(names)) and store.next_number() == 2
    newest = store.open_folder()
    assert newest is not None and newest.root.name == names[-1]


# -- steps -----------------------------------------------------------------------------------------------------


def test_steps_know_what_changed_and_forget_from_the_end(tmp_path: Path) -> None:
    paths = RoundPaths(tmp_path / "round_1_20260102_120000", "digits", 1)
    paths.root.mkdir()
    steps = Steps(paths, tmp_path, Disk(), ("one", "two"))
    (tmp_path / "input").write_text("a")
    record = StepRecord(step="one", status=Status.DONE, inputs=steps.hashes([tmp_path / "input", tmp_path / "none"]))
    steps.write(record, at=NOON)
    assert steps.read("one") == record and steps.changed(record.inputs) == []
    (tmp_path / "input").write_text("b")
    assert steps.changed(record.inputs) == ["input"]
    (tmp_path / "input").unlink()
    assert steps.changed(record.inputs) == ["input"]
    steps.write(StepRecord(step="two", status=Status.WAITING), at=NOON)
    steps.forget(["one", "two"])
    assert steps.read("one") is None and steps.read("two") is None
    (paths.steps / "01_one.json").write_text("{")
    with pytest.raises(InvalidStudy, match="remove it to redo the step"):
        steps.read("one")
