"""The overview of real studies: closed rounds, an open one, rows in every state."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.__main__ import main
from agent.errors import InvalidStudy
from agent.report.overview import open_round_state, overview
from tests.agent.orchestrator.conftest import Lab, lab

__all__ = ["lab"]


def test_an_open_manual_round_shows_each_rows_state(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.tune(candidates=2, confirm="final")
    lab.tune(auto_train=False, candidates=3)
    store = lab.store()
    paths = store.open_folder()
    assert paths is not None
    running, broken = paths.attempt("c00", 0, 0, 1), paths.attempt("c01", 0, 0, 1)
    for folder in (running, broken):
        folder.root.mkdir(parents=True)
        folder.claim.write_text("{}")
    running.progress.write_text(json.dumps({"epoch": 2, "epochs": 5, "metrics": {"score": 0.4}}))
    broken.result.write_text("{")
    state = open_round_state(store, paths)
    assert [row["state"] for row in state["rows"]] == ["running", "corrupt_result", "pending"]
    assert (state["rows"][0]["epoch"], state["rows"][0]["value"]) == (2, 0.4)
    capsys.readouterr()
    assert main(["status", "--study", "demo", "--output-dir", str(lab.root)]) == 0
    shown = capsys.readouterr().out
    assert "corrupt_result" in shown and "round 2 is open" in shown and "at fresh seeds" in shown
    assert main(["status", "--study", "demo", "--output-dir", str(lab.root), "--json"]) == 0
    view = json.loads(capsys.readouterr().out)
    assert view == json.loads(json.dumps(overview(store)))
    assert len(view["rounds"]) == 1 and len(view["confirmations"]) == 1


def test_a_broken_incumbent_is_named(lab: Lab, tmp_path: Path) -> None:
    lab.tune()
    store = lab.store()
    store.paths.incumbent.write_text("{")
    with pytest.raises(InvalidStudy, match=r"incumbent\.json"):
        overview(store)
