"""Placeholders: names only, replaced once, and every value arrives whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.command.placeholders import as_text, code_arguments, fill, names_in, problems_in, split_strings


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
        (["bash", "-c", "x"], [1, 2]),
        (["/bin/bash", "-euo", "pipefail", "-c", "x", "bash", "{a}"], [3, 4]),
        (["srun", "-n", "1", "sh", "-lc", "x"], [4, 5]),
        (["bash", "-ce", "x"], [1, 2]),
        (["bash", "-c", "-e", "+x", "x", "{a}"], [1, 2, 3, 4]),
        (["timeout", "9", "nice", "fish", "--command=x", "{a}"], [4]),
        (["{python}", "-Wignore", "-c", "x", "{a}"], [2, 3]),
        (["conda", "run", "-n", "e", "/opt/python3.11", "-c", "x"], [5, 6]),
        (["perl", "-we", "x"], [1, 2]),
        (["su", "alice", "-c", "x"], [2, 3]),
        (["flock", "/tmp/l", "-c", "x"], [2, 3]),
        (["ssh", "node", "train", "{a}"], [1, 2, 3]),
        (["make", "train", "LR={a}"], [1, 2]),
        (["sbatch", "--wrap", "x"], [1, 2]),
        (["python", "train.py", "-c", "{a}"], []),
        (["python", "-u", "train.py", "-c", "{a}"], []),
        (["python", "main.py", "watch", "make", "ssh", "{a}"], []),
        (["bash", "train.sh", "-x"], []),
        (["bash", "train.sh", "-c", "{a}"], []),
        (["-c", "bash"], []),
        (["bash", "-c"], [1]),
    ],
)
def test_what_is_read_as_code(command, positions):
    assert code_arguments(command) == positions


@pytest.mark.parametrize(
    ("command", "positions"),
    [
        (["env", "-S", "bash -c x"], [1]),
        (["/usr/bin/env", "-iS", "x"], [1]),
        (["env", "-vSbash -c {a}"], [1]),
        (["nice", "env", "--split-string=python {a}"], [2]),
        (["env", "-i", "A=1", "python", "train.py"], []),
        (["python", "train.py", "-S"], []),
    ],
)
def test_where_env_cuts_words_like_a_shell(command, positions):
    assert split_strings(command) == positions
