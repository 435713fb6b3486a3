"""Reading and writing what a row left behind; the same code for tasks, evaluation and orchestrator.

Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainers.contract import TASK_OUTCOMES
from trainers.files import FileProblem, read_json_object
from trainers.layout import AttemptFiles, RoundFiles
from trainers.manifest import Manifest, Row

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class RowResult:
    """The decisive result of a row."""

    row: Row
    attempt: int
    outcome: str
    """One of contract.TASK_OUTCOMES, or "corrupt_result" when the file cannot be trusted."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    directions: Mapping[str, str] = field(default_factory=dict)
    message: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict)


def read_row(files: RoundFiles, manifest: Manifest, row: Row) -> RowResult | None:
    """The first attempt that ended ok, else the newest attempt with a result; None when no attempt has one."""
    found: RowResult | None = None
    for attempt in files.attempts(row.candidate, row.fold, row.seed):
        folder = files.attempt(row.candidate, row.fold, row.seed, attempt)
        result = read_result(folder, manifest, row, attempt)
        if result is not None:
            found = result
            if result.outcome == "ok":
                break
    return found


def read_result(folder: AttemptFiles, manifest: Manifest, row: Row, attempt: int) -> RowResult | None:
    """One attempt's result, checked against its row; None when the file is not there."""
    try:
        raw: Any = read_json_object(folder.result)
    except FileProblem as error:
        if not folder.result.exists():
            return None
        return RowResult(row=row, attempt=attempt, outcome="corrupt_result", message=str(error))
    problem = _problem(raw, manifest, row, attempt)
    if problem:
        return RowResult(row=row, attempt=attempt, outcome="corrupt_result", message=f"{folder.result}: {problem}")
    return RowResult(
        row=row,
        attempt=attempt,
        outcome=raw["outcome"],
        metrics=raw["metrics"],
        directions=raw["directions"],
        message=str((raw.get("error") or {}).get("message", "")),
        raw=raw,
    )


def identity(manifest: Manifest, row: Row, attempt: int) -> dict[str, Any]:
    """What every result repeats of its row."""
    return {
        "schema_version": SCHEMA_VERSION,
        "study": manifest.study,
        "round": manifest.round,
        "row": row.row,
        "candidate": row.candidate,
        "fold": row.fold,
        "seed": row.seed,
        "attempt": attempt,
        "reference_sha256": manifest.candidates[row.candidate],
    }


def _problem(raw: Mapping[str, Any], manifest: Manifest, row: Row, attempt: int) -> str:
    """What makes this result untrustworthy, or an empty string."""
    for name, value in identity(manifest, row, attempt).items():
        if raw.get(name) != value:
            return f"{name} is {raw.get(name)!r}, but this row's is {value!r}"
    if raw.get("outcome") not in TASK_OUTCOMES:
        return f"outcome is {raw.get('outcome')!r}: must be one of {', '.join(TASK_OUTCOMES)}"
    metrics, directions = raw.get("metrics"), raw.get("directions")
    if not isinstance(metrics, dict) or not isinstance(directions, dict):
        return "metrics and directions must be objects"
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return f"metric {name} is {value!r}: must be a finite number"
    if raw["outcome"] == "ok" and manifest.objective not in metrics:
        return f"the objective {manifest.objective} is missing; present: {', '.join(metrics) or 'none'}"
    if raw["outcome"] == "ok" and directions.get(manifest.objective) != manifest.direction:
        found = directions.get(manifest.objective)
        return f"{manifest.objective} is to {found}, but the study is to {manifest.direction} it"
    return _further_problem(raw)


def _further_problem(raw: Mapping[str, Any]) -> str:
    """What would break those who fold this result although its score can be trusted, or an empty string."""
    if unknown := [name for name in raw["metrics"] if raw["directions"].get(name) not in ("minimize", "maximize")]:
        return f"metric {unknown[0]} has no direction: must be minimize or maximize"
    if not isinstance(raw.get("error") or {}, dict):
        return f"error is {raw['error']!r}: must be an object"
    if not _numbers(raw.get("costs") or {}):
        return "costs must be an object of finite numbers"
    classes = raw.get("per_class") or {}
    if not isinstance(classes, dict) or not all(_numbers(metrics, absent=True) for metrics in classes.values()):
        return "per_class must be an object of classes, each with finite numbers or null"
    return ""


def _numbers(value: object, *, absent: bool = False) -> bool:
    """Whether it is an object of finite numbers (and null, where a number may be absent)."""
    return isinstance(value, dict) and all(
        (absent and number is None)
        or (isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number))
        for number in value.values()
    )


def read_exit(folder: AttemptFiles) -> dict[str, Any] | None:
    """An attempt's exit marker, or None when it has none (still running, or killed outright)."""
    try:
        return read_json_object(folder.exit)
    except FileProblem:
        return None


def earlier_attempts(files: RoundFiles, manifest: Manifest, row: Row, attempt: int) -> tuple[Path, ...]:
    """Folders that a run may go on from, in the order to try: those with the usual checkpoint newest first, then the
    others newest first (killed before they saved one, or of a trainer that names its checkpoints otherwise).

    Older than the row's own attempts are its candidate's shorter trainings of the same fold and seed, in rungs.
    """
    numbers = [number for number in files.attempts(row.candidate, row.fold, row.seed) if number < attempt]
    folders = [files.attempt(row.candidate, row.fold, row.seed, number) for number in reversed(numbers)]
    for folder, candidate in manifest.continues.get(row.candidate, ()):
        rung = RoundFiles(files.root.parent / folder)
        numbers = rung.attempts(candidate, row.fold, row.seed)
        folders += [rung.attempt(candidate, row.fold, row.seed, number) for number in reversed(numbers)]
    return tuple(folder.root for folder in sorted(folders, key=lambda folder: not folder.checkpoint_last.exists()))
