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
    sys.stdout.write(f"{where}{report.state}{waiting}\n")
    return 0
