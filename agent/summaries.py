"""Reading validation and test summaries: our own schema, nnU-Net's, and a plain {"metric": number}.

Nothing is guessed: a missing objective, a NaN, or a direction that contradicts the study is refused.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.errors import InvalidSummary, Problem
from agent.records import Objective, Outcome
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
    per_fold: tuple[Mapping[str, Any], ...] = ()
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
        return next((str(entry["message"]) for entry in self.per_fold if entry.get("message")), "")


def read_summary(path: Path, objective: Objective, *, split: str = "val") -> Summary:
    """Read a summary of any accepted shape. Raises InvalidSummary with every problem."""
    try:
        raw: Any = read_raw(path)
    except FileProblem as error:
        raise _invalid(path, [("file", "", str(error).removeprefix(f"{path}: "))]) from error
    if "metrics" in raw and "objective" in raw:
        return _own(path, raw, objective, split)
    number, name = _foreign(path, raw, objective)
    classes, cases = _nnunet_parts(raw)
    return Summary(
        value=number,
        std=None,
        n=1,
        rows=1,
        outcomes={Outcome.OK.value: 1},
        metrics={name: number},
        per_class=classes,
        per_case=cases,
        raw=raw,
    )


def read_raw(path: Path) -> Any:
    """The object in the file. nnU-Net writes NaN for a class that is in neither segmentation, and only it may.

    Raises FileProblem.
    """
    try:
        return read_json_object(path)
    except FileProblem:
        found = read_json_object(path, nan_is_null=True)
        if not isinstance(found.get("foreground_mean"), dict):
            raise
        return found


def _nnunet_parts(raw: Mapping[str, Any]) -> tuple[dict[str, dict[str, float | None]], list[dict[str, Any]]]:
    """per_class and per_case of nnU-Net's summary.json, classes by label number; both empty for another shape."""
    entries = raw.get("metric_per_case")
    cases: list[dict[str, Any]] = []
    for entry in entries if isinstance(entries, list) else ():
        metrics = entry.get("metrics") if isinstance(entry, dict) else None
        if isinstance(metrics, dict) and all(isinstance(found, dict) for found in metrics.values()):
            name = Path(str(entry.get("prediction_file", ""))).name.split(".")[0]
            dice = {label: _finite_or_none(found.get("Dice")) for label, found in metrics.items()}
            cases.append({"case": name, "fold": None, "Dice": dice})
    means = raw.get("mean")
    classes: dict[str, dict[str, float | None]] = {}
    for label, found in means.items() if isinstance(means, dict) else ():
        if isinstance(found, dict) and label != "0":
            classes[label] = {metric: _finite_or_none(found.get(metric)) for metric in ("Dice", "IoU")}
            if cases:
                classes[label]["cases"] = sum(case["Dice"].get(label) is not None for case in cases)
    return classes, cases


def _finite_or_none(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and _finite(value) else None


def _own(path: Path, raw: Mapping[str, Any], objective: Objective, split: str) -> Summary:
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
        per_fold=tuple(entries),
        per_class=raw.get("per_class") or {},
        per_case=raw.get("per_case") or (),
        metrics={name: metric["value"] for name, metric in metrics.items()},
        costs=costs,
        raw=raw,
    )


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


def _foreign(path: Path, raw: Mapping[str, Any], objective: Objective) -> tuple[float, str]:
    """The objective's number from nnU-Net's summary.json or a flat object."""
    flat: dict[str, Any] = {key: value for key, value in raw.items() if isinstance(value, int | float)}
    foreground = raw.get("foreground_mean")
    if isinstance(foreground, dict):
        flat |= foreground | {f"foreground_mean.{key}": value for key, value in foreground.items()}
    name = objective.metric
    if name not in flat:
        present = ", ".join(flat) or "no numbers"
        text = f"the study's objective is missing; present: {present}"
        raise _invalid(path, [(name, "", text)])
    if not _finite(flat[name]):
        raise _invalid(path, [(name, _short(flat[name]), "must be a finite number")])
    return float(flat[name]), name


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
    problems = [Problem(file=str(path), where=where, value=value, message=text) for where, value, text in found]
    return InvalidSummary(problems)
