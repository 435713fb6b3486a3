"""Some editors begin a UTF-8 file with a byte order mark. It is skipped in every file that a person brings."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.acceptance.rules_file import load_rules
from agent.api import TuneOptions, tune
from agent.api.begin import begin
from agent.catalogue import find_trainer
from agent.launch.profile import load_profile
from agent.policy import load_policy
from agent.reference import load_reference
from agent.resources import shipped_policy, shipped_reference, shipped_rules
from trainers.informer.table import read_table

PROGRAMS = Path(__file__).parents[1] / "programs"


def rows(path: Path) -> int:
    return len(read_table(path, date="date", wanted=(), frequency=None, fill="none"))


READERS: list[tuple[str, Callable[[], str], Callable[[Path], Any]]] = [
    ("profile.yaml", lambda: "partition: main\ntime: 10\n", load_profile),
    ("policy.yaml", lambda: shipped_policy().read_text(), load_policy),
    ("rules.yaml", lambda: shipped_rules().read_text(), load_rules),
    ("trainer.yaml", lambda: (PROGRAMS / "curve.yaml").read_text(), lambda path: find_trainer(str(path)).trainer),
    ("reference.json", lambda: shipped_reference("resnet9").read_text(), load_reference),
    ("a.csv", lambda: "date,x\n" + "".join(f"2024-01-{n:02d},{n}\n" for n in range(1, 20)), rows),
]


@pytest.mark.parametrize(("name", "text", "read"), READERS, ids=[name for name, _, _ in READERS])
def test_a_marked_file_reads_as_the_same_file_without_the_mark(
    tmp_path: Path, name: str, text: Callable[[], str], read: Callable[[Path], Any]
) -> None:
    (tmp_path / "plain").mkdir()
    plain, marked = tmp_path / "plain" / name, tmp_path / name
    plain.write_text(text(), encoding="utf-8")
    marked.write_bytes(codecs.BOM_UTF8 + text().encode())
    assert read(marked) == read(plain)


def test_a_mark_alone_is_no_edit_of_a_studys_reference_and_reaches_no_task(tmp_path: Path) -> None:
    options = TuneOptions(task="digits", trainer="resnet9", output_dir=tmp_path / "runs")
    store = begin(options)
    data = store.paths.reference.read_bytes()
    store.paths.reference.write_bytes(codecs.BOM_UTF8 + data)
    assert not store.versions.edited()
    assert tune(options).state == "rendered"
    (trained,) = store.paths.root.glob("round_1*/candidates/c00/hyperparameter_reference.json")
    assert json.loads(trained.read_bytes()) == json.loads(data)
