"""What is trained at fresh seeds next: a round's winner and what it beat, replicates, or the best and the default."""

from __future__ import annotations

from dataclasses import dataclass

from agent import acceptance
from agent.orchestrator.closing.accept import closed_confirmations
from agent.orchestrator.training.render import AS_IT_STANDS
from agent.records import CandidateResult
from agent.store.record import FINAL, REPLICATES, ROUND
from agent.store.store import Store
from agent.store.study import Settings


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A set of trainings at seeds that the study has not used."""

    purpose: str
    """final: the best against the default | round: a round's winner against what it took the place of | replicates:
    the incumbent alone, for the noise."""
    base: CandidateResult
    """What the challenger is held against; of replicates, what is trained."""
    challenger: CandidateResult | None


def before_next_round(store: Store, settings: Settings) -> Plan | None:
    """What comes before another round: replicates that were asked for, the newest round's winner."""
    if not settings.auto_train:
        return None
    return _replicates(store, settings) or _of_round(store, settings)


def after_last_round(store: Store, settings: Settings) -> Plan | None:
    """The best against the default, unless that was done already."""
    if settings.confirm == "never" or not settings.auto_train:
        return None
    default, best = default_of(store), _best(store)
    if default is None or best is None or default.value is None:
        return None
    return None if _done(store, best, default) else Plan(purpose=FINAL, base=default, challenger=best)


def wanted(store: Store, settings: Settings) -> bool:
    """Whether anything is left to be trained at fresh seeds."""
    return (before_next_round(store, settings) or after_last_round(store, settings)) is not None


def _replicates(store: Store, settings: Settings) -> Plan | None:
    """The incumbent, where replicates were asked for and not so many were trained yet."""
    held = store.incumbent()
    done = max(
        (len(record.seeds) for record in closed_confirmations(store) if record.replicates is not None), default=0
    )
    if settings.replicates is None or settings.replicates <= done or held is None:
        return None
    return Plan(purpose=REPLICATES, base=result_at(store, held.round, held.candidate), challenger=None)


def _of_round(store: Store, settings: Settings) -> Plan | None:
    """The newest round's winner and the incumbent that it took the place of."""
    closed = store.closed()
    held = store.incumbent()
    if settings.confirm != "round" or held is None or not closed:
        return None
    record = store.round_record(closed[-1])
    against = record.acceptance.against if record.acceptance is not None else None
    if held.round != record.round or against is None or against.place == held.place:
        return None
    winner = result_at(store, held.round, held.candidate)
    base = result_at(store, against.round, against.candidate)
    return None if _done(store, winner, base) else Plan(purpose=ROUND, base=base, challenger=winner)


def _best(store: Store) -> CandidateResult | None:
    """The incumbent; where that is the default itself, the best of the others."""
    default, held = default_of(store), store.incumbent()
    if default is None:
        return None
    if held is not None and held.key != default.key:
        return result_at(store, held.round, held.candidate)
    others = [o for o in store.history() if o.key != default.key and o.complete]
    ranked = acceptance.rank(others, store.config.objective)
    return ranked[0] if ranked else None


def _done(store: Store, challenger: CandidateResult, base: CandidateResult) -> bool:
    """Whether the two were held against each other at fresh seeds. Records of earlier versions have no base: it was
    the default."""
    default = default_of(store)
    for record in closed_confirmations(store):
        was = record.base.key if record.base is not None else default.key if default is not None else None
        if record.key == challenger.key and was == base.key:
            return True
    return False


def default_of(store: Store) -> CandidateResult | None:
    """What the study began with: the first reference as it stood that has a value, else round 1's c00."""
    found = [result for result in store.history() if result.source in AS_IT_STANDS]
    return next((result for result in found if result.value is not None), found[0] if found else None)


def result_at(store: Store, number: int, candidate: str) -> CandidateResult:
    """A candidate of a closed round."""
    record = next(store.round_record(paths) for paths in store.closed() if paths.number == number)
    return record.candidate(candidate)
