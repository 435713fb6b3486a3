"""What a reference asks of a trainer is held against what the trainer can do."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from trainers.fit import Asked, Fit, Limit, Ruling, meant
from trainers.registry import TRAINERS, fitter

REFERENCES = Path(__file__).parents[2] / "doc" / "hyperparameter_reference"


def shipped(name: str) -> dict[str, Asked]:
    raw: dict[str, Any] = json.loads((REFERENCES / f"{name}.json").read_text())
    return {name: asked(**entry) for name, entry in raw["parameters"].items()}


def asked(**entry: Any) -> Asked:
    kept = {key: entry[key] for key in ("type", "low", "high", "default", "active_value") if key in entry}
    return Asked(**kept, choices=tuple(entry.get("choices", ())), tuned=entry.get("tune", True))


def ask(name: str, **changed: Any) -> Fit:
    """What a shipped trainer says of its own reference with some entries changed; None: without it."""
    raw = {**json.loads((REFERENCES / f"{name}.json").read_text())["parameters"]}
    for parameter, entry in changed.items():
        raw[parameter] = None if entry is None else {**raw.get(parameter, {}), **entry}
    space = {parameter: asked(**entry) for parameter, entry in raw.items() if entry is not None}
    found = fitter(TRAINERS[name])
    assert found is not None
    return found(space, task="", data=None, folds=1, description=None)


@pytest.mark.parametrize("name", TRAINERS)
def test_a_shipped_reference_asks_for_nothing_that_its_trainer_cannot_do(name: str) -> None:
    assert ask(name) == Fit()


@pytest.mark.parametrize(
    ("name", "changed", "messages"),
    [
        ("resnet9", {"optimizer": {"choices": ["adam", "sgd", "rmsprop"]}}, ["cannot do this; allowed: adam, sgd"]),
        ("resnet9", {"optimizer": {"choices": ["Adam", "sgd"]}}, ["allowed: adam, sgd; did you mean adam?"]),
        ("informer", {"optimizer": {"choices": ["adam"], "default": "adam"}}, ["did you mean Adam?"]),
        ("nnunet", {"optimizer": {"choices": ["sgd", "SGD"]}}, ["did you mean SGD?"]),
        ("nnunet", {"configuration": {"active_value": "3d_lowres"}}, ["allowed: 2d, 3d_fullres"]),
        ("informer", {"scheduler": {"active_value": "cosine"}}, ["did you mean CosineAnnealingLR?"]),
        ("resnet9", {"learning_rate": {"low": 0.0}}, ["cannot use this; it must be above 0"]),
        ("resnet9", {"dropout": {"high": 1.0}}, ["must be from 0 to below 1"]),
        ("resnet9", {"train_batch_size": {"choices": [128, 64.5]}}, ["needs a value of type int here"]),
        ("resnet9", {"train_batch_size": {"active_value": 128.0}}, ["type int here; write 128"]),
        ("resnet9", {"nesterov": {"type": "categorical", "choices": [1, True]}}, ["needs a value of type bool"]),
        (
            "nnunet",
            {"batch_size": {"choices": ["planned", "auto", 0]}},
            ["planned or a whole number from 1"] * 2,
        ),
        ("nnunet", {"patch_size": {"choices": ["planned", "48,48,48"]}}, ["two or three sides as 40x56x40"]),
        ("resnet9", {"learningrate": {"type": "float", "default": 0.1}}, ["did you mean learning_rate?"]),
        ("resnet9", {"zoom": {"type": "float", "default": 0.1}}, ["has no such parameter (it has: optimizer"]),
        ("resnet9", {"momentum": None}, ["is missing: resnet9 needs it"]),
    ],
)
def test_what_a_trainer_cannot_do_is_refused_with_what_it_can(
    name: str, changed: dict[str, Any], messages: list[str]
) -> None:
    refused = ask(name, **changed).refused
    assert len(refused) == len(messages)
    for refusal, message in zip(refused, messages, strict=True):
        assert message in refusal.message and refusal.parameter == next(iter(changed))


@pytest.mark.parametrize(
    ("text", "allowed", "found"),
    [
        ("Adam", ("adam", "sgd"), "adam"),
        ("ADAM_W", ("SGD", "AdamW"), "AdamW"),
        ("3D-fullres", ("2d", "3d_fullres"), "3d_fullres"),
        ("3d_lowres", ("2d", "3d_fullres"), None),
        ("rmsprop", ("adam", "sgd"), None),
        ("smoothl1", ("MSE", "L1", "SmoothL1"), "SmoothL1"),
        (1, ("adam",), None),
    ],
)
def test_another_spelling_is_taken_for_what_is_meant_and_nothing_else_is(
    text: object, allowed: tuple[str, ...], found: str | None
) -> None:
    assert meant(text, allowed) == found


def test_what_the_data_rules_out_is_taken_away_held_or_refused() -> None:
    space = {
        "kind": Asked(type="categorical", choices=("a", "b", "c"), default="a"),
        "two": Asked(type="categorical", choices=("a", "b"), default="a"),
        "own": Asked(type="categorical", choices=("a", "b", "c"), default="a", active_value="b"),
        "still": Asked(type="categorical", choices=("a", "b"), default="a", tuned=False),
        "stock": Asked(type="categorical", choices=("a", "b"), default="b", tuned=False),
        "power": Asked(type="float", low=0.0, high=1.0, default=0.0),
        "long": Asked(type="int", low=10, high=100, default=20),
        "flag": Asked(type="bool", default=False),
    }
    ruling = Ruling(space)
    for name in ("kind", "absent"):
        ruling.only(name, lambda value: value != "c", "no c", "take another")
    for name in ("two", "own", "still", "stock"):
        ruling.only(name, lambda value: value == "a", "only a", "take a")
    ruling.only("power", lambda value: value == 0, "no power", "set it to 0")
    ruling.only("flag", lambda value: value is False, "no flag", "set it to false")
    ruling.at_most("long", 30, "too long", "take less")
    fit = ruling.fit()
    assert fit.limits == {
        "kind": Limit(reason="no c", choices=("a", "b")),
        "two": Limit(reason="only a"),
        "stock": Limit(reason="only a", value="a"),
        "power": Limit(reason="no power"),
        "flag": Limit(reason="no flag"),
        "long": Limit(reason="too long", high=30),
    }
    (refused,) = fit.refused
    assert (refused.parameter, refused.key, refused.value, refused.message) == (
        "own",
        "active_value",
        "b",
        "only a; take a",
    )


@pytest.mark.train
@pytest.mark.parametrize("name", TRAINERS)
def test_the_registry_knows_what_a_trainer_measures(name: str) -> None:
    trainer = TRAINERS[name]
    assert dict(importlib.import_module(trainer.module).DIRECTIONS) == dict(trainer.metrics)
