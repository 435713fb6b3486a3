"""Placeholders in a command: `{learning_rate}`, `{out}`, `{data.path}`; `{{` and `}}` stand for braces.

Only names are replaced: no attributes, no indices, no format specifications. What a value holds is never looked at
again, so a value with braces, quotes, spaces or newlines arrives in the program as it is, inside its one argument.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import PurePath

from trainers.contract import Value

TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
DATA = re.compile(r"data\.[A-Za-z_][A-Za-z0-9_]*")
SHELLS = ("sh", "bash", "dash", "zsh", "ksh", "fish", "csh", "tcsh")
SHELL_COMMAND = re.compile(r"-[A-Za-z]*c")

RUN = {
    "fold": "index of the fold to hold out, from 0",
    "folds": "number of folds the data is split into",
    "seed": "seed of the random numbers",
    "epochs": "training budget",
    "task": "the study's task",
    "candidate": "name of the candidate in its round, c00, c01, ...",
    "round": "number of the round",
    "attempt": "number of the attempt at this trial, from 1",
    "out": "the attempt's folder, the only place to write",
    "summary": "path of the summary that the program writes",
    "reference": "path of the candidate's hyperparameter_reference.json",
    "previous": "folder of an earlier attempt to resume from; empty when there is none",
    "cpus": "CPU cores of this trial",
    "gpus": "GPUs of this trial",
    "python": "the training environment's python",
}
"""What a command is told about its run besides the parameters, with its meaning."""


def problems_in(template: str, known: Collection[str]) -> Iterator[str]:
    """What is wrong with the placeholders of one text."""
    for match in TOKEN.finditer(template):
        token, name = match[0], match[1]
        if token in ("{", "}"):
            yield f"a single {token} at character {match.start() + 1}; write {token * 2} for a literal brace"
        elif name is not None and name not in known and not DATA.fullmatch(name):
            valid = ", ".join(known)
            yield f"unknown placeholder {token}; valid: {valid}, data.<key>; {{{{ for a literal brace"


def names_in(template: str) -> set[str]:
    """The names that a text's placeholders ask for."""
    return {match[1] for match in TOKEN.finditer(template) if match[1] is not None}


def fill(template: str, values: Mapping[str, str]) -> str:
    """The text with every placeholder replaced. Raises KeyError (the name) where there is no value."""

    def replacement(match: re.Match[str]) -> str:
        return values[match[1]] if match[1] is not None else match[0][0]

    return TOKEN.sub(replacement, template)


def shell_scripts(command: Sequence[str]) -> list[int]:
    """Positions of arguments that a shell runs as its script: `bash -c HERE`.

    A value inserted there would be read as shell code, so placeholders are refused in them.
    """
    shells = [position for position, text in enumerate(command) if PurePath(text).name in SHELLS]
    return [
        position + 1
        for position, text in enumerate(command[:-1])
        if SHELL_COMMAND.fullmatch(text) and any(shell < position for shell in shells)
    ]


def as_text(value: Value) -> str:
    """A value as the program reads it: true/false, shortest exact decimal, or the text itself."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)
