"""A study's own files that were removed, broken, or written by a later version: each message's remedy works."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from agent.__main__ import main
from agent.api import Study, tick_once
from agent.api.begin import begin
from agent.errors import InvalidReference, InvalidStudy
from agent.reference import load_reference
from tests.agent.orchestrator.conftest import Lab, lab
from tests.agent.orchestrator.test_rounds import edit, round_folder

__all__ = ["lab"]


def paste(message: str) -> int:
    """Run the one command of Roundtable that a message gives."""
    found = re.search(r"`roundtable ([^`]+)`", message)
    assert found, message
    return main(shlex.split(found[1]))


@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_a_lost_reference_is_put_back_as_it_was_written_last(lab: Lab, rounds: int) -> None:
    if rounds:
        lab.tune(max_rounds=rounds, candidates=2)
    else:
        begin(lab.options())
    path = lab.root / "demo" / "hyperparameter_reference.json"
    was = load_reference(path)
    path.unlink()
    with pytest.raises(InvalidReference) as refused:
        lab.tune(candidates=2)
    assert paste(str(refused.value)) == 0
    assert load_reference(path).values() == was.values()
    lab.tune(candidates=2)
    assert round_folder(lab, rounds + 1).exists()


def test_a_broken_reference_can_be_restored_and_is_kept(lab: Lab) -> None:
    lab.tune(max_rounds=2, candidates=2)
    path = lab.root / "demo" / "hyperparameter_reference.json"
    path.write_text("{ half")
    assert main(["reference", "restore", "--study", str(lab.root / "demo"), "1"]) == 0
    assert load_reference(path).values()["x"] == 0.5
    assert any(old.read_text() == "{ half" for old in (lab.root / "demo" / "history").glob("*.json"))


def test_lost_or_broken_settings_come_from_the_journal(lab: Lab) -> None:
    lab.tune(max_rounds=1, candidates=3)
    path = lab.root / "demo" / "settings.json"
    path.write_text('{"candidates": "three", "nonsense": 1}')
    with pytest.raises(InvalidStudy, match="remove it"):
        lab.tune(candidates=2)
    path.unlink()
    assert tick_once(lab.store()).state == "finished"
    lab.tune(max_rounds=1)
    assert len(Study(lab.root / "demo").history) == 6, "three candidates, as before"


@pytest.mark.parametrize("name", ["study.yaml", "incumbent.json", "round.json"])
def test_a_file_of_a_later_version_is_refused_by_name(lab: Lab, name: str) -> None:
    lab.tune(max_rounds=1, candidates=2)
    path = next((lab.root / "demo").rglob(name))
    was = path.read_text()
    if name == "study.yaml":
        path.write_text(path.read_text().replace("schema_version: 1", "schema_version: 7"))
    else:
        raw = json.loads(path.read_text())
        path.write_text(json.dumps(raw | {"schema_version": 7}))
    with pytest.raises(InvalidStudy, match="schema_version is 7: this Roundtable reads versions up to"):
        lab.tune(candidates=2)
    assert not list(Path(lab.root / "demo").glob("round_2_*/train_*"))
    path.write_text(was)


def test_a_persons_edit_is_what_last_means_once_it_was_trained(lab: Lab) -> None:
    lab.tune(max_rounds=1)
    path = lab.root / "demo" / "hyperparameter_reference.json"
    edit(path, "x", 0.25)
    lab.tune(max_rounds=1)
    path.unlink()
    assert main(["reference", "restore", "--study", str(lab.root / "demo"), "last"]) == 0
    assert load_reference(path).values()["x"] == 0.25
