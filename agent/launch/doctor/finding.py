"""One thing that was looked at, and asking SLURM's programs without ever waiting for ever."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from agent.errors import UsageError
from agent.launch.commands import CommandTimeout, Reply, run
from agent.launch.environment import for_queries, scrub
from agent.launch.sbatch import SUBMIT_TIMEOUT_S

#: For one question to SLURM. Its programs give up after MessageTimeout (10 s unless the site chose otherwise).
PATIENCE_S = 20.0
#: Foreign text beyond this says nothing more to a person.
MOST_CHARACTERS = 400

_ASKED_OF_A_CLUSTER = ("sacct", "scancel", "scontrol", "sinfo", "squeue")


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"
    """Works, but something is lost, unsure or slower than it could be."""
    PROBLEM = "problem"
    """A study would be refused, wait for ever or lose results."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was looked at, what was found, and what to change."""

    level: Level
    area: str
    """slurm, cluster, profile, disk, training, environment, permissions, agents or extras."""
    looked_at: str
    found: str
    change: str = ""
    """The remedy; never empty for a warning or a problem."""

    def __post_init__(self) -> None:
        if self.level is not Level.OK and not self.change:
            raise ValueError(f"{self.looked_at}: a {self.level} says what to change")
        for name in ("looked_at", "found", "change"):
            object.__setattr__(self, name, one_line(getattr(self, name)))


def one_line(text: str) -> str:
    """Text fit for a terminal: programs' answers and paths may hold escape sequences and line breaks."""
    flat = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return flat if len(flat) <= MOST_CHARACTERS else flat[: MOST_CHARACTERS - 3] + "..."


class Area:
    """Makes the findings of one area."""

    def __init__(self, name: str) -> None:
        self.name = name

    def ok(self, looked_at: str, found: str, change: str = "") -> Finding:
        return Finding(level=Level.OK, area=self.name, looked_at=looked_at, found=found, change=change)

    def warning(self, looked_at: str, found: str, change: str) -> Finding:
        return Finding(level=Level.WARNING, area=self.name, looked_at=looked_at, found=found, change=change)

    def problem(self, looked_at: str, found: str, change: str) -> Finding:
        return Finding(level=Level.PROBLEM, area=self.name, looked_at=looked_at, found=found, change=change)


class Asker:
    """Runs SLURM's programs with the environment that Roundtable gives them, each with a time-out."""

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        *,
        patience_s: float = PATIENCE_S,
        submit_patience_s: float = SUBMIT_TIMEOUT_S,
        cluster: str | None = None,
    ) -> None:
        self.environment = dict(os.environ if environment is None else environment)
        self.patience_s = patience_s
        self.submit_patience_s = submit_patience_s
        self.cluster = cluster

    def on(self, cluster: str | None) -> Asker:
        """The same, asking of the cluster that a profile names; sbatch finds that in its script."""
        return Asker(
            self.environment,
            patience_s=self.patience_s,
            submit_patience_s=self.submit_patience_s,
            cluster=cluster,
        )

    def has(self, program: str) -> bool:
        return shutil.which(program, path=self.environment.get("PATH", "")) is not None

    def ask(self, *argv: str, text: str = "", patience_s: float | None = None) -> Reply:
        """The program's answer. A time-out is code 124 and a missing program 127, as a shell has them."""
        limit = patience_s or self.patience_s
        if self.cluster is not None and argv[0] in _ASKED_OF_A_CLUSTER and "--version" not in argv:
            argv = (argv[0], "-M", self.cluster, *argv[1:])
        environment = scrub(self.environment) if argv[0] == "sbatch" else for_queries(self.environment)
        try:
            return run(argv, timeout_s=limit, environment=environment, text=text)
        except CommandTimeout as error:
            return Reply(code=124, out="", err=str(error))
        except UsageError as error:
            return Reply(code=127, out="", err=str(error))
