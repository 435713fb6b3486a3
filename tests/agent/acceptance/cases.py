"""Candidates for the tests of acceptance."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from agent.acceptance import Measured
from agent.records import Objective

HIGHER = Objective(metric="accuracy", direction="maximize")
LOWER = Objective(metric="loss", direction="minimize")


def made(
    name: str, values: Sequence[float], *, number: int = 1, key: str = "", rows: int | None = None, cells: bool = True
) -> Measured:
    """A candidate with these values in folds 0, 1, ...; cells=False: a summary that a person gave as a mean."""
    return Measured(
        round=number,
        candidate=name,
        key=key or f"{number}{name}",
        mean=math.fsum(values) / len(values) if values else None,
        std=statistics.stdev(values) if len(values) > 1 else None,
        n=len(values),
        rows=len(values) if rows is None else rows,
        cells={(fold, 0): value for fold, value in enumerate(values)} if cells else {},
    )
