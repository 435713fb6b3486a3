"""Anthropic's Messages, through its SDK."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

from agent.errors import LLMError
from agent.llm.base import Reply, Request, Usage
from agent.llm.deadline import Deadline
from agent.llm.exchange import exchange, fault_inside
from agent.llm.proxy import direct_options
from agent.llm.wire import (
    Endpoint,
    SchemaRefused,
    ambient_headers,
    citations,
    count,
    entries,
    key_of,
    settle,
    text_of,
    told,
    turns,
)

BASE_URL = "https://api.anthropic.com"
SEARCH_TOOL = "web_search_20260318"
MAX_PAUSES = 4
"""How often a paused search is continued."""


class AnthropicWire:
    """Messages: structured answers by output_config or by one forced strict tool; its own web search."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    def send(self, request: Request, answer_format: str) -> Reply:
        """See `agent.llm.wire.Wire`. The system prompt is marked for the provider's cache."""
        if answer_format == "json_object":
            raise SchemaRefused("anthropic has no json_object mode")
        body = self._body(request, answer_format)
        earlier: Reply | None = None
        for _ in range(MAX_PAUSES + 1):
            try:
                answered = exchange(self.endpoint, answer_format, self._call(body), part="content")
                fault = fault_inside(answered, answered.body, self.endpoint, answer_format)
                if fault is not None:
                    raise fault
            except LLMError as error:
                error.reply = error.reply or earlier  # what the turns before it cost
                raise
            reply = _reply(answered.body, answered.headers, request, self.endpoint, answer_format, earlier)
            if reply.stop != "pause_turn" or request.search is None:
                break
            earlier = reply
            said = {"role": "assistant", "content": answered.body.get("content")}
            body = {**body, "messages": [*body["messages"], said]}
        return _settled(answered.body, request, reply, self.endpoint)

    def _body(self, request: Request, answer_format: str) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.endpoint.model,
            "max_tokens": request.max_tokens,
            "messages": turns(request, answer_format),
        }
        if request.system:
            body["system"] = [{"type": "text", "text": request.system, "cache_control": {"type": "ephemeral"}}]
        if request.search is not None:
            body["tools"] = [{"type": SEARCH_TOOL, "name": "web_search", "max_uses": request.search.max_uses}]
        elif request.schema is not None and answer_format in ("json_schema", "tool"):
            body |= _structure(request, answer_format)
        return body

    def _call(self, body: Mapping[str, Any]) -> Callable[[Deadline], AbstractContextManager[Any]]:
        import anthropic  # before the exchange's time begins: 1.4 s the first time

        key = key_of(self.endpoint)

        @contextmanager
        def call(deadline: Deadline) -> Any:
            # A client for each call (18 ms) leaves no idle connection behind. Every value that the SDK would
            # otherwise take from the environment is given.
            http_client = anthropic.DefaultHttpxClient(
                event_hooks={"request": [deadline.hook]},
                follow_redirects=False,
                timeout=self.endpoint.timeout_s,
                **direct_options(anthropic.DefaultHttpxClient, self.endpoint.base_url or BASE_URL, os.environ),
            )
            client = anthropic.Anthropic(
                http_client=http_client,
                api_key=key,
                base_url=self.endpoint.base_url or BASE_URL,
                timeout=self.endpoint.timeout_s,
                max_retries=0,
                default_headers=ambient_headers("ANTHROPIC_CUSTOM_HEADERS", key, anthropic.Omit()),
                open_telemetry=False,
            )
            create: Any = client.messages.with_streaming_response.create
            with client, create(**body, extra_body=dict(self.endpoint.extra_body)) as response:
                yield response

        return call


def _structure(request: Request, answer_format: str) -> dict[str, Any]:
    import anthropic

    try:
        schema = anthropic.transform_schema(dict(request.schema or {}))
    except (TypeError, ValueError, KeyError, AttributeError, AssertionError) as error:
        raise SchemaRefused(f"anthropic's SDK cannot send this schema: {type(error).__name__}: {error}") from error
    if answer_format == "json_schema":
        return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    tool = {
        "name": request.schema_name,
        "description": "Takes your answer.",
        "input_schema": schema,
        "strict": True,
    }
    return {"tools": [tool], "tool_choice": {"type": "tool", "name": request.schema_name}}


def _reply(
    body: Mapping[str, Any],
    headers: Mapping[str, str],
    request: Request,
    endpoint: Endpoint,
    answer_format: str,
    earlier: Reply | None,
) -> Reply:
    blocks = entries(body.get("content"))
    texts = [text_of(block.get("text")) for block in blocks if block.get("type") == "text"]
    calls = [
        block for block in blocks if block.get("type") == "tool_use" and block.get("name") == request.schema_name
    ]
    if calls and answer_format == "tool":
        texts = [json.dumps(call.get("input"), ensure_ascii=False) for call in calls]
    cited = [entry for block in blocks for entry in entries(block.get("citations"))]
    reply = Reply(
        text=("\n" if calls else "").join(texts),
        usage=_usage(body.get("usage")),
        provider=endpoint.provider,
        model=endpoint.shown(text_of(body.get("model"))) or endpoint.model,
        answer_format=answer_format,
        stop=endpoint.shown(text_of(body.get("stop_reason"))),
        request_id=headers.get("request-id", "") or text_of(body.get("id")),
        citations=citations(cited),
    )
    if earlier is None:
        return reply
    known = {page.url for page in earlier.citations}
    pages = (*earlier.citations, *(page for page in reply.citations if page.url not in known))
    return replace(reply, text=earlier.text + reply.text, usage=earlier.usage + reply.usage, citations=pages)


def _settled(body: Mapping[str, Any], request: Request, reply: Reply, endpoint: Endpoint) -> Reply:
    offered = request.schema_name if reply.answer_format == "tool" else None
    calls = [block for block in entries(body.get("content")) if block.get("type") == "tool_use"]
    foreign = tuple(endpoint.shown(text_of(call.get("name"))) for call in calls if call.get("name") != offered)
    details = body.get("stop_details")
    why = [text_of(details.get(part)) for part in ("category", "explanation")] if isinstance(details, Mapping) else []
    return settle(
        request,
        reply,
        counted=told(body.get("usage"), "input_tokens", "output_tokens"),
        cut_off=reply.stop in ("max_tokens", "model_context_window_exceeded", "pause_turn"),
        refused=endpoint.shown(": ".join(part for part in why if part)) if reply.stop == "refusal" else None,
        foreign_tools=foreign,
    )


def _usage(raw: object) -> Usage:
    """Anthropic counts cached input apart; here `input_tokens` is all of it."""
    cached, written = count(raw, "cache_read_input_tokens"), count(raw, "cache_creation_input_tokens")
    return Usage(
        input_tokens=count(raw, "input_tokens") + cached + written,
        cached_tokens=cached,
        cache_write_tokens=written,
        output_tokens=count(raw, "output_tokens"),
        reasoning_tokens=count(raw, "output_tokens_details", "thinking_tokens"),
        searches=count(raw, "server_tool_use", "web_search_requests"),
    )
