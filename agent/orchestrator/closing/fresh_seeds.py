"""What is trained at fresh seeds next: a round's winner and what it beat, replicates, or the best and the default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent import acceptance
from agent.acceptance import Incumbent
from agent.orchestrator.closing.accept import closed_confirmations
from agent.orchestrator.training.render import AS_IT_STANDS
from agent.store.store import Store
from agent.store.study import Settings

FINAL, ROUND, REPLICATES = "final", "round", "replicates"

Entry = Mapping[str, Any]
"""A candidate's entry of round.json with its `round` beside it."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A set of trainings at seeds that the study has not used."""

    purpose: str
    """final: the best against the default | round: a round's winner against what it took the place of | replicates:
    the incumbent alone, for the noise."""
    base: Entry
    """What the challenger is held against; of replicates, what is trained."""
    challenger: Entry | None


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
    if default is None or best is None or default["value"] is None:
        return None
    return None if _done(store, best, default) else Plan(purpose=FINAL, base=default, challenger=best)


def wanted(store: Store, settings: Settings) -> bool:
    """Whether anything is left to be trained at fresh seeds."""
    return (before_next_round(store, settings) or after_last_round(store, settings)) is not None


def _replicates(store: Store, settings: Settings) -> Plan | None:
    """The incumbent, where replicates were asked for and not so many were trained yet."""
    held = _incumbent(store)
    done = max((len(record["seeds"]) for record in closed_confirmations(store) if "replicates" in record), default=0)
    if settings.replicates is None or settings.replicates <= done or held is None:
        return None
    return Plan(purpose=REPLICATES, base=entry_at(store, held.round, held.candidate), challenger=None)


def _of_round(store: Store, settings: Settings) -> Plan | None:
    """The newest round's winner and the incumbent that it took the place of."""
    closed = store.closed()
    held = _incumbent(store)
    if settings.confirm != "round" or held is None or not closed:
        return None
    record = store.round_record(closed[-1])
    against: Any = (record.get("acceptance") or {}).get("against")
    if held.round != record["round"] or against is None:
        return None
    if (against["round"], against["candidate"]) == held.place:
        return None
    winner = entry_at(store, held.round, held.candidate)
    base = entry_at(store, against["round"], against["candidate"])
    return None if _done(store, winner, base) else Plan(purpose=ROUND, base=base, challenger=winner)


def _best(store: Store) -> Entry | None:
    """The incumbent; where that is the default itself, the best of the others."""
    default, held = default_of(store), _incumbent(store)
    if default is None:
        return None
    if held is not None and held.key != default["key"]:
        return entry_at(store, held.round, held.candidate)
    others = [o for o in store.history() if o.key != default["key"] and o.complete]
    ranked = acceptance.rank(others, store.config.objective)
    return entry_at(store, ranked[0].round, ranked[0].candidate) if ranked else None


def _done(store: Store, challenger: Entry, base: Entry) -> bool:
    """Whether the two were held against each other at fresh seeds. Records of earlier versions have no base: it was
    the default."""
    default = default_of(store)
    for record in closed_confirmations(store):
        was = record.get("base", {}).get("key", default["key"] if default is not None else None)
        if record.get("key") == challenger["key"] and was == base["key"]:
            return True
    return False


def default_of(store: Store) -> Entry | None:
    """What the study began with: the first reference as it stood that has a value, else round 1's c00."""
    entries = [
        entry | {"round": paths.number}
        for paths in store.closed()
        for entry in store.round_record(paths)["candidates"]
        if entry["source"] in AS_IT_STANDS
    ]
    return next((entry for entry in entries if entry["value"] is not None), entries[0] if entries else None)


def entry_at(store: Store, number: int, candidate: str) -> Entry:
    """The entry of a candidate of a closed round."""
    record = next(store.round_record(paths) for paths in store.closed() if paths.number == number)
    found: dict[str, Any] = next(entry for entry in record["candidates"] if entry["name"] == candidate)
    return found | {"round": number}


def _incumbent(store: Store) -> Incumbent | None:
    raw = store.record(store.paths.incumbent)
    return Incumbent.from_json(raw) if raw is not None else None
