"""Why a replay finds no recorded exchange for what it asks: the nearest one, and where the two part."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from agent.llm.base import Request

SHOWN = 60
"""Characters of a line around its first difference."""
_REMEDY = "what the prompt is made of (history, settings, prompt files, versions) is no longer what it was"


def mismatch(request: Request, step: str, recorded: Sequence[Mapping[str, Any]]) -> str:
    """The message: step, role, the recorded call of that role with the most lines in common, the first line that
    differs. Lines hold aliases, as they were sent."""
    head = f"step {step}: the {request.role}'s prompt is in no recorded exchange"
    own = [record for record in recorded if record["role"] == request.role]
    if not own:
        return f"{head}: calls/ has none of the {request.role}; {_REMEDY}"
    now = _lines(request.to_json())
    counted = Counter(now)

    def common(record: Mapping[str, Any]) -> tuple[int, bool]:
        return (counted & Counter(_lines(record["request"]))).total(), record["step"] == step

    # The last of equals: a call that was held back stands before the one that was made.
    nearest = max(reversed(own), key=common)
    name = f"calls/{nearest['call']}.json"
    for number, (old, new) in enumerate(zip_longest(_lines(nearest["request"]), now, fillvalue=None), start=1):
        if old != new:
            was, is_now = _shortened(old, new)
            return f"{head}; nearest is {name}, whose line {number} was\n  {was}\nand is now\n  {is_now}\n{_REMEDY}"
    return f"{head}; {name} has the same text, and {_rest(request.to_json(), nearest['request'])}; {_REMEDY}"


def _lines(raw: Mapping[str, Any]) -> list[str]:
    """The prompt's text: system, then every message."""
    texts = [str(raw["system"]), *(str(message["text"]) for message in raw["messages"])]
    return [line for text in texts for line in text.splitlines()]


def _shortened(old: str | None, new: str | None) -> tuple[str, str]:
    """Both lines from a little before the first character that differs."""
    if old is None or new is None:
        return tuple("(no such line)" if line is None else _cut(line, 0) for line in (old, new))  # type: ignore[return-value]
    same = next((place for place, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]), None)
    start = max((min(len(old), len(new)) if same is None else same) - SHOWN // 3, 0)
    return _cut(old, start), _cut(new, start)


def _cut(line: str, start: int) -> str:
    part = line[start : start + SHOWN]
    shown = "".join(letter if letter.isprintable() else " " for letter in part)
    return f"{'...' if start else ''}{shown}{'...' if start + SHOWN < len(line) else ''}" or "(empty)"


def _rest(now: Mapping[str, Any], then: Mapping[str, Any]) -> str:
    """Which other part of two requests differs: schema, max_tokens, search."""
    parts = [
        name for name in now if json.dumps(now[name], sort_keys=True) != json.dumps(then.get(name), sort_keys=True)
    ]
    return f"another {', '.join(parts)}" if parts else "was used already"
