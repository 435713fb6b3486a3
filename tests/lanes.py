"""Which lane a test belongs to, and how lanes share the workers of pytest-xdist.

`fast` is what needs no cluster, no torch and no study of processes, and does not draw hundreds of examples: for each
commit. It is marked here, by folder and file, so that a new test is in it unless something speaks against it.

`cluster` tests mostly wait (SLURM looks at its queue once a second), all others mostly compute. With more workers
than cores, one half of the workers takes cluster files first and the other half everything else, so that the waiting
of one fills the computing of the other. A file stays whole: its module fixtures, clusters among them, are made once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
CLUSTER, FAST, OTHER = "cluster", "fast", "other"
#: Below tests/: not in the fast lane. Real trainings, clusters, whole studies of processes, tools over the checkout.
SLOW = (
    "agent/acceptance/test_simulation.py",
    "agent/api/test_control.py",
    "agent/cli/test_bad_input.py",
    "agent/cli/test_doctor_command.py",
    "agent/cli/test_terminal.py",
    "agent/launch/test_dry_run.py",
    "agent/launch/test_local.py",
    "agent/launch/test_render_run.py",
    "agent/launch/test_submitit.py",
    "agent/launch/test_time_zones.py",
    "agent/launch/test_training.py",
    "agent/orchestrator",
    "agent/reference/test_reference_corruption.py",
    "agent/report/test_overview.py",
    "agent/store/test_lost_files.py",
    "benchmarks",
    "cluster",
    "faults",
    "golden/test_golden_here.py",
    "golden/test_golden_slurm.py",
    "llm_server/test_llm_server.py",
    "plugins",
    "roundtable",
    "simulation",
    "soak",
    "test_lanes.py",
    "test_repository.py",
    "trainers/command/test_command_stop.py",
    "trainers/informer",
    "trainers/nnunet",
    "trainers/pytorch",
    "trainers/resnet9",
)
#: Seconds of wall clock that a file took, for those of more than a few; `--time-table` prints them. Only the order in
#: which files begin depends on it: the longest first, so that no worker is left alone with a long one at the end.
SECONDS = HERE / "durations.tsv"
#: What is assumed of a file without a recording: it may be short or new and long, so it begins in the middle.
UNKNOWN_SECONDS = 30.0


def file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def in_cluster_lane(nodeid: str) -> bool:
    """Of ids as xdist's loadgroup makes them: the group stands behind the last @."""
    return nodeid.endswith(f"@{CLUSTER}")


@cache
def is_slow(path: Path) -> bool:
    return any(path.is_relative_to(HERE / name) for name in SLOW)


def lane_of(item: pytest.Item) -> str:
    if item.get_closest_marker(CLUSTER):
        return CLUSTER
    # Hypothesis says so of its tests; each draws a hundred examples or more.
    draws = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
    return OTHER if draws or is_slow(item.path) else FAST


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`-m fast` does not even import what it would leave out: torch alone takes seconds."""
    return True if config.getoption("markexpr") == FAST and is_slow(collection_path) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before pytest looks at `-m`. A file with one test on a cluster shares the workers of clusters as a whole."""
    lanes = [lane_of(item) for item in items]
    files = {file_of(item.nodeid) for item, lane in zip(items, lanes, strict=True) if lane == CLUSTER}
    for item, lane in zip(items, lanes, strict=True):
        if lane == FAST:
            item.add_marker(FAST)
        if file_of(item.nodeid) in files:
            item.add_marker(pytest.mark.xdist_group(CLUSTER))


def known_seconds(path: Path = SECONDS) -> dict[str, float]:
    """File -> seconds, of the last recording."""
    if not path.exists():
        return {}
    rows = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return {name: float(seconds) for name, seconds in rows}


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """`-n N` alone means whole files; without pytest-xdist there is no such option."""
    if config.getoption("numprocesses", None) and config.getoption("dist") == "no":
        config.option.dist = "loadgroup"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: two workers a core, since one in two waits."""
    return 2 * len(os.sched_getaffinity(0))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler.loadscope import LoadScopeScheduling

    class Lanes(LoadScopeScheduling):
        """Whole files, each worker's own lane first, the longest first."""

        def __init__(self) -> None:
            super().__init__(config, log)
            self._seconds = known_seconds()
            self._cluster_workers: set[Any] = set()

        def _split_scope(self, nodeid: str) -> str:
            return file_of(nodeid) + (f"@{CLUSTER}" if in_cluster_lane(nodeid) else "")

        def _assign_work_unit(self, node: Any) -> None:
            if not self._cluster_workers:
                self._cluster_workers = set(self.nodes[: max(1, len(self.nodes) // 2)])
            first = choose(self.workqueue, self._seconds, cluster=node in self._cluster_workers)
            self.workqueue.move_to_end(first, last=False)
            super()._assign_work_unit(node)

    return Lanes()


def choose(units: Iterable[str], seconds: dict[str, float], *, cluster: bool) -> str:
    """The unit that a worker takes next: of its lane while there is one, the longest first."""

    def rank(unit: str) -> tuple[bool, float]:
        return in_cluster_lane(unit) == cluster, seconds.get(unit.partition("@")[0], UNKNOWN_SECONDS)

    return max(units, key=rank)
