"""Proposals without a model: the settings as they stand, and random ones. Every comparison needs both."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from agent.errors import ProposalError
from agent.propose.base import Batch
from agent.propose.space import fill
from agent.records import CandidateResult, Objective, Proposal
from agent.reference import Reference, canonical, config_key
from agent.reference.model import show


class DefaultProposer:
    """The reference as it stands: one proposal, whatever the count.

    source: "default", or "person" where somebody set the active values by hand; None tells them apart by whether a
    tunable value differs from its default.
    """

    name = "default"

    def __init__(self, *, source: str | None = None) -> None:
        self._source = source

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
        tunable = reference.tunable()
        values = {name: value for name, value in canonical(reference).items() if name in tunable}
        set_by_hand = [
            f"{name} = {show(values[name])} (default {show(reference.parameters[name].default)})"
            for name in values
            if reference.parameters[name].value != reference.parameters[name].default
        ]
        if not batch.offer(values):
            raise ProposalError(
                f"the reference as it stands (key {config_key(reference)}) was already tried; change an "
                "active_value, or let a proposer choose"
            )
        if set_by_hand:
            reason = f"the reference as it stands; {len(set_by_hand)} of {len(values)} values differ from the default"
            reason += f": {', '.join(set_by_hand)}"
        else:
            reason = f"the reference as it stands: the defaults of all {len(values)} active parameters"
        source = self._source or ("person" if set_by_hand else "default")
        details: dict[str, object] = {"differs_from_default": len(set_by_hand)}
        if count > 1:
            details["shortfall"] = batch.shortfall("the reference stands for one setting")
        return [Proposal(values=values, source=source, reason=reason, details=details)]


class RandomProposer:
    """Independent draws: uniform over choices, grids and ranges, log-uniform where a parameter is logarithmic."""

    name = "random"

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
        shortfall = batch.shortfall(fill(batch, Random(seed)))
        details: dict[str, object] = {"seed": seed}
        if shortfall:
            details["shortfall"] = shortfall
        return [
            Proposal(
                values=values,
                source=self.name,
                reason=f"random draw {position} of {len(batch.chosen)} from the reference's ranges",
                details=details,
            )
            for position, values in enumerate(batch.chosen, 1)
        ]
