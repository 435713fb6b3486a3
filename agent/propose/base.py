"""The contract of every proposer, and the batch that keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Protocol

from agent.errors import ProposalError
from agent.records import CandidateResult, Objective, Proposal
from agent.reference import Reference, config_key
from trainers.contract import Value


class Proposer(Protocol):
    """Turns what is known so far into the next settings to train.

    **Stateless.** Everything a proposer knows comes in as `history`; nothing is remembered between calls and nothing
    is written. The same arguments give the same proposals, on any machine: all chance comes from `seed`, which the
    caller changes from round to round. A killed step can therefore be done again.

    **Valid.** Each proposal gives a value to every tunable parameter that is active under it and to no other, in
    canonical form and of exactly the type that the reference declares (`check_values(..., complete=True)` finds
    nothing; JSON can hold it). Nothing is clamped to make it so.

    **New.** No proposal has a key (`config_key`) that is in `taken`, and no two of one batch share one. `taken` is
    the whole truth about that: the caller puts in what was tried, and may leave out what is to be tried again.

    **Honest history.** Observations without a value failed: they carry an outcome, never a penalty score, and only
    outcomes with `is_config` say anything about the settings. Observations may lie outside today's ranges, lack
    parameters or have ones that are gone, because a person may edit the reference between rounds; a proposer leaves
    aside what it cannot use and says in `details` how many that were.

    **Recorded.** Each proposal's `source` says who really made it (a random fill is not TPE), `reason` is one plain
    sentence with the numbers behind it, `details` are JSON values.

    **Exhaustion.** Where fewer than `count` valid untried settings are found, those are returned, each with
    `details["shortfall"]` saying how many there were and how it was established. Where there is none, ProposalError
    says the same.
    """

    @property
    def name(self) -> str:
        """The proposer's name, as in `source`."""
        ...

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
        """1 to `count` proposals. count: at least 1; seed: any integer from 0.

        Raises ProposalError when no valid untried setting is found, ValueError for a count below 1.
        """
        ...


@dataclass(kw_only=True)
class Batch:
    """The settings of one call: valid ones only, each new, in the order in which they came."""

    reference: Reference
    count: int
    taken: Set[str]
    chosen: list[dict[str, Value]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count is {self.count}: at least one proposal must be asked for")

    @property
    def full(self) -> bool:
        return len(self.chosen) >= self.count

    def offer(self, values: Mapping[str, Value]) -> bool:
        """Take valid values if there is room and they are new. Returns whether they were taken."""
        key = config_key(self.reference, values)
        if self.full or key in self.taken or key in self.keys:
            return False
        self.keys.add(key)
        self.chosen.append(dict(values))
        return True

    def shortfall(self, how: str) -> str:
        """What is missing, for `details`; "" where the batch is full. Raises ProposalError where it is empty.

        how: how it was established that there are no more.
        """
        if self.full:
            return ""
        found = f"asked for {self.count} untried settings, found {len(self.chosen)}: {how}"
        if not self.chosen:
            raise ProposalError(f"{found}; widen a range, add a choice, relax a constraint, or end the study here")
        return found
