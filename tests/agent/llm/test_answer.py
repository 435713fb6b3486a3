"""From an answer's text to valid data or to problems: strict, and never altering anything."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import LLMUnusable
from agent.llm.answer import MAX_BYTES, MAX_DEPTH, parse_answer, without_reasoning
from tests.agent.llm.calls import SCHEMA


def change(names: list[str], value: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["parameter", "value", "reason"],
        "properties": {"parameter": {"enum": names}, "value": value, "reason": {"type": "string"}},
    }


CHANGE = {
    "anyOf": [
        change(["lr", "weight_decay"], {"type": "number"}),
        change(["depth"], {"type": "integer"}),
        change(["nesterov"], {"type": "boolean"}),
        change(["optimizer"], {"type": "string", "enum": ["adam", "sgd"]}),
    ]
}
CHANGES = {
    "type": "object",
    "additionalProperties": False,
    "required": ["changes"],
    "properties": {"changes": {"type": "array", "items": CHANGE}},
}
GOOD = {"answer": "yes"}


def problems(text: str, schema: dict[str, Any] = SCHEMA) -> tuple[str, ...]:
    with pytest.raises(LLMUnusable) as caught:
        parse_answer(text, schema)
    return caught.value.problems


def changed(**entry: Any) -> tuple[str, ...]:
    return problems(json.dumps({"changes": [{"parameter": "lr", "value": 0.1, "reason": "r"}, entry]}), CHANGES)


@pytest.mark.parametrize(
    "text",
    [
        '{"answer": "yes"}',
        '\n  {"answer":\t"yes"}\n',
        '```json\n{"answer": "yes"}\n```',
        '```\n{"answer": "yes"}\n```\n',
        'Sure! It is 5" long. Here you are:\n{"answer": "yes"}\nGood luck {with it} [1].',
        'Draft: {"answer": "yes"}. Final: {"answer":"yes"}',
    ],
)
def test_one_object_is_found_wherever_it_stands(text: str) -> None:
    assert parse_answer(text, SCHEMA) == GOOD


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no JSON object"),
        ("I would rather not.", "no JSON object"),
        ('{"answer": "yes"} {"answer": "no"}', "two different JSON objects"),
        ('{"answer": "yes"} {"answer": "maybe"}', 'answer = "maybe": must be one of "yes", "no"'),
        ('{"answer": "yes"} No: {"answer": "no",}', "no strict JSON"),
        ('{"answer": "yes"} No: {"answer": "n', "begins at character 22 is never closed"),
        ('<think>{"answer": "yes"}</think> I am not sure.', "no JSON object"),
        ('{"answer": "yes"}</think>Hm.', "no JSON object"),
        ('{"answer": "yes"', "begins at character 0 is never closed"),
        ('Well: {"answer": "yes}', "begins at character 6 is never closed"),
        ("{'answer': 'yes'}", "no strict JSON"),
        ("{answer: 'yes'}", "no strict JSON"),
        ('{"answer": "yes",}', "no strict JSON"),
        ('{"answer": "no", "answer": "yes"}', '"answer" more than once'),
        ('{"answer": NaN}', "NaN is no JSON"),
        ('{"answer": -Infinity}', "-Infinity is no JSON"),
        ('{"answer": 1e999}', "1e999 is beyond the range"),
        ('{"answer": 99999999999999999999}', "99999999999999999999 is beyond the range"),
        ('{"answer": ' + "9" * 5000 + "}", "beyond the range of integers"),
        ('{"answer": "\\ud800"}', "half of a surrogate pair"),
        ('{"answer": "\ud800"}', "half of a surrogate pair"),
        ('{"answer": "' + "x" * MAX_BYTES + '"}', f"at most {MAX_BYTES} are read"),
        ('{"answer":' * (MAX_DEPTH + 1), f"nested deeper than {MAX_DEPTH}"),
        ("[" * 100_000, f"nested deeper than {MAX_DEPTH}"),
        ("[]", "must be of type object, is array"),
        ("null", "must be of type object, is null"),
    ],
)
def test_what_is_not_one_strict_object_is_refused(text: str, said: str) -> None:
    (found,) = problems(text)
    assert said in found


@pytest.mark.parametrize(
    "text",
    [
        '<think>{"answer": "no"} or {lr: 0.1}? The set {a, "b": [1}.</think>\n{"answer": "yes"}',
        '<thinking>\nlet f = {x: 1\n</thinking>```json\n{"answer": "yes"}\n```\nDone {so far}.',
        '<reasoning effort="high">{"answer": "no"</reasoning>{"answer": "yes"}',
        '[THINK]{"answer": "no"}[/THINK]{"answer": "yes"}',
        '<|begin_of_thought|>{"answer": "no"}<|end_of_thought|> {"answer": "yes"}',
        '\u25c1think\u25b7{"answer": "no"}\u25c1/think\u25b7{"answer": "yes"}',
        'So {"answer": "no"}, hm.\n</think>\n{"answer": "yes"}',
        '<think>First {"answer": "no"}, then {lr: "a} again {"answer": "yes"}',
        '<think>a</think>So:<think>{wait {"answer": "no"}</think>{"answer": "yes"}',
        '{"answer": "yes", "usage": 3}? {"tokens": 3} So: {"answer": "yes"}',
        'The schema {"type": "object"} asks for {"answer": "yes"} and usage {"tokens": 7}.',
        'I set {lr: 0.1, wd: 1 and say "so": {"answer": "yes"}\n{note: that this is prose}',
        '\ufeff{"answer": "yes"}',
        "{a: " * 20 + '{"answer": "yes"}',
    ],
)
def test_reasoning_drafts_and_prose_are_not_the_answer(text: str) -> None:
    assert parse_answer(text, SCHEMA) == GOOD


def test_marks_of_reasoning_inside_an_answer_are_part_of_it() -> None:
    said = {"note": '<think>{"note": "x"}</think> and </think>'}
    schema = {"type": "object", "properties": {"note": {"type": "string"}}, "required": ["note"]}
    for before, behind in (("", ""), ("Here: ", " Done."), ("<think>so {</think>```\n", "\n```")):
        assert parse_answer(before + json.dumps(said) + behind, schema) == said


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("<think>warm {up}</think>\n\nRaise it.", "Raise it."),
        ("hm, so\n</think>\nRaise it.", "Raise it."),
        ("Raise <thinking>a</thinking>it.", "Raise it."),
        ("Raise it where x <think", "Raise it where x <think"),
        ("<think>never ends", "<think>never ends"),
        ("<think>only this</think>", ""),
        ("I think that a < b", "I think that a < b"),
    ],
)
def test_reasoning_is_no_part_of_a_free_text(text: str, kept: str) -> None:
    assert without_reasoning(text) == kept


def test_a_broken_object_is_not_searched_for_a_good_one_inside() -> None:
    (found,) = problems('{"note": {"answer": "yes"}, }')
    assert "no strict JSON" in found


def test_a_wrong_choice_lists_the_right_ones() -> None:
    assert problems('{"answer": "maybe"}') == ('answer = "maybe": must be one of "yes", "no"',)


def test_wrong_and_missing_names_list_the_right_ones() -> None:
    found = problems('{"answr": "yes"}')
    assert 'the answer: "answr" is no name here; valid names: "answer"' in found
    assert 'the answer: "answer" is missing; must hold "answer"' in found


def test_an_unknown_parameter_lists_every_valid_name() -> None:
    assert changed(parameter="learning_rate", value=0.1, reason="r") == (
        'changes[1].parameter = "learning_rate": must be one of '
        '"lr", "weight_decay", "depth", "nesterov", "optimizer"',
    )


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"parameter": "lr", "value": "0.1"}, 'changes[1].value = "0.1": must be of type number, is string'),
        ({"parameter": "lr", "value": True}, "changes[1].value = true: must be of type number, is boolean"),
        ({"parameter": "lr", "value": None}, "changes[1].value = null: must be of type number, is null"),
        ({"parameter": "depth", "value": 2.5}, "changes[1].value = 2.5: must be of type integer, is number"),
        ({"parameter": "nesterov", "value": 1}, "changes[1].value = 1: must be of type boolean, is integer"),
        ({"parameter": "optimizer", "value": "lion"}, 'changes[1].value = "lion": must be one of "adam", "sgd"'),
        ({"parameter": "lr", "value": [1, 2]}, "changes[1].value = an array of 2: must be of type number, is array"),
        ({"value": 1}, 'changes[1]: "parameter" is missing; it says which alternative is meant'),
    ],
)
def test_the_branch_is_chosen_by_the_parameter(entry: dict[str, Any], said: str) -> None:
    assert changed(reason="r", **entry) == (said,)


def test_several_problems_of_a_branch_are_all_told() -> None:
    assert set(changed(parameter="depth", value="3", note="x")) == {
        'changes[1].value = "3": must be of type integer, is string',
        'changes[1]: "note" is no name here; valid names: "parameter", "value", "reason"',
        'changes[1]: "reason" is missing; must hold "parameter", "value", "reason"',
    }


def test_an_entry_that_is_no_object_is_told() -> None:
    (found,) = problems('{"changes": ["lr=0.1"]}', CHANGES)
    assert found.startswith('changes[0] = "lr=0.1": must be object')


def test_foreign_values_are_shown_short_and_on_one_line() -> None:
    (found,) = problems(json.dumps({"answer": "x\n\x1b[31m\u202e" + "y" * 10_000}))
    assert found.isprintable()
    assert len(found) < 200


def test_problems_are_limited_in_number() -> None:
    found = problems(json.dumps({"changes": [1] * 1000}), CHANGES)
    assert len(found) == 21
    assert found[-1] == "and more of the kind"


VALUES = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**62), 2**62))


@given(value=VALUES, before=st.text(alphabet="ab {}\"'\n", max_size=20), name=st.sampled_from(["lr", "weight_decay"]))
def test_nothing_is_altered(value: float, before: str, name: str) -> None:
    entry = {"changes": [{"parameter": name, "value": value, "reason": before}]}
    found = parse_answer(f"Here: {json.dumps(entry)} - done.", CHANGES)
    assert json.dumps(found) == json.dumps(entry)


@given(text=st.text(alphabet='{}[]":,a1\\ \n', max_size=60))
def test_any_text_gives_valid_data_or_problems(text: str) -> None:
    try:
        found = parse_answer(text, {"type": "object"})
    except LLMUnusable as error:
        assert error.problems
    else:
        assert json.dumps(found)
