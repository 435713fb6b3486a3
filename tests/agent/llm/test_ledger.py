"""What the journal's calls add up to, and caps that stop before the call that could break them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import LLMCapReached, UsageError
from agent.llm.base import Message, Request, Search, Usage
from agent.llm.ledger import SEARCH_TOKENS, Ledger, WorstCase, require_prices, worst_case
from agent.llm.prices import PriceTable, parse_prices
from agent.store.events import Event, ModelCalled, ModelReplied, RoundBegun
from agent.store.model_calls import model_calls

PRICES = PriceTable(
    parse_prices(
        {
            "schema_version": 1,
            "prices": [
                {
                    "provider": "openai",
                    "model": "gpt-x",
                    "input": 2.0,
                    "output": 10.0,
                    "search": 0.01,
                    "as_of": "2026-11-01",
                    "source": "here",
                }
            ],
        },
        file="prices",
    ),
    today=date(2026, 11, 20),
)
NO_PRICES = PriceTable([], today=date(2026, 11, 20))
PLAYER = {"role": "autotuner", "provider": "openai", "model": "gpt-x"}


def _call(call: str, *, tokens: int = 1000, cost: float | None = 0.01, **more: Any) -> ModelCalled:
    return ModelCalled(call=call, worst_tokens=tokens, worst_cost=cost, **(PLAYER | more))


def _reply(
    call: str,
    *,
    tokens: int = 100,
    cost: float | None = 0.001,
    lost: int = 0,
    usage: Mapping[str, int] | None = None,
) -> ModelReplied:
    usage = {"input_tokens": tokens - 10, "output_tokens": 10} if usage is None else usage
    return ModelReplied(call=call, usage=usage, cost=cost, lost=lost, error=None)


def _ledger(events: Sequence[Event], prices: PriceTable, **caps: Any) -> Ledger:
    """The ledger of a journal of these events."""
    calls = model_calls(event for event in events if isinstance(event, ModelCalled | ModelReplied))
    return Ledger(calls, prices, **caps)


def _request(**more: Any) -> Request:
    texts: dict[str, Any] = {"role": "autotuner", "system": "s" * 1000, "messages": (Message(role="user", text="u"),)}
    return Request(**(texts | more))


def test_nothing_asked_costs_nothing() -> None:
    spent = _ledger([RoundBegun(folder="round_1_x", round=1)], PRICES).spent()
    assert (spent.calls, spent.tokens, spent.cost, spent.unknown_calls) == (0, 0, 0.0, 0)


def test_answered_calls_count_what_they_took() -> None:
    ledger = _ledger([_call("001"), _reply("001"), _call("002"), _reply("002", cost=0.002)], PRICES)
    spent = ledger.spent()
    assert (spent.calls, spent.tokens, spent.unanswered_calls) == (2, 200, 0)
    assert spent.cost == pytest.approx(0.003)


def test_a_usage_that_cannot_be_and_was_written_down_all_the_same_counts_with_the_worst_case() -> None:
    spent = _ledger([_call("001"), _reply("001", tokens=10**15, cost=2e9)], PRICES).spent()
    assert (spent.calls, spent.tokens, spent.cost) == (1, 1000, 0.01)


def test_a_killed_call_counts_with_its_worst_case() -> None:
    spent = _ledger([_call("001"), _reply("001"), _call("002")], PRICES).spent()
    assert (spent.calls, spent.tokens, spent.unanswered_calls) == (2, 1100, 1)
    assert spent.cost == pytest.approx(0.011)


def test_a_call_that_was_killed_and_asked_again_counts_twice() -> None:
    spent = _ledger([_call("001", tokens=1000), _call("001", tokens=5000), _reply("001")], PRICES).spent()
    assert (spent.calls, spent.tokens, spent.unanswered_calls) == (2, 1100, 1)


def test_numbers_of_calls_begin_anew_in_every_round() -> None:
    entries = [_call("1/001"), _call("2/001"), _reply("2/001"), _reply("1/001")]
    spent = _ledger(entries, PRICES).spent()
    assert (spent.calls, spent.tokens, spent.unanswered_calls) == (2, 200, 0)
    assert _ledger([_call("1/001"), _reply("2/001")], PRICES).spent().unanswered_calls == 1


def test_lost_tries_of_an_answered_call_count_with_the_worst_case() -> None:
    spent = _ledger([_call("001"), _reply("001", lost=2)], PRICES).spent()
    assert (spent.calls, spent.tokens, spent.unanswered_calls) == (1, 2100, 1)
    assert spent.cost == pytest.approx(0.021)


def test_a_call_of_unknown_price_is_no_free_call() -> None:
    entries = [_call("001", cost=None), _reply("001", cost=None), _call("002", cost=None)]
    spent = _ledger(entries, NO_PRICES).spent()
    assert (spent.calls, spent.cost, spent.unknown_calls) == (2, 0.0, 2)
    row = _ledger(entries, NO_PRICES).rows()[0].to_json()
    assert row["cost"] is None and row["unknown_calls"] == 2


def test_a_price_that_is_given_later_prices_earlier_answers() -> None:
    spent = _ledger([_call("001", cost=None), _reply("001", cost=None)], PRICES).spent()
    assert (spent.unknown_calls, spent.cost) == (0, pytest.approx((90 * 2.0 + 10 * 10.0) / 1e6))


def test_a_call_that_failed_before_anything_was_charged_is_known_to_cost_nothing() -> None:
    entries = [_call("001", cost=None), _reply("001", usage={}, cost=None)]
    spent = _ledger(entries, NO_PRICES).spent()
    assert (spent.calls, spent.tokens, spent.cost, spent.unknown_calls) == (1, 0, 0.0, 0)


def test_the_cost_table_has_a_row_for_each_role_and_model() -> None:
    checker = {"role": "checker", "provider": "anthropic", "model": "claude-x"}
    entries = [_call("001"), _reply("001"), _call("002", **checker), _reply("002"), _call("003"), _reply("003")]
    rows = [row.to_json() for row in _ledger(entries, PRICES).rows()]
    assert [(row["role"], row["provider"], row["calls"], row["output_tokens"]) for row in rows] == [
        ("autotuner", "openai", 2, 20),
        ("checker", "anthropic", 1, 10),
    ]
    json.dumps(rows, allow_nan=False)


def test_a_cap_on_tokens_stops_before_the_call_that_could_break_it() -> None:
    entries = [_call("001"), _reply("001")]
    fits, breaks = WorstCase(tokens=900, cost=None), WorstCase(tokens=901, cost=None)
    ledger = _ledger(entries, NO_PRICES, max_tokens=1000)
    ledger.check(fits, **PLAYER)
    with pytest.raises(LLMCapReached) as caught:
        ledger.check(breaks, **PLAYER)
    for said in ("autotuner is not asked", "100 tokens are spent", "901", "1,000", "--max-llm-tokens"):
        assert said in str(caught.value)


def test_a_cap_on_cost_stops_before_the_call_that_could_break_it() -> None:
    ledger = _ledger([_call("001"), _reply("001", cost=0.4)], PRICES, max_cost=0.5)
    ledger.check(WorstCase(tokens=1, cost=0.1), **PLAYER)
    with pytest.raises(LLMCapReached) as caught:
        ledger.check(WorstCase(tokens=1, cost=0.1001), **PLAYER)
    for said in ("$0.4000 is spent", "may cost $0.1001", "cap of $0.5000", "raise --max-llm-cost"):
        assert said in str(caught.value)


def test_a_cap_on_cost_refuses_what_has_no_price() -> None:
    with pytest.raises(LLMCapReached, match="price of openai/gpt-x is unknown") as caught:
        _ledger([], NO_PRICES, max_cost=5).check(WorstCase(tokens=1, cost=None), **PLAYER)
    assert "--llm-prices FILE" in str(caught.value) and "--max-llm-tokens" in str(caught.value)
    earlier = [_call("001", cost=None), _reply("001", cost=None)]
    with pytest.raises(LLMCapReached, match="price of 1 earlier calls is unknown"):
        _ledger(earlier, NO_PRICES, max_cost=5).check(WorstCase(tokens=1, cost=0.1), **PLAYER)


def test_no_cap_no_refusal() -> None:
    _ledger([_call("001", cost=None)], NO_PRICES).check(WorstCase(tokens=10**9, cost=None), **PLAYER)


def test_a_killed_call_can_exhaust_a_cap() -> None:
    ledger = _ledger([_call("001", tokens=900)], PRICES, max_tokens=1000)
    with pytest.raises(LLMCapReached):
        ledger.check(WorstCase(tokens=101, cost=0.0), **PLAYER)


def test_the_worst_case_holds_texts_schema_answer_and_searches() -> None:
    plain = worst_case(_request(max_tokens=1000), "openai", "gpt-x", PRICES)
    assert plain.tokens > 1000 + 500 and plain.cost is not None
    schema = {"type": "object", "properties": {"x" * 500: {"type": "string"}}}
    assert worst_case(_request(max_tokens=1000, schema=schema), "openai", "gpt-x", PRICES).tokens > plain.tokens + 200
    assert worst_case(_request(max_tokens=1000), "openai", "gpt-x", PRICES, max_tokens=1).tokens == plain.tokens - 999
    search = worst_case(_request(max_tokens=1000, search=Search(query="q", max_uses=2)), "openai", "gpt-x", PRICES)
    assert search.tokens == plain.tokens + 2 * SEARCH_TOKENS
    assert search.cost == pytest.approx(plain.cost + 2 * (SEARCH_TOKENS * 2.0 / 1e6 + 0.01))
    twice = worst_case(_request(max_tokens=1000), "openai", "gpt-x", PRICES, tries=2)
    assert (twice.tokens, twice.cost) == (2 * plain.tokens, pytest.approx(2 * plain.cost))
    assert worst_case(_request(), "ollama", "m", PRICES).cost is None


@given(st.lists(st.tuples(st.integers(1, 5000), st.booleans(), st.booleans()), max_size=40))
def test_spending_never_passes_a_cap_when_every_call_is_checked(calls: list[tuple[int, bool, bool]]) -> None:
    """Whatever is killed, answered or refused: the sum of what was really charged stays within both caps."""
    entries: list[Event] = []
    tokens, cost = 0, 0.0
    for number, (size, answered, charged) in enumerate(calls):
        worst = WorstCase(tokens=size, cost=size * 1e-4)
        try:
            _ledger(entries, PRICES, max_cost=1.0, max_tokens=8000).check(worst, **PLAYER)
        except LLMCapReached:
            continue
        entries.append(_call(f"{number:03}", tokens=size, cost=worst.cost))
        used = size if charged else size // 2
        tokens, cost = tokens + used, cost + used * 1e-4
        if answered:
            entries.append(_reply(f"{number:03}", usage={"input_tokens": used}, cost=used * 1e-4))
    assert tokens <= 8000 and cost <= 1.0 + 1e-6


def test_prices_are_asked_for_before_the_first_call() -> None:
    players = [("autotuner", "openai", "gpt-x"), ("checker", "ollama", "qwen"), ("analyst", "vllm", "m")]
    require_prices(players, PRICES, None)
    require_prices(players[:1], PRICES, 1.0)
    with pytest.raises(UsageError, match=r"ollama/qwen \(checker\), vllm/m \(analyst\)") as caught:
        require_prices(players, PRICES, 1.0)
    assert "--llm-prices FILE" in str(caught.value) and "gpt-x" not in str(caught.value)


def test_usage_adds_up_by_kind() -> None:
    usage = {"input_tokens": 50, "cached_tokens": 20, "output_tokens": 5, "searches": 1}
    row = _ledger([_call("001"), _reply("001", usage=usage)], PRICES).rows()[0]
    assert row.usage == Usage(**usage)
