"""Commands that messages suggest are pasted into bash as they stand, wherever the study lies."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.__main__ import main
from agent.api import tune
from agent.api.begin import begin
from agent.cli.main import parser
from agent.errors import RoundtableError, StudyPaused
from agent.launch.profile import default_profile
from agent.launch.training import ensure
from agent.orchestrator.steer import open_round
from agent.orchestrator.training import circuit_breaker
from agent.pasteable import quoted, roundtable
from agent.report.control import control_lines
from agent.store.events import Refused
from agent.store.requests import halted_text
from agent.store.store import Store
from agent.store.study import Settings
from tests.agent.orchestrator.conftest import NOOP, Lab
from trainers.registry import TRAINERS

ODD = 'it\'s a $(touch pwned) "study" & co; -n'


@pytest.fixture
def odd(tmp_path: Path) -> Lab:
    folder = tmp_path / ODD
    folder.mkdir()
    return Lab(folder, [])


def pasted(text: str, cwd: Path) -> list[list[str]]:
    """The arguments of every `roundtable` command in a message, as bash hands them over."""
    found = []
    for command in re.findall(r"`(roundtable [^`]*)`", text):
        shell = f"roundtable() {{ printf '%s\\0' \"$@\"; }}\n{command}"
        done = subprocess.run(["bash", "-eu", "-c", shell], cwd=cwd, capture_output=True, text=True, check=True)
        found.append(done.stdout.split("\0")[:-1])
    assert not list(cwd.iterdir())
    return found


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(RoundtableError) as caught:
        call()
    return str(caught.value)


def test_words_are_quoted_and_paths_are_given_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        roundtable("retry", "--study", Path("a b"), "--rows", 3)
        == f"roundtable retry --study '{tmp_path}/a b' --rows 3"
    )
    assert quoted("it's") == "'it'\"'\"'s'"


def test_what_a_study_suggests_names_it_wherever_it_lies(odd: Lab, tmp_path: Path) -> None:
    store = begin(odd.options())
    store.put_settings(Settings(auto_train=True, launcher="local"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    paths = store.begin(1)
    store.disk.write_json(paths.closed, {"candidates": []})
    said = [refused(lambda: open_round(store, 1)), halted_text(store, paths)]
    for _ in range(10):
        store.journal.append(Refused(name="a", folder="round_1", message="Invalid partition"))
    with pytest.raises(StudyPaused) as caught:
        circuit_breaker.check(store)
    said.append(str(caught.value))
    view: dict[str, Any] = {"controller": None, "successor": None, "stop": {"by": "me"}, "paused": None}
    said += control_lines(view, now=datetime.now(UTC), study=store.paths.root)
    commands = [words for text in said for words in pasted(text, elsewhere)]
    assert {words[0] for words in commands} == {"tune", "status", "retry", "collect", "start"}
    for words in commands:
        parsed = parser(words[0]).parse_args(words)
        place = parsed.output_dir / parsed.study if words[0] == "tune" else Path(parsed.study)
        assert place == store.paths.root, words
    assert any("--auto-train" in words and words[-2:] == ["--force-round", "1"] for words in commands)


def test_the_lines_of_a_round_and_of_a_new_study_are_pasted(odd: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["init", "--task", "demo", "--trainer", str(NOOP), "--output-dir", str(odd.root), "--data", "log=x"])
        == 0
    )
    suggested = capsys.readouterr().out.splitlines()[-1].strip()
    [words] = pasted(f"`{suggested}`", _empty(odd))
    parsed = parser("tune").parse_args(words)
    assert (parsed.output_dir / parsed.study / "study.yaml").exists()
    other = Lab(odd.root / "other", [])
    outcome = tune(other.options(auto_train=False))
    done = subprocess.run(["bash", "-eu", "-c", "\n".join(outcome.commands)], cwd=_empty(odd), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert tune(other.options(auto_train=False)).closed == 1
    assert not list(_empty(odd).iterdir())


def _empty(odd: Lab) -> Path:
    folder = odd.root.parent / "empty"
    folder.mkdir(exist_ok=True)
    return folder


def test_where_an_environment_is_to_be_built_is_quoted(odd: Lab) -> None:
    from dataclasses import replace

    profile = replace(default_profile(), python=str(odd.root / "env" / "bin" / "python"))
    said = refused(lambda: ensure(profile, TRAINERS["resnet9"], root=None))
    assert f"`uv venv {quoted(odd.root / 'env')}`" in said
    assert f"--python {quoted(odd.root / 'env' / 'bin' / 'python')} " in said


def test_a_study_that_moved_is_suggested_where_it_is(odd: Lab) -> None:
    begin(odd.options())
    (odd.root / "demo").rename(odd.root / "renamed")
    store = Store.open(odd.root / "renamed")
    assert store.tune_command().endswith(f"--study renamed --output-dir {quoted(odd.root)}")
