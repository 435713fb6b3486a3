"""Running a program and counting what it cost: CPU seconds of the whole process, wall seconds, peak memory."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What one process used, together with the children that it waited for."""

    user: float
    system: float
    wall: float
    peak_mb: float
    """Largest resident size in MB. Linux hands a child its parent's at birth: keep the caller itself small."""

    @property
    def cpu(self) -> float:
        """User and system seconds together."""
        return self.user + self.system


def run_child(argv: Sequence[str], *, environment: Mapping[str, str], expected: int = 0) -> Usage:
    """Run a program, its output thrown away, and read its usage from wait4.

    Raises CalledProcessError where its exit code is not `expected`; its messages are kept from the terminal only
    where that is none.
    """
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    quiet += [(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)] if expected else []
    begun = time.perf_counter()
    pid = os.posix_spawn(argv[0], list(argv), environment, file_actions=quiet)
    _, status, used = os.wait4(pid, 0)
    wall = time.perf_counter() - begun
    code = os.waitstatus_to_exitcode(status)
    if code != expected:
        raise subprocess.CalledProcessError(code, list(argv))
    return Usage(user=used.ru_utime, system=used.ru_stime, wall=wall, peak_mb=used.ru_maxrss / 1024)


@contextmanager
def bytecode() -> Iterator[dict[str, str]]:
    """An environment in which every module is compiled once, into a folder of its own, as after an installation.

    Otherwise a figure tells whether a cache happened to be there, or to be writable: without one, `status` costs
    twice as much.
    """
    dropped = (
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONPROFILEIMPORTTIME",
        "COVERAGE_PROCESS_START",
        "COVERAGE_PROCESS_CONFIG",
    )
    with TemporaryDirectory() as folder:
        kept = {name: value for name, value in os.environ.items() if name not in dropped}
        yield kept | {"PYTHONPYCACHEPREFIX": folder, "OMP_NUM_THREADS": "1"}


def roundtable() -> list[str]:
    """The installed command of this environment."""
    script = Path(sys.executable).with_name("roundtable")
    if not script.exists():
        sys.exit(f"{script} is not there: install Roundtable into this environment (uv sync) and call again")
    return [str(script)]


def bare(environment: Mapping[str, str], *, runs: int = 21) -> str:
    """What `python -c pass` costs now, to read other figures by: on a busy machine all of them grow together."""
    found = [run_child([sys.executable, "-c", "pass"], environment=environment).cpu for _ in range(runs)]
    return f"python -c pass takes {statistics.median(found) * 1e3:.1f} ms of CPU time"


def machine() -> str:
    """One line that says where the figures come from."""
    system = f"{platform.system()} {platform.machine()}"
    cpus = len(os.sched_getaffinity(0))
    return f"Python {platform.python_version()} on {system}, {cpus} CPUs, load {os.getloadavg()[0]:.1f}"
