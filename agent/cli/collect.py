"""`roundtable collect`: take in the open round's results and close it, without opening another one."""

from __future__ import annotations

import argparse
import sys

from agent.api.steer import collect_round
from agent.cli.common import study_folder


def run(parsed: argparse.Namespace) -> int:
    def say(line: str) -> None:
        sys.stdout.write(line + "\n")

    def ignore(line: str) -> None:
        """orchestrator.log has it."""

    collect_round(study_folder(parsed), only=parsed.round, say=say, detail=say if parsed.verbose else ignore)
    return 0
