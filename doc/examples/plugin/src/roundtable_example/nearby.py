"""A proposer in one file: one parameter of the best settings so far is drawn anew."""

from collections.abc import Sequence
from random import Random

from agent.propose.base import Batch
from agent.propose.space import fill, random_value, walk
from agent.proposers import ProposerEntry
from agent.records import CandidateResult, Objective, Proposal
from agent.reference import Reference

ENTRY = ProposerEntry(name="nearby", title="One parameter at a time", algorithm="roundtable_example.nearby:Nearby")

TRIES = 100


class Nearby:
    """Stateless: what it knows is the history, and all chance comes from the seed (agent.propose.base.Proposer)."""

    name = "nearby"

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
        rng = Random(seed)
        best = _best(history, objective)
        for _ in range(TRIES * count if best is not None else 0):
            changed = rng.choice(reference.tunable())
            values = walk(
                reference,
                # Parameters that the best settings lack, or whose value an edit has ruled out, are drawn too.
                lambda parameter, name=changed: (
                    best[parameter.name]
                    if parameter.name != name and parameter.refusal(best.get(parameter.name)) is None
                    else random_value(parameter, rng)
                ),
            )
            if values is not None:
                batch.offer(values)
        near = len(batch.chosen)
        how = fill(batch, rng)
        details = {"shortfall": missing} if (missing := batch.shortfall(how)) else {}
        return [
            Proposal(
                values=values,
                source=self.name if place < near else "random_fill",
                reason="the best settings so far with one parameter drawn anew"
                if place < near
                else "drawn at random",
                details={"seed": seed, **details},
            )
            for place, values in enumerate(batch.chosen)
        ]


def _best(history: Sequence[CandidateResult], objective: Objective):
    scored = [seen for seen in history if seen.value is not None and seen.fidelity == 1]
    if not scored:
        return None
    worst_first = sorted(scored, key=lambda seen: seen.value if objective.direction == "maximize" else -seen.value)
    return worst_first[-1].values
