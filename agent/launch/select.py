"""Which launcher, by name. The implementations are imported only when chosen."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from agent.errors import InvalidPlugin, RoundtableError, SchedulerUnavailable, UsageError
from agent.launch.base import Batch, Launcher, LaunchSettings
from agent.launch.catalogue import SHIPPED, capabilities_of, launcher_entry
from agent.launch.environment import CLUSTER_VARIABLES

Factory = Callable[[LaunchSettings], Launcher]


def default_launcher(has: Callable[[str], object] = shutil.which) -> str:
    """submitit where sbatch exists, else local. has: whether a program is on PATH."""
    return "submitit" if has("sbatch") else "local"


def make_launcher(name: str, settings: LaunchSettings | None = None) -> Launcher:
    """The launcher with this name. settings: None for a look alone.

    Raises UsageError for an unknown name, where its programs are not there, and where the shell names a cluster and
    the profile does not; InvalidPlugin.
    """
    entry = launcher_entry(name)
    settings = settings or LaunchSettings()
    check_launcher(name)
    if entry.capabilities.clusters:
        check_cluster(settings.cluster)
    from trainers.plugins import imported

    if name in SHIPPED:
        return cast(Factory, imported(entry.factory))(settings)
    from agent.launch.foreign import ForeignLauncher

    try:
        return ForeignLauncher(entry, cast(Factory, imported(entry.factory))(settings))
    except RoundtableError:
        raise
    except (Exception, SystemExit) as error:
        raise InvalidPlugin(
            f"the launcher {name} cannot be made ({entry.factory}): {type(error).__name__}: {error}; mend it, or "
            "choose another --launcher"
        ) from error


def check_launcher(name: str) -> None:
    """Whether this machine has what a launcher needs. Raises UsageError naming the launchers, or what is missing."""
    require_programs(name, capabilities_of(name).programs)


def check_cluster(cluster: str | None) -> None:
    """Raises UsageError where `unnamed_cluster` has something to say of this shell."""
    if found := unnamed_cluster(cluster, os.environ):
        raise UsageError(". ".join(found))


def unnamed_cluster(cluster: str | None, environment: Mapping[str, str]) -> tuple[str, str] | None:
    """What is wrong and what to change where variables send jobs to a cluster that the profile does not name.

    Other processes of the study (cron, a controller job, another shell) would ask the default cluster, miss its jobs
    there and start them again. cluster: the profile's.
    """
    named = next((name for name in CLUSTER_VARIABLES if environment.get(name)), None)
    if cluster is not None or named is None:
        return None
    given = environment[named]
    one = "NAME, one of them," if re.search(r"[,\s]|^all$", given) else given
    said = f"{named}={given} in this shell: a study keeps its cluster in its profile, where every later call finds it"
    unset = f"`unset {' '.join(CLUSTER_VARIABLES)}` for the cluster of slurm.conf"
    return said, f"Put `cluster: {one}` into the profile (--profile FILE), or {unset}"


def check_answers(name: str, *, cluster: str | None = None) -> None:
    """`check_launcher`, and that a SLURM controller answers now: sbatch may be installed where no cluster is.

    Raises UsageError.
    """
    check_launcher(name)
    try:
        make_launcher(name, LaunchSettings(cluster=cluster)).largest_index()
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
