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
from agent.records import CandidateResult, Objective

SHOWN = 6
KEPT = 20
"""Entries of the evidence: a round of a hundred candidates must not fill a prompt."""
SHARED = 0.5
"""An outlying fold in at least half of the candidates (and in two) is the fold's own doing."""
MIN_CASES = 8
"""Cases below which quartiles say too little about an odd one."""
FENCE, LEAST_RANGE = 1.5, 0.02
"""Tukey's fence in interquartile ranges, and the least range: equal cases would make an outlier of any other."""
MOVED = 0.02
"""A weak class whose value changed by less since the round before stayed as it was."""


def fold_findings(candidates: Sequence[CandidateResult], objective: Objective) -> list[Flag]:
    """Folds far off the others: of one candidate (a trial to look at), or of most (the fold itself)."""
    judged = 0
    odd: list[dict[str, Any]] = []
    for result in candidates:
        values, by = _values(result, objective.metric)
        outlying = fold_outliers(values)
        judged += len(values) >= 4
        odd += [{"candidate": result.candidate, by: found.pop("fold"), **found} for found in outlying]
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


def _values(result: CandidateResult, metric: str) -> tuple[dict[int, float], str]:
    """fold -> mean over its seeds; where there is one fold only, seed -> value. And which of the two it is."""
    scored: list[tuple[int, int, float]] = []
    for trial in result.trials:
        value, cell = trial.metrics.get(metric), trial.cell
        if trial.ok and isinstance(value, int | float) and math.isfinite(value) and cell is not None:
            scored.append((*cell, float(value)))
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
    per_class: Mapping[str, Classes],
    before: Mapping[str, Classes],
    *,
    metric: str | None,
    direction: str,
    accepted: Classes | None = None,
) -> Flag | None:
    """The classes that are weak in the mean over the newest round's candidates, each beside its earlier values.

    Candidates count the same. A class's change says whether the last round's settings helped it: `change` is in the
    metric's own unit, positive is better. accepted: the classes of the incumbent; `against_accepted` is the same
    against it.
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
        best = (accepted or {}).get(entry["class"], {}).get(name)
        if isinstance(best, int | float) and math.isfinite(best):
            entry["accepted"] = rounded(best)
            entry["against_accepted"] = rounded(sign * (entry["value"] - best))
    named = ", ".join(_class_described(entry) for entry in weak[:SHOWN])
    more = f" and {len(weak) - SHOWN} more" if len(weak) > SHOWN else ""
    return Flag(
        name="weak_classes",
        text=f"{name} is far behind its mean over classes, {weak[0]['mean']:.3g}, for {named}{more}; mean over "
        f"{len(per_class)} candidates of the newest round",
        evidence={"classes": weak[:KEPT], "count": len(weak), "candidates": len(per_class)},
    )


def absent_class_finding(per_class: Mapping[str, Classes]) -> Flag | None:
    """The classes that no validation case of any candidate has: nothing is measured of them."""
    now = _mean(per_class)
    absent = sorted(name for name, metrics in now.items() if metrics and metrics.get("cases") == 0)
    if not absent:
        return None
    named = ", ".join(absent[:SHOWN]) + (f" and {len(absent) - SHOWN} more" if len(absent) > SHOWN else "")
    return Flag(
        name="absent_classes",
        text=f"no validation case has the class {named}: nothing is measured of it",
        evidence={"classes": absent[:KEPT], "count": len(absent)},
    )


def worst_case_finding(per_case: Mapping[str, Sequence[Mapping[str, Any]]], *, metric: str) -> Flag | None:
    """The cases far below the others in the mean over the newest round's candidates (Tukey's lower fence).

    per_case: candidate -> entries with case, fold and metric -> class -> value. A case that every candidate fails on
    speaks of its image or label rather than of settings. The text names no case: their names may tell the data set,
    which agents are not told; the evidence is for people.
    """
    values: dict[str, list[float]] = {}
    folds: dict[str, Any] = {}
    for entries in per_case.values():
        for entry in entries:
            found = entry.get(metric)
            numbers = [float(v) for v in found.values() if _is_number(v)] if isinstance(found, Mapping) else []
            if numbers and isinstance(entry.get("case"), str):
                values.setdefault(entry["case"], []).append(statistics.fmean(numbers))
                folds[entry["case"]] = entry.get("fold")
    if len(values) < MIN_CASES:
        return None
    means = {case: statistics.fmean(numbers) for case, numbers in values.items()}
    first, median, third = statistics.quantiles(means.values(), n=4)
    fence = first - FENCE * max(third - first, LEAST_RANGE)
    worst = sorted((value, case) for case, value in means.items() if value < fence)
    if not worst:
        return None
    shown = ", ".join(f"{value:.3g} (fold {folds[case]})" for value, case in worst[:SHOWN])
    more = f" and {len(worst) - SHOWN} more" if len(worst) > SHOWN else ""
    entries = [{"case": case, "fold": folds[case], "value": rounded(value)} for value, case in worst[:KEPT]]
    return Flag(
        name="worst_cases",
        text=f"{metric} of {len(worst)} of {len(means)} cases is far below the median {median:.3g} in the mean "
        f"over {len(per_case)} candidates: {shown}{more}; their images or labels may be at fault",
        evidence={"cases": entries, "count": len(worst), "of": len(means), "median": rounded(median)},
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _class_described(entry: Mapping[str, Any]) -> str:
    text = f"{entry['class']} ({entry['value']:.3g}"
    if "cases" in entry:
        text += f" over {entry['cases']} cases"
    if "change" in entry:
        change = entry["change"]
        word = "as before" if abs(change) < MOVED else f"{'better' if change > 0 else 'worse'} by {abs(change):.2g}"
        text += f", {word}"
    if "against_accepted" in entry:
        text += f", {entry['against_accepted']:+.2g} against the accepted {entry['accepted']:.3g}"
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
