"""OpenAI's SDK in both of its formats: Responses for OpenAI itself, chat completions for compatible endpoints."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from urllib.parse import urlsplit

from agent.errors import LLMRefusal, LLMRejected
from agent.llm.base import Reply, Request, Usage
from agent.llm.deadline import Deadline
from agent.llm.exchange import Answered, exchange, fault_inside
from agent.llm.proxy import direct_options
from agent.llm.wire import (
    Endpoint,
    ambient_headers,
    charged,
    citations,
    count,
    entries,
    key_of,
    settle,
    text_of,
    told,
    turns,
)

BASE_URL = "https://api.openai.com/v1"


class ResponsesWire:
    """OpenAI's Responses: structure by text.format or one forced strict function; its own web search."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    def send(self, request: Request, answer_format: str) -> Reply:
        """See `agent.llm.wire.Wire`."""
        body: dict[str, Any] = {
            "model": self.endpoint.model,
            "input": turns(request, answer_format),
            "max_output_tokens": request.max_tokens,
            "store": False,
        }
        if request.system:
            body["instructions"] = request.system
        if request.search is not None:
            body["tools"] = [{"type": "web_search", "search_context_size": "low"}]
            body["max_tool_calls"] = request.search.max_uses
        elif request.schema is not None:
            body |= self._structure(request, answer_format)
        answered = exchange(self.endpoint, answer_format, _call(self.endpoint, "responses", body), part="output")
        return self._settled(answered, request, answer_format)

    def _structure(self, request: Request, answer_format: str) -> dict[str, Any]:
        named = {"name": request.schema_name, "strict": True}
        if answer_format == "json_schema":
            return {"text": {"format": {"type": "json_schema", **named, "schema": dict(request.schema or {})}}}
        if answer_format == "tool":
            tool = {"type": "function", **named, "parameters": dict(request.schema or {})}
            return {"tools": [tool], "tool_choice": {"type": "function", "name": request.schema_name}}
        return {"text": {"format": {"type": "json_object"}}} if answer_format == "json_object" else {}

    def _settled(self, answered: Answered, request: Request, answer_format: str) -> Reply:
        body = answered.body
        output = entries(body.get("output"))
        parts = [part for item in output if item.get("type") == "message" for part in entries(item.get("content"))]
        calls = [item for item in output if item.get("type") == "function_call"]
        ours = [call for call in calls if answer_format == "tool" and call.get("name") == request.schema_name]
        texts = [text_of(part.get("text")) for part in parts if part.get("type") == "output_text"]
        reasons = body.get("incomplete_details")
        reason = text_of(reasons.get("reason")) if isinstance(reasons, Mapping) else ""
        searched = sum(item.get("type") == "web_search_call" for item in output)
        reply = Reply(
            text="\n".join(text_of(call.get("arguments")) for call in ours) if ours else "".join(texts),
            usage=_responses_usage(body.get("usage"), searched),
            provider=self.endpoint.provider,
            model=self.endpoint.shown(text_of(body.get("model"))) or self.endpoint.model,
            answer_format=answer_format,
            stop=self.endpoint.shown(reason or text_of(body.get("status"))),
            request_id=answered.headers.get("x-request-id", "") or text_of(body.get("id")),
            citations=citations([entry for part in parts for entry in _url_citations(part)]),
        )
        counted = told(body.get("usage"), "input_tokens", "output_tokens")
        reply = charged(request, reply, counted=counted)
        _raise_fault(answered, body, self.endpoint, reply, counted)
        declined = [text_of(part.get("refusal")) for part in parts if part.get("type") == "refusal"]
        if reason == "content_filter":
            declined.append("content filter")
        return settle(
            request,
            reply,
            counted=True,
            cut_off=body.get("status") in ("incomplete", "in_progress", "queued", "cancelled"),
            refused=self.endpoint.shown(" ".join(declined)) if declined else None,
            foreign_tools=_foreign(self.endpoint, [call for call in calls if call not in ours]),
        )


class ChatWire:
    """Chat completions, as DeepSeek, OpenRouter, Gemini, Ollama, vLLM and many others speak them. No search."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    def send(self, request: Request, answer_format: str) -> Reply:
        """See `agent.llm.wire.Wire`."""
        if request.search is not None:
            raise LLMRejected(
                f"{self.endpoint.provider} cannot search through chat completions: choose another search provider"
            )
        system = [{"role": "system", "content": request.system}] if request.system else []
        body: dict[str, Any] = {
            "model": self.endpoint.model,
            "messages": [*system, *turns(request, answer_format)],
            "max_tokens": request.max_tokens,
        }
        if request.schema is not None:
            body |= self._structure(request, answer_format)
        answered = exchange(self.endpoint, answer_format, _call(self.endpoint, "chat", body), part="choices")
        return self._settled(answered, request, answer_format)

    def _structure(self, request: Request, answer_format: str) -> dict[str, Any]:
        named = {"name": request.schema_name, "strict": True}
        if answer_format == "json_schema":
            schema = {**named, "schema": dict(request.schema or {})}
            return {"response_format": {"type": "json_schema", "json_schema": schema}}
        if answer_format == "tool":
            tool = {"type": "function", "function": {**named, "parameters": dict(request.schema or {})}}
            chosen = {"type": "function", "function": {"name": request.schema_name}}
            return {"tools": [tool], "tool_choice": chosen}
        return {"response_format": {"type": "json_object"}} if answer_format == "json_object" else {}

    def _settled(self, answered: Answered, request: Request, answer_format: str) -> Reply:
        body = answered.body
        choice: Mapping[str, Any] = next(iter(entries(body.get("choices"))), {})
        raw = choice.get("message")
        message: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
        calls = [call.get("function") for call in entries(message.get("tool_calls"))]
        functions = entries(calls)
        ours = [call for call in functions if answer_format == "tool" and call.get("name") == request.schema_name]
        reply = Reply(
            text="\n".join(text_of(call.get("arguments")) for call in ours) if ours else _content(message),
            usage=_chat_usage(body.get("usage")),
            provider=self.endpoint.provider,
            model=self.endpoint.shown(text_of(body.get("model"))) or self.endpoint.model,
            answer_format=answer_format,
            stop=self.endpoint.shown(text_of(choice.get("finish_reason"))),
            request_id=answered.headers.get("x-request-id", "") or text_of(body.get("id")),
        )
        counted = told(body.get("usage"), "prompt_tokens", "completion_tokens")
        reply = charged(request, reply, counted=counted)
        for place in (body, choice):
            _raise_fault(answered, place, self.endpoint, reply, counted)
        if reply.stop == "insufficient_system_resource":  # DeepSeek's overload, in the middle of an answer
            _raise_fault(answered, {"error": {"code": 503, "message": reply.stop}}, self.endpoint, reply, counted)
        declined = text_of(message.get("refusal")) or ("content filter" if reply.stop == "content_filter" else "")
        return settle(
            request,
            reply,
            counted=True,
            cut_off=reply.stop == "length",
            refused=self.endpoint.shown(declined) or None,
            foreign_tools=_foreign(self.endpoint, [call for call in functions if call not in ours]),
        )


def _call(
    endpoint: Endpoint, resource: str, body: Mapping[str, Any]
) -> Callable[[Deadline], AbstractContextManager[Any]]:
    import openai  # before the exchange's time begins

    key = key_of(endpoint)

    @contextmanager
    def call(deadline: Deadline) -> Any:
        http_client = openai.DefaultHttpxClient(
            event_hooks={"request": [deadline.hook]},
            follow_redirects=False,
            timeout=endpoint.timeout_s,
            **direct_options(openai.DefaultHttpxClient, endpoint.base_url or BASE_URL, os.environ),
        )
        client = openai.OpenAI(
            http_client=http_client,
            api_key=key,
            admin_api_key="",
            webhook_secret="",
            base_url=endpoint.base_url or BASE_URL,
            timeout=endpoint.timeout_s,
            max_retries=0,
            default_headers=ambient_headers("OPENAI_CUSTOM_HEADERS", key, openai.Omit()),
        )
        if urlsplit(endpoint.base_url or BASE_URL).hostname != urlsplit(BASE_URL).hostname:
            # OPENAI_ORG_ID and OPENAI_PROJECT_ID are OpenAI's: the SDK would send them to any address.
            client.organization = client.project = None
        create: Any = (
            client.responses if resource == "responses" else client.chat.completions
        ).with_streaming_response
        with client, create.create(**body, extra_body=dict(endpoint.extra_body)) as response:
            yield response

    return call


def _raise_fault(
    answered: Answered, place: Mapping[str, Any], endpoint: Endpoint, reply: Reply, counted: bool
) -> None:
    fault = fault_inside(answered, place, endpoint, reply.answer_format)
    if fault is None:
        return
    inner = place["error"]
    code = text_of(inner.get("code")) if isinstance(inner, Mapping) else ""
    if "policy" in code:  # bio_policy, misalignment_policy_violation, image_content_policy_violation
        raise LLMRefusal(f"{reply.model} declined to answer: {endpoint.shown(code)}", reply=reply)
    fault.reply = reply if counted else None
    raise fault


def _foreign(endpoint: Endpoint, calls: list[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(endpoint.shown(text_of(call.get("name"))) or "a tool without a name" for call in calls)


def _content(message: Mapping[str, Any]) -> str:
    """A message's text: a string, or a list of parts as some endpoints send it."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join(text_of(part.get("text")) for part in entries(content) if part.get("type") == "text")


def _url_citations(part: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [entry for entry in entries(part.get("annotations")) if entry.get("type") == "url_citation"]


def _responses_usage(raw: object, searches: int) -> Usage:
    return Usage(
        input_tokens=count(raw, "input_tokens"),
        cached_tokens=count(raw, "input_tokens_details", "cached_tokens"),
        cache_write_tokens=count(raw, "input_tokens_details", "cache_write_tokens"),
        output_tokens=count(raw, "output_tokens"),
        reasoning_tokens=count(raw, "output_tokens_details", "reasoning_tokens"),
        searches=searches,
    )


def _chat_usage(raw: object) -> Usage:
    """DeepSeek names its cache hits differently."""
    return Usage(
        input_tokens=count(raw, "prompt_tokens"),
        cached_tokens=count(raw, "prompt_tokens_details", "cached_tokens") or count(raw, "prompt_cache_hit_tokens"),
        cache_write_tokens=count(raw, "prompt_tokens_details", "cache_write_tokens"),
        output_tokens=count(raw, "completion_tokens"),
        reasoning_tokens=count(raw, "completion_tokens_details", "reasoning_tokens"),
    )
