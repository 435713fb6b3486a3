"""One HTTP exchange through an SDK: the body read within limits, every foreign exception and status translated.

The SDKs' own parsing is not used: it builds its records without validation, and it loses a whole response (with the
usage that was paid for) when a single field is not what it expects. The body arrives here as plain JSON.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from agent.errors import LLMError, LLMRefusal, LLMRejected, LLMUnavailable, LLMUnusable
from agent.llm.deadline import Deadline
from agent.llm.wire import Endpoint, SchemaRefused, TryAgain

BODY_BYTES = 16 * 2**20
"""Most of a response's body that is read. The longest answers are below 1 MB."""

KINDS: Mapping[str, type[LLMError]] = {
    # Both SDKs. A status is judged by its number, see `judged`.
    "APIStatusError": LLMRejected,
    "APIResponseValidationError": LLMUnavailable,
    "APIWebhookValidationError": LLMRejected,
    "APIError": LLMUnavailable,
    "RetryableError": LLMUnavailable,
    "AnthropicError": LLMRejected,
    "OpenAIError": LLMRejected,
    "LengthFinishReasonError": LLMUnusable,
    "ContentFilterFinishReasonError": LLMRefusal,
    # Raised by parts of the SDKs that this project does not use; mapped all the same.
    "ToolError": LLMRejected,
    "FileStoreError": LLMRejected,
    "_TransientTokenExchangeError": LLMUnavailable,
    # httpx (two generations of it) and the standard library.
    "HTTPError": LLMUnavailable,
    "StreamError": LLMUnavailable,
    "InvalidURL": LLMRejected,
    "CookieConflict": LLMUnavailable,
    "JSONDecodeError": LLMUnavailable,
    "UnicodeDecodeError": LLMUnavailable,
    "OSError": LLMUnavailable,
    "ValueError": LLMRejected,
    "TypeError": LLMRejected,
    "RuntimeError": LLMRejected,
}
"""Class name -> what it is here; the nearest name in a class's line of descent decides. By name, so that judging an
error imports no SDK."""

CODES: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "api_error": 500,
    "server_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
    "invalid_prompt": 400,
}
"""Error codes inside a body that came with status 200 -> the status they mean."""

PASSING = frozenset({408, 409, 425, 429})
STRUCTURE = re.compile(
    r"response_?format|json_?\s?(schema|object|mode)|\bschema\b|output_(config|format)|text\.format|structured.?output"
    r"|tool_choice|\btools?\b|function.?call|\bstrict\b|requested parameters"
    r"|contains an invalid argument",
    re.IGNORECASE,
)
"""What a refusal of the structure says. "requested parameters": OpenRouter's 404 when no host knows them. "contains
an invalid argument": all that Gemini says of a schema that it finds too complex."""
MONEY = re.compile(r"insufficient_quota|spend_limit|credit balance", re.IGNORECASE)
"""A 429 that waiting does not cure. Not "billing": Gemini words its limit per minute so."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A response with status 200. body: its JSON object. headers: as the SDK gives them, names in any case."""

    body: Mapping[str, Any]
    headers: Mapping[str, str]


def exchange(
    endpoint: Endpoint, answer_format: str, call: Callable[[Deadline], AbstractContextManager[Any]], *, part: str
) -> Answered:
    """Sends one request. Raises LLMError, never anything else.

    call: opens the SDK's streaming response over a connection that the deadline may end. part: the body's member
    without which it is no answer of this API.
    """
    with Deadline(endpoint.timeout_s) as deadline:
        try:
            with call(deadline) as response:
                raw = _read(response.iter_bytes(), endpoint)
                headers = response.headers
        except LLMError:
            raise
        except Exception as error:
            # The SDK's exception holds the request's headers and the server's words: never printed with ours.
            if deadline.passed:
                raise TryAgain(f"{endpoint.provider}: no whole answer within {endpoint.timeout_s:g} s") from None
            raise translated(error, endpoint, answer_format) from None
    body = _parsed(raw, endpoint, headers.get("content-type", ""))
    if part not in body and not body.get("error"):
        known = endpoint.shown(", ".join(body)) or "nothing"
        raise TryAgain(
            f"{endpoint.provider} answers 200 without {part}, with {known}: is the base URL right?", status=200
        )
    return Answered(body=body, headers=headers)


def fault_inside(
    answered: Answered, place: Mapping[str, Any], endpoint: Endpoint, answer_format: str
) -> LLMError | None:
    """The error that a 200 carries in its body (OpenRouter, failed responses), by its code; None without one."""
    if not place.get("error"):
        return None
    return judged(
        _code_status(place), place, endpoint=endpoint, answer_format=answer_format, headers=answered.headers
    )


def translated(error: Exception, endpoint: Endpoint, answer_format: str) -> LLMError:
    """What a foreign exception is here. Its words are kept, the key is not."""
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None)
    if response is not None and isinstance(status, int) and kind_of(type(error)) is LLMRejected:
        return judged(
            status,
            getattr(error, "body", None),
            endpoint=endpoint,
            answer_format=answer_format,
            headers=response.headers,
        )
    if why := unreached(error):
        return TryAgain(f"{endpoint.place} cannot be reached ({endpoint.shown(why)})")
    cause = f" ({type(error.__cause__).__name__}: {error.__cause__})" if error.__cause__ is not None else ""
    message = f"{endpoint.provider}: {type(error).__name__}: {endpoint.shown(f'{error}{cause}')}"
    kind = kind_of(type(error)) or LLMRejected
    if kind is LLMUnavailable:
        return TryAgain(message, status=status if isinstance(status, int) else None)
    return LLMUnusable([message]) if kind is LLMUnusable else kind(message)


def unreached(error: BaseException) -> str:
    """Why no connection came about, in the system's words; "" for another failure.

    The libraries wrap the system's error several times over, with names that tell a person nothing.
    """
    seen: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and each not in seen:
        seen.append(each)
        each = each.__cause__ or each.__context__
    if not any(type(part).__name__ == "ConnectError" for part in seen):
        return ""
    system = next((part for part in seen if isinstance(part, OSError) and part.strerror), None)
    why = system.strerror if system is not None else re.sub(r"^\[Errno -?\d+\] ", "", str(seen[-1]))
    return str(why)[:1].lower() + str(why)[1:]


def kind_of(raised: type[BaseException]) -> type[LLMError] | None:
    """What an exception class is mapped to, None if nothing says so."""
    return next((KINDS[base.__name__] for base in raised.__mro__ if base.__name__ in KINDS), None)


def judged(
    status: int, body: object, *, endpoint: Endpoint, answer_format: str, headers: Mapping[str, str]
) -> LLMError:
    """What an HTTP status and its error body mean: try again, in the next answer format, or not at all."""
    words, code = _said(body)
    message = f"{endpoint.provider} answers {status}: {endpoint.shown(words) or 'no reason given'}"
    if status == 401:
        said = f"401 {endpoint.shown(words)}".rstrip()
        if endpoint.key is None:
            return LLMRejected(
                f"{endpoint.provider} asks for a key ({said}); name its variable: --key-env", status=401
            )
        found = f"; it is {endpoint.key_from}" if endpoint.key_from else ""
        return LLMRejected(f"{endpoint.provider} refuses the key ({said}){found}", status=401)
    if status == 429 and MONEY.search(f"{code} {words}"):
        return LLMRejected(message, status=status)
    if status in PASSING or status >= 500:
        return TryAgain(message, status=status, retry_after_s=retry_after_s(headers))
    if status in (404, 405) and endpoint.style == "responses" and "api.openai.com" not in endpoint.place:
        message += "; for a server that speaks chat completions alone: --provider custom --base-url URL"
    about = STRUCTURE.search(f"{code} {words}") or not words
    if status in (400, 404, 422) and about and "context_length" not in code and answer_format != "text":
        return SchemaRefused(message, status=status)
    return LLMRejected(message, status=status)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """How long a response asks to wait, in seconds: `retry-after-ms`, or `retry-after` as a number or a date."""
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * scale
        except ValueError:
            continue
        return seconds if math.isfinite(seconds) and seconds >= 0 else None
    try:
        from email.utils import parsedate_to_datetime

        # Against the server's own clock: this machine's may differ.
        moments = [parsedate_to_datetime(headers.get(name, "")) for name in ("retry-after", "date")]
        return max(0.0, (moments[0] - moments[1]).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _read(chunks: Iterable[bytes], endpoint: Endpoint) -> bytes:
    parts, size = [], 0
    for chunk in chunks:
        size += len(chunk)
        if size > BODY_BYTES:
            raise LLMUnusable([f"{endpoint.provider} sent more than {BODY_BYTES // 2**20} MiB: not read further"])
        parts.append(chunk)
    return b"".join(parts)


class _Repeated(dict[str, Any]):
    """A JSON object with a name twice, which writes itself as it came: a later check refuses it, with its usage."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs

    def items(self) -> Any:  # json.dumps writes what this gives
        return self.pairs


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    whole = dict(pairs)
    return whole if len(whole) == len(pairs) else _Repeated(pairs)


def _parsed(raw: bytes, endpoint: Endpoint, content_type: str) -> Mapping[str, Any]:
    try:
        body = json.loads(raw, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        start = endpoint.shown(raw.decode("utf-8", "replace"))
        kind = endpoint.shown(content_type) or "no content type"
        message = f"{endpoint.provider} answers 200 with {kind} that is no JSON ({type(error).__name__}): {start!r}"
        raise TryAgain(message, status=200) from None
    if not isinstance(body, dict):
        raise TryAgain(f"{endpoint.provider} answers 200 with JSON that is no object", status=200)
    return body


def _said(body: object) -> tuple[str, str]:
    """An error body's words, and its codes and parameter names in one line. Gemini wraps it in a list."""
    if isinstance(body, list) and body:
        body = body[0]
    inner = body.get("error", body) if isinstance(body, Mapping) else body
    if not isinstance(inner, Mapping):
        return str(inner or ""), ""
    details = inner.get("details")
    codes = [inner.get("code"), inner.get("type"), inner.get("param")]
    codes.append(details.get("error_code") if isinstance(details, Mapping) else None)
    words = inner.get("message") or inner.get("detail") or json.dumps(inner, default=str)
    return str(words), " ".join(str(code) for code in codes if code is not None)


def _code_status(body: Mapping[str, Any]) -> int:
    """The status that an error inside a 200 stands for; a bad gateway where it says nothing that is known."""
    inner = body.get("error")
    said = [inner.get(name) for name in ("code", "type", "status")] if isinstance(inner, Mapping) else []
    for code in said:
        if isinstance(code, int) and not isinstance(code, bool) and 400 <= code <= 599:
            return code
        if isinstance(code, str) and code in CODES:
            return CODES[code]
    return 502
