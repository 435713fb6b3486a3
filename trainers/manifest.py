"""manifest.json: which row of the array is which candidate, fold and seed. Every task checks its own row.

Standard library only. The orchestrator writes it once per round; tasks and the orchestrator read it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from trainers.contract import TrialSpec, Value
from trainers.files import FileProblem, read_json_object, read_regular
from trainers.layout import RoundFiles

SCHEMA_VERSION = 1
RUNG_FOLDER = re.compile(r"rung[1-9]_[1-9]\d*_\d{8}_\d{6}")
SHA256 = re.compile(r"[0-9a-f]{64}")


class ManifestProblem(Exception):
    """A manifest, or a reference it names, that cannot be trusted. `problems` lists (where, value, message)."""

    def __init__(self, file: str, problems: list[tuple[str, str, str]]) -> None:
        self.file = file
        self.problems = problems
        super().__init__("\n".join(f"{file}: {where} = {value}: {text}" for where, value, text in problems))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One array task: a candidate trained on one fold with one seed."""

    row: int
    candidate: str
    fold: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What every task of a round has in common, and the rows that tell them apart."""

    study: str
    task: str
    trainer: str
    round: int
    objective: str
    direction: str
    folds: int
    """How many folds the data is split into (1: one held-out split); rows name fold indices below it."""
    epochs: int | None
    data: Mapping[str, Value]
    cpus: int
    gpus: int
    candidates: Mapping[str, str]
    """Candidate name -> sha256 of its reference file."""
    rows: tuple[Row, ...]
    trainer_file: str | None = None
    """Description of a trainer brought as YAML, relative to the round's folder; None for a built-in trainer."""
    continues: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    """Candidate -> [folder, candidate] of its shorter trainings, the longest first, in folders beside this one."""
    use_test: bool = False
    """Whether the evaluation also runs on the test set (for the report)."""
    evaluation: str = "job"
    """"job": one task evaluates all candidates; "array": one task a candidate, by its position among them."""
    extra: Mapping[str, object] = field(default_factory=dict)

    def to_text(self) -> str:
        """The file's text: header fields, then one row a line, so that a diff and `grep` stay useful."""
        header: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "study": self.study,
            "task": self.task,
            "trainer": self.trainer,
            "trainer_file": self.trainer_file,
            "round": self.round,
            "objective": {"metric": self.objective, "direction": self.direction},
            "folds": self.folds,
            "epochs": self.epochs,
            "data": dict(self.data),
            "resources": {"cpus": self.cpus, "gpus": self.gpus},
            "use_test": self.use_test,
            "evaluation": self.evaluation,
            "candidates": dict(self.candidates),
            "extra": dict(self.extra),
        }
        if self.continues:
            header["continues"] = {name: [list(place) for place in found] for name, found in self.continues.items()}
        head = json.dumps(header, indent=1, ensure_ascii=False, allow_nan=False)
        rows = ",\n  ".join(
            f'{{"row": {r.row}, "candidate": {json.dumps(r.candidate)}, "fold": {r.fold}, "seed": {r.seed}}}'
            for r in self.rows
        )
        return f'{head[:-2]},\n "rows": [\n  {rows}\n ]\n}}\n'

    def of_candidate(self, candidate: str) -> list[Row]:
        """The rows of one candidate, in order."""
        return self._rows_by_candidate.get(candidate, [])

    @cached_property
    def _rows_by_candidate(self) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.candidate, []).append(row)
        return found

    def evaluation_items(self, positions: Sequence[int] | None = None) -> list[int]:
        """The items of the evaluation's tasks that cover the candidates at these positions (None: all of them)."""
        if self.evaluation == "job":
            return [0]
        return list(range(len(self.candidates)) if positions is None else positions)

    def spec(
        self, files: RoundFiles, row: Row, *, attempt: int, values: Mapping[str, Value], earlier: Sequence[Path] = ()
    ) -> TrialSpec:
        """What the task of `row` is told on its `attempt`. earlier: folders to go on from, in the order to try."""
        return TrialSpec(
            study=self.study,
            task=self.task,
            trainer=self.trainer,
            round=self.round,
            candidate=row.candidate,
            row=row.row,
            fold=row.fold,
            folds=self.folds,
            seed=row.seed,
            attempt=attempt,
            values=values,
            reference=files.reference(row.candidate),
            out=files.attempt(row.candidate, row.fold, row.seed, attempt).root,
            previous=earlier[0] if earlier else None,
            earlier=tuple(earlier[1:]),
            epochs=self.epochs,
            trainer_file=files.root / self.trainer_file if self.trainer_file else None,
            data=self.data,
            cpus=self.cpus,
            gpus=self.gpus,
            objective=self.objective,
            direction=self.direction,
        )


def load_manifest(path: Path) -> Manifest:
    """Read and check a manifest. Raises ManifestProblem with every problem found."""
    try:
        raw = read_json_object(path)
    except FileProblem as error:
        raise ManifestProblem(str(path), [("file", path.name, str(error))]) from error
    problems = list(_problems(raw))
    if problems:
        raise ManifestProblem(str(path), problems)
    data: Any = raw
    return Manifest(
        study=data["study"],
        task=data["task"],
        trainer=data["trainer"],
        trainer_file=data.get("trainer_file"),
        round=data["round"],
        objective=data["objective"]["metric"],
        direction=data["objective"]["direction"],
        folds=data["folds"],
        epochs=data["epochs"],
        data=data["data"],
        cpus=data["resources"]["cpus"],
        gpus=data["resources"]["gpus"],
        use_test=data["use_test"],
        # Rounds of versions that did not say it have an array in their scripts.
        evaluation=data.get("evaluation", "array"),
        candidates=data["candidates"],
        continues=data.get("continues", {}),
        extra=data.get("extra", {}),
        rows=tuple(Row(row=r["row"], candidate=r["candidate"], fold=r["fold"], seed=r["seed"]) for r in data["rows"]),
    )


_HEADER: dict[str, tuple[type, ...]] = {
    "study": (str,),
    "task": (str,),
    "trainer": (str,),
    "round": (int,),
    "objective": (dict,),
    "folds": (int,),
    "epochs": (int, type(None)),
    "data": (dict,),
    "resources": (dict,),
    "use_test": (bool,),
    "candidates": (dict,),
    "rows": (list,),
}


def _problems(raw: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    if raw.get("schema_version") != SCHEMA_VERSION:
        yield "schema_version", repr(raw.get("schema_version")), f"must be {SCHEMA_VERSION}"
        return
    for name, types in _HEADER.items():
        value = raw.get(name)
        if name not in raw or not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            allowed = " or ".join(t.__name__ for t in types)
            yield name, repr(value)[:80], f"must be {allowed}"
            return
    objective = raw["objective"]
    if not isinstance(objective.get("metric"), str):
        yield "objective.metric", repr(objective.get("metric")), "must be the name of a metric"
    if objective.get("direction") not in ("minimize", "maximize"):
        yield "objective.direction", repr(objective.get("direction")), "must be minimize or maximize"
    if (evaluation := raw.get("evaluation", "array")) not in ("job", "array"):
        yield "evaluation", repr(evaluation)[:80], "must be job or array"
    for name in ("cpus", "gpus"):
        if not _whole(raw["resources"].get(name)):
            yield f"resources.{name}", repr(raw["resources"].get(name)), "must be a whole number from 0"
    for name, sha in raw["candidates"].items():
        if not re.fullmatch(r"c\d{2,}", name):
            yield "candidates", repr(name), "a candidate is named c00, c01, ..."
        if not (isinstance(sha, str) and SHA256.fullmatch(sha)):
            yield f"candidates.{name}", repr(sha)[:80], "must be the sha256 of its reference file"
    yield from _continued_problems(raw)
    yield from _row_problems(raw)


def _continued_problems(raw: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The names become paths that a task reads checkpoints from."""
    continues = raw.get("continues", {})
    if not isinstance(continues, dict):
        yield "continues", repr(continues)[:80], "must be an object"
        return
    for name, places in continues.items():
        where = f"continues.{name}"
        if name not in raw["candidates"]:
            yield where, repr(name), "is not among the candidates"
        for place in places if isinstance(places, list) else [places]:
            fits = isinstance(place, list) and len(place) == 2 and all(isinstance(part, str) for part in place)
            if not (fits and RUNG_FOLDER.fullmatch(place[0]) and re.fullmatch(r"c\d{2,}", place[1])):
                yield where, repr(place)[:80], "must be lists of a rung's folder and a candidate"


def _row_problems(raw: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    seen: set[tuple[str, int, int]] = set()
    for position, row in enumerate(raw["rows"]):
        where = f"rows[{position}]"
        if not isinstance(row, dict) or not all(_whole(row.get(k)) for k in ("row", "fold", "seed")):
            yield where, repr(row)[:80], "needs row, candidate, fold and seed, the numbers whole and from 0"
            continue
        if row["row"] != position:
            yield f"{where}.row", str(row["row"]), f"must be {position}: rows are numbered in order"
        if row.get("candidate") not in raw["candidates"]:
            yield f"{where}.candidate", repr(row.get("candidate")), "is not among the candidates"
        if row["fold"] >= max(raw["folds"], 1):
            yield f"{where}.fold", str(row["fold"]), f"must be below folds = {raw['folds']}"
        key = (str(row.get("candidate")), row["fold"], row["seed"])
        if key in seen:
            yield where, str(key), "stands twice: two tasks would share one folder"
        seen.add(key)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    return hashlib.sha256(read_regular(path)).hexdigest()


def read_values(path: Path, *, sha256: str | None) -> dict[str, Value]:
    """The hyperparameters of a reference file: active_value where there is one, else default.

    Ranges and conditions were checked when the file was made; `sha256` proves it is still that file (None: a file
    given by hand, checked by the caller). Raises ManifestProblem.
    """
    try:
        if sha256 is not None and (found := file_sha256(path)) != sha256:
            text = f"changed since the round was rendered (sha256 {found[:12]}..., manifest {sha256[:12]}...)"
            raise ManifestProblem(str(path), [("sha256", found, text)])
        raw: Any = read_json_object(path)
    except (FileProblem, OSError) as error:
        raise ManifestProblem(str(path), [("file", path.name, str(error))]) from error
    parameters = raw.get("parameters")
    if not isinstance(parameters, dict):
        raise ManifestProblem(str(path), [("parameters", repr(parameters)[:80], "must be an object")])
    values: dict[str, Value] = {}
    for name, parameter in parameters.items():
        value = parameter.get("active_value", parameter.get("default")) if isinstance(parameter, dict) else None
        if not isinstance(value, str | int | float | bool):
            text = "has neither a default nor an active_value that is a string, number or bool"
            raise ManifestProblem(str(path), [(f"parameters.{name}", repr(value), text)])
        values[name] = value
    return values
