"""Limits of a cluster on the size of arrays and on how many jobs may wait: what does not fit is split or deferred."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from agent.__main__ import main
from agent.api import tick_once
from agent.store.events import AttemptEnded, Deferred, Paused, Refused, Submitted
from tests.agent.orchestrator.conftest import Lab
from tests.cluster.cluster import Cluster
from tests.cluster.config import ClusterConfig
from tests.cluster.fixtures import require_cluster
from tests.faults.case_limits import FULL, assert_sound, full_size, hurry, profile
from tests.faults.case_limits import lab as lab

pytestmark = pytest.mark.cluster

#: MaxArraySize and rows. At full size the round takes two minutes.
SIZE, ROWS = (101, 500) if FULL else (8, 36)
LIMITS = ClusterConfig(
    max_array_size=SIZE,
    cpus=16,
    min_job_age_s=2,
    extra_slurm_conf=("AccountingStorageEnforce=limits",),
)


@pytest.fixture(scope="module")
def narrow() -> Iterator[Cluster]:
    """Small arrays, and limits of associations and QOS that count."""
    require_cluster(LIMITS)
    with Cluster(LIMITS) as cluster, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(cluster.slurm_conf))
        yield cluster


def arrays(lab: Lab, kind: str = "train") -> list[Submitted]:
    return [entry for entry in lab.store().journal.of(Submitted) if entry.kind == kind]


def items(lab: Lab, kind: str = "train") -> list[list[int]]:
    return [list(one.items) for one in arrays(lab, kind)]


@pytest.mark.parametrize("launcher", ["sbatch", pytest.param("submitit", marks=full_size)])
def test_line_11_a_round_above_maxarraysize_is_split_and_keeps_its_indices(
    lab: Lab, narrow: Cluster, launcher: str
) -> None:
    rows = ROWS
    hurry(lab, seeds=rows)
    lost = 'if [[ "$0" = */train_* && "$roundtable_item" = 13 && "$roundtable_attempt" = 1 ]]; then exit 7; fi'
    mine = profile(lab, setup=[lost])
    outcome = lab.tune(launcher=launcher, profile=mine, seeds=tuple(range(rows)), poll_s=0.5, parallel=11)
    assert outcome.closed == 1
    made = arrays(lab)
    assert [item for one in made if one.attempt == 1 for item in one.items] == list(range(rows))
    assert all(len(one.items) <= SIZE for one in made)
    assert [one.items for one in made if one.attempt == 2] == [(13,)]
    assert sorted(lab.trained) == sorted(f"1 c00 0 {seed}" for seed in range(rows))
    assert_sound(lab, narrow)


#: How a site may limit what one person has in the queue: what sets and unsets it, and what sbatch then calls it.
QUEUE_LIMITS = {
    "AssocMaxSubmitJobLimit": "user root set MaxSubmitJobs={}",
    "AssocGrpSubmitJobsLimit": "account root set GrpSubmitJobs={}",
    "QOSMaxSubmitJobPerUserLimit": "qos normal set MaxSubmitJobsPerUser={}",
}


@contextlib.contextmanager
def limited(cluster: Cluster, change: str, limit: int) -> Iterator[None]:
    """A limit of the accounting database inside the block."""

    def modify(value: int) -> None:
        cluster.run(["sacctmgr", "-i", "modify", *change.format(value).split()], check=True)

    modify(limit)
    try:
        yield
    finally:
        modify(-1)


def test_line_11_a_limit_on_submitted_jobs_defers_what_does_not_fit(lab: Lab, narrow: Cluster) -> None:
    """Five rows and an evaluation where three jobs may be in the queue: no array of five is ever taken whole."""
    hurry(lab, seeds=5)
    word = "AssocMaxSubmitJobLimit"
    with limited(narrow, QUEUE_LIMITS[word], 3):
        outcome = lab.tune(launcher="sbatch", profile=profile(lab), seeds=tuple(range(5)), poll_s=0.3)
    assert outcome.closed == 1
    store = lab.store()
    assert sorted(row for part in items(lab) for row in part) == list(range(5))
    assert max(map(len, items(lab))) <= 3
    assert not list(store.journal.of(Refused, Paused, AttemptEnded))
    deferred = list(store.journal.of(Deferred))
    assert deferred and word in deferred[0].message and lab.said(word)
    assert deferred[0].rows == 5
    assert_sound(lab, narrow)


@pytest.mark.parametrize(
    ("word", "launcher"), [("AssocGrpSubmitJobsLimit", "sbatch"), ("QOSMaxSubmitJobPerUserLimit", "submitit")]
)
def test_line_11_every_such_limit_is_known_by_its_words(lab: Lab, narrow: Cluster, word: str, launcher: str) -> None:
    hurry(lab, seeds=5, launcher=launcher, auto_train=True)
    profile(lab, extra={"begin": "now+1hour"}).rename(lab.root / "demo" / "profile.yaml")
    with limited(narrow, QUEUE_LIMITS[word], 3):
        assert word in tick_once(lab.store()).message
    assert items(lab) == [[0, 1], [2]]
    assert {entry.rows for entry in lab.store().journal.of(Deferred)} == {5, 2, 1}
    narrow.drain()


def test_line_11_a_queue_that_is_full_of_other_jobs_is_left_alone_and_asked_ever_less_often(
    lab: Lab, narrow: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    hurry(lab, seeds=2, launcher="sbatch", auto_train=True, poll_s=60.0)
    profile(lab).rename(lab.root / "demo" / "profile.yaml")
    narrow.run(["sbatch", "--hold", "--job-name=other", "--output=/dev/null", "--wrap", "true"], check=True)
    with limited(narrow, QUEUE_LIMITS["AssocMaxSubmitJobLimit"], 1):
        for _ in range(3):
            report = tick_once(lab.store(), say=lab.lines.append)
            assert report.state == "waiting" and "AssocMaxSubmitJobLimit" in report.message
    # Two rows, then one; after that nobody asks until the pause is over.
    assert [entry.rows for entry in lab.store().journal.of(Deferred)] == [2, 1]
    assert not items(lab)
    assert main(["status", "--study", str(lab.root / "demo")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "waiting: round 1: the cluster takes no more jobs of yours now" in shown
    narrow.drain()


def test_line_11_a_full_queue_of_the_whole_cluster_is_waited_for(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """MaxJobCount, and no accounting. sbatch itself asks again for two minutes, which only the full size outlasts."""
    config = ClusterConfig(accounting=False, min_job_age_s=2, extra_slurm_conf=("MaxJobCount=10",))
    require_cluster(config)
    with Cluster(config) as cluster:
        monkeypatch.setenv("SLURM_CONF", str(cluster.slurm_conf))
        hurry(lab, seeds=4)
        others = ["sbatch", "--hold", "--array=0-5", "--job-name=other", "--output=/dev/null", "--wrap", "true"]
        cluster.run(others, check=True)
        ended = threading.Timer(150.0 if FULL else 1.0, cluster.run, [["scancel", "--name=other"]])
        ended.start()
        outcome = lab.tune(launcher="sbatch", profile=profile(lab), seeds=tuple(range(4)), poll_s=0.3)
        ended.join()
        assert outcome.closed == 1
        assert bool(list(lab.store().journal.of(Deferred))) == FULL
        assert sorted(row for part in items(lab) for row in part) == [0, 1, 2, 3]
        assert_sound(lab, cluster)
