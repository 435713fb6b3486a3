"""The shell that Roundtable was called from: what of it would steer jobs, and what ends with it."""

from __future__ import annotations

import resource
from collections.abc import Mapping

from agent.errors import UsageError
from agent.launch.doctor.finding import Area, Finding
from agent.launch.environment import CLUSTER_VARIABLES, KEPT, is_secret, scrub
from agent.launch.select import check_cluster

_area = Area("environment")
_MOST_NAMES = 6


def check_variables(environment: Mapping[str, str], *, slurm: bool, cluster: str | None = None) -> list[Finding]:
    """Variables that tasks do not get. Never shows a value, but that of a cluster's name.

    cluster: the profile's.
    """
    dropped = sorted(name for name in set(environment) - set(scrub(environment)) if not is_secret(name))
    # Every login has these two; to list them would hide the others.
    steering = [name for name in dropped if not name.startswith(("XDG_", "DBUS_"))]
    findings = []
    if slurm:
        try:
            check_cluster(cluster, environment)
        except UsageError as error:
            said, _, ask = str(error).partition(". ")
            findings.append(_area.problem("cluster", said, ask))
    sbatch = [name for name in steering if name.startswith("SBATCH_") and name not in CLUSTER_VARIABLES]
    if sbatch and slurm:
        ask = f"unset {' '.join(sbatch)} before you run sbatch by hand"
        said = f"{_few(sbatch)}: beat a script's own #SBATCH lines; Roundtable's launchers remove them"
        findings.append(_area.warning("SBATCH_* variables", said, ask))
    others = [name for name in steering if name not in sbatch or not slurm]
    if others:
        findings.append(_area.ok("variables", f"not handed to tasks: {_few(others)}"))
    kept = [name for name in KEPT if environment.get(name)]
    if kept:
        findings.append(_area.ok("variables", f"handed on, because they name the cluster: {_few(kept)}"))
    paths = [name for name in ("PYTHONPATH", "PYTHONHOME") if environment.get(name)]
    if paths:
        ask = "where training needs it, set it in the profile's `env` or `setup`"
        findings.append(_area.warning("variables", f"{_few(paths)}: tasks drop it", ask))
    return findings or [_area.ok("variables", "none that would steer tasks")]


def _few(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def check_job(environment: Mapping[str, str]) -> list[Finding]:
    """Whether this runs inside of a job, which ends with its time limit."""
    job = environment.get("SLURM_JOB_ID") or environment.get("SLURM_JOBID")
    if not job:
        return []
    said = f"this runs inside of SLURM job {job}: `tune --auto-train` here ends with it"
    return [
        _area.warning("inside of a job", said, "call from a login node, or let `roundtable tick` go on by itself")
    ]


def check_cpu_limit(seconds: int | None = None) -> list[Finding]:
    """The limit on a process's CPU time, which login nodes set. seconds: None asks this process."""
    limit = resource.getrlimit(resource.RLIMIT_CPU)[0] if seconds is None else seconds
    if limit == resource.RLIM_INFINITY or limit < 0:
        return []
    said = f"a process is killed after {limit} CPU-seconds"
    ask = "drive a long study by `roundtable tick` (cron, or a job), not by one `tune --auto-train`"
    return [_area.warning("CPU limit (ulimit -t)", said, ask)] if limit < 3600 else [_area.ok("CPU limit", said)]
