"""What language models cost a study: by round, role and model, as data and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agent.store.store import Store

if TYPE_CHECKING:
    from rich.console import Console

_SUMS = ("calls", "failed", "input_tokens", "cached_tokens", "output_tokens", "searches")


def costs(store: Store) -> dict[str, Any]:
    """{"lines": one for each (round, role, provider, model), "total": ...}, JSON-ready.

    cost_usd: of the calls whose price is known; unknown_price: how many calls with tokens it is not known of;
    unanswered: calls that were killed before a reply was saved and may have been charged.
    """
    lines: dict[tuple[Any, ...], dict[str, Any]] = {}
    for folder in store.paths.newest():
        record = store.record(store.paths.round(folder).llm_costs)
        for call in record["calls"] if record is not None else ():
            key = (folder.number, call["role"], call["provider"], call["model"])
            line = lines.setdefault(
                key, dict(zip(("round", "role", "provider", "model"), key, strict=True)) | _empty()
            )
            _add(line, call)
    answered = {entry["call"] for entry in store.journal.of("llm_reply")}
    lost = [entry["call"] for entry in store.journal.of("llm_call") if entry["call"] not in answered]
    total = _empty()
    for line in lines.values():
        for name in (*_SUMS, "unknown_price"):
            total[name] += line[name]
        total["cost_usd"] = round(total["cost_usd"] + line["cost_usd"], 6)
    return {"lines": list(lines.values()), "total": total | {"unanswered": lost}}


def _empty() -> dict[str, Any]:
    return dict.fromkeys(_SUMS, 0) | {"cost_usd": 0.0, "unknown_price": 0}


def _add(line: dict[str, Any], call: Mapping[str, Any]) -> None:
    line["calls"] += 1
    line["failed"] += call["error"] is not None
    for name in ("input_tokens", "cached_tokens", "output_tokens", "searches"):
        line[name] += call[name]
    line["cost_usd"] = round(line["cost_usd"] + (call["cost_usd"] or 0.0), 6)
    line["unknown_price"] += call["cost_usd"] is None and bool(call["input_tokens"] or call["output_tokens"])


def dollars(line: Mapping[str, Any]) -> str:
    """The cost in words: what is not known is never shown as nothing."""
    known = f"${line['cost_usd']:.4f}"
    unknown = line["unknown_price"]
    if not unknown:
        return known
    return "unknown" if not line["cost_usd"] else f"{known} + {unknown} calls of unknown price"


def summary(total: Mapping[str, Any]) -> str:
    """The study's total as one line; "" where no model was ever asked."""
    if not total["calls"]:
        return ""
    failed = f" ({total['failed']} failed)" if total["failed"] else ""
    tokens = total["input_tokens"] + total["output_tokens"]
    return f"language models: {total['calls']} calls{failed}, {tokens:,} tokens, {dollars(total)}"


def print_costs(view: Mapping[str, Any], console: Console) -> None:
    """A line for each round, role and model, then the total."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in ("round", "role", "model", "calls", "failed", "input", "cached", "output", "searches", "USD"):
        words = name in ("role", "model")
        table.add_column(name, justify="left" if words else "right", no_wrap=True, overflow="fold")
    for line in view["lines"]:
        table.add_row(str(line["round"]), line["role"], Text(f"{line['provider']}/{line['model']}"), *_cells(line))
    table.add_row("all", "", "", *_cells(view["total"]), style="bold")
    console.print(table)
    if lost := view["total"]["unanswered"]:
        console.print(Text(f"{len(lost)} calls were cut off before their reply was saved and may have been charged"))


def _cells(line: Mapping[str, Any]) -> Sequence[str]:
    return [f"{line[name]:,}" for name in _SUMS] + [dollars(line)]
