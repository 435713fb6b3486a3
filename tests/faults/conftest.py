"""What tests of faults share: a study on a cluster that is broken, and a table of what each fault cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.faults.case_daemons import Patient, Shims

FIGURES = "fault figures"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-table", action="store_true", help="print what each fault cost, for doc/reliability.md")


@pytest.fixture
def on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Callable[[Cluster], Patient]]:
    """Puts a study on a cluster; afterwards its figures are kept and its jobs cancelled."""
    made: list[Patient] = []

    def put(cluster: Cluster) -> Patient:
        monkeypatch.setenv("SLURM_CONF", str(cluster.slurm_conf))
        made.append(Patient(root=tmp_path, cluster=cluster, shims=Shims(tmp_path / "shims")))
        return made[0]

    yield put
    for patient in made:
        if patient.folder.exists():
            request.node.user_properties.append((FIGURES, patient.figures()))
        patient.open()
        for daemon in patient.cluster.daemons:
            patient.cluster.resume(daemon)
        patient.cluster.drain(60)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The table, as doc/reliability.md holds it."""
    # Where the whole suite runs, this file is read too late for its option to be known.
    if not config.getoption("--fault-table", default=False):
        return
    reports = [report for group in terminalreporter.stats.values() for report in group]
    found = [
        (report.nodeid.split("::")[-1], value)
        for report in reports
        if getattr(report, "when", "") == "teardown"
        for name, value in report.user_properties
        if name == FIGURES
    ]
    terminalreporter.section("figures of faults")
    for test, figures in sorted(found):
        cells = [f"`{test}`", *(str(value) for value in figures.values())]
        terminalreporter.write_line(f"| {' | '.join(cells)} |")
