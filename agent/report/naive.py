"""Whether a study's best is any better than forecasts that need no training, where its trainer measures them."""

from __future__ import annotations

from collections.abc import Sequence

from agent.acceptance import Incumbent
from agent.store.record import RoundRecord
from trainers.naive import worse_than_naive
from trainers.plugins import PluginProblem
from trainers.registry import is_place, registered


def naive_names(trainer: str, *, brought: bool = False) -> Sequence[str]:
    """The forecasts without training that a trainer measures as METRIC_NAME; none of a person's YAML."""
    try:
        found = None if brought or is_place(trainer) else registered(trainer)
    except PluginProblem:
        return ()  # a study can be looked at although what trained it is gone
    return found.naive if found is not None else ()


def study_warning(records: Sequence[RoundRecord], incumbent: Incumbent | None, names: Sequence[str]) -> str:
    """The sentence about a study's best candidate, or about the last round's while there is no incumbent.

    records: of the closed rounds, in their order.
    """
    if not names or not records:
        return ""
    number = incumbent.round if incumbent is not None else records[-1].round
    record = next((record for record in records if record.round == number), None)
    if record is None:
        return ""
    name = incumbent.candidate if incumbent is not None else next(iter(record.ranking), None)
    found = next((c for c in record.candidates if c.candidate == name and c.value is not None), None)
    said = worse_than_naive(found.metrics, names) if found is not None else ""
    return f"the best so far, round {number} {name}: {said}" if said else ""
