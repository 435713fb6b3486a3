"""`roundtable costs`: what language models cost a study."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import TYPE_CHECKING

from agent.cli.common import study_folder
from agent.errors import UsageError
from agent.report.costs import costs, print_costs
from agent.store.store import Store

if TYPE_CHECKING:
    from agent.api.role_sources import RoleSource


def run(parsed: argparse.Namespace) -> int:
    store = Store.open(study_folder(parsed))
    sources = _sources(store)
    view = costs(store) | {"models": [dataclasses.asdict(source) for source in sources]}
    if parsed.json:
        sys.stdout.write(json.dumps(view, indent=2) + "\n")
        return 0
    if not any(view["total"][name] for name in ("calls", "not_made", "unanswered")):
        sys.stdout.write("no language model was asked in this study\n")
    else:
        from rich.console import Console

        print_costs(view, Console())
    from agent.api.role_sources import lines

    sys.stdout.write("".join(f"{line}\n" for line in lines(sources)))
    return 0


def _sources(store: Store) -> list[RoleSource]:
    """Who would be asked now; a .env that cannot be read costs no report."""
    from agent.api.models import role_sources
    from agent.store.study import Settings

    try:
        return role_sources(store, store.settings() if store.driven() else Settings())
    except UsageError as error:
        sys.stderr.write(f"roundtable costs: {error}\n")
        return []
