"""Line 33: studies driven by controller jobs of a real SLURM, killed, stopped, started twice."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from agent.api import successor
from agent.api.begin import begin
from agent.api.control import StartOptions, start, stop
from agent.errors import StudyBusy, UsageError
from agent.store import control
from agent.store.events import (
    ControllerBegan,
    ControllerEnded,
    ControllerIntent,
    ControllerSubmitted,
    Event,
    Started,
    StopRequested,
)
from agent.store.store import Store
from agent.store.study import Settings
from tests.agent.orchestrator.conftest import NOOP, Lab, wait_for
from tests.agent.orchestrator.test_rounds import edit
from tests.cluster.cluster import Cluster

E = TypeVar("E", bound=Event)

pytestmark = pytest.mark.cluster


@pytest.fixture
def study(lab: Lab, slurm: Cluster) -> Any:
    """A study before its first of many rounds, whose controllers live for long; its jobs are cancelled afterwards."""
    yield from before_first_round(lab, slurm)


@pytest.fixture
def gated(lab: Lab, slurm: Cluster) -> Any:
    """The same, of trainings that last until `shut` is gone from the lab's folder."""
    yield from before_first_round(
        lab, slurm, trainer=str(NOOP.with_name("gated.yaml")), data={"folder": str(lab.root)}
    )


def before_first_round(lab: Lab, slurm: Cluster, **options: Any) -> Iterator[Path]:
    store = begin(lab.options(**options))
    give_time(store.paths.root, "00:10:00")
    store.put_settings(Settings(launcher="sbatch", confirm="never", poll_s=0.5, result_grace_s=0.5, target_round=99))
    yield store.paths.root
    control.request_stop(store)
    slurm.drain()


def give_time(root: Path, limit: str) -> None:
    """What a controller job may take; it ends a sixth earlier. SLURM itself counts in minutes."""
    text = f'partition: main\ncpus: 1\ntime: "00:10:00"\ncontroller: {{time: "{limit}"}}\n'
    (root / "profile.yaml").write_text(text)


def slurm_start(root: Path, lines: list[str], **changes: Any) -> None:
    assert start(root, StartOptions(controller="slurm", **changes), say=lines.append) is None


def events(root: Path, *kinds: type[E]) -> list[E]:
    return list(Store.open(root).journal.of(*kinds))


def generations(
    root: Path, kind: type[ControllerIntent] | type[ControllerSubmitted] | type[ControllerBegan]
) -> list[int]:
    return [event.generation for event in Store.open(root).journal.of(kind)]


def ended_for_good(root: Path) -> bool:
    return any(entry.final for entry in events(root, ControllerEnded))


def log(root: Path) -> str:
    path = root / "controller.log"
    return path.read_text() if path.exists() else "no controller.log"


def assert_one_job_a_generation(slurm: Cluster, root: Path) -> None:
    submitted = generations(root, ControllerSubmitted)
    assert submitted == sorted(set(submitted)), log(root)
    names = [entry.name for entry in events(root, ControllerSubmitted)]
    # The queue remembers ended jobs for MinJobAge; accounting does not show what waits for a dependency.
    known = slurm.run(["squeue", "-h", "-t", "all", "-o", "%j"], check=True).stdout.split()
    assert Counter(name for name in known if name in names) == dict.fromkeys(names, 1)


def assert_each_row_trained_once(lab: Lab) -> None:
    assert len(lab.trained) == len(set(lab.trained)) > 0


def test_line_33_three_rounds_are_driven_by_a_chain_of_controller_jobs(study: Path, lab: Lab, slurm: Cluster) -> None:
    give_time(study, "00:00:03")
    edit(study / "hyperparameter_reference.json", "mode", "slow")
    slurm_start(study, lab.lines, candidates=2, max_iterations=3)
    wait_for(lambda: ended_for_good(study), 120)
    slurm.wait_for_jobs()
    store = Store.open(study)
    assert len(store.closed()) == 3 and len(lab.trained) == 6, log(study)
    assert_each_row_trained_once(lab)
    begun = generations(study, ControllerBegan)
    assert begun == list(range(1, len(begun) + 1)) and len(begun) >= 3, log(study)
    assert_one_job_a_generation(slurm, study)
    beat = control.heartbeat(store.paths.controller)
    assert beat is not None and beat["state"] == "ended" and beat["reason"].startswith("finished"), beat
    with pytest.raises(UsageError, match="give --max-iterations N, more than 3"):
        slurm_start(study, lab.lines)


def test_line_33_a_killed_controller_is_followed_by_its_successor(study: Path, lab: Lab, slurm: Cluster) -> None:
    slurm_start(study, lab.lines)
    wait_for(lambda: generations(study, ControllerSubmitted) == [1, 2], 60)
    beat = control.heartbeat(study / "controller.json")
    assert beat is not None
    os.kill(beat["pid"], signal.SIGKILL)
    wait_for(lambda: generations(study, ControllerBegan) == [1, 2], 60)
    closed = len(Store.open(study).closed())
    wait_for(lambda: len(Store.open(study).closed()) > closed, 60)
    assert_each_row_trained_once(lab)
    assert_one_job_a_generation(slurm, study)


def test_line_33_one_that_a_person_cancelled_stays_ended_until_start(study: Path, lab: Lab, slurm: Cluster) -> None:
    slurm_start(study, lab.lines)
    wait_for(lambda: generations(study, ControllerSubmitted) == [1, 2], 60)
    slurm.run(["scancel", events(study, ControllerSubmitted)[0].job_id], check=True)
    wait_for(lambda: "was cancelled" in log(study), 60)
    slurm.wait_for(lambda: slurm.run(["squeue", "-h", "-o", "%j"]).stdout.count("rt-ctl-") == 0)
    assert generations(study, ControllerBegan) == [1]
    slurm_start(study, lab.lines)
    wait_for(lambda: generations(study, ControllerBegan) == [1, 3], 60)
    assert_each_row_trained_once(lab)


def test_line_33_a_second_start_is_refused_and_told_who_runs(study: Path, lab: Lab, slurm: Cluster) -> None:
    slurm_start(study, lab.lines)
    job = events(study, ControllerSubmitted)[0].job_id
    for kind in ("slurm", "foreground", "cron"):
        with pytest.raises(StudyBusy, match=rf"driven already: SLURM job {job} \(generation 1"):
            start(study, StartOptions(controller=kind), say=lab.lines.append)
    assert generations(study, ControllerIntent)[0] == 1 and len(events(study, Started)) == 1


def test_line_33_the_stop_file_ends_the_chain_and_start_removes_it(study: Path, lab: Lab, slurm: Cluster) -> None:
    slurm_start(study, lab.lines)
    wait_for(lambda: generations(study, ControllerSubmitted) == [1, 2], 60)
    stop(study, now=False, say=lab.lines.append)
    wait_for(lambda: ended_for_good(study), 60)
    slurm.wait_for(lambda: slurm.run(["squeue", "-h", "-o", "%j"]).stdout.count("rt-ctl-") == 0)
    assert events(study, ControllerEnded)[-1].reason.startswith("stopped by ")
    assert generations(study, ControllerBegan) == [1]
    closed = len(Store.open(study).closed())
    slurm_start(study, lab.lines, max_iterations=closed + 1)
    assert not (study / "stop.json").exists()
    wait_for(lambda: len(Store.open(study).closed()) == closed + 1, 60)
    assert_each_row_trained_once(lab)


def test_line_33_stop_now_cancels_the_jobs(study: Path, lab: Lab, slurm: Cluster) -> None:
    slurm_start(study, lab.lines)
    stop(study, now=True, say=lab.lines.append)
    slurm.wait_for(lambda: slurm.run(["squeue", "-h", "-o", "%j"]).stdout.count("rt-ctl-") == 0)
    assert lab.said("cancelled") and len(events(study, StopRequested, ControllerEnded)) >= 1


def test_line_33_killed_between_sbatch_and_record_no_second_job_is_made(
    study: Path, lab: Lab, slurm: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(successor, "_record", killed)
        with pytest.raises(KeyboardInterrupt):
            slurm_start(study, lab.lines)
    with pytest.raises(StudyBusy, match="driven already: SLURM job"):
        slurm_start(study, lab.lines)
    wait_for(lambda: generations(study, ControllerBegan) == [1], 60)
    # Adopted by the second start, or by the job itself where it was quicker.
    assert events(study, ControllerSubmitted)[0].adopted
    assert_one_job_a_generation(slurm, study)


def test_line_33_a_job_submitted_once_too_often_ends_at_once(study: Path, lab: Lab, slurm: Cluster) -> None:
    slurm_start(study, lab.lines)
    first = events(study, ControllerSubmitted)[0]
    argv = ["sbatch", "-p", "main", f"--output={study}/twin.log", f"{study}/controller.slurm", "1"]
    slurm.run(argv, check=True)
    wait_for(lambda: (study / "twin.log").exists() and "once too often" in (study / "twin.log").read_text(), 60)
    wait_for(lambda: generations(study, ControllerBegan) == [1], 60)
    assert events(study, ControllerBegan)[0].job_id == first.job_id


def test_line_33_a_controller_outlives_a_scheduler_that_does_not_answer(
    gated: Path, lab: Lab, slurm: Cluster
) -> None:
    shut = lab.root / "shut"
    shut.touch()
    slurm_start(gated, lab.lines, max_iterations=1)
    wait_for(lambda: len(lab.trained) == 1 and generations(gated, ControllerSubmitted) == [1, 2], 60)
    # It would come back without jobs that it had not saved, and end the controller itself as unknown.
    slurm.save_state(events(gated, ControllerSubmitted)[-1].job_id)
    slurm.kill("slurmctld")
    try:
        wait_for(lambda: "Unable to contact slurm controller" in log(gated), 90)
    finally:
        slurm.restart("slurmctld")
    shut.unlink()
    wait_for(lambda: ended_for_good(gated), 90)
    assert generations(gated, ControllerBegan) == [1] and len(Store.open(gated).closed()) == 1, log(gated)
    assert_each_row_trained_once(lab)
