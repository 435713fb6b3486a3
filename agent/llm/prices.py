"""What calls cost: a dated table of public prices, and a person's own before it.

A model that no entry covers has an unknown price, which is never taken for zero: `cost` gives None, reports say
"unknown", and a cap on cost refuses the call. The shipped table is `prices.json` beside this file; each entry names
the public page it rests on and the day it was read.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from agent.errors import ProblemsError, UsageError
from agent.llm.base import Usage
from agent.llm.presets import PROVIDERS, is_provider, provider_names
from trainers.command.findings import Findings, Section, is_number

PRICED = (*(name for name in PROVIDERS if name != "none"), "google")
_SHIPPED = Path(__file__).with_name("prices.json")
_DATED = re.compile(r"-(20\d{2}-\d{2}-\d{2}|20\d{6})\Z")
_HIGHEST = 1e5
"""USD per million tokens; above it somebody mixed up the unit (the dearest public price was 600)."""


class InvalidPrices(ProblemsError):
    """A price table that may not be used."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """One entry: USD per million tokens."""

    provider: str
    model: str
    """The model's name; `*` stands for any text."""
    input: float
    output: float
    cached_input: float | None = None
    """None: cached input is charged like any input."""
    cache_write: float | None = None
    search: float | None = None
    """USD for one web search; None: unknown."""
    up_to_input: int | None = None
    """Holds for calls with at most so many input tokens."""
    above_input: int | None = None
    """Holds for calls with more input tokens."""
    begins: str = ""
    """First day (ISO 8601) on which it holds, `from` in a file; "": no first day."""
    until: str = ""
    """Last day on which it holds; "": none is known."""
    as_of: str
    """The day on which the source said so."""
    source: str
    note: str = ""

    def covers(self, provider: str, model: str, input_tokens: int) -> bool:
        """Whether the entry is about such a call."""
        if provider != self.provider or not fnmatchcase(model, self.model):
            return False
        above = self.above_input is None or input_tokens > self.above_input
        return above and (self.up_to_input is None or input_tokens <= self.up_to_input)

    def cost(self, usage: Usage) -> float | None:
        """USD of one call; None where it searched and the price of a search is unknown."""
        if usage.searches and self.search is None:
            return None
        fresh = max(0, usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens)
        cached = self.input if self.cached_input is None else self.cached_input
        written = self.input if self.cache_write is None else self.cache_write
        tokens = fresh * self.input + usage.cached_tokens * cached
        tokens += usage.cache_write_tokens * written + usage.output_tokens * self.output
        return round(tokens / 1e6 + usage.searches * (self.search or 0.0), 9)


class PriceTable:
    """The entries that hold on one day, the first that covers a call decides."""

    def __init__(self, prices: Iterable[Price], *, today: date) -> None:
        day = today.isoformat()
        self.prices = tuple(
            price for price in prices if price.begins <= day and (not price.until or day <= price.until)
        )

    def find(self, provider: str, model: str, input_tokens: int = 0) -> Price | None:
        """The entry for a call; None: its price is unknown.

        A name with a date at its end (gpt-x-2026-09-29, claude-x-20251001) is looked up without it when there is
        no entry for that very name.
        """
        for name in dict.fromkeys((model, _DATED.sub("", model))):
            for price in self.prices:
                if price.covers(provider, name, input_tokens):
                    return price
        return None

    def cost(self, usage: Usage, provider: str, model: str) -> float | None:
        """USD of one call; None: unknown. Never 0 for want of a price."""
        price = self.find(provider, model, usage.input_tokens)
        return None if price is None else price.cost(usage)

    def worst_cost(
        self, provider: str, model: str, *, input_tokens: int, output_tokens: int, searches: int
    ) -> float | None:
        """Most USD of a call of at most so many tokens: nothing cached, all of the input written to the cache."""
        found = self.find(provider, model, input_tokens)
        if found is None or (searches and found.search is None):
            return None
        # A call below a threshold may be dearer per token than one above it; both ends are looked at.
        ends = [price for price in (found, self.find(provider, model, 0)) if price is not None]
        dearest = max(max(price.input, price.cache_write or 0.0) for price in ends)
        output = max(price.output for price in ends)
        search = max(price.search or 0.0 for price in ends)
        return round((input_tokens * dearest + output_tokens * output) / 1e6 + searches * search, 9)


def load_prices(path: Path | None = None, *, today: date | None = None) -> PriceTable:
    """The shipped table, with the entries of a person's file (`--llm-prices`) before it.

    today: the day whose prices count; None: this day in UTC. Raises InvalidPrices with every problem of the
    file, UsageError when it cannot be read.
    """
    own = read_prices(path) if path is not None else ()
    return PriceTable([*own, *read_prices(_SHIPPED)], today=today or datetime.now(UTC).date())


def read_prices(path: Path) -> tuple[Price, ...]:
    """The entries of one file, JSON or YAML. Raises InvalidPrices, UsageError."""
    from trainers.files import FileProblem, read_json_object
    from trainers.yaml_file import read_yaml

    try:
        raw = read_json_object(path, limit=2**20) if path.suffix == ".json" else read_yaml(path)
    except FileProblem as error:
        raise UsageError(str(error)) from error
    return parse_prices(raw, file=str(path))


_KEYS = tuple("from" if each.name == "begins" else each.name for each in fields(Price))
_USD = ("input", "output", "cached_input", "cache_write", "search")


def parse_prices(raw: Mapping[str, Any], *, file: str) -> tuple[Price, ...]:
    """The entries of a table as read. file: for messages. Raises InvalidPrices with every problem."""
    findings = Findings(file)
    top = Section(raw, "", ("schema_version", "unit", "about", "prices"), findings)
    if raw.get("schema_version") != 1:
        top.add("schema_version", raw.get("schema_version", ""), "must be 1")
    entries = raw.get("prices")
    if not isinstance(entries, list) or not entries:
        top.add("prices", "" if entries is None else entries, "must be a list with at least one entry")
        entries = []
    prices: dict[tuple[object, ...], Price] = {}
    for place, entry in enumerate(entries):
        where = f"prices[{place}]"
        if not isinstance(entry, dict):
            findings.add(where, entry, "must be a mapping with provider, model, input, output, as_of and source")
            continue
        price = _price(Section(entry, where, _KEYS, findings))
        if price is not None:
            same = (price.provider, price.model, price.up_to_input, price.above_input, price.begins, price.until)
            if same in prices:
                findings.add(where, price.model, "stands twice: same provider, model and conditions")
            prices[same] = price
    if findings.problems:
        raise InvalidPrices.of(file, findings.problems)
    return tuple(prices.values())


def _price(entry: Section) -> Price | None:
    """One entry; None after noting what is wrong with it."""
    before = len(entry.findings.problems)
    entry.missing("provider", "model", "input", "output", "as_of", "source")
    if entry.has("provider"):
        _check_provider(entry)
    for key in ("model", "source", "note"):
        entry.text(key)
    for key in _USD:
        value = entry.raw.get(key)
        if value is not None and (not is_number(value) or not 0 <= value <= _HIGHEST):
            entry.add(key, value, f"must be USD per million tokens, from 0 to {_HIGHEST:g} (search: USD per search)")
    bounds = [entry.whole(key, low=1) for key in ("above_input", "up_to_input")]
    if None not in bounds and bounds[0] >= bounds[1]:  # type: ignore[operator]
        entry.add("up_to_input", bounds[1], f"must be above above_input ({bounds[0]})")
    days = [_day(entry, key) for key in ("from", "until")]
    if all(days) and days[0] > days[1]:
        entry.add("until", days[1], f"must not lie before from ({days[0]})")
    _day(entry, "as_of")
    if len(entry.findings.problems) > before:
        return None
    given = {"begins" if key == "from" else key: value for key, value in entry.raw.items() if value is not None}
    usd = {key: float(given[key]) for key in _USD if key in given}
    return Price(**(given | usd))


def _check_provider(entry: Section) -> None:
    value = entry.raw["provider"]
    if value not in PRICED and (value == "none" or not is_provider(value)):
        priced = (*PRICED, *(name for name in provider_names() if name not in (*PRICED, "none")))
        near = difflib.get_close_matches(str(value), priced, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        entry.add("provider", value, f"{hint}must be one of {', '.join(priced)}")


def _day(entry: Section, key: str) -> str:
    value = entry.raw.get(key)
    if value is None:
        return ""
    try:
        if not isinstance(value, str) or len(value) != 10:
            raise ValueError
        date.fromisoformat(value)
    except ValueError:
        entry.add(key, value, "must be a day such as 2026-11-20")
        return ""
    return value


def in_words(cost: float | None) -> str:
    """A cost for people: "$0.0132", "unknown"."""
    if cost is None:
        return "unknown"
    return f"${cost:.4f}" if math.isfinite(cost) and cost < 1 else f"${cost:,.2f}"
