"""The configuration and the shipped reference say the same, and nothing else gets through."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from informer_cases import ROOT

from agent.reference import load_reference
from tests.trainers.trial_cases import documented
from trainers.contract import BadConfig, Value
from trainers.informer import config as module
from trainers.informer.config import CHOICES, Config
from trainers.informer.options import TYPES
from trainers.registry import TRAINERS, personal_data

SHIPPED = ROOT / "doc" / "hyperparameter_reference" / "informer.json"
PARAMETERS: dict[str, Any] = json.loads(SHIPPED.read_text())["parameters"]
PROMISED = (
    "lr", "weight_decay", "dropout", "batch_size", "d_model", "n_heads", "e_layers", "d_layers", "d_ff", "factor",
    "optimizer", "scheduler", "criterion",
)  # fmt: skip


def test_the_reference_is_valid_and_tunes_what_was_promised() -> None:
    reference = load_reference(SHIPPED)
    assert reference.trainer == "informer" and str(reference.objective.metric) == "val_mse"
    assert reference.tunable()[: len(PROMISED)] == PROMISED
    assert set(reference.tunable()[len(PROMISED) :]) == {"attention", "distil", "embedding", "normalization"}


def test_fields_defaults_and_descriptions_equal_the_reference() -> None:
    assert {name: p["default"] for name, p in PARAMETERS.items()} == dataclasses.asdict(Config())
    assert {name: p["description"] for name, p in PARAMETERS.items()} == documented(module)
    assert list(PARAMETERS) == [field.name for field in dataclasses.fields(Config)]
    for name, choices in CHOICES.items():
        assert tuple(PARAMETERS[name]["choices"]) == choices


def test_the_defaults_are_the_papers() -> None:
    paper = {
        "seq_len": 96, "label_len": 48, "d_model": 512, "n_heads": 8, "e_layers": 2, "d_layers": 1, "d_ff": 2048,
        "factor": 5, "dropout": 0.05, "optimizer": "Adam", "lr": 1e-4, "scheduler": "halving", "batch_size": 32,
        "patience": 3, "criterion": "MSE", "attention": "prob", "distil": True, "embedding": "timeF",
        "normalization": "none", "activation": "gelu", "weight_decay": 0.0,
    }  # fmt: skip
    defaults = dataclasses.asdict(Config())
    assert {name: defaults[name] for name in paper} == paper
    assert {preset.epochs for preset in TRAINERS["informer"].tasks.values()} == {6}


def test_every_parameter_has_an_impact_and_each_kind_of_step_has_tuned_ones() -> None:
    tuned: dict[str, int] = {}
    for parameter in PARAMETERS.values():
        assert parameter["impact"] in ("small", "medium", "radical") and parameter["group"]
        tuned[parameter["impact"]] = tuned.get(parameter["impact"], 0) + parameter.get("tune", True)
    assert all(tuned[impact] >= 3 for impact in ("small", "medium", "radical"))


def test_every_bound_of_the_reference_is_a_meaningful_value() -> None:
    for name, parameter in PARAMETERS.items():
        for value in [parameter[key] for key in ("low", "high") if key in parameter] + parameter.get("choices", []):
            fitting = {"seq_len": 1536} if name == "label_len" else {"label_len": 0} if name == "seq_len" else {}
            assert getattr(Config(**{name: value, **fitting}), name) == value  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "messages"),
    [
        ({"learning_rate": 0.1}, ["unknown parameter 'learning_rate'", "parameters: lr, weight_decay"]),
        ({"lr": "0.1"}, ["lr = '0.1': must be of type float"]),
        ({"lr": float("nan")}, ["lr = nan: must be above 0"]),
        ({"batch_size": 32.0}, ["must be of type int"]),
        ({"distil": 1}, ["distil = 1: must be of type bool"]),
        ({"optimizer": "adam"}, ["allowed: Adam, AdamW, SGD"]),
        ({"d_model": 7, "n_heads": 7}, ["d_model = 7: must be even"]),
        ({"d_model": 64, "n_heads": 6}, ["d_model = 64: must be a multiple of n_heads = 6"]),
        ({"label_len": 97}, ["label_len = 97: must be at most seq_len = 96"]),
        ({"dropout": 1.0}, ["dropout = 1.0"]),
        ({"gamma": 0.0}, ["gamma = 0.0: must be above 0 and at most 1"]),
        ({"d_model": 64, "n_heads": 6, "label_len": 97}, ["d_model = 64", "label_len = 97"]),
    ],
)
def test_what_has_no_meaning_is_refused(changed: dict[str, Any], messages: list[str]) -> None:
    with pytest.raises(BadConfig) as caught:
        Config.from_values({**dataclasses.asdict(Config()), **changed})
    for message in messages:
        assert message in str(caught.value)


def test_the_registry_knows_the_keys_of_data_and_their_types() -> None:
    keys = TRAINERS["informer"].data_keys
    assert keys is not None
    kinds = {"path": str, "text": str, "int": int, "float": float, "bool": bool}
    assert {name: kinds[key.kind] for name, key in keys.items()} == TYPES


def test_texts_of_a_fixed_set_are_no_names_to_hide_from_language_models() -> None:
    data: dict[str, Value] = {
        "path": "/data/plant.csv",
        "target": "OT",
        "features": "MS",
        "fill": "none",
        "freq": "1h",
    }
    assert personal_data("informer", data) == {"path": "/data/plant.csv", "target": "OT"}
    assert personal_data("brought", data) == data


def test_every_parameter_and_data_key_is_in_the_document() -> None:
    text = (ROOT / "doc" / "informer.md").read_text()
    assert [name for name in [*PARAMETERS, *TYPES] if f"`{name}`" not in text] == []
