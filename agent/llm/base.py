"""The contract of every language model: a request in, a reply with its usage out, or an LLMError that loses neither.

Nothing here knows a provider. SDKs are imported inside the functions that use them (anthropic costs 1.4 s, openai
0.6 s), and a study without a model needs none of them installed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn of the conversation. role: "user" or "assistant"."""

    role: str
    text: str

    def __post_init__(self) -> None:
        if self.role not in ("user", "assistant"):
            raise ValueError(f"role is {self.role!r}: must be user or assistant")


@dataclass(frozen=True, kw_only=True)
class Search:
    """A web search that the request asks for. query: a few words; max_uses: searches the provider may make."""

    query: str
    max_uses: int = 3


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked, whoever is asked."""

    role: str
    """Which agent asks: autotuner, checker, analyst, ... Part of the exchange's file name."""
    system: str
    messages: tuple[Message, ...]
    """Begins and ends with the user's turn. A repair turn: question, the answer as it came, what is wrong with it."""
    schema: Mapping[str, Any] | None = None
    """JSON Schema (2020-12) of the answer: explicit properties, every object closed and all of its properties
    required. Numeric bounds belong into descriptions: providers refuse or ignore them. None: free text."""
    schema_name: str = "answer"
    max_tokens: int = 8192
    """Most tokens of the answer."""
    search: Search | None = None

    def __post_init__(self) -> None:
        roles = [message.role for message in self.messages]
        if (
            not roles
            or roles != [("user", "assistant")[place % 2] for place in range(len(roles))]
            or len(roles) % 2 == 0
        ):
            raise ValueError(f"messages are {roles}: must alternate, begin and end with user")

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; also what `sha256` is made of."""
        return {
            "role": self.role,
            "system": self.system,
            "messages": [asdict(message) for message in self.messages],
            "schema": self.schema,
            "schema_name": self.schema_name,
            "max_tokens": self.max_tokens,
            "search": asdict(self.search) if self.search is not None else None,
        }

    @property
    def sha256(self) -> str:
        """The prompt's hash: the same question has the same one, whichever model is asked."""
        text = json.dumps(self.to_json(), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens of one answer, as the provider counts them."""

    input_tokens: int = 0
    """All input tokens, cached ones included."""
    cached_tokens: int = 0
    """Of the input: read from the provider's cache, at a lower price."""
    cache_write_tokens: int = 0
    """Of the input: written to the provider's cache, at a higher price."""
    output_tokens: int = 0
    """All output tokens, reasoning included."""
    reasoning_tokens: int = 0
    searches: int = 0

    def __add__(self, other: Usage) -> Usage:
        mine, theirs = asdict(self), asdict(other)
        return Usage(**{name: mine[name] + theirs[name] for name in mine})

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try of a call that did not give the reply."""

    error: str
    status: int | None = None
    """HTTP status, None where there was none."""
    answer_format: str = ""
    waited_s: float = 0.0
    """How long was waited after it."""

    def to_json(self) -> dict[str, object]:
        """As recorded exchanges have it, where the answer format is called `rung`."""
        return {"error": self.error, "status": self.status, "rung": self.answer_format, "waited_s": self.waited_s}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Attempt:
        """Raises TypeError for what is none."""
        return cls(**_with_format(raw))


def _with_format(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a recorded try or reply."""
    return {"answer_format" if name == "rung" else name: value for name, value in raw.items()}


@dataclass(frozen=True, kw_only=True)
class Citation:
    """A page that a search answer rests on."""

    url: str
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back."""

    text: str
    """The answer as it came."""
    data: Any = None
    """The answer as JSON, valid against the request's schema; None without a schema."""
    usage: Usage = field(default_factory=Usage)
    """Of all tries together: a cut-off answer that was asked for again was paid for too."""
    usage_note: str = ""
    """Why the usage is an estimate of ours and not what the endpoint says; "" where it is the endpoint's."""
    provider: str
    model: str
    """As the endpoint names it."""
    answer_format: str = "text"
    """How the structure was asked for: json_schema, tool, json_object or text."""
    stop: str = ""
    """The provider's own word on why the answer ended."""
    request_id: str = ""
    citations: tuple[Citation, ...] = ()
    attempts: tuple[Attempt, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As recorded exchanges have it, where the answer format is called `rung`."""
        attempts = [attempt.to_json() for attempt in self.attempts]
        found = {"rung" if name == "answer_format" else name: value for name, value in asdict(self).items()}
        return found | {"attempts": attempts}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Reply:
        """The reply of a recorded exchange. Raises TypeError, KeyError for what is none."""
        parts: dict[str, Any] = {
            "usage": Usage(**raw["usage"]),
            "citations": tuple(Citation(**entry) for entry in raw["citations"]),
            "attempts": tuple(map(Attempt.from_json, raw["attempts"])),
        }
        return cls(**(_with_format(raw) | parts))


class LLM(Protocol):
    """One model at one endpoint.

    **Honest.** The answer is never altered. With a schema, `data` is valid against it or LLMUnusable is raised,
    with the reply (text and usage) in it and with problems that a repair turn can carry.

    **Patient within limits.** Passing failures are tried again a few times here, never for longer than a cap,
    whatever a retry-after header says; then LLMUnavailable. A refused key, model or request raises LLMRejected at
    once; a refusal by the model LLMRefusal.

    **Accounted.** Usage is of all tries, and every error that comes after tokens were spent carries it.
    """

    @property
    def provider(self) -> str:
        """anthropic, openai, deepseek, ..., scripted."""
        ...

    @property
    def model(self) -> str:
        """The model as it is asked for."""
        ...

    def complete(self, request: Request) -> Reply:
        """Ask once. Raises LLMError."""
        ...


def rough_tokens(*texts: str | Sequence[str]) -> int:
    """An upper estimate of the tokens of texts, for caps: one token for every two UTF-8 bytes, and 16 a text.

    English prose has 4 to 5 bytes a token, JSON and numbers 2 to 3.
    """
    flat = [text for part in texts for text in ([part] if isinstance(part, str) else part)]
    return sum(len(text.encode("utf-8", "replace")) // 2 + 16 for text in flat)
