"""What every rendered script must satisfy before it is written, however odd the values in it are."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from agent.errors import InvalidScript, Problem
from agent.launch.options import ALLOWED_HEADER, split_directive
from agent.launch.profile_checks import unsafe_characters

SIZE_LIMIT = 4 * 2**20
"""Bytes; slurmctld's own default limit for a batch script (max_script_size)."""

ScriptKind = Literal["bash", "slurm"]


def lint_script(text: str, *, name: str, kind: ScriptKind) -> list[Problem]:
    """Everything wrong with a script: `kind` "bash" (a body, no directives) or "slurm" (a header before a body).

    Pure; `check_syntax` asks bash itself.
    """
    found = [*_bytes(text), *_lines(text, kind)]
    return [Problem(file=name, where=where, value=value, message=message) for where, value, message in found]


def check_syntax(path: Path) -> None:
    """Have `bash -n` parse a script on disk; nothing in it is run. Raises InvalidScript with what bash says."""
    try:
        # The path goes after --, so that one beginning with a dash is no option.
        done = subprocess.run(["bash", "-n", "--", str(path)], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        message = f"bash could not check it: {error}"
    else:
        if done.returncode == 0:
            return
        message = " / ".join(done.stderr.strip().splitlines()[:3]) or f"exit code {done.returncode}"
    raise InvalidScript.at(path, message, where="bash -n")


def _bytes(text: str) -> Iterator[tuple[str, str, str]]:
    if not text.startswith("#!"):
        yield "line 1", repr(text[:20]), "must begin with #! (nothing before it, no byte order mark)"
    if not text.endswith("\n"):
        yield "last line", repr(text[-20:]), "must end with a newline"
    size = len(text.encode("utf-8", "surrogatepass"))
    if size >= SIZE_LIMIT:
        yield "size", f"{size} bytes", f"must be below {SIZE_LIMIT} bytes"
    # Split at \n alone: splitlines() would hide the other line ends that are looked for.
    for number, line in enumerate(text.split("\n"), start=1):
        if bad := unsafe_characters(line.replace("\t", " ")):
            yield f"line {number}", repr(line[:60]), bad


def _lines(text: str, kind: ScriptKind) -> Iterator[tuple[str, str, str]]:
    header = True
    seen: set[str] = set()
    for number, line in enumerate(text.split("\n"), start=1):
        where = f"line {number}"
        if line.startswith("#SBATCH"):
            if kind == "bash":
                yield where, line[:60], "a bash script has no #SBATCH lines"
            elif not header:
                yield where, line[:60], "stands after the first command, where sbatch ignores it"
            else:
                yield from ((where, value, message) for value, message in _directive(line, seen))
        elif re.match(r"\s*#+\s*SBATCH\b", line, re.IGNORECASE):
            yield where, line[:60], "looks like a directive, but sbatch ignores it: must begin with #SBATCH"
        elif header and re.match(r"#(PBS|BSUB)\b", line):
            # Measured on 22.05: `#PBS -N x` after the #SBATCH lines renamed the job.
            yield where, line[:60], "sbatch obeys #PBS and #BSUB lines too: none may stand in a script"
        elif line.strip() and not line.lstrip().startswith("#"):
            header = False
    if kind == "slurm" and "array" not in seen:
        yield "header", "", "has no --array"


def _directive(line: str, seen: set[str]) -> Iterator[tuple[str, str]]:
    """Problems of one #SBATCH line as (value, message); the option's name goes into `seen`."""
    try:
        arguments = split_directive(line.removeprefix("#SBATCH"))
    except ValueError as error:
        yield line[:60], str(error)
        return
    if not re.match(r"#SBATCH --\S", line) or len(arguments) != 1:
        yield line[:60], "must hold exactly one --option or --option=value"
        return
    name, equals, value = arguments[0].removeprefix("--").partition("=")
    if name not in ALLOWED_HEADER:
        yield name[:60], f"not an option of a rendered header; allowed: {', '.join(sorted(ALLOWED_HEADER))}"
    if name in seen:
        yield name, "stands twice: the last one would win silently"
    if equals and not value:
        yield name, "has an empty value"
    seen.add(name)
