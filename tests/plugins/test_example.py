"""The example's trainer and proposer keep the contracts that ours keep. (Installed from a wheel: test_wheels.py.)"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from agent.catalogue import find_trainer
from agent.propose.base import Proposer
from tests.cases.proposer_case import ProposerCase
from tests.trainers.trial_cases import StopAfter, epochs, quiet, trial_spec
from trainers.contract import BadConfig, Interrupted, TrialSpec

SOURCE = Path(__file__).parents[2] / "doc" / "examples" / "plugin" / "src"


@pytest.fixture(scope="module")
def example() -> Iterator[Any]:
    """Imports a module of the example."""

    def imported(name: str) -> ModuleType:
        return importlib.import_module(f"roundtable_example.{name}")

    sys.path.append(str(SOURCE))
    yield imported
    sys.path.remove(str(SOURCE))
    for name in [name for name in sys.modules if name.startswith("roundtable_example")]:
        del sys.modules[name]


class TestNearby(ProposerCase):
    @pytest.fixture
    def proposer(self, example: Any) -> Proposer:
        made: Proposer = example("nearby").Nearby()
        return made


VALUES = {"learning_rate": 0.1, "width": 6}


def spec(out: Path, **changed: Any) -> TrialSpec:
    made = trial_spec(out, trainer="spirals", task="two", objective="val_loss", direction="minimize", values=VALUES)
    return replace(made, **changed)


def test_its_space_is_a_reference(example: Any) -> None:
    place = f"{SOURCE / 'roundtable_example' / 'spirals.py'}:TRAINER"
    reference = find_trainer(place).reference("two")
    assert list(reference.parameters) == ["learning_rate", "width"]
    assert reference.objective.metric in example("spirals").TRAINER.metrics


def test_it_learns_and_goes_on_where_it_was_stopped(example: Any, tmp_path: Path) -> None:
    train = example("spirals").train
    whole = train(spec(tmp_path / "whole", epochs=6), quiet())
    assert whole.metrics["val_loss"] < train(spec(tmp_path / "short", epochs=1), quiet()).metrics["val_loss"]
    with pytest.raises(Interrupted, match="epoch 3"):
        train(spec(tmp_path / "first", epochs=6), quiet(StopAfter(2)))
    second = train(spec(tmp_path / "second", epochs=6, previous=tmp_path / "first"), quiet())
    assert second.epochs_run == 6
    assert [row["epoch"] for row in epochs(tmp_path / "second")] == ["4", "5", "6"]


def test_what_diverges_says_nothing_but_that(example: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = example("spirals")
    monkeypatch.setattr(module, "_measure", lambda weights, points: (float("nan"), 0.5))
    with pytest.raises(BadConfig, match="diverged in epoch 1"):
        module.train(spec(tmp_path / "out"), quiet())
