"""The status table: every candidate of a short study, one line for each earlier round of a long one."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from agent.report import status


def _candidate(name: str, value: float | None, **more: Any) -> dict[str, Any]:
    outcomes = {"ok": 2} if value is not None else {"crashed": 2}
    n = 2 if value is not None else 0
    fields = {"name": name, "source": "optuna_tpe", "value": value, "std": None, "n": n, "outcomes": outcomes}
    return fields | {"message": "", "values": {}, "verdict": None, "violates": "", "measures": {}} | more


def _round(number: int, *candidates: dict[str, Any], ranking: list[str]) -> dict[str, Any]:
    return {"round": number, "closed_at": "", "ranking": ranking, "notes": [], "candidates": list(candidates)}


def _view(rounds: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    goal = {"metric": "score", "direction": "maximize"}
    head = {"study": "demo", "folder": "/runs/demo", "trainer": "noop", "task": "demo", "objective": goal}
    nothing: dict[str, Any] = {"llm": {"calls": 0, "not_made": 0}, "hours": {"unaccounted": [], "paused": None}}
    nothing["hours"] |= {
        name: {"spent": 0, "committed": 0, "unknown_rows": 0, "cap": None} for name in ("gpu", "cpu")
    }
    nothing["control"] = dict.fromkeys(("controller", "successor", "stop", "paused"))
    none = {"incumbent": None, "open": None, "confirmations": [], "also": [], "pareto": None}
    return head | none | {"rounds": rounds} | nothing | more


def _lines(view: dict[str, Any]) -> list[str]:
    stream = io.StringIO()
    status.print_overview(view, Console(file=stream, width=120))
    return [" ".join(line.split()) for line in stream.getvalue().splitlines()]


def _long(rounds: int) -> list[dict[str, Any]]:
    """Rounds of two candidates, of which the second is the better."""
    return [
        _round(number, _candidate("c00", 0.1), _candidate("c01", number / 1000), ranking=["c01", "c00"])
        for number in range(1, rounds + 1)
    ]


def test_a_short_study_shows_every_candidate() -> None:
    lines = _lines(_view(_long(100)))
    assert len(lines) == 2 + 200
    assert lines[2] == "1 c00 optuna_tpe 2 ok 0.1000 (n=2)"
    assert lines[3] == "1 c01 optuna_tpe 2 ok 0.0010 (n=2)"


def test_earlier_rounds_of_a_long_study_are_one_line_each_by_their_best() -> None:
    lines = _lines(_view(_long(101)))
    assert lines[2] == "1 c01 of 2 optuna_tpe 4 ok 0.0010 (n=2)"
    assert lines[3:5] == ["2 c00 optuna_tpe 2 ok 0.1000 (n=2)", "2 c01 optuna_tpe 2 ok 0.0020 (n=2)"]
    assert lines[-1].startswith("1 earlier rounds by their best candidate alone")
    assert len(lines) == 2 + 1 + 200 + 1


def test_the_best_of_the_study_is_marked_in_an_earlier_round_too() -> None:
    best = {"round": 1, "candidate": "c00", "verdict": "confirmed"}
    assert _lines(_view(_long(150), incumbent=best))[2] == "1 c00 of 2 optuna_tpe 4 ok 0.1000 (n=2) best, confirmed"


def test_verdicts_stand_beside_the_values_and_the_newest_rounds_in_words() -> None:
    judged = [
        _candidate("c00", 0.5, verdict="incumbent", why="incumbent: round 1 c00 is leading"),
        _candidate("c01", 0.6, verdict="borderline", why="borderline, the incumbent is kept: gain +0.1"),
        _candidate("c02", 0.7, verdict="accepted", why="accepted: gain +0.2"),
    ]
    noise = {"sd": 0.0125, "variance": 0.00015625, "df": 12, "left_out": []}
    entry = _round(1, *judged, ranking=["c02", "c01", "c00"]) | {"noise": noise}
    lines = _lines(_view([entry], incumbent={"round": 1, "candidate": "c02", "verdict": "accepted"}))
    assert [line.split(") ")[-1] for line in lines[2:5]] == ["was the incumbent", "borderline", "best, accepted"]
    assert lines[5] == "round 1 c02 accepted: gain +0.2"
    assert lines[8] == "noise: one trial varies by 0.0125 (standard deviation, 12 degrees of freedom)"


def test_further_quantities_limits_and_the_front_have_their_place() -> None:
    found = [
        _candidate("c00", 0.5, measures={"score": 0.5, "seconds": 12.345}, verdict="incumbent"),
        _candidate(
            "c01", 0.9, measures={"score": 0.9, "seconds": 900.0}, violates="the study's limit is seconds<=600"
        ),
        _candidate("c02", None),
    ]
    front = {"front": [{"round": 1, "candidate": "c00"}]}
    best = {"round": 1, "candidate": "c00", "verdict": "leading"}
    lines = _lines(_view([_round(1, *found, ranking=[])], also=["seconds"], pareto=front, incumbent=best))
    assert lines[1].split()[-2:] == ["score", "seconds"]
    assert lines[2].endswith("0.5000 (n=2) 12.35 best, leading, on the front")
    assert lines[3].endswith("0.9000 (n=2) 900 beyond a limit")
    assert lines[4].endswith("crashed -")


def test_a_round_without_any_value_and_a_newest_round_wider_than_the_table() -> None:
    failed = _round(1, _candidate("c00", None, message="out\nof memory"), _candidate("c01", None), ranking=[])
    wide = _round(2, *(_candidate(f"c{number:02d}", 0.5) for number in range(250)), ranking=["c00"])
    lines = _lines(_view([failed, wide]))
    assert lines[2] == "1 c00 of 2 optuna_tpe 4 crashed -"
    assert "round 1 c00: out of memory" in lines, "below the table, where it takes no column's room"
    assert len(lines) == 2 + 1 + 250 + 1 + 1


def test_trials_stand_under_their_candidate_when_one_round_is_asked_for() -> None:
    trials = [
        {"row": 0, "fold": 0, "seed": 7, "attempt": 2, "outcome": "ok", "metrics": {"score": 0.25}},
        {"row": 1, "fold": 1, "seed": 7, "attempt": None, "outcome": "lost", "metrics": {}},
    ]
    lines = _lines(_view([_round(1, _candidate("c00", 0.25, trials=trials), ranking=["c00"])]))
    assert lines[3:] == ["f0 s7 attempt 2 ok 0.2500", "f1 s7 lost -"]


def test_a_model_that_failed_does_not_look_as_if_it_had_proposed() -> None:
    instead = {"source": "llm", "why": ["LLMUnavailable: overloaded"]}
    entry = _round(2, _candidate("c00", 0.5, instead_of=instead, source="optuna_tpe"), ranking=["c00"])
    entry["notes"] = ["the language model gave no proposal (LLMUnavailable: overloaded)"]
    spent = {"calls": 3, "failed": 1, "not_made": 8, "input_tokens": 900, "output_tokens": 100, "cost_usd": 0.5}
    spent |= {"unknown_price": 1}
    lines = _lines(_view([entry], llm=spent))
    assert any("optuna_tpe for llm" in line for line in lines)
    assert any("round 2: the language model gave no proposal" in line for line in lines)
    assert any(
        "3 calls, 1 failed, 8 not made, 1,000 tokens, $0.5000 + 1 call of unknown price" in line for line in lines
    )


def _row(number: int, state: str, **more: Any) -> dict[str, Any]:
    return {"row": number, "candidate": f"c{number:02d}", "fold": 0, "seed": 0, "state": state} | more


def _drawn(renderable: Any) -> str:
    stream = io.StringIO()
    Console(file=stream, width=100).print(renderable)
    return stream.getvalue()


def test_an_open_round_shows_epochs_and_how_far_it_is() -> None:
    rows = [_row(0, "ok", value=0.9), _row(1, "running", epoch=3, epochs=6, value=0.5), _row(2, "pending")]
    state = {
        "round": 4,
        "label": "round 4",
        "step": "collect",
        "rows": rows,
        "counts": {"ok": 1, "running": 1, "pending": 1},
    }
    text = _drawn(status.open_table(state, bar=True))
    assert "round 4 is open (step collect): 1 ok, 1 pending, 1 running" in text
    assert "3/6" in text and "0.9000" in text
    # One row done and half of another, of three: half of the 40 columns.
    assert text.count("━") + text.count("╸") >= 20


def test_a_large_open_round_shows_what_runs_or_failed_first() -> None:
    rows = [_row(number, "pending") for number in range(100)] + [_row(100, "running"), _row(101, "bad_config")]
    lines = _drawn(
        status.open_table({"round": 1, "label": "round 1", "step": "collect", "rows": rows}, most=10)
    ).splitlines()
    assert any("running" in line for line in lines) and any("bad_config" in line for line in lines)
    assert "92 more" in lines[-1]
