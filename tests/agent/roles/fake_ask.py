"""A model that says what a test put into its queue, and remembers what it was asked."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agent.errors import LLMError, LLMUnusable
from agent.llm.base import Reply, Request
from agent.roles.ask import Agents, Answer, Prompts

PROMPTS = Path(__file__).parents[3] / "templates" / "prompts"


class FakeAsk:
    """Implements Ask. An entry of the queue is an answer's data, or an error to raise."""

    def __init__(self, *queue: Mapping[str, Any] | LLMError) -> None:
        self.queue = deque(queue)
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Answer:
        import jsonschema

        self.requests.append(request)
        entry = self.queue.popleft()
        if isinstance(entry, LLMError):
            raise entry
        jsonschema.validate(entry, request.schema or {}, cls=jsonschema.Draft202012Validator)
        number = len(self.requests)
        return Answer(
            call=f"{number:03d}_{request.role}",
            prompt_sha256=request.sha256,
            model="fake-1",
            text=json.dumps(entry),
            data=entry,
        )


def agents(ask: FakeAsk, hide: Callable[[str], str] = str) -> Agents:
    return Agents(ask=ask, prompts=Prompts([PROMPTS], hide))


def unusable(*problems: str, text: str = "{") -> LLMUnusable:
    return LLMUnusable(problems, reply=Reply(text=text, provider="fake", model="fake-1"))


def change(parameter: str, value: object, reason: str = "to see") -> dict[str, Any]:
    return {"parameter": parameter, "value": value, "reason": reason}


def candidate(*changes: Mapping[str, Any], confidence: float = 0.5) -> dict[str, Any]:
    return {"changes": list(changes), "expected_effect": "better by 0.01", "confidence": confidence}


def answer(*candidates: Mapping[str, Any], diagnosis: str = "it underfits") -> dict[str, Any]:
    return {"diagnosis": diagnosis, "candidates": list(candidates)}
