"""Several clusters under one SLURM: every call goes to the one that has the study's jobs.

The stand-ins know a job on the cluster `far` alone, as squeue, sacct and scancel do: asked without -M, they answer
for the cluster of slurm.conf and find nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.api import tune
from agent.errors import InvalidProfile, LaunchError, UsageError
from agent.launch.ask import Asker
from agent.launch.base import Batch, Launcher, LaunchSettings, State
from agent.launch.controller import ControllerJobs
from agent.launch.doctor.finding import Level
from agent.launch.doctor.machine import check_variables
from agent.launch.environment import CLUSTER_VARIABLES
from agent.launch.profile import Profile, load_profile
from agent.launch.sbatch import SbatchLauncher
from agent.launch.scheduler import Pace, SlurmReader
from agent.launch.select import make_launcher
from agent.launch.states import format_time
from agent.launch.submitit import SubmititLauncher
from agent.orchestrator.training.submissions import submissions
from tests.agent.orchestrator.conftest import Lab, lab
from tests.cases.fake_slurm import FakeSlurm
from tests.cluster.cluster import Cluster

__all__ = ["lab"]

NOW = 1_900_000_000.0
FAR = Profile(cluster="far")
PROGRAMS = ("squeue", "sacct", "scancel", "scontrol")

ONLY_FAR = """#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/{name}.said"
case " $* " in *" -M far "*) cat "$here/{name}.far" ;; esac
"""


@pytest.fixture
def fake(tmp_path: Path) -> FakeSlurm:
    fake = FakeSlurm(tmp_path / "bin")
    for name in PROGRAMS:
        (fake.folder / name).write_text(ONLY_FAR.format(name=name))
        (fake.folder / f"{name}.far").write_text("CLUSTER: far\n" if name == "squeue" else "")
    (fake.folder / "scontrol.far").write_text("MaxArraySize = 51\n")
    fake.answer("sbatch", "77;far\n")
    return fake


def said(fake: FakeSlurm, name: str) -> list[str]:
    path = fake.folder / f"{name}.said"
    return path.read_text().splitlines() if path.exists() else []


def queued(fake: FakeSlurm, name: str, job: str = "77") -> None:
    line = f"{job}_0|RUNNING|{format_time(NOW)}|0:07|n1|None|{name}\n"
    (fake.folder / "squeue.far").write_text(f"CLUSTER: far\n{line}")


def launcher_of(kind: type[Any], fake: FakeSlurm) -> Any:
    reader = SlurmReader(Pace(interval_s=0), environment=fake.environment(), clock=lambda: NOW, cluster="far")
    return kind(reader, environment=fake.environment(), clock=lambda: NOW)


def batch_of(tmp_path: Path, name: str = "train-x", items: tuple[int, ...] = (0,)) -> Batch:
    script = tmp_path / "round" / "train.sh"
    script.parent.mkdir(exist_ok=True)
    script.write_text("#!/bin/sh\n")
    return Batch(
        name=name,
        kind="train",
        round_dir=script.parent,
        script=script,
        array_script=script,
        items=items,
        settings=FAR.settings("train"),
    )


@pytest.mark.parametrize("kind", [SbatchLauncher, SubmititLauncher])
def test_every_call_names_the_cluster(tmp_path: Path, fake: FakeSlurm, kind: type[Launcher]) -> None:
    launcher, batch = launcher_of(kind, fake), batch_of(tmp_path)
    assert launcher.largest_index() == 50
    assert launcher.find(batch) is None
    queued(fake, "train-x")
    (tmp_path / "round" / "launch" / "train-x").mkdir(parents=True)
    (tmp_path / "round" / "launch" / "train-x" / "77_submitted.pkl").touch()
    found = launcher.find(batch)
    assert (found.job_id, found.cluster) == ("77", "far"), "else it would be submitted again"
    task = found.tasks[0]
    (fake.folder / "squeue.far").write_text("")
    times = f"{format_time(NOW + 9)}|{format_time(NOW)}"
    (fake.folder / "sacct.far").write_text(f"{task}|COMPLETED|0:0|00:00:09|{times}|n1|train-x\n")
    assert launcher.poll([found])["train-x", 0].state is State.GONE
    assert launcher.elapsed([found]) == {("train-x", 0): 9.0}
    launcher.cancel([found])
    launcher.cancel([found], items=[0])
    for name in PROGRAMS:
        assert said(fake, name)
        assert [line for line in said(fake, name) if "-M far" not in line] == []
    launcher.test_only(batch)
    assert "--clusters=far" in fake.calls("sbatch")[-1]


def test_what_a_refused_submission_left_is_withdrawn_from_its_cluster(tmp_path: Path, fake: FakeSlurm) -> None:
    refused = "sbatch: error: Batch job submission failed: Requested node configuration is not available\n"
    fake.answer("sbatch", err=refused, code=1)
    queued(fake, "train-x", job="78")
    with pytest.raises(LaunchError, match="SLURM kept job 78 all the same: cancelled"):
        launcher_of(SbatchLauncher, fake).submit(batch_of(tmp_path))
    assert said(fake, "scancel") == ["-M far 78"]


def test_the_submission_remembers_what_sbatch_says(tmp_path: Path, fake: FakeSlurm) -> None:
    made = launcher_of(SbatchLauncher, fake).submit(batch_of(tmp_path))
    assert (made.job_id, made.cluster) == ("77", "far")
    # Also where a site's wrapper swallows the cluster.
    fake.answer("sbatch", "77\n")
    assert launcher_of(SbatchLauncher, fake).submit(batch_of(tmp_path)).cluster == "far"


def test_a_controller_job_is_on_the_cluster_too(tmp_path: Path, fake: FakeSlurm) -> None:
    jobs = ControllerJobs(environment=fake.environment(), cluster="far")
    job = jobs.submit("ctl", tmp_path / "c.slurm", generation=1, log=tmp_path / "log", profile=FAR, after=None)
    assert "--clusters=far" in fake.calls("sbatch")[-1] and job.cluster == "far"
    queued(fake, "ctl")
    found = jobs.find("ctl")
    assert found is not None and found.cluster == "far"
    jobs.cancel(job)
    assert all(line.startswith("-M far") for name in ("squeue", "scancel") for line in said(fake, name))


@pytest.mark.parametrize("name", CLUSTER_VARIABLES)
def test_a_cluster_that_only_this_shell_names_is_refused(
    tmp_path: Path, lab: Lab, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("PATH", fake.environment()["PATH"])
    monkeypatch.setenv(name, "far")
    with pytest.raises(UsageError, match=rf"{name}=far.*`cluster: far` into the profile.*`unset SLURM_CLUSTERS"):
        make_launcher("sbatch")
    for asked in ({"launcher": "sbatch"}, {"launcher": "submitit"}, {"auto_train": False, "slurm": True}):
        with pytest.raises(UsageError, match=f"{name}=far"):
            tune(lab.options(**asked))
    assert not (lab.root / "demo").exists(), "nothing was begun"
    # The remedy.
    profile = tmp_path / "profile.yaml"
    profile.write_text("cluster: far\n")
    tune(lab.options(auto_train=False, slurm=True, profile=profile))
    assert "#SBATCH --clusters=far" in next((lab.root / "demo").glob("round_*/train_*.slurm")).read_text()
    assert make_launcher("sbatch", LaunchSettings(cluster="far")).largest_index() == 50
    assert name not in fake.environment()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("extra: {clusters: far}", "has a key of its own: cluster"),
        ("extra: {M: far}", "has a key of its own: cluster"),
        ("eval: {extra: {clusters: far}}", "has a key of its own: cluster"),
        ("controller: {extra: {clusters: far}}", "has a key of its own: cluster"),
        ("eval: {cluster: far}", "unknown key"),
        ("extra: {cluster-constraint: big}", "keeps to one cluster"),
        ("cluster: far,near", "the name of one cluster"),
        ("cluster: [far, near]", "the name of one cluster"),
        ("cluster: all", "the name of one cluster"),
        ("cluster: 'a b'", "the name of one cluster"),
    ],
)
def test_what_would_leave_the_cluster_open_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text(f"partition: main\n{text}\n")
    with pytest.raises(InvalidProfile, match=words):
        load_profile(path)


@pytest.mark.cluster
@pytest.mark.parametrize("launcher", ["submitit", "sbatch"])
def test_a_study_on_a_cluster_that_its_profile_names(lab: Lab, slurm: Cluster, launcher: str) -> None:
    """A real SLURM by its own name: every program takes -M, and what it prints then is understood."""
    profile = lab.root / "profile.yaml"
    profile.write_text('cluster: roundtable\npartition: main\ncpus: 1\ntime: "00:10:00"\n')
    lab.tune(launcher=launcher, profile=profile, candidates=2, poll_s=0.3)
    store = lab.store()
    (paths,) = store.closed()
    made = [one for kind in ("train", "eval") for _, one in submissions(store, paths, kind)]
    assert {one.cluster for one in made} == {"roundtable"}
    reader = SlurmReader(Pace(interval_s=0), cluster="roundtable")
    assert reader.find(made[0].name)[:2] == (made[0].job_id, "roundtable")  # type: ignore[index]
    slurm.wait_for(lambda: len(reader.elapsed(made)) == sum(len(one.items) for one in made))

    # Another cluster within a round is refused before anything is asked of it; what is in doubt stays where it is.
    paths.closed.unlink()
    profile.write_text("partition: main\n")
    with pytest.raises(UsageError, match=r"has jobs on cluster roundtable.*with `cluster: roundtable`"):
        lab.tune(launcher=launcher, profile=profile, candidates=2, poll_s=0.3)


def test_the_doctor_asks_the_profiles_cluster_and_names_the_shells(fake: FakeSlurm) -> None:
    asker = Asker(fake.environment()).on("far")
    asker.ask("scontrol", "ping")
    asker.ask("sinfo", "--version")
    assert said(fake, "scontrol") == ["-M far ping"]
    shell = {"SBATCH_CLUSTERS": "far"}
    (finding,) = [f for f in check_variables(shell, slurm=True) if f.level is Level.PROBLEM]
    assert finding.change.startswith("Put `cluster: far` into the profile")
    assert all(f.level is Level.OK for f in check_variables(shell, slurm=True, cluster="near"))
