"""Ask and tell in JSON, for programs in any language: a space and a history in, configurations out.

    space    {"parameters": [{"name", "type": "float|int|categorical", "low", "high", "log", "choices", "ordered",
              "default", "condition": {"parent", "values"}}], "goal": "minimize|maximize"}
    history  {"trials": [{"config", "value", "status": "ok|failed|pending", "stderr"?, "fidelity"?}]}

Any string is a name. A configuration has the parameters that take effect under it. `stderr` is the standard error of
a value; `fidelity` is the share of a full training that a trial had.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agent.errors import ProposalError, UsageError
from agent.propose.bayes.model import Trial, suggest
from agent.propose.bayes.space import Dimension, Space
from trainers.contract import Value
from trainers.files import FileProblem, read_json_object

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Points = NDArray[np.float64]
    Mask = NDArray[np.bool_]

TYPES = ("float", "int", "categorical")
STATUSES = ("ok", "failed", "pending")
GOALS = ("minimize", "maximize")
PARTIAL_VARIANCE = 4.0
"""Of the noise of a trial that had a share of a full training, as a multiple of a full one's."""
DIGITS = 8
"""Significant digits of a number that is proposed."""
_SPACE_KEYS = {"parameters", "goal", "budget", "batch"}
_PARAMETER_KEYS = {"name", "type", "low", "high", "log", "choices", "ordered", "default", "condition"}
_TRIAL_KEYS = {"config", "value", "status", "stderr", "fidelity"}


@dataclass(frozen=True, kw_only=True)
class Condition:
    """When a parameter takes effect: its parent does, and has one of these values."""

    parent: str
    values: tuple[Value, ...]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A space as it was described."""

    file: str
    space: Space
    conditions: Mapping[str, Condition]
    defaults: Mapping[str, Value]
    """Of the parameters that have one."""
    maximize: bool


def propose(space: Path, history: Path | None, *, count: int, seed: int) -> list[dict[str, Value]]:
    """`count` configurations to try next; the first of all is the default, where every parameter has one.

    Raises UsageError for a file that is not as described above, ProposalError where nothing is left to try.
    """
    problem = read_space(space)
    trials = read_history(history, problem) if history is not None else []
    found: list[dict[str, Value]] = []
    if not trials and len(problem.defaults) == len(problem.space):
        point, _ = problem.space.normal(problem.space.encode(problem.defaults)[None])
        active = problem.space.decode(point[0])
        found.append({name: problem.defaults[name] for name in active})
        trials = [Trial(point=point[0], pending=True)]
    suggestions = suggest(problem.space, trials, count - len(found), seed=seed) if count > len(found) else []
    found += [_shortened(problem.space.decode(suggestion.point)) for suggestion in suggestions]
    if not found:
        raise ProposalError(f"{space}: no configuration is left that was not tried")
    return found


def _shortened(config: Mapping[str, Value]) -> dict[str, Value]:
    """Floats with as many digits as matter."""
    return {
        name: float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value for name, value in config.items()
    }


# -- the space -------------------------------------------------------------------------------------------------


def read_space(path: Path) -> Problem:
    """Read and check a space. Raises UsageError naming file, field, value and what is allowed."""
    raw = _object(path)
    _only(raw, _SPACE_KEYS, str(path))
    goal = raw.get("goal", "minimize")
    if goal not in GOALS:
        raise UsageError(f"{path}: goal is {goal!r}: must be one of {', '.join(GOALS)}")
    listed = raw.get("parameters")
    if not isinstance(listed, list) or not listed:
        raise UsageError(f"{path}: parameters: must be a list of at least one parameter")
    dimensions: list[Dimension] = []
    conditions: dict[str, Condition] = {}
    defaults: dict[str, Value] = {}
    for index, entry in enumerate(listed):
        where = f"{path}: parameters[{index}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise UsageError(f"{where}: must be an object with a name")
        where = f"{path}: parameter {entry['name']!r}"
        _only(entry, _PARAMETER_KEYS, where)
        dimension = _dimension(entry, where)
        if any(known.name == dimension.name for known in dimensions):
            raise UsageError(f"{where}: is there twice")
        if "default" in entry:
            defaults[dimension.name] = _held(dimension, entry["default"], f"{where}: default")
        if "condition" in entry:
            conditions[dimension.name] = _condition(entry["condition"], dimensions, where)
        dimensions.append(dimension)
    return Problem(
        file=str(path),
        space=Space(dimensions=tuple(dimensions), active=_activity(dimensions, conditions) if conditions else None),
        conditions=conditions,
        defaults=defaults,
        maximize=goal == "maximize",
    )


def _dimension(entry: Mapping[str, object], where: str) -> Dimension:
    kind = entry.get("type")
    if kind not in TYPES:
        raise UsageError(f"{where}: type is {kind!r}: must be one of {', '.join(TYPES)}")
    name = str(entry["name"])
    if kind == "categorical":
        choices = entry.get("choices")
        if not isinstance(choices, list) or not choices or not all(isinstance(c, str | int | float) for c in choices):
            raise UsageError(f"{where}: choices: must be a list of strings, numbers, true or false")
        if len({(type(choice), choice) for choice in choices}) < len(choices):
            raise UsageError(f"{where}: choices: one is there twice")
        return Dimension(name=name, values=tuple(choices), ordered=_flag(entry, "ordered", where))
    low, high, log = entry.get("low"), entry.get("high"), _flag(entry, "log", where)
    for key, bound in (("low", low), ("high", high)):
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not math.isfinite(bound):
            raise UsageError(f"{where}: {key} is {bound!r}: must be a finite number")
    assert isinstance(low, int | float) and isinstance(high, int | float)
    if low > high or (log and low <= 0):
        raise UsageError(
            f"{where}: low {low} and high {high}: low must be below high{', and above 0' if log else ''}"
        )
    if kind == "int" and (low != int(low) or high != int(high)):
        raise UsageError(f"{where}: low {low} and high {high}: must be whole numbers")
    return Dimension(name=name, low=float(low), high=float(high), log=log, integer=kind == "int")


def _flag(entry: Mapping[str, object], key: str, where: str) -> bool:
    value = entry.get(key, False)
    if not isinstance(value, bool):
        raise UsageError(f"{where}: {key} is {value!r}: must be true or false")
    return value


def _condition(raw: object, before: Sequence[Dimension], where: str) -> Condition:
    parent = raw.get("parent") if isinstance(raw, dict) else None
    values = raw.get("values") if isinstance(raw, dict) else None
    if not isinstance(parent, str) or not isinstance(values, list) or not values:
        raise UsageError(f"{where}: condition: must be an object with parent and values")
    known = next((dimension for dimension in before if dimension.name == parent), None)
    if known is None:
        raise UsageError(f"{where}: condition: parent {parent!r} is no parameter before it")
    return Condition(parent=parent, values=tuple(_held(known, value, f"{where}: condition") for value in values))


def _held(dimension: Dimension, value: object, where: str) -> Value:
    """A value that the dimension holds, as it holds it. Raises UsageError."""
    if not isinstance(value, str | int | float):
        raise UsageError(f"{where}: {value!r} is no value of {dimension.name!r}")
    if dimension.values:
        # JSON has one kind of number: 1.0 and 1 are the same choice, true and 1 are not.
        for known in dimension.values:
            if known == value and isinstance(known, bool) == isinstance(value, bool):
                return known
        shown = ", ".join(map(repr, dimension.values[:10]))
        raise UsageError(f"{where}: {value!r} is none of the choices of {dimension.name!r} ({shown})")
    if isinstance(value, bool | str) or not dimension.low <= value <= dimension.high:
        raise UsageError(
            f"{where}: {value!r} of {dimension.name!r} is not from {dimension.low:g} to {dimension.high:g}"
        )
    if dimension.integer and value != int(value):
        raise UsageError(f"{where}: {value!r} of {dimension.name!r}: must be a whole number")
    return int(value) if dimension.integer else float(value)


class _activity:
    """(m, d) points -> (m, d) whether each parameter takes effect."""

    def __init__(self, dimensions: Sequence[Dimension], conditions: Mapping[str, Condition]) -> None:
        columns = {dimension.name: column for column, dimension in enumerate(dimensions)}
        self._rules = []
        for column, dimension in enumerate(dimensions):
            if (condition := conditions.get(dimension.name)) is not None:
                parent = dimensions[columns[condition.parent]]
                places = np.array([parent.encode(value) for value in condition.values])
                self._rules.append((column, columns[condition.parent], places))

    def __call__(self, points: Points) -> Mask:
        active = np.ones(points.shape, dtype=bool)
        # Parents come first, so a parameter is off where its parent is.
        for column, parent, places in self._rules:
            near = np.isclose(points[:, parent, None], places, rtol=0, atol=1e-9).any(axis=1)
            active[:, column] = active[:, parent] & near
        return active


# -- the history -----------------------------------------------------------------------------------------------


def read_history(path: Path, problem: Problem) -> list[Trial]:
    """Read and check a history. Raises UsageError naming file, trial, field and value."""
    raw = _object(path)
    _only(raw, {"trials"}, str(path))
    listed = raw.get("trials")
    if not isinstance(listed, list):
        raise UsageError(f"{path}: trials: must be a list")
    entries = [_trial(entry, problem, f"{path}: trials[{index}]") for index, entry in enumerate(listed)]
    errors = [error for _, error in entries if error is not None and error > 0]
    usual = float(np.median(np.square(errors))) if errors else 1.0
    return [
        trial if error is None or error <= 0 else _weighed(trial, trial.variance * error * error / usual)
        for trial, error in entries
    ]


def _trial(entry: object, problem: Problem, where: str) -> tuple[Trial, float | None]:
    """One trial, and the standard error that was given for its value."""
    if not isinstance(entry, dict):
        raise UsageError(f"{where}: must be an object")
    _only(entry, _TRIAL_KEYS, where)
    status = entry.get("status", "ok")
    if status not in STATUSES:
        raise UsageError(f"{where}: status is {status!r}: must be one of {', '.join(STATUSES)}")
    point = _point(entry.get("config"), problem, where)
    if status != "ok":
        return Trial(point=point, pending=status == "pending"), None
    if "value" in entry and entry["value"] is None:
        return Trial(point=point), None
    value = _number(entry.get("value"), f"{where}: value")
    error = None if entry.get("stderr") is None else _number(entry["stderr"], f"{where}: stderr")
    share = 1.0 if entry.get("fidelity") is None else _number(entry["fidelity"], f"{where}: fidelity")
    variance = 1.0 if share >= 1 else PARTIAL_VARIANCE
    return Trial(point=point, value=-value if problem.maximize else value, variance=variance), error


def _point(config: object, problem: Problem, where: str) -> Points:
    if not isinstance(config, dict):
        raise UsageError(f"{where}: config: must be an object of parameters and values")
    dimensions = {dimension.name: dimension for dimension in problem.space.dimensions}
    for name in config:
        if name not in dimensions:
            raise UsageError(f"{where}: config: {name!r} is no parameter of {problem.file}")
    values = {name: _held(dimensions[name], value, f"{where}: config") for name, value in config.items()}
    points, _ = problem.space.normal(problem.space.encode(values)[None])
    missing = [name for name in problem.space.decode(points[0]) if name not in values]
    if missing:
        raise UsageError(f"{where}: config: {missing[0]!r} takes effect there and has no value")
    first: Points = points[0]
    return first


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"{where} is {value!r}: must be a number")
    return float(value)


def _weighed(trial: Trial, variance: float) -> Trial:
    return Trial(point=trial.point, value=trial.value, variance=min(max(variance, 0.01), 100.0))


def _object(path: Path) -> dict[str, object]:
    try:
        # Python writes a loss that diverged as NaN or Infinity, which no JSON has.
        return read_json_object(path, infinite_is_null=True)
    except FileProblem as error:
        raise UsageError(str(error)) from error


def _only(raw: Mapping[str, object], known: set[str], where: str) -> None:
    if unknown := sorted(set(raw) - known):
        raise UsageError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
