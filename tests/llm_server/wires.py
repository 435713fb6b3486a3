"""A behaviour as each API would write it: status, headers and body."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.llm_server.asked import FIELDS, Asked
from tests.llm_server.behaviours import (
    UNSAID,
    Behaviour,
    Empty,
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
    WrongTypes,
)

#: HTTP status -> Anthropic's error type.
ANTHROPIC_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
OPENAI_ERRORS = {401: "invalid_request_error", 429: "rate_limit_exceeded", 500: "server_error", 503: "server_error"}
#: A citation's place in the text, which nobody here looks at.
COMPLETE = {"start_index": 0, "end_index": 1}
GOOGLE_ERRORS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 429: "RESOURCE_EXHAUSTED"}


@dataclass(frozen=True, kw_only=True)
class Written:
    """One HTTP response."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Parts:
    """An answer before it takes an API's form. ended: end, length, refusal, tool or pause."""

    texts: tuple[str, ...] = ()
    calls: tuple[tuple[str, Any], ...] = ()
    """(tool, input): the input as an object, or as raw text."""
    ended: str = "end"
    stop: str | None = None
    pages: tuple[Page, ...] = ()
    searches: int = 0
    usage: Tokens = field(default_factory=Tokens)


def write(asked: Asked, behaviour: Behaviour, *, model: str, number: int) -> Written:
    """The response to the request `number` of this server. model: the name under which the model answers."""
    if isinstance(behaviour, Malformed):
        return Written(body=behaviour.body, headers={"content-type": "application/json"})
    if isinstance(behaviour, Status) and behaviour.html:
        page = f"<html><body><h1>{behaviour.code} {behaviour.message}</h1></body></html>".encode()
        return Written(status=behaviour.code, headers={"content-type": "text/html"} | _waiting(behaviour), body=page)
    if isinstance(behaviour, Status | SchemaRefused):
        return _failed(asked, behaviour, number)
    if isinstance(behaviour, OpenRouterError):
        error = {"error": {"code": behaviour.code, "message": behaviour.message, "metadata": {}}, "user_id": "u"}
        return _json(200, error, number)
    whole: Any = ANSWERS[asked.wire](asked, _parts(asked, behaviour), model, number)
    if isinstance(behaviour, WrongTypes):
        whole = _wrong(asked.wire, whole, behaviour.part)
    return _json(200, whole, number)


def _json(status: int, body: Any, number: int, headers: Mapping[str, str] | None = None) -> Written:
    name = f"req_{number:06d}"
    common = {"content-type": "application/json", "request-id": name, "x-request-id": name}
    return Written(status=status, headers=common | dict(headers or {}), body=json.dumps(body).encode())


def _waiting(behaviour: Status) -> dict[str, str]:
    return {} if behaviour.retry_after is None else {"retry-after": str(behaviour.retry_after)}


def _failed(asked: Asked, behaviour: Status | SchemaRefused, number: int) -> Written:
    if isinstance(behaviour, SchemaRefused):
        place = FIELDS.get((asked.wire, asked.answer_format), "tools.0")
        message, headers = f"{place}: {asked.answer_format} is not supported by this model", dict[str, str]()
    else:
        place, message, headers = "", behaviour.message, _waiting(behaviour)
        if behaviour.echo_key:
            shown = {k: v for k, v in asked.headers.items() if k in ("authorization", "x-api-key", "x-goog-api-key")}
            message += f" (request headers: {shown}; path: {asked.path})"
    code = behaviour.code
    body: dict[str, Any]
    if asked.wire == "anthropic":
        kind = ANTHROPIC_ERRORS.get(code, "api_error")
        body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": f"req_{number:06d}"}
    elif asked.wire in ("gemini", "search"):
        body = {"error": {"code": code, "message": message, "status": GOOGLE_ERRORS.get(code, "INTERNAL")}}
    else:
        kind = OPENAI_ERRORS.get(code, "invalid_request_error")
        body = {"error": {"message": message, "type": kind, "param": place or None, "code": None}}
    return _json(code, body, number, headers)


def _parts(asked: Asked, behaviour: Behaviour) -> Parts:
    """The answer that a behaviour is, given how the request asked for it."""
    usage = behaviour.usage
    if isinstance(behaviour, Say):
        texts: tuple[str, ...] = () if behaviour.text is None else (behaviour.text,)
        calls: tuple[tuple[str, Any], ...] = tuple((name, dict(given)) for name, given in behaviour.tool_calls)
        if behaviour.arguments is not None:
            calls += ((asked.tool, behaviour.arguments),)
        if behaviour.json is not UNSAID and asked.tool:
            calls += ((asked.tool, behaviour.json),)
        elif behaviour.json is not UNSAID:
            texts += (json.dumps(behaviour.json),)
        return Parts(
            texts=texts,
            calls=calls,
            ended="tool" if calls else "end",
            stop=behaviour.stop,
            pages=behaviour.pages,
            searches=behaviour.searched,
            usage=usage,
        )
    if isinstance(behaviour, Truncated):
        if asked.tool:
            return Parts(calls=((asked.tool, behaviour.text),), ended="length", usage=usage)
        return Parts(texts=(behaviour.text,), ended="length", usage=usage)
    if isinstance(behaviour, Refuses):
        return Parts(texts=(behaviour.reason,), ended="refusal", usage=usage)
    if isinstance(behaviour, PauseTurn):
        return Parts(texts=(behaviour.text,), ended="pause", searches=1, usage=usage)
    if isinstance(behaviour, Empty):
        return Parts(usage=usage)
    if isinstance(behaviour, WrongTypes):
        return Parts(texts=("{}",), usage=usage)
    raise TypeError(f"{type(behaviour).__name__} is not an answer")


def _wrong(wire: str, whole: dict[str, Any], part: str) -> Any:
    bodies = {"list": [1, 2, 3], "null": None, "string": "done", "missing": {"hello": "world"}}
    if part in bodies:
        return bodies[part]
    content: dict[str, dict[str, Any]] = {
        "anthropic": {"content": [{"type": "text", "text": 7}]},
        "responses": {"output": 7},
        "chat": {"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": 7}}]},
        "gemini": {"candidates": 7},
        "search": {"items": 7},
    }
    usage: dict[str, dict[str, Any]] = {
        "anthropic": {"usage": {"input_tokens": "many", "output_tokens": None}},
        "responses": {"usage": {"input_tokens": "many", "output_tokens": None}},
        "chat": {"usage": {"prompt_tokens": "many", "completion_tokens": None}},
        "gemini": {"usageMetadata": {"promptTokenCount": "many"}},
        "search": {"searchInformation": 7},
    }
    return whole | {"content": content, "usage": usage}[part][wire]


def _anthropic(asked: Asked, parts: Parts, model: str, number: int) -> dict[str, Any]:
    refused = parts.ended == "refusal"
    content: list[dict[str, Any]] = []
    if parts.searches and asked.searches:
        called = {"type": "server_tool_use", "id": f"srvtoolu_{number}", "name": "web_search"}
        content.append({**called, "input": {"query": "words"}})
        if parts.ended != "pause":
            results = [
                {
                    "type": "web_search_result",
                    "url": p.url,
                    "title": p.title,
                    "encrypted_content": "e",
                    "page_age": None,
                }
                for p in parts.pages
            ]
            content.append(
                {"type": "web_search_tool_result", "tool_use_id": f"srvtoolu_{number}", "content": results}
            )
    cited = [
        {
            "type": "web_search_result_location",
            "url": page.url,
            "title": page.title,
            "cited_text": page.snippet,
            "encrypted_index": "e",
        }
        for page in parts.pages
    ]
    content += [{"type": "text", "text": text, "citations": cited or None} for text in parts.texts if not refused]
    for place, (name, given) in enumerate(parts.calls):
        # A tool's input is an object on this wire: what was cut off, or is no JSON, arrives as an empty one.
        content.append(
            {
                "type": "tool_use",
                "id": f"toolu_{number}_{place}",
                "name": name,
                "input": {} if isinstance(given, str) else given,
            }
        )
    usage = parts.usage
    words = {
        "end": "end_turn",
        "length": "max_tokens",
        "refusal": "refusal",
        "tool": "tool_use",
        "pause": "pause_turn",
    }
    details = {"type": "refusal", "category": "frontier_llm", "explanation": "".join(parts.texts)}
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": parts.stop or words.get(parts.ended, parts.ended),
        "stop_sequence": None,
        "stop_details": details if refused else None,
        "usage": {
            "input_tokens": usage.input - usage.cached - usage.cache_write,
            "cache_read_input_tokens": usage.cached,
            "cache_creation_input_tokens": usage.cache_write,
            "output_tokens": usage.output,
            "output_tokens_details": {"thinking_tokens": usage.reasoning},
            "server_tool_use": {"web_search_requests": parts.searches, "web_fetch_requests": 0},
        },
    }


def _responses(asked: Asked, parts: Parts, model: str, number: int) -> dict[str, Any]:
    cut = parts.ended == "length"
    output: list[dict[str, Any]] = [
        {
            "type": "web_search_call",
            "id": f"ws_{number}_{place}",
            "status": "completed",
            "action": {"type": "search", "query": "words", "queries": ["words"]},
        }
        for place in range(parts.searches)
    ]
    inner: list[dict[str, Any]]
    if parts.ended == "refusal":
        inner = [{"type": "refusal", "refusal": text} for text in parts.texts]
    else:
        notes = [{"type": "url_citation", "url": page.url, "title": page.title} | COMPLETE for page in parts.pages]
        inner = [{"type": "output_text", "text": text, "annotations": notes} for text in parts.texts]
    if inner:
        status = "incomplete" if cut else "completed"
        output.append(
            {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": status, "content": inner}
        )
    output += [
        {
            "type": "function_call",
            "id": f"fc_{number}_{place}",
            "call_id": f"call_{number}_{place}",
            "name": name,
            "arguments": given if isinstance(given, str) else json.dumps(given),
            "status": "incomplete" if cut else "completed",
        }
        for place, (name, given) in enumerate(parts.calls)
    ]
    usage = parts.usage
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1_790_000_000,
        "model": model,
        "status": parts.stop or ("incomplete" if cut else "completed"),
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "error": None,
        "instructions": None,
        "metadata": {},
        "output": output,
        "parallel_tool_calls": False,
        "temperature": 1.0,
        "top_p": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": usage.input,
            "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write},
            "output_tokens": usage.output,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.input + usage.output,
        },
    }


def _chat(asked: Asked, parts: Parts, model: str, number: int) -> dict[str, Any]:
    refused = parts.ended == "refusal"
    # DeepSeek answers nothing with an empty text, OpenAI a tool call with null.
    content = "".join(parts.texts) if parts.texts else (None if parts.calls else "")
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if refused else content,
        "refusal": content if refused else None,
    }
    if parts.pages:
        message["annotations"] = [
            {
                "type": "url_citation",
                "url_citation": {"url": p.url, "title": p.title, "start_index": 0, "end_index": 1},
            }
            for p in parts.pages
        ]
    if parts.calls:
        message["tool_calls"] = [
            {
                "id": f"call_{number}_{place}",
                "type": "function",
                "function": {"name": name, "arguments": given if isinstance(given, str) else json.dumps(given)},
            }
            for place, (name, given) in enumerate(parts.calls)
        ]
    usage = parts.usage
    # A forced tool ends with "stop" on OpenAI, with "tool_calls" elsewhere.
    words = {"end": "stop", "length": "length", "refusal": "stop", "tool": "tool_calls", "pause": "stop"}
    choice = {"index": 0, "finish_reason": parts.stop or words[parts.ended], "message": message, "logprobs": None}
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": model,
        "choices": [choice],
        "usage": {
            "prompt_tokens": usage.input,
            "prompt_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write},
            "completion_tokens": usage.output,
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.input + usage.output,
        },
    }


def _gemini(asked: Asked, parts: Parts, model: str, number: int) -> dict[str, Any]:
    words = {"end": "STOP", "length": "MAX_TOKENS", "refusal": "SAFETY", "tool": "STOP", "pause": "STOP"}
    refused = parts.ended == "refusal"
    candidate: dict[str, Any] = {"index": 0, "finishReason": parts.stop or words[parts.ended]}
    if not refused:
        candidate["content"] = {"role": "model", "parts": [{"text": text} for text in parts.texts]}
    if parts.searches:
        candidate["groundingMetadata"] = {
            "webSearchQueries": [f"words {place}" for place in range(parts.searches)],
            "groundingChunks": [{"web": {"uri": page.url, "title": page.title}} for page in parts.pages],
        }
    usage = parts.usage
    return {
        "candidates": [candidate],
        "modelVersion": model,
        "responseId": f"resp_{number}",
        "usageMetadata": {
            "promptTokenCount": usage.input,
            "cachedContentTokenCount": usage.cached,
            "candidatesTokenCount": usage.output - usage.reasoning,
            "thoughtsTokenCount": usage.reasoning,
            "totalTokenCount": usage.input + usage.output,
        },
    }


def _search(asked: Asked, parts: Parts, model: str, number: int) -> dict[str, Any]:
    found = [{"title": page.title, "link": page.url, "snippet": page.snippet} for page in parts.pages]
    information = {"searchInformation": {"totalResults": str(len(found))}}
    # Google leaves "items" out when nothing was found.
    return {"kind": "customsearch#search", **information, **({"items": found} if found else {})}


ANSWERS = {"anthropic": _anthropic, "responses": _responses, "chat": _chat, "gemini": _gemini, "search": _search}
