"""Prices: the shipped table, a person's own, and that unknown is never zero."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from agent.errors import UsageError
from agent.llm.base import Usage
from agent.llm.presets import PRESETS
from agent.llm.prices import InvalidPrices, PriceTable, in_words, load_prices, parse_prices

TODAY = date(2026, 11, 20)
ENTRY = {
    "provider": "openai",
    "model": "gpt-x",
    "input": 2.0,
    "cached_input": 0.5,
    "cache_write": 3.0,
    "output": 10.0,
    "search": 0.01,
    "as_of": "2026-11-01",
    "source": "https://prices.example/page",
}


def _table(*entries: dict[str, Any], today: date = TODAY) -> PriceTable:
    prices = parse_prices({"schema_version": 1, "prices": list(entries)}, file="prices.yaml")
    return PriceTable(prices, today=today)


def _problems(*entries: Any) -> list[str]:
    with pytest.raises(InvalidPrices) as caught:
        parse_prices({"schema_version": 1, "prices": list(entries)}, file="prices.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_a_call_costs_what_its_kinds_of_tokens_cost() -> None:
    usage = Usage(input_tokens=1000, cached_tokens=300, cache_write_tokens=200, output_tokens=100, searches=2)
    cost = _table(ENTRY).cost(usage, "openai", "gpt-x")
    assert cost == pytest.approx((500 * 2.0 + 300 * 0.5 + 200 * 3.0 + 100 * 10.0) / 1e6 + 0.02)


def test_cached_input_without_a_price_of_its_own_costs_as_any_input() -> None:
    entry = {key: value for key, value in ENTRY.items() if key not in ("cached_input", "cache_write")}
    usage = Usage(input_tokens=1000, cached_tokens=300, cache_write_tokens=200)
    assert _table(entry).cost(usage, "openai", "gpt-x") == pytest.approx(1000 * 2.0 / 1e6)


@pytest.mark.parametrize(
    ("provider", "model", "usage"),
    [
        ("openai", "gpt-y", Usage(input_tokens=1)),
        ("openrouter", "gpt-x", Usage(input_tokens=1)),
        ("ollama", "gpt-x", Usage()),
        ("openai", "gpt-x-mini", Usage(input_tokens=1)),
    ],
)
def test_what_no_entry_covers_has_no_price(provider: str, model: str, usage: Usage) -> None:
    table = _table(ENTRY)
    assert table.cost(usage, provider, model) is None
    assert table.worst_cost(provider, model, input_tokens=1, output_tokens=1, searches=0) is None


def test_a_search_without_a_price_makes_the_cost_unknown() -> None:
    table = _table({**ENTRY, "search": None})
    assert table.cost(Usage(input_tokens=10), "openai", "gpt-x") is not None
    assert table.cost(Usage(input_tokens=10, searches=1), "openai", "gpt-x") is None
    assert table.worst_cost("openai", "gpt-x", input_tokens=1, output_tokens=1, searches=1) is None


def test_a_person_may_say_that_a_local_model_is_free() -> None:
    free = ENTRY | {"provider": "ollama", "model": "*", "input": 0, "output": 0, "search": 0}
    table = _table({key: value for key, value in free.items() if not key.startswith("cache")})
    assert table.cost(Usage(input_tokens=10**6, output_tokens=10**6), "ollama", "qwen3:8b") == 0.0


def test_dated_names_are_looked_up_without_the_date_unless_they_have_their_own_entry() -> None:
    usage = Usage(output_tokens=10**6)
    table = _table({**ENTRY, "model": "gpt-x-2026-01-01", "output": 1.0}, ENTRY)
    assert table.cost(usage, "openai", "gpt-x-2026-01-01") == 1.0
    assert table.cost(usage, "openai", "gpt-x-2026-02-02") == 10.0
    assert table.cost(usage, "openai", "gpt-x-20260202") == 10.0
    assert table.cost(usage, "openai", "gpt-x-latest") is None


def test_long_prompts_have_their_own_price() -> None:
    short = {**ENTRY, "up_to_input": 1000}
    long = {**ENTRY, "above_input": 1000, "input": 4.0, "cache_write": None}
    table = _table(short, long)
    assert table.cost(Usage(input_tokens=1000), "openai", "gpt-x") == pytest.approx(1000 * 2.0 / 1e6)
    assert table.cost(Usage(input_tokens=1001), "openai", "gpt-x") == pytest.approx(1001 * 4.0 / 1e6)
    assert _table(short).cost(Usage(input_tokens=1001), "openai", "gpt-x") is None


def test_a_price_holds_within_its_days_only() -> None:
    now = {**ENTRY, "until": "2026-12-31"}
    later = {**ENTRY, "from": "2027-01-01", "output": 20.0}
    costs = [
        _table(now, later, today=day).cost(Usage(output_tokens=10**6), "openai", "gpt-x")
        for day in (date(2026, 12, 31), date(2027, 1, 1))
    ]
    assert costs == [10.0, 20.0]
    assert _table(now, today=date(2027, 1, 1)).find("openai", "gpt-x") is None


def test_the_worst_case_is_never_below_any_usage_of_that_size() -> None:
    table = _table(
        {**ENTRY, "up_to_input": 1000},
        {**ENTRY, "above_input": 1000, "input": 1.0, "cache_write": None, "output": 1.0},
    )
    for size in (10, 1000, 1001, 5000):
        worst = table.worst_cost("openai", "gpt-x", input_tokens=size, output_tokens=50, searches=2)
        assert worst is not None
        for input_tokens in (0, min(size, 1000), size):
            for written in (0, input_tokens):
                usage = Usage(input_tokens=input_tokens, cache_write_tokens=written, output_tokens=50, searches=2)
                cost = table.cost(usage, "openai", "gpt-x")
                assert cost is not None and cost <= worst + 1e-12


def test_every_problem_of_a_table_is_listed_at_once() -> None:
    text = "\n".join(
        _problems(
            {**ENTRY, "provider": "opnai", "inputt": 1},
            {**ENTRY, "input": -1, "output": float("inf"), "search": "free", "cached_input": 10**6},
            {**ENTRY, "as_of": "01.11.2026", "until": "2026-13-01", "source": ""},
            {**ENTRY, "from": "2027-01-01", "until": "2026-01-01", "above_input": 5, "up_to_input": 5},
            {"provider": "openai"},
            "gpt-x",
        )
    )
    for said in (
        "prices.yaml: prices[0].inputt: unknown key; did you mean input?",
        "prices[0].provider = 'opnai': did you mean openai? must be one of scripted, anthropic",
        "prices[1].input = -1: must be USD per million tokens",
        "prices[1].output = inf",
        "prices[1].search = 'free'",
        "prices[1].cached_input = 1000000",
        "prices[2].as_of = '01.11.2026': must be a day such as",
        "prices[2].until = '2026-13-01'",
        "prices[2].source",
        "prices[3].until = '2026-01-01': must not lie before from (2027-01-01)",
        "prices[3].up_to_input = 5: must be above above_input (5)",
        "prices[4].as_of: missing",
        "prices[5] = 'gpt-x': must be a mapping",
    ):
        assert said in text, said


def test_two_entries_of_one_kind_are_refused() -> None:
    assert "stands twice" in _problems(ENTRY, {**ENTRY, "input": 3})[0]


@pytest.mark.parametrize("raw", [{}, {"schema_version": 2, "prices": [ENTRY]}, {"schema_version": 1, "prices": {}}])
def test_a_table_of_another_shape_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(InvalidPrices, match=r"prices\.yaml: (schema_version|prices)"):
        parse_prices(raw, file="prices.yaml")


@pytest.mark.parametrize("name", ["own.json", "own.yaml"])
def test_a_persons_file_comes_before_the_shipped_table(tmp_path: Path, name: str) -> None:
    shipped = load_prices(today=TODAY)
    own = {**ENTRY, "model": PRESETS["openai"].model, "input": 123.0}
    path = tmp_path / name
    path.write_text(json.dumps({"schema_version": 1, "prices": [own]}), encoding="utf-8")
    table = load_prices(path, today=TODAY)
    model = str(PRESETS["openai"].model)
    assert table.cost(Usage(input_tokens=10**6), "openai", model) == 123.0
    other = str(PRESETS["anthropic"].model)
    assert table.find("anthropic", other) == shipped.find("anthropic", other) is not None


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.json"):
        load_prices(tmp_path / "none.json")


def test_the_shipped_table_says_where_and_when_and_knows_every_default_model() -> None:
    table = load_prices(today=TODAY)
    for price in table.prices:
        assert price.source.startswith("https://") and date.fromisoformat(price.as_of) <= TODAY
        assert price.cached_input is None or price.cached_input <= price.input
        assert price.provider == "google" or price.output > price.input > 0
    for preset in PRESETS.values():
        if preset.model is not None:
            assert table.find(preset.name, preset.model, 20_000) is not None, preset.name
    assert not any(price.provider in ("ollama", "vllm", "custom", "openrouter") for price in table.prices)


def test_costs_in_words() -> None:
    assert [in_words(cost) for cost in (None, 0.0, 0.01234, 12.5, 1234.5)] == [
        "unknown",
        "$0.0000",
        "$0.0123",
        "$12.50",
        "$1,234.50",
    ]
