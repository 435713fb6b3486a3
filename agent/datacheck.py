"""Whether `--task` and `--data` fit a trainer, asked before anything is written or submitted."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

from agent.errors import UsageError
from trainers.contract import DataProblem, Value
from trainers.registry import DataKey, RegisteredTrainer, data_checker

#: What a key of each kind wants, in words.
WANTED = {
    "path": "a path",
    "text": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
}


def check_task(trainer: RegisteredTrainer, task: str, data: Mapping[str, Value], *, brought: bool) -> None:
    """Refuse a task that a trainer which ships does not have and that no data stands for. Raises UsageError.

    brought: the trainer is a person's YAML; it reads its data however it likes.
    """
    preset = trainer.tasks.get(task)
    if trainer.data_keys is not None and "path" not in trainer.data_keys:
        return  # its data is named otherwise, and its own check says whether it is there
    if brought or "path" in data or (preset is not None and not preset.needs_path):
        return
    fetched = trainer.data_keys is not None and "download" in trainer.data_keys
    if preset is not None and not (fetched and data.get("download") is True):
        or_fetched = ", or --data download=true" if fetched else ""
        raise UsageError(f"task {task!r} of {trainer.name} needs --data path=FILE_OR_FOLDER{or_fetched}")
    if preset is not None:
        return
    known = ", ".join(trainer.tasks)
    raise UsageError(
        f"task {task!r} is not one that {trainer.name} has ({known}); "
        "for your own data add --data path=FILE_OR_FOLDER"
    )


def check_data(trainer: RegisteredTrainer, data: Mapping[str, Value]) -> None:
    """Refuse keys and values that the trainer would refuse hours later, on a node. Raises UsageError listing them.

    A relative path is looked up from the current folder.
    """
    problems = [
        f"--data {key}=... is needed: the command uses {{data.{key}}}"
        for key in trainer.needs_data
        if key not in data
    ]
    keys = trainer.data_keys
    if keys is not None:
        unknown = [key for key in data if key not in keys]
        problems += [f"--data {key}={_text(data[key])}: {trainer.name} has no such key" for key in unknown]
        if unknown:
            listed = (f"  {name}: {key.description} ({WANTED[key.kind]})" for name, key in keys.items())
            problems += ["its keys are:", *listed]
        problems += [
            f"--data {name}={_text(data[name])}: {message}"
            for name, key in keys.items()
            if name in data and (message := _problem(key, data[name], made=key.made or data.get("download") is True))
        ]
    if problems:
        raise UsageError("\n".join(problems))


def check_content(
    trainer: RegisteredTrainer, task: str, data: Mapping[str, Value], values: Mapping[str, Value], *, folds: int
) -> tuple[str, ...]:
    """Let a trainer that knows how look into the data itself. Raises UsageError with what it refuses.

    values: the hyperparameters that train first. folds: how many parts validation is split into.
    Returns what the person should know of the data, in sentences.
    """
    check = data_checker(trainer)
    if check is None:
        return ()
    try:
        return tuple(f"data: {line}" for line in check(task, as_text(data, trainer), values, folds=folds) or ())
    except DataProblem as error:
        raise UsageError(str(error)) from error


def with_absolute_path(data: Mapping[str, Value], trainer: RegisteredTrainer | None = None) -> dict[str, Value]:
    """The data with every path absolute: tasks start in another folder, maybe on another machine.

    trainer: what this names by environment variables is filled in, so that later calls need not have them set.
    """
    found = as_text(data, trainer)
    keys = (trainer.data_keys if trainer is not None else None) or {}
    for name, key in keys.items():
        if key.variable and name not in found and (value := os.environ.get(key.variable)):
            found[name] = value
    for name in found.keys() & {"path", *(name for name, key in keys.items() if key.kind == "path")}:
        found[name] = os.path.abspath(os.path.expanduser(str(found[name])))
    return found


def as_text(data: Mapping[str, Value], trainer: RegisteredTrainer | None) -> dict[str, Value]:
    """The data with text where the trainer's keys are text: on the command line a column named 7 is a number."""
    keys = (trainer.data_keys if trainer is not None else None) or {}
    return {
        name: str(value) if name in keys and keys[name].kind == "text" and type(value) in (int, float) else value
        for name, value in data.items()
    }


def _problem(key: DataKey, value: Value, *, made: bool) -> str | None:
    """What is wrong with a value, or None. made: the trainer may make the path (it downloads into it)."""
    # bool is a kind of int to Python, not to a person.
    fits = {
        "path": isinstance(value, str) and value != "",
        "text": isinstance(value, str) or type(value) in (int, float),
        "int": isinstance(value, int) and not isinstance(value, bool),
        "float": isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value),
        "bool": isinstance(value, bool),
    }
    if key.kind == "path" and type(value) in (int, float):
        return f"is read as a number; write ./{value} for a path"
    if not fits[key.kind]:
        return f"must be {WANTED[key.kind]} ({key.description})"
    if key.kind == "path" and not made and not os.path.exists(os.path.expanduser(str(value))):
        return "does not exist on this machine (a folder to download into: add --data download=true)"
    return None


def _text(value: Value) -> str:
    """The value as `--data` takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
