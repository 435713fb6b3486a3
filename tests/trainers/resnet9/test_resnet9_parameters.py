"""No parameter is inert: each changes the training where its condition holds, and nothing where it does not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from resnet9_cases import epochs, make_spec, run

from agent.reference import load_reference
from trainers.contract import Value
from trainers.resnet9.config import Config

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("no_plots")]
SHIPPED = Path(__file__).parents[3] / "doc" / "hyperparameter_reference" / "resnet9.json"

# parameter -> (other value, what else is set so that it takes effect)
OTHER: dict[str, tuple[Value, dict[str, Value]]] = {
    "optimizer": ("adam", {}),
    "learning_rate": (0.01, {}),
    "train_batch_size": (64, {}),
    "weight_decay": (0.1, {}),
    "label_smoothing": (0.2, {}),
    "momentum": (0.5, {}),
    "nesterov": (False, {}),
    "adam_beta1": (0.5, {"optimizer": "adam"}),
    "adam_beta2": (0.9, {"optimizer": "adam"}),
    "schedule": ("none", {}),
    "warmup": (0.0, {}),
    "grad_clip": (0.01, {}),
    "augmentation": ("none", {}),
    "translate": (0.25, {}),
    "cutout": (0.5, {"augmentation": "strong"}),
    "jitter": (0.5, {"augmentation": "strong"}),
    "width": (0.25, {}),
    "dropout": (0.5, {}),
    "logit_scale": (1.0, {}),
    "patience": (1, {"learning_rate": 1e-12}),  # nothing is learned: no epoch is better than the first
    "precision": ("bfloat16", {}),
}

# parameter -> settings under which its condition does not hold
INACTIVE: dict[str, dict[str, Value]] = {
    "momentum": {"optimizer": "adam"},
    "nesterov": {"momentum": 0.0},
    "adam_beta1": {"optimizer": "sgd"},
    "adam_beta2": {"optimizer": "sgd"},
    "translate": {"augmentation": "none"},
    "cutout": {"augmentation": "basic"},
    "jitter": {"augmentation": "basic"},
}


def trained(folder: Path, npz: Path, hyper: dict[str, Value]) -> list[dict[str, str]]:
    run(make_spec(folder, data={"path": str(npz)}, hyper=hyper, epochs=3))
    return epochs(folder)


def test_the_tables_name_every_parameter() -> None:
    conditional = {name for name, p in json.loads(SHIPPED.read_text())["parameters"].items() if "condition" in p}
    assert set(OTHER) == {field.name for field in dataclasses.fields(Config)}
    assert set(INACTIVE) == conditional


@pytest.mark.parametrize("name", OTHER)
def test_it_takes_effect(name: str, npz: Path, tmp_path: Path) -> None:
    value, base = OTHER[name]
    assert load_reference(SHIPPED).is_active(name, base if name != "patience" else None)
    before = trained(tmp_path / "before", npz, base)
    assert trained(tmp_path / "after", npz, {**base, name: value}) != before


@pytest.mark.parametrize("name", INACTIVE)
def test_it_has_no_effect_while_inactive(name: str, npz: Path, tmp_path: Path) -> None:
    base = INACTIVE[name]
    assert not load_reference(SHIPPED).is_active(name, base)
    before = trained(tmp_path / "before", npz, base)
    assert trained(tmp_path / "after", npz, {**base, name: OTHER[name][0]}) == before


def test_patience_stops_early_and_says_so(npz: Path, tmp_path: Path) -> None:
    spec = make_spec(tmp_path, data={"path": str(npz)}, hyper={"patience": 2, "learning_rate": 1e-12}, epochs=9)
    result = run(spec)
    assert result.notes["stopped_early"] is True
    assert result.epochs_run == 3 == len(epochs(tmp_path))
    assert result.notes["best_epoch"] == 1
