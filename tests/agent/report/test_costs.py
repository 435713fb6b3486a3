"""What models cost, as a table: numbers whole at 80 columns, what was not asked is no call, one is not many."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from agent.report.costs import counted, dollars, elided, print_costs, summary

LINE = {"round": 2, "role": "consultant_a", "provider": "openrouter", "model": "anthropic/claude-sonnet-5.5-20261001"}
COUNTS = {"calls": 12, "failed": 0, "not_made": 0, "input_tokens": 1_234_567, "cached_tokens": 0, "searches": 0}
COSTS = {"output_tokens": 45_678, "cost_usd": 12.3456, "unknown_price": 0}


def table(width: int, lost: int = 0, **changes: Any) -> str:
    line = LINE | COUNTS | COSTS | changes
    total = COUNTS | COSTS | changes | {"unanswered": ["x"] * lost, "lost_tries": lost}
    console = Console(file=io.StringIO(), width=width)
    print_costs({"lines": [line], "total": total}, console)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_a_line_is_a_line_at_80_columns_and_empty_columns_are_left_out() -> None:
    shown = table(80).splitlines()
    assert shown[0].split() == ["round", "role", "model", "calls", "input", "output", "USD"]
    assert len(shown) == 3 and all(len(line) <= 80 for line in shown)
    assert "1,234,567" in shown[1] and "$12.3456" in shown[1] and "openrouter...5-20261001" in shown[1]
    assert "openrouter/anthropic/claude-sonnet-5.5-20261001" in table(120)


@pytest.mark.parametrize("width", [20, 50])
def test_numbers_stand_whole_however_narrow_it_gets(width: int) -> None:
    shown = table(width, failed=3, not_made=4, cached_tokens=987_654, searches=21)
    for text in ("1,234,567", "987,654", "45,678", "$12.3456", "21", "not made"):
        assert text in shown
    assert len(shown.splitlines()) == 3


def test_one_is_not_many() -> None:
    assert (counted(1, "call"), counted(2, "call"), counted(2, "try", "tries")) == ("1 call", "2 calls", "2 tries")
    assert "1 call was cut off before its reply was saved" in table(200, lost=1)
    assert "1 try of a call ended" in table(200, lost=1)
    assert "2 calls were cut off before their replies were saved" in table(200, lost=2)


def test_costs_in_words() -> None:
    assert dollars({"cost_usd": 0.0, "unknown_price": 0}) == "$0.0000"
    assert dollars({"cost_usd": 0.0, "unknown_price": 2}) == "price unknown"
    assert dollars({"cost_usd": 0.5, "unknown_price": 1}) == "$0.5000 + 1 call of unknown price"
    assert summary(COUNTS | COSTS | {"calls": 0}) == ""
    assert summary(COUNTS | COSTS | {"not_made": 8, "calls": 1}).startswith("language models: 1 call, 8 not made, ")


def test_the_middle_of_a_name_gives_way() -> None:
    assert elided("a" * 12, 12) == "a" * 12
    assert elided("openai/gpt-6.1-sol", 12) == "opena...-sol" and len(elided("x" * 50, 13)) == 13


def test_an_exchange_that_cannot_be_read_costs_no_report(tmp_path: Path) -> None:
    from agent.report.costs import _record

    path = tmp_path / "001_checker.json"
    for text in ("{", "[]", "{}", json.dumps(LINE | {"error": "words"}), json.dumps(LINE | {"error": {}})):
        path.write_text(text)
        assert _record(path) is None
    assert _record(tmp_path / "none.json") is None
