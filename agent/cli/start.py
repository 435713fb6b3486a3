"""`roundtable start`: have a study driven unattended."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from agent.api.control import StartOptions, drive_job, start
from agent.cli.common import study_folder
from agent.cli.options import record_of
from agent.errors import UsageError


def run(parsed: argparse.Namespace) -> int:
    root = study_folder(parsed)
    if parsed.generation is not None:
        ending = drive_job(root, parsed.generation, say=_stamped)
    else:
        if parsed.every_minutes is not None and parsed.controller != "cron":
            raise UsageError(f"--every belongs to --controller cron; {parsed.controller} looks every --poll seconds")
        say = _stamped if parsed.controller == "foreground" else _plain
        found = start(root, record_of(StartOptions, parsed), say=say)
        if found is None:
            return 0
        ending = found
    if ending.error is not None:
        raise ending.error
    return 0


def _plain(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _stamped(line: str) -> None:
    """For a log that grows over weeks."""
    _plain(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}")
