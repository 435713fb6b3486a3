"""Placeholders: names only, replaced once, and every value arrives whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.command.placeholders import as_text, fill, names_in, problems_in, shell_scripts


@given(st.text(), st.text(), st.text())
def test_values_are_never_read_again(before, value, after):
    template = before.replace("{", "{{").replace("}", "}}") + "{x}" + after.replace("{", "{{").replace("}", "}}")
    assert list(problems_in(template, ("x",))) == []
    assert fill(template, {"x": value}) == before + value + after


@given(st.text(alphabet="{}ab.! :0"))
def test_a_template_without_problems_can_be_filled(template):
    if not list(problems_in(template, ("a", "b"))):
        names = names_in(template)
        filled = fill(template, dict.fromkeys(names, ""))
        assert names <= {"a", "b"} | {name for name in names if name.startswith("data.")}
        assert template.count("{{") >= filled.count("{")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_keep_every_digit(value):
    assert float(as_text(value)) == value


@pytest.mark.parametrize(
    ("command", "positions"),
    [
        (["bash", "-c", "x"], [2]),
        (["/bin/bash", "-euo", "pipefail", "-c", "x", "bash", "{a}"], [4]),
        (["srun", "-n", "1", "sh", "-lc", "x"], [5]),
        (["python", "-c", "x"], []),
        (["bash", "train.sh", "-x"], []),
        (["-c", "bash"], []),
        (["bash", "-c"], []),
    ],
)
def test_where_a_shell_reads_its_script(command, positions):
    assert shell_scripts(command) == positions
