"""The lint of rendered scripts: every rule with a script that breaks it, and sbatch's own way of splitting a line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import InvalidScript
from agent.launch.lint import SIZE_LIMIT, ScriptKind, check_syntax, lint_script
from agent.launch.options import ALLOWED_EXTRA, MANAGED, PROFILE_KEY, SHORT, log_pattern, quote_value, split_directive

BODY = "#!/usr/bin/env bash\necho ok\n"
ARRAY = (
    '#!/usr/bin/env bash\n#SBATCH --array=0-3%2\n#SBATCH --output="/a b/100%%/%A_%a.log"\n#SBATCH --exclusive\n:\n'
)


@pytest.mark.parametrize(("text", "kind"), [(BODY, "bash"), (ARRAY, "slurm")])
def test_good_scripts_have_no_problems(text: str, kind: ScriptKind) -> None:
    assert lint_script(text, name="x", kind=kind) == []


def _with(line: str) -> str:
    return ARRAY.replace(":\n", f"{line}\n:\n")


BAD: list[tuple[str, ScriptKind, str]] = [
    ("\ufeff" + BODY, "bash", "must begin with #!"),
    ("\n" + BODY, "bash", "must begin with #!"),
    ("", "bash", "must begin with #!"),
    (BODY.rstrip("\n"), "bash", "must end with a newline"),
    (BODY.replace("\n", "\r\n"), "bash", "U+000D"),
    (BODY + "a\0b\n", "bash", "U+0000"),
    (BODY + "a\x1bb\n", "bash", "U+001B"),
    (BODY + "a\u2028b\n", "bash", "U+2028"),
    (BODY + "a\x85b\n", "bash", "U+0085"),
    (BODY + "a\udcffb\n", "bash", "U+DCFF"),
    (BODY + "#" + "x" * SIZE_LIMIT + "\n", "bash", "must be below"),
    (ARRAY, "bash", "a bash script has no #SBATCH lines"),
    (ARRAY + "#SBATCH --time=1\n", "slurm", "after the first command"),
    (_with("#SBATCH --wrap=x"), "slurm", "not an option of a rendered header"),
    (_with("#SBATCH --hold"), "slurm", "not an option of a rendered header"),
    (_with("#SBATCH -J name"), "slurm", "exactly one --option"),
    (_with("#SBATCH --comment=a b"), "slurm", "exactly one --option"),
    (_with("#SBATCH --comment=a --hold"), "slurm", "exactly one --option"),
    (_with("#SBATCH"), "slurm", "exactly one --option"),
    (_with("#SBATCH --"), "slurm", "exactly one --option"),
    (_with("#SBATCH--time=1"), "slurm", "exactly one --option"),
    (_with('#SBATCH --comment="open'), "slurm", "is not closed"),
    (_with("#SBATCH --comment="), "slurm", "empty value"),
    (_with("#SBATCH --array=0-9"), "slurm", "stands twice"),
    (_with(" #SBATCH --time=1"), "slurm", "sbatch ignores it"),
    (_with("# SBATCH --time=1"), "slurm", "sbatch ignores it"),
    (_with("##SBATCH --time=1"), "slurm", "sbatch ignores it"),
    (_with("#sbatch --time=1"), "slurm", "sbatch ignores it"),
    (_with("#PBS -N other"), "slurm", "#PBS and #BSUB"),
    (_with("#BSUB -J other"), "slurm", "#PBS and #BSUB"),
    (BODY, "slurm", "has no --array"),
]


@pytest.mark.parametrize(("text", "kind", "message"), BAD, ids=[f"{n}-{m[:20]}" for n, (_, _, m) in enumerate(BAD)])
def test_bad_scripts_are_named_with_the_line(text: str, kind: ScriptKind, message: str) -> None:
    problems = lint_script(text, name="train.sh", kind=kind)
    assert any(message in problem.message for problem in problems), problems
    assert all(problem.file == "train.sh" and "\n" not in str(problem) for problem in problems)


def test_a_directive_with_an_unknown_option_is_answered_with_the_valid_ones() -> None:
    (problem,) = lint_script(_with("#SBATCH --partiton=x"), name="x", kind="slurm")
    assert problem.value == "partiton" and " partition," in problem.message


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        # Each measured with sbatch 22.05.
        (' --job-name="a b"', ["--job-name=a b"]),
        (" --comment='si\"ngle \\q q'", ['--comment=si"ngle q q']),
        ("\t--open-mode=append # trailing comment", ["--open-mode=append"]),
        (' --comment="a # b" --nice=3', ["--comment=a # b", "--nice=3"]),
        (' --array=0-1 --comment="a\\"b\\\\c"', ["--array=0-1", '--comment=a"b\\c']),
        (' --constraint="" x', ["--constraint=", "x"]),
        ("", []),
    ],
)
def test_directives_are_split_as_sbatch_splits_them(line: str, arguments: list[str]) -> None:
    assert split_directive(line) == arguments


@given(st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1))
def test_any_quoted_value_comes_back_as_one_argument(value: str) -> None:
    assert split_directive(f" --comment={quote_value(value)}") == [f"--comment={value}"]


def test_log_pattern_takes_percent_signs_of_the_folder_literally_and_refuses_a_backslash() -> None:
    assert log_pattern("/a/100%j") == "/a/100%%j/%x_%A_%a.log"
    with pytest.raises(ValueError, match="backslash"):
        log_pattern("/a\\b")


def test_every_option_is_either_addable_or_managed_or_a_profile_key() -> None:
    groups = [set(ALLOWED_EXTRA), set(MANAGED), set(PROFILE_KEY)]
    assert sum(map(len, groups)) == len(set().union(*groups))
    assert set(SHORT.values()) <= set().union(*groups)


def test_bash_checks_the_syntax_without_running_anything(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    good, bad = tmp_path / "-good.sh", tmp_path / "bad.sh"
    good.write_text(f"#!/usr/bin/env bash\ntouch '{marker}'\n")
    bad.write_text("#!/usr/bin/env bash\nif true; then\n")
    check_syntax(good)
    assert not marker.exists()
    with pytest.raises(InvalidScript, match=r"bash -n: .*line 3"):
        check_syntax(bad)
