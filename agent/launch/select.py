"""Which launcher, by name. The implementations are imported only when chosen."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import SchedulerUnavailable, UsageError
from agent.launch.base import Batch, Launcher
from agent.launch.catalogue import capabilities_of
from agent.launch.environment import CLUSTER_VARIABLES

if TYPE_CHECKING:
    from agent.launch.local import LocalSettings
    from agent.launch.scheduler import Pace


def default_launcher(has: Callable[[str], object] = shutil.which) -> str:
    """submitit where sbatch exists, else local. has: whether a program is on PATH."""
    return "submitit" if has("sbatch") else "local"


def make_launcher(
    name: str,
    *,
    local: LocalSettings | None = None,
    pace: Pace | None = None,
    memory: Path | None = None,
    secrets: Collection[str] = (),
    cluster: str | None = None,
    say: Callable[[str], None] | None = None,
) -> Launcher:
    """The launcher with this name.

    local: what this machine gives, for "local". pace, memory: how often SLURM is asked and where it is remembered
    since when tasks are missing (see scheduler.SlurmReader). secrets: variables that no task may inherit, beside
    those that are never handed on (environment.scrub). cluster: the profile's. say: told what a person should know
    and no error says; None for standard error.

    Raises UsageError for an unknown name, where SLURM's programs are not there, and where the shell names a cluster
    and the profile does not.
    """
    capabilities_of(name)
    environment = {variable: value for variable, value in os.environ.items() if variable not in secrets}
    if name == "local":
        from agent.launch.local import LocalLauncher

        return LocalLauncher(local, environment=environment)
    check_launcher(name)
    from agent.launch.scheduler import SlurmReader, say_on_stderr

    check_cluster(cluster)
    reader = SlurmReader(pace, memory=memory, cluster=cluster, say=say or say_on_stderr)
    if name == "sbatch":
        from agent.launch.sbatch import SbatchLauncher

        return SbatchLauncher(reader, environment=environment)
    from agent.launch.submitit import SubmititLauncher

    return SubmititLauncher(reader, environment=environment)


def check_launcher(name: str) -> None:
    """Whether this machine has what a launcher needs. Raises UsageError naming the launchers, or what is missing."""
    require_programs(name, capabilities_of(name).programs)


def check_cluster(cluster: str | None, environment: Mapping[str, str] | None = None) -> None:
    """Raises UsageError where variables of this shell send jobs to a cluster that the profile does not name.

    Other processes of the study (cron, a controller job, another shell) would ask the default cluster, miss its jobs
    there and start them again.
    """
    given = os.environ if environment is None else environment
    named = next((name for name in CLUSTER_VARIABLES if given.get(name)), None)
    if cluster is None and named is not None:
        one = "NAME, one of them," if re.search(r"[,\s]|^all$", given[named]) else given[named]
        raise UsageError(
            f"{named}={given[named]} in this shell: a study keeps its cluster in its profile, where every later call "
            f"finds it. Put `cluster: {one}` into the profile (--profile FILE), or `unset "
            f"{' '.join(CLUSTER_VARIABLES)}` for the cluster of slurm.conf"
        )


def check_answers(name: str, *, cluster: str | None = None) -> None:
    """`check_launcher`, and that a SLURM controller answers now: sbatch may be installed where no cluster is.

    Raises UsageError.
    """
    check_launcher(name)
    try:
        make_launcher(name, cluster=cluster).largest_index()
    except SchedulerUnavailable as error:
        raise UsageError(
            f"--launcher {name}: {error}; try again when the controller answers, or use --launcher local"
        ) from error


def submission_command(name: str, batch: Batch) -> list[str] | None:
    """The command line with which a launcher submits a batch; None where it submits in another way."""
    if name != "sbatch":
        return None
    from agent.launch.sbatch import SbatchLauncher

    return SbatchLauncher().command(batch)


def require_programs(launcher: str, programs: Sequence[str]) -> None:
    """Raises UsageError that names what is missing."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise UsageError(
            f"--launcher {launcher} needs {', '.join(missing)} on PATH: run this on a SLURM login node (or load its"
            " module), or use --launcher local"
        )
