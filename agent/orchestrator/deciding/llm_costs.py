"""What the calls of a round cost: llm_costs.json, apart from the decision, which depends on no time and no price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.llm.base import Usage
from agent.orchestrator.deciding.calls import exchanges
from agent.orchestrator.work import Work
from agent.records import Proposal
from agent.report.costs import was_made
from trainers.layout import candidate_name


def write_costs(work: Work, proposals: Sequence[Proposal]) -> list[Path]:
    """One line a call, the round's sum, and each model-made candidate's share of the calls that it came from."""
    calls = [_line(record) for record in exchanges(work.paths.calls)]
    if not calls:
        return []
    by_call = {call["call"]: call for call in calls}
    makers = {candidate_name(p): [str(c) for c in _calls(proposal)] for p, proposal in enumerate(proposals)}
    content = {
        "schema_version": 1,
        "round": work.number,
        "calls": calls,
        "total": total(calls),
        "by_candidate": {
            name: _share([by_call[call] for call in made if call in by_call], makers)
            for name, made in makers.items()
            if made
        },
    }
    work.store.disk.write_json(work.paths.llm_costs, content)
    return [work.paths.llm_costs]


def total(calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums over calls. cost_usd: of the calls whose price is known; unknown_price: how many it is not of.

    not_made: calls that a cap or a cool-down held back, which are in neither calls nor failed.
    """
    made = [call for call in calls if call["made"]]
    used = [call for call in calls if call["input_tokens"] or call["output_tokens"]]
    return {
        "calls": len(made),
        "failed": sum(call["error"] is not None for call in made),
        "not_made": len(calls) - len(made),
        "input_tokens": sum(call["input_tokens"] for call in calls),
        "output_tokens": sum(call["output_tokens"] for call in calls),
        "cost_usd": round(sum(call["cost_usd"] or 0.0 for call in calls), 6),
        "unknown_price": sum(call["cost_usd"] is None for call in used),
        "seconds": round(sum(call["seconds"] for call in calls), 3),
    }


def _line(record: Mapping[str, Any]) -> dict[str, Any]:
    reply = record["reply"] or (record["error"] or {}).get("reply")
    usage = Usage(**reply["usage"]) if reply else Usage()
    return {
        "call": record["call"],
        "role": record["role"],
        "provider": record["provider"],
        "model": record["model"],
        "at": record["at"],
        "seconds": record["seconds"],
        "input_tokens": usage.input_tokens,
        "cached_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
        "searches": usage.searches,
        "cost_usd": record["cost_usd"],
        "error": record["error"]["kind"] if record["error"] is not None else None,
        "made": was_made(record),
    }


def _calls(proposal: Proposal) -> Sequence[Any]:
    found = proposal.details.get("calls", ())
    return found if isinstance(found, list | tuple) else ()


def _share(calls: Sequence[Mapping[str, Any]], makers: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """A call that made several candidates counts for each by its part."""
    cost: float | None = 0.0
    tokens = 0.0
    for call in calls:
        sharing = sum(call["call"] in made for made in makers.values())
        tokens += (call["input_tokens"] + call["output_tokens"]) / sharing
        cost = None if cost is None or call["cost_usd"] is None else cost + call["cost_usd"] / sharing
    return {"tokens": round(tokens), "cost_usd": None if cost is None else round(cost, 6)}
