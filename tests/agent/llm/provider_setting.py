"""What the conformance tests of providers share: a question, its good answer, a clock, and calls on loopback."""

from __future__ import annotations

import dataclasses
import json
import random
import traceback
from typing import Any

import pytest

from agent.errors import LLMError
from agent.llm.answer_formats import AnswerFormats
from agent.llm.base import Message, Reply, Request, Usage
from agent.llm.client import Client
from agent.llm.retry import CoolDown, RetryPolicy
from agent.llm.wire import Endpoint
from tests.llm_server.behaviours import (
    Behaviour,
    Empty,
    Refuses,
    Say,
    Tokens,
    Truncated,
)
from tests.llm_server.server import LLMServer

KEY = "sk-live-Zq83hTfw0pLmNv61xYcR5uKd"
CAP_S = 30.0
TRIES = 3

CHARGED = (Say, Truncated, Refuses, Empty)
"""Answers of which the tokens are known: what a cut connection cost, only the provider can tell."""


def closed(**properties: Any) -> dict[str, Any]:
    """The JSON Schema of an object with exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


CHANGE = {
    "anyOf": [
        closed(
            parameter={"type": "string", "enum": ["lr", "weight_decay"]},
            value={"type": "number", "description": "lr: 0.0001 to 0.1; weight_decay: 0 to 0.1"},
            reason={"type": "string"},
        ),
        closed(
            parameter={"type": "string", "enum": ["layers"]}, value={"type": "integer"}, reason={"type": "string"}
        ),
        closed(
            parameter={"type": "string", "enum": ["optimizer"]},
            value={"type": "string", "enum": ["adam", "sgd"]},
            reason={"type": "string"},
        ),
    ]
}
SCHEMA = closed(diagnosis={"type": "string"}, changes={"type": "array", "items": CHANGE})
GOOD: dict[str, Any] = {
    "diagnosis": "the loss is flat",
    "changes": [{"parameter": "lr", "value": 0.01, "reason": "faster"}],
}
ASK = Request(
    role="autotuner",
    system="You tune.",
    messages=(Message(role="user", text="What next?"),),
    schema=SCHEMA,
    schema_name="proposal",
    max_tokens=500,
)
FREE = dataclasses.replace(ASK, schema=None)

SPENT = Tokens(input=100, output=30, cached=40, cache_write=5, reasoning=10)
USAGE = Usage(input_tokens=100, output_tokens=30, cached_tokens=40, cache_write_tokens=5, reasoning_tokens=10)


def good(**more: Any) -> Say:
    return Say(json=GOOD, usage=SPENT, **more)


class Clock:
    """A clock that only moves when somebody sleeps; `naps` are the seconds of each sleep."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.naps: list[float] = []

    def __call__(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.time += seconds


class Setting:
    """A server, a clock, and the calls made through the provider under test."""

    def __init__(self, server: LLMServer, style: str, clock: Clock) -> None:
        self.server, self.style, self.clock = server, style, clock
        self.formats = AnswerFormats()
        self.cool_down = CoolDown(now=clock)

    def endpoint(self, **changes: Any) -> Endpoint:
        base_url = self.server.base_url(self.style)
        given: dict[str, Any] = {"provider": "custom", "model": "model-x", "style": self.style, "base_url": base_url}
        return Endpoint(**(given | {"key": KEY, "timeout_s": 5.0} | changes))

    def client(self, *, tries: int = TRIES, **changes: Any) -> Client:
        policy = RetryPolicy(tries=tries, wait_cap_s=CAP_S, total_cap_s=10_000.0, rng=random.Random(0))
        return Client(
            self.endpoint(**changes),
            formats=self.formats,
            policy=policy,
            cool_down=self.cool_down,
            sleep=self.clock.sleep,
            now=self.clock,
        )

    def ask(self, *behaviours: Behaviour, request: Request = ASK, **options: Any) -> Reply:
        """The reply to a request that the server answers like this."""
        self.server.queue(*behaviours)
        reply = self.client(**options).complete(request)
        self.left_nothing(behaviours)
        assert KEY not in json.dumps(reply.to_json()) + repr(reply)
        return reply

    def fails(self, kind: type[LLMError], *behaviours: Behaviour, request: Request = ASK, **options: Any) -> Any:
        """The error of a request that the server answers like this."""
        self.server.queue(*behaviours)
        with pytest.raises(kind) as caught:
            self.client(**options).complete(request)
        self.left_nothing(behaviours)
        self.clean(caught.value)
        return caught.value

    def left_nothing(self, behaviours: tuple[Behaviour, ...]) -> None:
        assert self.server.left == [], f"{len(behaviours)} answers were programmed, not all were asked for"

    def clean(self, error: LLMError) -> None:
        """No text that an error leaves behind holds the key."""
        shown = [str(error), repr(error), repr(vars(error)), *traceback.format_exception(error)]
        if error.reply is not None:
            shown.append(json.dumps(error.reply.to_json()))
        assert not [text for text in shown if KEY[:12] in text]
        assert all(attempt.error for attempt in error.attempts)
