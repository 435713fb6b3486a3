"""What launchers say of themselves, by name alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agent.errors import UsageError
from agent.launch.catalogue import SHIPPED, capabilities_of
from agent.orchestrator.training.submissions import submission_of
from agent.store.events import Submitted


def test_what_a_launcher_can_do_is_known_without_importing_it() -> None:
    code = (
        "import sys; from agent.launch.catalogue import SHIPPED, capabilities_of;"
        "[capabilities_of(name) for name in SHIPPED];"
        "print([m for m in sys.modules if m.startswith(('agent.launch.', 'submitit', 'importlib.metadata'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['agent.launch.catalogue']"


def test_an_unknown_launcher_is_answered_with_every_name() -> None:
    with pytest.raises(UsageError, match=r"no launcher 'slrum': choose one of submitit, sbatch, local"):
        capabilities_of("slrum")


def test_launchers_of_one_scheduler_may_be_exchanged_and_the_local_one_may_not() -> None:
    systems = {name: capabilities_of(name).system for name in SHIPPED}
    assert systems == {"submitit": "slurm", "sbatch": "slurm", "local": "local"}


def submitted(launcher: str) -> Submitted:
    return Submitted(
        launcher=launcher,
        name="rt-x-train",
        folder="round_1_x",
        kind="train",
        attempt=1,
        job_id="77" if launcher != "local" else "/old/place/round_1_x/launch/rt-x-train",
        items=(0, 2),
        tasks=("77_0", "77_2"),
        cluster=None,
        submitted_at=1.0,
        adopted=False,
    )


@pytest.mark.parametrize(("launcher", "job"), [("submitit", "77"), ("sbatch", "77")])
def test_an_array_of_the_scheduler_keeps_its_id_where_the_study_moves(
    tmp_path: Path, launcher: str, job: str
) -> None:
    made = submission_of(submitted(launcher), study=tmp_path)
    assert (made.job_id, made.capabilities.cancel_command) == (job, "scancel")


def test_a_local_queue_moves_with_its_study(tmp_path: Path) -> None:
    made = submission_of(submitted("local"), study=tmp_path)
    assert made.job_id == str(tmp_path / "round_1_x" / "launch" / "rt-x-train")
    assert made.capabilities.cancel_command == ""
