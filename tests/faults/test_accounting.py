"""Accounting that is slow, away or not there, and a controller that forgets ended jobs within seconds.

The numbers are the lines of the requirement list: 20 missing is not done, 22 results, 25 without accounting.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import pytest

from agent.launch import scheduler
from agent.store.events import AttemptEnded
from tests.cluster.cluster import Cluster
from tests.cluster.config import ClusterConfig
from tests.cluster.fixtures import require_cluster
from tests.faults.case_daemons import Patient, full

pytestmark = pytest.mark.cluster

Put = Callable[[Cluster], Patient]


def cluster_of(config: ClusterConfig) -> Iterator[Cluster]:
    require_cluster(config)
    with Cluster(config) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def forgetful() -> Iterator[Cluster]:
    """With accounting; squeue forgets an ended job after two seconds."""
    yield from cluster_of(ClusterConfig(min_job_age_s=2))


@pytest.fixture(scope="module")
def unaccounted() -> Iterator[Cluster]:
    """Without accounting: sacct ends with return code 1. squeue forgets an ended job after two seconds."""
    yield from cluster_of(ClusterConfig(accounting=False, min_job_age_s=2))


@pytest.fixture
def pace(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Other time-outs than minutes for the reader of SLURM's state."""

    def change(**seconds: float) -> None:
        monkeypatch.setattr(scheduler, "Pace", functools.partial(scheduler.Pace, **seconds))

    return change


def fails(row: int, how: str) -> str:
    """A set-up line: the row's first attempt ends like this before it claims anything."""
    return f'if [[ "$0" = */train_* ]] && [ "$roundtable_item$roundtable_attempt" = {row}1 ]; then {how}; fi'


def purged(cluster: Cluster) -> Callable[[], bool]:
    """Whether squeue has forgotten every ended job."""
    return lambda: not cluster.run(["squeue", "-h", "-t", "all"], check=True).stdout


class TestForgottenJobs:
    """MinJobAge=2: nobody looked before the controller forgot how the jobs ended."""

    def test_20_accounting_tells_how_forgotten_rows_ended(self, on: Put, forgetful: Cluster) -> None:
        patient = on(forgetful)
        patient.begin(profile={"setup": [fails(1, "exit 7")]})
        patient.look()
        patient.wait(purged(forgetful), "the queue has forgotten all")
        patient.finish()
        patient.assert_sound(ends=[(1, 1, "launch_fail")])
        assert patient.journal(AttemptEnded)[0].exit_code == "7:0"

    @full
    def test_20_forgotten_while_slurmdbd_is_away_is_waited_for(
        self, on: Put, forgetful: Cluster, pace: Callable[..., None]
    ) -> None:
        """Neither squeue nor sacct knows the failed row: not lost before its time, and told once sacct answers."""
        pace(lost_after_s=600.0)
        patient = on(forgetful)
        patient.begin(profile={"setup": [fails(1, "exit 7")]})
        forgetful.halt("slurmdbd")
        try:
            patient.look()
            patient.wait(purged(forgetful), "the queue has forgotten all")
            for _ in range(3):
                assert patient.look().state == "waiting"
            assert not patient.ends()
        finally:
            forgetful.restart("slurmdbd")
        patient.finish()
        patient.assert_sound(ends=[(1, 1, "launch_fail")])

    def test_24_a_frozen_slurmdbd_costs_a_time_out_and_no_result(
        self, on: Put, forgetful: Cluster, pace: Callable[..., None]
    ) -> None:
        """sacct hangs: each look ends after the time-out, and what is on disk counts."""
        pace(timeout_s=2.0)
        patient = on(forgetful)
        patient.begin()
        patient.shut()
        patient.look()
        patient.wait(lambda: len(patient.trained) == 2, "both rows train")
        forgetful.pause("slurmdbd")
        try:
            patient.open()
            patient.wait(lambda: len(patient.results()) == 2, "both results")
            patient.finish()
        finally:
            forgetful.resume("slurmdbd")
        patient.assert_sound()


class TestWithoutAccounting:
    def test_25_rows_are_told_apart_by_squeue_and_their_markers(self, on: Put, unaccounted: Cluster) -> None:
        patient = on(unaccounted)
        patient.begin(profile={"setup": [fails(1, "exit 7")]})
        patient.finish()
        patient.assert_sound(ends=[(1, 1, "launch_fail")])

    @full
    def test_25_forgotten_rows_count_by_their_results_and_the_others_are_lost(
        self, on: Put, unaccounted: Cluster, pace: Callable[..., None]
    ) -> None:
        pace(unaccounted_after_s=2.0)
        patient = on(unaccounted)
        patient.begin(profile={"setup": [fails(1, "exit 7")]})
        patient.look()
        patient.wait(purged(unaccounted), "the queue has forgotten all")
        patient.finish()
        patient.assert_sound(ends=[(1, 1, "lost")])
