"""The training environment: import-checked before a submission, built only where the profile says so."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.errors import TrainingEnvironmentError
from agent.launch.profile import Profile
from agent.launch.training import ensure, import_root, training_python
from trainers.registry import TRAINERS, RegisteredTrainer

ROOT = Path(__file__).parents[3]


def trainer(*requires: str, extra: str | None = None) -> RegisteredTrainer:
    return dataclasses.replace(TRAINERS["resnet9"], name="demo", requires=requires, extra=extra)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A python of another environment, with nothing installed."""
    folder = tmp_path_factory.mktemp("environment with space")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True)
    return folder / "env" / "bin" / "python"


def test_the_default_python_is_the_one_that_runs_roundtable() -> None:
    assert training_python(Profile()) == Path(sys.executable)
    assert import_root() == ROOT


def test_another_environments_python_finds_the_trainers_of_the_checkout(bare: Path) -> None:
    assert set(ensure(Profile(python=bare), trainer("json", "trainers.job"), root=ROOT)) == {"json", "trainers.job"}


def test_what_cannot_be_imported_is_named_with_the_remedy(bare: Path) -> None:
    with pytest.raises(TrainingEnvironmentError) as caught:
        ensure(Profile(python=bare), trainer("numpy", extra="train"), root=ROOT)
    assert (
        "numpy" in str(caught.value) and "roundtable[train]" in str(caught.value) and str(bare) in str(caught.value)
    )


def test_an_environment_without_roundtable_is_named(bare: Path) -> None:
    with pytest.raises(TrainingEnvironmentError, match="cannot import Roundtable's trainers"):
        ensure(Profile(python=bare), trainer("json"), root=None)


def test_a_missing_python_is_refused_unless_it_may_be_built(tmp_path: Path) -> None:
    python = tmp_path / "env" / "bin" / "python"
    with pytest.raises(TrainingEnvironmentError, match="build: true"):
        ensure(Profile(python=python), trainer("json"), root=ROOT)
    assert not (tmp_path / "env").exists()


def test_a_missing_environment_is_built_with_the_pinned_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uv's own work is not repeated here: a stand-in makes the environment and notes how it was asked to."""
    programs = tmp_path / "bin"
    programs.mkdir()
    uv = programs / "uv"
    uv.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$*" >>"{tmp_path}/asked"\n'
        f'if [ "$1" = venv ]; then exec "{sys.executable}" -m venv --without-pip "$2"; fi\n'
    )
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    python = tmp_path / "env" / "bin" / "python"
    found = ensure(Profile(python=python, build=True), trainer("json", extra="train"), root=ROOT)
    assert "json" in found and python.exists()
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == [
        f"venv {tmp_path}/env",
        f"pip install --python {python} {ROOT}[train] --constraint {ROOT}/requirements.lock",
    ]


def test_a_failed_build_is_told_in_uvs_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "uv").write_text("#!/bin/sh\necho 'no such index' >&2\nexit 4\n")
    (programs / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(TrainingEnvironmentError, match=r"failed \(4\).*no such index"):
        ensure(Profile(python=tmp_path / "env" / "bin" / "python", build=True), trainer("json"), root=ROOT)


def test_a_brought_programs_own_probe_counts(tmp_path: Path) -> None:
    from trainers.command.description import load_description

    path = tmp_path / "trainer.yaml"
    noop = (ROOT / "tests/programs/noop.yaml").read_text()
    path.write_text(noop + 'probe: ["sh", "-c", "echo no licence >&2; exit 1"]\n')
    (tmp_path / "noop.sh").write_text("true\n")
    frozen = tmp_path / "trainer.json"
    frozen.write_text(load_description(path).to_json())
    with pytest.raises(TrainingEnvironmentError, match="no licence"):
        ensure(Profile(), trainer(), root=ROOT, trainer_file=frozen)
