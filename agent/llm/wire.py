"""Where a model is asked, and the one thing a provider's wire does: a single exchange, every failure translated."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from urllib.parse import urlsplit

from agent.errors import LLMRefusal, LLMRejected, LLMUnavailable, LLMUnusable, UsageError
from agent.llm.base import Citation, Reply, Request, Usage, rough_tokens
from agent.llm.keys import HIDDEN, SHORTEST_SECRET, is_no_secret, redact

FORMATS = ("json_schema", "tool", "json_object", "text")
"""The formats of structured answers, best first: how an endpoint is made to answer with the asked structure."""

STYLES = {"anthropic": "anthropic", "responses": "openai", "chat": "openai"}
"""Wire format -> the SDK that speaks it."""

SHOWN_CHARACTERS = 300

MOST_CONTEXT = 10_000_000
"""Tokens: the largest context that any model is offered with (late 2026)."""
MOST_ADDED = 400_000
"""Tokens of a call without search that a provider may add to what was sent."""
MOST_OUTPUT = 256_000
"""Tokens: twice the largest answer, reasoning included, that models give."""
MOST_SEARCHES = 100


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One model at one address. Raises UsageError for what cannot be asked."""

    provider: str
    """anthropic, openai, deepseek, openrouter, gemini, ollama, vllm or custom."""
    model: str
    style: str
    """Wire format: anthropic (Messages), responses (OpenAI's own), chat (every compatible endpoint)."""
    base_url: str | None = None
    """None: the address of the SDK's maker. The environment's *_BASE_URL is never read here."""
    key: str | None = field(default=None, repr=False)
    """None: an endpoint that asks for none (ollama, vllm)."""
    key_from: str = field(default="", compare=False)
    """Where the key was found, for messages: "ANTHROPIC_API_KEY in the environment"."""
    timeout_s: float = 120.0
    """Longest time of one exchange, from connecting to the last byte."""
    formats: tuple[str, ...] = FORMATS
    """The answer formats that this endpoint may know, in order."""
    extra_body: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Merged into every request's body."""

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise UsageError(f"style of {self.provider} is {self.style!r}: must be one of {', '.join(STYLES)}")
        unknown = [answer_format for answer_format in self.formats if answer_format not in FORMATS]
        if unknown or not self.formats:
            raise UsageError(
                f"answer formats of {self.provider} are {list(self.formats)}: must be of {', '.join(FORMATS)}"
            )
        if not self.model.strip():
            raise UsageError(f"{self.provider} needs a model's name")
        if not 0 < self.timeout_s <= 3600:
            raise UsageError(f"timeout of {self.provider} is {self.timeout_s} s: must be in (0, 3600]")
        if self.base_url is not None:
            _check_address(self.provider, self.base_url)
        # Said here, without the key: the SDK's own message for a stray line end shows the whole header.
        if self.key is not None and (not self.key or not self.key.isascii() or not self.key.isprintable()):
            raise UsageError(f"the key of {self.provider} is empty or holds a line end or a character beyond ASCII")

    @property
    def name(self) -> str:
        """What memories of this endpoint are kept under; holds no key."""
        return f"{self.provider}|{self.base_url or ''}|{self.model}"

    @property
    def place(self) -> str:
        """The provider and its address, for messages about reaching it."""
        return f"{self.provider} at {self.base_url}" if self.base_url is not None else self.provider

    def redact(self, text: str) -> str:
        """The text without the key, should a server have echoed it."""
        if self.key is None:
            return text
        if len(self.key) >= SHORTEST_SECRET and not is_no_secret(self.key):
            return text.replace(self.key, HIDDEN)
        return redact(text, [self.key])

    def shown(self, text: object) -> str:
        """Foreign text fit for a message: without the key, on one line, shortened."""
        start = self.redact(str(text))[: 10 * SHOWN_CHARACTERS]
        flat = " ".join("".join(c if c.isprintable() else " " for c in start).split())
        return flat if len(flat) <= SHOWN_CHARACTERS else flat[: SHOWN_CHARACTERS - 3] + "..."


def _check_address(provider: str, base_url: str) -> None:
    try:
        parts = urlsplit(base_url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
        secret = parts.username is not None or parts.password is not None or bool(parts.query)
    except ValueError:
        good, secret = False, False
    if secret:  # the address is shown in messages and kept in files
        raise UsageError(f"base URL of {provider} holds a user, password or query: give the key as a key")
    if not good:
        raise UsageError(f"base URL of {provider} is {base_url!r}: must begin with http:// or https:// and a host")


class TryAgain(LLMUnavailable):
    """A passing failure of one exchange.

    status: HTTP status, None where there was none. retry_after_s: how long the endpoint asks to wait, if it says so.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        reply: Reply | None = None,
    ) -> None:
        self.status = status
        self.retry_after_s = retry_after_s
        super().__init__(message, reply=reply)


class SchemaRefused(LLMRejected):
    """The endpoint does not know this answer format, or not this schema in it."""


class Wire(Protocol):
    """How one endpoint is spoken to."""

    def send(self, request: Request, answer_format: str) -> Reply:
        """One exchange, nothing tried again; `data` stays None, the text is as it came.

        A search that the provider pauses is continued here: the only case of more than one HTTP call.
        Raises TryAgain, SchemaRefused, LLMRejected, LLMRefusal, and LLMUnusable for a cut-off or empty answer, the
        last two with the reply.
        """
        ...


def make_wire(endpoint: Endpoint) -> Wire:
    """The wire of an endpoint. Imports no SDK yet. Raises UsageError where it is not installed."""
    sdk = STYLES[endpoint.style]
    if importlib.util.find_spec(sdk) is None:
        raise UsageError(
            f"{endpoint.provider} needs the llm extra ({sdk} is not installed): `./uvw run --extra llm ...` or "
            "`pip install 'roundtable[llm]'`"
        )
    if endpoint.style == "anthropic":
        from agent.llm.anthropic_wire import AnthropicWire

        return AnthropicWire(endpoint)
    from agent.llm.openai_wire import ChatWire, ResponsesWire

    return ResponsesWire(endpoint) if endpoint.style == "responses" else ChatWire(endpoint)


def key_of(endpoint: Endpoint) -> str:
    """The key to send. Raises LLMRejected where a provider that always asks for one was given none."""
    if endpoint.key is not None:
        return endpoint.key
    if endpoint.style == "anthropic" or endpoint.provider == "openai" or endpoint.base_url is None:
        raise LLMRejected(f"{endpoint.provider} needs a key and none was found")
    return "none"  # the SDK insists on one; a local server ignores it


def ambient_headers(variable: str, key: str, omit: Any) -> dict[str, Any]:
    """Takes out again what the SDK adds from *_CUSTOM_HEADERS: it would reach whichever address is asked."""
    lines = os.environ.get(variable, "").split("\n")
    names = [line.partition(":")[0].strip() for line in lines if ":" in line]
    return {name: f"Bearer {key}" if name.lower() == "authorization" else omit for name in names}


def turns(request: Request, answer_format: str) -> list[dict[str, str]]:
    """The conversation; where the protocol cannot carry the schema, the last turn says it in words.

    OpenAI and DeepSeek refuse json_object unless a message holds the word json.
    """
    spoken = [{"role": message.role, "content": message.text} for message in request.messages]
    if request.schema is not None and answer_format in ("json_object", "text"):
        schema = json.dumps(request.schema, ensure_ascii=False)
        spoken[-1]["content"] += (
            "\n\nAnswer in json: one JSON object and nothing else, no text around it, no second object. "
            f"It must be valid against this JSON Schema:\n{schema}"
        )
    elif request.schema is not None and answer_format == "tool":
        spoken[-1]["content"] += f"\n\nAnswer by calling the tool `{request.schema_name}` exactly once."
    return spoken


def settle(
    request: Request,
    reply: Reply,
    *,
    counted: bool,
    cut_off: bool = False,
    refused: str | None = None,
    foreign_tools: tuple[str, ...] = (),
) -> Reply:
    """The reply, or the error that its end is.

    counted: the endpoint told the usage in whole numbers; otherwise, and where it told what cannot be, an upper
    estimate takes its place and a note says so, so that caps still hold and no slip of a server uses one up.
    refused: why the model declined. foreign_tools: tools it called that nobody offered.
    """
    reply = charged(request, reply, counted=counted)
    if refused is not None:
        raise LLMRefusal(f"{reply.model} declined to answer: {refused or 'it gives no reason'}", reply=reply)
    if cut_off:
        why = f"the answer was cut off ({reply.stop}); the limit is {request.max_tokens} tokens: answer shorter"
        raise LLMUnusable([why], reply=reply)
    if foreign_tools:
        names = ", ".join(foreign_tools)
        raise LLMUnusable([f"the answer calls {names}: no such tool; answer the question instead"], reply=reply)
    if not reply.text.strip():
        raise LLMUnusable(["the answer is empty"], reply=reply)
    return reply


def charged(request: Request, reply: Reply, *, counted: bool) -> Reply:
    """The reply with the usage that is charged. Done twice it changes nothing more."""
    if not counted:
        note = "the endpoint gives no usage, or no whole numbers from 0"
    elif wrong := implausible(request, reply):
        note = f"the endpoint says {wrong}"
    else:
        return reply
    asked = rough_tokens(request.system, [message.text for message in request.messages])
    most = request.search.max_uses if request.search is not None else 0
    searches = reply.usage.searches if reply.usage.searches <= MOST_SEARCHES else most
    usage = Usage(input_tokens=asked, output_tokens=rough_tokens(reply.text), searches=searches)
    return replace(reply, usage=usage, usage_note=f"{note}; an estimate is charged instead")


def implausible(request: Request, reply: Reply) -> str:
    """What a usage says that cannot be; "" where nothing does.

    A token is at least one byte of what was sent, apart from what the provider adds (instructions, tools) and from
    pages that a search reads; an answer is bounded by what was asked for, by the largest that any model gives, and by
    its own text.
    """
    usage, parts = reply.usage, [request.system, *(message.text for message in request.messages)]
    sent = sum(len(part.encode("utf-8", "replace")) for part in parts) + len(json.dumps(request.schema or {}))
    most_input = min(MOST_CONTEXT, 3 * sent + MOST_ADDED) if request.search is None else MOST_CONTEXT
    most_output = max(request.max_tokens, MOST_OUTPUT) + len(reply.text.encode("utf-8", "replace"))
    if usage.input_tokens > most_input:
        return f"{usage.input_tokens:,} input tokens, more than the {most_input:,} that this call can have had"
    if usage.output_tokens > most_output:
        return f"{usage.output_tokens:,} output tokens, more than the {most_output:,} that this call can have had"
    if usage.cached_tokens + usage.cache_write_tokens > usage.input_tokens:
        cached = usage.cached_tokens + usage.cache_write_tokens
        return f"{cached:,} cached tokens of {usage.input_tokens:,} input tokens"
    if usage.reasoning_tokens > usage.output_tokens:
        return f"{usage.reasoning_tokens:,} reasoning tokens of {usage.output_tokens:,} output tokens"
    if usage.searches > MOST_SEARCHES:
        return f"{usage.searches:,} searches"
    return ""


def count(raw: object, *path: str) -> int:
    """A count inside a foreign body, 0 where there is none: hostile servers send strings, negatives and null."""
    for name in path:
        raw = raw.get(name) if isinstance(raw, Mapping) else None
    return raw if isinstance(raw, int) and not isinstance(raw, bool) and raw >= 0 else 0


def told(raw: object, *names: str) -> bool:
    """Whether a foreign usage record holds these counts."""
    return isinstance(raw, Mapping) and all(type(raw.get(name)) is int and raw[name] >= 0 for name in names)


def entries(raw: object) -> list[Mapping[str, Any]]:
    """The objects of a foreign list; anything else in it is passed over."""
    return [entry for entry in raw if isinstance(entry, Mapping)] if isinstance(raw, list) else []


def text_of(raw: object) -> str:
    return raw if isinstance(raw, str) else ""


def citations(found: list[Mapping[str, Any]]) -> tuple[Citation, ...]:
    """The pages cited, each once, in order of appearance."""
    pages = {text_of(entry.get("url")): text_of(entry.get("title")) for entry in reversed(found)}
    return tuple(Citation(url=url, title=pages[url]) for url in reversed(pages) if url)
