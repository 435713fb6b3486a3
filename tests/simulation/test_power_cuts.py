"""A study goes on from what a power cut leaves; the whole sweep is `python -m tests.simulation.power`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.mutations import Mutation, applied
from tests.simulation.power import LOSSES, run_with_cut, sweep

#: Every so many changes of the study a cut; a prime, so that other files are hit each time the study changes.
EVERY = 37


def test_a_study_goes_on_from_what_a_power_cut_leaves(home: Path) -> None:
    seen = set()
    for number, loss, ended in sweep(home, every=EVERY):
        assert ended.wrong == [], (
            f"python -m tests.simulation.power --first {number} --every 10000 --loss {loss} --trace"
        )
        assert ended.rounds == 2
        seen.add(loss)
    assert seen >= set(LOSSES) - {"torn"}


def test_a_study_writes_what_a_cut_can_befall(home: Path) -> None:
    ended, changes = run_with_cut(home, None, "nothing")
    assert ended.wrong == [] and len(changes) > 100
    assert {change.kind for change in changes} == {"name", "line"}
    # The scheduler's memory alone may be lost.
    assert {change.path.name for change in changes if not change.synced} <= {"scheduler.json"}


def test_a_torn_line_is_no_entry(home: Path) -> None:
    _, changes = run_with_cut(home, None, "nothing")
    lines = [number for number, change in enumerate(changes, 1) if change.path.name == "journal.jsonl"]
    for number in lines[:: len(lines) // 4]:
        assert run_with_cut(home, number, "torn")[0].wrong == []


@pytest.mark.parametrize("number", [8, 30])
def test_a_rename_before_the_content_is_synced_would_be_noticed(home: Path, number: int) -> None:
    mutation = Mutation(
        name="renamed before it is synced", where="trainers.files:write_atomic", old="if sync:", new="if False:"
    )
    with applied(mutation):
        assert run_with_cut(home, number, "unsynced")[0].wrong != []
    assert run_with_cut(home, number, "unsynced")[0].wrong == []
