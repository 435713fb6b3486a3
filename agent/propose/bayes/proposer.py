"""The Gaussian process behind the proposer contract, with the reasons of each proposal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from agent.propose.base import Batch
from agent.propose.bayes.model import START, Suggestion, Trial, suggest
from agent.propose.bayes.reference_space import ReferenceSpace
from agent.propose.seen import Seen, where
from agent.propose.space import fill
from agent.records import CandidateResult, Objective, Proposal
from agent.reference import Reference, config_key
from agent.reference.model import show
from trainers.contract import Value

SCREENED_VARIANCE = 4.0
"""Of the noise of a candidate that was given up in a rung, as a multiple of a full training's: it counts as no better
than the worst that was trained in full."""
MOST_MOVES = 4
"""Parameters that a reason names."""
_ROLES = {
    "exploit": "expected to be better than the best",
    "explore": "less certain than its expected value is worse",
    "hedge": "a small change of the best",
    "filled": "ranked by expected improvement, in a round too large for a model of each place",
}


class GaussianProcessProposer:
    """Bayesian optimisation by expected improvement; see agent.propose.bayes.model."""

    name = "gp"

    def propose(
        self,
        reference: Reference,
        history: Sequence[CandidateResult],
        count: int,
        *,
        objective: Objective,
        seed: int,
        taken: frozenset[str],
    ) -> list[Proposal]:
        batch = Batch(reference=reference, count=count, taken=taken)
        seen = Seen.of(reference, history)
        made = _Made.of(reference, seen, objective, batch, seed)
        shortfall = batch.shortfall(fill(batch, Random(seed)))
        shared = seen.details(seed)
        if shortfall:
            shared["shortfall"] = shortfall
        return [made.proposal(position, values, shared) for position, values in enumerate(batch.chosen)]


@dataclass(frozen=True, kw_only=True)
class _Made:
    """The suggestions that a batch took, in its order, and what their reasons are written with."""

    suggestions: Sequence[Suggestion]
    observed: Sequence[CandidateResult]
    """Of the model's trials, in their order."""
    seen: Seen
    objective: Objective

    @classmethod
    def of(cls, reference: Reference, seen: Seen, objective: Objective, batch: Batch, seed: int) -> _Made:
        space = ReferenceSpace(reference)
        trials, observed = _trials(space, seen, objective)

        def new(point: object) -> bool:
            values = space.values(point)  # type: ignore[arg-type]
            return values is not None and config_key(reference, values) not in batch.taken | batch.keys

        # A reference with nothing to tune has one setting, and no space.
        found = suggest(space.space, trials, batch.count, seed=seed, new=new) if len(space.space) else []
        kept = []
        for suggestion in found:
            values = space.values(suggestion.point)
            if values is not None and batch.offer(values):
                kept.append(suggestion)
        return cls(suggestions=kept, observed=observed, seen=seen, objective=objective)

    def proposal(self, position: int, values: dict[str, Value], shared: dict[str, object]) -> Proposal:
        """The proposal at a position of the batch; those beyond the suggestions are random."""
        if position >= len(self.suggestions):
            why = f"random draw, because the model found {len(self.suggestions)} untried settings"
            return Proposal(values=values, source="random_fill", reason=why, details=shared)
        suggestion = self.suggestions[position]
        if suggestion.role == "start":
            why = f"evenly spread: the model begins with {START} trials, and {len(self.seen.scored)} have a score"
            return Proposal(values=values, source="gp_start", reason=why, details={**shared, "role": "start"})
        return Proposal(
            values=values,
            source=GaussianProcessProposer.name,
            reason=self._reason(suggestion, values),
            details={**shared, **self._details(suggestion, values)},
        )

    def _details(self, suggestion: Suggestion, values: dict[str, Value]) -> dict[str, object]:
        found: dict[str, object] = {"role": suggestion.role}
        if suggestion.mean is not None and suggestion.deviation is not None:
            found["expected"] = self._sign * suggestion.mean
            found["deviation"] = suggestion.deviation
        if suggestion.chance is not None:
            found["chance_of_value"] = round(suggestion.chance, 4)
        if suggestion.nearest is not None:
            near = self.observed[suggestion.nearest]
            found["nearest"] = {"round": near.round, "candidate": near.candidate, "value": near.value}
        best = self.seen.best(self.objective)
        found["moves"] = {name: [old, new] for name, old, new in _moves(best, values)}
        return found

    def _reason(self, suggestion: Suggestion, values: dict[str, Value]) -> str:
        best = self.seen.best(self.objective)
        moves = _moves(best, values)
        shown = ", ".join(f"{name} {_or_off(old)} to {_or_off(new)}" for name, old, new in moves[:MOST_MOVES])
        more = f" and {len(moves) - MOST_MOVES} more" if len(moves) > MOST_MOVES else ""
        expected = ""
        if suggestion.mean is not None and suggestion.deviation is not None:
            expected = f" {self.objective.metric} {self._sign * suggestion.mean:.4g} ± {suggestion.deviation:.2g},"
        chance = f"; {suggestion.chance:.0%} chance of a value" if suggestion.chance is not None else ""
        told = f"Gaussian process over {self.seen.told}; expects{expected}" if expected else "Gaussian process:"
        role = f"{_ROLES[suggestion.role]} ({where(best, self.objective)})"
        return f"{told} {role}{chance}; against it {shown or 'nothing'}{more}"

    @property
    def _sign(self) -> float:
        return -1.0 if self.objective.direction == "maximize" else 1.0


def _trials(space: ReferenceSpace, seen: Seen, objective: Objective) -> tuple[list[Trial], list[CandidateResult]]:
    """What the model reads, and the observation of each."""
    sign = -1.0 if objective.direction == "maximize" else 1.0
    trials: list[Trial] = []
    observed: list[CandidateResult] = []
    for observation, values in seen.scored:
        assert observation.value is not None
        variance = observation.rows / max(observation.n, 1)
        trials.append(Trial(point=space.point(values), value=sign * observation.value, variance=variance))
        observed.append(observation)
    worst = max((trial.value for trial in trials if trial.value is not None), default=None)
    for observation, values in seen.screened:
        trials.append(
            Trial(point=space.point(values), value=worst, variance=SCREENED_VARIANCE, pending=worst is None)
        )
        observed.append(observation)
    for observation, values in seen.refused:
        trials.append(Trial(point=space.point(values), value=math.nan))
        observed.append(observation)
    return trials, observed


def _moves(best: CandidateResult, values: dict[str, Value]) -> list[tuple[str, Value | None, Value | None]]:
    """(parameter, its value in the best trial, its value here) where the two differ; None: it has no effect there."""
    names = [*values, *(name for name in best.values if name not in values)]
    pairs = ((name, best.values.get(name), values.get(name)) for name in names)
    return [(name, old, new) for name, old, new in pairs if old != new]


def _or_off(value: Value | None) -> str:
    return "off" if value is None else show(value)
