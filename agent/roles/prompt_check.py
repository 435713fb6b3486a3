"""A person's prompt files, looked at before a study begins: a slip in one would otherwise show in round 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import Problem, ProblemsError, UsageError

BLOCKS = ("system", "user")
SUFFIX = ".j2"
PARTS = "parts/"
"""Files in it are included by others, and need no blocks."""


class InvalidPrompts(ProblemsError):
    """Prompt files that may not be used."""


@dataclass(frozen=True, kw_only=True)
class _File:
    """What one prompt file says of itself."""

    names: Mapping[str, int]
    """What it asks for from outside -> the first line that does."""
    blocks: frozenset[str]
    includes: Mapping[str, int]
    """Files that it includes -> the line."""


def check_prompts(folder: Path, shipped: Path, *, said: str) -> None:
    """Refuse a folder whose files are not found, not read, or would fail when they are rendered.

    folder: a person's, which replaces files of `shipped` by name. said: how messages call it, "--prompts DIR".
    Raises UsageError for a folder without prompts, InvalidPrompts with every problem of its files.
    """
    if not folder.is_dir():
        raise UsageError(f"{said}: there is no such folder")
    own, there = _names(folder), _names(shipped)
    if not own:
        raise UsageError(f"{said}: holds no prompt file; prompts: {', '.join(there)}")
    environment = _environment()
    theirs = {name: _read(environment, shipped / name) for name in there}
    problems: list[Problem] = []
    mine: dict[str, _File] = {}
    for name in own:
        try:
            mine[name] = _read(environment, folder / name)
        except _Unread as error:
            problems.append(_problem(folder / name, error.line, str(error)))
    known = _known(mine, theirs)
    if strange := [name for name in own if name not in known and name in mine]:
        raise UsageError("\n".join(f"{said}: {_strange(name, there)}" for name in strange))
    everything = theirs | mine
    for name, file in mine.items():
        problems += _problems(folder / name, name, file, everything, known[name], environment)
    if problems:
        raise InvalidPrompts(problems)


def _names(folder: Path) -> list[str]:
    """Prompt files as includes name them: "autotuner.j2", "parts/autotuner_role.j2"."""
    # Two levels, as the shipped ones have: somebody may give a home folder by mistake.
    paths = [*folder.glob(f"*{SUFFIX}"), *folder.glob(f"*/*{SUFFIX}")]
    found = (path.relative_to(folder).as_posix() for path in paths if path.is_file())
    return sorted(name for name in found if not any(part.startswith(".") for part in name.split("/")))


def _known(mine: Mapping[str, _File], theirs: Mapping[str, _File]) -> dict[str, frozenset[str]]:
    """The files that are ever rendered -> the names that they are given.

    A prompt is given what the shipped one uses; a part, what all prompts that include it are given.
    """
    everything = {**theirs, **mine}
    given = {name: frozenset(file.names) for name, file in theirs.items() if not name.startswith(PARTS)}
    known = dict(given)
    waiting = [(name, given[name]) for name in given]
    while waiting:
        name, names = waiting.pop()
        for part in everything[name].includes:
            narrowed = known.get(part, names) & names
            if part in everything and known.get(part) != narrowed:
                known[part] = narrowed
                waiting.append((part, narrowed))
    # A part that a person's prompt no longer includes is harmless.
    return {name: frozenset() for name in theirs} | known


def _problems(
    path: Path,
    name: str,
    file: _File,
    everything: Iterable[str],
    given: frozenset[str],
    environment: Any,
) -> list[Problem]:
    problems = []
    if not name.startswith(PARTS) and (missing := [block for block in BLOCKS if block not in file.blocks]):
        problems.append(_problem(path, None, f"has no block {' and no block '.join(missing)}"))
    for part, line in file.includes.items():
        if part not in everything:
            problems.append(_problem(path, line, f"includes {part}, which is in neither folder"))
    for used, line in file.names.items():
        if used not in given and used not in environment.globals:
            near = difflib.get_close_matches(used, given, n=1)
            hint = f"; did you mean {near[0]}?" if near else ";"
            problems.append(
                _problem(path, line, f"{used}: not given to this file{hint} it has {_listed(sorted(given))}")
            )
    return problems


def _strange(name: str, there: list[str]) -> str:
    near = difflib.get_close_matches(name, there, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{name}: no prompt of that name; {hint}prompts: {', '.join(there)}"


class _Unread(Exception):
    """Why a file cannot be read as a prompt."""

    def __init__(self, message: str, line: int | None = None) -> None:
        self.line = line
        super().__init__(message)


def _environment() -> Any:
    from jinja2.sandbox import SandboxedEnvironment

    return SandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)


def _read(environment: Any, path: Path) -> _File:
    """What a file asks for. Raises _Unread."""
    import jinja2
    from jinja2 import meta, nodes

    try:
        text = path.read_text(encoding="utf-8-sig")
        tree = environment.parse(text)
        # Filters and tests that do not exist are found by the compiler; nothing is run.
        environment.compile(text)
    except OSError as error:
        raise _Unread(error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise _Unread(f"not UTF-8 at byte {error.start}: save it as UTF-8") from error
    except jinja2.TemplateSyntaxError as error:
        raise _Unread(str(error.message), error.lineno) from error
    wanted = meta.find_undeclared_variables(tree)
    lines: dict[str, int] = {}
    for node in tree.find_all(nodes.Name):
        if node.name in wanted:
            lines[node.name] = min(node.lineno, lines.get(node.name, node.lineno))
    return _File(
        names=dict(sorted(lines.items(), key=lambda item: item[1])),
        blocks=frozenset(block.name for block in tree.find_all(nodes.Block)),
        includes={
            node.template.value: node.lineno
            for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends))
            if isinstance(node.template, nodes.Const) and isinstance(node.template.value, str)
        },
    )


def _problem(path: Path, line: int | None, message: str) -> Problem:
    return Problem(file=str(path), where=f"line {line}" if line else "file", value="", message=message)


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"
