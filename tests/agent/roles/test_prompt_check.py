"""A person's prompt files are looked at before anything starts: names, syntax, blocks, and what they ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import UsageError
from agent.resources import templates
from agent.roles.prompt_check import check_prompts

SHIPPED = templates() / "prompts"
GOOD = "{% block system %}Be brief.{% endblock %}\n{% block user %}{{ digest }}{% endblock %}\n"


def refusal(folder: Path) -> str:
    with pytest.raises(UsageError) as caught:
        check_prompts(folder, SHIPPED, said="--prompts own")
    return str(caught.value)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_copies_of_the_shipped_files_are_good(tmp_path: Path) -> None:
    for path in SHIPPED.rglob("*.j2"):
        write(tmp_path, path.relative_to(SHIPPED).as_posix(), path.read_text())
    check_prompts(tmp_path, SHIPPED, said="--prompts own")


def test_a_changed_file_with_a_part_of_its_own_is_good(tmp_path: Path) -> None:
    text = "{% block system %}{% include 'parts/mine.j2' %}{% endblock %}{% block user %}{{ digest }}{% endblock %}"
    write(tmp_path, "autotuner.j2", text)
    write(tmp_path, "parts/mine.j2", "Propose {{ count }}; {% for i in range(2) %}{{ i }}{% endfor %}")
    write(tmp_path, "README.md", "not a prompt")
    check_prompts(tmp_path, SHIPPED, said="--prompts own")


def test_folders_without_prompts_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone") == "--prompts own: there is no such folder"
    write(tmp_path, "autotuner.txt", GOOD)
    assert refusal(tmp_path).startswith("--prompts own: holds no prompt file; prompts: analyst.j2, autotuner.j2")


def test_a_misspelt_name_is_answered_with_the_near_one_and_all(tmp_path: Path) -> None:
    write(tmp_path, "autotunner.j2", GOOD)
    told = refusal(tmp_path)
    assert told.startswith(
        "--prompts own: autotunner.j2: no prompt of that name; did you mean autotuner.j2? prompts: "
    )
    assert "parts/autotuner_role.j2" in told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{% block system %}\n{% if %}", "line 2: Expected an expression"),
        (GOOD.replace("{{ digest }}", "\n{{ digest | loud }}"), "line 3: No filter named 'loud'"),
        ("{% block user %}{{ digest }}{% endblock %}", "file: has no block system"),
        ("Propose {{ count }}.", "file: has no block system and no block user"),
        (
            GOOD.replace("{{ digest }}", "\n{{ digets }}"),
            "line 3: digets: not given to this file; did you mean digest? it has base_name, count, digest",
        ),
        (GOOD + "{% include 'parts/none.j2' %}", "line 3: includes parts/none.j2, which is in neither folder"),
    ],
)
def test_each_problem_of_a_file_names_the_file_and_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, "autotuner.j2", text)
    told = refusal(tmp_path)
    assert told.startswith(f"{path}: ") and said in told


def test_a_part_has_what_every_prompt_that_includes_it_has(tmp_path: Path) -> None:
    """The autotuner has a digest, the repair turn has not, and both include the role."""
    path = write(tmp_path, "parts/autotuner_role.j2", "You propose {{ count }}.")
    check_prompts(tmp_path, SHIPPED, said="--prompts own")
    path.write_text("You read {{ digest }}.")
    assert "line 1: digest: not given to this file; it has count" in refusal(tmp_path)


def test_every_problem_of_every_file_is_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, "autotuner.j2", "{% if %}")
    write(tmp_path, "checker.j2", "{{ nothing }}")
    (tmp_path / "analyst.j2").write_bytes(b"\xff\xfe")
    told = refusal(tmp_path).splitlines()
    assert len(told) == 4 and "not UTF-8 at byte 0" in refusal(tmp_path)
