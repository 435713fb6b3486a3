"""`roundtable submit`: hand a round that was rendered for a person to the study's launcher."""

from __future__ import annotations

import argparse

from agent.api.steer import submit_round
from agent.cli.common import detail_of, say, study_folder
from agent.pasteable import roundtable


def run(parsed: argparse.Namespace) -> int:
    root = study_folder(parsed)
    report = submit_round(root, only=parsed.round, say=say, detail=detail_of(parsed))
    if report.progress:
        rows = len(report.progress)
        say(f"{rows} rows running or pending; `{roundtable('collect', '--study', root)}` takes them in")
    return 0
