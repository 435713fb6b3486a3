"""The server itself: the real SDK clients find nothing wrong with its answers, and it does the wrong it is told."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any, ClassVar

import pytest

from tests.llm_server.behaviours import (
    CutConnection,
    Drip,
    Empty,
    Hang,
    Malformed,
    OpenRouterError,
    Page,
    PauseTurn,
    Refuses,
    Say,
    SchemaRefused,
    Status,
    Tokens,
    Truncated,
)
from tests.llm_server.server import LLMServer

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"lr": {"type": "number"}},
    "required": ["lr"],
    "additionalProperties": False,
}
USAGE = Tokens(input=100, output=30, cached=40, cache_write=5, reasoning=10)
PAGES = (Page(url="https://example.org/a", title="A", snippet="about a"),)
KEY = "sk-test-0123456789"


@pytest.fixture(autouse=True, scope="module")
def sdks() -> None:
    """Not at the top: their imports take seconds, every worker reads this file, and one runs it."""
    global anthropic, httpx, openai
    import anthropic
    import httpx
    import openai


@pytest.fixture
def server(llm_server: LLMServer) -> LLMServer:
    return llm_server


class Anthropic:
    """The Messages API through its SDK, strict about the types of what it gets."""

    schema: ClassVar[Any] = {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
    tool: ClassVar[Any] = {
        "tools": [{"name": "answer", "input_schema": SCHEMA, "description": "d"}],
        "tool_choice": {"type": "tool", "name": "answer"},
    }

    def __init__(self, server: LLMServer) -> None:
        self.sdk = anthropic.Anthropic(
            auth_token=KEY,
            base_url=server.base_url("anthropic"),
            max_retries=0,
            timeout=5,
            _strict_response_validation=True,
        )

    def ask(self, **more: Any) -> Any:
        messages: Any = [{"role": "user", "content": "well?"}]
        return self.sdk.messages.create(model="claude", system="be brief", max_tokens=50, messages=messages, **more)


class Responses:
    schema: ClassVar[Any] = {
        "text": {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}}
    }
    tool: ClassVar[Any] = {
        "tools": [{"type": "function", "name": "answer", "parameters": SCHEMA, "strict": True}],
        "tool_choice": {"type": "function", "name": "answer"},
    }

    def __init__(self, server: LLMServer) -> None:
        self.sdk = openai.OpenAI(
            api_key=KEY,
            base_url=server.base_url("responses"),
            max_retries=0,
            timeout=5,
            _strict_response_validation=True,
        )

    def ask(self, **more: Any) -> Any:
        return self.sdk.responses.create(
            model="gpt", instructions="be brief", input="well?", max_output_tokens=50, **more
        )


class Chat(Responses):
    schema: ClassVar[Any] = {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
        }
    }
    tool: ClassVar[Any] = {
        "tools": [{"type": "function", "function": {"name": "answer", "parameters": SCHEMA, "strict": True}}],
        "tool_choice": {"type": "function", "function": {"name": "answer"}},
    }

    def ask(self, **more: Any) -> Any:
        messages: Any = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "well?"}]
        return self.sdk.chat.completions.create(model="gpt", max_completion_tokens=50, messages=messages, **more)


@pytest.fixture(params=[Anthropic, Responses, Chat])
def client(request: pytest.FixtureRequest, server: LLMServer) -> Iterator[Any]:
    made = request.param(server)
    with closing(made.sdk):
        yield made


def test_answers_satisfy_the_sdk(client: Any, server: LLMServer) -> None:
    for behaviour in (Say(json={"lr": 0.1}), Say(text="hello"), Truncated("he"), Refuses(), Empty()):
        server.queue(behaviour)
        answered = client.ask()
        assert answered.usage is not None
        assert server.requests[-1].answer_format == "text"
    server.queue(Say(text="found", pages=PAGES))
    client.ask()
    asked = server.requests[0]
    assert (asked.system, asked.turns, asked.max_tokens) == ("be brief", (("user", "well?"),), 50)
    assert KEY in asked.headers["authorization"]


def test_structure_is_recognised(client: Any, server: LLMServer) -> None:
    server.queue(Say(json={"lr": 0.1}, usage=USAGE), times=2)
    for how in (client.schema, client.tool):
        assert '"lr":0.1' in client.ask(**how).model_dump_json().replace("\\", "").replace(" ", "")
    assert [asked.answer_format for asked in server.requests] == ["json_schema", "tool"]
    assert [asked.schema for asked in server.requests] == [SCHEMA, SCHEMA]
    assert server.requests[1].tool == "answer"


def test_only_some_formats_are_accepted(client: Any, server: LLMServer) -> None:
    server.formats = frozenset({"tool"})
    server.queue(Say(json={"lr": 0.1}))
    with pytest.raises((anthropic.BadRequestError, openai.BadRequestError), match=r"format: json_schema is not supp"):
        client.ask(**client.schema)
    client.ask(**client.tool)
    assert server.left == []


def test_counts_mean_the_same_on_every_wire(client: Any, server: LLMServer) -> None:
    server.queue(Say(text="x", usage=USAGE))
    usage = client.ask().usage.model_dump()
    if isinstance(client, Anthropic):
        assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (55, 40)
        assert (usage["cache_creation_input_tokens"], usage["output_tokens"]) == (5, 30)
    else:
        assert 100 in (usage.get("input_tokens"), usage.get("prompt_tokens"))
        details = usage.get("input_tokens_details") or usage.get("prompt_tokens_details")
        assert (details["cached_tokens"], details["cache_write_tokens"]) == (40, 5)


@pytest.mark.parametrize("code", [400, 401, 403, 404, 413, 429, 500, 503, 529])
def test_errors_are_the_sdks_own(client: Any, server: LLMServer, code: int) -> None:
    server.queue(Status(code, "because", retry_after=3600, echo_key=True))
    with pytest.raises((anthropic.APIStatusError, openai.APIStatusError), match="because") as caught:
        client.ask()
    error: Any = caught.value
    assert error.status_code == code
    assert error.response.headers["retry-after"] == "3600"
    assert KEY in str(error)


@pytest.mark.parametrize("behaviour", [CutConnection(), CutConnection(30), Drip(0.1)])
def test_connections_break(client: Any, server: LLMServer, behaviour: Any) -> None:
    server.queue(behaviour)
    with pytest.raises((anthropic.APIConnectionError, openai.APIConnectionError)):
        client.ask()


def test_answers_do_not_come(client: Any, server: LLMServer) -> None:
    server.queue(Hang())
    client.sdk.timeout = 0.2
    with pytest.raises((anthropic.APITimeoutError, openai.APITimeoutError)):
        client.ask()


@pytest.mark.parametrize("behaviour", [Malformed(), OpenRouterError(502), SchemaRefused()])
def test_bad_bodies_are_bad(client: Any, server: LLMServer, behaviour: Any) -> None:
    server.queue(behaviour)
    kinds = (json.JSONDecodeError, anthropic.APIError, openai.APIError)
    with pytest.raises(kinds) as caught:
        client.ask()
    assert isinstance(caught.value, json.JSONDecodeError) == isinstance(behaviour, Malformed)


def test_a_search_is_paused_and_cited(server: LLMServer) -> None:
    made = Anthropic(server)
    tools: Any = [{"type": "web_search_20260318", "name": "web_search", "max_uses": 3}]
    server.queue(PauseTurn(), Say(text="found", pages=PAGES))
    with closing(made.sdk):
        paused, whole = made.ask(tools=tools), made.ask(tools=tools)
    assert (paused.stop_reason, whole.stop_reason) == ("pause_turn", "end_turn")
    assert whole.content[-1].citations[0].url == PAGES[0].url
    assert whole.usage.server_tool_use.web_search_requests == 1
    assert all(asked.searches for asked in server.requests)


def test_google_answers(server: LLMServer) -> None:
    server.queue(Say(text="found", pages=PAGES), Say(text="", pages=PAGES), Say(text=""), Status(403, "no"))
    with httpx.Client(base_url=server.root) as client:
        body = {"contents": [{"role": "user", "parts": [{"text": "well?"}]}], "tools": [{"google_search": {}}]}
        whole = client.post("/v1beta/models/gemini-x:generateContent", json=body).json()
        assert whole["candidates"][0]["groundingMetadata"]["groundingChunks"][0]["web"]["uri"] == PAGES[0].url
        pages, none, refused = (client.get("/customsearch/v1", params={"q": "words"}) for _ in range(3))
    assert pages.json()["items"][0]["link"] == PAGES[0].url
    assert "items" not in none.json()
    assert (refused.status_code, refused.json()["error"]["status"]) == (403, "PERMISSION_DENIED")
    assert [asked.wire for asked in server.requests] == ["gemini", "search", "search", "search"]
    assert server.requests[0].model == "gemini-x"


def test_what_nobody_programmed_is_said() -> None:
    with LLMServer() as server, httpx.Client(base_url=server.root) as client:
        assert client.post("/v1/elsewhere", json={}).status_code == 404
        body = {"model": "m", "messages": [{"role": "user", "content": "?"}]}
        assert client.post("/v1/chat/completions", json=body).status_code == 418
        with pytest.raises(httpx.RemoteProtocolError):
            client.post("/v1/chat/completions", json={"no": "model"})
        assert server.unexpected == ["no API has POST /v1/elsewhere", "request 1: /v1/chat/completions"]
        assert [type(error) for error in server.broken] == [KeyError]


def test_headers_and_body_leave_together(server: LLMServer) -> None:
    """Apart they would meet the client's delayed acknowledgement: 40 ms a call."""
    server.queue(Say(text="whole"))
    body = b'{"model": "m", "messages": []}'
    head = f"POST /chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", int(server.root.rpartition(":")[2]))) as connection:
        connection.sendall(head + body)
        assert b"whole" in connection.recv(65536)
