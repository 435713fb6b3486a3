"""Beside the objective: what else a candidate measures, limits on it, and the Pareto front. Pure.

A quantity is named as people say it: a metric of the summaries (`val_f1`), or a cost of training one row (`seconds`,
`cpu_seconds`, `gpu_seconds`: means over the rows that ended ok; `parameters`: the trained model's, where the trainer
counts them). A limit bars a candidate from leading, whatever its objective; a further objective decides nothing, but
spans the front with the study's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.errors import UsageError
from agent.records import CandidateResult, Objective

#: Quantity -> the key of a summary's costs, each a sum over rows.
_COSTS: Mapping[str, str] = {"seconds": "wall_seconds", "cpu_seconds": "cpu_seconds", "gpu_seconds": "gpu_seconds"}
PARAMETERS = "parameters"

_NAME = r"[A-Za-z_][A-Za-z0-9_.-]*"
_LIMIT = re.compile(rf"\s*({_NAME})\s*(<=|>=)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*")
_FURTHER = re.compile(rf"\s*({_NAME})\s*:\s*(minimize|maximize)\s*")


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A bound that a candidate's quantity must keep."""

    name: str
    upper: bool
    """Whether `bound` is the most (<=), or the least (>=)."""
    bound: float

    def __str__(self) -> str:
        return f"{self.name}{'<=' if self.upper else '>='}{self.bound:g}"

    def kept(self, value: float) -> bool:
        return value <= self.bound if self.upper else value >= self.bound


def parse_limit(text: str) -> Limit:
    """ "seconds<=600". Raises UsageError."""
    match = _LIMIT.fullmatch(text)
    if match is None:
        raise UsageError(f"--limit {text!r}: must be QUANTITY<=NUMBER or QUANTITY>=NUMBER, such as seconds<=600")
    return Limit(name=match[1], upper=match[2] == "<=", bound=float(match[3]))


def parse_further(text: str) -> Objective:
    """ "seconds:minimize". Raises UsageError."""
    match = _FURTHER.fullmatch(text)
    if match is None:
        raise UsageError(f"--also {text!r}: must be QUANTITY:minimize or QUANTITY:maximize, such as seconds:minimize")
    return Objective(metric=match[1], direction=match[2])


def check_objectives(objective: Objective, also: Sequence[str], limits: Sequence[str]) -> None:
    """Raises UsageError for further objectives and limits that cannot be meant."""
    names = [parse_further(text).metric for text in also]
    for name in names:
        if name == objective.metric:
            raise UsageError(f"--also {name}: is the study's objective already ({objective.direction})")
        if names.count(name) > 1:
            raise UsageError(f"--also {name}: is given twice")
    bounds = [parse_limit(text) for text in limits]
    for limit in bounds:
        for other in bounds:
            if limit.name == other.name and limit.upper and not other.upper and limit.bound < other.bound:
                raise UsageError(f"--limit {limit} and {other}: nothing can keep both")


def quantities(result: CandidateResult) -> dict[str, float]:
    """What a candidate measures, by name; a metric goes before a cost of the same name."""
    found: dict[str, float] = {}
    if result.n:
        found |= {name: result.costs[key] / result.n for name, key in _COSTS.items() if key in result.costs}
        sizes = [size for trial in result.trials if (size := trial.parameters) is not None]
        if sizes:
            found[PARAMETERS] = float(max(sizes))
    return found | dict(result.metrics)


def violation(measured: Mapping[str, float], limits: Sequence[Limit]) -> str:
    """Why a measured candidate may not lead, or an empty text. What is not measured keeps no limit."""
    broken = []
    for limit in limits:
        value = measured.get(limit.name)
        if value is None:
            broken.append(f"{limit}, and {limit.name} is not measured (there are: {', '.join(sorted(measured))})")
        elif not limit.kept(value):
            broken.append(f"{limit}, and it has {value:.6g}")
    return f"the study's limit is {'; '.join(broken)}" if broken else ""


def front(points: Mapping[Any, Mapping[str, float]], objectives: Sequence[Objective]) -> list[Any]:
    """The points that no other one dominates, in given order; those that miss an objective are in none.

    A point dominates another when it is as good in every objective and better in one (Pareto). Equal points are all
    in the front. n points cost n x the front's size.
    """
    kept: dict[Any, tuple[float, ...]] = {}
    for name, values in points.items():
        if any(objective.metric not in values for objective in objectives):
            continue
        here = tuple(o.gain(values[o.metric], 0.0) for o in objectives)
        if any(_dominates(there, here) for there in kept.values()):
            continue
        kept = {other: there for other, there in kept.items() if not _dominates(here, there)}
        kept[name] = here
    return list(kept)


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))
