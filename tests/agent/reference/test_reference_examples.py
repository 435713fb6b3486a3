"""A reference by example: reading files, effective values, proposals, rewrites, differences."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.errors import InvalidReference, UsageError
from agent.reference import (
    Objective,
    Reference,
    as_successor,
    canonical,
    check_reference,
    check_values,
    config_key,
    describe,
    diff,
    for_study,
    load_reference,
    parse_reference,
    with_values,
)
from agent.reference.keys import CHANGE, CONSTRAINT, HEADER, OBJECTIVE, PARAMETER, misspelled

ROOT = Path(__file__).parents[3]
RAW: dict[str, Any] = {
    "$schema": "hyperparameter_reference.schema.json",
    "schema_version": 1,
    "trainer": "transformer",
    "objective": {"metric": "val_loss", "direction": "minimize", "x_why": "Verlust"},
    "parameters": {
        "optimizer": {
            "type": "categorical",
            "choices": ["sgd", "adam"],
            "default": "sgd",
            "description": "Optimizer.",
        },
        "nesterov": {
            "type": "bool",
            "default": True,
            "active_value": False,
            "description": "Nesterov's momentum.",
            "condition": "momentum > 0",
        },
        "momentum": {
            "type": "float",
            "low": 0,
            "high": 0.9,
            "step": 0.1,
            "default": 0.9,
            "description": "Momentum.",
            "condition": "optimizer == 'sgd'",
            "owner": "größe ✓",
        },
        "learning_rate": {
            "type": "float",
            "low": 1e-4,
            "high": 0.1,
            "log": True,
            "default": 0.01,
            "active_value": 0.02,
            "description": "Step size.",
            "unit": "1/step",
        },
        "d_model": {"type": "int", "low": 16, "high": 64, "step": 16, "default": 32, "description": "Width."},
        "n_heads": {"type": "int", "low": 1, "high": 8, "default": 4, "description": "Heads.", "impact": "medium"},
        "epochs": {"type": "int", "low": 1, "high": 100, "default": 10, "description": "Epochs.", "tune": False},
    },
    "constraints": [
        {"expression": "d_model % n_heads == 0", "message": "d_model must be divisible by n_heads"},
        {"expression": "momentum * learning_rate <= 0.05", "message": "too fast", "x_from": "experience"},
    ],
}


@pytest.fixture
def raw() -> dict[str, Any]:
    return copy.deepcopy(RAW)


@pytest.fixture
def reference(raw: dict[str, Any]) -> Reference:
    return parse_reference(raw, file="reference.json")


def places(problems: Any) -> list[str]:
    return [problem.where for problem in problems]


# Reading


def test_what_a_reference_says(reference: Reference) -> None:
    assert reference.objective == Objective(metric="val_loss", direction="minimize")
    assert (reference.task, reference.round, reference.version) == (None, 0, 1)
    assert reference.values()["nesterov"] is False and reference.values()["learning_rate"] == 0.02
    assert list(reference.effective()) == list(RAW["parameters"])
    assert reference.tunable() == tuple(name for name in RAW["parameters"] if name != "epochs")
    assert reference.sha256 == hashlib.sha256(reference.to_text().encode()).hexdigest()
    assert reference.to_text() == json.dumps(RAW, indent=2, ensure_ascii=False) + "\n"
    assert reference.parameters["learning_rate"].allowed == "a number from 0.0001 to 0.1, log scale 1/step"
    assert isinstance(reference.parameters["momentum"].low, float)


def test_a_parameter_with_an_inactive_parent_is_inactive(reference: Reference) -> None:
    # nesterov reads momentum, which comes behind it in the file and is itself inactive under adam.
    active = reference.effective({"optimizer": "adam"})
    assert "momentum" not in active and "nesterov" not in active
    assert reference.is_active("nesterov")
    assert not reference.is_active("nesterov", {"momentum": 0.0})
    with pytest.raises(UsageError, match="unknown parameter 'nestrov'; parameters: optimizer, nesterov"):
        reference.is_active("nestrov")
    with pytest.raises(UsageError, match="unknown parameter nestrov"):
        reference.effective({"nestrov": True})


def test_all_problems_come_at_once(raw: dict[str, Any]) -> None:
    parameters = raw["parameters"]
    raw["schema_version"] = 2
    raw["objective"]["direction"] = "min"
    del parameters["optimizer"]["default"]
    parameters["momentum"]["condition"] = "optimiser == 'sgd'"
    parameters["learning_rate"] |= {"low": 0, "active_value": "fast"}
    parameters["d_model"]["active_value"] = 33
    parameters["n_heads"]["impact"] = "large"
    parameters["epochs"]["defalt"] = 3
    raw["constraints"][0]["expression"] = "d_model % heads == 0"
    with pytest.raises(InvalidReference) as caught:
        parse_reference(raw, file="mine.json")
    assert sorted(places(caught.value.problems)) == sorted(
        [
            "schema_version",
            "objective.direction",
            "parameters.optimizer.default",
            "parameters.momentum.condition",
            "parameters.learning_rate.low",
            "parameters.learning_rate.active_value",
            "parameters.d_model.active_value",
            "parameters.n_heads.impact",
            "parameters.epochs.defalt",
            "constraints[0].expression",
        ]
    )
    message = str(caught.value)
    assert (
        "mine.json: parameters.d_model.active_value = 33: allowed: an integer from 16 to 64 in steps of 16" in message
    )
    assert 'mine.json: objective.direction = "min": allowed: minimize, maximize' in message
    assert "parameters: optimizer, nesterov, momentum, learning_rate, d_model, n_heads, epochs" in message
    assert message.endswith("restore an earlier version of the reference.")


def test_circles_are_named(raw: dict[str, Any]) -> None:
    raw["parameters"]["optimizer"]["condition"] = "nesterov"
    raw["parameters"]["d_model"]["condition"] = "n_heads > 1"
    raw["parameters"]["n_heads"]["condition"] = "d_model > 1"
    problems = check_reference(raw, file="r")
    assert len(problems) == 2 and all("conditions run in a circle" in p.message for p in problems)
    assert any({"optimizer", "nesterov", "momentum"} <= set(re.findall(r"\w+", p.message)) for p in problems)


def test_a_long_chain_of_conditions_is_no_trouble(raw: dict[str, Any]) -> None:
    chain = {f"p{i}": {"type": "bool", "default": True, "description": "d"} for i in range(1000)}
    for i in range(1, 1000):
        chain[f"p{i}"]["condition"] = f"p{i - 1}"
    raw |= {"parameters": chain, "constraints": []}
    reference = parse_reference(raw, file="r")
    assert len(reference.effective()) == 1000 and len(reference.effective({"p1": False})) == 2


def test_huge_files_are_refused_early(raw: dict[str, Any]) -> None:
    entry = {"type": "bool", "default": True, "description": "d", "condition": "stranger"}
    many = raw | {"parameters": {f"p{i}": entry for i in range(1001)}, "constraints": []}
    assert [str(problem) for problem in check_reference(many, file="r")] == [
        "r: parameters: has 1001 parameters; at most 1000 are allowed"
    ]
    raw["parameters"]["optimizer"]["choices"] = ["sgd", *range(1000)]
    raw["constraints"] = [{"expression": "n_heads > 0", "message": "m"}] * 1001
    assert places(check_reference(raw, file="r")) == ["parameters.optimizer.choices", "constraints"]


def test_a_violated_constraint_is_told_with_the_values(raw: dict[str, Any]) -> None:
    raw["parameters"]["n_heads"]["active_value"] = 5
    (problem,) = check_reference(raw, file="r")
    assert problem.where == "constraints[0]"
    assert problem.message == "d_model must be divisible by n_heads (d_model = 32, n_heads = 5)"


def test_a_constraint_that_cannot_be_evaluated_is_a_problem(raw: dict[str, Any]) -> None:
    raw["constraints"] = [{"expression": "1 / (n_heads - 4) > 0", "message": "m"}]
    (problem,) = check_reference(raw, file="r")
    assert problem.where == "constraints[0]" and "divides by zero (1 and 0)" in problem.message
    raw["constraints"] = [{"expression": "n_heads + 4", "message": "m"}]
    (problem,) = check_reference(raw, file="r")
    assert "gives 8; it must be true or false" in problem.message


def test_the_ends_of_the_doubles(raw: dict[str, Any]) -> None:
    raw["parameters"]["huge"] = {"type": "float", "low": -1.7e308, "high": 1.7e308, "default": 0, "description": "d"}
    assert places(check_reference(raw, file="r")) == ["parameters.huge.high"]
    raw["parameters"]["huge"] |= {"low": 0}
    reference = parse_reference(raw, file="r")
    assert canonical(reference, {"huge": 1.7e308})["huge"] == 1.7e308
    raw["parameters"]["huge"] |= {"high": sys.float_info.max}
    reference = parse_reference(raw, file="r")
    assert canonical(reference, {"huge": sys.float_info.max})["huge"] == sys.float_info.max
    raw["parameters"]["huge"] |= {"high": 1e-300}
    assert canonical(parse_reference(raw, file="r"), {"huge": 1e-301})["huge"] == 1e-301


def test_keys_that_no_file_can_hold(raw: dict[str, Any]) -> None:
    raw[3], raw["x_\ud800"], raw["x_set"] = 1, 2, {1, 2}
    problems = check_reference(raw, file="r")
    assert places(problems) == ["3", "'x_\\ud800'", "x_set"]
    assert "is a set, which JSON cannot hold" in problems[2].message


def test_a_constraint_on_an_inactive_parameter_does_not_apply(raw: dict[str, Any]) -> None:
    raw["parameters"]["learning_rate"]["active_value"] = 0.1
    assert places(check_reference(raw, file="r")) == ["constraints[1]"]
    raw["parameters"]["optimizer"]["active_value"] = "adam"
    assert check_reference(raw, file="r") == []


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("active_values", "active_value"),
        ("ActiveValue", "active_value"),
        ("acitve-value", "active_value"),
        ("lwo", "low"),
        ("min", "low"),
        ("choise", "choices"),
        ("choicse", "choices"),
        ("x_low", None),
        ("owner", None),
        ("paper", None),
    ],
)
def test_slips_are_told_from_notes(key: str, meant: str | None) -> None:
    assert misspelled(key, PARAMETER) == meant


# Files


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "reference.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1 column 1: not JSON"),
        (b'{"a": 1 2}', "line 1 column 9: not JSON"),
        (b'{\n "a": 1\n', "the file ends there: is it cut off?"),
        (b'{"a": "\xff"}', "line 1: not UTF-8"),
        (b"[]", "file = []: must be a JSON object with the keys schema_version, trainer"),
        (b'"text"', "must be a JSON object"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"x_a": ' + b"[" * 60 + b"]" * 60 + b"}", "nested more than 50 levels deep"),
        (b'{"x_a": ' + b"9" * 5000 + b"}", "not usable JSON"),
        (b'{"x_a": "\\ud800"}', "x_a = \"'\\\\ud800'\": holds half a surrogate pair"),
        (b" " * (4 * 2**20 + 1), "larger than 4 MiB"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(InvalidReference) as caught:
        load_reference(path)
    assert message in str(caught.value) and str(caught.value).startswith(str(path))
    assert path.read_bytes() == content


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidReference, match="no such file; `roundtable init` writes one"):
        load_reference(tmp_path / "missing.json")
    with pytest.raises(InvalidReference, match="not a regular file"):
        load_reference(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidReference, match="not a regular file"):
        load_reference(tmp_path / "pipe")
    with pytest.raises(InvalidReference, match="cannot be read"):
        load_reference(tmp_path / ("n" * 300))


def test_layout_and_byte_order_mark_do_not_count(tmp_path: Path, reference: Reference) -> None:
    loaded = load_reference(write(tmp_path, b"\xef\xbb\xbf" + json.dumps(RAW).encode()))
    assert loaded == reference and loaded.sha256 == reference.sha256


# Proposals


@pytest.mark.parametrize(
    ("values", "problems"),
    [
        ({}, []),
        ({"optimizer": "adam", "learning_rate": 0.1}, []),
        ({"momentum": 0.10000000000000004}, []),
        ({"d_model": 48, "n_heads": 3}, []),
        ({"epochs": 10}, []),
        ({"momentum": 0, "learning_rate": 0.1}, []),
        ({"learnig_rate": 0.1}, ["learnig_rate"]),
        ({3: 0.1, "": 1, "a\nb": 2}, ["3", "''", "'a\\nb'"]),
        ({"learning_rate": "0.1"}, ["learning_rate"]),
        ({"learning_rate": True}, ["learning_rate"]),
        ({"learning_rate": float("nan")}, ["learning_rate"]),
        ({"learning_rate": float("inf")}, ["learning_rate"]),
        ({"learning_rate": 10**400}, ["learning_rate"]),
        ({"learning_rate": None}, ["learning_rate"]),
        ({"learning_rate": [0.1]}, ["learning_rate"]),
        ({"learning_rate": 0.1000001, "d_model": 40}, ["learning_rate", "d_model"]),
        ({"momentum": 0.35}, ["momentum"]),
        ({"d_model": 32.0}, ["d_model"]),
        ({"optimizer": "Adam"}, ["optimizer"]),
        ({"optimizer": {"name": "adam"}}, ["optimizer"]),
        ({"nesterov": 1}, ["nesterov"]),
        ({"epochs": 11}, ["epochs"]),
        ({"optimizer": "adam", "momentum": 0.5}, ["momentum"]),
        ({"optimizer": "adam", "nesterov": True}, ["nesterov"]),
        ({"momentum": 0, "nesterov": True}, ["nesterov"]),
        ({"n_heads": 5}, ["constraints[0]"]),
        ({"learning_rate": 0.1}, ["constraints[1]"]),
        # What depends on a refused value is not judged: n_heads may be fine with the width that was meant.
        ({"n_heads": 5, "d_model": "wide"}, ["d_model"]),
        ({"optimizer": "rmsprop", "momentum": 0.5}, ["optimizer"]),
        (None, ["values"]),
        ([("optimizer", "sgd")], ["values"]),
    ],
)
def test_proposals(reference: Reference, values: Any, problems: list[str]) -> None:
    found = check_values(reference, values)
    assert places(found) == problems
    assert all(problem.file == "proposal" for problem in found)
    if isinstance(values, dict) and problems:
        before = reference.to_text()
        with pytest.raises(InvalidReference):
            with_values(reference, values, round=2, version=1, source="llm")
        assert reference.to_text() == before


def test_messages_about_proposals(reference: Reference) -> None:
    values = {"optimzer": "sgd", "epochs": 11, "n_heads": 9}
    assert [str(problem) for problem in check_values(reference, values, file="reply.json")] == [
        'reply.json: optimzer = "sgd": unknown parameter; did you mean optimizer? Parameters: optimizer, nesterov, '
        "momentum, learning_rate, d_model, n_heads, epochs",
        "reply.json: epochs = 11: is not tuned (tune: false) and stays 10; leave it out",
        "reply.json: n_heads = 9: allowed: an integer from 1 to 8",
    ]
    (problem,) = check_values(reference, {"optimizer": "adam", "nesterov": True})
    assert problem.message == "has no effect unless momentum > 0 (momentum is inactive); leave it out"


def test_a_complete_proposal_names_every_active_tunable(reference: Reference) -> None:
    given = {"optimizer": "adam", "learning_rate": 0.01, "d_model": 32}
    assert places(check_values(reference, given, complete=True)) == ["n_heads"]
    assert check_values(reference, given | {"n_heads": 2}, complete=True) == []
    assert check_values(reference, reference.effective(), complete=True) == []


def test_a_condition_that_fails_for_a_proposal_is_a_problem(raw: dict[str, Any]) -> None:
    raw["parameters"]["n_heads"]["condition"] = "1 / (d_model - 16) > 0"
    reference = parse_reference(raw, file="r")
    (problem,) = check_values(reference, {"d_model": 16})
    assert problem.where == "parameters.n_heads.condition" and "divides by zero" in problem.message


# Identity


def test_float_noise_and_inactive_values_do_not_count(reference: Reference) -> None:
    settled = canonical(reference, {"optimizer": "adam", "learning_rate": 0.1 * 0.3})
    assert settled == {"optimizer": "adam", "learning_rate": 0.03, "d_model": 32, "n_heads": 4, "epochs": 10}
    key = config_key(reference, {"optimizer": "adam", "learning_rate": 0.03})
    assert re.fullmatch("[0-9a-f]{16}", key)
    assert config_key(reference, settled | {"momentum": 0.1, "nesterov": True}) == key
    assert config_key(reference, settled | {"learning_rate": 0.03 * (1 + 1e-12)}) == key
    assert config_key(reference, settled | {"learning_rate": 0.03 * (1 + 1e-8)}) != key
    assert config_key(reference, settled | {"epochs": 11}) != key
    assert canonical(reference, {"momentum": 0.1 + 0.2})["momentum"] == 0.3
    assert canonical(reference, {"momentum": -0.0})["momentum"] == 0.0
    assert json.dumps(canonical(reference, {"momentum": 0})["momentum"]) == "0.0"


def test_the_key_is_pinned(reference: Reference) -> None:
    # Keys lie in the journals of studies: another way of computing them would train old configurations again.
    text = '{"d_model":32,"epochs":10,"learning_rate":0.02,"n_heads":4,"optimizer":"adam"}'
    assert config_key(reference, {"optimizer": "adam"}) == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_canonical_values_need_names_and_types(reference: Reference) -> None:
    with pytest.raises(UsageError, match="unknown parameter lr; parameters: optimizer"):
        canonical(reference, {"lr": 0.1})
    with pytest.raises(UsageError, match='n_heads = "4": must be an integer'):
        config_key(reference, {"n_heads": "4"})
    # An old trial outside today's range keeps its key.
    assert canonical(reference, {"n_heads": 16})["n_heads"] == 16
    assert canonical(reference, {"learning_rate": 0.5})["learning_rate"] == 0.5


def bounded_pair(expression: str, *, constraint: bool = False) -> dict[str, Any]:
    """Two floats: y is active while the expression of x holds, or is it a constraint."""
    x: dict[str, Any] = {"type": "float", "low": 0, "high": 1000, "default": 1, "description": "x"}
    y: dict[str, Any] = {"type": "float", "low": 0, "high": 1, "step": 0.1, "default": 0, "description": "y"}
    raw: dict[str, Any] = {"schema_version": 1, "trainer": "t", "objective": {"metric": "m", "direction": "minimize"}}
    if constraint:
        raw["constraints"] = [{"expression": expression, "message": "too large"}]
    else:
        y["condition"] = expression
    return raw | {"parameters": {"x": x, "y": y}}


def test_noise_decides_neither_activity_nor_validity() -> None:
    below = math.nextafter(1.0, 0.0)
    reference = parse_reference(bounded_pair("x < 1"), file="r")
    assert reference.effective({"x": below}) == {"x": below}
    assert config_key(reference, {"x": below}) == config_key(reference, {"x": 1.0})
    # What is written is 1.0: a value for y would be dropped without a word.
    assert [problem.where for problem in check_values(reference, {"x": below, "y": 0.5})] == ["y"]
    # A value with more digits than are kept, moved by that much, stays on its side.
    raw = bounded_pair("x < 1.632812")
    raw["parameters"]["x"]["active_value"] = 1.6328125
    reference = parse_reference(raw, file="r")
    assert canonical(reference) == canonical(reference, canonical(reference)) == {"x": 1.632812}
    limited = parse_reference(bounded_pair("x <= 1", constraint=True), file="r")
    assert check_values(limited, {"x": math.nextafter(1.0, 2.0)}) == []
    assert with_values(limited, {"x": math.nextafter(1.0, 2.0)}, round=2, version=1, source="s").values()["x"] == 1
    (problem,) = check_values(limited, {"x": 1.00001})
    assert problem.message == "too large (x = 1.00001)"


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("x < 1.6328125", "compares x with 1.6328125, but values are rounded first; write 1.632812"),
        ("x == 1.6328125", "compares x with 1.6328125; x is rounded to 1.632812 first; write that"),
        ("0.30000000000000004 >= y", "compares y with 0.30000000000000004, but values are rounded first; write 0.3"),
        ("y in (0.2, 0.25)", "compares y with 0.25; y is a number from 0.0 to 1.0 in steps of 0.1"),
        ("y < 0.25 or x == 5000", ""),
        ("y < 9e299 and -9e299 < x", ""),
    ],
)
def test_a_literal_is_one_that_a_value_can_be(expression: str, message: str) -> None:
    found = check_reference(bounded_pair(expression, constraint=True), file="r")
    assert [p.message for p in found if p.where == "constraints[0].expression"] == ([message] if message else [])


def test_a_literal_far_beyond_a_fine_grid_is_no_overflow() -> None:
    raw = bounded_pair("y < 9e299", constraint=True)
    raw["parameters"]["y"]["step"] = 1e-9
    assert check_reference(raw, file="r") == []


# New versions


def test_a_rewrite_records_what_it_changed(reference: Reference) -> None:
    values = {"optimizer": "adam", "learning_rate": 0.01, "d_model": 32, "n_heads": 8}
    reasons = {"optimizer": "noisy loss", "d_model": "unchanged, so not recorded"}
    new = with_values(reference, values, round=3, version=2, source="llm", reasons=reasons, parent_sha256="a" * 64)
    assert (new.round, new.version, new.source, new.parent_sha256) == (3, 2, "llm", "a" * 64)
    assert [(c.parameter, c.old, c.new, c.source, c.reason) for c in new.changes] == [
        ("optimizer", "sgd", "adam", "llm", "noisy loss"),
        ("nesterov", False, None, "llm", "inactive now: not (momentum > 0)"),
        ("momentum", 0.9, None, "llm", "inactive now: not (optimizer == 'sgd')"),
        ("learning_rate", 0.02, 0.01, "llm", ""),
        ("n_heads", 4, 8, "llm", ""),
    ]
    entries = new.raw["parameters"]
    assert "active_value" not in entries["nesterov"] and "active_value" not in entries["d_model"]
    assert entries["learning_rate"]["active_value"] == 0.01  # the default, but a value was set before
    assert list(entries["n_heads"]) == ["type", "low", "high", "default", "active_value", "description", "impact"]
    assert entries["momentum"]["owner"] == "größe ✓" and new.raw["objective"]["x_why"] == "Verlust"
    assert list(new.raw)[:4] == ["$schema", "schema_version", "trainer", "objective"]
    assert list(new.raw)[4:] == [
        "round",
        "version",
        "parent_sha256",
        "source",
        "changes",
        "parameters",
        "constraints",
    ]


def test_reasons_may_be_one_text_but_not_for_strangers(reference: Reference) -> None:
    new = with_values(reference, {"n_heads": 2}, round=1, version=1, source="person", reasons="by hand")
    assert [change.reason for change in new.changes] == ["by hand"]
    with pytest.raises(InvalidReference, match='reasons: heads = "many": a reason for an unknown parameter'):
        with_values(reference, {"n_heads": 2}, round=1, version=1, source="llm", reasons={"heads": "many"})


def test_noise_does_not_rewrite_what_a_person_wrote(raw: dict[str, Any]) -> None:
    raw["parameters"]["learning_rate"]["active_value"] = 0.012345678901234
    reference = parse_reference(raw, file="r")
    new = with_values(reference, {"learning_rate": 0.0123456789}, round=2, version=1, source="tpe")
    assert new.raw["parameters"] == reference.raw["parameters"] and new.changes == ()


def test_an_edit_and_its_restoration(reference: Reference, raw: dict[str, Any]) -> None:
    del raw["parameters"]["n_heads"], raw["constraints"][0]
    raw["parameters"]["learning_rate"]["high"] = 0.5
    raw["parameters"]["warmup"] = {"type": "int", "low": 0, "high": 9, "default": 3, "description": "Warm-up."}
    edited = as_successor(
        parse_reference(raw, file="r"), parent=reference, round=2, version=1, source="person", reasons="simpler"
    )
    assert edited.parent_sha256 == reference.sha256
    assert [(c.parameter, c.old, c.new) for c in edited.changes] == [("warmup", None, 3), ("n_heads", 4, None)]
    restored = as_successor(reference, parent=edited, round=2, version=2, source="person")
    assert diff(reference, restored) == [] and restored.parent_sha256 == edited.sha256
    assert [(c.parameter, c.old, c.new) for c in restored.changes] == [("n_heads", None, 4), ("warmup", 3, None)]


def test_a_study_gets_its_own_first_version(reference: Reference) -> None:
    begun = for_study(reference, task="Task601", source="shipped")
    assert (begun.task, begun.round, begun.version, begun.source) == ("Task601", 1, 1, "shipped")
    assert begun.parent_sha256 == reference.sha256 and begun.effective() == reference.effective()


# Differences


def test_differences_by_kind(reference: Reference, raw: dict[str, Any]) -> None:
    assert diff(reference, reference) == [] and describe([]) == "no changes"
    parameters = raw["parameters"]
    parameters["learning_rate"] |= {"active_value": 0.03, "high": 0.5}
    parameters["momentum"] |= {"description": "Heavy ball.", "low": 0.0}
    del parameters["nesterov"]["active_value"]
    del parameters["epochs"]
    parameters["warmup"] = {"type": "int", "low": 0, "high": 9, "default": 3, "description": "Warm-up."}
    raw["constraints"].pop()
    raw["objective"]["direction"] = "maximize"
    raw["round"] = 7
    changes = diff(reference, parse_reference(raw, file="r"))
    assert [(change.kind, change.parameter, change.field) for change in changes] == [
        ("value", "nesterov", "active_value"),
        ("other", "momentum", "description"),
        ("range", "learning_rate", "high"),
        ("value", "learning_rate", "active_value"),
        ("added", "warmup", ""),
        ("removed", "epochs", ""),
        ("other", "", "objective"),
        ("range", "", "constraints"),
    ]
    lines = describe(changes).splitlines()
    assert lines[0] == "nesterov.active_value: false -> -"
    assert lines[3] == "learning_rate.active_value: 0.02 -> 0.03"
    assert lines[4:6] == ["warmup: added, default 3", "epochs: removed"]


# What people read


def test_the_page_tells_every_key_and_its_examples_hold() -> None:
    page = (ROOT / "doc" / "reference.md").read_text(encoding="utf-8")
    for table in (HEADER, OBJECTIVE, PARAMETER, CONSTRAINT, CHANGE):
        for key in table:
            assert f"`{key}`" in page, key
    examples = re.findall(r"```json\n(.*?)```", page, flags=re.DOTALL)
    assert examples
    for example in examples:
        assert check_reference(json.loads(example), file="doc/reference.md") == []


def test_only_the_standard_library_is_imported() -> None:
    script = (
        "import agent.reference, sys; print(*{n.partition('.')[0] for n in sys.modules} - sys.stdlib_module_names)"
    )
    result = subprocess.run(
        [sys.executable, "-S", "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert set(result.stdout.split()) <= {"agent", "__main__"}
