"""Keys: where they are found, what is refused, and that no text shows one."""

from __future__ import annotations

import copy
import json
import os
import pickle
import string
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import UsageError
from agent.llm.keys import (
    HIDDEN,
    Secret,
    find_key,
    key_problem,
    known_secrets,
    read_dotenv,
    redact,
    require_key,
    variables_for,
)

KEY = "sk-proj-0aZ_9/x+Y="


def test_the_roles_variable_comes_first_then_the_named_one_or_else_the_providers() -> None:
    variables = variables_for("autotuner", "WORK_KEY", ("OPENAI_API_KEY",))
    assert variables == ("ROUNDTABLE_AUTOTUNER_API_KEY", "WORK_KEY")
    assert variables_for("autotuner", None, ("A_KEY", "B_KEY"))[1:] == ("A_KEY", "B_KEY")
    environment = dict.fromkeys(variables, "")
    for variable in reversed(variables):
        environment[variable] = f"sk-{variable}"
        found = find_key(variables, environment, {})
        assert found is not None
        assert (found.variable, found.secret.reveal(), found.place) == (variable, f"sk-{variable}", "the environment")


def test_a_named_variable_that_is_the_providers_own_is_looked_for_once() -> None:
    assert variables_for("checker", "OPENAI_API_KEY", ("OPENAI_API_KEY",)).count("OPENAI_API_KEY") == 1


def test_the_environment_comes_before_dotenv_within_one_variable_only() -> None:
    found = find_key(("A_KEY", "B_KEY"), {"A_KEY": "one", "B_KEY": "two"}, {"A_KEY": "three"})
    assert found is not None and found.secret.reveal() == "one"
    found = find_key(("A_KEY", "B_KEY"), {"B_KEY": "two"}, {"A_KEY": "three"})
    assert found is not None and (found.secret.reveal(), found.place) == ("three", ".env")


def test_a_missing_key_names_every_variable_that_was_looked_for() -> None:
    with pytest.raises(UsageError) as caught:
        require_key(("A_KEY", "B_KEY"), {"A_KEY": ""}, {}, purpose="role checker, provider openai")
    assert "role checker, provider openai" in str(caught.value) and "A_KEY, B_KEY" in str(caught.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (f" {KEY}", "white space"),
        (f"{KEY}\n", "line break"),
        (f'"{KEY}"', "quotes"),
        (f"'{KEY}'", "quotes"),
        (f"{KEY}é", "ASCII"),
        (f"{KEY}\u200bx", "ASCII"),
        (f"{KEY} more", "white space"),
        (f"{KEY}\x07more", "control"),
        (f"{KEY}\r\nX-Header: 1", "white space"),
        ("your_key", "example's words"),
        ("YOUR_KEY", "example's words"),
        ("your_gen_a_key", "example's words"),
        ("optional_shared_fallback", "example's words"),
        ("sk-ant-...", "example's words"),
        ("<your API key>", "white space"),
        ("sk-xxxxxxxxxxxx", "example's words"),
        ("changeme", "example's words"),
    ],
)
def test_a_malformed_key_is_refused_without_being_shown(value: str, said: str) -> None:
    for environment, dotenv in (({"A_KEY": value}, {}), ({}, {"A_KEY": value})):
        with pytest.raises(UsageError, match=said) as caught:
            find_key(("A_KEY",), environment, dotenv)
        assert "A_KEY" in str(caught.value) and KEY not in str(caught.value)


@pytest.mark.parametrize(("value", "said"), [("", "empty"), (" \n", "blank")])
def test_a_variable_without_anything_in_it_is_not_set_and_is_named(value: str, said: str) -> None:
    assert find_key(("A_KEY",), {"A_KEY": value}, {"A_KEY": KEY}) is not None
    with pytest.raises(UsageError, match=f"A_KEY in the environment is {said}"):
        require_key(("A_KEY",), {"A_KEY": value}, {}, purpose="role checker")


def test_a_short_key_is_hidden_where_it_stands_alone_and_a_word_in_a_keys_place_nowhere() -> None:
    text = "key sk-12 was refused: a task-12 of ask-123, lr=0.1; sk-12?"
    assert redact(text, ["sk-12"]) == "key [key] was refused: a task-12 of ask-123, lr=0.1; [key]?"
    assert redact("the lr, x", ["x", "lr"]) == "the lr, x"
    assert redact("an EMPTY list, none", ["EMPTY", "none"]) == "an EMPTY list, none"
    assert redact("ab12cd34ef", ["12cd34ef"]) == "ab[key]"


def test_a_usual_key_is_fine() -> None:
    assert key_problem(KEY) == ""


def test_a_secret_shows_itself_nowhere() -> None:
    secret = Secret(KEY)
    shown = [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret:>20}",
        f"{secret!r}",
        str([secret]),
        str({"a": secret}),
    ]
    assert all(KEY not in text for text in shown)
    assert secret == Secret(KEY) and secret != Secret("other") and len({secret, Secret(KEY)}) == 1
    for kept in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="not pickled"):
            kept(secret)


def test_dotenv_is_read_as_it_stands_and_never_exported(tmp_path: Path) -> None:
    lines = ["# a comment", "A_KEY=sk-$HOME-${PATH}", 'export B_KEY="quoted"', "C_KEY", "D_KEY=", ""]
    (tmp_path / ".env").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    before = dict(os.environ)
    assert read_dotenv(tmp_path) == {"A_KEY": "sk-$HOME-${PATH}", "B_KEY": "quoted", "D_KEY": ""}
    assert dict(os.environ) == before


def test_no_dotenv_is_no_problem(tmp_path: Path) -> None:
    assert read_dotenv(tmp_path) == {}


def test_a_byte_order_mark_hides_no_variable(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfA_KEY=one\n")
    assert read_dotenv(tmp_path) == {"A_KEY": "one"}


def test_dotenv_of_another_encoding_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"A_KEY=\xff\xfe\n")
    with pytest.raises(UsageError, match=r"\.env: not UTF-8"):
        read_dotenv(tmp_path)


@pytest.mark.parametrize("line", ["A_KEY: sk-secret", "sk-secret-alone", "B_KEY='sk-secret"])
def test_a_line_of_dotenv_that_is_no_variable_is_named_but_not_shown(tmp_path: Path, line: str) -> None:
    (tmp_path / ".env").write_text(f"# keys\n\n{line}\nC_KEY=x\n")
    with pytest.raises(UsageError, match=r"\.env line 3: not NAME=value; mend or remove it$") as caught:
        read_dotenv(tmp_path)
    assert "secret" not in str(caught.value)


def test_known_secrets_are_those_of_the_variables_and_of_every_role() -> None:
    environment = {"A_KEY": "one", "HOME": "/home/x", "ROUNDTABLE_CHECKER_API_KEY": "two", "EMPTY": ""}
    assert known_secrets(["A_KEY", "EMPTY"], environment, {"A_KEY": "three "}) == ("one", "three", "two")


def test_redact_knows_the_escaped_forms() -> None:
    forms = [KEY, quote(KEY, safe=""), quote_plus(KEY), json.dumps(KEY)[1:-1], json.dumps(KEY).replace("/", "\\/")]
    forms += [quote(KEY), quote(KEY, safe="").replace("%2F", "%2f").replace("%2B", "%2b")]
    for form in forms:
        assert redact(f"invalid key {form}, sorry", [KEY]).replace('"', "") == f"invalid key {HIDDEN}, sorry", form


def test_redact_hides_a_key_that_begins_like_another() -> None:
    assert redact("sk-1 sk-12", ["sk-1", "sk-12", ""]) == f"{HIDDEN} {HIDDEN}"


def test_redact_leaves_other_text_alone() -> None:
    text = "nothing % here \\u0041 {}"
    assert redact(text, [KEY]) == text == redact(text, [])


@given(
    st.text(string.ascii_letters + string.digits + string.punctuation, min_size=8, max_size=40),
    st.text(max_size=20),
    st.text(max_size=20),
)
def test_no_form_of_any_key_survives(key: str, before: str, after: str) -> None:
    forms = [key, quote(key, safe=""), quote_plus(key), json.dumps(key)[1:-1], json.dumps(json.dumps(key))[3:-3]]
    for form in forms:
        shown = redact(f"{before}{form}{after}", [key])
        assert form not in shown or form in HIDDEN or form in before + HIDDEN + after
        assert HIDDEN in shown
