"""The python that trains: there, and able to import what the trainer needs. Nothing is built."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from agent.errors import TrainingEnvironmentError
from agent.launch.doctor.finding import Area, Finding
from agent.launch.profile import Profile
from agent.launch.training import ensure, import_root, training_python
from agent.pasteable import quoted
from trainers.registry import RegisteredTrainer

_area = Area("training")


def check_interpreter(
    profile: Profile, trainer: RegisteredTrainer | None, *, trainer_file: Path | None = None, nodes: bool
) -> list[Finding]:
    """Runs the training python, for minutes where its filesystem is cold (agent.launch.training.PROBE_TIMEOUT_S).

    trainer: None where nobody named one. trainer_file: a brought trainer's frozen description. nodes: tasks run on
    other machines, and nothing else looks there.
    """
    python = training_python(profile)
    looked = f"training python {python}"
    if not python.exists():
        return [_missing(profile, python, looked)]
    if trainer is None:
        said = "is there; what a trainer needs was not tried"
        findings = [_area.ok(looked, said, "name --study or --trainer to try its imports")]
    else:
        try:
            found = ensure(replace(profile, build=False), trainer, root=import_root(), trainer_file=trainer_file)
        except TrainingEnvironmentError as error:
            return [_failed(looked, python, str(error))]
        versions = ", ".join(f"{name} {version}" for name, version in found.items()) or "nothing further needed"
        findings = [_area.ok(looked, f"imports what {trainer.name} needs: {versions}")]
    if nodes:
        said = "cannot be seen from here; the same path must exist on every node"
        findings.append(_area.ok("python on compute nodes", said, "--submit tries it on one node"))
    return findings


def _missing(profile: Profile, python: Path, looked: str) -> Finding:
    if profile.build and shutil.which("uv"):
        return _area.ok(looked, "not there yet; `build: true` makes it before the first submission")
    if profile.build:
        return _area.problem(looked, "not there, and `build: true` needs uv", "install uv (pip install uv)")
    made = f"build it with `uv venv {quoted(python.parent.parent)}`, " if python.parent.name == "bin" else ""
    ask = f"{made}correct `python` in the profile, or let it be built (`build: true`)"
    return _area.problem(looked, "there is no such python", ask)


def _failed(looked: str, python: Path, message: str) -> Finding:
    """training.py ends its messages with the remedy, where it knows one."""
    said, found, remedy = message.removeprefix(f"{python}: ").rpartition("; ")
    if not found:
        said, remedy = remedy, "mend that environment, or set `python` or `setup` in the profile"
    return _area.problem(looked, said, remedy)
