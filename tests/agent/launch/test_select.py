"""Choosing a launcher, the scrubbed environment, and running programs."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.errors import UsageError
from agent.launch.base import LaunchSettings
from agent.launch.catalogue import SHIPPED
from agent.launch.commands import CommandTimeout, run
from agent.launch.environment import for_queries, scrub, without_secrets
from agent.launch.local import LocalLauncher
from agent.launch.local_queue import proc_stat
from agent.launch.sbatch import SbatchLauncher
from agent.launch.select import default_launcher, make_launcher
from agent.launch.submitit import SubmititLauncher
from agent.llm.presets import PRESETS
from tests.cases.fake_slurm import FakeSlurm


def test_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", FakeSlurm(tmp_path / "bin").environment()["PATH"])
    assert default_launcher() == "submitit"
    kinds = {name: type(make_launcher(name)) for name in SHIPPED}
    assert kinds == {"submitit": SubmititLauncher, "sbatch": SbatchLauncher, "local": LocalLauncher}
    assert all(make_launcher(name).name == name for name in SHIPPED)


def test_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert default_launcher() == "local"
    for name in ("submitit", "sbatch"):
        with pytest.raises(UsageError, match=r"needs sbatch, squeue.*--launcher local"):
            make_launcher(name)
    assert make_launcher("local", LaunchSettings(workers=2)).largest_index() is None
    with pytest.raises(UsageError, match="submitit, sbatch, local"):
        make_launcher("slrum")


def test_choosing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from agent.launch.select import make_launcher; make_launcher('local');"
        "print([m for m in ('submitit', 'numpy', 'yaml', 'jinja2', 'rich', 'optuna') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_scrub() -> None:
    kept = {
        "PATH": "/bin",
        "HOME": "/h",
        "SLURM_CONF": "/c",
        "MY_SLURM_X": "1",
        "PYTHONPATH": "p",
    }
    gone = {"SLURM_JOB_ID": "1", "SBATCH_TIMELIMIT": "1", "PMIX_RANK": "0", "PMI_SIZE": "1", "XDG_RUNTIME_DIR": "/r"}
    gone |= {"SLURM_CLUSTERS": "a", "SBATCH_CLUSTERS": "a"}
    gone |= {"DBUS_SESSION_BUS_ADDRESS": "x", "VIRTUAL_ENV": "/v", "CONDA_PREFIX": "/c", "SQUEUE_FORMAT": "x"}
    assert scrub(kept | gone) == kept
    assert for_queries(kept | gone) == kept | {"LC_ALL": "C", "TZ": "UTC"}


@pytest.mark.parametrize(
    "name",
    [
        *(
            "OPENAI_API_KEY",
            "OPENAI_ADMIN_KEY",
            "OPENAI_CUSTOM_HEADERS",
            "ANTHROPIC_AUTH_TOKEN",
            "AZURE_OPENAI_API_KEY",
        ),
        *("ANTHROPIC_CUSTOM_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"),
        *(
            "GEMINI_API_KEY_GEN_A",
            "GOOGLE_CSE_API_KEY",
            "ROUNDTABLE_JUDGE_API_KEY",
            "ROUNDTABLE_CONSULTANT_A_API_KEY",
        ),
        *(name for preset in PRESETS.values() for name in preset.key_variables),
    ],
)
def test_no_key_of_a_model_is_inherited(name: str) -> None:
    assert scrub({name: "x", "HF_TOKEN": "y", "WANDB_API_KEY": "z"}) == {"HF_TOKEN": "y", "WANDB_API_KEY": "z"}
    assert without_secrets({name: "x", "SLURM_JOB_ID": "1"}) == {"SLURM_JOB_ID": "1"}


def test_a_timeout_ends_what_a_wrapper_started(tmp_path: Path) -> None:
    program = tmp_path / "sbatch"
    program.write_text('#!/bin/bash\nsleep 6000 &\necho $! > "$0.pid"\nwait\n')
    program.chmod(0o755)
    # It returns although the wrapper's child held the pipe open.
    with pytest.raises(CommandTimeout, match="within 1 s"):
        run([str(program)], timeout_s=1, environment={"PATH": "/usr/bin:/bin"})
    child = int((tmp_path / "sbatch.pid").read_text())
    for _ in range(600):  # SIGKILL was sent; the kernel takes its time
        fields = proc_stat(child)
        if fields is None or fields[0] in "ZX":
            return
        time.sleep(0.05)
    pytest.fail("the wrapper's child is still there")


def test_arguments_never_meet_a_shell() -> None:
    reply = run(["printf", "%s|", "$(touch x)", "a b", "'"], timeout_s=10, environment={"PATH": "/usr/bin:/bin"})
    assert reply.out == "$(touch x)|a b|'|" and reply.code == 0
    assert run(["cat"], timeout_s=10, environment={"PATH": "/usr/bin:/bin"}, text="ünï").out == "ünï"
