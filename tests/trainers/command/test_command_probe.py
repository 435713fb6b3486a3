"""Asking an environment whether it can run a described program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trainers.command.description import load_description
from trainers.command.probe import check_environment, main
from trainers.command.program import of_the_person

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, ""),
        ({"command": ["{python}", "{out}"], "probe": ["{python}", "-c", "import json"]}, ""),
        ({"command": ["{out}/built-later"]}, ""),
        ({"command": ["no-such-program-anywhere"]}, "not found on the PATH"),
        ({"command": ["/no/such/program"]}, "not an executable file"),
        ({"test": {"command": ["no-such-program-anywhere"], "summary": "t.json"}}, "not found on the PATH"),
        ({"working_directory": "/no/such/folder"}, "working directory /no/such/folder is not there"),
        ({"probe": ["{python}", "-c", "import no_such_module"]}, "ended with 1: Traceback"),
        ({"probe": ["no-such-program-anywhere"]}, "not found on the PATH"),
    ],
)
def test_what_is_found(bench, keys, words):
    found = check_environment(load_description(bench.write(keys)))
    assert words in found
    assert bool(words) == bool(found)


def test_a_probe_finds_the_packages_that_the_program_will_find(bench, monkeypatch):
    """The folder by which the task found Roundtable comes first in PYTHONPATH; `trainers` is the person's there."""
    theirs = bench.root / "theirs"
    (theirs / "trainers").mkdir(parents=True)
    (theirs / "trainers" / "__init__.py").write_text("MINE = True\n")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{theirs}")
    probe = ["{python}", "-c", "import trainers; trainers.MINE"]
    assert check_environment(load_description(bench.write(probe=probe))) == ""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, None),
        (str(ROOT), None),
        (f"{ROOT}:/theirs:/more", "/theirs:/more"),
        (f"{ROOT}:{ROOT}", str(ROOT)),  # once by us, once on purpose
        (f"/theirs:{ROOT}", f"/theirs:{ROOT}"),
    ],
)
def test_a_program_has_the_pythonpath_that_the_profile_gives(before, after):
    environment = {"HOME": "/home/me"} | ({} if before is None else {"PYTHONPATH": before})
    assert of_the_person(environment) == {"HOME": "/home/me"} | ({} if after is None else {"PYTHONPATH": after})


def test_a_probe_that_hangs(bench, monkeypatch):
    monkeypatch.setattr("trainers.command.probe.TIMEOUT_S", 0.1)
    assert "did not end within" in check_environment(load_description(bench.write(probe=["sleep", "60"])))


def test_the_command_line(bench, capsys):
    frozen = bench.root / "trainer.json"
    frozen.write_text(load_description(bench.write()).to_json())
    done = subprocess.run(
        [sys.executable, "-m", "trainers.command.probe", str(frozen)], cwd=ROOT, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    frozen.write_text(load_description(bench.write(command=["/no/such/program"])).to_json())
    assert main([str(frozen)]) == 2
    assert main([str(bench.root / "absent.json")]) == 2
    assert main([]) == 2
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == [
        *("/no/such/program", "[Errno 2] No such file or directory", "usage")
    ]
