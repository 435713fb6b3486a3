"""The command line on outputs as people have them (closed, full, read in part, without Unicode) and misspelled."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from agent.__main__ import main
from agent.store.store import Store
from tests.agent.orchestrator.conftest import NOOP

TUNE = "tune --task demo --auto-train --launcher local --confirm never --candidates 2 --max-rounds 1"


def shell(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of bash, with pipefail off and roundtable as $RT."""
    rt = f"{shlex.quote(sys.executable)} -m agent"
    # The program runs in its own folder, which is the checkout's: the log has a whole path.
    log = shlex.quote(f"log={folder / 'log'}")
    tune = f"{TUNE} --trainer {shlex.quote(str(NOOP))} --output-dir . --data {log}"
    text = line.replace("$RT", rt).replace("$TUNE", tune)
    return subprocess.run(
        ["bash", "-c", f"cd {shlex.quote(str(folder))}; {text}"],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])} | environment,
        encoding="utf-8",
        errors="replace",
        timeout=300,
    )


def closed(folder: Path) -> int:
    return len(Store.open(folder / "demo").closed())


def test_a_reader_that_leaves_does_not_end_the_round(tmp_path: Path) -> None:
    done = shell("$RT $TUNE | head -1; echo ${PIPESTATUS[0]}", tmp_path)
    assert done.stdout.splitlines() == ["study demo in demo (new)", "0"]
    assert closed(tmp_path) == 1 and "Traceback" not in done.stderr


@pytest.mark.parametrize("where", [">/dev/full", ">&-"])
def test_an_output_that_takes_nothing_is_told_and_costs_no_round(tmp_path: Path, where: str) -> None:
    done = shell(f"$RT $TUNE {where}; echo code $? >&2", tmp_path)
    assert closed(tmp_path) == 1 and "Traceback" not in done.stderr
    assert "roundtable: error: standard output:" in done.stderr and "code 2" in done.stderr
    # What was printed must not have landed in a file that took the closed descriptor's number.
    assert "study demo in" not in (tmp_path / "demo" / "journal.jsonl").read_text()


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_terminal_without_unicode_gets_question_marks(tmp_path: Path, encoding: str) -> None:
    shell("$RT $TUNE --max-rounds 1", tmp_path)
    (tmp_path / "注").symlink_to("demo")
    done = shell("$RT status --study ./注; $RT status --study ./注x", tmp_path, PYTHONIOENCODING=encoding)
    assert "Traceback" not in done.stderr and "noop on demo" in done.stdout
    assert "is no study" in done.stderr


def test_a_file_that_may_not_be_read_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/theirs/demo/study.yaml")

    monkeypatch.setattr("agent.store.store.load_study", refuse)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "study.yaml").touch()
    assert main(["status", "--study", str(tmp_path / "demo")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "/theirs/demo/study.yaml: Permission denied; its owner" in said


@pytest.mark.parametrize(
    "line, told",
    [
        ("tune --task x --trainr resnet9", "unknown option --trainr; did you mean --trainer?"),
        ("tune --task x --max_rounds 3", "unknown option --max_rounds; did you mean --max-rounds?"),
        ("tune --task x --candidats=3", "unknown option --candidats; did you mean --candidates?"),
        ("status --studdy x", "unknown option --studdy; did you mean --study?"),
        ("reference restore --studi x last", "unknown option --studi; did you mean --study?"),
        ("tune --task x --frobnicate", "unknown option --frobnicate ("),
        ("tune --task x stray", "unexpected argument 'stray': values follow their option"),
        ("statsu --study x", "there is no command 'statsu'; did you mean status?"),
        ("frobnicate", "there is no command 'frobnicate'; choose from init, tune,"),
    ],
)
def test_a_misspelled_call_is_answered_with_the_nearest_name(
    line: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(shlex.split(line)) == 2
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1


def test_a_value_that_looks_like_an_option_is_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--study=--odd"]) == 2
    assert "unknown option" not in capsys.readouterr().err


def test_a_failed_training_by_hand_says_its_message_once(tmp_path: Path) -> None:
    (tmp_path / "crash.yaml").write_text(
        'name: crash\ndescription: fails\ncommand: ["sh", "crash.sh"]\npass_values: [environment]\n'
        "parameters:\n  x: {type: float, low: 0.0, high: 1.0, default: 0.5, description: d}\n"
        "objective: {metric: score, direction: maximize}\nsummary: summary.json\n"
    )
    (tmp_path / "crash.sh").write_text("echo boom-4711 >&2; exit 1\n")
    done = shell("$RT train --trainer crash.yaml --task x --out out 2>&1", tmp_path)
    assert done.returncode == 1 and done.stdout.count("boom-4711") == 1 and "Traceback" not in done.stdout
