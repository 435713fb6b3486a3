"""What was measured of a configuration, row by row: what comparisons are made of. Pure."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.records import Observation

Place = tuple[int, str]
"""Round and candidate."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One candidate of a closed round."""

    round: int
    candidate: str
    key: str
    mean: float | None
    """Of the objective over the rows that ended ok; None when none did."""
    std: float | None = None
    """Sample standard deviation over those rows; None below two."""
    n: int = 0
    rows: int = 1
    cells: Mapping[Hashable, float] = field(default_factory=dict)
    """(fold, seed) -> value, of the rows that ended ok; empty for a summary that a person gave as one number. Two
    candidates are compared where both have a value; nothing but equality is asked of these names."""

    @property
    def place(self) -> Place:
        return self.round, self.candidate

    @property
    def complete(self) -> bool:
        return self.mean is not None and self.n == self.rows

    @property
    def standard_error(self) -> float | None:
        """std / sqrt(n), None below two rows."""
        return None if self.std is None or self.n < 2 else self.std / math.sqrt(self.n)


def measured(observation: Observation, trials: list[Mapping[str, Any]], metric: str) -> Measured:
    """A candidate's entry of round.json: its observation, and its trials for the single values."""
    cells: dict[Hashable, float] = {}
    for trial in trials:
        value = trial.get("metrics", {}).get(metric)
        if trial.get("outcome") == "ok" and value is not None and trial.keys() >= {"fold", "seed"}:
            cells[trial["fold"], trial["seed"]] = float(value)
    return Measured(
        round=observation.round,
        candidate=observation.candidate,
        key=observation.key,
        mean=observation.value,
        std=observation.std,
        n=observation.n,
        rows=observation.rows,
        cells=cells,
    )
