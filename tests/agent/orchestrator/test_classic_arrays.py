"""The classic flow above SLURM's limit on arrays: every printed line is one that sbatch takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.errors import InvalidProfile
from tests.agent.orchestrator.conftest import Lab
from tests.cases.fake_slurm import FakeSlurm


def arrays(commands: tuple[str, ...], kind: str) -> list[tuple[int, int, int, int]]:
    """(first index, last index, throttle, OFFSET) of each printed line."""
    found = []
    for line in commands:
        match = re.search(rf"--array=(\d+)(?:-(\d+))?(?:%(\d+))? .*{kind}_demo_round1\.slurm'?(?: (\d+))?", line)
        if match:
            first, last, throttle, offset = match.groups()
            found.append((int(first), int(last or first), int(throttle or 0), int(offset or 0)))
    return found


@pytest.mark.parametrize(
    ("config", "profile", "most"),
    [
        ("MaxArraySize = 4\n", "", 4),
        ("MaxArraySize = 1001\nSchedulerParameters = bf_interval=1,max_array_tasks=3\n", "", 3),
        ("MaxArraySize = 1001\n", "max_array_size: 5\n", 5),
        ("MaxArraySize = 1001\n", "", 1001),
    ],
)
def test_an_array_above_the_limit_is_printed_in_parts(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str, profile: str, most: int
) -> None:
    fake = FakeSlurm(tmp_path / "bin")
    fake.answer("scontrol", config)
    monkeypatch.setenv("PATH", fake.environment()["PATH"])
    path = tmp_path / "profile.yaml"
    path.write_text(f"partition: main\nmax_parallel: 4\n{profile}")
    outcome = lab.tune(auto_train=False, slurm=True, candidates=4, seeds=(0, 1), profile=path)
    printed = arrays(tuple(outcome.commands), "train")
    rows = [offset + index for first, last, _, offset in printed for index in range(first, last + 1)]
    assert rows == list(range(8))
    assert all(last < most and last - first < most for first, last, _, _ in printed)
    assert sum(throttle for _, _, throttle, _ in printed) == 4, "together they keep to the throttle"


def test_without_an_answer_it_is_slurms_default(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeSlurm(tmp_path / "bin")
    fake.answer("scontrol", err="slurm_load_ctl_conf error: Unable to contact slurm controller\n", code=1)
    monkeypatch.setenv("PATH", fake.environment()["PATH"])
    monkeypatch.setattr("agent.orchestrator.training.render.DEFAULT_ARRAY_SIZE", 3)
    outcome = lab.tune(auto_train=False, slurm=True, candidates=4)
    assert [last for _, last, _, _ in arrays(tuple(outcome.commands), "train")] == [2, 0]


def test_options_per_gpu_without_a_gpu_are_refused_before_anything_is_begun(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text("extra: {mem-per-gpu: 4G}\n")
    with pytest.raises(InvalidProfile, match=r"extra.mem-per-gpu: .*asks for no GPU: set `gpus`"):
        lab.tune(auto_train=False, slurm=True, profile=path)
    # A local study has no use for them, and no scheduler that refuses them.
    lab.tune(profile=path)
