"""Which roles may be asked in a study: said here, for the drawing, the checks of keys and `doctor`."""

from __future__ import annotations

from agent.names import ROLES
from agent.proposers import proposer_entry


def may_speak(
    *, proposer: str, planned: bool, analyst: bool, searches: bool, critique: bool, judge: bool
) -> tuple[str, ...]:
    """The roles that a study with language models may ask, in the order of ROLES.

    proposer: its name. planned: whether each round has a step type. analyst, critique:
    the study's switches. searches: whether there is a search provider. judge: whether the rules of acceptance leave
    small gains to a judge.
    """
    entry = proposer_entry(proposer)
    asked = {
        "analyst": analyst,
        "researcher": searches,
        "autotuner": entry.speaks == "autotuner" and not planned,
        "planner": planned or entry.plans,
        "consultant_a": entry.speaks == "panel",
        "consultant_b": entry.speaks == "panel",
        "supervisor": entry.speaks == "panel",
        # What an algorithm made gives no reasons to look at.
        "checker": critique and entry.asks,
        # Whoever proposed.
        "judge": judge,
    }
    return tuple(role for role in ROLES if asked[role])
