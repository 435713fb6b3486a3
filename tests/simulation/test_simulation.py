"""The simulation itself: a few dozen rounds, that a seed repeats itself, and that a failing script shrinks."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulation.cluster import Cluster, Task
from tests.simulation.script import (
    EVALS,
    PERSON,
    PLACES,
    QUERIES,
    ROWS,
    SHELL,
    SUBMISSIONS,
    Fault,
    Script,
    Setting,
    draw,
)
from tests.simulation.shrink import as_test, fails_like, shrink
from tests.simulation.world import run

SEEDS = range(1, 7)


def test_rounds_under_drawn_faults_keep_every_invariant(home: Path) -> None:
    befallen: Counter[str] = Counter()
    rounds = 0
    for seed in SEEDS:
        ended = run(draw(seed), home)
        assert ended.wrong == [], f"python -m tests.simulation --seed {seed} --studies 1 --trace"
        befallen += ended.befallen
        rounds += ended.rounds
    assert rounds >= 3 * len(SEEDS) and len(befallen) > 20


def test_a_study_without_faults_is_closed_in_a_few_looks(home: Path) -> None:
    ended = run(Script(seed=1), home)
    assert (ended.wrong, ended.rounds) == ([], 4) and ended.looks < 20 and not ended.befallen


def test_a_script_repeats_itself_word_for_word(home: Path) -> None:
    first, second = (run(draw(5), home) for _ in range(2))
    assert first.trace == second.trace and first.befallen == second.befallen


def test_a_seed_draws_the_same_script_and_the_scripts_hold_every_fault() -> None:
    assert draw(7) == draw(7) != draw(8)
    drawn = {(one.where, one.what) for seed in range(400) for one in draw(seed).faults}
    for where, kinds in (
        ("row", ROWS),
        ("eval", EVALS),
        ("sbatch", SUBMISSIONS),
        ("person", PERSON),
        ("shell", SHELL),
    ):
        assert {what for place, what in drawn if place == where} == set(kinds)
    assert {what for place, what in drawn if place in ("squeue", "sacct")} == set(QUERIES)
    assert {place for place, _ in drawn} == set(PLACES)


def test_a_failing_script_shrinks_to_what_makes_it_fail(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here a task that is preempted is taken for one that no cluster may show."""
    note = Cluster.note

    def noted(cluster: Cluster, task: Task) -> None:
        note(cluster, task)
        if task.fault is not None and task.fault.what == "preempted":
            cluster.wrong.append("somebody was preempted")

    monkeypatch.setattr(Cluster, "note", noted)
    culprit = Fault(where="row", at=(1, 2, 1), what="preempted")
    others = tuple(one for one in draw(5).faults if one.where != "row")
    script = Script(seed=5, setting=Setting(rounds=2, resident=True), faults=(*others, culprit))
    ended = run(script, home)
    assert ended.wrong == ["somebody was preempted"]
    found = shrink(script, fails_like(ended, home))
    assert found == Script(seed=5, setting=Setting(rounds=1), faults=(culprit,))
    assert repr(culprit) in as_test(found, ended) and "rounds=1" in as_test(found, ended)
    assert run(replace(found, faults=()), home).wrong == []
