"""What a test run tested and where its time went: a table of folders, with `--time-table` also of files and tests.

Seconds are the tests' own, added up: with several workers they are more than the run took. CPU seconds are those of
the process that runs the tests and of the children that it has waited for. What outlives its parent (rows of a local
queue, jobs of a test cluster, SLURM's daemons) is counted nowhere.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.lanes import SECONDS, file_of, known_seconds, lane_of

SPENT = "lane, seconds and CPU seconds"
FILES, TESTS = 40, 60
#: In seconds. Shorter files need no row in the recording: only the order of long ones matters.
RECORDED = 2.0

BEGAN = pytest.StashKey[tuple[float, float]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("roundtable")
    group.addoption("--time-table", action="store_true", help="print the slowest files and tests")
    group.addoption("--record-seconds", action="store_true", help=f"record what files took in tests/{SECONDS.name}")


def _now() -> tuple[float, float]:
    return time.monotonic(), sum(os.times()[:4])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    item.stash[BEGAN] = _now()
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """The report of a test's end carries what all of it took, because reports are what a worker sends."""
    if call.when == "teardown":
        spent = [now - began for began, now in zip(item.stash[BEGAN], _now(), strict=True)]
        item.user_properties.append((SPENT, (lane_of(item), *spent)))


@dataclass
class Spent:
    """Sums over some tests."""

    tests: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, seconds: float, cpu: float) -> None:
        self.tests += 1
        self.seconds += seconds
        self.cpu += cpu


def folder_of(nodeid: str) -> str:
    """The room that a test belongs to: at most three folders deep."""
    return "/".join(file_of(nodeid).split("/")[:-1][:3])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    folders: defaultdict[str, Spent] = defaultdict(Spent)
    files: defaultdict[str, Spent] = defaultdict(Spent)
    lanes: defaultdict[str, Spent] = defaultdict(Spent)
    tests: dict[str, Spent] = {}
    for outcome, reports in terminalreporter.stats.items():
        for report in reports:
            if outcome in ("passed", "failed", "skipped", "xfailed", "xpassed", "error"):
                folders[folder_of(report.nodeid)].outcomes[outcome] += 1
            spent = dict(getattr(report, "user_properties", ())).get(SPENT)
            if spent and report.when == "teardown":
                lane, *took = spent
                for sums in (lanes[lane], folders[folder_of(report.nodeid)], files[file_of(report.nodeid)]):
                    sums.add(*took)
                tests.setdefault(report.nodeid, Spent()).add(*took)
    if not tests:
        return
    terminalreporter.section("what was tested")
    _write(terminalreporter, folders, sorted(folders))
    terminalreporter.section("the time of each lane")
    _write(terminalreporter, lanes, sorted(lanes))
    if config.getoption("--time-table"):
        for title, table, length in (("files", files, FILES), ("tests", tests, TESTS)):
            terminalreporter.section(f"the slowest {title}")
            _write(terminalreporter, table, sorted(table, key=lambda name: -table[name].seconds)[:length])
    if config.getoption("--record-seconds"):
        _record({name: spent.seconds for name, spent in files.items()}, config.rootpath)


def _record(seconds: Mapping[str, float], root: Path) -> None:
    """Keeps what was recorded of files that did not run now and are still there."""
    kept = {name: known for name, known in known_seconds().items() if (root / name).exists()}
    rows = [f"{name}\t{took:.0f}\n" for name, took in sorted((kept | dict(seconds)).items()) if took >= RECORDED]
    SECONDS.write_text("".join(rows), encoding="utf-8")


def _write(terminalreporter: Any, table: Mapping[str, Spent], names: list[str]) -> None:
    terminalreporter.write_line(f"{'tests':>6} {'seconds':>9} {'CPU s':>9}")
    for name in names:
        spent = table[name]
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(spent.outcomes.items()))
        words = f"{spent.tests:6d} {spent.seconds:9.1f} {spent.cpu:9.1f}  {name}"
        terminalreporter.write_line(f"{words}  ({outcomes})" if outcomes else words)
