"""What of a reference the Informer can do, and what the series leaves of it. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping

from trainers.contract import Value
from trainers.fit import Fit, Ruling, Space
from trainers.informer.config import CHOICES, NUMBERS, Config
from trainers.informer.options import Options
from trainers.informer.precheck import is_looked_into, read_series
from trainers.settings import misfits


def fit(
    space: Space, *, task: str, data: Mapping[str, Value] | None, folds: int, description: str | None = None
) -> Fit:
    """As `trainers.fit` describes. Raises DataProblem."""
    refused = misfits(space, Config, trainer="informer", choices=CHOICES, numbers=NUMBERS)
    ruling = Ruling(space)
    if data is not None and is_looked_into(options := Options.read(task, data)):
        # The first fold trains on the shortest stretch.
        _, parts = read_series(options, fold=0, folds=folds)
        longest = parts["train"].last - options.pred_len
        reason = (
            f"training has {len(parts['train'])} rows, which must hold a window of seq_len and pred_len = "
            f"{options.pred_len}: seq_len is at most {longest}"
        )
        ruling.at_most("seq_len", longest, reason, "give it a smaller active_value, or use more rows")
        ruling.at_most("label_len", longest, reason, "give it a smaller active_value, or use more rows")
    return ruling.fit(refused)
