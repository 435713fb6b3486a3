"""`roundtable propose`: ask and tell for programs in any language."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from agent.__main__ import main

SPACE: dict[str, Any] = {
    "goal": "maximize",
    "parameters": [
        {"name": "lambda", "type": "float", "low": 1e-5, "high": 0.1, "log": True, "default": 0.001},
        {"name": "größe in px", "type": "int", "low": 1, "high": 8, "default": 2},
        {"name": "batch", "type": "categorical", "choices": [32, 64, 128], "ordered": True, "default": 64},
        {"name": "opt", "type": "categorical", "choices": ["adam", "sgd"], "default": "adam"},
        {
            "name": "momentum",
            "type": "float",
            "low": 0,
            "high": 0.99,
            "default": 0.9,
            "condition": {"parent": "opt", "values": ["sgd"]},
        },
    ],
}
DEFAULT = {"lambda": 0.001, "größe in px": 2, "batch": 64, "opt": "adam"}


def asked(folder: Path, out: Any, space: Any = None, history: Any = None, *more: str) -> tuple[int, list[Any], str]:
    """(exit code, the list on the last line, what was said on standard error)."""
    (folder / "space.json").write_text(json.dumps(SPACE if space is None else space))
    arguments = ["propose", "--space", str(folder / "space.json"), *more]
    if history is not None:
        (folder / "history.json").write_text(json.dumps(history))
        arguments += ["--history", str(folder / "history.json")]
    code = main(arguments)
    said = out.readouterr()
    lines = said.out.splitlines()
    return code, json.loads(lines[-1]) if lines else [], said.err


def score(config: dict[str, Any]) -> float:
    return -((math.log10(config["lambda"]) + 2) ** 2) - abs(config["batch"] - 128) / 64 + (config["opt"] == "sgd")


def test_the_default_comes_first_and_settings_get_better(tmp_path: Path, capsys: Any) -> None:
    trials: list[dict[str, Any]] = []
    for number in range(6):
        code, made, _ = asked(tmp_path, capsys, None, {"trials": trials}, "-k", "4", "--seed", str(number))
        assert code == 0 and len(made) == 4
        trials += [{"config": config, "value": score(config), "status": "ok"} for config in made]
    assert trials[0]["config"] == DEFAULT
    for trial in trials:
        config = trial["config"]
        assert ("momentum" in config) == (config["opt"] == "sgd")
        assert type(config["größe in px"]) is int and config["batch"] in (32, 64, 128)
    assert max(trial["value"] for trial in trials) > 0.9
    assert len({json.dumps(trial["config"], sort_keys=True) for trial in trials}) == len(trials)


def test_the_same_call_gives_the_same_answer(tmp_path: Path, capsys: Any) -> None:
    history = {"trials": [{"config": DEFAULT, "value": 0.5}]}
    first = asked(tmp_path, capsys, None, history, "-k", "3", "--seed", "5")
    assert asked(tmp_path, capsys, None, history, "-k", "3", "--seed", "5") == first
    assert asked(tmp_path, capsys, None, history, "-k", "3", "--seed", "6") != first


def test_failed_pending_uncertain_and_partial_trials_are_read(tmp_path: Path, capsys: Any) -> None:
    trials = [
        {"config": DEFAULT, "value": 0.5, "stderr": 0.01},
        {"config": DEFAULT | {"batch": 32}, "status": "failed"},
        {"config": DEFAULT | {"batch": 128}, "status": "pending"},
        {"config": DEFAULT | {"lambda": 0.01}, "value": 0.7, "fidelity": 0.1, "stderr": 0.2},
        {"config": DEFAULT | {"lambda": 0.02}, "value": float("nan")},
    ]
    code, made, _ = asked(tmp_path, capsys, None, {"trials": trials}, "-k", "4")
    assert code == 0 and len(made) == 4
    assert not [config for config in made if config in [trial["config"] for trial in trials]]


def test_a_space_that_is_used_up_is_told(tmp_path: Path, capsys: Any) -> None:
    space = {"parameters": [{"name": "x", "type": "int", "low": 1, "high": 3}]}
    code, made, said = asked(tmp_path, capsys, space, None, "-k", "5")
    assert code == 0 and sorted(config["x"] for config in made) == [1, 2, 3] and "3 of 5" in said
    trials = [{"config": config, "value": 1.0} for config in made]
    code, made, said = asked(tmp_path, capsys, space, {"trials": trials}, "-k", "1")
    assert (code, made) == (2, []) and "no configuration is left" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parameters": []}, "at least one parameter"),
        ({"parameters": [{"name": "a", "type": "flaot"}]}, "type is 'flaot': must be one of float, int, categorical"),
        ({"parameters": [{"name": "a", "type": "float", "low": 2, "high": 1}]}, "low must be below high"),
        ({"parameters": [{"name": "a", "type": "float", "low": 0, "high": 1, "log": True}]}, "above 0"),
        ({"parameters": [{"name": "a", "type": "int", "low": 0, "high": 1, "step": 2}]}, "unknown key 'step'"),
        ({"parameters": [{"name": "a", "type": "int", "low": 0, "high": 1.5}]}, "whole numbers"),
        ({"parameters": [{"name": "a", "type": "categorical", "choices": ["x", "x"]}]}, "there twice"),
        ({"parameters": SPACE["parameters"][:1] * 2}, "'lambda': is there twice"),
        ({"parameters": SPACE["parameters"][4:]}, "parent 'opt' is no parameter before it"),
        ({"goal": "max"}, "goal is 'max': must be one of minimize, maximize"),
        ({"parameters": [{**SPACE["parameters"][1], "default": 9}]}, "9 of 'größe in px' is not from 1 to 8"),
    ],
)
def test_a_bad_space_is_refused_by_name(tmp_path: Path, capsys: Any, change: Any, said: str) -> None:
    code, made, error = asked(tmp_path, capsys, SPACE | change)
    assert (code, made) == (2, []) and said in error and "space.json" in error


@pytest.mark.parametrize(
    ("trial", "said"),
    [
        ({"config": {**DEFAULT, "lr": 1}, "value": 1}, "'lr' is no parameter of"),
        ({"config": {**DEFAULT, "opt": "adamw"}, "value": 1}, "'adamw' is none of the choices of 'opt'"),
        ({"config": {**DEFAULT, "opt": "sgd"}, "value": 1}, "'momentum' takes effect there and has no value"),
        ({"config": DEFAULT, "value": "0.5"}, "value is '0.5': must be a number"),
        ({"config": DEFAULT}, "value is None"),
        ({"config": DEFAULT, "value": 1, "state": "ok"}, "unknown key 'state'"),
        ({"config": DEFAULT, "value": 1, "status": "done"}, "must be one of ok, failed, pending"),
        ({"value": 1}, "config: must be an object"),
        (7, "must be an object"),
    ],
)
def test_a_bad_trial_is_refused_by_name(tmp_path: Path, capsys: Any, trial: Any, said: str) -> None:
    code, made, error = asked(tmp_path, capsys, None, {"trials": [trial]})
    assert (code, made) == (2, []) and said in error and "trials[0]" in error
