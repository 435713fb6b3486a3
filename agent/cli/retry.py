"""`roundtable retry`: start missing, cancelled or failed rows of the open round again."""

from __future__ import annotations

import argparse

from agent.api.steer import retry_rows
from agent.cli.common import detail_of, say, study_folder
from agent.errors import UsageError


def run(parsed: argparse.Namespace) -> int:
    if parsed.rows is not None and parsed.failed:
        raise UsageError("--rows names the rows, --failed chooses them: give one of the two")
    report, rows = retry_rows(
        study_folder(parsed),
        only=parsed.round,
        rows=parsed.rows,
        failed=parsed.failed,
        say=say,
        detail=detail_of(parsed),
    )
    if not rows:
        say(report.message or report.state)
    return 0
