"""`roundtable doctor`: what of this machine and its cluster would keep a study from running, and what to change."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from agent.cli.common import study_folder
from agent.cli.options import record_of

if TYPE_CHECKING:
    from agent.api.doctor import Report

HEALTHY, UNWELL = 0, 1
_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def run(parsed: argparse.Namespace) -> int:
    from agent.api.doctor import examine
    from agent.api.doctor_case import DoctorOptions

    study = study_folder(parsed) if parsed.study is not None else None
    options = record_of(DoctorOptions, parsed, study=study)
    report = examine(options, say=_teller(quiet=parsed.json))
    if parsed.json:
        sys.stdout.write(json.dumps(report.to_json(), indent=2) + "\n")
    elif sys.stdout.isatty():
        print_table(report)
    else:
        sys.stdout.write(to_text(report))
    return HEALTHY if report.ok else UNWELL


def _teller(*, quiet: bool) -> Callable[[str], None]:
    """What is being looked at, for somebody who waits at a terminal."""

    def say(line: str) -> None:
        if not quiet and sys.stderr.isatty():
            sys.stderr.write(f"... {line}\n")

    return say


def to_text(report: Report) -> str:
    """One block a finding, for a pipe or a mail."""
    lines = []
    for finding in report.findings:
        lines.append(f"{finding.level:<8}{finding.area}: {finding.looked_at}: {finding.found}")
        if finding.change:
            lines.append(f"{'':8}-> {finding.change}")
    return "\n".join([*lines, verdict(report)]) + "\n"


def verdict(report: Report) -> str:
    """The last line."""
    from agent.launch.doctor.finding import Level

    problems, warnings = report.count(Level.PROBLEM), report.count(Level.WARNING)
    said = [f"{problems} problem" + "s" * (problems != 1), f"{warnings} warning" + "s" * (warnings != 1)]
    return f"{', '.join(said)} (launcher {report.launcher})"


def print_table(report: Report) -> None:
    """A table on the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("")
    for name in ("looked at", "found", "what to change"):
        table.add_column(name, overflow="fold")  # a path that is cut short cannot be copied
    for finding in report.findings:
        # Text, because found things may hold what rich would take for markup.
        level = Text(finding.level, style=_STYLES[finding.level])
        table.add_row(level, Text(f"{finding.area}: {finding.looked_at}"), Text(finding.found), Text(finding.change))
    console = Console()
    console.print(table)
    console.print(Text(verdict(report)))
