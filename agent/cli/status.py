"""`roundtable status`: how a study stands."""

from __future__ import annotations

import argparse
import sys

from agent.cli.common import study_folder
from agent.report.status import overview, print_overview, to_json
from agent.store.store import Store


def run(parsed: argparse.Namespace) -> int:
    view = overview(Store.open(study_folder(parsed)), only=parsed.round)
    if parsed.json:
        sys.stdout.write(to_json(view))
        return 0
    from rich.console import Console

    print_overview(view, Console())
    return 0
