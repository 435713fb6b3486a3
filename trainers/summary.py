"""Folding the results of a candidate's rows into one summary: the schema that every trainer shares.

    {"schema_version": 1, "split": "val", "candidate": "c00",
     "objective": name, "metrics": {name: {"value", "direction", "std", "n"}},
     "per_fold": [{"row", "fold", "seed", "attempt", "outcome", "metrics", "samples", "model_parameters"?}],
     "per_class": {class: {metric: value}}?, "per_case": [...]?, "costs": {...}, "outcomes": {outcome: rows}}

`value` is the mean over the rows that ended ok, or what the trainer's own accumulation makes of them; `std` is their
sample standard deviation (null below two), `n` their number. A candidate without any has no metrics at all, only
outcomes. Standard library only.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trainers.manifest import Manifest, Row
from trainers.results import RowResult

SCHEMA_VERSION = 1


Accumulate = Callable[[Sequence[RowResult]], Mapping[str, Any]]
"""From the rows that ended ok to {"values": {metric: value}, "per_class": ..., "per_case": ...}."""


def fold_results(
    manifest: Manifest,
    candidate: str,
    results: Sequence[tuple[Row, RowResult | None]],
    *,
    split: str,
    accumulate: Accumulate | None = None,
) -> dict[str, Any]:
    """The summary of one candidate. `results` pairs each of its rows with its result, None where there is none.

    accumulate: the trainer's own way from rows to one value, where their mean would be wrong.
    """
    scored = [result for _, result in results if result is not None and result.outcome == "ok"]
    outcomes = Counter("no_result" if result is None else result.outcome for _, result in results)
    summary: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "split": split,
        "study": manifest.study,
        "round": manifest.round,
        "candidate": candidate,
        "objective": manifest.objective,
        "metrics": _metrics(scored),
        "per_fold": [_entry(row, result) for row, result in results],
        "costs": _costs(scored),
        "outcomes": dict(sorted(outcomes.items())),
    }
    per_class = _per_class(scored)
    if accumulate is not None and scored:
        together = accumulate(scored)
        for name, value in together["values"].items():
            if name in summary["metrics"]:
                summary["metrics"][name]["value"] = value
        per_class = together["per_class"]
        summary["per_case"] = together["per_case"]
    if per_class:
        summary["per_class"] = per_class
    notes = {key: True for result in scored for key, value in _notes(result).items() if value is True}
    if notes:
        summary["notes"] = notes
    return summary


def _entry(row: Row, result: RowResult | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"row": row.row, "fold": row.fold, "seed": row.seed}
    if result is None:
        return entry | {"attempt": None, "outcome": "no_result", "metrics": {}}
    entry |= {"attempt": result.attempt, "outcome": result.outcome, "metrics": dict(result.metrics)}
    if result.raw.get("samples") is not None:
        entry["samples"] = result.raw["samples"]
    size = _notes(result).get("model_parameters")
    if isinstance(size, int) and not isinstance(size, bool):
        entry["model_parameters"] = size
    if result.message:
        entry["message"] = result.message[:500]
    return entry


def _metrics(scored: Sequence[RowResult]) -> dict[str, dict[str, Any]]:
    """Metrics that every scored row has; one that only some have would compare different rows."""
    names = [name for name in (scored[0].metrics if scored else {}) if all(name in r.metrics for r in scored)]
    folded = {}
    for name in names:
        values = [result.metrics[name] for result in scored]
        folded[name] = {
            "value": statistics.fmean(values),
            "direction": scored[0].directions[name],
            "std": statistics.stdev(values) if len(values) > 1 else None,
            "n": len(values),
        }
    return folded


def _per_class(scored: Sequence[RowResult]) -> dict[str, dict[str, float | None]]:
    """Mean per class and metric over the rows where the class occurs; None where it occurs in none."""
    collected: dict[str, dict[str, list[float]]] = {}
    for result in scored:
        for name, metrics in (result.raw.get("per_class") or {}).items():
            for metric, value in metrics.items():
                values = collected.setdefault(name, {}).setdefault(metric, [])
                if value is not None:
                    values.append(value)
    return {
        name: {metric: statistics.fmean(values) if values else None for metric, values in metrics.items()}
        for name, metrics in collected.items()
    }


def _costs(scored: Sequence[RowResult]) -> dict[str, float]:
    total: dict[str, float] = {}
    for result in scored:
        for name, value in (result.raw.get("costs") or {}).items():
            total[name] = total.get(name, 0.0) + value
    return {name: round(value, 3) for name, value in total.items()}


def _notes(result: RowResult) -> Mapping[str, Any]:
    notes = result.raw.get("notes")
    return notes if isinstance(notes, dict) else {}
