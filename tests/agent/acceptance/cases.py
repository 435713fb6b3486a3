"""Candidates for the tests of acceptance."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from agent.records import CandidateResult, Objective, Outcome, TrialRecord

HIGHER = Objective(metric="accuracy", direction="maximize")
LOWER = Objective(metric="loss", direction="minimize")


def made(
    name: str, values: Sequence[float], *, number: int = 1, key: str = "", rows: int | None = None, cells: bool = True
) -> CandidateResult:
    """A candidate with these values in folds 0, 1, ...; cells=False: a summary that a person gave as a mean."""
    metrics = {HIGHER.metric, LOWER.metric}
    trials = [
        TrialRecord({"fold": fold, "seed": 0, "outcome": "ok", "metrics": dict.fromkeys(metrics, value)})
        for fold, value in enumerate(values)
    ]
    return CandidateResult(
        round=number,
        candidate=name,
        values={},
        key=key or f"{number}{name}",
        outcome=Outcome.OK if values else Outcome.CRASHED,
        value=math.fsum(values) / len(values) if values else None,
        std=statistics.stdev(values) if len(values) > 1 else None,
        n=len(values),
        rows=len(values) if rows is None else rows,
        trials=trials if cells else (),
    )
