"""Running the scheduler's programs: argument lists, a time-out, nothing through a shell."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.errors import UsageError


class CommandTimeout(Exception):
    """The program did not end in time and was killed. What it had asked for may still happen."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a program said."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """Its error text on one line, for a message."""
        return " ".join((self.err.strip() or self.out.strip()).split()) or f"exit code {self.code}, no message"


class Run(Protocol):
    """Running one program; what speaks to a scheduler is given it, so that a simulated one can answer."""

    def __call__(
        self, argv: Sequence[str], *, timeout_s: float, environment: Mapping[str, str], text: str = ""
    ) -> Reply:
        """As `run`."""


def run(argv: Sequence[str], *, timeout_s: float, environment: Mapping[str, str], text: str = "") -> Reply:
    """Run a program to its end, with `text` on its standard input.

    It gets a session of its own: a Ctrl-C meant for the table on the screen must not cut a submission in half, and
    a time-out must also end what a site's wrapper script started (it would hold the pipes open).

    Raises CommandTimeout, and UsageError when the program is not there.
    """
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise UsageError(
            f"{argv[0]} is not on PATH: run this on a SLURM login node (or load its module), or use --launcher local"
        ) from error
    except PermissionError as error:
        raise UsageError(f"{argv[0]} may not be executed: {error.strerror}; or use --launcher local") from error
    with process:
        try:
            out, err = process.communicate(text, timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise CommandTimeout(f"{argv[0]} did not answer within {timeout_s:g} s") from error
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return Reply(code=process.returncode, out=out, err=err)
