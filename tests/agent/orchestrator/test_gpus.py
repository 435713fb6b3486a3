"""GPUs that trials ask for: here those that CUDA_VISIBLE_DEVICES leaves, on a cluster what the profile says.

No GPU is needed: nvidia-smi is a program that prints a list, and trials note what they would see.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from agent.api import tune
from agent.errors import InvalidProfile, UsageError
from agent.launch.gpus import local_gpus, taken
from tests.agent.orchestrator.conftest import Lab

COUNT = 4
UUID = "GPU-{0}{0}{0}{0}{0}{0}{0}{0}-aaaa-bbbb-cccc-000000000000"


@pytest.fixture(autouse=True)
def machine(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four GPUs, as far as nvidia-smi tells; the file `processes` says what computes on them."""
    folder = tmp_path_factory.mktemp("bin")
    lines = "".join(f"GPU {n}: NVIDIA A100-SXM4-40GB (UUID: {UUID.format(n)})\n" for n in range(COUNT))
    asked = f'case "$1" in --query-compute-apps*) cat {folder}/processes 2>/dev/null; exit 0;; esac\n'
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{asked}cat <<'END'\n{lines}END\n")
    (folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return folder


def trainer(root: Path, resources: str = "resources: {gpus: 1}") -> str:
    """One that notes the GPUs which it sees."""
    (root / "look.sh").write_text(
        'echo "$CUDA_VISIBLE_DEVICES $1" >>"$2"\necho "{\\"score\\": $1}" >"$3/summary.json"\n'
    )
    (root / "look.yaml").write_text(
        "name: look\ndescription: Notes the GPUs that it sees.\n"
        'command: ["sh", "look.sh", "{x}", "{data.log}", "{out}"]\n'
        "parameters:\n  x: {type: float, low: 0.0, high: 1.0, default: 0.5, description: The score}\n"
        f"constraints: []\npass_values: [arguments]\nobjective: {{metric: score, direction: maximize}}\n{resources}\n"
        "summary: summary.json\nseeds: [0]\n"
    )
    return str(root / "look.yaml")


def profile(root: Path, text: str) -> Path:
    path = root / "profile.yaml"
    path.write_text(text)
    return path


def seen(lab: Lab) -> list[str]:
    return sorted(line.split()[0] if line[0] != " " else "" for line in lab.log.read_text().splitlines())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ["0", "1"]),
        ("2,3", ["2", "3"]),
        (f"{UUID.format(3)},GPU-1111", [UUID.format(3), "GPU-1111"]),
    ],
)
def test_local_trials_get_only_the_gpus_that_are_left_to_this_person(
    value: str | None, expected: list[str], lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that asks for one GPU in its description, two trials side by side."""
    if value is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert lab.tune(trainer=trainer(tmp_path), candidates=2, parallel=2).closed == 1
    assert seen(lab) == sorted(expected)
    [result, *_] = sorted((tmp_path / "demo").glob("round_1_*/**/result.json"))
    assert json.loads(result.read_text())["gpus"] == {"asked": 1, "visible": 1, "granted": None}


@pytest.mark.parametrize("value", ["", "-1", "NoDevFiles", "9"])
def test_no_gpu_left_is_refused_with_a_remedy_that_works(
    value: str, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert local_gpus() == ()
    if value:
        return
    with pytest.raises(UsageError, match=r"each task asks for 1 GPU.*only 0 may be handed out.*`gpus: 0` in the pro"):
        lab.tune(trainer=trainer(tmp_path))
    assert not lab.trained
    assert lab.tune(trainer=trainer(tmp_path), profile=profile(tmp_path, "gpus: 0\n")).closed == 1
    assert seen(lab) == [""]


def test_gpus_named_by_hand_must_be_left_to_this_person(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    words = r"--gpus 0: CUDA_VISIBLE_DEVICES=2,3 leaves 2, 3 of this machine's GPUs; name these, or unset"
    with pytest.raises(UsageError, match=words):
        lab.tune(gpus=("0", "2"))
    with pytest.raises(UsageError, match=f"--gpus {UUID.format(1)}"):
        lab.tune(gpus=(UUID.format(1),))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with pytest.raises(UsageError, match=r"--gpus 4: this machine has 0, 1, 2, 3"):
        lab.tune(gpus=("4",))


def test_a_gpu_under_its_other_name_may_be_given(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert lab.tune(trainer=trainer(tmp_path, ""), gpus=(UUID.format(3),)).closed == 1
    assert seen(lab) == [UUID.format(3)]


def rendered(lab: Lab, **changes: Any) -> Any:
    """A ResNet-9 study whose scripts a person submits."""
    options = lab.options(trainer="resnet9", task="digits", data={}, auto_train=False, slurm=True, launcher=None)
    fields = {name: getattr(options, name) for name in ("trainer", "task", "output_dir", "confirm", "auto_train")}
    return tune(type(options)(**(fields | {"slurm": True} | changes)), say=lab.lines.append)


def header(root: Path) -> str:
    [script] = (root / "digits").glob("round_1_*/train_*.slurm")
    return script.read_text()


def test_a_profile_that_says_nothing_of_gpus_is_not_taken_for_the_cpu_in_silence(lab: Lab, tmp_path: Path) -> None:
    rendered(lab, profile=profile(tmp_path, "partition: a100\ncpus: 4\n"))
    assert lab.said("profile profile: asks for no GPU, so resnet9 trains on CPUs here; set `gpus: 1` in the profile")
    assert "gres" not in header(tmp_path)
    lab.lines.clear()
    rendered(lab, profile=profile(tmp_path, "partition: a100\ncpus: 4\ngpus: 1\n"))
    assert not lab.said("asks for no GPU") and "#SBATCH --gres=gpu:1\n" in header(tmp_path)


def test_a_profile_that_means_cpus_is_left_alone(lab: Lab, tmp_path: Path) -> None:
    rendered(lab, profile=profile(tmp_path, "cpus: 4\ngpus: 0\n"))
    assert not lab.said("GPU") and "gres" not in header(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gpus: 4\n", r"profile profile: gpus = 4: resnet9 trains on 1 GPU.*set `gpus: 1`"),
        ("gres: gpu:a100:4\n", r"gres = gpu:a100:4: resnet9 trains on 1 GPU"),
        ("gpus: 1\neval: {gpus: 2}\n", r"eval\.gpus = 2"),
    ],
)
def test_gpus_that_would_stand_idle_are_refused_and_the_remedy_works(
    text: str, words: str, lab: Lab, tmp_path: Path
) -> None:
    with pytest.raises(InvalidProfile, match=words):
        rendered(lab, profile=profile(tmp_path, text))
    assert not list((tmp_path / "digits").glob("round_1_*/train_*"))
    rendered(lab, profile=profile(tmp_path, "gpus: 1\n"))
    assert "#SBATCH --gres=gpu:1\n" in header(tmp_path)


def test_a_local_study_says_when_the_variable_leaves_it_no_gpu(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    rendered(lab, slurm=False, launcher="local")
    assert lab.said("CUDA_VISIBLE_DEVICES='' leaves none of this machine's 4 GPUs: trials train on CPUs")


def test_how_checkpoints_are_kept_reaches_the_tasks_and_what_is_needed_later_is_not_removed(
    lab: Lab, tmp_path: Path
) -> None:
    text = "gpus: 0\nsave_every: 5\nkeep_checkpoints: last\n"
    with pytest.raises(
        InvalidProfile, match=r"keep_checkpoints = last: --use-test-data tests the best ones: set it to"
    ):
        rendered(lab, profile=profile(tmp_path, text), use_test=True)
    rendered(lab, profile=profile(tmp_path, text), use_test=False)
    [script] = (tmp_path / "digits").glob("round_1_*/train_*.sh")
    assert "export ROUNDTABLE_SAVE_EVERY=5\n" in script.read_text()
    assert "export ROUNDTABLE_KEEP_CHECKPOINTS=last\n" in script.read_text()
    [script] = (tmp_path / "digits").glob("round_1_*/eval_*.sh")
    assert "CHECKPOINTS" not in script.read_text()
    with pytest.raises(InvalidProfile, match=r"save_every = 0: must be a whole number from 1"):
        rendered(lab, profile=profile(tmp_path, "save_every: 0\n"))
    with pytest.raises(InvalidProfile, match=r"keep_checkpoints = 'none': must be one of both, best, last"):
        rendered(lab, profile=profile(tmp_path, "keep_checkpoints: none\n"))


def test_gpus_on_which_others_compute_are_said_before_they_are_handed_out(
    lab: Lab, machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = 4_194_304  # above the largest process id: it cannot be looked up, as one of another container
    mine = os.getpid()
    (machine / "processes").write_text(
        f"{UUID.format(0)}, {mine}\n{UUID.format(1)}, {nobody}\n{UUID.format(3)}, {nobody}\n[Not Found]\n"
    )
    told = warnings_of(lab, trainer(tmp_path), ("0", "1", "2", UUID.format(3)))
    [line] = [line for line in told if "others compute there already" in line]
    assert line.startswith(f"GPUs 1 (process {nobody}), {UUID.format(3)} (process {nobody}): ")
    assert "--gpus or CUDA_VISIBLE_DEVICES names others" in line
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2")
    assert taken(local_gpus()) == "", "one's own, and a free one"
    monkeypatch.setattr("agent.launch.gpus.os.getuid", lambda: os.stat("/proc/self").st_uid + 1)
    assert taken(("0", "2")).startswith(f"GPU 0 (process {mine} of ")


@pytest.mark.parametrize("answer", ["exit 9", "echo gpu_uuid, pid; echo junk", "echo '[N/A], [N/A]'"])
def test_an_nvidia_smi_that_tells_no_processes_warns_of_nothing(machine: Path, answer: str) -> None:
    program = machine / "nvidia-smi"
    lines = program.read_text().splitlines(keepends=True)
    lines[1] = f'case "$1" in --query-compute-apps*) {answer}; exit 0;; esac\n'
    program.write_text("".join(lines))
    assert taken(("0", "1")) == ""


def warnings_of(lab: Lab, look: str, gpus: tuple[str, ...]) -> list[str]:
    """What a study says that trains, all the same."""
    assert lab.tune(trainer=look, gpus=gpus).closed == 1
    return lab.lines
