"""What `status` shows at the widths and heights that terminals have, and in the encodings that they know."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest

from agent.cli.status import _fitting
from agent.report.columns import Column, fit
from agent.report.status import open_table, print_overview


def candidate(name: str, value: float, **more: Any) -> dict[str, Any]:
    shown = {
        "name": name,
        "source": "optuna_tpe",
        "value": value,
        "std": 0.0123,
        "n": 5,
        "rows": 5,
        "outcomes": {"ok": 4, "crashed": 1},
        "values": {},
        "message": "",
        "instead_of": None,
        "verdict": "not better",
        "violates": "",
        "measures": {"seconds": 1234.5, "peak_memory_gb": 10.25},
        "why": "",
        "test": {},
    }
    return shown | more


def study(rounds: int = 2, candidates: int = 3, **more: Any) -> dict[str, Any]:
    entries = [
        {
            "round": number,
            "closed_at": "2026-01-01T00:00:00+00:00",
            "ranking": [f"c{k:02d}" for k in range(candidates)],
            "notes": [],
            "noise": {"sd": 0.0, "df": 4},
            "plan": None,
            "candidates": [candidate(f"c{k:02d}", 0.9 + k / 1000) for k in range(candidates)],
        }
        for number in range(1, rounds + 1)
    ]
    view: dict[str, Any] = {
        "study": "demo",
        "folder": "/runs/demo",
        "task": "demo",
        "trainer": "resnet9",
        "objective": {"metric": "foreground_mean_of_dice", "direction": "maximize"},
        "incumbent": {"round": 1, "candidate": "c01", "verdict": "leading", "mean": 0.9},
        "rounds": entries,
        "confirmations": [],
        "open": None,
        "also": [],
        "pareto": None,
        "ended": None,
        "warning": None,
        "control": {"controller": None, "stop": None, "paused": None},
        "llm": {"calls": 0, "cost": 0.0},
        "hours": {
            "gpu": {"spent": 0.0, "committed": 0.0, "unknown_rows": 0, "cap": None, "left": None},
            "cpu": {"spent": 0.0, "committed": 0.0, "unknown_rows": 0, "cap": None, "left": None},
            "unaccounted": [],
            "first_submission": None,
            "max_hours": None,
            "paused": None,
        },
    }
    return view | more


def shown(view: dict[str, Any], width: int) -> list[str]:
    from rich.console import Console

    stream = io.StringIO()
    print_overview(view, Console(file=stream, width=width))
    return stream.getvalue().splitlines()


@pytest.fixture(autouse=True)
def no_control(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who drives a study and what models cost have tests of their own."""
    monkeypatch.setattr("agent.report.status.control_lines", lambda *_, **__: [])
    monkeypatch.setattr("agent.report.status.summary", lambda *_: "")


@pytest.mark.parametrize("width", range(40, 201, 8))
def test_candidate_and_value_stand_in_one_line_at_every_width(width: int) -> None:
    lines = shown(study(), width)
    assert all(len(line.rstrip()) <= width for line in lines)
    for number, name, value in [(1, "c00", "0.9000"), (1, "c01", "0.9010"), (2, "c02", "0.9020")]:
        assert any(re.match(rf"\s*{number}\s+{name}\*?\s.*{value} sd 0\.0123 \(n=5\)", line) for line in lines), lines
    assert any("best" in line for line in lines)


def test_several_objectives_are_readable_at_80() -> None:
    lines = shown(study(also=["seconds", "peak_memory_gb"]), 80)
    row = next(line for line in lines if re.match(r"\s*1\s+c00", line))
    assert "0.9000 sd 0.0123 (n=5)" in row and "1234" in row and "10.25" in row
    assert any("left out at this width" in line and "source" in line for line in lines)


def test_test_values_stand_beside_the_objective() -> None:
    view = study(rounds=1, candidates=1)
    view["rounds"][0]["candidates"][0]["test"] = {"foreground_mean_of_dice": {"value": 0.7654, "std": None, "n": 5}}
    text = "\n".join(shown(view, 120))
    assert "0.7654" in text and "test" in text


def test_noise_of_nothing_says_what_it_means() -> None:
    view = study()
    view["rounds"][-1]["candidates"][0]["why"] = "is better"
    assert "exactly the same value" in " ".join(shown(view, 200))


@pytest.mark.parametrize("rounds, candidates", [(1, 2), (3, 4), (40, 6), (2, 300)])
def test_a_watched_study_fits_the_terminal(rounds: int, candidates: int) -> None:
    rows = [{"row": k, "candidate": f"c{k:02d}", "fold": 0, "seed": 0, "state": "running"} for k in range(60)]
    now = {"round": 9, "label": "round 9", "step": "collect", "rows": rows, "counts": {"running": 60}}
    text = _fitting(study(rounds, candidates, open=now), width=80, height=24)
    assert len(text.splitlines()) <= 24
    assert "round 9 is open" in text, "what happens now is never cut"


def test_an_epoch_without_a_last_one_is_a_number() -> None:
    from rich.console import Console

    row = {"row": 0, "candidate": "c00", "fold": 0, "seed": 0, "state": "running", "epoch": 2, "epochs": None}
    stream = io.StringIO()
    state = {"label": "round 1", "step": "collect", "rows": [row], "counts": {"running": 1}}
    Console(file=stream, width=80).print(open_table(state, bar=True))
    assert "None" not in stream.getvalue() and re.search(r"running\s+2\b", stream.getvalue())


def test_the_bar_has_a_line_of_its_own() -> None:
    from rich.console import Console

    row = {"row": 0, "candidate": "c00", "fold": 0, "seed": 0, "state": "running", "epoch": 2, "epochs": 4}
    stream = io.StringIO()
    state = {"label": "round 1", "step": "collect", "rows": [row], "counts": {"running": 1}}
    Console(file=stream, width=80).print(open_table(state, bar=True))
    bar = next(line for line in stream.getvalue().splitlines() if "━" in line)
    assert "row" not in bar and "candidate" not in bar


def test_the_columns_that_matter_least_go_first() -> None:
    columns = [
        Column(name="a", cells=["x" * 10]),
        Column(name="b", rank=2, cells=["y" * 10]),
        Column(name="c", rank=1, cells=["z" * 10]),
        Column(name="d", rank=3, cells=[""]),
    ]
    assert fit(columns, 34)[1] == []
    assert fit(columns, 33)[1] == ["b"]
    assert fit(columns, 5)[1] == ["b", "c"], "what always stands there is kept"
