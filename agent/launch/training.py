"""The python that trains: apart from the login environment, checked (and, if the profile says so, built) first."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import agent
from agent.errors import TrainingEnvironmentError
from agent.launch.environment import scrub
from agent.launch.profile import Profile
from agent.pasteable import quoted
from trainers.registry import RegisteredTrainer, is_foreign

#: An import of torch from a cold network filesystem has been seen to take minutes.
PROBE_TIMEOUT_S = 600


def training_python(profile: Profile) -> Path:
    """The profile's python, else the one that runs Roundtable."""
    return Path(profile.python).expanduser() if profile.python else Path(sys.executable)


def import_root() -> Path | None:
    """The checkout that holds `trainers`, for another environment's PYTHONPATH; None when installed from a wheel.

    site-packages is never handed on: it would bring the login environment's packages into the training one.
    """
    root = Path(agent.__file__).resolve().parent.parent
    return root if (root / "pyproject.toml").exists() else None


def job_module(root: Path | None) -> str:
    """What a task runs with `python -m`. root: `import_root()`.

    A checkout stands first in the tasks' PYTHONPATH. An installed copy comes after whatever the profile puts there, a
    package `trainers` of the person's perhaps, and must find its own all the same.
    """
    return "trainers.job" if root is not None else "roundtable.job"


def ensure(
    profile: Profile,
    trainer: RegisteredTrainer,
    *,
    root: Path | None,
    trainer_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Make sure the training environment imports what the trainer needs; returns the versions found.

    trainer_file: the frozen description of a brought trainer, whose program and own probe are checked too.
    environment: what tasks inherit, less what is always removed; None for this process's own.

    Raises TrainingEnvironmentError naming what is missing and how to get it.
    """
    python = training_python(profile)
    if not python.exists():
        if not profile.build:
            raise TrainingEnvironmentError(
                f"{python}: there is no such python",
                remedy=f"build it with `uv venv {quoted(python.parent.parent)}` and "
                f"{_install_hint(trainer, python)}, or set `build: true` in the profile",
            )
        build(python, trainer, root=root)
    found = probe(python, trainer, root=root, environment=environment, path=profile.env.get("PYTHONPATH", ""))
    if trainer_file is not None:
        done = _run([str(python), "-m", "trainers.command.probe", str(trainer_file)], root, environment)
        if done.returncode != 0:
            raise TrainingEnvironmentError(f"{python}: {done.stderr.strip() or done.stdout.strip()}")
    return found


def probe_command(python: Path, trainer: RegisteredTrainer, root: Path | None) -> list[str]:
    """What asks a training python for the trainer's modules, its own code included where that is somebody else's."""
    code = ["--code"] if is_foreign(trainer) else []
    return [str(python), "-m", job_module(root), "probe", "--trainer", trainer.name, *code, *trainer.requires]


def probe(
    python: Path,
    trainer: RegisteredTrainer,
    *,
    root: Path | None,
    environment: Mapping[str, str] | None = None,
    path: str = "",
) -> dict[str, str]:
    """Import the trainer's modules in the training python, in a process of its own.

    path: the PYTHONPATH that the profile gives to tasks.
    """
    done = _run(probe_command(python, trainer, root), root, environment, path=path)
    try:
        answer = json.loads(done.stdout.strip().splitlines()[-1])
        missing, found = answer["missing"], answer["found"]
    except (IndexError, ValueError, KeyError) as error:
        tail = " ".join(done.stderr.strip().splitlines()[-2:])
        raise TrainingEnvironmentError(
            f"{python}: cannot import Roundtable's trainers ({tail})",
            remedy=f"install roundtable into that environment: {_install_hint(trainer, python)}",
        ) from error
    if missing:
        raise TrainingEnvironmentError(
            f"{python}: the trainer {trainer.name} needs modules that it cannot import: {'; '.join(missing)}",
            remedy=_install_hint(trainer, python),
        )
    return dict(found)


def _run(
    command: list[str], root: Path | None, inherited: Mapping[str, str] | None = None, *, path: str = ""
) -> subprocess.CompletedProcess[str]:
    """A check in the training python, with the environment that its tasks will have."""
    environment = scrub(os.environ if inherited is None else inherited)
    # As the tasks' scripts do: both belong to the submitting shell's python.
    for name in ("PYTHONPATH", "PYTHONHOME"):
        environment.pop(name, None)
    if where := [each for each in (str(root) if root is not None else "", path) if each]:
        environment["PYTHONPATH"] = os.pathsep.join(where)
    try:
        return subprocess.run(
            command,
            env=environment,
            cwd="/",  # python -m looks into the working folder first: a checkout there would hide what is missing
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TrainingEnvironmentError(f"{command[0]}: cannot be run: {error}") from error


def build(python: Path, trainer: RegisteredTrainer, *, root: Path | None) -> None:
    """Make the environment with uv, from the pinned versions where the checkout has them."""
    uv = shutil.which("uv")
    if uv is None:
        raise TrainingEnvironmentError("building the training environment needs uv: pip install uv")
    if python.parent.name != "bin":
        raise TrainingEnvironmentError(f"{python}: only an environment's DIR/bin/python can be built")
    extra = f"[{trainer.extra}]" if trainer.extra else ""
    from importlib.metadata import version

    wanted = f"{root}{extra}" if root is not None else f"roundtable{extra}=={version('roundtable')}"
    commands = [[uv, "venv", str(python.parent.parent)], [uv, "pip", "install", "--python", str(python), wanted]]
    lock = root / "requirements.lock" if root is not None else None
    if lock is not None and lock.exists():
        commands[1] += ["--constraint", str(lock)]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            tail = " ".join(done.stderr.strip().splitlines()[-3:])
            raise TrainingEnvironmentError(f"{' '.join(command[:3])} failed ({done.returncode}): {tail}")


def _install_hint(trainer: RegisteredTrainer, python: Path) -> str:
    if trainer.extra is None:
        return f"install them with `uv pip install --python {quoted(python)} ...`"
    wanted = f"'roundtable[{trainer.extra}]'"
    into = f"`uv pip install --python {quoted(python)} {wanted}`"
    return f"`./uvw run --extra {trainer.extra} ...` in the checkout, or {into}"
