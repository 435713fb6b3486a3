"""`roundtable tick`: one idempotent step."""

from __future__ import annotations

import argparse
import sys

from agent.api import tick_once
from agent.cli.common import study_folder
from agent.store.store import Store


def run(parsed: argparse.Namespace) -> int:
    def say(line: str) -> None:
        sys.stdout.write(line + "\n")

    def ignore(line: str) -> None:
        """orchestrator.log has it."""

    detail = say if parsed.verbose else ignore
    report = tick_once(Store.open(study_folder(parsed)), say=say, detail=detail)
    number = report.round.number if report.round is not None else None
    where = f"round {number}: " if number is not None else ""
    waiting = f", {len(report.progress)} rows running or pending" if report.progress else ""
    state = "waits for you to run its scripts" if report.state == "manual" else report.state
    lines = [f"{where}{state}{waiting}", *report.missing, *report.commands]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0
