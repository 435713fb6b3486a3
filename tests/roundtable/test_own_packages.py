"""A person's project has packages called `agent` and `trainers`: each side finds its own, wherever it is called.

Roundtable runs as from a checkout here; the same of an installed copy is in tests/test_plugins.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

RAISES = "raise RuntimeError('the project\\'s own package was imported by Roundtable')\n"

TRAINER = """
name: theirs
command: ["{python}", "program/run_it.py", "{{out}}"]
parameters:
  x: {{type: float, low: 0.0, high: 1.0, default: 0.5}}
pass_values: environment
objective: {{metric: score, direction: maximize}}
"""

PROGRAM = """
import json, os, sys
import agent, trainers
with open(sys.argv[1] + "/summary.json", "w") as stream:
    json.dump({"score": float(os.environ["RT_X"])}, stream)
with open(sys.argv[1] + "/found.json", "w") as stream:
    json.dump({"agent": agent.WHOSE, "trainers": trainers.WHOSE, "path": os.environ.get("PYTHONPATH")}, stream)
"""


def project(root: Path, text: str) -> Path:
    """A folder with packages `agent` and `trainers` whose content is `text`."""
    for name in ("agent", "trainers"):
        (root / name).mkdir(parents=True)
        (root / name / "__init__.py").write_text(text)
    return root


def roundtable(
    folder: Path, *arguments: str, python: Path = Path(sys.executable), **variables: str
) -> subprocess.CompletedProcess[str]:
    """`python -m roundtable ARGUMENTS`, called in `folder`, whose packages Python looks at first."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    return subprocess.run(
        [str(python), "-m", "roundtable", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("arguments", [("--help",), ("trainers",), ("tune", "--help")])
def test_it_starts_in_a_project_that_has_packages_of_its_names(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    folder = project(tmp_path / "project", RAISES)
    done = roundtable(folder, *arguments, PYTHONPATH=os.pathsep.join((str(folder), str(ROOT))))
    assert "own package" not in done.stderr
    assert done.returncode == 0, done.stderr


def test_what_lies_in_the_working_folder_is_neither_a_library_nor_a_plug_in(tmp_path: Path) -> None:
    folder = project(tmp_path / "project", RAISES)
    for name in ("argparse", "yaml", "rich"):
        (folder / f"{name}.py").write_text(RAISES)
    information = folder / "theirs-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[roundtable.trainers]\ntheirs = theirs:TRAINER\n")
    (folder / "theirs.py").write_text(RAISES)
    listed = roundtable(folder, "trainers", PYTHONPATH=str(ROOT))
    assert listed.returncode == 0 and "theirs" not in listed.stdout, listed.stderr
    shown = roundtable(folder, "trainers", "theirs", PYTHONPATH=str(ROOT))
    assert "unknown; there are: nnunet, resnet9, informer, or the path" in shown.stderr


def test_a_program_that_imports_its_own_agent_is_tuned_in_its_project(tmp_path: Path) -> None:
    """The packages are importable only by PYTHONPATH, as where a person has set it for their project."""
    folder = project(tmp_path / "project", "WHOSE = 'mine'\n")
    (folder / "program").mkdir()
    (folder / "program" / "run_it.py").write_text(PROGRAM)
    trainer = folder / "trainer.yaml"
    trainer.write_text(TRAINER.format(python=sys.executable))
    profile = folder / "profile.yaml"
    profile.write_text(f"env: {{PYTHONPATH: {folder}}}\n")
    done = roundtable(
        folder,
        *("tune", "--task", "demo", "--trainer", str(trainer), "--auto-train", "--launcher", "local"),
        *("--max-rounds", "2", "--confirm", "never", "--profile", str(profile)),
        PYTHONPATH=os.pathsep.join((str(folder), str(ROOT))),
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("runs/demo/round_*/trials/*/*/found.json"))]
    assert found == [{"agent": "mine", "trainers": "mine", "path": str(folder)}] * 2


def test_another_package_of_that_name_that_was_imported_before_is_refused(tmp_path: Path) -> None:
    folder = project(tmp_path / "project", "")
    script = "import agent\nfrom roundtable import ours\nours()\n"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert f"{folder / 'agent'} was imported as agent, which must be Roundtable's own" in done.stderr
