"""The soak, as many rounds as fit into a minute; `python -m tests.soak` runs it for as long as one likes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import require_cluster
from tests.soak.plan import DAEMON_FAULTS, LATE, ROW_FAULTS, SUBMISSION_FAULTS, draw
from tests.soak.soak import CLUSTER, Soak

SECONDS, LEAST_ROUNDS, SEED = 50.0, 3, 1


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    require_cluster(CLUSTER)
    with Cluster(CLUSTER) as cluster:
        yield cluster


@pytest.mark.cluster
def test_rounds_under_random_faults_keep_every_invariant(cluster: Cluster, tmp_path: Path) -> None:
    soak = Soak(cluster, tmp_path / "soak", seed=SEED, patient=False)
    until = time.monotonic() + SECONDS
    try:
        while time.monotonic() < until or soak.tally.rounds < LEAST_ROUNDS:
            soak.round()
        soak.finish()
    finally:
        soak.close()
    soak.count()
    print("\n".join(soak.tally.lines()))
    assert soak.tally.faults and soak.tally.outcomes["ok"] > 0 and soak.tally.accounted > 0


def test_a_round_is_drawn_again_by_seed_and_number_alone() -> None:
    assert [draw(7, number) for number in range(1, 30)] == [draw(7, number) for number in range(1, 30)]
    assert draw(7, 12) != draw(7, 13) != draw(8, 13)


def test_two_hundred_rounds_hold_every_fault() -> None:
    plans = [draw(7, number) for number in range(1, 201)]
    rows = {fault for plan in plans for fault in plan.rows.values()}
    assert rows == {*ROW_FAULTS, *(f"late:{seconds}" for seconds in LATE)}
    submissions = {fault.partition(":")[0] for plan in plans for fault in plan.submissions}
    assert submissions == {"", *SUBMISSION_FAULTS}
    assert {fault.action for plan in plans for fault in plan.daemons} == set(DAEMON_FAULTS)
    kills = [kill for plan in plans for kill in plan.kills]
    assert any(kill.boundary for kill in kills) and any(kill.after_s for kill in kills)


def test_what_takes_half_a_minute_is_drawn_for_the_patient_alone() -> None:
    hurried = [draw(7, number, patient=False) for number in range(1, 201)]
    assert "timeout" not in {fault for plan in hurried for fault in plan.rows.values()}
