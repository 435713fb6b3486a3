"""Reading the rules of acceptance: a table of numbers (YAML), or a person's own function (Python).

A Python file is executed. It is read only where a person gave it, in this call or in an earlier one of the study, and
never because of what a model said; and only where nobody but the person who calls could have written it.
"""

from __future__ import annotations

import copy
import difflib
import os
import shlex
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from agent.acceptance.rules import CORRECTIONS, VERDICTS, Own, Rules
from agent.errors import InvalidRules
from agent.ownership import other_writers
from trainers.files import FileProblem, open_to_read

FUNCTION = "verdict"
SUFFIXES = (".yaml", ".yml", ".py")


def load_rules(path: Path) -> Rules:
    """Read a file of rules; what kind it is, its suffix says. Raises InvalidRules with every problem."""
    if path.suffix not in SUFFIXES:
        raise InvalidRules.at(path, f"must end in one of {', '.join(SUFFIXES)}", value=path.suffix or "no suffix")
    return _python(path) if path.suffix == ".py" else _table(path)


def parse_rules(raw: Mapping[str, Any], *, file: str, name: str = "acceptance.yaml") -> Rules:
    """The rules of a YAML mapping; `file` is what messages call it. Raises InvalidRules with every problem."""
    if problems := list(_problems(raw)):
        raise InvalidRules.of(file, problems)
    given: dict[str, Any] = {field: float(v) if _is_float(field, v) else v for field, v in raw.items()}
    return Rules(**given, name=name)


def _table(path: Path) -> Rules:
    from trainers.yaml_file import read_yaml

    try:
        raw = read_yaml(path)
    except FileProblem as error:
        raise InvalidRules.at(path, error.reason) from error
    return parse_rules(raw, file=str(path), name=path.name)


def _python(path: Path) -> Rules:
    names: dict[str, Any] = {"__name__": "roundtable_rules", "__file__": str(path)}
    try:
        exec(compile(_own_code(path), str(path), "exec"), names)  # a person's own file, given with --rules
        found = names.get(FUNCTION)
    except InvalidRules:
        raise
    except OSError as error:
        raise InvalidRules.at(path, error.strerror or str(error)) from error
    except (Exception, SystemExit) as error:
        raise InvalidRules.at(path, f"cannot be loaded: {_said(error)}", where=_line(error, path)) from error
    if not callable(found):
        raise InvalidRules.at(path, f"defines no function {FUNCTION}(comparison); see doc/acceptance.md")
    return Rules(name=path.name, own=_own(path, found))


def _own_code(path: Path) -> bytes:
    """The file's code, from the very file that was looked at. Raises InvalidRules, OSError."""
    with open(path, "rb", opener=open_to_read) as stream:
        if others := other_writers(os.fstat(stream.fileno())):
            copy = f"install -m 600 {shlex.quote(str(path))} rules.py"
            message = f"is code, and {others}: it is not run. Read it, then give a copy of your own: `{copy}`"
            raise InvalidRules.at(path, f"{message}, and --rules rules.py")
        return stream.read()


def _own(path: Path, function: Callable[[Mapping[str, Any]], object]) -> Own:
    """A person's function, guarded: it gets a copy, and what it raises or returns amiss is told with its file."""
    where = f"{FUNCTION}()"

    def guarded(comparison: Mapping[str, Any]) -> tuple[str, str]:
        given = copy.deepcopy(dict(comparison))
        try:
            answer = function(given)
        except (Exception, SystemExit) as error:
            place = f"{where} of {comparison['candidate']}, {_line(error, path)}"
            raise InvalidRules.at(path, f"failed: {_said(error)}; mend it and call again", where=place) from error
        verdict, reason = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, "")
        if verdict not in VERDICTS or not isinstance(reason, str):
            wanted = f'must be one of {", ".join(VERDICTS)}, or such a word and a reason: ("accepted", "...")'
            raise InvalidRules.at(
                path, wanted, where=f"{where} of {comparison['candidate']}", value=repr(answer)[:80]
            )
        return str(verdict), " ".join(reason.split())[:300]

    return guarded


Found = tuple[str, str, str]


def _problems(raw: Mapping[str, Any]) -> Iterator[Found]:
    names = list(_FIELDS)
    for name, value in raw.items():
        if name not in _FIELDS:
            near = difflib.get_close_matches(str(name), names, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            yield str(name), repr(value)[:60], f"unknown; {hint}valid: {', '.join(names)}"
            continue
        fits, wanted = _FIELDS[name]
        if not fits(value):
            yield name, repr(value)[:60], f"must be {wanted}"


def _number(low: float, high: float, *, null: bool = False) -> Callable[[Any], bool]:
    # NaN fails the comparison.
    return lambda value: (
        (null and value is None)
        or (isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high)
    )


def _is_float(field: str, value: object) -> bool:
    return field in _FLOATS and value is not None


def _one_of(allowed: Iterable[str]) -> tuple[Callable[[Any], bool], str]:
    words = tuple(allowed)
    return (lambda value: isinstance(value, str) and value in words), f"one of {', '.join(words)}"


def _seeds(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and 2 <= value <= 1000)


_PERCENT = (_number(0, 100), "a percentage from 0 to 100")
_AMOUNT = (_number(0, 1e300, null=True), "a number from 0 in the metric's unit, or null")
_FLOATS = ("min_gain_percent", "min_gain", "reject_percent", "reject_loss", "z")
_FIELDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "min_gain_percent": _PERCENT,
    "min_gain": _AMOUNT,
    "reject_percent": _PERCENT,
    "reject_loss": _AMOUNT,
    # Below 0 noise alone would be accepted more often than not.
    "z": (_number(0, 6), "a number from 0 to 6"),
    "correction": _one_of(CORRECTIONS),
    "judge": (lambda value: isinstance(value, bool), "true or false"),
    "confirm_seeds": (_seeds, "a whole number from 2 to 1000, or null"),
}


def _line(error: BaseException, path: Path) -> str:
    """Where in the person's file it happened."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f"line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"line {lines[-1]}" if lines else "file"


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
