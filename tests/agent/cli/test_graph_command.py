"""`roundtable graph`: where it writes, what it refuses, and that a study's settings are drawn."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from agent.api import TuneOptions
from agent.api.begin import begin
from agent.cli.main import run
from agent.store.store import Store
from agent.store.study import Settings

NOOP = Path(__file__).parents[2] / "programs" / "noop.yaml"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    options = TuneOptions(
        task="demo", trainer=str(NOOP), output_dir=tmp_path / "runs", data={"log": str(tmp_path / "log")}
    )
    return begin(options)


def test_mermaid_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["graph"]) == 0
    shown = capsys.readouterr().out
    assert "flowchart TB" in shown and "autotuner" in shown
    assert run(["graph", "--proposer", "bayes"]) == 0
    assert "autotuner" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "start"),
    [("round.svg", b"<svg"), ("round.mmd", b"---"), ("ROUND.PNG", b"\x89PNG"), ("a b.SVG", b"<svg")],
)
def test_a_file_is_replaced(tmp_path: Path, name: str, start: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    if name.endswith("PNG"):
        pytest.importorskip("vl_convert")
    path = tmp_path / name
    path.write_text("old")
    assert run(["graph", "--proposer", "panel", "--output", str(path)]) == 0
    assert path.read_bytes().startswith(start)
    assert capsys.readouterr().out == f"{path}\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["round.pdf", "round", "round.svg.txt", "none/round.svg"])
def test_what_cannot_be_written_is_refused(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["graph", "--output", str(tmp_path / name)]) == 2
    message = capsys.readouterr().err
    assert ".svg, .png, .mmd" in message if "/" not in name else "there is no folder" in message
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_way_is_one_clear_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "round.svg").mkdir()
    assert run(["graph", "--output", str(tmp_path / "round.svg")]) == 2
    assert "round.svg" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["round.svg"]


def test_a_study_draws_its_settings(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    study = str(store.paths.root)
    assert run(["graph", "--study", study]) == 0
    assert "A round of demo" in capsys.readouterr().out
    settings = Settings(provider="anthropic", proposer="panel", consult_turns=5, candidates=6, critique=False)
    store.put_settings(settings)
    assert run(["graph", "--study", study]) == 0
    shown = capsys.readouterr().out
    assert "5 turns" in shown and "6 candidates" in shown
    assert "critique" not in shown and "researcher" not in shown
    store.put_settings(dataclasses.replace(settings, llm={"search_provider": "google"}))
    assert run(["graph", "--study", study]) == 0
    assert "researcher" in capsys.readouterr().out
    store.put_settings(dataclasses.replace(settings, provider="none"))
    assert run(["graph", "--study", study]) == 0
    assert "consultant" not in capsys.readouterr().out


def test_an_unknown_study_lists_the_studies(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["graph", "--study", "nope", "--output-dir", str(store.paths.root.parent)]) == 2
    assert "demo" in capsys.readouterr().err
