"""Which algorithm proposes, by the proposer's name. An algorithm is imported only when it is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from agent.errors import InvalidPlugin, ProposalError
from agent.propose.base import Proposer
from agent.proposers import SHIPPED, ProposerEntry, proposer_entry
from agent.records import CandidateResult, Objective, Proposal
from agent.reference import Reference


def make_proposer(name: str) -> Proposer:
    """The algorithm behind a proposer's name. Raises UsageError naming all, InvalidPlugin where it cannot be made."""
    from trainers.plugins import imported

    entry = proposer_entry(name)
    try:
        made = cast(Callable[[], Proposer], imported(entry.algorithm))()
    except (Exception, SystemExit) as error:
        raise _unusable(entry, f"cannot be made: {type(error).__name__}: {error}") from error
    return made if name in SHIPPED else _Foreign(entry, made)


class _Foreign:
    """An algorithm of somebody else: whatever it raises, or returns against the contract, names it."""

    def __init__(self, entry: ProposerEntry, made: Proposer) -> None:
        self._entry = entry
        self._made = made

    @property
    def name(self) -> str:
        return self._entry.name

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
        try:
            found = self._made.propose(reference, history, count, objective=objective, seed=seed, taken=taken)
        except ProposalError:
            raise
        except Exception as error:
            raise _unusable(self._entry, f"failed: {type(error).__name__}: {error}") from error
        if not isinstance(found, list) or not all(isinstance(each, Proposal) for each in found):
            raise _unusable(self._entry, f"returned {type(found).__name__}, not a list of proposals")
        if not 1 <= len(found) <= count:
            raise _unusable(self._entry, f"returned {len(found)} proposals where 1 to {count} were asked for")
        return found


def _unusable(entry: ProposerEntry, message: str) -> InvalidPlugin:
    return InvalidPlugin(
        f"the proposer {entry.name} ({entry.algorithm}) {message}; mend it, or choose another with --proposer"
    )
