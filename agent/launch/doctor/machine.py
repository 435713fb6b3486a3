"""This machine: the shell that Roundtable was called from, what ends with it, and the python that trains."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from agent.errors import TrainingEnvironmentError
from agent.launch.doctor.finding import Area, Finding, few
from agent.launch.environment import CLUSTER_VARIABLES, KEPT, is_secret, scrub
from agent.launch.profile import Profile
from agent.launch.select import unnamed_cluster
from agent.launch.training import ensure, import_root, training_python
from agent.pasteable import quoted
from trainers.registry import RegisteredTrainer

_shell, _training = Area("environment"), Area("training")
_MOST_NAMES = 6


def check_variables(environment: Mapping[str, str], *, slurm: bool, cluster: str | None = None) -> list[Finding]:
    """Variables that tasks do not get. Never shows a value, but that of a cluster's name.

    cluster: the profile's.
    """
    dropped = sorted(name for name in set(environment) - set(scrub(environment)) if not is_secret(name))
    # Every login has these two; to list them would hide the others.
    steering = [name for name in dropped if not name.startswith(("XDG_", "DBUS_"))]
    sbatch = [name for name in steering if name.startswith("SBATCH_") and name not in CLUSTER_VARIABLES and slurm]
    findings = []
    if slurm and (found := unnamed_cluster(cluster, environment)):
        findings.append(_shell.problem("cluster", *found))
    if sbatch:
        said = f"{few(sbatch, _MOST_NAMES)}: beat a script's own #SBATCH lines; Roundtable's launchers remove them"
        ask = f"unset {' '.join(sbatch)} before you run sbatch by hand"
        findings.append(_shell.warning("SBATCH_* variables", said, ask))
    if others := [name for name in steering if name not in sbatch]:
        findings.append(_shell.ok("variables", f"not handed to tasks: {few(others, _MOST_NAMES)}"))
    if kept := [name for name in KEPT if environment.get(name)]:
        findings.append(_shell.ok("variables", f"handed on, because they name the cluster: {few(kept, _MOST_NAMES)}"))
    if paths := ", ".join(name for name in ("PYTHONPATH", "PYTHONHOME") if environment.get(name)):
        ask = "where training needs it, set it in the profile's `env` or `setup`"
        findings.append(_shell.warning("variables", f"{paths}: tasks drop it", ask))
    return findings or [_shell.ok("variables", "none that would steer tasks")]


def check_job(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Whether this runs inside of a job, which ends with its time limit."""
    if job := environment.get("SLURM_JOB_ID") or environment.get("SLURM_JOBID"):
        said = f"this runs inside of SLURM job {job}: `tune --auto-train` here ends with it"
        ask = "call from a login node, or let `roundtable tick` go on by itself"
        yield _shell.warning("inside of a job", said, ask)


def check_cpu_limit(seconds: int | None = None) -> Iterator[Finding]:
    """The limit on a process's CPU time, which login nodes set. seconds: None asks this process."""
    limit = resource.getrlimit(resource.RLIMIT_CPU)[0] if seconds is None else seconds
    looked, said = "CPU limit (ulimit -t)", f"a process is killed after {limit} CPU-seconds"
    if 0 <= limit < 3600:
        ask = "drive a long study by `roundtable tick` (cron, or a job), not by one `tune --auto-train`"
        yield _shell.warning(looked, said, ask)
    elif limit != resource.RLIM_INFINITY and limit >= 0:
        yield _shell.ok(looked, said)


def check_interpreter(
    profile: Profile, trainer: RegisteredTrainer | None, *, trainer_file: Path | None = None, nodes: bool
) -> Iterator[Finding]:
    """The python that trains: there, and able to import what the trainer needs. Nothing is built.

    Runs it, for minutes where its filesystem is cold (agent.launch.training.PROBE_TIMEOUT_S). trainer: None where
    nobody named one. trainer_file: a brought trainer's frozen description. nodes: tasks run on other machines, and
    nothing else looks there.
    """
    python = training_python(profile)
    looked = f"training python {python}"
    if not python.exists():
        yield _missing(profile, python, looked)
        return
    if trainer is None:
        said = "is there; what a trainer needs was not tried"
        yield _training.ok(looked, said, "name --study or --trainer to try its imports")
    else:
        try:
            found = ensure(replace(profile, build=False), trainer, root=import_root(), trainer_file=trainer_file)
        except TrainingEnvironmentError as error:
            ask = error.remedy or "mend that environment, or set `python` or `setup` in the profile"
            yield _training.problem(looked, error.said.removeprefix(f"{python}: "), ask)
            return
        versions = ", ".join(f"{name} {version}" for name, version in found.items()) or "nothing further needed"
        yield _training.ok(looked, f"imports what {trainer.name} needs: {versions}")
    if nodes:
        said = "cannot be seen from here; the same path must exist on every node"
        yield _training.ok("python on compute nodes", said, "--submit tries it on one node")


def _missing(profile: Profile, python: Path, looked: str) -> Finding:
    if not profile.build:
        made = f"build it with `uv venv {quoted(python.parent.parent)}`, " if python.parent.name == "bin" else ""
        ask = f"{made}correct `python` in the profile, or let it be built (`build: true`)"
        return _training.problem(looked, "there is no such python", ask)
    if shutil.which("uv") is None:
        return _training.problem(looked, "not there, and `build: true` needs uv", "install uv (pip install uv)")
    return _training.ok(looked, "not there yet; `build: true` makes it before the first submission")
