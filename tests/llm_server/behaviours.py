"""What the server does with one request, whichever API the request was written for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

UNSAID: Any = object()
"""Stands for "no JSON given"; None is JSON."""


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """What an answer is said to have cost; each API writes it in its own way, where it has a place for it."""

    input: int = 100
    """All input, cached and cache-written included."""
    output: int = 20
    """All output, reasoning included."""
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass(frozen=True, kw_only=True)
class Page:
    """A web page that an answer cites."""

    url: str
    title: str = ""
    snippet: str = ""


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """Base of all; `usage` is what answers with a body say they cost."""

    usage: Tokens = field(default_factory=Tokens)


@dataclass(frozen=True, kw_only=True)
class Say(Behaviour):
    """An answer: json (as the forced tool's input where there is one, else as text) or text (always as text)."""

    json: Any = UNSAID
    """Anything `json.dumps` writes, NaN and Infinity included."""
    text: str | None = None
    arguments: str | None = None
    """The forced tool's arguments as raw text, which OpenAI's formats allow to be no JSON at all."""
    stop: str | None = None
    """The API's own word for why the answer ended, in place of the usual one."""
    tool_calls: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    """Further calls of tools, offered or not: (name, input)."""
    pages: tuple[Page, ...] = ()
    """What a search answer cites, one citation each."""
    searches: int | None = None
    """Searches made; by default one where there are pages."""

    def __post_init__(self) -> None:
        if self.json is UNSAID and self.text is None and self.arguments is None and not self.tool_calls:
            raise ValueError("Say needs json, text, arguments or tool_calls")

    @property
    def searched(self) -> int:
        return self.searches if self.searches is not None else int(bool(self.pages))


def big(size: int) -> Say:
    """A text of `size` characters that is no JSON."""
    return Say(text="x" * size)


@dataclass(frozen=True)
class Truncated(Behaviour):
    """An answer cut off at the token limit, which says so; where a tool is forced its arguments are cut."""

    text: str


@dataclass(frozen=True)
class Refuses(Behaviour):
    """The model declines."""

    reason: str = "I cannot help with that."


@dataclass(frozen=True, kw_only=True)
class Empty(Behaviour):
    """A complete answer with nothing in it, which cost tokens."""


@dataclass(frozen=True)
class PauseTurn(Behaviour):
    """Anthropic's server tools: the turn is paused in the middle and wants to be sent back as it is."""

    text: str = "Let me look further."


@dataclass(frozen=True)
class WrongTypes(Behaviour):
    """HTTP 200 and valid JSON whose `part` has a shape that no API documents.

    part: "content" (a number where the answer stands), "usage" (texts where counts stand), "missing" (an object with
    no known key), "list", "null", "string" (the whole body).
    """

    part: str = "content"


@dataclass(frozen=True)
class Status(Behaviour):
    """An HTTP error in the API's own format."""

    code: int
    message: str = "said no"
    retry_after: str | int | None = None
    echo_key: bool = False
    """Whether the message repeats the credentials of the request, as careless gateways do."""
    html: bool = False
    """Whether a proxy's page stands in place of the API's JSON."""


@dataclass(frozen=True)
class SchemaRefused(Behaviour):
    """HTTP 400 that names the field by which the request asked for structure."""

    code: int = 400


@dataclass(frozen=True)
class OpenRouterError(Behaviour):
    """HTTP 200 whose body is an error."""

    code: int
    message: str = "Provider returned error"


@dataclass(frozen=True)
class Malformed(Behaviour):
    """HTTP 200, said to be JSON, that does not parse."""

    body: bytes = b'{"id": "broken", "content": [{"type": "te'


@dataclass(frozen=True)
class CutConnection(Behaviour):
    """A good answer of which the connection delivers `after` bytes of the body before it closes; None: not a byte."""

    after: int | None = None


@dataclass(frozen=True)
class Hang(Behaviour):
    """Not a byte for this long, then the connection closes; ends early when the server stops."""

    seconds: float = 30.0


@dataclass(frozen=True)
class Drip(Behaviour):
    """An answer that never stands still for long and never ends within `seconds`: a few bytes every 50 ms.

    part: what drips, "body" or "headers". A server's `dripped` counts those that went on to the end.
    """

    seconds: float = 30.0
    part: str = "body"
    code: int = 200


@dataclass(frozen=True)
class Redirect(Behaviour):
    """HTTP 307 to the same path at another address: method, body and, if the client is careless, key go with it."""

    to: str
