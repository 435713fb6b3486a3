"""Finding the point of the highest score: random points, changes of the best trials, then climbs from the best.

Nothing here knows what is scored. A score is minus infinity where a point is not allowed or not new.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from agent.propose.bayes.space import Space

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Score = Callable[["Array"], "Array"]
"""(m, d) normal points -> (m,)."""

RANDOM, CHANGED = 500, 500
"""Candidates drawn from the whole space, and by changing the best trials."""
PARENTS = 4
STEPS, EACH = 15, 10
"""Of a climb: its steps, and the changes tried in each."""
WIDTHS = (0.3, 0.1, 0.03)
"""Standard deviations of a changed number on the unit interval, one of them drawn for each change."""


def candidates(space: Space, rng: np.random.Generator, best: Array) -> Array:
    """Points to begin with. best: (p, d) the best trials, the best first; may be empty."""
    drawn = space.random(rng, RANDOM if len(best) else RANDOM + CHANGED)
    if not len(best):
        return drawn
    parents = best[rng.integers(min(len(best), PARENTS), size=CHANGED)]
    return np.concatenate([drawn, changed(space, rng, parents)])


def changed(space: Space, rng: np.random.Generator, parents: Array, *, most: int | None = None) -> Array:
    """One change of each parent: a number moves, a category becomes another one. most: parameters that change."""
    count, dimensions = parents.shape
    share = rng.choice([1.0 / dimensions, 0.3, 0.6], size=(count, 1)) if most is None else np.zeros((count, 1))
    # At least one moves, or as many as asked for.
    number = np.ones((count, 1), dtype=int) if most is None else rng.integers(1, most + 1, size=(count, 1))
    moves = rng.random((count, dimensions)) < share
    moves |= rng.random((count, dimensions)).argsort(axis=1) < number
    width = rng.choice(WIDTHS, size=(count, 1))
    moved = np.clip(parents + width * rng.standard_normal((count, dimensions)), 0.0, 1.0)
    other = space.random(rng, count)
    return np.where(moves, np.where(space.categories, other, moved), parents)


def climb(space: Space, rng: np.random.Generator, score: Score, starts: Array, levels: Array) -> tuple[Array, float]:
    """The best point that climbs from some starts reach, and its score.

    starts: (c, d) points, levels: (c,) their scores.
    """
    starts, levels = starts.copy(), levels.copy()
    for _ in range(STEPS):
        tried = changed(space, rng, np.repeat(starts, EACH, axis=0), most=2)
        found = score(tried).reshape(len(starts), EACH)
        at = found.argmax(axis=1)
        top = found[np.arange(len(starts)), at]
        better = top > levels
        starts[better] = tried.reshape(len(starts), EACH, -1)[better, at[better]]
        levels = np.maximum(levels, top)
    index = int(levels.argmax())
    return starts[index], float(levels[index])
