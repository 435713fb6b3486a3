"""Can this environment run a described program at all? Asked with the training python, before anything is submitted.

    python -m trainers.command.probe TRAINER.json

Exit code 0: the program, its working directory and its probe command are in order. 2: one line says what is not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from trainers.command.description import from_json
from trainers.command.findings import DescriptionProblem
from trainers.command.placeholders import fill, names_in
from trainers.command.program import last_lines, of_the_person
from trainers.command.record import Description

TIMEOUT_S = 120.0


def check_environment(description: Description) -> str:
    """What keeps this environment from running the program, or an empty string."""
    folder = description.working_directory
    if not folder.is_dir():
        return f"the working directory {folder} is not there"
    tests = (description.test.command,) if description.test else ()
    for command in (description.command, *tests):
        if not names_in(command[0]) - {"python"} and (problem := _not_found(_filled(command)[0], folder)):
            return problem
    return _probe(_filled(description.probe), folder) if description.probe else ""


def _filled(command: Sequence[str]) -> list[str]:
    """`{python}` replaced; only a probe, and a program's own name, may be read here."""
    return [fill(text, {"python": sys.executable}) if names_in(text) <= {"python"} else text for text in command]


def _not_found(program: str, folder: Path) -> str:
    if "/" not in program:
        return (
            "" if shutil.which(program) else f"{program}: not found on the PATH ({os.environ.get('PATH', '')[:300]})"
        )
    path = folder / program
    return "" if os.access(path, os.X_OK) and path.is_file() else f"{path}: not an executable file here"


def _probe(command: Sequence[str], folder: Path) -> str:
    if problem := _not_found(command[0], folder):
        return problem
    program = command[0] if "/" not in command[0] else str(folder / command[0])
    try:
        done = subprocess.run(
            [program, *command[1:]],
            cwd=folder,
            env=of_the_person(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"the probe {program} did not end within {TIMEOUT_S:.0f} s"
    except OSError as error:
        return f"the probe {program} cannot be started: {error.strerror or error}"
    return f"the probe {program} ended with {done.returncode}: {last_lines(done.stdout)}" if done.returncode else ""


def main(arguments: Sequence[str]) -> int:
    """Check one frozen description; the return value is the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m trainers.command.probe TRAINER.json\n")
        return 2
    path = Path(arguments[0])
    try:
        problem = check_environment(from_json(path.read_text(encoding="utf-8"), name=str(path)))
    except (OSError, UnicodeDecodeError, DescriptionProblem) as error:
        problem = str(error)
    if problem:
        sys.stderr.write(f"{problem}\n")
    return 2 if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
