"""What tests of limits, environments, values, disks and results share: a study and what must hold at its end.

`assert_sound` is asked of every study here, however it was harmed: each row trained once at a time, no finished
result lost, every round closed, no job left in the queue, and a score only where a row ended ok.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.api.begin import begin
from agent.store.events import AttemptEnded, Submitted
from agent.store.paths import RoundPaths
from agent.store.study import Settings
from tests.agent.orchestrator.conftest import Lab
from tests.agent.orchestrator.conftest import lab as a_lab
from tests.cluster.cluster import Cluster
from trainers.manifest import load_manifest
from trainers.results import read_row
from trainers.yaml_file import dump_yaml

lab = a_lab

#: The sizes of the requirement instead of smaller ones, and every launcher: minutes more. ROUNDTABLE_FULL_FAULTS=1
FULL = os.environ.get("ROUNDTABLE_FULL_FAULTS") == "1"
full_size = pytest.mark.skipif(not FULL, reason="full size only: set ROUNDTABLE_FULL_FAULTS=1")


def profile(lab: Lab, **keys: Any) -> Path:
    """A cluster profile of this study."""
    path = lab.root / "profile.yaml"
    path.write_text(dump_yaml({"partition": "main", "cpus": 1, "time": "00:10:00"} | keys))
    return path


def hurry(lab: Lab, *, seeds: int = 1, **settings: Any) -> None:
    """Begin the study with waits that fit a test."""
    quick = {"result_grace_s": 0.5, "adopt_after_s": 5.0}
    begin(lab.options(seeds=tuple(range(seeds)))).put_settings(Settings(**(quick | settings)))


def queued(cluster: Cluster) -> list[str]:
    """Names of the jobs of studies that are pending, running or completing."""
    names = cluster.run(["squeue", "-h", "-r", "-o", "%j"], check=True).stdout.split()
    return [name for name in names if name.startswith("rt-")]


def ends(lab: Lab) -> list[tuple[int, int, str]]:
    """(row, attempt, outcome) as journaled."""
    return [(e.row, e.attempt, e.outcome) for e in lab.store().journal.of(AttemptEnded)]


def assert_sound(lab: Lab, cluster: Cluster | None = None, *, rounds: int = 1, again: int = 0) -> None:
    """again: how many trainings more than one a row the fault may have cost."""
    store = lab.store()
    assert [paths.number for paths in store.closed()] == list(range(1, rounds + 1))
    assert store.open_folder() is None
    assert [event.seq for event in store.journal.events] == list(range(1, len(store.journal) + 1))
    names = Counter(entry.name for entry in store.journal.of(Submitted))
    assert set(names.values()) <= {1}, names
    trained = Counter(lab.trained)
    assert sum(trained.values()) - len(trained) <= again, trained
    for paths in store.closed():
        _assert_results_count(paths)
    if cluster is not None:
        cluster.wait_for(lambda: not queued(cluster), 60)


def _assert_results_count(paths: RoundPaths) -> None:
    """A row's result on disk is its score, and a row that is not ok has none."""
    manifest = load_manifest(paths.manifest)
    for candidate in json.loads(paths.closed.read_text())["candidates"]:
        scores = []
        for row, trial in zip(manifest.of_candidate(candidate["name"]), candidate["trials"], strict=True):
            result = read_row(paths, manifest, row)
            assert trial["row"] == row.row
            if result is not None and result.outcome == "ok":
                assert (trial["outcome"], trial["attempt"]) == ("ok", result.attempt), trial
                assert trial["metrics"]["score"] == result.metrics["score"]
                scores.append(result.metrics["score"])
            else:
                assert trial["outcome"] != "ok" and not trial.get("metrics"), trial
        assert candidate["value"] == (pytest.approx(sum(scores) / len(scores)) if scores else None)


@pytest.fixture
def drained(slurm: Cluster) -> Iterator[Cluster]:
    """The session's cluster, empty before and after."""
    slurm.drain()
    yield slurm
    slurm.drain()


#: Notes what reached it, byte by byte, and that it ran; its score is the length of its value.
NOTES = """\
import json, os, sys
log, value = os.fsencode(sys.argv[1]), os.fsencode(sys.argv[2])
names = ("ROUND", "CANDIDATE", "FOLD", "SEED")
with open(log, "a") as stream:
    stream.write(" ".join(os.environ["RT_" + name] for name in names) + "\\n")
notes = {
    "arguments": [os.fsencode(argument).hex() for argument in sys.argv[2:]],
    "environment": {os.fsencode(name).hex(): os.fsencode(text).hex() for name, text in os.environ.items()},
    "folder": os.getcwd(),
}
with open(os.environ["RT_OUT"] + "/notes.json", "w") as stream:
    json.dump(notes, stream)
with open(os.environ["RT_SUMMARY"], "w") as stream:
    json.dump({"score": float(len(value))}, stream)
"""


@dataclass(frozen=True)
class Notes:
    """What one trial's program was given."""

    arguments: list[bytes]
    environment: dict[str, str]
    folder: str


def note_trainer(folder: Path, choices: Sequence[str] = ("plain",), **keys: Any) -> Path:
    """A trainer whose program leaves `Notes`; it gets one of `choices` in every way that there is."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "notes.py").write_text(NOTES)
    description = {
        "name": "notes",
        "command": ["{python}", "notes.py", "{data.log}", "{value}", "--value={value}"],
        "environment": {"COPY": "{value}"},
        "parameters": {"value": {"type": "categorical", "choices": [*choices], "default": choices[0]}},
        "pass_values": ["arguments", "environment", "reference"],
        "objective": {"metric": "score", "direction": "maximize"},
    }
    path = folder / "notes.yaml"
    path.write_text(dump_yaml(description | keys))
    return path


def notes_of(paths: RoundPaths) -> dict[str, Notes]:
    """What each candidate's program of a round was given."""
    found = {}
    for path in sorted(paths.root.glob("trials/*/attempt_*/notes.json")):
        raw = json.loads(path.read_text())
        pairs = raw["environment"].items()
        environment = {_text(name): _text(value) for name, value in pairs}
        arguments = [bytes.fromhex(argument) for argument in raw["arguments"]]
        found[environment["RT_CANDIDATE"]] = Notes(arguments, environment, raw["folder"])
    return found


def _text(digits: str) -> str:
    return os.fsdecode(bytes.fromhex(digits))
