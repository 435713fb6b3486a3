"""`roundtable tick`: one idempotent step."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from agent.api import tick_once
from agent.cli.common import detail_of, say, say_stamped, study_folder
from agent.store.store import Store


def run(parsed: argparse.Namespace) -> int:
    if parsed.unattended:
        return _unattended(study_folder(parsed))
    report = tick_once(Store.open(study_folder(parsed)), say=say, detail=detail_of(parsed))
    where = f"{report.round.label}: " if report.round is not None else ""
    waiting = f", {len(report.progress)} rows running or pending" if report.progress else ""
    state = "waits for you to run its scripts" if report.state == "manual" else report.state
    lines = [f"{where}{state}{waiting}", *report.missing, *report.commands]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _unattended(root: Path) -> int:
    """For a log that grows over weeks: dated lines."""
    from agent.api.control import tick_unattended

    report = tick_unattended(root, say=say_stamped)
    if report is not None:
        where = f"{report.round.label}: " if report.round is not None else ""
        say_stamped(f"{where}{report.state}")
    return 0
