"""`roundtable propose`: the next configurations for any program, from a space and a history in JSON."""

from __future__ import annotations

import argparse
import json
import sys


def run(parsed: argparse.Namespace) -> int:
    from agent.propose.bayes.ask_tell import propose

    found = propose(parsed.space, parsed.history, count=parsed.count, seed=parsed.seed)
    if len(found) < parsed.count:
        sys.stderr.write(f"roundtable propose: {len(found)} of {parsed.count}: no further configuration was found\n")
    sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
    return 0
