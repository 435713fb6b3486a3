"""`roundtable costs`: what language models cost a study."""

from __future__ import annotations

import argparse
import json
import sys

from agent.cli.common import study_folder
from agent.report.costs import costs, print_costs
from agent.store.store import Store


def run(parsed: argparse.Namespace) -> int:
    view = costs(Store.open(study_folder(parsed)))
    if parsed.json:
        sys.stdout.write(json.dumps(view, indent=2) + "\n")
        return 0
    if not any(view["total"][name] for name in ("calls", "not_made", "unanswered")):
        sys.stdout.write("no language model was asked in this study\n")
        return 0
    from rich.console import Console

    print_costs(view, Console())
    return 0
