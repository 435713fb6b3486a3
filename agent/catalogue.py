"""Finding a trainer: one that ships, or a plug-in, by its name; a person's by the path of its YAML, or, in Python, by
module or file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.errors import InvalidPlugin, InvalidReference, InvalidStudy, InvalidTrainer, Problem, UsageError
from agent.ownership import other_writers
from agent.reference import Reference, for_study, is_old, load_reference, migrated, parse_reference, read_json
from agent.resources import shipped_reference
from trainers.contract import Value
from trainers.plugins import PluginProblem
from trainers.registry import TRAINERS, RegisteredTrainer, TaskPreset, is_place, registered, trainer_names


@dataclass(frozen=True, kw_only=True)
class Found:
    """A trainer as a study needs it."""

    trainer: RegisteredTrainer
    frozen: str | None = None
    """The description that the study keeps, for a trainer brought as YAML."""

    @property
    def brought(self) -> bool:
        """Whether a person brings it, who alone knows what it reads."""
        return self.trainer.name not in TRAINERS

    @property
    def frozen_sha256(self) -> str | None:
        """Identity of a brought trainer's description; None for a trainer that ships."""
        return None if self.frozen is None else hashlib.sha256(self.frozen.encode()).hexdigest()

    def task(self, task: str) -> TaskPreset | None:
        """The preset of a task; None for a task of the person's own. Raises InvalidTrainer listing the tasks."""
        preset = self.trainer.tasks.get(task)
        if preset is None and not self.trainer.open_tasks:
            known = ", ".join(self.trainer.tasks) or "none"
            message = f"{self.trainer.name} has no such task; its tasks are: {known}"
            raise InvalidTrainer.at(self.trainer.name, message, where="--task", value=repr(task))
        return preset

    def reference(self, task: str, given: Path | None = None) -> Reference:
        """The reference that a study of this task begins with: the given file, or the shipped one with the preset."""
        if given is not None:
            raw = read_json(given)
            if is_old(raw):
                reference = migrated(raw, self._shipped(task), file=str(given))
            else:
                reference = parse_reference(raw, file=str(given))
            if reference.trainer != self.trainer.name:
                message = f"is for the trainer {reference.trainer!r}, not {self.trainer.name!r}"
                raise InvalidTrainer.at(given, message, where="trainer")
            return for_study(reference, task=task, source="person")
        preset = self.task(task)
        begun = for_study(self._shipped(task), task=task, source="shipped")
        return _preset(begun, preset.values) if preset and preset.values else begun

    def _shipped(self, task: str) -> Reference:
        if self.trainer.reference is not None:
            raw = {"schema_version": 1, **self.trainer.reference, "trainer": self.trainer.name}
            return parse_reference(raw, file=f"the reference of {self.trainer.name}")
        if self.frozen is None:
            return load_reference(shipped_reference(self.trainer.name))
        from trainers.command.description import from_json, reference

        raw = reference(from_json(self.frozen, name=self.trainer.name), task)
        return parse_reference(raw, file=self.trainer.name)


def tuned(reference: Reference, names: Sequence[str]) -> Reference:
    """The reference with further documented parameters tuned; "all" means every one. Raises InvalidReference."""
    known = list(reference.parameters)
    problems = [
        Problem(file="--tune", where=name, value="", message=f"unknown parameter; there are: {', '.join(known)}")
        for name in names
        if name not in known and name != "all"
    ]
    if problems:
        raise InvalidReference(problems)
    raw = reference.raw
    for name in known if "all" in names else names:
        raw["parameters"][name]["tune"] = True
    return parse_reference(raw, file="--tune")


def _preset(reference: Reference, values: Mapping[str, Value]) -> Reference:
    """A task's starting values become active values; they may set what is not tuned, which proposals may not."""
    raw = reference.raw
    for name, value in values.items():
        raw["parameters"][name]["active_value"] = value
    return parse_reference(raw, file=f"preset of {reference.task}")


def find_trainer(name: str) -> Found:
    """A trainer by registered name, or by the path of a YAML, or "package.module:NAME" or "FILE.py:NAME".

    Raises InvalidTrainer listing the names there are, InvalidPlugin for one that cannot be used.
    """
    if name.endswith((".yaml", ".yml")):
        return _brought(Path(name))
    try:
        trainer = registered(_place(name))
    except PluginProblem as error:
        raise InvalidPlugin(str(error)) from error
    if trainer is not None:
        return Found(trainer=trainer)
    message = (
        f"unknown; there are: {', '.join(trainer_names())}, or the path of a trainer's .yaml, or package.module:NAME "
        "or FILE.py:NAME of one in Python (doc/add-a-trainer.md)"
    )
    raise InvalidTrainer.at("--trainer", message, where="name", value=repr(name)[:80])


def _place(name: str) -> str:
    """A trainer's name; that of a file such that every folder may be the current one."""
    file, _, variable = name.rpartition(":")
    return f"{os.path.abspath(file)}:{variable}" if file.endswith(".py") else name


def _brought(path: Path) -> Found:
    from trainers.command.description import load_description, registered
    from trainers.command.findings import DescriptionProblem

    try:
        description = load_description(path)
    except DescriptionProblem as error:
        raise InvalidTrainer.of(error.file, ((w, str(v), m) for w, v, m in error.problems)) from error
    return Found(trainer=registered(description), frozen=description.to_json())


def frozen_trainer(name: str, text: str | None, *, folder: Path) -> Found:
    """The trainer of a study that exists, from its own frozen description where it has one.

    folder: the study's. A trainer that it names by module or file is code, imported only where nobody else could have
    put the name there. Raises InvalidStudy, and as `find_trainer` does.
    """
    if text is not None:
        from trainers.command.description import from_json, registered

        return Found(trainer=registered(from_json(text, name=name)), frozen=text)
    if is_place(name):
        try:
            others = other_writers(folder.stat())
        except OSError as error:
            raise UsageError(f"{folder}: {error.strerror or error}") from error
        if others:
            message = (
                f"is code, and of the folder {folder} that names it: {others}; it is not imported. Look at it, and "
                "begin a study of your own with it"
            )
            raise InvalidStudy.at("study.yaml", message, where="trainer", value=name)
    return find_trainer(name)
