"""The order of a round's candidates by their means. It decides nothing: acceptance does."""

from __future__ import annotations

from collections.abc import Sequence

from agent.records import CandidateResult, Objective


def rank(observations: Sequence[CandidateResult], objective: Objective) -> list[CandidateResult]:
    """Best first: complete ones, then incomplete ones with a value, then those without, each in given order on ties.

    An incomplete mean is over easier or harder folds than the others', so it is not compared with theirs.
    """
    sign = -1.0 if objective.direction == "maximize" else 1.0

    def place(observation: CandidateResult) -> tuple[int, float]:
        if observation.value is None:
            return 2, 0.0
        return (0 if observation.complete else 1), sign * observation.value

    return sorted(observations, key=place)
