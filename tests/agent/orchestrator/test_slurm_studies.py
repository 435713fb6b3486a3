"""Whole studies on a real SLURM: through both launchers, by hand, and with a row that fails."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from agent.api import Study
from agent.api.begin import begin
from agent.errors import MissingResults
from agent.orchestrator.training.submissions import submissions
from agent.report.overview import overview
from agent.store.study import Settings
from tests.agent.orchestrator.conftest import Lab
from tests.agent.orchestrator.test_rounds import edit, round_folder
from tests.cluster.cluster import Cluster

pytestmark = pytest.mark.cluster


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "profile.yaml"
    path.write_text('partition: main\ncpus: 1\ntime: "00:10:00"\n')
    return path


def states(slurm: Cluster, job: str) -> dict[str, tuple[str, str]]:
    """JobID -> (state, job name), as sacct has it for the array's tasks."""
    done = slurm.run(["sacct", "-n", "-P", "-X", "-j", job, "--format=JobID,State,JobName"], check=True)
    rows = [line.split("|") for line in done.stdout.splitlines()]
    return {job_id: (state, name) for job_id, state, name in rows}


@pytest.mark.parametrize("launcher", ["submitit", "sbatch"])
def test_two_rounds_in_one_throttled_array_each(lab: Lab, slurm: Cluster, profile: Path, launcher: str) -> None:
    outcome = lab.tune(
        launcher=launcher, profile=profile, max_rounds=2, candidates=4, seeds=(0, 1), parallel=3, poll_s=0.3
    )
    assert outcome.closed == 2
    assert len(lab.trained) == len(set(lab.trained)) == 2 * 4 * 2
    store = lab.store()
    for paths in store.closed():
        train = submissions(store, paths, "train")
        evaluation = submissions(store, paths, "eval")
        assert len(train) == len(evaluation) == 1
        (_, array), (_, folded) = train[0], evaluation[0]
        expected = {f"{array.job_id}_{i}": ("COMPLETED", array.name) for i in range(8)}
        slurm.wait_for(lambda array=array, expected=expected: states(slurm, array.job_id) == expected, timeout=20)
        names = {name for _, name in states(slurm, folded.job_id).values()}
        assert names == {folded.name}
        script = (paths.root / f"train_demo_round{paths.number}.slurm").read_text()
        assert "#SBATCH --array=0-7%3" in script
    view = overview(store)
    assert [c["outcomes"] for r in view["rounds"] for c in r["candidates"]] == [{"ok": 2}] * 8


def test_a_failed_row_is_an_outcome_and_the_others_count(lab: Lab, slurm: Cluster, profile: Path) -> None:
    store = begin(lab.options())
    edit(store.paths.reference, "mode", "bad")
    outcome = lab.tune(launcher="sbatch", profile=profile, candidates=2, poll_s=0.3)
    assert outcome.closed == 1
    history = Study(store.paths.root).history
    assert [str(o.outcome) for o in history] == ["bad_config", "bad_config"] and Study(store.paths.root).best is None
    _, array = submissions(lab.store(), lab.store().closed()[0], "train")[0]
    slurm.wait_for(lambda: {s for s, _ in states(slurm, array.job_id).values()} == {"FAILED"}, timeout=20)


def test_the_printed_lines_work_by_hand(lab: Lab, slurm: Cluster, profile: Path) -> None:
    outcome = lab.tune(auto_train=False, slurm=True, profile=profile, candidates=2, seeds=(0, 1), parallel=2)
    assert outcome.state == "rendered"
    with pytest.raises(MissingResults, match="c01_f0_s1 has no result"):
        lab.tune(auto_train=False, slurm=True, candidates=2)
    # Pasted as they stand.
    command = "\n".join(outcome.commands)
    done = subprocess.run(["bash", "-eu", "-c", command], capture_output=True, text=True, env=slurm.environment())
    assert re.fullmatch(r"Submitted batch job (\d+)\n", done.stdout) is not None, done.stderr
    slurm.wait_for_jobs()
    second = lab.tune(auto_train=False, slurm=True, candidates=2)
    assert (second.opened, second.closed) == (1, 1)
    assert sorted(lab.trained) == ["1 c00 0 0", "1 c00 0 1", "1 c01 0 0", "1 c01 0 1"]


def test_rows_that_left_nothing_are_started_again(lab: Lab, slurm: Cluster, profile: Path) -> None:
    """A set-up line that fails once per row stands for a node that loses its tasks."""
    marks = lab.root / "marks"
    marks.mkdir()
    line = f'mkdir "{marks}/${{SLURM_ARRAY_TASK_ID:-x}}" 2>/dev/null && exit 1 || true'
    profile.write_text(f"{profile.read_text()}setup:\n  - {line}\n")
    # Here the filesystem is local: no result comes late.
    begin(lab.options()).put_settings(Settings(result_grace_s=0.5))
    outcome = lab.tune(launcher="sbatch", profile=profile, candidates=2, poll_s=0.3, max_rounds=1)
    assert outcome.closed == 1
    record = json.loads((round_folder(lab, 1) / "round.json").read_text())
    assert [c["outcomes"] for c in record["candidates"]] == [{"ok": 1}, {"ok": 1}]
    assert len(lab.trained) == 2
    attempts = [attempt for attempt, _ in submissions(lab.store(), lab.store().closed()[0], "train")]
    assert attempts == [1, 2]
