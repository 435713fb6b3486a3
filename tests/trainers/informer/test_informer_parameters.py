"""No parameter is inert: each changes the training where its condition holds, and nothing where it does not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from informer_cases import ROOT, SMALL, epochs, make_spec, run

from agent.reference import load_reference
from trainers.contract import Value
from trainers.informer.config import Config

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("no_plots")]
SHIPPED = ROOT / "doc" / "hyperparameter_reference" / "informer.json"

# parameter -> (other value, what else is set so that it takes effect)
OTHER: dict[str, tuple[Value, dict[str, Value]]] = {
    "lr": (0.01, {}),
    "weight_decay": (0.1, {}),
    "dropout": (0.5, {}),
    "batch_size": (32, {}),
    "d_model": (16, {}),
    "n_heads": (4, {}),
    "e_layers": (3, {}),
    "d_layers": (2, {}),
    "d_ff": (32, {}),
    "factor": (3, {}),
    "optimizer": ("AdamW", {"weight_decay": 0.1}),
    "scheduler": ("none", {}),
    "criterion": ("L1", {}),
    "attention": ("full", {}),
    "distil": (False, {}),
    "embedding": ("none", {}),
    "normalization": ("RevIN", {}),
    "seq_len": (48, {}),
    "label_len": (6, {}),
    "activation": ("relu", {}),
    "beta": (0.1, {"criterion": "SmoothL1"}),
    "momentum": (0.5, {"optimizer": "SGD"}),
    "step_epochs": (1, {"scheduler": "StepLR"}),
    "gamma": (0.9, {"scheduler": "ExponentialLR"}),
    "warmup": (0.4, {}),
    "grad_clip": (0.01, {}),
    "patience": (1, {"lr": 1e-12}),  # nothing is learned: no epoch is better than the first
    "precision": ("bfloat16", {}),
}

# parameter -> settings under which its condition does not hold
INACTIVE: dict[str, dict[str, Value]] = {
    "factor": {"attention": "full"},
    "distil": {"e_layers": 1},
    "beta": {"criterion": "MSE"},
    "momentum": {"optimizer": "Adam"},
    "step_epochs": {"scheduler": "halving"},
    "gamma": {"scheduler": "CosineAnnealingLR"},
}

_seen: dict[str, list[dict[str, str]]] = {}


def trained(folder: Path, path: Path, hyper: dict[str, Value]) -> list[dict[str, str]]:
    """The epochs of a training with these settings; each setting is trained once for all tests."""
    key = json.dumps(hyper, sort_keys=True)
    if key not in _seen:
        run(make_spec(folder, data={"path": str(path)}, hyper=hyper, epochs=3))
        _seen[key] = epochs(folder)
    return _seen[key]


def test_the_tables_name_every_parameter() -> None:
    conditional = {name for name, p in json.loads(SHIPPED.read_text())["parameters"].items() if "condition" in p}
    assert set(OTHER) == {field.name for field in dataclasses.fields(Config)}
    assert set(INACTIVE) == conditional


@pytest.mark.parametrize("name", OTHER)
def test_it_takes_effect(name: str, series_csv: Path, tmp_path: Path) -> None:
    value, base = OTHER[name]
    assert value != {**dataclasses.asdict(Config()), **SMALL, **base}[name]
    assert load_reference(SHIPPED).is_active(name, base if name != "patience" else None)
    before = trained(tmp_path / "before", series_csv, base)
    assert trained(tmp_path / "after", series_csv, {**base, name: value}) != before


@pytest.mark.parametrize("name", INACTIVE)
def test_it_has_no_effect_while_inactive(name: str, series_csv: Path, tmp_path: Path) -> None:
    base = INACTIVE[name]
    assert not load_reference(SHIPPED).is_active(name, base)
    before = trained(tmp_path / "before", series_csv, base)
    assert trained(tmp_path / "after", series_csv, {**base, name: OTHER[name][0]}) == before


def test_flash_learns_what_full_attention_learns(series_csv: Path, tmp_path: Path) -> None:
    """The same function by another kernel, so the same training but for rounding."""
    found = [trained(tmp_path / kind, series_csv, {"attention": kind, "dropout": 0.0}) for kind in ("full", "flash")]
    for full, flash in zip(*found, strict=True):
        for name in full:
            assert float(full[name]) == pytest.approx(float(flash[name]), rel=1e-3)
