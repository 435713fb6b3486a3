"""Reading validation and test summaries: our own schema, nnU-Net's two, and a plain {"metric": number}.

Nothing is guessed: a missing objective, a NaN, a value that its metric cannot have, or a direction that contradicts
the study is refused.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.errors import InvalidSummary
from agent.records import Objective, Outcome, TrialRecord
from agent.segmentation import Segmentation, is_segmentation, is_version_1, read_segmentation
from trainers.files import FileProblem, read_json_object


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One candidate's measured quality."""

    value: float | None
    """The objective; None when no row ended ok."""
    std: float | None
    n: int
    rows: int
    outcomes: Mapping[str, int]
    trials: tuple[TrialRecord, ...] = ()
    """One for each row: the file's `per_fold`."""
    per_class: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    per_case: Sequence[Mapping[str, Any]] = ()
    """Entries with case, fold and metric -> class -> value, where the trainer tells them."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict)

    @property
    def outcome(self) -> Outcome:
        """ok when any row scored, else the most frequent outcome (ties: the first in the file)."""
        if self.n:
            return Outcome.OK
        return Outcome(Counter(dict(self.outcomes)).most_common(1)[0][0]) if self.outcomes else Outcome.NO_RESULT

    @property
    def message(self) -> str:
        """The first failure's own words."""
        return next((trial.message for trial in self.trials if trial.message), "")


MOST_LISTED = 20
"""Problems of a file that a message lists."""
SHARES = ("dice", "iou", "jaccard")
"""Metrics that are from 0 to 1 whoever measures them, by the last part of their names."""
_SHIPPED: Mapping[str, tuple[float, float]] = {
    "val_accuracy": (0.0, 1.0),
    "val_f1": (0.0, 1.0),
    "val_mse": (0.0, math.inf),
    "val_mae": (0.0, math.inf),
}
"""Bounds of what the trainers that ship measure."""


def read_summary(path: Path, objective: Objective, *, split: str = "val", shipped: bool = True) -> Summary:
    """Read a summary of any accepted shape.

    shipped: whether the study's trainer is one that ships; in what else a program reports, percent say, it may know
    its own scale. Raises InvalidSummary with every problem.
    """
    try:
        raw: Any = read_raw(path)
    except FileProblem as error:
        raise _invalid(path, [("file", "", error.reason)]) from error
    if "metrics" in raw and "objective" in raw:
        return _own(path, raw, objective, split, shipped=shipped)
    if is_segmentation(raw):
        return _segmented(path, raw, objective, shipped=shipped)
    number = _flat(path, raw, objective, shipped=shipped)
    return _single(number, {objective.metric: number}, raw)


def _single(number: float, metrics: Mapping[str, float], raw: Mapping[str, Any], **parts: Any) -> Summary:
    """A summary whose shape tells of one value."""
    outcomes = {Outcome.OK.value: 1}
    return Summary(value=number, std=None, n=1, rows=1, outcomes=outcomes, metrics=metrics, raw=raw, **parts)


def read_raw(path: Path) -> Any:
    """The object in the file. nnU-Net writes NaN for a class that is in neither segmentation, and only it may.

    Raises FileProblem.
    """
    try:
        return read_json_object(path)
    except FileProblem:
        found = read_json_object(path, nan_is_null=True)
        if not is_segmentation(found):
            raise
        return found


def bounds(name: str, *, shipped: bool = True) -> tuple[float, float] | None:
    """The least and the largest value that a metric can have; None where any number may be right."""
    if re.split(r"[._ ]", name)[-1].casefold() in SHARES and "loss" not in name.casefold():
        return (0.0, 1.0)
    return _SHIPPED.get(name) if shipped else None


def _outside(name: str, value: object, *, shipped: bool) -> str:
    """What is wrong with a number that its metric cannot have; empty where it can."""
    limits = bounds(name, shipped=shipped)
    if limits is None or not isinstance(value, int | float) or limits[0] <= value <= limits[1]:
        return ""
    if limits[1] == math.inf:
        return f"{name} is never below {limits[0]:g}"
    percent = f"; if this is percent, write {value / 100:.6g}" if 2 <= value <= 100 else ""
    return f"{name} is from {limits[0]:g} to {limits[1]:g}{percent}"


def refuse_impossible(path: Path, *, shipped: bool = True) -> None:
    """Refuse a summary with values that their metrics cannot have. Raises InvalidSummary, FileProblem."""
    raw = read_raw(path)
    if "metrics" in raw and "objective" in raw:
        entries = raw.get("per_fold")
        entries = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
        metrics = raw["metrics"] if isinstance(raw["metrics"], dict) else {}
        problems = _impossible(metrics, entries, raw.get("per_class")) if shipped else []
    elif is_segmentation(raw):
        problems = _impossible_overlaps(raw, read_segmentation(raw, wanted=""))
    else:
        problems = [
            (name, _short(value), text)
            for name, value in raw.items()
            if not isinstance(value, bool) and (text := _outside(name, value, shipped=shipped))
        ]
    if problems:
        raise _invalid(path, problems)


def _segmented(path: Path, raw: Mapping[str, Any], objective: Objective, *, shipped: bool) -> Summary:
    """A summary of nnU-Net, version 2 or 1."""
    name = objective.metric.removeprefix("foreground_mean.")
    found = read_segmentation(raw, wanted=name)
    problems = [*found.findings, *_impossible_overlaps(raw, found)]
    if problems:
        raise _invalid(path, problems)
    number = found.values.get(name)
    if number is None and _finite(raw.get(name)):
        number = _flat(path, raw, objective, shipped=shipped)
    if number is None:
        nowhere = "no class occurs in label or prediction of any case, so there is nothing to take a mean of"
        text = nowhere if name in found.undefined else _missing(name, found.values)
        raise _invalid(path, [(objective.metric, "", text)])
    return _single(number, {objective.metric: number}, raw, per_class=found.per_class, per_case=found.per_case)


def _impossible_overlaps(raw: Mapping[str, Any], found: Segmentation) -> list[tuple[str, str, str]]:
    """Means, classes and cases whose values their metrics cannot have."""
    stated = raw.get("foreground_mean")
    values = [(f"foreground_mean.{n}", n, v) for n, v in stated.items()] if isinstance(stated, dict) else []
    below = "results." if is_version_1(raw) else ""
    for label, entry in found.per_class.items():
        values += [(f"{below}mean.{label}.{name}", name, value) for name, value in entry.items()]
    for case in found.per_case:
        values += [(f"{case['case']}.{label}.Dice", "Dice", value) for label, value in case["Dice"].items()]
    return [
        (where, _short(value), text) for where, name, value in values if (text := _outside(name, value, shipped=True))
    ]


def _flat(path: Path, raw: Mapping[str, Any], objective: Objective, *, shipped: bool) -> float:
    """The objective's number of a flat object."""
    name = objective.metric
    numbers = [key for key, value in raw.items() if isinstance(value, int | float) and not isinstance(value, bool)]
    value = raw.get(name)
    if isinstance(value, str):
        text = f"is a text; write a number without quotes (present: {', '.join(numbers) or 'no numbers'})"
        raise _invalid(path, [(name, _short(value), text)])
    if name not in raw:
        raise _invalid(path, [(name, "", _missing(name, numbers))])
    if not _finite(value):
        raise _invalid(path, [(name, _short(value), "must be a finite number")])
    number = float(raw[name])
    if text := _outside(name, number, shipped=shipped):
        raise _invalid(path, [(name, _short(value), text)])
    return number


def _missing(name: str, present: Collection[str]) -> str:
    near = next((other for other in present if other.casefold() == name.casefold()), None)
    hint = f"; write {near} as {name}" if near else ""
    return f"the study's objective is missing; present: {', '.join(present) or 'no numbers'}{hint}"


def _own(path: Path, raw: Mapping[str, Any], objective: Objective, split: str, *, shipped: bool) -> Summary:
    found: list[tuple[str, str, str]] = []
    metrics: Any = raw["metrics"]
    outcomes: Any = raw.get("outcomes")
    entries: Any = raw.get("per_fold")
    if not isinstance(metrics, dict):
        found.append(("metrics", _short(metrics), "must be an object of name -> {value, direction, std, n}"))
        metrics = {}
    if not _counts(outcomes):
        known = ", ".join(outcome.value for outcome in Outcome)
        found.append(("outcomes", _short(outcomes), f"must count rows by outcome; the outcomes are {known}"))
        outcomes = {}
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        found.append(("per_fold", _short(entries), "must be a list of objects, one for each row"))
        entries = []
    elif not all(isinstance(entry.get("metrics", {}), dict) for entry in entries):
        found.append(("per_fold", _short(entries), "the metrics of each entry must be an object of name -> number"))
        entries = []
    costs: Any = raw.get("costs") or {}
    if not isinstance(costs, dict) or not all(_finite(value) for value in costs.values()):
        found.append(("costs", _short(costs), "must be an object of name -> number"))
    for name, metric in metrics.items():
        found += _metric_problems(name, metric)
    if shipped:
        found += _impossible(metrics, entries, raw.get("per_class"))
    if raw["objective"] != objective.metric:
        found.append(("objective", _short(raw["objective"]), f"the study's objective is {objective.metric!r}"))
    scored = bool(outcomes and outcomes.get(Outcome.OK.value))
    if scored and split == "val":
        found += _objective_problems(metrics, objective)
    if found:
        raise _invalid(path, found)
    chosen = metrics.get(objective.metric) if scored else None
    return Summary(
        value=chosen["value"] if chosen else None,
        std=chosen.get("std") if chosen else None,
        n=chosen["n"] if chosen else 0,
        rows=sum(outcomes.values()),
        outcomes=outcomes,
        trials=tuple(map(TrialRecord, entries)),
        per_class=raw.get("per_class") or {},
        per_case=raw.get("per_case") or (),
        metrics={name: metric["value"] for name, metric in metrics.items()},
        costs=costs,
        raw=raw,
    )


def _impossible(metrics: Mapping[str, Any], entries: Sequence[Any], classes: object) -> list[tuple[str, str, str]]:
    """Values that their metrics cannot have."""
    values = [(f"metrics.{n}.value", n, m.get("value")) for n, m in metrics.items() if isinstance(m, dict)]
    for place, entry in enumerate(entries):
        values += [(f"per_fold[{place}].metrics.{n}", n, v) for n, v in entry.get("metrics", {}).items()]
    for label, entry in classes.items() if isinstance(classes, dict) else ():
        values += [(f"per_class.{label}.{n}", n, v) for n, v in entry.items()] if isinstance(entry, dict) else []
    return [
        (where, _short(value), text) for where, name, value in values if (text := _outside(name, value, shipped=True))
    ]


def _objective_problems(metrics: Mapping[str, Any], objective: Objective) -> list[tuple[str, str, str]]:
    metric = metrics.get(objective.metric)
    if metric is None:
        present = ", ".join(metrics) or "none"
        return [(f"metrics.{objective.metric}", "", f"the study's objective is missing; present: {present}")]
    direction = metric.get("direction") if isinstance(metric, dict) else None
    if direction != objective.direction:
        text = f"the study is to {objective.direction} it; a summary with the other direction is refused"
        return [(f"metrics.{objective.metric}.direction", _short(direction), text)]
    return []


def _metric_problems(name: str, metric: object) -> list[tuple[str, str, str]]:
    if not isinstance(metric, dict):
        return [(f"metrics.{name}", _short(metric), "must be an object with value, direction, std and n")]
    found = []
    if not _finite(metric.get("value")):
        found.append((f"metrics.{name}.value", _short(metric.get("value")), "must be a finite number"))
    if metric.get("direction") not in ("minimize", "maximize"):
        found.append((f"metrics.{name}.direction", _short(metric.get("direction")), "must be minimize or maximize"))
    if metric.get("std") is not None and not (_finite(metric["std"]) and metric["std"] >= 0):
        found.append((f"metrics.{name}.std", _short(metric["std"]), "must be null or a number from 0"))
    n = metric.get("n")
    if not (isinstance(n, int) and not isinstance(n, bool) and n >= 1):
        found.append((f"metrics.{name}.n", _short(n), "must be a whole number from 1"))
    return found


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _counts(value: object) -> bool:
    if not isinstance(value, dict) or not value:
        return False
    known = {outcome.value for outcome in Outcome}
    return all(key in known and type(count) is int and count >= 0 for key, count in value.items())


def _short(value: object) -> str:
    return repr(value)[:80]


def _invalid(path: Path, found: Sequence[tuple[str, str, str]]) -> InvalidSummary:
    more = len(found) - MOST_LISTED
    if more > 0:
        found = [*found[:MOST_LISTED], ("file", "", f"and {more} further problems of these kinds")]
    return InvalidSummary.of(path, found)
