"""The configuration and the shipped reference say the same, and nothing else gets through."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.reference import load_reference
from trainers.contract import BadConfig
from trainers.nnunet import config as module
from trainers.nnunet.config import CHOICES, Config

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "doc" / "hyperparameter_reference" / "nnunet.json"
PARAMETERS: dict[str, Any] = json.loads(SHIPPED.read_text())["parameters"]


def documented() -> dict[str, str]:
    """Field -> the text under it."""
    tree = ast.parse(inspect.getsource(module))
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Config")
    found = {}
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            assert isinstance(field.target, ast.Name) and isinstance(text.value, ast.Constant)
            found[field.target.id] = " ".join(str(text.value.value).split())
    return found


def test_the_reference_is_valid_and_what_costs_a_plan_or_a_budget_is_not_tuned() -> None:
    reference = load_reference(SHIPPED)
    assert reference.trainer == "nnunet" and reference.objective.metric == "Dice"
    fixed = {name for name, parameter in PARAMETERS.items() if not parameter.get("tune", True)}
    assert {"configuration", "plans", "num_epochs", "width", "compile"} <= fixed
    assert {"initial_lr", "oversample_foreground_percent", "weight_ce", "p_rotation", "mirroring"}.isdisjoint(fixed)


def test_fields_defaults_and_descriptions_equal_the_reference() -> None:
    assert {name: p["default"] for name, p in PARAMETERS.items()} == dataclasses.asdict(Config())
    assert {name: p["description"] for name, p in PARAMETERS.items()} == documented()
    assert list(PARAMETERS) == [field.name for field in dataclasses.fields(Config)]
    for name, choices in CHOICES.items():
        assert tuple(PARAMETERS[name]["choices"]) == choices


def test_every_bound_of_the_reference_is_a_meaningful_value() -> None:
    for name, parameter in PARAMETERS.items():
        for value in [parameter[key] for key in ("low", "high") if key in parameter] + parameter.get("choices", []):
            assert getattr(Config(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"learning_rate": 0.1}, "unknown parameter 'learning_rate'"),
        ({"initial_lr": "0.1"}, "initial_lr = '0.1': must be of type float"),
        ({"initial_lr": float("nan")}, "initial_lr = nan: must be above 0"),
        ({"batch_size": 0}, "batch_size = 0: must be planned or a whole number from 1"),
        ({"batch_size": "many"}, "batch_size = 'many'"),
        ({"batch_size": True}, "batch_size = True: must be of type int | str"),
        ({"patch_size": "16,16"}, "patch_size = '16,16': must be planned, or two or three sides as 40x56x40"),
        ({"patch_size": "16"}, "patch_size = '16'"),
        ({"optimizer": "adamw"}, "allowed: SGD, AdamW"),
        ({"momentum": 1.0}, "momentum = 1.0"),
        ({"p_gamma": 1.5}, "p_gamma = 1.5: must be from 0 to 1"),
        ({"weight_ce": 0, "weight_dice": 0}, "nothing to minimize"),
        ({"max_stages": 1}, "max_stages = 1: must be at least 2"),
    ],
)
def test_what_has_no_meaning_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(BadConfig) as caught:
        Config.from_values({**dataclasses.asdict(Config()), **changed})
    assert message in str(caught.value)


def test_all_problems_are_told_at_once_with_the_valid_names() -> None:
    with pytest.raises(BadConfig) as caught:
        Config.from_values({"initial_lr": "x", "speed": 1})
    text = str(caught.value)
    assert "unknown parameter 'speed'" in text and "missing parameter 'optimizer'" in text and "'x'" in text
    assert "parameters: configuration, plans, optimizer" in text


def test_the_studys_budget_overrides_the_number_of_epochs() -> None:
    values = dataclasses.asdict(Config())
    assert Config.from_values(values).num_epochs == 1000
    assert Config.from_values(values, epochs=50).num_epochs == 50


def test_axes_to_mirror_must_exist() -> None:
    assert Config(mirroring="all").mirror_axes(3) == (0, 1, 2)
    assert Config(mirroring="none").mirror_axes(3) == ()
    assert Config(mirroring="0,2").mirror_axes(3) == (0, 2)
    with pytest.raises(BadConfig, match="has 2 axes; allowed: all, none, 0, 1"):
        Config(mirroring="0,2", configuration="2d").mirror_axes(2)


def test_reading_settings_and_accumulating_need_neither_torch_nor_numpy() -> None:
    code = (
        "from trainers.nnunet import accumulate, config, plans, prepare, where\n"
        "import sys\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_every_parameter_and_data_key_is_in_the_document() -> None:
    from trainers.registry import TRAINERS

    text = (ROOT / "doc" / "nnunet.md").read_text()
    names = [*PARAMETERS, *(TRAINERS["nnunet"].data_keys or {})]
    assert [name for name in names if f"`{name}`" not in text] == []
