"""The summaries that nnU-Net writes, versions 2 and 1: classes, cases, and means over the classes that occur. Pure.

    2: {"foreground_mean": {metric: value}, "mean": {class: {metric: value}},
        "metric_per_case": [{"metrics": {class: {metric: value}}, "prediction_file": ...}]}
    1: {"results": {"mean": {class: {metric: value}},
        "all": [{class: {metric: value}, "reference": ..., "test": ...}]}}

Version 1 says Jaccard for IoU. NaN (read as None) says that a class is in neither segmentation; nnU-Net's own mean is
then NaN too, and the mean over the other classes stands for it, as in a fold that Roundtable trained.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BACKGROUND = ("0", "background")
"""Keys of what is no class."""
OVERLAPS = ("Dice", "IoU")
"""Metrics kept of each class; both are shares of 1."""

Finding = tuple[str, str, str]
"""Place, value, what is wrong."""


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """What such a summary says."""

    values: Mapping[str, float]
    """Metric -> mean over the classes that occur."""
    per_class: Mapping[str, Mapping[str, float | None]]
    """Class as nnU-Net writes it ("1", "(1, 2)") -> Dice, IoU and, where cases are told, in how many it occurs."""
    per_case: Sequence[Mapping[str, Any]]
    """case, fold (None) and Dice by class, None where it does not occur."""
    undefined: tuple[str, ...]
    """Metrics that are NaN for every class."""
    findings: Sequence[Finding] = field(default_factory=list)
    """What is neither a number nor NaN."""


def is_segmentation(raw: Mapping[str, Any]) -> bool:
    """Whether an object has the shape of either version, or a part of it."""
    if isinstance(raw.get("foreground_mean"), dict) or is_version_1(raw):
        return True
    mean, cases = raw.get("mean"), raw.get("metric_per_case")
    if isinstance(mean, dict) and mean and all(isinstance(entry, dict) for entry in mean.values()):
        return True
    return isinstance(cases, list) and any(isinstance(case, dict) and "metrics" in case for case in cases)


def is_version_1(raw: Mapping[str, Any]) -> bool:
    results = raw.get("results")
    return isinstance(results, dict) and (
        isinstance(results.get("mean"), dict) or isinstance(results.get("all"), list)
    )


def read_segmentation(raw: Mapping[str, Any], *, wanted: str) -> Segmentation:
    """A summary of either version, told by `is_segmentation`.

    wanted: a metric that, as Dice and IoU, must be a number or NaN wherever it stands.
    """
    below = "results." if is_version_1(raw) else ""
    if below:
        raw = _as_version_2(raw["results"])
    findings: list[Finding] = []
    cases = _cases(
        raw.get("metric_per_case"), findings, "results.all[{}]" if below else "metric_per_case[{}].metrics"
    )
    told = _classes(_object(raw, "mean"))
    means = {label: _numbers(f"{below}mean.{label}", entry, findings) for label, entry in told.items()}
    means = means or _means_of(cases)
    whole = _numbers("foreground_mean", _object(raw, "foreground_mean"), findings)
    values = {name: value for name, value in whole.items() if value is not None}
    names = dict.fromkeys(name for entry in (whole, *means.values()) for name in entry)
    for name in names:
        present = [value for entry in means.values() if (value := entry.get(name)) is not None]
        if present:
            values.setdefault(name, statistics.fmean(present))
    per_class: dict[str, dict[str, float | None]] = {}
    for label, entry in means.items():
        per_class[label] = {metric: entry.get(metric) for metric in OVERLAPS}
        if cases:
            per_class[label]["cases"] = sum(case["metrics"].get(label, {}).get("Dice") is not None for case in cases)
    return Segmentation(
        values=values,
        per_class=per_class,
        per_case=[
            {"case": case["case"], "fold": None, "Dice": {k: v.get("Dice") for k, v in case["metrics"].items()}}
            for case in cases
        ],
        undefined=tuple(name for name in names if name not in values),
        findings=[finding for finding in findings if finding[0].rsplit(".", 1)[-1] in (*OVERLAPS, wanted)],
    )


def _as_version_2(results: Mapping[str, Any]) -> dict[str, Any]:
    """Version 1's results in version 2's shape."""
    entries = results.get("all")
    cases = [
        {
            "metrics": {label: _renamed(found) for label, found in entry.items() if isinstance(found, dict)},
            "prediction_file": entry.get("test") or entry.get("reference") or "",
        }
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict)
    ]
    classes = {label: _renamed(found) for label, found in _classes(_object(results, "mean")).items()}
    return {"mean": classes, "metric_per_case": cases}


def _object(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = raw.get(key)
    return found if isinstance(found, dict) else {}


def _renamed(found: Mapping[str, Any]) -> dict[str, Any]:
    return {"IoU" if name == "Jaccard" else name: value for name, value in found.items()}


def _classes(means: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {label: entry for label, entry in means.items() if isinstance(entry, dict) and label not in BACKGROUND}


def _cases(entries: object, findings: list[Finding], place: str) -> list[dict[str, Any]]:
    found = []
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        metrics = entry.get("metrics") if isinstance(entry, dict) else None
        if isinstance(metrics, dict) and all(isinstance(values, dict) for values in metrics.values()):
            where = place.format(number)
            classes = {k: _numbers(f"{where}.{k}", values, findings) for k, values in _classes(metrics).items()}
            name = Path(str(entry.get("prediction_file", ""))).name.split(".")[0]
            found.append({"case": name, "metrics": classes})
    return found


def _means_of(cases: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Of each class and metric the mean over the cases that have it, as nnU-Net takes it."""
    collected: dict[str, dict[str, list[float]]] = {}
    for case in cases:
        for label, entry in case["metrics"].items():
            for name, value in entry.items():
                values = collected.setdefault(label, {}).setdefault(name, [])
                if value is not None:
                    values.append(value)
    return {
        label: {name: statistics.fmean(values) if values else None for name, values in entry.items()}
        for label, entry in collected.items()
    }


def _numbers(where: str, entry: Mapping[str, Any], findings: list[Finding]) -> dict[str, float | None]:
    """The numbers of an entry; None stays, lists are left out, what else there is becomes a finding."""
    found: dict[str, float | None] = {}
    for name, value in entry.items():
        if value is None:
            found[name] = None
        elif isinstance(value, bool | str) or (isinstance(value, float) and not math.isfinite(value)):
            message = "must be a number; NaN or null where a class is in neither segmentation"
            findings.append((f"{where}.{name}", repr(value)[:80], message))
        elif isinstance(value, int | float):
            found[name] = float(value)
    return found
