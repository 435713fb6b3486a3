"""nnU-Net's summaries as Roundtable's, and the accumulation of folds into one cross-validation value.

nnU-Net accumulates by evaluating all folds' predictions together: the mean over all cases of each class, then over
the classes. That is not the mean of the folds' values where folds differ in size or lack a class. Standard library
only.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainers.results import RowResult

METRICS = ("Dice", "IoU")
CASE_METRICS = {"Dice": "Dice", "IoU": "IoU", "n_ref": "voxels"}
"""nnU-Net's name -> ours, of what is kept of each case and class; null where the class is in neither."""


def per_case(summary: Mapping[str, Any], names: Mapping[str, str], *, fold: int) -> list[dict[str, Any]]:
    """nnU-Net's metric_per_case: {"case", "fold", "Dice": {class: value}, "IoU": ..., "voxels": ...}.

    names: label as nnU-Net writes it -> class name. NaN (the class is in neither segmentation) becomes None.
    """
    found = []
    for entry in summary["metric_per_case"]:
        name = Path(entry["prediction_file"]).name
        case: dict[str, Any] = {"case": name.split(".")[0], "fold": fold}
        for theirs, ours in CASE_METRICS.items():
            case[ours] = {names.get(k, k): _number(v.get(theirs)) for k, v in entry["metrics"].items()}
        found.append(case)
    return found


def per_class(cases: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """class -> Dice, IoU (means over the cases that have it), Dice_std over these, cases (how many)."""
    classes = list(dict.fromkeys(name for case in cases for name in case["Dice"]))
    found: dict[str, dict[str, float | None]] = {}
    for name in classes:
        values = {metric: [v for case in cases if (v := case[metric].get(name)) is not None] for metric in METRICS}
        dice = values["Dice"]
        found[name] = {metric: statistics.fmean(v) if v else None for metric, v in values.items()}
        found[name]["Dice_std"] = statistics.stdev(dice) if len(dice) > 1 else None
        found[name]["cases"] = len(dice)
    return found


def foreground(classes: Mapping[str, Mapping[str, float | None]]) -> dict[str, float]:
    """Mean over the classes that occur. Empty where none does."""
    found = {}
    for metric in METRICS:
        values = [v for entry in classes.values() if (v := entry[metric]) is not None]
        if values:
            found[metric] = statistics.fmean(values)
    return found


def accumulate(results: Sequence[RowResult]) -> dict[str, Any]:
    """The rows of one candidate together: values of the metrics, per_class and per_case, for its summary.

    Folds of one seed are accumulated as nnU-Net does; several seeds are averaged afterwards.
    """
    by_seed: dict[int, list[dict[str, Any]]] = {}
    for result in results:
        by_seed.setdefault(result.row.seed, []).extend(result.raw.get("per_case") or [])
    totals = [foreground(per_class(cases)) for cases in by_seed.values()]
    values = {
        metric: statistics.fmean(total[metric] for total in totals)
        for metric in METRICS
        if totals and all(metric in total for total in totals)
    }
    several = len(by_seed) > 1
    every = [{**case, "seed": seed} if several else case for seed, cases in by_seed.items() for case in cases]
    return {"values": values, "per_class": per_class(every), "per_case": every}


def _number(value: object) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value
