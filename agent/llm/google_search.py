"""Web search at Google, over plain HTTP: Gemini grounded in its search, and Programmable Search.

Sources: Gemini API, models.generateContent with the google_search tool (v1beta); Custom Search JSON API, cse.list
(v1), which takes no new customers and is announced to end on 2027-01-01. Both accept the key in the header
x-goog-api-key (Google Cloud, "System parameters"), so it never stands in an address, which ends up in proxies' logs
and in error texts.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from agent.errors import LLMError, LLMRejected, LLMUnusable, UsageError
from agent.llm.base import Citation, Reply, Request, Usage
from agent.llm.client import Client
from agent.llm.exchange import judged, retry_after_s, unreached
from agent.llm.proxy import direct_options
from agent.llm.retry import CoolDown, RetryPolicy
from agent.llm.wire import Endpoint, TryAgain, count, entries, key_of, settle, text_of, told

BODY_BYTES = 2**20
"""Longer answers are not read to their end; a grounded answer has some 20 kB."""
LINE_CHARACTERS = 300
"""Of a title or a snippet."""
RESULTS = 8
"""Results asked of Programmable Search, which gives 10 at most."""
REFUSED = ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII")
"""finishReason of an answer that Google held back."""


class GeminiSearch(Client):
    """Gemini with the google_search tool: free text, and the pages that it rests on as citations.

    The number of searches is the model's choice (`Search.max_uses` is not known to this endpoint); usage counts those
    that it reports. Structured answers cannot be combined with the tool, so a request with a schema is refused.
    """

    def __init__(
        self,
        *,
        key: str,
        model: str,
        base_url: str = "https://generativelanguage.googleapis.com",
        timeout_s: float = 120.0,
        policy: RetryPolicy | None = None,
        cool_down: CoolDown | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """timeout_s: for one try as a whole. Raises UsageError for a key, model or address that cannot be used."""
        endpoint = _endpoint("gemini", model, key, base_url, timeout_s)
        super().__init__(endpoint, wire=_GeminiWire(endpoint), policy=policy, cool_down=cool_down, sleep=sleep)


class ProgrammableSearch(Client):
    """Google Programmable Search behind the protocol of a language model: the reply is the list of results.

    Only `Request.search` is looked at. Each result is one line, "- title: snippet (address)"; no result is an empty
    text, not an error.
    """

    def __init__(
        self,
        *,
        key: str,
        engine: str,
        base_url: str = "https://customsearch.googleapis.com",
        timeout_s: float = 30.0,
        policy: RetryPolicy | None = None,
        cool_down: CoolDown | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """engine: the search engine's ID (cx). timeout_s: for one try as a whole. Raises UsageError."""
        if not engine.strip():
            raise UsageError("google: the search engine's ID (cx) is missing")
        endpoint = _endpoint("google", "customsearch-v1", key, base_url, timeout_s)
        wire = _ProgrammableWire(endpoint, engine)
        super().__init__(endpoint, wire=wire, policy=policy, cool_down=cool_down, sleep=sleep)


class _GeminiWire:
    """models.generateContent; implements `agent.llm.wire.Wire`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def send(self, request: Request, answer_format: str) -> Reply:
        if request.schema is not None:
            raise LLMRejected(f"{self._endpoint.provider}: a grounded answer is free text; it cannot have a schema")
        turns = [("model" if message.role == "assistant" else "user", message.text) for message in request.messages]
        body = {
            "system_instruction": {"parts": [{"text": request.system}]},
            "contents": [{"role": role, "parts": [{"text": text}]} for role, text in turns],
            "tools": [{"google_search": {}}],
            "generationConfig": {"maxOutputTokens": request.max_tokens},
        }
        # Quoted, so that a model's name stays the one step of the path that it is.
        path = f"/v1beta/models/{quote(self._endpoint.model, safe='')}:generateContent"
        return self._reply(request, _sent(self._endpoint, "POST", path, json=body))

    def _reply(self, request: Request, answer: Mapping[str, Any]) -> Reply:
        candidate = next(iter(entries(answer.get("candidates"))), {})
        grounding = _object(candidate, "groundingMetadata")
        pages = [_object(chunk, "web") for chunk in entries(grounding.get("groundingChunks"))]
        parts = [part for part in entries(_object(candidate, "content").get("parts")) if not part.get("thought")]
        text = "".join(_text(part.get("text")) for part in parts)
        stop = _line(candidate.get("finishReason"))
        reply = Reply(
            text=text,
            usage=_gemini_usage(answer, grounding),
            provider=self._endpoint.provider,
            model=_line(answer.get("modelVersion")) or self._endpoint.model,
            stop=stop,
            request_id=_line(answer.get("responseId")),
            citations=_citations((page.get("uri"), page.get("title")) for page in pages),
        )
        blocked = _line(_object(answer, "promptFeedback").get("blockReason")) or (stop if stop in REFUSED else None)
        counted = told(answer.get("usageMetadata"), "promptTokenCount")
        return settle(request, reply, counted=counted, cut_off=stop == "MAX_TOKENS", refused=blocked)


class _ProgrammableWire:
    """cse.list; implements `agent.llm.wire.Wire`."""

    def __init__(self, endpoint: Endpoint, engine: str) -> None:
        self._endpoint, self._engine = endpoint, engine

    def send(self, request: Request, answer_format: str) -> Reply:
        if request.search is None or request.schema is not None:
            raise LLMRejected(f"{self._endpoint.provider}: answers a search in free text, nothing else")
        asked = {"q": request.search.query, "cx": self._engine, "num": str(RESULTS)}
        try:
            items = _sent(self._endpoint, "GET", "/customsearch/v1", params=asked).get("items", [])
            if not isinstance(items, list) or len(entries(items)) != len(items):
                raise LLMUnusable(["the answer's `items` is no list of results"])
        except LLMUnusable as error:  # the search was made all the same, and counts
            raise LLMUnusable(error.problems, reply=self._made([])) from None
        return self._made([item for item in items if is_web_address(item.get("link"))])

    def _made(self, found: list[Mapping[str, Any]]) -> Reply:
        return Reply(
            text="\n".join(_result(item) for item in found),
            usage=Usage(searches=1),
            provider=self._endpoint.provider,
            model=self._endpoint.model,
            citations=_citations((item["link"], item.get("title")) for item in found),
        )


def is_web_address(value: object) -> bool:
    """Whether a value is an http(s) address fit to be shown: no other scheme, no password, no blanks or quotes."""
    if not isinstance(value, str) or len(value) > 2000 or not value.isascii() or not value.isprintable():
        return False
    if any(character in value for character in " <>\"'`\\{}|^"):
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return False


def _endpoint(provider: str, model: str, key: str, base_url: str, timeout_s: float) -> Endpoint:
    # "chat" stands for the compatible wire; these have wires of their own, and no SDK is looked for.
    return Endpoint(
        provider=provider,
        model=model,
        style="chat",
        base_url=base_url.rstrip("/"),
        key=key,
        timeout_s=timeout_s,
        formats=("text",),
    )


def _sent(endpoint: Endpoint, method: str, path: str, **content: Any) -> Mapping[str, Any]:
    """The JSON object that one HTTP request is answered with. Raises TryAgain, LLMRejected, LLMUnusable.

    The messages of httpx may quote a header, so they pass `Endpoint.shown`, and its exceptions are not chained.
    """
    import httpx

    # No redirects: they would carry the key to another host. No compression: the cap then is one of memory too.
    headers = {"x-goog-api-key": key_of(endpoint), "accept-encoding": "identity"}
    direct = direct_options(httpx.Client, endpoint.base_url or "", os.environ)
    try:
        with (
            httpx.Client(timeout=endpoint.timeout_s, follow_redirects=False, **direct) as client,
            client.stream(method, f"{endpoint.base_url}{path}", headers=headers, **content) as response,
        ):
            status, answered, body = response.status_code, response.headers, _read(endpoint, response)
    except httpx.TimeoutException:
        raise TryAgain(f"{endpoint.provider}: no answer within {endpoint.timeout_s:g} s") from None
    except httpx.TransportError as error:
        if why := unreached(error):
            raise TryAgain(f"{endpoint.place} cannot be reached ({endpoint.shown(why)})") from None
        raise TryAgain(f"{endpoint.provider}: {type(error).__name__}: {endpoint.shown(error)}") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise LLMRejected(f"{endpoint.provider}: {type(error).__name__}: {endpoint.shown(error)}") from None
    if status != 200:
        raise _failure(endpoint, status, answered, body)
    return _parsed(endpoint, body)


def _read(endpoint: Endpoint, response: Any) -> bytes:
    """The body, up to the cap and the time limit: httpx's own is for each read, and a drip would never end."""
    until, body = time.monotonic() + endpoint.timeout_s, bytearray()
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > BODY_BYTES:
            raise LLMUnusable([f"{endpoint.provider} sent more than {BODY_BYTES:,} bytes: not read further"])
        if time.monotonic() > until:
            raise TryAgain(f"{endpoint.provider}: no whole answer within {endpoint.timeout_s:g} s")
    return bytes(body)


def _parsed(endpoint: Endpoint, body: bytes) -> Mapping[str, Any]:
    try:
        answer = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise LLMUnusable([f"{endpoint.provider}: the answer is no JSON: {endpoint.shown(error)}"]) from None
    if not isinstance(answer, dict):
        raise LLMUnusable([f"{endpoint.provider}: the answer is no JSON object but {type(answer).__name__}"])
    return answer


def _failure(endpoint: Endpoint, status: int, headers: Mapping[str, str], body: bytes) -> LLMError:
    """The error that a status other than 200 means. Google's body: {"error": {code, message, status}}, or a list."""
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError):
        raw = None
    error = _object(next(iter(entries(raw)), raw), "error")
    said = text_of(error.get("message"))
    if status == 429:
        # Google tells a limit per minute to "check your plan and billing details", which elsewhere means no money.
        message = f"{endpoint.provider} answers 429: {endpoint.shown(said) or 'no reason given'}"
        return TryAgain(message, status=status, retry_after_s=retry_after_s(headers))
    return judged(
        status,
        {"error": {"message": said}} if said else None,
        endpoint=endpoint,
        answer_format="text",
        headers=headers,
    )


def _gemini_usage(answer: Mapping[str, Any], grounding: Mapping[str, Any]) -> Usage:
    """Tool use is input; thoughts are output. The prompt's count includes what came from the cache."""
    queries = grounding.get("webSearchQueries")
    searches = len(queries) if isinstance(queries, list) else 0
    searches = searches or int(bool(grounding.get("groundingChunks")))
    counts = _object(answer, "usageMetadata")
    thoughts = count(counts, "thoughtsTokenCount")
    return Usage(
        input_tokens=count(counts, "promptTokenCount") + count(counts, "toolUsePromptTokenCount"),
        cached_tokens=count(counts, "cachedContentTokenCount"),
        output_tokens=count(counts, "candidatesTokenCount") + thoughts,
        reasoning_tokens=thoughts,
        searches=searches,
    )


def _citations(pages: Iterator[tuple[object, object]]) -> tuple[Citation, ...]:
    """Each page once, in order; what is no web address is left out."""
    found: dict[str, Citation] = {}
    for address, title in pages:
        if isinstance(address, str) and is_web_address(address):
            found.setdefault(address, Citation(url=address, title=_line(title)))
    return tuple(found.values())


def _result(item: Mapping[str, Any]) -> str:
    title, snippet = (_line(item.get(name)) for name in ("title", "snippet"))
    return f"- {title or 'untitled'}: {snippet} ({item['link']})"


def _object(raw: object, name: str) -> Mapping[str, Any]:
    """An object inside a foreign one; empty where there is none."""
    inner = raw.get(name) if isinstance(raw, Mapping) else None
    return inner if isinstance(inner, Mapping) else {}


def _text(raw: object) -> str:
    """A string of foreign JSON; half a surrogate pair, which JSON can spell and UTF-8 cannot, becomes "?"."""
    return text_of(raw).encode("utf-8", "replace").decode()


def _line(raw: object) -> str:
    """A string of foreign JSON as one line, cut to size."""
    line = " ".join("".join(c if c.isprintable() else " " for c in _text(raw)).split())
    return line if len(line) <= LINE_CHARACTERS else line[: LINE_CHARACTERS - 3] + "..."


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")
