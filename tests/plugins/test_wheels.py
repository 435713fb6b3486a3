"""Two wheels, Roundtable's and the example's, in a fresh environment outside the checkout: what a person has.

The project that is tuned from has packages `agent` and `trainers` of its own, which raise when they are imported.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "doc" / "examples" / "plugin"

PROGRAM = """
import json, os, sys
import agent
with open(sys.argv[1] + "/summary.json", "w") as stream:
    json.dump({"score": float(os.environ["RT_X"])}, stream)
print("agent is", agent.WHOSE)
"""
TRAINER = """
name: theirs
command: ["{python}", program/run.py, "{out}"]
parameters:
  x: {type: float, low: 0.0, high: 1.0, default: 0.5}
pass_values: environment
objective: {metric: score, direction: maximize}
"""


def run(argv: list[str], *, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"} | variables
    return subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with both wheels. What Roundtable depends on comes from this one, by a path file."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed: it builds the wheels")
    root = tmp_path_factory.mktemp("fresh")
    # Where it lies it would be built in the checkout.
    shutil.copytree(EXAMPLE, root / "example", ignore=shutil.ignore_patterns("__pycache__"))
    for source in (ROOT, root / "example"):
        build = [uv, "build", "--wheel", "--offline", "--quiet", "--out-dir", str(root / "dist"), str(source)]
        done = run(build, cwd=root)
        if done.returncode and "hatchling" in done.stderr and "cache" in done.stderr:
            pytest.skip(f"the build backend is not in uv's cache: {done.stderr.strip().splitlines()[-1]}")
        assert done.returncode == 0, done.stderr
    python = root / "venv" / "bin" / "python"
    wheels = sorted(str(path) for path in (root / "dist").glob("*.whl"))
    for argv in (
        [uv, "venv", "--offline", "--quiet", "--python", sys.executable, str(root / "venv")],
        [uv, "pip", "install", "--offline", "--quiet", "--no-deps", "--python", str(python), *wheels],
    ):
        done = run(argv, cwd=root)
        assert done.returncode == 0, done.stderr
    (site,) = (root / "venv" / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return root / "venv"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The folder that is called from, first in PYTHONPATH as well."""
    folder = tmp_path / "project"
    for name in ("agent", "trainers"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise RuntimeError('the project\\'s own package was imported')\n")
    return folder


def roundtable(environment: Path, project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(environment / "bin" / "roundtable"), *arguments]
    return run(command, cwd=project, PYTHONPATH=str(project))


def rounds(project: Path, task: str) -> list[Path]:
    return sorted((project / "runs" / task).glob("round_*"))


LOCAL = ("--auto-train", "--launcher", "local", "--confirm", "never", "--max-rounds", "2", "--candidates", "2")


def test_a_trainer_and_a_proposer_of_another_distribution_tune(environment: Path, project: Path) -> None:
    arguments = ("--task", "two", "--trainer", "spirals", "--proposer", "nearby", "--epochs", "3")
    done = roundtable(environment, project, "tune", *arguments, *LOCAL)
    assert done.returncode == 0, done.stderr
    first, second = rounds(project, "two")
    proposed = json.loads((second / "proposals.json").read_text())["proposals"]
    assert [each["source"] for each in proposed] == ["nearby", "nearby"]
    for folder in (first, second):
        results = [json.loads(path.read_text()) for path in sorted(folder.glob("trials/*/attempt_1/result.json"))]
        assert [(each["outcome"], each["epochs_run"]) for each in results] == [("ok", 3)] * 2
    agreed = roundtable(environment, project, "tune", *arguments, *LOCAL[:-4], "--max-rounds", "1")
    assert agreed.returncode == 0 and len(rounds(project, "two")) == 3, agreed.stderr


def test_they_are_listed_and_a_typo_is_answered_with_them(environment: Path, project: Path) -> None:
    listed = roundtable(environment, project, "trainers")
    assert "spirals: two interleaved spirals" in listed.stdout and "resnet9: " in listed.stdout
    shown = roundtable(environment, project, "trainers", "spirals")
    assert "learning_rate (tuned): a number from 0.001 to 1" in shown.stdout, shown.stderr
    for option, name, near in (("--proposer", "nerby", "nearby"), ("--trainer", "spiral", "spirals")):
        other = ("--trainer", "spirals") if option == "--proposer" else ()
        done = roundtable(environment, project, "tune", "--task", "two", *other, option, name)
        assert done.returncode == 2 and near in done.stderr, done.stderr
    assert not (project / "runs").exists()


def test_a_program_finds_its_own_package_agent(environment: Path, project: Path) -> None:
    """The profile names the project in PYTHONPATH, before Roundtable's own folder."""
    for name in ("agent", "trainers"):
        (project / name / "__init__.py").write_text("WHOSE = 'the project'\n")
    (project / "program").mkdir()
    (project / "program" / "run.py").write_text(PROGRAM)
    (project / "trainer.yaml").write_text(TRAINER)
    (project / "profile.yaml").write_text(f"env: {{PYTHONPATH: {project}}}\n")
    arguments = ("--task", "demo", "--trainer", "trainer.yaml", "--profile", "profile.yaml")
    done = roundtable(environment, project, "tune", *arguments, *LOCAL)
    assert done.returncode == 0, done.stderr
    logs = [path.read_text() for folder in rounds(project, "demo") for path in folder.glob("trials/*/*/program.log")]
    assert logs == ["agent is the project\n"] * 4


def test_a_plug_in_that_broke_is_named_and_disturbs_no_other_command(environment: Path, project: Path) -> None:
    arguments = ("--task", "two", "--trainer", "spirals", "--epochs", "1")
    assert roundtable(environment, project, "tune", *arguments, *LOCAL[:-4], "--max-rounds", "1").returncode == 0
    (code,) = environment.glob("lib/python*/site-packages/roundtable_example/spirals.py")
    before = code.read_text()
    code.write_text("import no_such_library\n" + before)
    try:
        again = roundtable(environment, project, "tune", *arguments, *LOCAL)
        listed = roundtable(environment, project, "trainers")
        status = roundtable(environment, project, "status", "--study", "runs/two")
    finally:
        code.write_text(before)
    assert again.returncode == 2
    assert "the plug-in of roundtable-example 1.0 (entry point roundtable.trainers: spirals = " in again.stderr
    assert (
        "No module named 'no_such_library'" in again.stderr and "uv pip uninstall roundtable-example" in again.stderr
    )
    assert "spirals: cannot be used: the plug-in of roundtable-example" in listed.stdout
    assert listed.returncode == status.returncode == 0, status.stderr
