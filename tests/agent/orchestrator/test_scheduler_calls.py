"""Line 24: at most one question a minute to the scheduler at default settings, however many tasks there are."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.api import run
from agent.api.begin import begin
from agent.api.resident import Resident
from agent.launch.sbatch import SbatchLauncher
from agent.launch.scheduler import Pace, SlurmReader
from agent.store.control import Identity
from agent.store.events import Submitted
from agent.store.store import Store
from agent.store.study import Settings
from tests.agent.orchestrator.conftest import Lab
from tests.cases.fake_slurm import FakeSlurm
from tests.cases.simulated_cluster import QUERIES, SimulatedCluster, search_path

DEFAULT_POLL_S = Settings().poll_s
Make = Callable[..., SimulatedCluster]


@pytest.fixture
def make(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A study of many rows on a simulated cluster; its launcher and its controllers keep the cluster's time."""

    def made(*, candidates: int, rounds: int, seeds: int = 2, **options: Any) -> SimulatedCluster:
        fake = FakeSlurm(tmp_path / "bin")
        fake.answer("scontrol", "MaxArraySize = 1000001\n")
        fake.answer("sbatch", "4242\n")
        monkeypatch.setenv("PATH", search_path(fake))
        store = begin(lab.options(seeds=tuple(range(seeds))))
        settings = Settings(launcher="sbatch", auto_train=True, confirm="never", candidates=candidates)
        # Only the time between questions matters here; results are on a local disk.
        store.put_settings(Settings(**settings.plain() | {"target_round": rounds, "result_grace_s": 0.0, "gpus": ()}))
        cluster = SimulatedCluster(fake, store.paths.root, **options)

        def launcher(store: Store, settings: Settings, *_: Any) -> SbatchLauncher:
            pace = Pace(interval_s=settings.poll_s)
            return SbatchLauncher(SlurmReader(pace, clock=cluster.clock), clock=cluster.clock)

        monkeypatch.setattr("agent.api.wiring._launcher", launcher)
        return cluster

    return made


def watch(cluster: SimulatedCluster, *, seconds: float, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A resident controller, until it ends or its time is over."""
    me = Identity(generation=1, kind="foreground", host="here", pid=os.getpid(), started=0, boot="")
    resident = Resident(cluster.root, me, say=print, lifetime_s=seconds, clock=cluster.clock)
    monkeypatch.setattr(resident._signals, "sleep", cluster.sleep)
    ending = resident.run()
    cluster.note_calls()
    return ending


def assert_one_question_a_minute(cluster: SimulatedCluster) -> None:
    for program in QUERIES:
        times = cluster.times(program)
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert min(gaps) >= DEFAULT_POLL_S == 60, (program, [at - times[0] for at in times])


def test_line_24_ten_thousand_tasks_are_watched_for_a_quarter_of_an_hour(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = make(candidates=100, seeds=100, rounds=1, waits_s=300, runs_s=86_400)
    ending = watch(cluster, seconds=900, monkeypatch=monkeypatch)
    assert "its time is over" in ending.reason
    store = Store.open(cluster.root)
    assert sum(len(entry.items) for entry in store.journal.of(Submitted) if entry.kind == "train") == 10_000
    assert_one_question_a_minute(cluster)
    # A look's CPU time sets how long it waits, as far as three minutes.
    assert 4 <= len(cluster.times("squeue")) <= 15 and cluster.times("scancel") == []


def test_line_24_so_it_is_from_round_to_round_with_retries(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Submissions, rows that are started again, evaluations, hours of closed rounds: each asks for something else."""
    cluster = make(candidates=3, rounds=3, fails={(1, 0, 1), (2, 1, 1), (2, 1, 2)})
    ending = watch(cluster, seconds=86_400, monkeypatch=monkeypatch)
    assert ending.reason == "finished: 3 rounds are closed"
    assert_one_question_a_minute(cluster)
    # A training and an evaluation for each of three rounds and three retries; each round's two scripts tested first.
    assert len(cluster.times("sbatch")) == 2 * (3 + 1 + 2) + 2 * 3 and len(cluster.times("scontrol")) == 1


def test_line_24_a_call_in_the_foreground_asks_as_seldom(
    make: Make, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = make(candidates=3, rounds=2, fails={(1, 0, 1)})
    monkeypatch.setattr(run, "time", SimpleNamespace(sleep=cluster.sleep, monotonic=cluster.clock))
    assert lab.tune(launcher="sbatch", candidates=3, max_iterations=2).closed == 2
    cluster.note_calls()
    assert_one_question_a_minute(cluster)
