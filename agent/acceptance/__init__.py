"""Acceptance: is a candidate better than the incumbent, or was it luck? Pure: numbers in, verdicts out.

results -> noise -> compare -> verdict (rules, or a person's own) -> rounds (incumbent), and confirmation at fresh
seeds. doc/acceptance.md has the formulas, benchmarks/acceptance.py what they cost and catch.
"""

from agent.acceptance.confirmation import Confirmation, confirmation, paired_gains
from agent.acceptance.incumbent import Incumbent
from agent.acceptance.noise import Noise, estimate
from agent.acceptance.rank import rank
from agent.acceptance.rounds import RoundVerdicts, judge_round
from agent.acceptance.rules import Rules
from agent.acceptance.verdict import Judgement, Opinion

__all__ = [
    "Confirmation",
    "Incumbent",
    "Judgement",
    "Noise",
    "Opinion",
    "RoundVerdicts",
    "Rules",
    "confirmation",
    "estimate",
    "judge_round",
    "paired_gains",
    "rank",
]
