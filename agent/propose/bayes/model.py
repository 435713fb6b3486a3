"""One round: from the trials so far to the next points, each with what the model expects there and why it is chosen.

Trial 1 is the caller's default. Up to START trials come from a sequence that fills the space evenly; then each place
of a round gets the point with the highest expected improvement (acquisition.py) times its chance of a value
(feasibility.py), and is then counted as if it had the value that the model expects (the kriging believer:
Ginsbourger, Le Riche and Carraro, "Kriging is well-suited to parallelize optimization", 2010). The last place of a
round is a hedge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.propose.bayes import search
from agent.propose.bayes.acquisition import log_ei, log_mean
from agent.propose.bayes.feasibility import Feasibility
from agent.propose.bayes.kernel import differences
from agent.propose.bayes.posterior import Posterior
from agent.propose.bayes.prior import Prior
from agent.propose.bayes.sampler import Data, thetas
from agent.propose.bayes.space import Space

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

START = 4
"""Trials before the model is asked: one round of four. With eight the regret after 10 trials was .03 higher."""
EARLY, CLIMBS = 9, 4
"""Below EARLY trials the best candidate is climbed from CLIMBS times, afterwards once: more was no better then."""
HEDGE_FROM, HEDGES = 8, 20
"""From HEDGE_FROM trials on the last place of a round is the best of HEDGES changes of one or two parameters of the
best trial: where 59 % of the settings diverge, the model runs into a corner and stays there without (.25 to .20 after
25 trials)."""
MODELLED = 32
"""Places of a round that are chosen one after the other. A larger round is filled with the best of one list of
candidates, in the order of their scores: 2,000 places one by one would take minutes."""
MOST_TRIALS = 300
"""Observations that the model reads: the best half of them and the newest others. Beyond, each round costs n^3."""
MISSES = 16
"""Points in a row that the caller refuses before a round is left short."""
SIGNIFICANT = 9
"""Digits of a score that count, so that the last bits of another machine's arithmetic decide nothing."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One point that was tried, or is being tried."""

    point: Array
    value: float | None = None
    """To be minimised. None, NaN and infinity: it failed, unless `pending`."""
    pending: bool = False
    variance: float = 1.0
    """Of its noise, as a multiple of an ordinary trial's."""

    @property
    def scored(self) -> bool:
        return self.value is not None and math.isfinite(self.value)


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """One point to try."""

    point: Array
    role: str
    """"start" (no model yet), "exploit" (expected to be better than the best), "explore" (uncertain), "hedge" (a
    small change of the best), or "filled" (a place beyond MODELLED)."""
    mean: float | None = None
    deviation: float | None = None
    """Of the value that the model expects, in the caller's units; None at the start."""
    chance: float | None = None
    """That it has a value at all; None where nothing failed yet."""
    nearest: int | None = None
    """Index of the nearest scored trial in the model's distance."""


def suggest(
    space: Space, trials: Sequence[Trial], count: int, *, seed: int, new: Callable[[Array], bool] = lambda point: True
) -> list[Suggestion]:
    """Up to `count` distinct points that none of the trials has, fewer where no further one was found.

    new: whether the caller may try a point beyond that. The same arguments give the same points.
    """
    round_ = _Round(space, trials, seed, new)
    if not round_.scored or len(trials) < START:
        return round_.start(count)
    return round_.modelled(count)


class _Round:
    """The state of one call: what is observed, what is chosen, and what counts as tried."""

    def __init__(self, space: Space, trials: Sequence[Trial], seed: int, new: Callable[[Array], bool]) -> None:
        self.space, self.new = space, new
        self.rng = np.random.default_rng(seed)
        self.tried = len(trials)
        self.taken = {trial.point.tobytes() for trial in trials}
        self.scored = [(index, trial) for index, trial in enumerate(trials) if trial.scored]
        self.failed = [trial for trial in trials if not trial.scored and not trial.pending]
        self.pending = [trial for trial in trials if trial.pending]

    def fresh(self, points: Array) -> NDArray[np.bool_]:
        """(m, d) normal points -> (m,) which are untried."""
        return np.array([p.tobytes() not in self.taken for p in points], dtype=bool)

    def start(self, count: int) -> list[Suggestion]:
        """Points that fill the space evenly."""
        points, allowed = self.space.normal(self.space.spread(self.rng, 64 + 4 * count))
        found: list[Suggestion] = []
        for point in points[allowed]:
            if len(found) < count and point.tobytes() not in self.taken:
                self.taken.add(point.tobytes())
                if not self.new(point):
                    continue
                found.append(Suggestion(point=point, role="start"))
        return found

    def modelled(self, count: int) -> list[Suggestion]:
        """Points by the model."""
        self._fit()
        found: list[Suggestion] = []
        for place in range(min(count, MODELLED)):
            hedged = 0 < place == count - 1 and self.tried >= HEDGE_FROM
            point = self._untried(hedged=hedged)
            if point is None:
                return found
            found.append(self._taken(point, "hedge" if hedged else ""))
        if count > MODELLED:
            found += self._filled(count - MODELLED)
        return found

    def _fit(self) -> None:
        scored = self._kept()
        self.indices = [index for index, _ in scored]
        self.points = np.stack([trial.point for _, trial in scored])
        raw = np.array([trial.value for _, trial in scored], dtype=float)
        values, self.centre, self.scale = standardised(raw)
        self.order = raw.argsort(kind="stable")
        self.best = float(values.min())
        categories, prior = self.space.categories, Prior(len(self.space))
        variances = np.array([trial.variance for _, trial in scored])
        data = Data(apart=self._apart(self.points), values=values, variances=variances)
        self.posterior = Posterior.of(thetas(data, prior, self.rng), data)
        self.feasibility: Feasibility | None = None
        if self.failed:
            failed = np.stack([trial.point for trial in self.failed[-MOST_TRIALS:]])
            self.feasibility = Feasibility(self.points, failed, categories, prior, self.rng)
        self.known = len(self.points)
        for trial in self.pending:
            self._expect(trial.point)

    def _kept(self) -> list[tuple[int, Trial]]:
        """The trials that the model reads."""
        if len(self.scored) <= MOST_TRIALS:
            return self.scored
        best = sorted(self.scored, key=lambda pair: (pair[1].value, pair[0]))[: MOST_TRIALS // 2]
        known = {index for index, _ in best}
        newest = [pair for pair in self.scored if pair[0] not in known][-(MOST_TRIALS - len(best)) :]
        return sorted([*best, *newest], key=lambda pair: pair[0])

    def _apart(self, points: Array) -> Array:
        return differences(points, self.points, self.space.categories)

    def score(self, raw: Array) -> Array:
        """(m, d) points -> (m,) ln of expected improvement times chance; minus infinity for what cannot be tried."""
        points, allowed = self.space.normal(raw)
        mean, deviation = self.posterior.predict(self._apart(points))
        level = log_mean(log_ei(mean, deviation, self.best))
        if self.feasibility is not None:
            level = level + self.feasibility.log_chance(points)
        return np.where(allowed & self.fresh(points), np.round(level, SIGNIFICANT), -np.inf)

    def _untried(self, *, hedged: bool) -> Array | None:
        """The next point that the caller may try; None where there is none, or MISSES in a row were refused."""
        for _ in range(MISSES):
            point = self._hedge() if hedged else self._best()
            if point is None or self.new(point):
                return point
            self.taken.add(point.tobytes())
        return None

    def _best(self) -> Array | None:
        raw = search.candidates(self.space, self.rng, self.points[self.order])
        levels = self.score(raw)
        top = int(levels.argmax())
        climbs = CLIMBS if self.tried < EARLY else 1
        starts = np.repeat(raw[top][None], climbs, axis=0)
        point, level = search.climb(self.space, self.rng, self.score, starts, np.full(climbs, levels[top]))
        return None if level == -math.inf else self._normal(point)

    def _hedge(self) -> Array | None:
        parents = np.repeat(self.points[self.order[:1]], HEDGES, axis=0)
        raw = search.changed(self.space, self.rng, parents, most=2)
        levels = self.score(raw)
        top = int(levels.argmax())
        return self._best() if levels[top] == -math.inf else self._normal(raw[top])

    def _filled(self, count: int) -> list[Suggestion]:
        """The best of one list of candidates that is several times as long."""
        found: list[Suggestion] = []
        raw = np.concatenate(
            [search.candidates(self.space, self.rng, self.points[self.order]) for _ in range(2 + count // 250)]
        )
        points, _ = self.space.normal(raw)
        levels = self.score(raw)
        for index in levels.argsort(kind="stable")[::-1]:
            if len(found) == count or levels[index] == -math.inf:
                break
            if points[index].tobytes() not in self.taken:
                self.taken.add(points[index].tobytes())
                if not self.new(points[index]):
                    continue
                found.append(Suggestion(point=points[index], role="filled"))
        return found

    def _normal(self, point: Array) -> Array:
        points, _ = self.space.normal(point[None])
        first: Array = points[0]
        return first

    def _taken(self, point: Array, role: str) -> Suggestion:
        """The point as a suggestion; from now on it counts as tried."""
        apart = self._apart(point[None])
        mean, deviation = self.posterior.predict(apart)
        centre = float(mean.mean())
        spread = math.sqrt(max(float((deviation**2 + mean**2).mean()) - centre**2, 0.0))
        near = self.posterior.distances(apart[:, : self.known]).mean(axis=0)[0]
        chance = None
        if self.feasibility is not None:
            chance = math.exp(min(float(self.feasibility.log_chance(point[None])[0]), 0.0))
        self.taken.add(point.tobytes())
        self._expect(point)
        return Suggestion(
            point=point,
            role=role or ("exploit" if centre < self.best else "explore"),
            mean=centre * self.scale + self.centre,
            deviation=spread * self.scale,
            chance=chance,
            nearest=self.indices[int(near.argmin())],
        )

    def _expect(self, point: Array) -> None:
        """Count a point as observed with the value that each draw of the model expects."""
        apart = self._apart(point[None])
        mean, _ = self.posterior.predict(apart)
        self.posterior = self.posterior.with_one_more(apart, mean[:, 0])
        if self.feasibility is not None:
            self.feasibility.expect(point)
        self.points = np.concatenate([self.points, point[None]])


def standardised(values: Array) -> tuple[Array, float, float]:
    """(n,) values -> the same with mean 0 and deviation 1, and the mean and deviation that were taken off.

    Values far beyond the median are cut at as much above it as the best one is below it: how bad a bad setting is
    says nothing about where the good ones are, and one that diverged would flatten all others.
    """
    middle, best = float(np.median(values)), float(values.min())
    cut = np.minimum(values, middle + (middle - best)) if middle > best else np.minimum(values, middle)
    mean, scale = float(cut.mean()), float(cut.std())
    if not scale > 0:
        return np.zeros_like(cut), mean, 1.0
    return (cut - mean) / scale, mean, scale
