"""Any single corruption of a valid reference is refused with a message that names the place."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference_strategies import raw_references

from agent.errors import InvalidReference
from agent.reference import check_reference, load_reference, parse_reference

bounded = settings(
    max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
Raw = dict[str, Any]

FIXED: Raw = {
    "z_float": {"type": "float", "low": 0.0, "high": 1.0, "step": 0.25, "default": 0.5, "active_value": 0.25},
    "z_log": {"type": "float", "low": 1e-4, "high": 0.1, "log": True, "default": 0.01, "impact": "small"},
    "z_int": {"type": "int", "low": 2, "high": 10, "step": 2, "default": 4, "tune": False},
    "z_text": {"type": "categorical", "choices": ["sgd", "adam"], "default": "sgd", "group": "g", "unit": "u"},
    "z_bool": {"type": "bool", "default": True},
    "z_child": {"type": "int", "low": 0, "high": 9, "default": 1, "condition": "z_text == 'sgd' and z_bool"},
}


@st.composite
def rich_references(draw: st.DrawFn) -> Raw:
    """Any valid reference, with one known parameter of each kind, a constraint and a change among the rest."""
    raw: Raw = draw(raw_references())
    for name, entry in FIXED.items():
        raw["parameters"][name] = json.loads(json.dumps(entry)) | {"description": "fixed"}
    raw["constraints"] = [{"expression": "z_int >= z_float", "message": "z_int must not be below z_float"}]
    raw["changes"] = [{"parameter": "z_int", "old": 2, "new": 4, "source": "tpe", "reason": "more"}]
    raw |= {"task": "t", "round": 2, "version": 1, "parent_sha256": "0" * 64, "source": "tpe"}
    return raw


def put(path: str, value: Any) -> tuple[str, Callable[[Raw], None], str]:
    """Set the value at a dotted path; the problem is to name that path."""

    def corrupt(raw: Raw) -> None:
        *parents, last = path.split(".")
        entry: Any = raw
        for part in parents:
            entry = entry[int(part)] if isinstance(entry, list) else entry[part]
        entry[int(last) if isinstance(entry, list) else last] = value

    return f"{path}={value!r}"[:60], corrupt, _dotted(path)


def cut(path: str) -> tuple[str, Callable[[Raw], None], str]:
    """Remove the key at a dotted path; the problem is to name that path."""

    def corrupt(raw: Raw) -> None:
        *parents, last = path.split(".")
        entry: Any = raw
        for part in parents:
            entry = entry[int(part)] if isinstance(entry, list) else entry[part]
        del entry[last]

    return f"without {path}", corrupt, _dotted(path)


def renamed(path: str, new: str) -> tuple[str, Callable[[Raw], None], str]:
    """Rename the key at a dotted path; the problem is to name the new one."""

    def corrupt(raw: Raw) -> None:
        *parents, last = path.split(".")
        entry: Any = raw
        for part in parents:
            entry = entry[part]
        entry[new] = entry.pop(last)

    return f"{path} as {new}", corrupt, ".".join([*path.split(".")[:-1], new or "''"])


def _dotted(path: str) -> str:
    return "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in path.split(".")).lstrip(".")


P = "parameters"
NAN, INFINITY = float("nan"), float("inf")
CORRUPTIONS = [
    *(cut(key) for key in ("schema_version", "trainer", "objective", "parameters")),
    *(cut(f"objective.{key}") for key in ("metric", "direction")),
    *(cut(f"{P}.z_float.{key}") for key in ("type", "low", "high", "default", "description")),
    *(cut(f"{P}.z_text.{key}") for key in ("type", "choices", "default", "description")),
    *(cut(f"{P}.z_bool.{key}") for key in ("type", "default", "description")),
    *(cut(f"changes.0.{key}") for key in ("parameter", "old", "new", "source", "reason")),
    *(cut(f"constraints.0.{key}") for key in ("expression", "message")),
    # The header: wrong types and unknown names
    *(put("schema_version", value) for value in (2, 0, "1", True, 1.0, None)),
    *(put("trainer", value) for value in (1, "", "  ", None, [])),
    *(put("task", value) for value in (1, "", [], False)),
    *(put("round", value) for value in (-1, 1.0, "1", True, None, NAN)),
    *(put("version", value) for value in (0, 1.5, "1", False, None)),
    *(put("parent_sha256", value) for value in ("0" * 63, "g" * 64, "A" * 64, 0, "")),
    *(put("source", value) for value in (1, None, [])),
    *(put("objective", value) for value in ("accuracy", [], None)),
    *(put("objective.metric", value) for value in (1, "", None)),
    *(put("objective.direction", value) for value in ("max", "Minimize", 1, None, [])),
    *(put("changes", value) for value in ({}, "none", None)),
    put("changes.0", "z_int"),
    *(put("changes.0.old", value) for value in ([], {}, NAN)),
    put("changes.0.reason", None),
    *(put("parameters", value) for value in ({}, [], None, "z")),
    *(put("constraints", value) for value in ({}, "z_int > 0", None)),
    *(put("constraints.0", value) for value in ("z_int > 0", None)),
    put("constraints.0.message", ""),
    # Parameters: wrong types
    *(put(f"{P}.z_float", value) for value in (0.5, [], None)),
    *(put(f"{P}.z_float.type", value) for value in ("double", "Float", 1, None, [])),
    *(put(f"{P}.z_float.{key}", value) for key in ("low", "high", "step", "default") for value in ("0.5", None, [])),
    *(put(f"{P}.z_float.{key}", value) for key in ("low", "high", "default") for value in (True, NAN, -INFINITY)),
    *(put(f"{P}.z_int.{key}", value) for key in ("low", "high", "step", "default") for value in (2.0, True, 2**60)),
    *(put(f"{P}.z_float.active_value", value) for value in ("0.25", None, False, [], NAN, INFINITY)),
    *(put(f"{P}.z_int.active_value", value) for value in (4.0, "4", True, 10**400)),
    *(put(f"{P}.z_bool.{key}", value) for key in ("default", "active_value") for value in (0, "true", None)),
    *(put(f"{P}.z_text.active_value", value) for value in (None, 1, True, ["sgd"])),
    *(put(f"{P}.z_log.log", value) for value in (1, "yes", None)),
    *(put(f"{P}.z_int.tune", value) for value in (0, "no", None)),
    *(put(f"{P}.z_log.impact", value) for value in ("big", "Small", 1, None)),
    *(put(f"{P}.z_text.{key}", value) for key in ("group", "unit", "description") for value in (1, None, [])),
    put(f"{P}.z_text.description", " "),
    # Parameters: empty or impossible domains, values outside
    *(put(f"{P}.z_float.low", value) for value in (1.0, 2)),
    put(f"{P}.z_int.low", 10),
    *(put(f"{P}.z_log.low", value) for value in (0, -0.1)),
    *(put(f"{P}.z_float.step", value) for value in (0, -0.25, 1.5, 1e-12)),
    *(put(f"{P}.z_int.step", value) for value in (0, -2, 9)),
    put(f"{P}.z_log.step", 0.01),
    *(put(f"{P}.z_float.default", value) for value in (-0.25, 1.25, 0.3)),
    *(put(f"{P}.z_float.active_value", value) for value in (-1, 1.0000001, 0.26)),
    *(put(f"{P}.z_int.default", value) for value in (0, 12, 5)),
    *(put(f"{P}.z_text.{key}", value) for key in ("default", "active_value") for value in ("SGD", "adamw", "")),
    *(put(f"{P}.z_text.choices", value) for value in ([], "sgd", {}, None)),
    *(put(f"{P}.z_text.choices.1", value) for value in ("sgd", None, [], NAN, "a\nb", "\ud800")),
    # Keys without meaning for the type, and slips
    *(put(f"{P}.z_text.{key}", 1) for key in ("low", "high", "step")),
    put(f"{P}.z_float.choices", [0.5]),
    put(f"{P}.z_bool.choices", [True]),
    renamed(f"{P}.z_float.active_value", "actve_value"),
    renamed(f"{P}.z_float.active_value", "activeValue"),
    renamed(f"{P}.z_float.active_value", "value"),
    renamed(f"{P}.z_log.log", "logs"),
    renamed(f"{P}.z_int.tune", "tuned"),
    renamed(f"{P}.z_child.condition", "conditon"),
    renamed(f"{P}.z_float.step", "Step"),
    renamed("constraints", "constraint"),
    renamed("task", "tasks"),
    renamed(f"{P}.z_bool", "2nd"),
    renamed(f"{P}.z_log", "lambda"),
    renamed(f"{P}.z_log", "max"),
    renamed(f"{P}.z_log", "learning rate"),
    renamed(f"{P}.z_log", "größe"),
    renamed(f"{P}.z_log", ""),
    # Conditions and constraints
    *(
        put(f"{P}.z_child.condition", value)
        for value in (
            "", None, True, 1, "z_text = 'sgd'", "nobody == 1", "z_child > 0", "z_text == 'sdg'", "z_bool == 1",
            "z_int == '4'", "z_text", "z_int", "z_text > 1", "not z_int", "z_int / (z_int - z_int) > 1", "1", "((",
            "__import__('os').system('true')", "z_text.upper() == 'SGD'", "[x for x in (1,)] == 1", "z_int > \x00",
            "f'{z_int}' == ''", "z_int " * 200, "(lambda: True)()", "(y := 1) == 1", "9 ** 9 ** 9 > 1",
            "'a' * 9999 == 'a'", "z_text[0] == 's'", "-" * 400 + "1 > 0", "(" * 300 + "1" + ")" * 300,
            "z_text == '\ud800'",
        )
    ),
    *(put("constraints.0.expression", value) for value in ("", None, "nobody > 1", "z_int >", "z_text == 'sdg'")),
]  # fmt: skip


@bounded
@given(raw=rich_references())
def test_every_corruption_is_named(raw: Raw) -> None:
    assert check_reference(raw, file="mine.json") == []
    for name, corrupt, place in CORRUPTIONS:
        broken = copy.deepcopy(raw)
        corrupt(broken)
        problems = check_reference(broken, file="mine.json")
        # A slip is also reported as the missing key that it hides, hence "among".
        among = [problem for problem in problems if problem.where == place]
        assert among, f"{name}: {[str(problem) for problem in problems]}"
        assert among[0].file == "mine.json" and len(among[0].message) > 8 and "\n" not in str(among[0]), name
        with pytest.raises(InvalidReference, match="Edit these places"):
            parse_reference(broken, file="mine.json")


@bounded
@given(raw=rich_references(), data=st.data())
def test_a_cut_file_is_named(raw: Raw, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = parse_reference(raw, file="r").to_text().rstrip()
    path = tmp_path_factory.mktemp("cut") / "reference.json"
    path.write_text(text[: data.draw(st.integers(0, len(text) - 1))], encoding="utf-8")
    with pytest.raises(InvalidReference, match=r"line \d+ column \d+: not JSON"):
        load_reference(path)


@bounded
@given(raw=rich_references(), name=st.sampled_from(sorted(FIXED)), key=st.sampled_from(["type", "default"]))
def test_a_key_written_twice_is_named(
    raw: Raw, name: str, key: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = parse_reference(raw, file="r").to_text()
    start = text.index(f'    "{name}": {{\n') + len(f'    "{name}": {{\n')
    path = tmp_path_factory.mktemp("twice") / "reference.json"
    path.write_text(f'{text[:start]}"{key}": {json.dumps(raw["parameters"][name][key])},{text[start:]}', "utf-8")
    with pytest.raises(InvalidReference) as caught:
        load_reference(path)
    assert [(p.where, p.message) for p in caught.value.problems] == [
        (f"parameters.{name}.{key}", "this key occurs twice in the same object; keep one")
    ]


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_a_number_that_json_has_not_is_named(word: str, tmp_path: Path) -> None:
    raw = {
        "schema_version": 1,
        "trainer": "t",
        "objective": {"metric": "m", "direction": "maximize"},
        "parameters": {name: entry | {"description": "d"} for name, entry in FIXED.items()},
        "x_note": [1, {"deep": "HERE"}],
    }
    path = tmp_path / "reference.json"
    path.write_text(json.dumps(raw).replace('"HERE"', word), encoding="utf-8")
    with pytest.raises(InvalidReference) as caught:
        load_reference(path)
    assert [problem.where for problem in caught.value.problems] == ["x_note[1].deep"]
    raw["parameters"]["z_log"]["high"] = "HERE"  # type: ignore[index]
    raw["x_note"] = 0
    path.write_text(json.dumps(raw).replace('"HERE"', word), encoding="utf-8")
    with pytest.raises(InvalidReference) as caught:
        load_reference(path)
    assert [problem.where for problem in caught.value.problems] == ["parameters.z_log.high"]
