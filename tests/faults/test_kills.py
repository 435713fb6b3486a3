"""Processes killed at the worst moment: the orchestrator, sbatch, a node.

The numbers are the lines of the requirement list: 2 exactly once, 11 limits defer, 28 faults of nodes.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

from agent.store.events import Intent, Refused, Submitted, Wave
from tests.cluster.cluster import Cluster
from tests.cluster.config import ClusterConfig
from tests.cluster.fixtures import require_cluster
from tests.faults.case_daemons import FULL, Patient, full

pytestmark = pytest.mark.cluster

Put = Callable[[Cluster], Patient]


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    """Two nodes of one CPU; one that does not answer is given up after SlurmdTimeout."""
    config = ClusterConfig(nodes=2, cpus=1, extra_slurm_conf=("SlurmdTimeout=5", "MessageTimeout=3"))
    require_cluster(config)
    with Cluster(config) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def small() -> Iterator[Cluster]:
    """A controller that holds four jobs and forgets ended ones soon."""
    config = ClusterConfig(accounting=False, min_job_age_s=2, extra_slurm_conf=("MaxJobCount=4",))
    require_cluster(config)
    with Cluster(config) as cluster:
        yield cluster


# -- the orchestrator ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("launcher", ["sbatch", "submitit"] if FULL else ["sbatch"])
def test_02_killed_between_sbatch_and_its_record(on: Put, pair: Cluster, launcher: str) -> None:
    """The job is there, the journal has only the intent: the next look finds the job under its name."""
    patient = on(pair)
    patient.begin(launcher=launcher)
    patient.shims.instead(
        "sbatch", f'{patient.shims.real("sbatch")} "$@"; kill -9 "$(cat {patient.root}/looker)"; exit 1'
    )
    assert patient.look_elsewhere() == -signal.SIGKILL
    patient.shims.mend("sbatch")
    assert patient.queued() and not patient.jobs()
    patient.finish()
    assert patient.jobs()[0].adopted
    patient.assert_sound()


def test_02_killed_between_the_intent_and_sbatch(on: Put, pair: Cluster) -> None:
    """Nothing was submitted: it is looked up for adopt_after_s and then submitted, under the same name."""
    patient = on(pair)
    patient.begin(adopt_after_s=2.0)
    patient.shims.instead("sbatch", f'kill -9 "$(cat {patient.root}/looker)"; exit 1')
    assert patient.look_elsewhere() == -signal.SIGKILL
    patient.shims.mend("sbatch")
    assert not patient.queued()
    assert patient.look().state == "waiting" and patient.said("submitted or not is unknown")
    patient.finish()
    intents = [e.name for e in patient.journal(Intent) if e.kind == "train"]
    assert len(intents) == 2 and len(set(intents)) == 1 and not patient.jobs()[0].adopted
    patient.assert_sound()


# -- sbatch ----------------------------------------------------------------------------------------------------------


def test_02_sbatch_killed_while_it_retries(on: Put, small: Cluster) -> None:
    """A full controller has sbatch retry inside for two minutes; killed in there, it is looked up first."""
    patient = on(small)
    patient.begin(candidates=1, adopt_after_s=2.0)
    filler = ["timeout", "1", "sbatch", "--hold", "--output=/dev/null", "--wrap", "true"]
    while small.run(filler).returncode == 0:
        """Until there is no room."""
    patient.shims.instead("sbatch", f'timeout -s KILL 2 {patient.shims.real("sbatch")} "$@"; exit')
    assert patient.look().state == "waiting"
    assert patient.said("may have submitted") and patient.said("temporarily unable to accept job")
    assert [e.event for e in patient.journal(Intent, Submitted, Refused)] == ["intent"]
    patient.shims.mend("sbatch")
    small.drain()
    small.wait_for(lambda: not small.run(["squeue", "-h", "-t", "all"], check=True).stdout)
    patient.finish()
    patient.assert_sound()


# -- a node ----------------------------------------------------------------------------------------------------------


def test_28_a_node_that_dies_costs_nothing_and_is_avoided(on: Put, pair: Cluster) -> None:
    patient = on(pair)
    patient.begin()
    patient.shut()
    patient.look()
    patient.wait(lambda: len(patient.trained) == 2, "a row on each node")
    row = patient.row_on("n2")
    try:
        pair.lose("n2")
        patient.open()
        patient.look_until(patient.ends, "the node's end is noticed")
        patient.finish()
    finally:
        pair.restart("slurmd-n2")
    [wave] = patient.journal(Wave)
    assert [(group.rows, group.exclude) for group in wave.groups] == [((row,), ("n2",))]
    patient.assert_sound(ends=[(row, 1, "node_fail")])


@full
def test_28_a_training_that_outlives_its_slurmd_gives_way(on: Put, pair: Cluster) -> None:
    """slurmd alone dies: SLURM says NODE_FAIL, yet the trainer is there, and nothing can reach it.

    It sees the newer attempt within trainers.train_row.GIVE_WAY_S and ends without a result.
    """
    patient = on(pair)
    patient.begin()
    patient.shut()
    patient.look()
    patient.wait(lambda: len(patient.trained) == 2, "a row on each node")
    row = patient.row_on("n2")
    try:
        pair.kill("slurmd-n2")
        patient.shut(f"c0{row}")
        patient.open("shut")
        patient.look_until(lambda: len(patient.trained) == 3, "the row is started again on the other node")
        patient.look_until(patient.markers, "the older training gives way")
        patient.open()
        patient.finish()
    finally:
        pair.restart("slurmd-n2")
    assert patient.ends() == [(row, 1, "node_fail")]
    patient.assert_sound(ends=[(row, 1, "node_fail")], beside=True)
