"""`roundtable tick`: one idempotent step."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from agent.api import tick_once
from agent.cli.common import study_folder
from agent.store.store import Store


def run(parsed: argparse.Namespace) -> int:
    def say(line: str) -> None:
        sys.stdout.write(line + "\n")

    def ignore(line: str) -> None:
        """orchestrator.log has it."""

    if parsed.unattended:
        return _unattended(study_folder(parsed))
    detail = say if parsed.verbose else ignore
    report = tick_once(Store.open(study_folder(parsed)), say=say, detail=detail)
    where = f"{report.round.label}: " if report.round is not None else ""
    waiting = f", {len(report.progress)} rows running or pending" if report.progress else ""
    state = "waits for you to run its scripts" if report.state == "manual" else report.state
    lines = [f"{where}{state}{waiting}", *report.missing, *report.commands]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _unattended(root: Path) -> int:
    """For a log that grows over weeks: dated lines."""
    from datetime import UTC, datetime

    from agent.api.control import tick_unattended

    def stamped(line: str) -> None:
        sys.stdout.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}\n")

    report = tick_unattended(root, say=stamped)
    if report is not None:
        where = f"{report.round.label}: " if report.round is not None else ""
        stamped(f"{where}{report.state}")
    return 0
