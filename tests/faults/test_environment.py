"""What surrounds the orchestrator: variables of jobs, environments and pythons, a job of its own, odd folders."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from agent.api import Study
from agent.store.events import Submitted
from tests.agent.orchestrator.conftest import NOOP, Lab
from tests.cluster.cluster import Cluster
from tests.faults.case_limits import Notes, assert_sound, full_size, note_trainer, notes_of, profile
from tests.faults.case_limits import drained as drained
from tests.faults.case_limits import lab as lab

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]

#: What a surrounding job, session, environment or careless .bashrc may have set. Any of it that reached a submission
#: or a task would change where, how long, how often or with which modules a row is trained. Its jobs have higher
#: numbers than the test cluster's own will ever have.
HOSTILE = {
    "SBATCH_ACCOUNT": "nobody",
    "SBATCH_ARRAY_INX": "0-7",
    "SBATCH_CONSTRAINT": "nowhere",
    "SBATCH_EXCLUSIVE": "user",
    "SBATCH_EXPORT": "NONE",
    "SBATCH_JOB_NAME": "foreign",
    "SBATCH_PARTITION": "gpu",
    "SBATCH_QOS": "nobody",
    "SBATCH_REQUEUE": "1",
    "SBATCH_TIMELIMIT": "0:01",
    "SBATCH_WAIT": "1",
    "SLURM_ARRAY_JOB_ID": "4000041",
    "SLURM_ARRAY_TASK_ID": "42",
    "SLURM_CPU_BIND": "quiet,mask_cpu:0x00000001",
    "SLURM_CPU_BIND_TYPE": "mask_cpu:",
    "SLURM_EXPORT_ENV": "NONE",
    "SLURM_JOB_ID": "4000041",
    "SLURM_MEM_PER_CPU": "1",
    "SLURM_NTASKS": "17",
    "SLURM_RESTART_COUNT": "7",
    "SLURM_TIME_FORMAT": "relative",
    "SQUEUE_FORMAT": "%A",
    "SQUEUE_STATES": "SUSPENDED",
    "SACCT_FORMAT": "JobID",
    "SCANCEL_STATE": "PENDING",
    "SUBMITIT_EXECUTOR": "local",
    "PMI_RANK": "3",
    "XDG_RUNTIME_DIR": "/nowhere/run",
    "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere/bus",
    "VIRTUAL_ENV": "/nowhere/venv",
    "CONDA_PREFIX": "/nowhere/conda",
    "CONDA_DEFAULT_ENV": "nowhere",
}
#: Meant for the shell and python of the person: in a task they may stand, but not act.
PERSONAL = {"CDPATH": "/:/tmp", "POSIXLY_CORRECT": "1"}


def command(lab: Lab, launcher: str, *more: str, trainer: Path = NOOP) -> list[str]:
    argv = ["tune", "--task", "demo", "--trainer", str(trainer), "--output-dir", str(lab.root), "--auto-train"]
    argv += ["--launcher", launcher, "--confirm", "never", "--data", f"log={lab.log}", "--quiet", *more]
    return argv if launcher == "local" else [*argv, "--profile", str(profile(lab)), "--poll", "0.3"]


def run_in_a_job(cluster: Cluster, lab: Lab, argv: list[str]) -> None:
    """Run this as an array job of two CPUs, to a good end."""
    script, code = lab.root / "outer.sh", lab.root / "code"
    script.write_text(f'#!/bin/bash\n"$@"\necho $? >"{code}.new" && mv "{code}.new" "{code}"\n')
    outer = ["sbatch", "--array=5", "--cpus-per-task=2", "--mem-per-cpu=50", f"--output={lab.root}/outer.log"]
    cluster.run([*outer, str(script), *argv], cwd=ROOT, check=True)
    cluster.wait_for(code.exists, 120)
    assert code.read_text() == "0\n", (lab.root / "outer.log").read_text()


def leaked(notes: Notes, hostile: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in hostile.items() if notes.environment.get(name) == text}


@pytest.mark.parametrize("launcher", ["sbatch", "submitit", pytest.param("local", marks=full_size)])
def test_line_05_a_hostile_environment_inside_another_job_changes_nothing(
    lab: Lab, drained: Cluster, launcher: str
) -> None:
    """The orchestrator runs in an array job of two CPUs, whose own variables are joined by foreign ones."""
    shadow = lab.root / "shadow"
    shadow.mkdir()
    for name in ("trainers", "torch"):
        (shadow / f"{name}.py").write_text(f"raise ImportError('the shadow of {name} was imported')\n")
    trainer = note_trainer(lab.root / "trainer", ("one", "two"))
    hostile = HOSTILE | {"PYTHONPATH": str(shadow)}
    if launcher != "submitit":
        # submitit's tasks begin with this very python, which could not have come so far itself.
        hostile["PYTHONHOME"] = "/nowhere/python"
    argv = [sys.executable, "-m", "tests.faults.surrounded", json.dumps(hostile | PERSONAL)]
    argv += command(lab, launcher, "--candidates", "2", trainer=trainer)
    run_in_a_job(drained, lab, argv)
    [paths] = lab.store().closed()
    found = notes_of(paths)
    assert {notes.environment["RT_VALUE"] for notes in found.values()} == {"one", "two"}
    for notes in found.values():
        assert leaked(notes, hostile) == {}
        # Neither the shell's nor the one by which the task itself found Roundtable.
        assert not {"PYTHONPATH", "PYTHONHOME"} & set(notes.environment)
        assert not [name for name in notes.environment if name.startswith(("SBATCH_", "SQUEUE_", "CONDA_", "PMI"))]
        inside = {name: text for name, text in notes.environment.items() if name.startswith("SLURM_")}
        if launcher == "local":
            assert set(inside) <= {"SLURM_CONF"}
        else:
            assert inside["SLURM_CPUS_PER_TASK"] == "1" and "SLURM_CPU_BIND" not in inside
    assert_sound(lab, drained)
    assert sorted(lab.trained) == ["1 c00 0 0", "1 c01 0 0"]
    if launcher != "local":
        _as_the_profile_says(lab, drained)


def _as_the_profile_says(lab: Lab, cluster: Cluster) -> None:
    """Partition, time limit, name and number of tasks are the profile's and ours."""
    for entry in lab.store().journal.of(Submitted):
        fields = "--format=JobID,Partition,Timelimit,JobName,Account,QOS"
        argv = ["sacct", "-n", "-P", "-X", "-j", entry.job_id, fields]
        expected = {(task, "main", "00:10:00", entry.name, "root", "normal") for task in entry.tasks}

        def rows(argv: list[str] = argv) -> set[tuple[str, ...]]:
            return {tuple(line.split("|")) for line in cluster.run(argv, check=True).stdout.splitlines()}

        cluster.wait_for(lambda expected=expected, rows=rows: rows() == expected, 60)  # type: ignore[misc]


#: Runs the Roundtable of a folder that is not on sys.path.
RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from agent.__main__ import main; sys.exit(main())"


def run_copy(checkout: Path, folder: Path, argv: list[str]) -> subprocess.CompletedProcess[str]:
    """`roundtable ARGV`, called in `folder`, of a copy of Roundtable that is made in `checkout`."""
    for name in ("agent", "trainers", "templates", "doc"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", checkout)
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    folder.mkdir(exist_ok=True)
    argv = [sys.executable, "-P", "-c", RUN, str(checkout), *argv]
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_line_09_a_checkout_and_a_folder_with_odd_names(lab: Lab, drained: Cluster) -> None:
    """Roundtable itself lies in a folder with spaces, quotes, Unicode and a %, and is called from another odd one."""
    odd = lab.root / 'a "checkout" of $(touch pwned) it\'s ünï 値 100%'
    trainer = note_trainer(lab.root / "trainer", ("one", "two"))
    argv = command(lab, "sbatch", "--candidates", "2", trainer=trainer)
    done = run_copy(odd, lab.root / "called from `touch pwned`", argv)
    assert done.returncode == 0, done.stderr
    [paths] = lab.store().closed()
    assert f"export PYTHONPATH={shlex.quote(str(odd))}" in paths.script("train").read_text()
    assert notes_of(paths)
    assert [str(seen.outcome) for seen in Study(lab.root / "demo").history] == ["ok", "ok"]
    assert not list(lab.root.rglob("pwned"))
    assert_sound(lab, drained)


def test_line_09_a_checkout_that_no_pythonpath_can_name_is_refused(lab: Lab) -> None:
    done = run_copy(lab.root / "check:out", lab.root, command(lab, "local"))
    assert done.returncode == 2 and "holds a colon" in done.stderr and "Traceback" not in done.stderr
    assert not lab.trained
