"""What a study's calls have cost, and caps that stop before the call that could break them.

The journal is the only memory: what a call could take at most is written before it, and what it came to after it. A
call without a reply was killed, and the provider may have charged it, so it counts with its worst case; so does every
try that was sent and ended without an answer. A call that failed before anything was charged has a reply too, with an
empty usage.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from agent.errors import LLMCapReached, UsageError
from agent.llm.base import Request, Usage, rough_tokens
from agent.llm.prices import PriceTable, in_words

SEARCH_TOKENS = 30_000
"""Input tokens allowed for one web search: its results are read as input, and again after every further search. An
estimate: no provider promises an upper bound."""
MOST_TOKENS = 100_000_000
"""Of one call with all its tries: beyond any context; such a usage was never real, and counts with the worst case."""
OVERHEAD_TOKENS = 500
"""Instructions that providers add on their side, for a forced tool or a search."""


@dataclass(frozen=True, kw_only=True)
class WorstCase:
    """The most that one call can take."""

    tokens: int
    cost: float | None
    """USD; None: the price is unknown."""


class Asked(Protocol):
    """The journal's word of a call that is about to be made."""

    @property
    def role(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def worst_tokens(self) -> int: ...
    @property
    def worst_cost(self) -> float | None: ...


class Replied(Protocol):
    """The journal's word of what a call came to."""

    @property
    def usage(self) -> Mapping[str, int]: ...
    @property
    def cost(self) -> float | None: ...
    @property
    def lost(self) -> int:
        """Tries that were sent and ended without an answer."""


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Totals. What may have been charged without a record of it is in them with its worst case."""

    calls: int = 0
    tokens: int = 0
    cost: float = 0.0
    """USD of the calls whose price is known."""
    unknown_calls: int = 0
    """Calls whose price is unknown; they are not in `cost`."""
    unanswered_calls: int = 0
    """Calls without a reply, or with lost tries: counted with their worst case."""


@dataclass(kw_only=True)
class Row:
    """One line of the cost table: a role at one model."""

    role: str
    provider: str
    model: str
    calls: int = 0
    usage: Usage = field(default_factory=Usage)
    worst_tokens: int = 0
    """Of calls and tries without an answer; not in `usage`."""
    cost: float = 0.0
    unknown_calls: int = 0
    unanswered_calls: int = 0

    def to_json(self) -> dict[str, Any]:
        """JSON-ready. cost is null where no call's price is known."""
        return {
            "role": self.role,
            "provider": self.provider,
            "model": self.model,
            "calls": self.calls,
            "input_tokens": self.usage.input_tokens,
            "cached_tokens": self.usage.cached_tokens,
            "output_tokens": self.usage.output_tokens,
            "searches": self.usage.searches,
            "worst_tokens": self.worst_tokens,
            "cost": None if self.calls and self.unknown_calls == self.calls else round(self.cost, 9),
            "unknown_calls": self.unknown_calls,
            "unanswered_calls": self.unanswered_calls,
        }


def worst_case(
    request: Request, provider: str, model: str, prices: PriceTable, *, max_tokens: int | None = None, tries: int = 1
) -> WorstCase:
    """The most that a call can take: its texts and schema as input, its largest answer, and its searches.

    max_tokens: most tokens of the answer; None: the request's own. tries: how many of them may be charged.
    """
    texts = [request.system, *(message.text for message in request.messages)]
    if request.schema is not None:
        texts.append(json.dumps(request.schema, ensure_ascii=False))
    searches = request.search.max_uses if request.search is not None else 0
    input_tokens = rough_tokens(texts) + OVERHEAD_TOKENS + searches * SEARCH_TOKENS
    output_tokens = request.max_tokens if max_tokens is None else max_tokens
    cost = prices.worst_cost(
        provider, model, input_tokens=input_tokens, output_tokens=output_tokens, searches=searches
    )
    return WorstCase(
        tokens=tries * (input_tokens + output_tokens), cost=None if cost is None else round(tries * cost, 9)
    )


class Ledger:
    """What a study's calls add up to, held against the caps."""

    def __init__(
        self,
        calls: Iterable[tuple[Asked, Replied | None]],
        prices: PriceTable,
        *,
        max_cost: float | None = None,
        max_tokens: int | None = None,
    ) -> None:
        """calls: each with its reply, None where it was killed before that.

        max_cost: USD, max_tokens: input and output together; None: no cap.
        """
        self._prices = prices
        self.max_cost = max_cost
        self.max_tokens = max_tokens
        self._rows: dict[tuple[str, str, str], Row] = {}
        for asked, reply in calls:
            if reply is None:
                self._add_lost(asked, 1, known=False)
            else:
                self._add_reply(asked, reply)

    def spent(self) -> Spent:
        """All roles together."""
        rows = self._rows.values()
        return Spent(
            calls=sum(row.calls for row in rows),
            tokens=sum(row.usage.tokens + row.worst_tokens for row in rows),
            cost=round(sum(row.cost for row in rows), 9),
            unknown_calls=sum(row.unknown_calls for row in rows),
            unanswered_calls=sum(row.unanswered_calls for row in rows),
        )

    def rows(self) -> tuple[Row, ...]:
        """The cost table, by role, provider and model."""
        return tuple(self._rows[key] for key in sorted(self._rows))

    def check(self, worst: WorstCase, *, role: str, provider: str, model: str) -> None:
        """Raises LLMCapReached when this call could break a cap, or could do so unseen for want of a price."""
        spent = self.spent()
        if self.max_tokens is not None and spent.tokens + worst.tokens > self.max_tokens:
            raise LLMCapReached(
                f"{role} is not asked: {spent.tokens:,} tokens are spent and this call may take {worst.tokens:,}, "
                f"above the cap of {self.max_tokens:,}; raise --max-llm-tokens to go on with the model"
            )
        if self.max_cost is None:
            return
        if worst.cost is None:
            raise LLMCapReached(f"{role} is not asked: {_unknown(provider, model)}")
        if spent.unknown_calls:
            raise LLMCapReached(
                f"{role} is not asked: the price of {spent.unknown_calls} earlier calls is unknown, so nobody knows "
                "whether --max-llm-cost is kept; give --llm-prices FILE, or cap tokens with --max-llm-tokens instead"
            )
        if spent.cost + worst.cost > self.max_cost + 1e-9:
            raise LLMCapReached(
                f"{role} is not asked: {in_words(spent.cost)} is spent and this call may cost "
                f"{in_words(worst.cost)}, above the cap of {in_words(self.max_cost)}; raise --max-llm-cost to go on "
                "with the model"
            )

    def _add_reply(self, asked: Asked, reply: Replied) -> None:
        row = self._row(asked)
        usage = Usage(**reply.usage)
        if usage.tokens > MOST_TOKENS:
            # Written down by a version that charged whatever a server said.
            self._add_lost(asked, 1, known=False)
            return
        cost = reply.cost
        if cost is None:  # a price that was unknown then may be known now
            cost = 0.0 if usage == Usage() else self._prices.cost(usage, row.provider, row.model)
        row.calls += 1
        row.usage += usage
        row.cost += cost or 0.0
        row.unknown_calls += cost is None
        if reply.lost:
            self._add_lost(asked, reply.lost, known=True)

    def _add_lost(self, asked: Asked, times: int, *, known: bool) -> None:
        """Count what may have been charged. known: the call itself is counted already."""
        row = self._row(asked)
        cost = asked.worst_cost
        row.calls += not known
        row.worst_tokens += times * asked.worst_tokens
        row.cost += times * (cost or 0.0)
        row.unknown_calls += cost is None
        row.unanswered_calls += 1

    def _row(self, asked: Asked) -> Row:
        new = Row(role=asked.role, provider=asked.provider, model=asked.model)
        return self._rows.setdefault((new.role, new.provider, new.model), new)


def require_prices(players: Iterable[tuple[str, str, str]], prices: PriceTable, max_cost: float | None) -> None:
    """Before a study's first call: with a cap on cost, every player's price has to be known.

    players: (role, provider, model). Raises UsageError naming each without a price.
    """
    if max_cost is None:
        return
    missing = [(role, f"{provider}/{model}") for role, provider, model in players if not prices.find(provider, model)]
    if missing:
        listed = ", ".join(f"{name} ({role})" for role, name in missing)
        raise UsageError(
            f"--max-llm-cost needs known prices; unknown: {listed}. Give them in --llm-prices FILE (0 for a model on "
            "your own machine), or cap tokens with --max-llm-tokens instead"
        )


def _unknown(provider: str, model: str) -> str:
    return (
        f"the price of {provider}/{model} is unknown, so --max-llm-cost could be broken unseen; give it in "
        "--llm-prices FILE, or cap tokens with --max-llm-tokens instead"
    )
