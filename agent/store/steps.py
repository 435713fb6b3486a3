"""Step records: steps/NN_<step>.json, written last by each step. The next step is the first without a final one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from agent.errors import InvalidStudy
from agent.store.disk import Disk
from agent.store.paths import RoundPaths
from trainers.files import FileProblem, read_json_object, read_regular


class Status(StrEnum):
    DONE = "done"
    SKIPPED = "skipped"
    WAITING = "waiting"
    """Not final: looked at again by the next tick."""


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """What one step read, wrote and concluded."""

    step: str
    status: Status
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Path relative to the study -> sha256 of the file when the step read it."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def final(self) -> bool:
        return self.status is not Status.WAITING


class Steps:
    """The step records of one round."""

    def __init__(self, round_paths: RoundPaths, study_root: Path, disk: Disk, order: tuple[str, ...]) -> None:
        self._paths = round_paths
        self._root = study_root
        self._disk = disk
        self._order = order

    def _file(self, step: str) -> Path:
        return self._paths.steps / f"{self._order.index(step) + 1:02d}_{step}.json"

    def read(self, step: str) -> StepRecord | None:
        """The record of a step, or None. Raises InvalidStudy when the file is broken."""
        path = self._file(step)
        if not path.exists():
            return None
        try:
            raw: Any = read_json_object(path)
            return StepRecord(
                step=raw["step"],
                status=Status(raw["status"]),
                inputs=raw["inputs"],
                outputs=raw["outputs"],
                details=raw["details"],
            )
        except (FileProblem, KeyError, ValueError) as error:
            message = f"broken step record ({error}); remove it to redo the step"
            raise InvalidStudy.at(path, message, where=step) from error

    def write(self, record: StepRecord, *, at: datetime) -> None:
        """Write a record, unless the same one stands there already (a waiting step looked at again)."""
        if record.status is Status.WAITING and self.read(record.step) == record:
            return
        self._disk.make_folder(self._paths.steps)
        self._disk.write_json(
            self._file(record.step),
            {
                "step": record.step,
                "status": record.status.value,
                "at": at.isoformat(),
                "inputs": dict(record.inputs),
                "outputs": dict(record.outputs),
                "details": dict(record.details),
            },
        )

    def forget(self, steps: Iterable[str]) -> None:
        """Remove records, last step first, so that a kill in between leaves a prefix of the round."""
        for step in sorted(steps, key=self._order.index, reverse=True):
            self._disk.boundary(f"before forgetting {step}")
            self._file(step).unlink(missing_ok=True)

    def hashes(self, paths: Iterable[Path]) -> dict[str, str]:
        """sha256 of the given files, by their path relative to the study; files that are not there are left out."""
        found = {}
        below = f"{self._root}/"
        for path in paths:
            # As text where that is enough: a large round has thousands of files, and each is hashed by several steps.
            name = str(path)
            name = name[len(below) :] if name.startswith(below) else str(path.relative_to(self._root))
            try:
                found[name] = hashlib.sha256(read_regular(path)).hexdigest()
            except FileNotFoundError:
                continue
        return found

    def changed(self, recorded: Mapping[str, str]) -> list[str]:
        """Which of the recorded files are no longer what they were (or gone), relative to the study."""
        now = self.hashes(self._root / name for name in recorded)
        return [name for name, sha in recorded.items() if now.get(name) != sha]
