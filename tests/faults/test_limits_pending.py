"""Rows that wait for somebody, nodes that cannot launch them: told in `status` with a remedy, which then works."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.__main__ import main
from agent.api import Study, tick_once
from agent.errors import LaunchError
from agent.store.events import AttemptEnded, Submitted, Wave
from tests.agent.orchestrator.conftest import Lab
from tests.cluster.cluster import Cluster
from tests.cluster.config import ClusterConfig
from tests.cluster.fixtures import require_cluster
from tests.faults.case_limits import assert_sound, ends, hurry, profile
from tests.faults.case_limits import lab as lab

pytestmark = pytest.mark.cluster


class Prologs:
    """A Prolog that fails on the nodes that are named here: nothing is launched there, and the node is drained."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script = folder / "prolog.sh"
        self.script.write_text(f'#!/bin/sh\n[ ! -e "{folder}/broken-$SLURMD_NODENAME" ]\n')
        self.script.chmod(0o755)

    def break_(self, node: str) -> None:
        (self.folder / f"broken-{node}").touch()

    def mend(self, cluster: Cluster, node: str) -> None:
        (self.folder / f"broken-{node}").unlink(missing_ok=True)
        cluster.run(["scontrol", "update", f"nodename={node}", "state=resume"])


@pytest.fixture(scope="module")
def prologs(tmp_path_factory: pytest.TempPathFactory) -> Prologs:
    return Prologs(tmp_path_factory.mktemp("prologs"))


@pytest.fixture(scope="module")
def two(prologs: Prologs) -> Iterator[Cluster]:
    """Two nodes whose Prologs may fail."""
    config = ClusterConfig(nodes=2, extra_slurm_conf=(f"Prolog={prologs.script}",))
    require_cluster(config)
    with Cluster(config) as cluster, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(cluster.slurm_conf))
        yield cluster


@pytest.fixture(autouse=True)
def tidy(two: Cluster, prologs: Prologs) -> Iterator[None]:
    yield
    prologs.mend(two, "n1")
    two.drain()


def test_line_28_a_node_that_cannot_launch_is_left_for_another_and_nobody_cancelled(
    lab: Lab, two: Cluster, prologs: Prologs
) -> None:
    """SLURM cancels such tasks as root where they may not be requeued; only accounting tells, some seconds later."""
    hurry(lab, seeds=2, result_grace_s=8.0)
    prologs.break_("n1")
    outcome = lab.tune(launcher="sbatch", profile=profile(lab), seeds=(0, 1), poll_s=0.5)
    assert outcome.closed == 1
    assert ends(lab) == [(0, 1, "launch_fail"), (1, 1, "launch_fail")]
    assert {entry.node for entry in lab.store().journal.of(AttemptEnded)} == {"n1"}
    [wave] = lab.store().journal.of(Wave)
    assert [group.exclude for group in wave.groups] == [("n1",)]
    assert_sound(lab, two)


def test_line_27_rows_that_wait_for_somebody_are_told_with_what_to_do_and_that_helps(
    lab: Lab, two: Cluster, prologs: Prologs, capsys: pytest.CaptureFixture[str]
) -> None:
    hurry(lab, seeds=4, launcher="sbatch", auto_train=True, poll_s=0.3)
    profile(lab, extra={"begin": "now+1hour"}, nodelist="n1").rename(lab.root / "demo" / "profile.yaml")
    tick_once(lab.store())
    job = next(lab.store().journal.of(Submitted)).job_id
    failed = two.run(["sbatch", "--parsable", "--output=/dev/null", "--wrap", "false"], check=True).stdout.strip()
    two.wait_for(lambda: "FAILED" in two.run(["squeue", "-h", "-t", "all", "-j", failed, "-o", "%T"]).stdout)
    prologs.break_("n1")
    two.run(["scontrol", "uhold", f"{job}_0"], check=True)
    dead = [f"JobId={job}_1", f"Dependency=afterok:{failed}", "StartTime=now"]
    two.run(["scontrol", "update", *dead], check=True)
    two.run(["scontrol", "update", f"JobId={job}_2", "Requeue=1", "StartTime=now"], check=True)
    expected = {
        "JobHeldUser": "scontrol release",
        "DependencyNeverSatisfied": "roundtable retry",
        "launch failed requeued held": "scontrol release",
        "BeginTime": "earliest start",
    }

    def told() -> bool:
        tick_once(lab.store())
        main(["status", "--study", str(lab.root / "demo")])
        shown = capsys.readouterr().out
        words = " ".join(shown.split())
        return all(reason in words and remedy in words for reason, remedy in expected.items())

    two.wait_for(told, 60, interval=0.5)
    # What was told, done.
    prologs.mend(two, "n1")
    two.run(["scontrol", "release", f"{job}_0", f"{job}_2"], check=True)
    [evaluation] = [e.job_id for e in lab.store().journal.of(Submitted) if e.kind == "eval"]
    for waiting in (f"{job}_0", f"{job}_2", f"{job}_3", evaluation):
        two.run(["scontrol", "update", f"JobId={waiting}", "StartTime=now"], check=True)
    study = ["--study", str(lab.root / "demo"), "--rows", "1"]
    profile(lab, extra={"begin": "now"}).rename(lab.root / "demo" / "profile.yaml")
    assert main(["cancel", *study, "--yes"]) == 0
    two.wait_for(lambda: main(["retry", *study]) == 0, 30, interval=0.5)
    two.wait_for(lambda: tick_once(lab.store()).state == "finished", 90, interval=0.3)
    assert [str(seen.outcome) for seen in Study(lab.root / "demo").history] == ["ok"]
    assert sorted(lab.trained) == [f"1 c00 0 {seed}" for seed in range(4)]
    assert_sound(lab, two)


def test_line_34_an_impossible_number_of_gpus_is_refused_with_the_remedy_and_mended(lab: Lab, two: Cluster) -> None:
    hurry(lab)
    with pytest.raises(LaunchError, match=r"(?s)Requested node configuration is not available.*ask for less"):
        lab.tune(launcher="sbatch", profile=profile(lab, gpus=9, partition="gpu"), poll_s=0.3)
    assert not list(lab.store().journal.of(Submitted))
    assert lab.tune(launcher="sbatch", profile=profile(lab, gpus=1, partition="gpu"), poll_s=0.3).closed == 1
    for path in (lab.root / "demo").glob("round_1_*/trials/*/attempt_1/result.json"):
        assert json.loads(path.read_text())["gpus"] == {"asked": 1, "visible": 1, "granted": 1}
    log = next((lab.root / "demo").glob("round_1_*/logs/*train*.log")).read_text()
    assert "GPUs: 1 asked for, 1 given by SLURM, 1 visible (CUDA_VISIBLE_DEVICES=" in log
    assert_sound(lab, two)
