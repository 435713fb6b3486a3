"""Any valid reference survives load, rewrite and load; nothing of it is lost or changed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference_strategies import proposals, raw_references

from agent.errors import InvalidReference
from agent.reference import (
    Reference,
    as_successor,
    canonical,
    check_reference,
    check_values,
    config_key,
    diff,
    for_study,
    json_schema,
    load_reference,
    parse_reference,
    with_values,
)
from agent.reference.diff import BOOKKEEPING

bounded = settings(
    max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
SCHEMA = jsonschema.Draft202012Validator(json_schema())


def parsed(raw: dict[str, Any]) -> Reference:
    return parse_reference(raw, file="reference.json")


def lasting(reference: Reference) -> str:
    """All that a rewrite must keep, order included: not the bookkeeping, not the active values."""
    raw = reference.raw
    for key in BOOKKEEPING:
        raw.pop(key, None)
    for entry in raw["parameters"].values():
        entry.pop("active_value", None)
    return json.dumps(raw)


@bounded
@given(raw=raw_references())
def test_what_the_check_accepts_the_schema_accepts(raw: dict[str, Any]) -> None:
    assert check_reference(raw, file="r") == []
    assert [error.message for error in SCHEMA.iter_errors(raw)] == []


@bounded
@given(raw=raw_references())
def test_text_survives_loading(raw: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("reference") / "reference.json"
    reference = parsed(raw)
    path.write_text(reference.to_text(), encoding="utf-8")
    loaded = load_reference(path)
    assert loaded == reference
    assert loaded.sha256 == reference.sha256
    assert path.read_text(encoding="utf-8") == loaded.to_text()
    assert json.dumps(loaded.raw) == json.dumps(raw)
    assert list(loaded.parameters) == list(raw["parameters"])


@bounded
@given(data=st.data())
def test_any_rewrite_keeps_everything_else(data: st.DataObject) -> None:
    raw = data.draw(raw_references())
    reference = parsed(raw)
    proposal = data.draw(proposals(raw))
    proposal = {name: value for name, value in proposal.items() if reference.is_active(name, proposal)}
    if check_values(reference, proposal):
        with pytest.raises(InvalidReference):
            with_values(reference, proposal, round=2, version=1, source="tpe")
        return
    rewritten = parsed(json.loads(with_values(reference, proposal, round=2, version=3, source="tpe").to_text()))
    assert lasting(rewritten) == lasting(reference)
    assert canonical(rewritten) == canonical(reference, proposal)
    assert config_key(rewritten) == config_key(reference, proposal)
    assert (rewritten.round, rewritten.version, rewritten.source) == (2, 3, "tpe")
    assert rewritten.parent_sha256 == reference.sha256
    active = rewritten.effective()
    assert all(p.active_value is None for name, p in rewritten.parameters.items() if name not in active)
    recorded = {change.parameter: change for change in rewritten.changes}
    before = reference.effective()
    for name in reference.parameters:
        differs = before.get(name) != active.get(name)
        assert (name in recorded) == differs
        if differs:
            assert (recorded[name].old, recorded[name].new) == (before.get(name), active.get(name))
    # Once more with what it now has: not a byte of the space moves.
    again = with_values(rewritten, {}, round=2, version=3, source="tpe", parent_sha256=rewritten.parent_sha256)
    assert again.raw["parameters"] == rewritten.raw["parameters"]
    assert again.changes == ()
    # Restored, the first version trains what it trained, active values of inactive parameters included.
    restored = as_successor(reference, parent=rewritten, round=3, version=1, source="person")
    assert restored.values() == reference.values()
    assert diff(reference, restored) == []


@bounded
@given(raw=raw_references(), task=st.text("abc", min_size=1))
def test_a_study_begins_with_the_same_space(raw: dict[str, Any], task: str) -> None:
    reference = parsed(raw)
    begun = for_study(reference, task=task, source="shipped")
    assert (begun.task, begun.round, begun.version, begun.changes) == (task, 1, 1, ())
    assert begun.raw["parameters"] == reference.raw["parameters"]
    assert [change.field for change in diff(reference, begun)] in ([], ["task"])


@bounded
@given(data=st.data())
def test_one_configuration_has_one_key(data: st.DataObject) -> None:
    raw = data.draw(raw_references())
    reference = parsed(raw)
    settled = canonical(reference, data.draw(proposals(raw)))
    assert canonical(reference, settled) == settled
    noisy: dict[str, Any] = {}
    for name, value in settled.items():
        parameter = reference.parameters[name]
        noisy[name] = value
        if parameter.type == "float":
            assert isinstance(value, float)
            # Bounds may have more digits than are kept: noise there stays inside.
            moved = math.nextafter(value, data.draw(st.sampled_from([-math.inf, math.inf])))
            at_bound = value in (parameter.low, parameter.high)
            noisy[name] = value if at_bound or parameter.refusal(moved) else moved
    inactive = {name: value for name, value in reference.values().items() if name not in settled}
    assert config_key(reference, noisy | inactive) == config_key(reference, settled)
    assert canonical(reference, noisy) == settled


@bounded
@given(data=st.data())
def test_other_effective_values_have_another_key(data: st.DataObject) -> None:
    raw = data.draw(raw_references())
    reference = parsed(raw)
    one, other = (canonical(reference, data.draw(proposals(raw))) for _ in range(2))
    same_key = config_key(reference, one) == config_key(reference, other)
    assert same_key == (json.dumps(one) == json.dumps(other))


@bounded
@given(raw=raw_references())
def test_what_a_record_gives_out_cannot_change_it(raw: dict[str, Any]) -> None:
    reference = parsed(raw)
    text, values = reference.to_text(), reference.values()
    reference.raw["parameters"].clear()
    reference.values().clear()
    raw["parameters"].clear()
    with pytest.raises(TypeError):
        reference.parameters["x"] = None  # type: ignore[index]
    assert reference.to_text() == text and reference.raw == json.loads(text)
    assert reference.values() == values


@bounded
@given(
    raw=st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
        max_leaves=10,
    )
)
def test_no_value_crashes_the_checks(raw: object) -> None:
    assert check_reference(raw, file="r")
    entry = {"schema_version": 1, "trainer": "t", "objective": raw, "parameters": {"x": raw}, "constraints": raw}
    assert check_reference(entry, file="r")


def test_the_schema_in_doc_is_the_code_s() -> None:
    path = Path(__file__).parents[3] / "doc" / "hyperparameter_reference.schema.json"
    assert json.loads(path.read_text(encoding="utf-8")) == json_schema()
    jsonschema.Draft202012Validator.check_schema(json_schema())
