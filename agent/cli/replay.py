"""`roundtable replay`: the agents' steps of a round again, from the recorded exchanges alone."""

from __future__ import annotations

import argparse
import sys

from agent.api.replay import replay_round
from agent.report.costs import counted

#: Lines of a difference that are shown.
SHOWN = 40


def run(parsed: argparse.Namespace) -> int:
    done = replay_round(parsed.round, run_rules=parsed.run_rules)
    if done.unjudged:
        sys.stderr.write(f"{done.unjudged} was not run, so its verdicts were not given again (--run-rules runs it)\n")
    if done.identical:
        calls = counted(done.calls, "recorded call")
        sys.stdout.write(f"round {done.number}: the same decision, byte for byte, from {calls}\n")
        return 0
    lines = done.differences()
    sys.stdout.write(f"round {done.number}: the decision differs from the recorded one\n")
    sys.stdout.write("\n".join(lines[:SHOWN]) + "\n")
    if len(lines) > SHOWN:
        sys.stdout.write(f"... and {counted(len(lines) - SHOWN, 'more line')}\n")
    return 1
