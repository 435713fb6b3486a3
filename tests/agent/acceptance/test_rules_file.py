"""Rules from a file: the shipped table, every problem of a broken one, and a person's own function."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from agent.acceptance import Rules
from agent.acceptance.compare import compare
from agent.acceptance.rules_file import load_rules
from agent.acceptance.verdict import decide
from agent.errors import InvalidRules
from agent.records import CandidateResult
from agent.resources import shipped_rules
from tests.agent.acceptance.cases import HIGHER, made


def test_the_shipped_table_is_the_default_and_explains_every_field() -> None:
    assert load_rules(shipped_rules()) == Rules()
    text = shipped_rules().read_text()
    for field in fields(Rules):
        assert field.name in ("name", "own") or f"\n{field.name}: " in text, field.name


def test_a_table_changes_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("z: 2\nmin_gain: 1e-3\ncorrection: bonferroni\njudge: false\nconfirm_seeds: 5\n")
    found = load_rules(path)
    assert found == Rules(
        z=2.0, min_gain=0.001, correction="bonferroni", judge=False, confirm_seeds=5, name="mine.yaml"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zz: 2", "zz = 2: unknown; did you mean z?"),
        ("min_gian: 2", "did you mean min_gain?"),
        ("z: -1", "z = -1: must be a number from 0 to 6"),
        ("z: .nan", "must be a number from 0 to 6"),
        ("z: true", "must be a number from 0 to 6"),
        ("min_gain_percent: two", "must be a percentage from 0 to 100"),
        ("reject_percent: null", "must be a percentage from 0 to 100"),
        ("min_gain: -0.1", "must be a number from 0 in the metric's unit, or null"),
        ("correction: dunnett", "must be one of sidak, bonferroni, none"),
        ("judge: maybe", "must be true or false"),
        ("confirm_seeds: 1", "must be a whole number from 2 to 1000, or null"),
        ("[1, 2]", "rules.yaml"),
        ("z: 2\nz: 3", "rules.yaml"),
    ],
)
def test_a_broken_table_is_refused_by_name(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(text + "\n")
    with pytest.raises(InvalidRules) as caught:
        load_rules(path)
    assert message in str(caught.value) and str(path) in str(caught.value)


def test_every_problem_of_a_table_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("z: no\nmin_gain: x\nbias: 1\n")
    with pytest.raises(InvalidRules) as caught:
        load_rules(path)
    assert len(caught.value.problems) == 3


# -- a person's own function ---------------------------------------------------------------------------------------


def own(tmp_path: Path, text: str) -> Rules:
    path = tmp_path / "mine.py"
    path.write_text(text)
    return load_rules(path)


def pair() -> tuple[CandidateResult, CandidateResult]:
    return made("c01", (0.9, 0.8), number=2), made("c00", (0.5, 0.5))


def verdict(rules: Rules) -> tuple[str, str]:
    found = decide(compare(*pair(), None, HIGHER, rules, k=1), rules)
    return found.verdict, found.why


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return 'rejected', 'I do not\\n like  it'", ("rejected", "rejected by mine.py: I do not like it (gain in")),
        (
            "return 'accepted' if comparison['gain'] > 0.1 else 'borderline'",
            ("accepted", "accepted by mine.py (gain in"),
        ),
        ("comparison.clear(); return 'borderline'", ("borderline", "borderline by mine.py")),
    ],
)
def test_a_function_decides(body: str, expected: tuple[str, str], tmp_path: Path) -> None:
    found = verdict(own(tmp_path, f"def verdict(comparison):\n    {body}\n"))
    assert found[0] == expected[0] and found[1].startswith(expected[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def verdict(:\n", "line 1: cannot be loaded: SyntaxError"),
        ("import torchy\n", "line 1: cannot be loaded: ModuleNotFoundError"),
        ("\nraise SystemExit(3)\n", "line 2: cannot be loaded: SystemExit"),
        ("def decide(c):\n    return 'accepted'\n", "defines no function verdict(comparison)"),
        ("verdict = 'accepted'\n", "defines no function verdict(comparison)"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRules, match=r"mine\.py") as caught:
        own(tmp_path, text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return comparison['gian'] > 0", "verdict() of c01, line 2: failed: KeyError: 'gian'"),
        ("return 1 / 0", "ZeroDivisionError"),
        ("return True", "= True: must be one of accepted, borderline, rejected, leading"),
        ("return 'won'", "= 'won': must be one of"),
        ("return 'accepted', 3", "must be one of"),
        ("return None", "= None: must be one of"),
        ("return []", "must be one of"),
    ],
)
def test_a_function_that_fails_is_named(body: str, message: str, tmp_path: Path) -> None:
    rules = own(tmp_path, f"def verdict(comparison):\n    {body}\n")
    with pytest.raises(InvalidRules, match=r"mine\.py") as caught:
        verdict(rules)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [("rules.txt", "must end in one of .yaml, .yml, .py"), ("gone.py", "mine it"), ("gone.yaml", "gone.yaml")],
)
def test_a_file_of_another_kind_or_none(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRules) as caught:
        load_rules(tmp_path / name)
    assert name in str(caught.value) and (message in str(caught.value) or name == "gone.py")


def test_the_function_gets_every_number(tmp_path: Path) -> None:
    seen: dict[str, Any] = {}
    rules = own(tmp_path, "def verdict(comparison):\n    return 'borderline', ' '.join(sorted(comparison))\n")
    numbers = compare(*pair(), None, HIGHER, rules, k=1)
    seen = numbers.to_json()
    assert all(name in decide(numbers, rules).why for name in sorted(seen)[:10])
