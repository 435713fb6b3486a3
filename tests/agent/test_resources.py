"""Templates and documents are found from a checkout and from an installed wheel."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from agent import resources
from agent.errors import InvalidTrainer, RoundtableError
from agent.resources import documents, shipped_reference, templates
from trainers.registry import TRAINERS

ROOT = Path(__file__).parents[2]


def test_a_checkout_has_them_beside_the_package() -> None:
    assert (templates(), documents()) == (ROOT / "templates", ROOT / "doc")


def test_every_trainer_ships_its_reference() -> None:
    for name in TRAINERS:
        assert shipped_reference(name) == ROOT / "doc" / "hyperparameter_reference" / f"{name}.json"


@pytest.mark.parametrize("name", ["resnet", "../hyperparameter_reference/resnet9", "", "resnet9.json", "a\0b"])
def test_an_unknown_trainer_is_answered_with_those_there_are(name: str) -> None:
    with pytest.raises(InvalidTrainer, match="resnet9"):
        shipped_reference(name)


def test_an_incomplete_installation_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "agent")
    with pytest.raises(RoundtableError, match="installation is incomplete"):
        templates()


def test_a_wheel_carries_them_and_finds_them(tmp_path: Path) -> None:
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed: it builds the wheel")
    # Offline: whoever installed this environment with uv has the build backend in uv's cache.
    build = [uv, "build", "--wheel", "--offline", "--quiet", "--out-dir", str(tmp_path / "dist"), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=120)
    if done.returncode and "hatchling" in done.stderr and "cache" in done.stderr:
        pytest.skip(f"the build backend is not in uv's cache: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    script = "from agent import resources as r; print(r.templates(), r.documents(), r.shipped_reference('resnet9'))"
    shown = subprocess.run([sys.executable, "-c", script], cwd=site, capture_output=True, text=True, timeout=60)
    data = site / "agent" / "_data"
    expected = (data / "templates", data / "doc", data / "doc" / "hyperparameter_reference" / "resnet9.json")
    assert shown.stdout.split() == [str(path) for path in expected], shown.stderr
    for folder in (ROOT / "templates", ROOT / "doc"):
        source = {path.relative_to(ROOT) for path in folder.rglob("*") if path.is_file()}
        carried = {path.relative_to(data) for path in (data / folder.name).rglob("*") if path.is_file()}
        assert {path for path in source if "__pycache__" not in path.parts} == carried
