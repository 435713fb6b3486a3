"""How many of a round's places a language model fills beside the Bayesian proposer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from agent.records import CandidateResult

SHARE = 0.3
"""Of the candidates after the warm-up."""
WARMUP = 4
"""Scored candidates before a model is asked: below that it has nothing to read that the ranges do not say."""


def model_places(
    history: Sequence[CandidateResult], places: int, *, share: float = SHARE, warmup: int = WARMUP
) -> int:
    """How many of `places` a model fills, so that over the rounds it comes to `share` of all, whatever K is.

    Counted from the number of candidates so far alone, not from who proposed them: a model that failed does not get
    its places again. Raises ValueError for a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}: must be above 0 and at most 1")
    if sum(observation.value is not None for observation in history) < warmup:
        return 0
    before, after = (math.floor(share * count + 0.5) for count in (len(history), len(history) + places))
    return after - before
