"""`roundtable cancel`: stop the open round's tasks, or some of them."""

from __future__ import annotations

import argparse
import sys

from agent.api.steer import cancellation
from agent.cli.common import say, study_folder
from agent.errors import UsageError


def run(parsed: argparse.Namespace) -> int:
    wanted = cancellation(study_folder(parsed), only=parsed.round, rows=parsed.rows, say=say)
    say(wanted.text)
    if not parsed.yes and not _confirmed():
        say("nothing was cancelled")
        return 0
    say(wanted.carry_out(say))
    return 0


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked here: --yes cancels without asking")
    sys.stdout.write("Cancel? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
