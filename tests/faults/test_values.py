"""Candidate values that a shell, SLURM or a template could take for something else: they arrive byte by byte."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from agent.__main__ import main
from agent.errors import UsageError
from tests.agent.orchestrator.conftest import Lab
from tests.cluster.cluster import Cluster
from tests.faults.case_limits import assert_sound, full_size, note_trainer, notes_of, profile
from tests.faults.case_limits import drained as drained
from tests.faults.case_limits import lab as lab

#: Each would write a file `pwned` if anything executed it.
HOSTILE = (
    'it\'s "quoted" $(touch pwned) `touch pwned` ; touch pwned && tee pwned </dev/null > pwned #',
    "%A_%a %j %% {value} {{ }} {out}",
    "--leading=dash",
    "-c",
    "back\\slash \\n ${HOME} ~ * ?",
    " ünïcode 値 🙂\u00a0\u2028 ",
)
#: A folder for the study; submitit takes a % in a path for its own, which it refuses.
FOLDER = 'it\'s a "$(touch pwned)" `ünïcode` 値; & 100%'


def pwned(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in folder.rglob("pwned")]


@pytest.mark.cluster
@pytest.mark.parametrize("launcher", ["sbatch", "submitit"])
def test_line_01_values_reach_the_program_as_they_are_on_slurm(lab: Lab, drained: Cluster, launcher: str) -> None:
    _values(lab, drained, launcher)


@full_size
def test_line_01_values_reach_the_program_as_they_are_on_this_machine(lab: Lab) -> None:
    _values(lab, None, "local")


def _values(lab: Lab, cluster: Cluster | None, launcher: str) -> None:
    lab = Lab(lab.root / (FOLDER.rstrip("%") if launcher == "submitit" else FOLDER), lab.lines)
    trainer = note_trainer(lab.root / "a trainer's", HOSTILE)
    mine = profile(lab) if cluster else None
    count = len(HOSTILE)
    lab.tune(trainer=str(trainer), launcher=launcher, profile=mine, candidates=count, poll_s=0.3, parallel=3)
    [paths] = lab.store().closed()
    found = notes_of(paths)
    assert len(found) == count
    for candidate, notes in found.items():
        entry = json.loads(paths.reference(candidate).read_text())["parameters"]["value"]
        value = entry.get("active_value", entry["default"])
        assert notes.arguments == [os.fsencode(value), os.fsencode(f"--value={value}")]
        assert notes.environment["RT_VALUE"] == notes.environment["COPY"] == value
        assert notes.environment["RT_OUT"].startswith(str(lab.root)) and notes.folder == str(trainer.parent)
    assert {notes.environment["RT_VALUE"] for notes in found.values()} == set(HOSTILE)
    assert not pwned(lab.root, Path.cwd())
    assert_sound(lab, cluster)


def test_line_08_a_newline_in_a_choice_is_refused_by_name(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = note_trainer(lab.root / "trainer", ["plain", "two\nlines"])
    with pytest.raises(UsageError, match=r"choices\[1\].*control characters such as newline"):
        lab.tune(trainer=str(trainer))
    arguments = ["tune", "--task", "demo", "--trainer", str(trainer), "--output-dir", str(lab.root)]
    assert main([*arguments, "--data", f"log={lab.log}"]) == 2
    assert "control characters such as newline" in capsys.readouterr().err
    assert not (lab.root / "demo").exists()
