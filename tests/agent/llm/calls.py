"""What the tests of the call path share: a request with a small schema, an endpoint, and a wire made of a list."""

from __future__ import annotations

from typing import Any

from agent.llm.base import Message, Reply, Request, Usage
from agent.llm.client import Client
from agent.llm.wire import Endpoint

KEY = "sk-test-0123456789abcdef"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["answer"],
    "properties": {"answer": {"type": "string", "enum": ["yes", "no"]}},
}


def request(**changes: Any) -> Request:
    given: dict[str, Any] = {
        "role": "checker",
        "system": "You check.",
        "messages": (Message(role="user", text="Well?"),),
        "schema": SCHEMA,
    }
    return Request(**(given | changes))


def endpoint(**changes: Any) -> Endpoint:
    given: dict[str, Any] = {"provider": "custom", "model": "small", "style": "chat", "key": KEY, "timeout_s": 5.0}
    return Endpoint(**(given | {"base_url": "http://127.0.0.1:9/v1"} | changes))


def reply(text: str = '{"answer": "yes"}', *, tokens: int = 10, **changes: Any) -> Reply:
    usage = Usage(input_tokens=tokens, output_tokens=1)
    return Reply(**({"text": text, "usage": usage, "provider": "custom", "model": "small-1"} | changes))


class ListWire:
    """Gives what it was made of, one after the other; an exception is raised. asked: the formats it was asked on."""

    def __init__(self, *outcomes: Reply | Exception) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[str] = []

    def send(self, request: Request, answer_format: str) -> Reply:
        self.asked.append(answer_format)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class Clock:
    """Time that passes only by sleeping. slept: every sleep in seconds."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


def client(*outcomes: Reply | Exception, clock: Clock | None = None, **changes: Any) -> tuple[Client, ListWire]:
    clock = clock or Clock()
    wire = ListWire(*outcomes)
    given = {"wire": wire, "sleep": clock.sleep, "now": clock.now} | changes
    return Client(given.pop("endpoint", endpoint()), **given), wire
