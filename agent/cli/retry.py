"""`roundtable retry`: start missing, cancelled or failed rows of the open round again."""

from __future__ import annotations

import argparse
import sys

from agent.api.steer import retry_rows
from agent.cli.common import study_folder
from agent.errors import UsageError


def run(parsed: argparse.Namespace) -> int:
    def say(line: str) -> None:
        sys.stdout.write(line + "\n")

    def ignore(line: str) -> None:
        """orchestrator.log has it."""

    if parsed.rows is not None and parsed.failed:
        raise UsageError("--rows names the rows, --failed chooses them: give one of the two")
    report, rows = retry_rows(
        study_folder(parsed),
        only=parsed.round,
        rows=parsed.rows,
        failed=parsed.failed,
        say=say,
        detail=say if parsed.verbose else ignore,
    )
    if not rows:
        say(report.message or report.state)
    return 0
