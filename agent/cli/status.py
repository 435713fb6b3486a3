"""`roundtable status`: how a study stands."""

from __future__ import annotations

import argparse
import sys

from agent.cli.common import study_folder
from agent.errors import UsageError
from agent.report.status import overview, print_overview, to_json
from agent.store.store import Store


def run(parsed: argparse.Namespace) -> int:
    view = overview(Store.open(study_folder(parsed)))
    if parsed.json:
        sys.stdout.write(to_json(view))
        return 0
    from rich.console import Console

    known = [entry["round"] for entry in view["rounds"]]
    if view["open"] is not None:
        known.append(view["open"]["round"])
    if parsed.round is not None and parsed.round not in known:
        raise UsageError(
            f"--round {parsed.round}: the study's rounds are: {', '.join(map(str, known)) or 'none yet'}"
        )
    print_overview(view, Console(), only_round=parsed.round)
    return 0
