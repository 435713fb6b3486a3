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
SHELLS = ("sh", "ash", "bash", "rbash", "dash", "zsh", "ksh", "mksh", "yash", "fish", "csh", "tcsh", "pwsh")
#: Options whose argument is code, by the program; after others than shells and these come a script and its arguments.
CODE = {
    **dict.fromkeys(SHELLS, re.compile(r"-[A-Za-z]*c[A-Za-z]*|--command(?:=.*)?|-Command", re.DOTALL)),
    "python": re.compile(r"-[A-Za-z]*c"),
    "perl": re.compile(r"-[A-Za-z]*[eE]"),
    "ruby": re.compile(r"-[A-Za-z]*e"),
    "node": re.compile(r"-e|-p|--eval(?:=.*)?|--print(?:=.*)?", re.DOTALL),
    "julia": re.compile(r"-e|-E|--eval(?:=.*)?", re.DOTALL),
    "Rscript": re.compile(r"-e"),
    "R": re.compile(r"-e"),
    "php": re.compile(r"-r"),
    "lua": re.compile(r"-e"),
}
#: Programs that hand the argument of an option at any place to a shell.
HANDING_ON = {
    **dict.fromkeys(("su", "runuser", "flock", "script"), re.compile(r"-[A-Za-z]*c|--command(?:=.*)?", re.DOTALL)),
    "sbatch": re.compile(r"--wrap(?:=.*)?", re.DOTALL),
}
#: Programs of which every argument may end in a line for a shell.
JOINING = ("ssh", "rsh", "watch", "parallel", "make", "gmake")
#: Programs that start another one. Only behind these, and in the first place, is a word like "watch" a program.
STARTING = frozenset(
    {"apptainer", "busybox", "chrt", "command", "conda", "doas", "docker", "env", "exec", "ionice", "mamba"}
    | {
        "micromamba",
        "mpiexec",
        "mpirun",
        "ncu",
        "nice",
        "nohup",
        "nsys",
        "numactl",
        "perf",
        "pixi",
        "podman",
        "poetry",
    }
    | {"setsid", "singularity", "srun", "stdbuf", "strace", "sudo", "taskset", "time", "timeout", "uv", "xargs"}
)
#: Options that take the word behind them, so that it is not yet the script.
_WITH_WORD = re.compile(r"[-+][A-Za-z]*[oO]|--rcfile|--init-file|-[WXIrdJl]")
SPLIT = re.compile(r"-[A-Za-z0-9]*S.*|--split-string(?:=.*)?", re.DOTALL)
"""`env`: cuts one argument into several and replaces ${NAME} in them."""
STARTUP = (
    "BASH_ENV",
    "ENV",
    "PS4",
    "PROMPT_COMMAND",
    "LD_PRELOAD",
    "LD_AUDIT",
    "PYTHONSTARTUP",
    "PERL5OPT",
    "RUBYOPT",
)
"""Variables that shells and loaders take code from."""

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


def code_arguments(command: Sequence[str]) -> list[int]:
    """Positions of arguments that a shell or an interpreter reads as code: `bash -lc HERE`, `python -c HERE`, and all
    that follows `ssh` or `make`.

    A value inserted there would be read as code, so placeholders are refused in them.
    """
    found: set[int] = set()
    for place, name in _programs(command):
        if name in JOINING:
            found.update(range(place + 1, len(command)))
        elif name in HANDING_ON:
            options = [at for at in range(place + 1, len(command)) if HANDING_ON[name].fullmatch(command[at])]
            found.update(position for at in options for position in _code_of(command, at))
        elif name in CODE:
            found.update(_code_of_interpreter(command, place, CODE[name]))
    return sorted(found)


def split_strings(command: Sequence[str]) -> list[int]:
    """Positions of `env -S`, which cuts its argument into words as a shell does: what runs then is in no list."""
    places = [place for place, name in _programs(command) if name == "env"]
    return [at for at, text in enumerate(command) if SPLIT.fullmatch(text) and any(place < at for place in places)]


def _programs(command: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Places of what may be a program, and its name without folder and version: python for /usr/bin/python3.11."""
    names = [re.sub(r"(?<=[A-Za-z])[\d.]+$", "", PurePath(text.strip("{}")).name) for text in command]
    starts = bool(names) and names[0] in STARTING
    for place, name in enumerate(names):
        if place == 0 or starts or name in SHELLS:
            yield place, name


def _code_of_interpreter(command: Sequence[str], place: int, option: re.Pattern[str]) -> Iterator[int]:
    """What an interpreter at `place` reads as code: nothing once its script was named, whose own options follow."""
    at = place + 1
    while at < len(command) and command[at][:1] in ("-", "+"):
        if option.fullmatch(command[at]):
            yield from _code_of(command, at)
            return
        at += 2 if _WITH_WORD.fullmatch(command[at]) else 1


def _code_of(command: Sequence[str], option: int) -> Iterator[int]:
    """The option's own value, or the first word behind it that is no further option."""
    yield option
    if command[option].startswith("--") and "=" in command[option]:
        return
    for position in range(option + 1, len(command)):
        yield position
        if command[position][:1] not in ("-", "+"):
            return


def as_text(value: Value) -> str:
    """A value as the program reads it: true/false, shortest exact decimal, or the text itself."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)
