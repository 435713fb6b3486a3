"""References of a round's candidates: written from the parent's text, and the same as those that are read again."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from agent import resources
from agent.errors import InvalidReference
from agent.propose.space import random_value, walk
from agent.reference import Reference, config_key, load_reference, parse_reference, successor, with_values
from agent.reference.jsontext import write_json
from agent.reference.template import Template, put

SHIPPED = sorted(path.stem for path in resources.shipped_reference("resnet9").parent.glob("*.json"))

ODD: dict[str, Any] = {
    "schema_version": 1,
    "note": {"empty": {}, "list": [], "deep": [{"a": [1, 2.5, None]}, 'ü\n"x" \u2028']},
    "trainer": "mine",
    "objective": {"metric": "score", "direction": "maximize"},
    "parameters": {
        "mode": {"choices": ["a", "b\\n", 1, True], "type": "categorical", "default": "a", "description": "ü\u2028"},
        "x": {
            "type": "float",
            "active_value": 3,
            "low": 1,
            "high": 9.0,
            "default": 2,
            "description": "d",
            "mine": [],
        },
        "n": {
            "type": "int",
            "low": 1,
            "high": 9,
            "default": 2,
            "description": "d",
            "condition": "mode == 'a' and x > 2",
        },
        "on": {"type": "bool", "default": True, "active_value": False, "description": "d", "condition": "mode != 1"},
    },
    "constraints": [{"expression": "n < x + 9", "message": "m"}],
}


def references() -> list[tuple[str, Reference]]:
    shipped = [(name, load_reference(resources.shipped_reference(name))) for name in SHIPPED]
    return [*shipped, ("odd", parse_reference(ODD, file="odd"))]


@pytest.mark.parametrize(("name", "reference"), references(), ids=[name for name, _ in references()])
def test_a_successor_is_the_reference_that_is_read_again(name: str, reference: Reference) -> None:
    rng = random.Random(7)
    made = 0
    for turn in range(12):
        values = walk(reference, lambda parameter: random_value(parameter, rng))
        if values is None:
            continue
        reasons = {key: f'because of "{key}"\n' for key in list(values)[::2]} if turn % 2 else "drawn"
        asked: dict[str, Any] = {"round": turn, "version": 3, "source": "llm", "reasons": reasons}
        whole = with_values(reference, values, **asked)
        found = successor(reference, values, **asked)
        assert found.text == whole.to_text()
        assert list(found.effective.items()) == list(whole.effective().items())
        assert found.key == config_key(whole) == config_key(reference, values)
        # The next one begins where values stand and conditions have taken some away.
        reference, made = whole, made + 1
    assert made > 3


def test_a_successor_is_refused_as_with_values_does() -> None:
    reference = parse_reference(ODD, file="odd")
    values = {"mode": "a", "x": 4.5, "n": 3, "on": True}
    asked: dict[str, Any] = {"round": 1, "version": 1, "source": "llm"}
    for bad, more in (
        ({"mode": "c"}, {}),
        ({"x": 99}, {}),
        ({"mode": 1}, {}),  # n and on have no effect then
        ({}, {"reasons": {"y": "no such parameter"}}),
        ({}, {"reasons": "half a \ud800 pair"}),
        ({}, {"reasons": {"x": 3}}),
    ):
        with pytest.raises(InvalidReference) as whole:
            with_values(reference, values | bad, **asked, **more)
        with pytest.raises(InvalidReference) as light:
            successor(reference, values | bad, **asked, **more)
        assert light.value.problems == whole.value.problems


def test_the_template_writes_what_the_encoder_writes() -> None:
    header = {"round": 3, "changes": [{"parameter": "x", "old": None, "new": 1e-05, "reason": "ü"}], "note": []}
    raw = put(ODD, header, before="parameters")
    entries = dict(raw["parameters"])
    entries["mode"] = put(entries["mode"], {"active_value": True}, behind="default")
    entries["x"] = put(entries["x"], {"active_value": 1e22}, behind="default")
    entries["on"] = {key: value for key, value in entries["on"].items() if key != "active_value"}
    raw["parameters"] = entries
    active = {"mode": True, "x": 1e22, "on": None, "n": None}
    assert Template(ODD).text(header, active) == write_json(raw)
    assert Template(ODD).text({}, {}) == write_json(ODD)


def test_keys_are_remembered_by_type_and_by_reference(tmp_path: Path) -> None:
    raw = {**ODD, "parameters": {"mode": ODD["parameters"]["mode"]}, "constraints": []}
    reference = parse_reference(raw, file="odd")
    other = parse_reference({**raw, "note": "another"}, file="odd")
    keys = [config_key(reference, {"mode": value}) for value in ("a", 1, True, 1.0, "a")]
    assert keys[0] == keys[4] and keys[1] == keys[3] and len(set(keys)) == 3
    assert config_key(other, {"mode": 1}) == keys[1]
