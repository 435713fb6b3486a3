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
    seconds = {"tests/b.py": 9.0, "tests/d.py": 3.0}
    assert choose(units, seconds, cluster=False) == "tests/b.py"
    assert choose(units, seconds, cluster=True) == "tests/d.py@cluster"
    assert choose(units[:2], seconds, cluster=True) == "tests/b.py"  # its own lane is empty
    assert choose(units[2:], seconds, cluster=False) == "tests/d.py@cluster"


def test_recorded_files_exist() -> None:
    known = lanes.known_seconds()
    assert known and [name for name in known if not (ROOT / name).exists()] == []


def test_files_stay_whole_and_the_run_says_what_was_tested(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    cluster\n    other\n")
    notes = tmp_path / "notes"
    for name in ("a", "b", "c", "d"):
        folder = tmp_path / f"room_{name}"
        folder.mkdir()
        text = SAMPLE.format(marker="cluster" if name in "cd" else "other", notes=str(notes), name=name)
        (folder / f"test_{name}.py").write_text(text)
    argv = [sys.executable, "-m", "pytest", "-p", "tests.lanes", "-p", "tests.time_table", "--time-table"]
    argv += ["-n", "2", "--rootdir", str(tmp_path), "-c", str(tmp_path / "pytest.ini")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    done = subprocess.run(
        [*argv, str(tmp_path)],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ran = [line.split() for line in notes.read_text().splitlines()]
    assert len(ran) == 16
    assert all(len({worker for worker, file in ran if file == name}) == 1 for name in "abcd")
    for name in "abcd":
        assert re.search(rf"^ +4 +\d+\.\d +\d+\.\d  room_{name}  \(4 passed\)$", done.stdout, re.MULTILINE)
        assert re.search(rf"^ +4 +\d+\.\d +\d+\.\d  room_{name}/test_{name}\.py$", done.stdout, re.MULTILINE)
