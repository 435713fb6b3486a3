"""slurmctld, slurmdbd and MariaDB frozen, stopped and killed under a study: it goes on, and trains each row once.

The numbers are the lines of the requirement list: 2 exactly once, 3 claims, 20 missing is not done, 24 queries.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest

from agent.store.events import Intent
from tests.cluster.cluster import Cluster
from tests.cluster.config import ClusterConfig
from tests.cluster.fixtures import require_cluster
from tests.faults.case_daemons import FULL, Patient, full

pytestmark = pytest.mark.cluster

Put = Callable[[Cluster], Patient]


@pytest.fixture(scope="module")
def brittle() -> Iterator[Cluster]:
    """A cluster of its own, so that what is broken here breaks no other test.

    MessageTimeout (10 s by default) is how long SLURM's programs wait for a controller that does not answer.
    """
    config = ClusterConfig(extra_slurm_conf=("MessageTimeout=3",))
    require_cluster(config)
    with Cluster(config) as cluster:
        yield cluster


# -- a submission that nobody knows the fate of ----------------------------------------------------------------------


def test_02_a_controller_frozen_during_sbatch_runs_the_job_later(on: Put, brittle: Cluster) -> None:
    """sbatch says that it timed out, yet the controller takes the job once it goes on: it is adopted."""
    patient = on(brittle)
    patient.begin()
    patient.shims.instead("sbatch", f"kill -STOP {patient.pid('slurmctld')}")
    assert patient.look().state == "waiting"
    assert patient.said("Socket timed out") and not patient.jobs()
    assert patient.look().state == "waiting" and patient.said("the scheduler does not answer")
    patient.shims.mend("sbatch")
    brittle.resume("slurmctld")
    patient.finish()
    assert patient.jobs()[0].adopted
    patient.assert_sound()


def test_02_a_job_that_arrives_long_after_the_wait_for_it_is_over(on: Put, brittle: Cluster) -> None:
    """An outage longer than adopt_after_s: the first answer does not know the job, which may still be on its way."""
    patient = on(brittle)
    patient.begin()
    arrives = patient.root / "arrives"
    sbatch = (
        f'( while [ ! -e {arrives} ]; do sleep 0.1; done; {patient.shims.real("sbatch")} "$@" ) >/dev/null 2>&1 &'
    )
    patient.shims.instead("sbatch", f"{sbatch}\necho 'Socket timed out on send/recv operation' >&2; exit 1")
    patient.look()
    patient.shims.mend("sbatch")
    age_journal(patient, timedelta(hours=1))
    assert patient.look().state == "waiting" and patient.said("submitted or not is unknown")
    arrives.touch()
    patient.finish()
    assert len(patient.journal(Intent)) == 2 and patient.jobs()[0].adopted
    patient.assert_sound()


def age_journal(patient: Patient, by: timedelta) -> None:
    """As if everything so far had happened earlier."""
    path = patient.folder / "journal.jsonl"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    moved = [e | {"at": (datetime.fromisoformat(e["at"]) - by).isoformat()} for e in entries]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in moved))


def test_03_of_two_jobs_under_one_name_neither_trains_a_row_beside_the_other(on: Put, brittle: Cluster) -> None:
    """The journal knows the second of the twins, whose task finds the row taken and ends well without a result."""
    patient = on(brittle)
    patient.begin(candidates=1)
    patient.shut()
    first = f'{patient.shims.real("sbatch")} "$@" >/dev/null'
    patient.shims.instead("sbatch", f"{first}; while [ ! -e {patient.root}/trained.log ]; do sleep 0.1; done")
    patient.look()
    patient.shims.mend("sbatch")
    [made] = patient.jobs()
    patient.wait(lambda: patient.state_of(made.job_id) == "COMPLETED", "the second twin's end")
    for _ in range(5):
        # Its grace period passes; the first twin trains.
        assert patient.look().state == "waiting"
        patient.pause(0.3)
    patient.open()
    patient.finish()
    patient.assert_sound(twins=True)


# -- daemons stopped and restarted, in every phase -------------------------------------------------------------------

DAEMONS = ("slurmctld", "slurmdbd", "mariadbd")
PHASES = ("before submission", "pending", "running", "ended in it", "ended before it")
#: One of each daemon, and the controller's in the phases that differ most.
SOME = [
    ("slurmctld", "running"),
    ("slurmctld", "ended before it"),
    ("slurmdbd", "ended in it"),
    ("slurmdbd", "ended before it"),
    ("mariadbd", "ended in it"),
]


@pytest.mark.parametrize(
    ("daemon", "phase"), [(daemon, phase) for daemon in DAEMONS for phase in PHASES] if FULL else SOME
)
def test_20_a_daemon_stopped_and_restarted(on: Put, brittle: Cluster, daemon: str, phase: str) -> None:
    patient = on(brittle)
    patient.begin()
    outage(patient, phase, lambda: brittle.halt(daemon), lambda: brittle.restart(daemon))
    patient.assert_sound()


@full
@pytest.mark.parametrize("phase", ["running", "ended in it"])
def test_20_a_controller_that_crashed(on: Put, brittle: Cluster, phase: str) -> None:
    """Killed, not stopped: it comes back with what it had saved."""
    patient = on(brittle)
    patient.begin()

    def crash() -> None:
        # A start that it had not saved would be repeated beside itself; SLURM then drains the node (doc/log.md).
        [evaluation] = patient.jobs("eval")
        brittle.save_state(evaluation.job_id)
        brittle.kill("slurmctld")

    outage(patient, phase, crash, lambda: brittle.restart("slurmctld"))
    patient.assert_sound()


def outage(patient: Patient, phase: str, begin: Callable[[], None], end: Callable[[], None]) -> None:
    """Bring the study's first round into a phase, break something, look, mend it, and go on to the round's end."""
    cluster = patient.cluster
    if phase == "pending":
        cluster.run(["scontrol", "update", "PartitionName=main", "State=DOWN"], check=True)
    patient.shut()
    if phase != "before submission":
        patient.look()
    if phase not in ("before submission", "pending"):
        patient.wait(lambda: len(patient.trained) == 2, "both rows train")
    if phase == "ended before it":
        patient.open()
        patient.wait(lambda: not patient.queued(), "the round's jobs have ended")
    begin()
    assert patient.look().state in ("waiting", "finished")
    if phase == "ended in it":
        # The rows end while nobody is there to hear it.
        patient.open()
        patient.wait(lambda: len(patient.results()) == 2, "both results")
        assert patient.look().state in ("waiting", "finished")
    end()
    if phase == "pending":
        cluster.run(["scontrol", "update", "PartitionName=main", "State=UP"], check=True)
    patient.open()
    patient.finish()
