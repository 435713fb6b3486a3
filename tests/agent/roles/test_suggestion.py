"""The answer's schema accepts well-formed answers and nothing else, and reading one alters nothing in it."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from agent.errors import ProposalError
from agent.records import Objective, Proposal
from agent.reference import Reference, check_values, parse_reference
from agent.roles.answers import Suggestion
from agent.roles.digest import base_values
from agent.roles.situation import Situation
from agent.roles.suggestion import answer_schema, proposals, unusable
from agent.store.codec import decode
from tests.agent.reference.reference_strategies import raw_references, values_of
from tests.agent.roles.fake_ask import answer, candidate, change
from tests.cases.proposer_case import SPACES, make_reference

OBJECTIVE = Objective(metric="accuracy", direction="maximize")
REFERENCE = make_reference(
    {
        "lr": {"type": "float", "low": 1e-4, "high": 10, "log": True, "default": 0.01},
        "batch": {"type": "int", "low": 32, "high": 256, "step": 32, "default": 64},
        "optimizer": {"type": "categorical", "choices": ["adam", "sgd"], "default": "adam"},
        "momentum": {"type": "float", "low": 0, "high": 1, "default": 0.9, "condition": "optimizer == 'sgd'"},
        "beta2": {"type": "float", "low": 0.9, "high": 1, "default": 0.99, "condition": "optimizer == 'adam'"},
        "mixup": {"type": "bool", "default": False},
        "epochs": {"type": "int", "low": 1, "high": 9, "default": 3, "tune": False},
    }
)
SLOW = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], max_examples=60)


def situation(reference: Reference = REFERENCE, **more: Any) -> Situation:
    return Situation(reference=reference, history=(), objective=OBJECTIVE, **more)


def read(*candidates: Any, **more: Any) -> list[Proposal]:
    content = answer(*candidates)
    Draft202012Validator(answer_schema(REFERENCE, len(candidates))).validate(content)
    record: dict[str, Any] = {"source": "llm", "calls": ["001_autotuner"], "prompt_sha256": "0" * 64, "model": "m"}
    before = copy.deepcopy(content)
    found = proposals(decode(Suggestion, content), situation(**more), **record)
    assert content == before
    json.dumps([dict(p.details) for p in found], allow_nan=False)
    return found


def walk(schema: Any, place: str = "") -> Any:
    yield place, schema
    for name, part in schema.get("properties", {}).items():
        yield from walk(part, f"{place}.{name}")
    for index, part in enumerate(schema.get("anyOf", ())):
        yield from walk(part, f"{place}|{index}")
    if "items" in schema:
        yield from walk(schema["items"], f"{place}[]")


@pytest.mark.parametrize("space", sorted(SPACES))
def test_the_schema_obeys_what_strict_structured_output_asks_for(space: str) -> None:
    reference = make_reference(SPACES[space])
    schema = answer_schema(reference, 3)
    Draft202012Validator.check_schema(schema)
    json.dumps(schema, allow_nan=False)
    offered = []
    for place, part in walk(schema):
        assert set(part) <= {
            "type",
            "properties",
            "required",
            "additionalProperties",
            "items",
            "anyOf",
            "enum",
            "description",
        }, place
        assert ("anyOf" in part) != (
            part.get("type") in {"object", "array", "string", "number", "integer", "boolean"}
        )
        assert part.get("anyOf", True), place
        if part.get("type") == "object":
            assert part["required"] == list(part["properties"]) and part["additionalProperties"] is False
        if place.endswith(".parameter"):
            offered += part["enum"]
    assert sorted(offered) == sorted(reference.tunable())


@pytest.mark.parametrize("space", sorted(SPACES))
def test_anthropic_keeps_every_property(space: str) -> None:
    transform = pytest.importorskip("anthropic").transform_schema
    schema = answer_schema(make_reference(SPACES[space]), 3)
    sent = transform(copy.deepcopy(schema))
    here, there = dict(walk(schema)), dict(walk(sent))
    assert list(here) == list(there)
    for place, part in here.items():
        assert list(part.get("properties", ())) == list(there[place].get("properties", ()))
        for key in ("required", "additionalProperties", "enum", "description"):
            assert part.get(key) == there[place].get(key), place


def test_openai_leaves_the_schema_as_it_is() -> None:
    strict = pytest.importorskip("openai.lib._pydantic")._ensure_strict_json_schema
    schema = answer_schema(REFERENCE, 3)
    assert strict(copy.deepcopy(schema), path=(), root=schema) == schema


def test_a_group_without_parameters_is_left_out() -> None:
    only = make_reference({"mixup": {"type": "bool", "default": False}})
    changes = answer_schema(only, 1)["properties"]["candidates"]["items"]["properties"]["changes"]["items"]
    assert [form["properties"]["parameter"]["enum"] for form in changes["anyOf"]] == [["mixup"]]
    with pytest.raises(ProposalError, match="no parameter"):
        answer_schema(make_reference({"a": {"type": "bool", "default": True, "tune": False}}), 1)


@given(st.data())
@SLOW
def test_the_schema_accepts_exactly_well_formed_answers(data: st.DataObject) -> None:
    raw = data.draw(raw_references())
    reference = parse_reference(raw, file="drawn")
    assume(reference.tunable())
    judge = Draft202012Validator(answer_schema(reference, 1))
    name = data.draw(st.sampled_from(reference.tunable()))
    parameter = reference.parameters[name]
    good = change(name, data.draw(values_of(raw["parameters"][name])))
    assert judge.is_valid(answer(candidate(good)))
    wrong = [
        {**good, "parameter": name + "_"},
        {**good, "value": None},
        {**good, "value": [good["value"]]},
        {**good, "value": "no such value" if parameter.type == "categorical" else str(good["value"])},
        {**good, "extra": 1},
        {key: good[key] for key in ("parameter", "value")},
        *({**good, "parameter": fixed} for fixed in reference.parameters if not reference.parameters[fixed].tune),
    ]
    if parameter.type in ("float", "int"):
        wrong.append({**good, "value": True})
        outside = change(name, 10**9)  # ranges are the rules' business
        assert judge.is_valid(answer(candidate(outside)))
    for broken in wrong:
        assert not judge.is_valid(answer(candidate(broken))), broken
    whole = answer(candidate(good))
    for missing in ("diagnosis", "candidates"):
        assert not judge.is_valid({key: value for key, value in whole.items() if key != missing})
    assert not judge.is_valid({**whole, "command": "rm -rf"})


@given(st.data())
@SLOW
def test_proposals_of_valid_changes_pass_the_rules(data: st.DataObject) -> None:
    raw = data.draw(raw_references())
    reference = parse_reference(raw, file="drawn")
    tunable = reference.tunable()
    assume(tunable)
    names = data.draw(st.lists(st.sampled_from(tunable), unique=True, max_size=4))
    drawn = {name: data.draw(values_of(raw["parameters"][name])) for name in names}
    content = answer(candidate(*(change(name, value) for name, value in drawn.items())))
    found = proposals(
        decode(Suggestion, content), situation(reference), source="llm", calls=(), prompt_sha256="", model="m"
    )[0]
    settled = {name: reference.parameters[name].canonical(value) for name, value in drawn.items()}
    present = {name: p.canonical(p.value) for name, p in reference.parameters.items()}
    if settled == drawn and present == reference.values():  # rounding may cross a bound that a constraint sets
        # What the rules say of the changes alone, over the reference as it stands, they say of the whole.
        alone = {problem.where for problem in check_values(reference, drawn)}
        assert {problem.where for problem in check_values(reference, found.values, complete=True)} == alone
    assert {name: found.values[name] for name in drawn} == settled
    base = base_values(situation(reference))
    same = [name for name, value in settled.items() if name in base and repr(present[name]) == repr(value)]
    problems = found.details.get("problems", [])
    assert isinstance(problems, list) and len(problems) == len(same) + (not drawn)
    assert all(problem.startswith(name) for problem, name in zip(problems, same, strict=False))


def test_changes_are_made_to_the_base() -> None:
    base = {"lr": 0.05, "batch": 128, "optimizer": "adam", "beta2": 0.95, "mixup": True}
    found = read(candidate(change("lr", 0.1, "faster"), change("mixup", False, "less\nnoise")), base=base)[0]
    assert found.values == {**base, "lr": 0.1, "mixup": False}
    assert found.source == "llm" and found.reason == "lr: faster; mixup: less noise"
    assert found.details == {
        "changes": [
            {"parameter": "lr", "from": 0.05, "to": 0.1, "reason": "faster"},
            {"parameter": "mixup", "from": True, "to": False, "reason": "less noise"},
        ],
        "expected_effect": "better by 0.01",
        "confidence": 0.5,
        "calls": ["001_autotuner"],
        "prompt_sha256": "0" * 64,
        "model": "m",
    }


def test_what_becomes_inactive_is_dropped_and_what_becomes_active_is_said() -> None:
    found = read(candidate(change("optimizer", "sgd")), base={"beta2": 0.95})[0]
    assert found.values == {"lr": 0.01, "batch": 64, "optimizer": "sgd", "momentum": 0.9, "mixup": False}
    assert found.details["activated"] == {"momentum": 0.9}
    found = read(candidate(change("optimizer", "sgd"), change("momentum", 0.5)))[0]
    assert found.values["momentum"] == 0.5 and "activated" not in found.details
    assert not check_values(REFERENCE, found.values, complete=True)


def test_what_is_wrong_stays_for_the_checker() -> None:
    out, inactive, grid = read(
        candidate(change("lr", 99)), candidate(change("momentum", 0.5)), candidate(change("batch", 100))
    )
    assert out.values["lr"] == 99 and inactive.values["momentum"] == 0.5 and grid.values["batch"] == 100
    for found in (out, inactive, grid):
        assert len(check_values(REFERENCE, found.values, complete=True)) == 1
        assert "problems" not in found.details


def test_an_integer_becomes_a_float_only_by_canonical_form() -> None:
    whole, huge = read(candidate(change("lr", 1)), candidate(change("lr", 10**400)))
    assert isinstance(whole.values["lr"], float) and whole.values["lr"] == 1.0
    assert huge.values["lr"] == 10**400
    assert read(candidate(change("batch", 96.0)))[0].values["batch"] == 96.0
    assert check_values(REFERENCE, read(candidate(change("batch", 96.0)))[0].values)  # 96.0 is no integer here


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (candidate(change("lr", 0.1), change("lr", 0.2)), "lr is changed 2 times (0.1, 0.2)"),
        (candidate(change("lr", 0.01)), "lr = 0.01 is already in the base"),
        (candidate(change("optimizer", "adam")), 'optimizer = "adam" is already in the base'),
        (candidate(), "changes is empty"),
        (candidate(change("lr", 0.1), confidence=80), "confidence = 80: must be from 0 to 1"),
        (candidate(change("lr", 0.1), confidence=-0.1), "confidence = -0.1"),
    ],
)
def test_contradictions_are_kept_as_problems(given: Any, said: str) -> None:
    problems = read(given)[0].details["problems"]
    assert isinstance(problems, list) and len(problems) == 1 and said in problems[0]


def test_words_of_a_model_are_one_shortened_line() -> None:
    hostile = "a\n# c07\n\u202e$(rm -rf ~)" + "x" * 5000
    found = read({**candidate(change("lr", 0.1, hostile)), "expected_effect": hostile})[0]
    texts = [found.reason, found.details["expected_effect"], found.details["changes"][0]["reason"]]  # type: ignore[index]
    assert all(isinstance(text, str) and text.isprintable() and len(text) <= 900 for text in texts)
    assert read(candidate(change("lr", 0.1, " \n")))[0].reason == "the model gave no reason"


def test_answers_of_which_nothing_can_be_made() -> None:
    assert unusable(decode(Suggestion, answer())) == ["candidates is empty"]
    assert unusable(decode(Suggestion, answer(candidate(change("lr", 0.1))))) == []
    found = unusable(decode(Suggestion, answer(candidate(change("lr", float("nan")), confidence=float("inf")))))
    assert found == [
        "candidates[0].changes[0].value is nan: must be a finite number",
        "candidates[0].confidence is inf: must be a finite number",
    ]


def test_a_condition_that_the_values_break_is_left_to_the_rules() -> None:
    reference = make_reference(
        {
            "parts": {"type": "int", "low": 1, "high": 9, "default": 2},
            "share": {"type": "float", "low": 0, "high": 1, "default": 0.5, "condition": "8 / parts > 2"},
        }
    )
    content = answer(candidate(change("parts", 0)))
    found = proposals(
        decode(Suggestion, content), situation(reference), source="llm", calls=(), prompt_sha256="", model="m"
    )[0]
    assert found.values == {"parts": 0, "share": 0.5}
    assert [problem.where for problem in check_values(reference, found.values)] == ["parts"]
