"""Prompt files: whatever a person's own file does wrong is one message that names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import UsageError
from agent.roles.ask import Hidden, Prompts


def prompts(folder: Path, user: str) -> Prompts:
    text = "{% block system %}be brief{% endblock %}{% block user %}" + user + "{% endblock %}"
    (folder / "own.j2").write_text(text)
    return Prompts([folder], hide=str.upper)


@pytest.mark.parametrize(
    ("user", "named"),
    [
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ count + 'a' }}", "TypeError"),
        ("{{ nosuch }}", "nosuch"),
        ("{{ count", "own.j2"),
        ("{{ ''.__class__.__mro__ }}", "own.j2"),
        ("{% for n in range(10**9) %}x{% endfor %}", "own.j2"),
    ],
)
def test_what_a_prompt_computes_wrong_names_the_file(tmp_path: Path, user: str, named: str) -> None:
    with pytest.raises(UsageError) as error:
        prompts(tmp_path, user).render("own", count=2)
    assert "own.j2" in str(error.value) and named in str(error.value)


def test_a_file_that_is_no_text_and_one_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "own.j2").write_bytes(b"{% block system %}\xff{% endblock %}{% block user %}{% endblock %}")
    with pytest.raises(UsageError, match=r"own\.j2: UnicodeDecodeError"):
        Prompts([tmp_path]).render("own")
    with pytest.raises(UsageError, match="no such prompt"):
        Prompts([tmp_path]).render("other")


def test_inserted_values_are_hidden_once_and_the_file_itself_is_not(tmp_path: Path) -> None:
    made = prompts(tmp_path, "plain {{ word }} {{ already }}")
    assert made.render("own", word="secret", already=Hidden("hidden before")).user == "plain SECRET hidden before"
