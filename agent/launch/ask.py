"""Asks SLURM's programs, each with a time-out; no answer is a reply like any other."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from agent.errors import UsageError
from agent.launch.commands import CommandTimeout, Reply, run
from agent.launch.environment import for_queries, scrub
from agent.launch.sbatch import SUBMIT_TIMEOUT_S

#: For one question to SLURM. Its programs give up after MessageTimeout (10 s unless the site chose otherwise).
PATIENCE_S = 20.0

_ASKED_OF_A_CLUSTER = ("sacct", "scancel", "scontrol", "sinfo", "squeue")


@dataclass(frozen=True)
class Asker:
    """Runs SLURM's programs with the environment that Roundtable gives them."""

    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    patience_s: float = field(default=PATIENCE_S, kw_only=True)
    submit_patience_s: float = field(default=SUBMIT_TIMEOUT_S, kw_only=True)
    cluster: str | None = field(default=None, kw_only=True)

    def on(self, cluster: str | None) -> Asker:
        """The same, asking of the cluster that a profile names; sbatch finds that in its script."""
        return replace(self, cluster=cluster)

    def has(self, program: str) -> bool:
        return shutil.which(program, path=self.environment.get("PATH", "")) is not None

    def ask(self, *argv: str, text: str = "", patience_s: float | None = None) -> Reply:
        """The program's answer. A time-out is code 124 and a missing program 127, as a shell has them."""
        if self.cluster is not None and argv[0] in _ASKED_OF_A_CLUSTER and "--version" not in argv:
            argv = (argv[0], "-M", self.cluster, *argv[1:])
        environment = scrub(self.environment) if argv[0] == "sbatch" else for_queries(self.environment)
        try:
            return run(argv, timeout_s=patience_s or self.patience_s, environment=environment, text=text)
        except CommandTimeout as error:
            return Reply(code=124, out="", err=str(error))
        except UsageError as error:
            return Reply(code=127, out="", err=str(error))
