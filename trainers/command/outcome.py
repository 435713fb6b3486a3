"""Reading the summary that a program wrote: nothing in it is trusted, nothing is guessed. Standard library only."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainers.command.findings import is_number, shown
from trainers.command.record import Metric
from trainers.contract import BadConfig, TrainerError, TrialResult

MAX_BYTES = 16 * 2**20
MISSING = object()


class SummaryMissing(TrainerError):
    """The program ended well but wrote no summary."""


class SummaryBroken(TrainerError):
    """The summary is not what it should be; names the file, the place and what is allowed."""


def read_outcome(
    path: Path, *, objective: str, metrics: Mapping[str, Metric], notes: Mapping[str, object]
) -> TrialResult:
    """The metrics of a summary, e.g. {"accuracy": 0.9} or {"metrics": {"accuracy": 0.9, "loss": {"value": 0.3}}}.

    metrics: what is looked for, the objective among it. `samples`, `epochs_run` and `per_class` are taken where the
    summary has them; other numbers become notes. A further metric that is missing or not finite becomes a note, too.

    Raises SummaryMissing, SummaryBroken, and BadConfig where the objective is NaN, infinite or null.
    """
    raw = _object(path)
    values: dict[str, float] = {}
    undefined: list[str] = []
    for name, metric in metrics.items():
        value = _found(raw, name, metric, path)
        if value is MISSING and name == objective:
            text = f"has no {_place(name, metric)}, the objective; its numbers: {', '.join(_numbers(raw)) or 'none'}"
            raise SummaryBroken(f"{path}: {text}")
        number = _number(value, path, name) if value is not MISSING else None
        if number is not None and math.isfinite(number):
            values[name] = number
        elif name == objective:
            raise BadConfig(f"{path}: the objective {name} is {value}: training diverged or it is undefined")
        else:
            undefined.append(name)
    rest = {name: value for name, value in _numbers(raw).items() if name not in {*values, "samples", "epochs_run"}}
    kept = {"undefined_metrics": undefined, "summary": rest}
    return TrialResult(
        metrics=values,
        directions={name: metrics[name].direction for name in values},
        samples=_count(raw, "samples", path),
        epochs_run=_count(raw, "epochs_run", path),
        per_class=_per_class(raw, path),
        notes={**notes, **{key: value for key, value in kept.items() if value}},
    )


def _object(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise SummaryMissing(f"{path}: the program ended with exit code 0 but did not write this summary")
    try:
        if not path.is_file():
            raise SummaryBroken(f"{path}: is not a regular file")
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise SummaryBroken(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise SummaryBroken(f"{path}: larger than {MAX_BYTES // 2**20} MiB; a summary holds numbers")
    try:
        raw = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        cut = " (the file ends there: is it cut off?)" if error.pos >= len(data.rstrip()) - 1 else ""
        where = f"line {error.lineno} column {error.colno}"
        raise SummaryBroken(f"{path}: {where}: not JSON: {error.msg}{cut}; an undefined number is null") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, a key twice, endless digits or brackets
        raise SummaryBroken(f"{path}: not usable JSON: {error}") from None
    if not isinstance(raw, dict):
        raise SummaryBroken(f'{path}: expected one JSON object such as {{"accuracy": 0.9}}, not {shown(raw)}')
    return raw


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice in one object")
    return found


def _found(raw: Mapping[str, Any], name: str, metric: Metric, path: Path) -> object:
    """What stands where the metric should be, or MISSING."""
    if metric.path:
        return _follow(raw, metric.path)
    if name in raw:
        return raw[name]
    shared = raw.get("metrics")
    value = shared.get(name, MISSING) if isinstance(shared, dict) else MISSING
    if not isinstance(value, dict):
        return value
    if value.get("direction", metric.direction) != metric.direction:
        text = f"metrics.{name}.direction is {shown(value['direction'])}, but the trainer's description says"
        raise SummaryBroken(f"{path}: {text} {metric.direction}")
    return value.get("value", MISSING)


def _follow(raw: object, path: Sequence[str]) -> object:
    for key in path:
        if isinstance(raw, dict) and key in raw:
            raw = raw[key]
        elif isinstance(raw, list) and key.isdecimal() and int(key) < len(raw):
            raw = raw[int(key)]
        else:
            return MISSING
    return raw


def _number(value: object, path: Path, name: str) -> float | None:
    """A number, which may be NaN or infinite; None for null."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SummaryBroken(f"{path}: {name} is {shown(value)}; it must be a number, or null where it is undefined")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _place(name: str, metric: Metric) -> str:
    return f"{'.'.join(metric.path)} ({name})" if metric.path else name


def _numbers(raw: Mapping[str, Any]) -> dict[str, int | float]:
    """The finite numbers at the top of the summary and under its `metrics`."""
    shared = raw.get("metrics")
    both = {**raw, **(shared if isinstance(shared, dict) else {})}
    flat = {key: value.get("value") if isinstance(value, dict) else value for key, value in both.items()}
    return {key: value for key, value in flat.items() if is_number(value)}


def _count(raw: Mapping[str, Any], key: str, path: Path) -> int | None:
    value = raw.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise SummaryBroken(f"{path}: {key} is {shown(value)}; it must be a whole number from 0")
    return value


def _per_class(raw: Mapping[str, Any], path: Path) -> dict[str, dict[str, float | None]] | None:
    """{class: {metric: number or null}}; numbers that are not finite become None."""
    value = raw.get("per_class")
    if value is None:
        return None
    if not isinstance(value, dict) or not all(isinstance(entry, dict) for entry in value.values()):
        raise SummaryBroken(f"{path}: per_class must be an object: class -> {{metric: number}}")
    found: dict[str, dict[str, float | None]] = {}
    for name, entry in value.items():
        numbers = {metric: _number(item, path, f"per_class.{name}.{metric}") for metric, item in entry.items()}
        found[name] = {m: n if n is not None and math.isfinite(n) else None for m, n in numbers.items()}
    return found
