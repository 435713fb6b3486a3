"""The configuration and the shipped reference say the same, and nothing else gets through."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.reference import load_reference
from tests.trainers.trial_cases import documented
from trainers.contract import BadConfig
from trainers.registry import TRAINERS
from trainers.resnet9 import config as module
from trainers.resnet9.config import CHOICES, Config

pytestmark = pytest.mark.train
ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "doc" / "hyperparameter_reference" / "resnet9.json"
PARAMETERS: dict[str, Any] = json.loads(SHIPPED.read_text())["parameters"]


def test_the_reference_is_valid_and_tunes_five_parameters() -> None:
    reference = load_reference(SHIPPED)
    assert reference.trainer == "resnet9"
    assert reference.tunable() == (
        "optimizer",
        "learning_rate",
        "train_batch_size",
        "weight_decay",
        "label_smoothing",
    )


def test_the_tuned_space_is_exactly_the_promised_one() -> None:
    keys = ("type", "low", "high", "log", "choices")
    space = {name: {key: p[key] for key in keys if key in p} for name, p in PARAMETERS.items() if p.get("tune", True)}
    assert space == {
        "optimizer": {"type": "categorical", "choices": ["adam", "sgd"]},
        "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
        "train_batch_size": {"type": "categorical", "choices": [32, 64, 128, 256, 512]},
        "weight_decay": {"type": "float", "low": 1e-5, "high": 1e-1, "log": True},
        "label_smoothing": {"type": "float", "low": 0.0, "high": 0.2},
    }


def test_fields_defaults_and_descriptions_equal_the_reference() -> None:
    assert {name: p["default"] for name, p in PARAMETERS.items()} == dataclasses.asdict(Config())
    assert {name: p["description"] for name, p in PARAMETERS.items()} == documented(module)
    assert list(PARAMETERS) == [field.name for field in dataclasses.fields(Config)]
    for name, choices in CHOICES.items():
        assert tuple(PARAMETERS[name]["choices"]) == choices


def test_every_bound_of_the_reference_is_a_meaningful_value() -> None:
    for name, parameter in PARAMETERS.items():
        for value in [parameter[key] for key in ("low", "high") if key in parameter] + parameter.get("choices", []):
            assert getattr(Config(**{name: value}), name) == value


def test_presets_set_known_parameters_within_bounds() -> None:
    for task in TRAINERS["resnet9"].tasks.values():
        Config.from_values({**dataclasses.asdict(Config()), **task.values})


def test_integers_serve_where_numbers_are_wanted() -> None:
    assert Config.from_values({**dataclasses.asdict(Config()), "dropout": 0, "width": 1}).width == 1.0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"learning_rates": 0.1}, "unknown parameter 'learning_rates'"),
        ({"learning_rate": "0.1"}, "learning_rate = '0.1': must be of type float"),
        ({"learning_rate": True}, "learning_rate = True: must be of type float"),
        ({"learning_rate": float("nan")}, "learning_rate = nan: must be above 0"),
        ({"learning_rate": -0.1}, "must be above 0"),
        ({"train_batch_size": 32.0}, "train_batch_size = 32.0: must be of type int"),
        ({"train_batch_size": 0}, "at least 1"),
        ({"nesterov": 1}, "nesterov = 1: must be of type bool"),
        ({"optimizer": "adamw"}, "allowed: adam, sgd"),
        ({"momentum": 1.0}, "momentum = 1.0"),
        ({"label_smoothing": 1.0}, "label_smoothing = 1.0"),
    ],
)
def test_what_has_no_meaning_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(BadConfig) as caught:
        Config.from_values({**dataclasses.asdict(Config()), **changed})
    assert message in str(caught.value)


def test_all_problems_are_told_at_once_with_the_valid_names() -> None:
    with pytest.raises(BadConfig) as caught:
        Config.from_values({"learning_rate": "x", "speed": 1})
    text = str(caught.value)
    assert "unknown parameter 'speed'" in text and "missing parameter 'optimizer'" in text and "'x'" in text
    assert "parameters: optimizer, learning_rate, train_batch_size" in text


def test_reading_settings_needs_no_torch() -> None:
    code = "import sys, trainers.resnet9.config; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_every_parameter_and_data_key_is_in_the_document() -> None:
    from trainers.resnet9.options import KEYS

    text = (ROOT / "doc" / "resnet9.md").read_text()
    names = [*PARAMETERS, *{key for keys in KEYS.values() for key in keys}]
    assert [name for name in names if f"`{name}`" not in text] == []
