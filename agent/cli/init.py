"""`roundtable init`: begin a study; its reference may be edited before round 1."""

from __future__ import annotations

import argparse
import sys

from agent.api.begin import begin
from agent.cli.common import say, tune_options


def run(parsed: argparse.Namespace) -> int:
    store = begin(tune_options(parsed), say=say)
    sys.stdout.write(
        f"study {store.paths.root}\n"
        f"reference {store.paths.reference}\n"
        "Edit the reference if you like (doc/reference.md), then:\n"
        f"  {store.tune_command()}\n"
    )
    return 0
