"""`roundtable stop`: have a study's controllers end."""

from __future__ import annotations

import argparse

from agent.api.control import stop
from agent.cli.common import say, study_folder


def run(parsed: argparse.Namespace) -> int:
    stop(study_folder(parsed), now=parsed.now, say=say)
    return 0
