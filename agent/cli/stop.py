"""`roundtable stop`: have a study's controllers end."""

from __future__ import annotations

import argparse
import sys

from agent.api.control import stop
from agent.cli.common import study_folder


def run(parsed: argparse.Namespace) -> int:
    def say(line: str) -> None:
        sys.stdout.write(line + "\n")

    stop(study_folder(parsed), now=parsed.now, say=say)
    return 0
