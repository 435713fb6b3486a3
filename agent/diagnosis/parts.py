"""Findings about the parts of a round: folds that stand apart, classes that stay behind."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from agent.diagnosis.flag import Flag
from agent.diagnosis.trends import rounded
from agent.diagnosis.weakness import Classes, fold_outliers, weak_classes
from agent.records import Objective, Outcome

SHOWN = 6
KEPT = 20
"""Entries of the evidence: a round of a hundred candidates must not fill a prompt."""
SHARED = 0.5
"""An outlying fold in at least half of the candidates (and in two) is the fold's own doing."""
MOVED = 0.02
"""A weak class whose value changed by less since the round before stayed as it was."""


def fold_findings(candidates: Sequence[Mapping[str, Any]], objective: Objective) -> list[Flag]:
    """Folds far off the others: of one candidate (a trial to look at), or of most (the fold itself).

    candidates: round.json's entries; of each trial fold, seed, outcome and the objective's value are read.
    """
    judged = 0
    odd: list[dict[str, Any]] = []
    for entry in candidates:
        values, by = _values(entry, objective.metric)
        outlying = fold_outliers(values)
        judged += len(values) >= 4
        odd += [{"candidate": entry["name"], by: found.pop("fold"), **found} for found in outlying]
    counts = Counter(entry["fold"] for entry in odd if "fold" in entry)
    shared = sorted(fold for fold, count in counts.items() if count >= max(2, SHARED * judged))
    alone = [entry for entry in odd if entry.get("fold") not in shared]
    flags = []
    if shared:
        named = ", ".join(f"fold {fold} in {counts[fold]}" for fold in shared)
        flags.append(
            Flag(
                name="fold_outlier",
                text=f"{objective.metric} stands apart for {named} of {judged} candidates: the fold itself, rather "
                "than their settings",
                evidence={"folds": shared, "candidates": judged, "shared": True},
            )
        )
    if alone:
        named = "; ".join(_described(entry) for entry in alone[:SHOWN])
        more = f"; {len(alone) - SHOWN} more" if len(alone) > SHOWN else ""
        flags.append(
            Flag(
                name="fold_outlier",
                text=f"{objective.metric} of single trials stands apart from the candidate's others: {named}{more}",
                evidence={"trials": alone[:KEPT], "count": len(alone), "shared": False},
            )
        )
    return flags


def _values(entry: Mapping[str, Any], metric: str) -> tuple[dict[int, float], str]:
    """fold -> mean over its seeds; where there is one fold only, seed -> value. And which of the two it is."""
    scored: list[tuple[int, int, float]] = []
    for trial in entry.get("trials", ()):
        value = trial.get("metrics", {}).get(metric)
        if (
            trial.get("outcome") == Outcome.OK.value
            and isinstance(value, int | float)
            and math.isfinite(value)
            and trial.keys() >= {"fold", "seed"}
        ):
            scored.append((trial["fold"], trial["seed"], float(value)))
    folds: dict[int, list[float]] = {}
    for fold, _, value in scored:
        folds.setdefault(fold, []).append(value)
    if len(folds) == 1:
        return {seed: value for _, seed, value in scored}, "seed"
    return {fold: statistics.fmean(values) for fold, values in folds.items()}, "fold"


def _described(entry: Mapping[str, Any]) -> str:
    part = f"fold {entry['fold']}" if "fold" in entry else f"seed {entry['seed']}"
    return f"{entry['candidate']} {part} at {entry['value']:.4g} where the others' mean is {entry['others']:.4g}"


def weak_class_finding(
    per_class: Mapping[str, Classes], before: Mapping[str, Classes], *, metric: str | None, direction: str
) -> Flag | None:
    """The classes that are weak in the mean over the newest round's candidates, each beside its earlier value.

    Candidates count the same. A class's change says whether the last round's settings helped it: `change` is in the
    metric's own unit, positive is better.
    """
    now, then = _mean(per_class), _mean(before)
    weak = weak_classes(now, metric=metric, direction=direction)
    if not weak:
        return None
    name = weak[0]["metric"]
    sign = 1.0 if direction == "maximize" else -1.0
    for entry in weak:
        earlier = then.get(entry["class"], {}).get(name)
        if earlier is not None:
            entry["before"] = rounded(earlier)
            entry["change"] = rounded(sign * (entry["value"] - earlier))
    named = ", ".join(_class_described(entry) for entry in weak[:SHOWN])
    more = f" and {len(weak) - SHOWN} more" if len(weak) > SHOWN else ""
    return Flag(
        name="weak_classes",
        text=f"{name} is far behind its mean over classes, {weak[0]['mean']:.3g}, for {named}{more}; mean over "
        f"{len(per_class)} candidates of the newest round",
        evidence={"classes": weak[:KEPT], "count": len(weak), "candidates": len(per_class)},
    )


def _class_described(entry: Mapping[str, Any]) -> str:
    text = f"{entry['class']} ({entry['value']:.3g}"
    if "change" in entry:
        change = entry["change"]
        word = "as before" if abs(change) < MOVED else f"{'better' if change > 0 else 'worse'} by {abs(change):.2g}"
        text += f", {word}"
    return text + ")"


def _mean(per_class: Mapping[str, Classes]) -> dict[str, dict[str, float | None]]:
    """class -> metric -> mean over the candidates that have it."""
    collected: dict[str, dict[str, list[float]]] = {}
    for classes in per_class.values():
        for name, metrics in classes.items():
            for metric, value in metrics.items():
                values = collected.setdefault(name, {}).setdefault(metric, [])
                if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                    values.append(float(value))
    return {
        name: {metric: statistics.fmean(values) if values else None for metric, values in metrics.items()}
        for name, metrics in collected.items()
    }
