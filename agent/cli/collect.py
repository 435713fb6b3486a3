"""`roundtable collect`: take in the open round's results and close it, without opening another one."""

from __future__ import annotations

import argparse

from agent.api.steer import collect_round
from agent.cli.common import detail_of, say, study_folder


def run(parsed: argparse.Namespace) -> int:
    collect_round(study_folder(parsed), only=parsed.round, say=say, detail=detail_of(parsed))
    return 0
