"""Traces of rounds, steps, agents and model calls, for whoever set up an OpenTelemetry collector (Phoenix is one).

Without a collector nothing is imported and nothing costs anything. Span and attribute names follow OpenTelemetry's
semantic conventions for generative AI (in development, as of semantic conventions 1.41) and, so that Phoenix shows a
span as what it is, OpenInference's. Texts of prompts and answers are left out unless asked for; they hold aliases, as
they were sent.

A collector that is slow or gone never holds a round up: spans wait in a queue, a thread of its own sends them, and
the end waits for it a limited time. What fails is told once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

from agent.errors import UsageError
from agent.llm.base import LLM, Reply, Request

if TYPE_CHECKING:
    from agent.llm.trace_export import Export

#: Provider names that the convention spells otherwise.
_PROVIDERS = {"gemini": "gcp.gemini"}

#: OpenInference's kinds of spans that occur here. A round and a step are chains.
_KINDS = ("chain", "agent", "llm")

_CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)


class Span(Protocol):
    """Something that takes time, as it runs."""

    def set(self, **attributes: object) -> None:
        """Add attributes, `set(**{"gen_ai.response.model": "..."})`; None is left out."""
        ...

    def reply(self, reply: Reply) -> None:
        """What a model answered: its model, usage and why it ended."""
        ...

    def error(self, error: BaseException) -> None:
        """It failed; the tokens that were spent all the same are counted."""
        ...


class Tracer(Protocol):
    """Where spans go. A span begun inside of another is its child."""

    def span(
        self, name: str, kind: str = "chain", attributes: Mapping[str, object] | None = None
    ) -> AbstractContextManager[Span]:
        """kind: chain, agent or llm. An exception that passes through marks the span and goes on."""
        ...

    def chat(self, llm: LLM, request: Request) -> AbstractContextManager[Span]:
        """The span `chat MODEL` of one question with all of its tries."""
        ...

    def close(self) -> None:
        """Send what waits, for a limited time. May be called again."""
        ...


class _NullSpan:
    def set(self, **attributes: object) -> None: ...

    def reply(self, reply: Reply) -> None: ...

    def error(self, error: BaseException) -> None: ...


_NULL_SPAN = nullcontext(_NullSpan())


class NullTracer:
    """Nobody watches."""

    def span(
        self, name: str, kind: str = "chain", attributes: Mapping[str, object] | None = None
    ) -> AbstractContextManager[Span]:
        return _NULL_SPAN

    def chat(self, llm: LLM, request: Request) -> AbstractContextManager[Span]:
        return _NULL_SPAN

    def close(self) -> None: ...


def make_tracer(
    environment: Mapping[str, str],
    say: Callable[[str], None],
    *,
    redact: Callable[[str], str] = str,
    timeout_s: float | None = None,
    close_s: float = 3.0,
) -> Tracer:
    """A tracer as OpenTelemetry's variables ask for it; one that does nothing where they name no collector.

    redact: takes keys out of every text; values of variables that are named like secrets are taken out anyway.
    timeout_s: longest time for one delivery with its retries; by default OTEL_EXPORTER_OTLP_(TRACES_)TIMEOUT, else
    2 s. close_s: how long the end waits for what has not been delivered.
    Raises UsageError for a collector that is named but cannot be used.
    """
    endpoint = _endpoint(environment)
    if endpoint is None:
        return NullTracer()
    from agent.llm.trace_export import Export

    export = Export(endpoint, environment, timeout_s=timeout_s or _timeout(environment), close_s=close_s, say=say)
    capture = environment.get(_CAPTURE, "").strip().lower() in ("true", "span_only", "span_and_event")
    return OpenTelemetryTracer(export, capture=capture, redact=_redactor(environment, redact))


class OpenTelemetryTracer:
    """Spans through the OpenTelemetry SDK. Use `make_tracer`."""

    def __init__(self, export: Export, *, capture: bool, redact: Callable[[str], str]) -> None:
        self._export = export
        self._capture = capture
        self._redact = redact

    @contextmanager
    def span(self, name: str, kind: str = "chain", attributes: Mapping[str, object] | None = None) -> Iterator[Span]:
        if kind not in _KINDS:
            raise ValueError(f"kind is {kind!r}: must be one of {', '.join(_KINDS)}")
        with self._export.started(self._redact(name), client=kind == "llm") as raw:
            span = _Span(raw, capture=self._capture, redact=self._redact)
            span.set(**{"openinference.span.kind": kind.upper(), **(_agent(attributes) if kind == "agent" else {})})
            span.set(**(attributes or {}))
            try:
                yield span
            except BaseException as error:
                span.error(error)
                raise

    @contextmanager
    def chat(self, llm: LLM, request: Request) -> Iterator[Span]:
        with self.span(f"chat {llm.model}", "llm", _asked(llm, request)) as span:
            if self._capture:
                span.set(**_prompt(request))
            yield span

    def close(self) -> None:
        self._export.close()


class _Span:
    """A span of the SDK's. raw: opentelemetry.trace.Span."""

    def __init__(self, raw: Any, *, capture: bool, redact: Callable[[str], str]) -> None:
        self._raw = raw
        self._capture = capture
        self._redact = redact

    def set(self, **attributes: object) -> None:
        for name, value in attributes.items():
            if isinstance(value, str):
                self._raw.set_attribute(name, self._redact(value))
            elif isinstance(value, list | tuple):
                self._raw.set_attribute(name, [self._redact(str(entry)) for entry in value])
            elif value is not None:
                self._raw.set_attribute(name, value if isinstance(value, int | float) else self._redact(str(value)))

    def reply(self, reply: Reply) -> None:
        self.set(**_answered(reply))
        if self._capture:
            self.set(**_answer(reply))

    def error(self, error: BaseException) -> None:
        reply, status = getattr(error, "reply", None), getattr(error, "status", None)
        if isinstance(reply, Reply):
            self.reply(reply)
        self.set(**{"error.type": type(error).__name__, "http.response.status_code": status})
        self._raw.set_status(_error_status(self._redact(str(error))))


def _error_status(description: str) -> Any:
    from opentelemetry.trace import Status, StatusCode

    return Status(StatusCode.ERROR, description)


def _agent(attributes: Mapping[str, object] | None) -> dict[str, object]:
    return {"gen_ai.operation.name": "invoke_agent", "agent.name": (attributes or {}).get("gen_ai.agent.name")}


def _asked(llm: LLM, request: Request) -> dict[str, object]:
    provider = _PROVIDERS.get(llm.provider, llm.provider)
    address = urlsplit(getattr(getattr(llm, "endpoint", None), "base_url", None) or "")
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": llm.model,
        "gen_ai.request.max_tokens": request.max_tokens,
        "gen_ai.output.type": "text" if request.schema is None else "json",
        "gen_ai.agent.name": request.role,
        "server.address": address.hostname,
        "server.port": address.port,
        "llm.model_name": llm.model,
        "llm.provider": provider,
        "llm.invocation_parameters": json.dumps({"max_tokens": request.max_tokens}),
        "roundtable.prompt_sha256": request.sha256,
    }


def _answered(reply: Reply) -> dict[str, object]:
    usage = reply.usage
    return {
        "gen_ai.response.model": reply.model,
        "gen_ai.response.id": reply.request_id or None,
        "gen_ai.response.finish_reasons": [reply.stop] if reply.stop else None,
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens or None,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens or None,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens or None,
        "llm.model_name": reply.model,
        "llm.token_count.prompt": usage.input_tokens,
        "llm.token_count.completion": usage.output_tokens,
        "llm.token_count.total": usage.tokens,
        "llm.token_count.prompt_details.cache_read": usage.cached_tokens or None,
        "llm.token_count.prompt_details.cache_write": usage.cache_write_tokens or None,
        "llm.token_count.completion_details.reasoning": usage.reasoning_tokens or None,
        "roundtable.rung": reply.answer_format,
        "roundtable.failed_attempts": len(reply.attempts),
    }


def _prompt(request: Request) -> dict[str, object]:
    turns = [("system", request.system), *((message.role, message.text) for message in request.messages)]
    messages = [{"role": role, "parts": [_text(text)]} for role, text in turns[1:]]
    flat = {
        f"llm.input_messages.{place}.message.{name}": value
        for place, turn in enumerate(turns)
        for name, value in zip(("role", "content"), turn, strict=True)
    }
    return {
        "gen_ai.system_instructions": json.dumps([_text(request.system)], ensure_ascii=False),
        "gen_ai.input.messages": json.dumps(messages, ensure_ascii=False),
        "input.value": request.messages[-1].text,
        "input.mime_type": "text/plain",
        **flat,
    }


def _answer(reply: Reply) -> dict[str, object]:
    message = {"role": "assistant", "parts": [_text(reply.text)], "finish_reason": reply.stop}
    return {
        "gen_ai.output.messages": json.dumps([message], ensure_ascii=False),
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": reply.text,
        "output.value": reply.text,
        "output.mime_type": "text/plain" if reply.data is None else "application/json",
    }


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "content": text}


def _endpoint(environment: Mapping[str, str]) -> str | None:
    """Where traces go; None where nobody asked for them. Raises UsageError."""
    traces, base = (
        environment.get(f"OTEL_EXPORTER_OTLP_{name}", "").strip() for name in ("TRACES_ENDPOINT", "ENDPOINT")
    )
    off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if off or environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none" or not (traces or base):
        return None
    name = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" if traces else "OTEL_EXPORTER_OTLP_ENDPOINT"
    parts = urlsplit(traces or base)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{name}={traces or base}: must be an address like http://localhost:4318")
    for variable in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = environment.get(variable, "").strip().lower()
        if protocol:
            if protocol != "http/protobuf":
                raise UsageError(
                    f"{variable}={protocol}: traces are sent as http/protobuf only (the collector's port is often "
                    "4318); set it to that, or OTEL_SDK_DISABLED=true for no traces"
                )
            break
    return traces or f"{base.rstrip('/')}/v1/traces"


def _timeout(environment: Mapping[str, str]) -> float:
    for variable in ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"):
        text = environment.get(variable, "").strip()
        if text:
            try:
                seconds = float(text)
            except ValueError:
                seconds = 0.0
            if not 0 < seconds <= 60:
                raise UsageError(f"{variable}={text}: must be seconds above 0, at most 60")
            return seconds
    return 2.0


def _redactor(environment: Mapping[str, str], redact: Callable[[str], str]) -> Callable[[str], str]:
    secrets = {value for name, value in environment.items() if _SECRET_NAME.search(name)}
    for name in ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"):
        for pair in environment.get(name, "").split(","):
            header = unquote(pair.partition("=")[2]).strip()
            secrets |= {header, header.rpartition(" ")[2]}
    # Shorter values ("true", "main") are words that any text may hold.
    secrets = {secret for secret in secrets if len(secret) >= 8}
    if not secrets:
        return redact
    pattern = re.compile("|".join(map(re.escape, sorted(secrets, key=len, reverse=True))))
    return lambda text: redact(pattern.sub("[redacted]", text))
