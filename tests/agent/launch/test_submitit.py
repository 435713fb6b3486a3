"""The submitit launcher: the parameters that it hands on, and the arrays that it adopts."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from submitit.core.utils import DelayedSubmission

from agent.launch.base import Batch, SlurmSettings
from agent.launch.scheduler import SlurmReader
from agent.launch.submitit import SubmititLauncher, slurm_parameters
from tests.cases.fake_slurm import FakeSlurm
from tests.cases.launcher_case import Round


@pytest.fixture
def round(tmp_path: Path) -> Round:
    return Round(tmp_path / "round_1", SlurmSettings())


SETTINGS = SlurmSettings(
    directives=(
        ("partition", "gpu"),
        ("nodes", "1"),
        ("ntasks", "1"),
        ("cpus-per-task", "4"),
        ("gres", "gpu:1"),
        ("mem", "8G"),
        ("time", "1-02:30:00"),
        ("wckey", "project"),
        ("exclusive", None),
        ("no-requeue", None),
        ("open-mode", "append"),
        ("signal", "B:USR2@120"),
    )
)


@pytest.mark.parametrize("n", [1, 3])
def test_no_directive_stands_twice(round: Round, tmp_path: Path, n: int) -> None:
    slurm = FakeSlurm(tmp_path / "bin")
    slurm.answer("sbatch", "Submitted batch job 123\n")
    launcher = SubmititLauncher(environment=slurm.environment(LC_ALL="C.UTF-8", SLURM_JOB_ID="5"))
    batch = replace(round.batch("params", range(n)), settings=SETTINGS, parallel=2)
    submission = launcher.submit(batch)
    assert submission.tasks == (("123",) if n == 1 else ("123_0", "123_1", "123_2"))
    assert submission.job_id == "123"
    script = (round.root / "launch" / batch.name / "123_submission.sh").read_text()
    lines = re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", script, flags=re.MULTILINE)
    written = dict(lines)
    assert len(written) == len(lines), script
    for name, value in SETTINGS.directives:
        assert written[name] == ("USR2@120" if name == "signal" else value or "")
    assert written["job-name"] == batch.name and written["export"] == "ALL"
    assert written.get("array") == (None if n == 1 else "0-2%2")
    assert "export SLURM_EXPORT_ENV=ALL" in script and "--cpus-per-task=4" in script.splitlines()[-1]
    assert "SLURM_JOB_ID" not in slurm.environments("sbatch")[0]


def test_submitit_brings_no_limits_of_its_own(round: Round, tmp_path: Path) -> None:
    """Its defaults are 5 minutes and a wckey that a cluster may refuse."""
    slurm = FakeSlurm(tmp_path / "bin")
    slurm.answer("sbatch", "Submitted batch job 123\n")
    batch = round.batch("plain", range(2))
    SubmititLauncher(environment=slurm.environment()).submit(batch)
    script = (round.root / "launch" / batch.name / "123_submission.sh").read_text()
    assert "--time" not in script and "--wckey" not in script and "--no-requeue" in script


def test_an_adopted_array_is_completed(round: Round, tmp_path: Path) -> None:
    """Killed between sbatch and submitit's last step, its tasks would wait for pickles in vain."""
    slurm = FakeSlurm(tmp_path / "bin")
    batch = round.batch("adopt", [4, 6])
    slurm.answer("squeue", f"55_0|RUNNING|2031-02-03T04:05:06|0:01|n1|None|{batch.name}\n")
    launcher = SubmititLauncher(environment=slurm.environment())
    found = launcher.find(batch)
    assert found is not None and found.tasks == ("55_0", "55_1")
    folder = round.root / "launch" / batch.name
    for task, item in (("55_0", "4"), ("55_1", "6")):
        delayed = DelayedSubmission.load(folder / f"{task}_submitted.pkl")
        assert delayed.args == (item, "1")
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert launcher.find(batch) == found
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before

    (folder / "55_1_submitted.pkl").unlink()
    said: list[str] = []
    reader = SlurmReader(environment=slurm.environment(), say=said.append)
    slow = SubmititLauncher(reader, environment=slurm.environment(), submit_timeout_s=0.01)
    assert slow.find(batch) == found
    assert "need a retry" in said[-1]


def test_the_dependency_is_on_all_that_went_before(round: Round) -> None:
    from agent.launch.base import Submission

    def before(job: str) -> Submission:
        return Submission(launcher="submitit", name=job, job_id=job, items=(0,), tasks=(job,))

    batch: Batch = round.batch("after", [0], after=(before("20"), before("3")))
    assert slurm_parameters(batch)["additional_parameters"]["dependency"] == "afterany:3:20"
