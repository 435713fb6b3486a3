"""Which roles may be asked in a study: said here, for the drawing, the checks of keys and `doctor`."""

from __future__ import annotations

from agent.names import ROLES


def may_speak(
    *, proposer: str, planned: bool, analyst: bool, searches: bool, critique: bool, judge: bool
) -> tuple[str, ...]:
    """The roles that a study with language models may ask, in the order of ROLES.

    proposer: bayes, llm, panel, hybrid or planner. planned: whether each round has a step type. analyst, critique:
    the study's switches. searches: whether there is a search provider. judge: whether the rules of acceptance leave
    small gains to a judge.
    """
    asked = {
        "analyst": analyst,
        "researcher": searches,
        "autotuner": proposer in ("llm", "hybrid") and not planned,
        "planner": planned or proposer == "planner",
        "consultant_a": proposer == "panel",
        "consultant_b": proposer == "panel",
        "supervisor": proposer == "panel",
        # What the Bayesian proposer made gives no reasons to look at.
        "checker": critique and proposer != "bayes",
        # Whoever proposed.
        "judge": judge,
    }
    return tuple(role for role in ROLES if asked[role])
