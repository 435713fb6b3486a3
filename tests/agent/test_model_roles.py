"""The catalogue of roles: what is made from it agrees with the files of prompts, the rooms and the options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.api.options import TuneOptions
from agent.model_roles import AUTOTUNER, MOST_TOKENS, ROLES, Switches, may_speak
from agent.options.option import options_of

ROOT = Path(__file__).resolve().parents[2]
ALL = Switches(
    proposes="autotuner", planned=False, plans=False, analyst=True, searches=True, critique=True, judge=True
)


def test_every_prompt_file_is_a_roles_and_every_roles_is_there() -> None:
    files = {path.stem for path in (ROOT / "templates" / "prompts").glob("*.j2")}
    assert files == {name for role in ROLES.values() for name in role.prompts}


def test_every_role_is_asked_by_a_module_of_its_room() -> None:
    """A request names its role by the catalogue's entry: no module spells it."""
    texts = [path.read_text() for path in (ROOT / "agent" / "roles").glob("*.py")]
    used = set(re.findall(r"\b([A-Z_]+)\.name\b", "".join(texts)))
    assert {role.name.upper() for role in ROLES.values()} <= used


def test_each_role_has_the_option_of_its_model() -> None:
    flags = options_of(TuneOptions)["role_models"].flags
    assert flags == tuple(role.option for role in ROLES.values())
    assert "--consultant-a-model" in flags


@pytest.mark.parametrize(
    ("changes", "roles"),
    [
        ({}, ("analyst", "researcher", "autotuner", "checker", "judge")),
        ({"planned": True}, ("analyst", "researcher", "planner", "checker", "judge")),
        (
            {"proposes": "panel", "analyst": False},
            ("researcher", "consultant_a", "consultant_b", "supervisor", "checker", "judge"),
        ),
        ({"proposes": "planner", "plans": True, "searches": False}, ("analyst", "planner", "checker", "judge")),
        ({"proposes": None, "critique": True, "judge": False}, ("analyst", "researcher")),
        ({"critique": False, "judge": False, "analyst": False, "searches": False}, ("autotuner",)),
    ],
)
def test_who_may_speak(changes: dict[str, object], roles: tuple[str, ...]) -> None:
    assert may_speak(ALL._replace(**changes)) == roles  # type: ignore[arg-type]


def test_a_longer_answer_is_asked_for_where_it_holds_more_candidates() -> None:
    assert [AUTOTUNER.answer_tokens(count) for count in (1, 4, 100)] == [5120, 8192, MOST_TOKENS]
