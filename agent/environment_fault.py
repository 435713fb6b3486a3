"""A broken environment, told from the last words of a task that did not begin or a program that did not run. Pure.

Exit codes 126 and 127 are bash's for a command that may not be executed and for one that is not there (bash(1), "EXIT
STATUS"). The words are those of bash, the dynamic loader and Python.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from agent.pasteable import quoted
from agent.records import Outcome

PYTHON, SETUP, MODULE, CHECKOUT, PROGRAM = "python", "setup", "module", "checkout", "program"

#: Most characters that are kept of what was said.
MOST_SAID = 300

_MODULE = re.compile(
    r"No module named |\bModuleNotFoundError\b|\bImportError\b|error while loading shared libraries"
    r"|cannot open shared object file"
)
_COMMAND = re.compile(
    r"command not found|No such file or directory|: not found|cannot execute|Permission denied|Exec format error"
)


@dataclass(frozen=True, kw_only=True)
class EnvironmentFault:
    """What is wrong with the environment that tasks run in, rather than with a node or with the settings."""

    where: str
    """python: the interpreter is not there or may not be executed | setup: a set-up line failed | module: something
    cannot be imported | checkout: Roundtable's own modules cannot | program: a command of the trainer's program."""
    said: str
    """The line that tells it, as it stood; empty where nothing was said."""

    def remedy(self, *, python: str, root: str | None, profile: str | None) -> str:
        """What is broken, how that showed, and which field of the profile mends it.

        python: the training environment's. root: the checkout that tasks import Roundtable from, if they do. profile:
        the study's copy, which may be edited; None where no profile was given.
        """
        said = f" ({self.said})" if self.said else ""
        where = f"in {quoted(profile)}" if profile is not None else "in a profile, given with --profile FILE"
        head = f"the environment is broken, not the nodes{said}: "
        if self.where == PYTHON:
            return head + f"the tasks cannot run {quoted(python)}: set `python` {where} to one that the nodes have"
        if self.where == CHECKOUT:
            seen = f"{quoted(root)} is not visible on the nodes" if root is not None else "not installed there"
            return head + f"{quoted(python)} does not find Roundtable's trainers ({seen}): set `python` {where}"
        if self.where == MODULE:
            return head + (
                f"install what cannot be imported into the environment that trains ({quoted(python)}), or set "
                f"`python`, or `setup` for libraries, {where}"
            )
        if self.where == PROGRAM:
            return head + f"the tasks do not find the trainer's program: give its full path, or set `setup` {where}"
        return head + f"a line of `setup` fails in the tasks: mend `setup` {where}"


def environment_fault(
    outcome: Outcome, exit_code: str, words: str, *, python: str, setup: bool
) -> EnvironmentFault | None:
    """What of an attempt's end is the environment's; None where nothing says so.

    exit_code: "code:signal" of the task. words: the end of its log, or of a crash the trainer's own words. python:
    the training environment's. setup: whether the profile has set-up lines.
    """
    code = int(match[1]) if (match := re.fullmatch(r"(\d+):0", exit_code)) else 0
    if outcome is Outcome.LAUNCH_FAIL:
        # Signals, and a node that could not start the script (0:53), say nothing about the environment.
        return _of_start(code, _lines(words), python, setup) if 0 < code <= 127 and code != 53 else None
    if outcome is Outcome.CRASHED:
        return _of_crash(_lines(words), words)
    return None


def _of_start(code: int, lines: list[str], python: str, setup: bool) -> EnvironmentFault | None:
    """Of a task that ended before it claimed its row."""
    if (line := _last(_MODULE, lines)) is not None:
        own = re.search(r"No module named '?trainers\b", line)
        return EnvironmentFault(where=CHECKOUT if own else MODULE, said=line)
    if (line := _last(_COMMAND, lines)) is not None and (python in line or code in (126, 127) or setup):
        return EnvironmentFault(where=PYTHON if python in line else SETUP, said=line)
    if code in (126, 127) or setup:
        return EnvironmentFault(where=SETUP if setup else PYTHON, said=lines[-1] if lines else "")
    return None


def _of_crash(lines: list[str], words: str) -> EnvironmentFault | None:
    """Of a training whose program or trainer failed."""
    if (line := _last(_MODULE, lines)) is not None:
        return EnvironmentFault(where=MODULE, said=line)
    if re.search(r"\bexit code 12[67]\b", words):
        said = _last(_COMMAND, lines[1:]) or _last(_COMMAND, lines) or lines[-1]
        return EnvironmentFault(where=PROGRAM, said=said)
    return None


def _last(pattern: re.Pattern[str], lines: list[str]) -> str | None:
    return next((line for line in reversed(lines) if pattern.search(line)), None)


def _lines(words: str) -> list[str]:
    """Lines that may be shown on a terminal: logs are whatever a program wrote."""
    kept = (
        " ".join(re.sub(r"[^\x20-\x7e\xa0-\uffff]", " ", line).split())[:MOST_SAID] for line in words.splitlines()
    )
    return [line for line in kept if line]
