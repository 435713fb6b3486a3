"""A full disk at each writer: the orchestrator's files one by one, and everything that a task leaves.

Whole studies on a small disk are in tests/agent/orchestrator/test_full_disk.py.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.api import run, tune
from agent.errors import StorageError
from agent.store.disk import Disk
from tests.agent.orchestrator.conftest import Lab, wait_for
from tests.faults.case_limits import FULL, assert_sound, full_size
from tests.faults.case_limits import lab as lab
from trainers.layout import AttemptFiles, RoundFiles
from trainers.manifest import load_manifest
from trainers.results import read_exit, read_row
from trainers.yaml_file import dump_yaml

# -- the orchestrator ----------------------------------------------------------------------------------------------


class FullAt(Disk):
    """A disk that is full at every change it is asked for, once at each; the same call then finds room.

    The system says so where the data are made durable (fsync) or a folder is made: a small tmpfs would take most of
    these writes all the same, because they fit into a page that is there already.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__(boundary=self._passed)
        self.__dict__ |= {"root": root, "armed": False, "failed": [], "subject": "", "path": root}
        for name in ("fsync", "mkdir"):
            patch.setattr(f"os.{name}", self._failing(getattr(os, name)))

    def write(self, path: Path, text: str, *, private: bool = False) -> None:
        self._about(path)
        super().write(path, text, private=private)

    def append(self, path: Path, line: str) -> None:
        self._about(path)
        super().append(path, line)

    def make_folder(self, path: Path, *, private: bool = False) -> None:
        self._about(path)
        super().make_folder(path, private=private)

    def _about(self, path: Path) -> None:
        self.__dict__["path"] = path
        # A study is made under a new name at each try.
        self.__dict__["subject"] = re.sub(r"^\.demo\.\w+\.new", "draft", str(path.relative_to(self.__dict__["root"])))

    def _passed(self, name: str) -> None:
        when = name.split()[0]
        # The journal and logs grow: each of their lines is a change of its own.
        label = f"{self.__dict__['subject']} {self.lines() if 'line in' in name else ''}"
        self.__dict__["armed"] = when == "before" and label not in self.__dict__["failed"]
        if self.__dict__["armed"]:
            self.__dict__["failed"].append(label)

    def lines(self) -> int:
        path: Path = self.__dict__["path"]
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def _failing(self, real: object) -> object:
        def call(*arguments: object, **named: object) -> object:
            if self.__dict__["armed"] and threading.current_thread() is threading.main_thread():
                self.__dict__["armed"] = False
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **named)  # type: ignore[operator]

        return call


def test_line_30_a_full_disk_at_every_single_change_of_a_round(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "LOCAL_LOOK_S", 0.05)
    options = lab.options(candidates=2 if FULL else 1, max_iterations=2 if FULL else 1)
    rounds = options.max_iterations or 1
    disk, refused = FullAt(lab.root, monkeypatch), []
    while True:
        try:
            tune(options, disk=disk)
            break
        except StorageError as error:
            assert "the disk is full: free some space and call again; nothing was lost" in str(error)
            assert f"{disk.__dict__['path']}: No space left on device" in str(error)
            refused.append(disk.__dict__["subject"])
            assert len(refused) < 500
    names = {name.rpartition("/")[2] for name in refused}
    assert {"journal.jsonl", "study.yaml", "settings.json", "manifest.json", "round.json", "incumbent.json"} <= names
    assert {"orchestrator.log", "trials_summary.csv", "hyperparameter_reference.json", "07_collect.json"} <= names
    assert len(refused) >= 45
    assert len(lab.trained) == len(set(lab.trained)) == rounds * (options.candidates or 1)
    assert_sound(lab, rounds=rounds)
    assert not [path for path in (lab.root / "demo").rglob("*") if path.name.endswith((".tmp", ".new"))]


# -- tasks ---------------------------------------------------------------------------------------------------------


#: Notes that it ran, writes its summary, then does what the test wants of it.
PROGRAM = """
echo "$RT_ROUND $RT_CANDIDATE $RT_FOLD $RT_SEED" >>"$1"
echo '{"score": 1}' >"$RT_SUMMARY"
. "$2"
"""
HOG = 'head -c 1m /dev/zero >"$RT_OUT/hog" 2>/dev/null || true'


class Round:
    """A rendered round whose trials lie on a disk of 128 KiB."""

    def __init__(self, lab: Lab, do: str) -> None:
        (lab.root / "program.sh").write_text(PROGRAM)
        (lab.root / "do.sh").write_text(do)
        trainer = {
            "name": "filler",
            "command": ["sh", "program.sh", "{data.log}", "{data.do}"],
            "parameters": {"x": {"type": "float", "low": 0, "high": 1, "default": 0.5}},
            "pass_values": ["environment"],
            "objective": {"metric": "score", "direction": "maximize"},
            "metrics_epoch": {"file": "log.csv", "columns": {}},
        }
        (lab.root / "filler.yaml").write_text(dump_yaml(trainer))
        data = {"log": str(lab.log), "do": str(lab.root / "do.sh")}
        lab.tune(trainer=str(lab.root / "filler.yaml"), auto_train=False, data=data)
        [folder] = (lab.root / "demo").glob("round_1_*")
        self.files = RoundFiles(folder)
        self.trials = folder / "trials"
        self.trials.mkdir(exist_ok=True)

    def task(self, kind: str = "train", *, log: Path | None = None) -> subprocess.Popen[str]:
        [script] = self.files.root.glob(f"{kind}_*.sh")
        with contextlib.ExitStack() as stack:
            errors = stack.enter_context(log.open("w")) if log else subprocess.PIPE
            return subprocess.Popen(["bash", str(script), "0"], stderr=errors, text=True)

    def attempt(self, number: int) -> AttemptFiles:
        return self.files.attempt("c00", 0, 0, number)

    def outcome(self) -> str | None:
        manifest = load_manifest(self.files.manifest)
        result = read_row(self.files, manifest, manifest.rows[0])
        return result.outcome if result else None


@contextlib.contextmanager
def small(folder: Path) -> Iterator[None]:
    """A disk of 128 KiB in this place."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("needs root to mount a small tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def take_all(folder: Path) -> Path:
    """A file that takes all room."""
    hog = folder / "hog"
    with contextlib.suppress(OSError), hog.open("wb", buffering=0) as stream:
        while True:
            stream.write(b"x" * 4096)
    return hog


def test_line_30_the_result_of_a_finished_training_waits_for_room(lab: Lab) -> None:
    round_ = Round(lab, HOG)
    with small(round_.trials):
        log = lab.root / "task.log"
        task = round_.task(log=log)
        wait_for(lambda: "waiting up to 600 s for room" in log.read_text())
        assert str(round_.attempt(1).result) in log.read_text() and round_.outcome() is None
        (round_.attempt(1).root / "hog").unlink()
        assert task.wait(timeout=60) == 0
        assert round_.outcome() == "ok" and read_exit(round_.attempt(1)) is not None
        assert lab.trained == ["1 c00 0 0"]


def test_line_30_progress_and_logs_may_find_no_room_while_it_trains(lab: Lab) -> None:
    """The task's own log is on the full disk too."""
    lines = 'printf "epoch,loss\\n0,1\\n" >"$RT_OUT/log.csv"', HOG, 'echo "1,1" >>"$RT_OUT/log.csv"', "sleep 0.5"
    round_ = Round(lab, "\n".join([*lines, 'rm "$RT_OUT/hog"; sleep 0.3']))
    with small(round_.trials):
        log = round_.trials / "task.log"
        assert round_.task(log=log).wait(timeout=60) == 0
        assert round_.outcome() == "ok" and "Traceback" not in log.read_text()


def test_line_30_a_task_that_cannot_claim_says_which_file_and_does_nothing(lab: Lab) -> None:
    round_ = Round(lab, "true")
    with small(round_.trials):
        hog = take_all(round_.trials)
        task = round_.task()
        _, said = task.communicate(timeout=60)
        assert task.returncode == 1 and "claim.json: No space left on device" in said and "Traceback" not in said
        assert not lab.trained and not round_.attempt(1).claim.exists()
        hog.unlink()
        task = round_.task()
        task.communicate(timeout=60)
        assert task.returncode == 0 and round_.outcome() == "ok" and lab.trained == ["1 c00 0 0"]


@pytest.mark.parametrize(
    "end",
    ['head -c 1m /dev/zero >"$RT_OUT/hog"; exit 1', f"{HOG}; exit 7"],
    ids=["the program says so", "its words found no room"],
)
def test_line_28_a_program_that_dies_of_a_full_disk_is_no_crash(lab: Lab, end: str) -> None:
    """Infrastructure: without a result the row is started again, and nothing is said about its settings."""
    round_ = Round(lab, end)
    with small(round_.trials):
        task = round_.task()
        _, said = task.communicate(timeout=60)
        assert task.returncode == 1 and round_.outcome() is None
        assert "the disk refused: [Errno 28] No space left on device" in said


def test_line_30_an_evaluation_without_room_names_its_file_and_can_be_repeated(lab: Lab) -> None:
    round_ = Round(lab, "true")
    assert round_.task().communicate(timeout=60) and round_.outcome() == "ok"
    folder = round_.files.candidate("c00")
    reference = round_.files.reference("c00").read_text()
    with small(folder):
        round_.files.reference("c00").write_text(reference)
        hog = take_all(folder)
        task = round_.task("eval")
        _, said = task.communicate(timeout=60)
        assert task.returncode == 1 and "val_summary.json: No space left on device" in said
        assert "Traceback" not in said and not round_.files.candidate_summary("c00", "val").exists()
        hog.unlink()
        task = round_.task("eval")
        assert task.communicate(timeout=60) and task.returncode == 0
        assert round_.files.candidate_summary("c00", "val").exists()


@pytest.mark.train
@full_size
def test_line_30_a_checkpoint_without_room_is_no_crash(lab: Lab) -> None:
    """The trainer of this repository, whose checkpoints are larger than the disk."""
    pytest.importorskip("torch")
    lab.tune(trainer="resnet9", task="digits", auto_train=False, data={}, epochs=1, study="demo")
    [folder] = (lab.root / "demo").glob("round_1_*")
    (folder / "trials").mkdir(exist_ok=True)
    [script] = folder.glob("train_*.sh")
    with small(folder / "trials"):
        done = subprocess.run(["bash", str(script), "0"], capture_output=True, text=True, timeout=120)
        attempt = RoundFiles(folder).attempt("c00", 0, 0, 1)
        assert done.returncode == 1 and not attempt.result.exists()
        assert "checkpoint" in done.stderr and "the disk refused: [Errno 28]" in done.stderr
        marker = read_exit(attempt)
        assert marker is None or marker["outcome"] == "disk"
