"""How the tests are shared out, and what a run says at its end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests import lanes
from tests.lanes import choose

ROOT = Path(__file__).parents[1]
SAMPLE = """
import os, pytest
pytestmark = pytest.mark.{marker}
@pytest.mark.parametrize("number", range(4))
def test_notes_its_worker(number):
    with open({notes!r}, "a") as notes:
        notes.write(os.environ["PYTEST_XDIST_WORKER"] + " " + {name!r} + "\\n")
"""


def test_a_worker_takes_the_longest_file_of_its_lane_first() -> None:
    units = ["tests/a.py", "tests/b.py", "tests/c.py@cluster", "tests/d.py@cluster"]
    seconds = {"tests/b.py": 90.0, "tests/d.py": 60.0}
    assert choose(units, seconds, cluster=False) == "tests/b.py"
    assert choose(units, seconds, cluster=True) == "tests/d.py@cluster"
    assert choose(units[:2], seconds, cluster=True) == "tests/b.py"  # its own lane is empty
    assert choose(units[2:], seconds, cluster=False) == "tests/d.py@cluster"


def test_files_that_are_named_exist() -> None:
    """A recording may be older than a file's name, which costs nothing; but most of it must be of files of today."""
    known = lanes.known_seconds()
    assert sum((ROOT / name).exists() for name in known) > len(known) / 2
    assert [name for name in lanes.SLOW if not (lanes.HERE / name).exists()] == []


def test_a_test_is_fast_unless_something_speaks_against_it(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import hypothesis, pytest\n"
        "def test_plain(): pass\n"
        "@pytest.mark.cluster\ndef test_on_a_cluster(): pass\n"
        "@hypothesis.given(hypothesis.strategies.integers())\ndef test_examples(x): pass\n"
    )
    done = run_pytest(tmp_path, "-m", "fast", "--collect-only", "-q")
    assert [line for line in done.stdout.splitlines() if "::" in line] == ["test_it.py::test_plain"]


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """On the tests of a folder, with our plug-ins and nothing of the run that this test is part of."""
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    cluster\n    fast\n    other\n")
    argv = [sys.executable, "-m", "pytest", "-p", "tests.lanes", "-p", "tests.time_table", "-c", "pytest.ini"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    return subprocess.run(
        [*argv, "--rootdir", ".", *arguments, "."],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_files_stay_whole_and_the_run_says_what_was_tested(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    for name in ("a", "b", "c", "d"):
        folder = tmp_path / f"room_{name}"
        folder.mkdir()
        text = SAMPLE.format(marker="cluster" if name in "cd" else "other", notes=str(notes), name=name)
        (folder / f"test_{name}.py").write_text(text)
    done = run_pytest(tmp_path, "--time-table", "-n", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    ran = [line.split() for line in notes.read_text().splitlines()]
    assert len(ran) == 16
    assert all(len({worker for worker, file in ran if file == name}) == 1 for name in "abcd")
    for name in "abcd":
        assert re.search(rf"^ +4 +\d+\.\d +\d+\.\d  room_{name}  \(4 passed\)$", done.stdout, re.MULTILINE)
        assert re.search(rf"^ +4 +\d+\.\d +\d+\.\d  room_{name}/test_{name}\.py$", done.stdout, re.MULTILINE)
