"""The repository itself: style, types, layers, what may not be committed, and documents that must stay true."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = Path(sys.executable).parent


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).exists()]


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], ["lint-imports"]],
    ids=lambda command: " ".join(command),
)
def test_tools_find_nothing(command: list[str]) -> None:
    done = subprocess.run([str(SCRIPTS / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    if command[0] == "lint-imports":
        # The contracts are part of what a test run shows.
        print("\n".join(line for line in done.stdout.splitlines() if line.endswith(("KEPT", "BROKEN"))))


def test_no_registry_host_is_named() -> None:
    # Written apart, so that this file does not name them either.
    hosts = re.compile(
        "|".join(("py" + r"pi\.org", "python" + "hosted", r"deb\.deb" + "ian", r"registry\.np" + "mjs"))
    )
    found = [
        str(path.relative_to(ROOT))
        for path in tracked()
        if hosts.search(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert not found


def test_nothing_large_is_committed() -> None:
    large = {str(path.relative_to(ROOT)): path.stat().st_size for path in tracked() if path.stat().st_size > 2**20}
    assert not large


def test_the_lock_pins_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = list(project["project"]["dependencies"])
    for group in (*project["project"]["optional-dependencies"].values(), *project["dependency-groups"].values()):
        asked += group
    lock = (ROOT / "requirements.lock").read_text()
    pinned = set(re.findall(r"^([a-z0-9._-]+)==", lock, re.MULTILINE))
    names = {re.split(r"[<>=!\[ ;]", text)[0].lower() for text in asked}
    assert names <= pinned
    assert "--hash=sha256:" in lock and "://" not in lock and "--index" not in lock


def test_every_link_of_the_documents_leads_somewhere() -> None:
    broken = []
    for path in tracked():
        if path.suffix != ".md":
            continue
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", path.read_text()):
            if not (path.parent / target).exists():
                broken.append(f"{path.relative_to(ROOT)} -> {target}")
    assert not broken


def test_the_gate_runs_the_readmes_test_command() -> None:
    readme = (ROOT / "README.md").read_text()
    section = readme.split("## Test it")[1].split("\n## ")[0]
    commands = [line for line in section.splitlines() if line.startswith("./uvw")]
    assert len(commands) == 1 and "pytest" in commands[0]
    assert "README.md" in (ROOT / ".ci" / "run").read_text()


def test_the_hooks_before_a_commit_run_this_checkouts_own_tools() -> None:
    import yaml

    [local] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local", "nothing is fetched"
    prefix = "./uvw run --all-extras "
    assert all(hook["entry"].startswith(prefix) and hook["language"] == "system" for hook in local["hooks"])
    commands = [hook["entry"].removeprefix(prefix) for hook in local["hooks"]]
    assert commands == ["ruff check", "ruff format --check", "mypy", "pytest -q tests/test_imports.py"]


def test_every_file_of_a_round_stands_in_the_legend() -> None:
    """runs/README.md explains every path that the code can name."""
    from agent.store.paths import RoundPaths, StudyPaths
    from trainers.layout import AttemptFiles

    legend = (ROOT / "runs" / "README.md").read_text()
    round_paths = RoundPaths(Path("/r"), "TASK", 7)
    owners = (StudyPaths(Path("/s"), "TASK"), round_paths, AttemptFiles(Path("/a")))
    missing = []
    for owner in owners:
        for name in dir(type(owner)):
            if isinstance(getattr(type(owner), name), property):
                found = getattr(owner, name)
                if not isinstance(found, Path):
                    continue
                file = found.name.replace("round7", "roundN")
                stem = file.removesuffix(".slurm").removesuffix(".sh")
                if file not in legend and stem not in legend:
                    missing.append(file)
    assert not missing


def test_the_drawing_in_the_documents_is_the_one_that_the_command_draws() -> None:
    from agent.report.graph import Workflow, to_svg, workflow_graph

    drawn = to_svg(workflow_graph(Workflow(proposer="hybrid")))
    assert (ROOT / "doc" / "workflow.svg").read_text() == drawn, "roundtable graph --output doc/workflow.svg"
