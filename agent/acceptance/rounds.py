"""A round's verdicts and the incumbent after it. Pure; a judge's opinion, if any, is put in between the two.

verdicts = judge_round(...)          by the rules
verdicts = verdicts.with_opinions()  of a language model, on what is borderline
incumbent = verdicts.elect()         the best of what was accepted
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from agent.acceptance.compare import compare
from agent.acceptance.incumbent import Incumbent
from agent.acceptance.noise import Noise
from agent.acceptance.rules import Rules
from agent.acceptance.verdict import (
    ACCEPTED,
    BORDERLINE,
    HELD,
    LEADS,
    REJECTED,
    UNMEASURED,
    Judgement,
    Opinion,
    decide,
    with_opinion,
)
from agent.records import CandidateResult, Objective, Place


@dataclass(frozen=True, kw_only=True)
class RoundVerdicts:
    """What a round's candidates are, held against one incumbent."""

    against: Incumbent | None
    """What they were held against; None where nothing complete is known."""
    results: Mapping[Place, CandidateResult]
    judgements: Mapping[Place, Judgement]
    objective: Objective

    @property
    def for_judge(self) -> dict[Place, Judgement]:
        """What a judge may speak about."""
        return {place: judgement for place, judgement in self.judgements.items() if judgement.for_judge}

    def with_opinions(self, opinions: Mapping[Place, Opinion]) -> RoundVerdicts:
        """With what the judge said; see `with_opinion`."""
        found = {
            place: with_opinion(judgement, opinions[place]) if place in opinions else judgement
            for place, judgement in self.judgements.items()
        }
        return replace(self, judgements=found)

    def elect(self) -> Incumbent | None:
        """The accepted candidate of the largest gain; where none is, the one that leads while the noise is unknown;
        else what they were held against."""
        for verdict, standing in ((ACCEPTED, "accepted"), (LEADS, "leading")):
            won = [place for place, judgement in self.judgements.items() if _compared(judgement, verdict)]
            if won:
                best = max(won, key=self._gain)
                judgement = self.judgements[best]
                return Incumbent.of(self.results[best], self.objective.metric, verdict=standing, judgement=judgement)
        return self.against

    def _gain(self, place: Place) -> float:
        comparison = self.judgements[place].comparison
        assert comparison is not None
        return comparison.gain


def judge_round(
    current: Incumbent | None,
    candidates: Sequence[CandidateResult],
    known: Mapping[Place, CandidateResult],
    noise: Noise | None,
    objective: Objective,
    rules: Rules,
    *,
    barred: Mapping[str, str] | None = None,
) -> RoundVerdicts:
    """Hold each candidate against the incumbent, or without one against the first complete candidate.

    candidates: of the round that closes, the default first (or, where the incumbent is to be found anew, of every
    round). known: every candidate measured so far, these included: where the incumbent's single values are. barred:
    key -> reason, of settings that are out whatever they measured: beyond a limit, or beaten at fresh seeds. Raises
    InvalidRules where a person's own rule fails.
    """
    barred = barred or {}
    held = _held(current, known)
    complete = [c for c in candidates if c.complete and c.key not in barred]
    if held is None and complete:
        held = Incumbent.of(complete[0], objective.metric)
    own = None if held is None else known.get(held.place)
    challengers = [c for c in complete if held is not None and c.place != held.place]
    judgements = {}
    for candidate in candidates:
        if held is not None and candidate.place == held.place:
            judgement = Judgement(verdict=HELD, why=f"incumbent: {held.describe()}", rule=rules.name)
        elif candidate.key in barred:
            judgement = Judgement(verdict=REJECTED, why=f"rejected: {barred[candidate.key]}", rule=rules.name)
        elif not candidate.complete or held is None:
            judgement = Judgement(verdict=UNMEASURED, why=_why_not(candidate), rule=rules.name)
        else:
            assert own is not None, "the incumbent is among what is known"
            judgement = decide(compare(candidate, own, noise, objective, rules, k=len(challengers)), rules)
        judgements[candidate.place] = judgement
    return RoundVerdicts(
        against=held,
        results={c.place: c for c in candidates},
        judgements=_one_leads(judgements),
        objective=objective,
    )


def _held(current: Incumbent | None, known: Mapping[Place, CandidateResult]) -> Incumbent | None:
    """The incumbent as it is measured now; None where its round was run again and it is no more, or failed."""
    found = known.get(current.place) if current is not None else None
    if current is None or found is None or found.key != current.key or not found.complete:
        return None
    return current.remeasured(found)


def _one_leads(judgements: Mapping[Place, Judgement]) -> dict[Place, Judgement]:
    """While the noise is unknown the best one leads, and the others are what they would be behind it."""
    leading = {
        place: judgement.comparison.gain
        for place, judgement in judgements.items()
        if judgement.verdict == LEADS and judgement.comparison is not None
    }
    if not leading:
        return dict(judgements)
    first = max(leading, key=leading.__getitem__)
    return {
        place: replace(judgement, verdict=BORDERLINE, why=f"borderline, {first[1]} leads: {_without(judgement.why)}")
        if place in leading and place != first
        else judgement
        for place, judgement in judgements.items()
    }


def _without(why: str) -> str:
    return why.removeprefix(f"{LEADS}: ")


def _compared(judgement: Judgement, verdict: str) -> bool:
    return judgement.verdict == verdict and judgement.comparison is not None


def _why_not(candidate: CandidateResult) -> str:
    if candidate.value is None:
        return "unmeasured: no row ended ok"
    return f"unmeasured: {candidate.n} of {candidate.rows} rows ended ok, and an incomplete mean is not compared"
