"""Trainers of installed distributions and of a person's own Python: found by name or place, and named if broken.

Distributions are folders on the path here; two real wheels are installed in test_wheels.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.plugins.conftest import Install
from trainers import plugins
from trainers.plugins import PluginProblem, names_of
from trainers.registry import TRAINERS, registered, trainer_module, trainer_names, usable

GOOD = """
from trainers.registry import RegisteredTrainer
MINE = RegisteredTrainer(name="mine", description="mine")
OTHER = RegisteredTrainer(name="other", description="other")
def train(spec, control):
    return "trained"
"""


def test_an_installed_trainer_is_found_by_its_name(install: Install) -> None:
    install("lab_a", {"roundtable.trainers": {"mine": "lab_a_code:MINE"}}, lab_a_code=GOOD)
    trainer = registered("mine")
    assert trainer is not None and (trainer.name, trainer.module) == ("mine", "lab_a_code")
    assert trainer_module("mine").train(None, None) == "trained"
    assert trainer_names() == (*TRAINERS, "mine")


def test_a_name_of_ours_is_ours_and_no_distribution_is_looked_at(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("lab_b", {"roundtable.trainers": {"resnet9": "lab_b_code:MINE"}}, lab_b_code=GOOD)
    monkeypatch.setattr(plugins, "plugins", lambda kind: pytest.fail("looked for plug-ins"))
    assert registered("resnet9") is TRAINERS["resnet9"]


def test_an_unknown_name_is_answered_with_every_name(install: Install) -> None:
    install("lab_c", {"roundtable.trainers": {"mine": "lab_c_code:MINE"}}, lab_c_code=GOOD)
    with pytest.raises(Exception, match="unknown trainer 'mien'; there are: nnunet, resnet9, informer, mine"):
        usable("mien")


@pytest.mark.parametrize(
    ("target", "code", "message"),
    [
        ("lab_d_code:MINE", "import torch_of_another_planet\n", "cannot be imported: ModuleNotFoundError: No module"),
        ("lab_d_code:MINE", "raise SystemExit(3)\n", "cannot be imported: SystemExit: 3"),
        ("lab_d_code:GONE", GOOD, "cannot be imported: AttributeError"),
        ("lab_d_code", GOOD, "cannot be imported: ValueError: 'lab_d_code' is not package.module:NAME"),
        ("lab_d_code:train", GOOD, "is a function, not a RegisteredTrainer"),
        ("lab_d_code:OTHER", GOOD, "calls itself 'other': both names must be the same"),
    ],
)
def test_a_broken_one_is_named_with_its_distribution_and_a_remedy(
    install: Install, target: str, code: str, message: str
) -> None:
    install("lab_d", {"roundtable.trainers": {"mine": target}}, lab_d_code=code)
    with pytest.raises(PluginProblem) as caught:
        registered("mine")
    assert str(caught.value).startswith(
        f"the plug-in of lab_d 1.2 (entry point roundtable.trainers: mine = {target}): "
    )
    assert message in str(caught.value)
    assert "`uv pip install --upgrade lab_d`), or remove it (`uv pip uninstall lab_d`)" in str(caught.value)
    assert registered("nothing_of_this_name") is None
    assert names_of("trainers") == ("mine",)


def test_two_distributions_that_bring_one_name_are_both_named(install: Install) -> None:
    for name in ("lab_e", "lab_f"):
        install(name, {"roundtable.trainers": {"mine": f"{name}_code:MINE"}}, **{f"{name}_code": GOOD})
    with pytest.raises(PluginProblem, match=r"mine is brought twice, by lab_[ef] 1\.2 \(.*\) and lab_[ef] 1\.2 \("):
        registered("mine")


def test_a_name_that_no_file_could_have_is_refused(install: Install) -> None:
    install("lab_g", {"roundtable.trainers": {"../mine": "lab_g_code:MINE"}}, lab_g_code=GOOD)
    with pytest.raises(PluginProblem, match="the name must be 1 to 64 letters, digits, _ and -"):
        registered("../mine")


def test_python_by_module_and_by_file(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("lab_h", {}, lab_h_code=GOOD)
    found = registered("lab_h_code:MINE")
    assert found is not None and (found.name, found.module) == ("lab_h_code:MINE", "lab_h_code")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "helper_of_mine.py").write_text("SAID = 'from beside it'\n")
    file = tmp_path / "project" / "json.py"  # a name that the standard library has
    file.write_text(f"import helper_of_mine\n{GOOD}".replace('"trained"', "helper_of_mine.SAID"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    place = f"{file}:MINE"
    trained = registered(place)
    assert trained is not None and trained.name == place
    assert trainer_module(place).train(None, None) == "from beside it"
    assert "dumps" in dir(__import__("json"))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("no_such_module_of_mine:X", "no_such_module_of_mine:X: cannot be imported: ModuleNotFoundError"),
        ("no/such/file.py:X", "no/such/file.py:X: cannot be imported: FileNotFoundError"),
        ("json:dumps", "json:dumps: is a function, not a RegisteredTrainer"),
        ("json:", "json:: cannot be imported: ValueError"),
    ],
)
def test_a_place_where_no_trainer_is(place: str, message: str) -> None:
    with pytest.raises(PluginProblem) as caught:
        registered(place)
    assert message in str(caught.value)
