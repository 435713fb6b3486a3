"""What a request asks, read from any of the wire formats."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

FORMATS = ("json_schema", "tool", "json_object", "text")
"""The ways to ask for structure, from the strictest."""
FIELDS = {
    ("anthropic", "json_schema"): "output_config.format",
    ("responses", "json_schema"): "text.format",
    ("responses", "json_object"): "text.format",
    ("chat", "json_schema"): "response_format",
    ("chat", "json_object"): "response_format",
}
"""Wire and answer_format -> the field that carries it; a tool is in "tools" everywhere."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request."""

    wire: str
    """anthropic, responses, chat, gemini or search."""
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: Any
    """The parsed body; for a GET the query's parameters."""
    model: str = ""
    system: str = ""
    turns: tuple[tuple[str, str], ...] = ()
    """(role, text), in order; parts that are no text are left out."""
    answer_format: str = "text"
    tool: str = ""
    """Name of the forced tool."""
    schema: Mapping[str, Any] | None = None
    """JSON Schema of the answer: of the request's own field, else the first that stands in its text."""
    searches: bool = False
    """Whether a web search is offered."""
    max_tokens: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Everything the model reads, the schema aside."""
        return "\n\n".join([self.system, *(text for _, text in self.turns)])

    @property
    def question(self) -> str:
        """The last turn."""
        return self.turns[-1][1] if self.turns else ""

    @property
    def sent(self) -> str:
        """Everything that left the client in this request, headers included, as text to search in."""
        return "\n".join([self.path, *(f"{k}: {v}" for k, v in self.headers.items()), json.dumps(self.body)])


def read(wire: str, path: str, headers: Mapping[str, str], body: Any) -> Asked:
    """Read a request. Raises KeyError, TypeError, AttributeError for what no client of that API sends."""
    if wire == "search":
        return Asked(wire=wire, path=path, headers=headers, body=body, turns=(("user", body["q"]),), searches=True)
    parts = {"anthropic": _anthropic, "responses": _responses, "chat": _chat, "gemini": _gemini}[wire](body)
    if wire == "gemini":
        parts["model"] = path.rpartition("/models/")[2].partition(":")[0]
    if parts.get("schema") is None:
        texts = [parts["system"], *(text for _, text in parts["turns"])]
        parts["schema"] = next((schema for text in texts for schema in schemas_in(text)), None)
    return Asked(wire=wire, path=path, headers=headers, body=body, **parts)


def schemas_in(text: str) -> Iterator[dict[str, Any]]:
    """The JSON Schemas of objects that stand in a text."""
    decoder = json.JSONDecoder()
    start = text.find("{")
    while start >= 0:
        try:
            found, end = decoder.raw_decode(text, start)
        except ValueError:
            end = start + 1
        else:
            if isinstance(found, dict) and isinstance(found.get("properties"), dict):
                yield found
        start = text.find("{", end)


def _anthropic(body: dict[str, Any]) -> dict[str, Any]:
    tools = body.get("tools", [])
    searches = any(tool.get("type", "").startswith("web_search") for tool in tools)
    common = {
        "model": body["model"],
        "system": _text(body.get("system", "")),
        "turns": tuple((message["role"], _text(message["content"])) for message in body["messages"]),
        "max_tokens": body["max_tokens"],
        "searches": searches,
    }
    wanted = (body.get("output_config") or {}).get("format")
    if wanted is not None:
        return common | {"answer_format": "json_schema", "schema": wanted["schema"]}
    choice = body.get("tool_choice", {})
    own = {tool["name"]: tool.get("input_schema") for tool in tools if "input_schema" in tool}
    if choice.get("type") in ("tool", "any") and own:
        name = choice.get("name") or next(iter(own))
        return common | {"answer_format": "tool", "tool": name, "schema": own[name]}
    return common


def _responses(body: dict[str, Any]) -> dict[str, Any]:
    given = body["input"]
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    turns = [(item["role"], _text(item["content"])) for item in items if "role" in item]
    inner = [text for role, text in turns if role in ("system", "developer")]
    tools = body.get("tools", [])
    common = {
        "model": body["model"],
        "system": "\n\n".join([*filter(None, [body.get("instructions")]), *inner]),
        "turns": tuple(turn for turn in turns if turn[0] in ("user", "assistant")),
        "max_tokens": body.get("max_output_tokens"),
        "searches": any(tool["type"].startswith("web_search") for tool in tools),
    }
    wanted = (body.get("text") or {}).get("format") or {"type": "text"}
    if wanted["type"] == "json_schema":
        return common | {"answer_format": "json_schema", "schema": wanted["schema"]}
    if wanted["type"] == "json_object":
        return common | {"answer_format": "json_object"}
    own = {tool["name"]: tool["parameters"] for tool in tools if tool["type"] == "function"}
    return common | _forced(body.get("tool_choice"), own, lambda choice: choice["name"])


def _chat(body: dict[str, Any]) -> dict[str, Any]:
    turns = [(message["role"], _text(message["content"])) for message in body["messages"]]
    common = {
        "model": body["model"],
        "system": "\n\n".join(text for role, text in turns if role in ("system", "developer")),
        "turns": tuple(turn for turn in turns if turn[0] in ("user", "assistant")),
        "max_tokens": body.get("max_completion_tokens", body.get("max_tokens")),
        "searches": "web_search_options" in body,
    }
    wanted = body.get("response_format") or {"type": "text"}
    if wanted["type"] == "json_schema":
        return common | {"answer_format": "json_schema", "schema": wanted["json_schema"]["schema"]}
    if wanted["type"] == "json_object":
        return common | {"answer_format": "json_object"}
    functions = [tool["function"] for tool in body.get("tools", []) if tool["type"] == "function"]
    own = {function["name"]: function["parameters"] for function in functions}
    return common | _forced(body.get("tool_choice"), own, lambda choice: choice["function"]["name"])


def _gemini(body: dict[str, Any]) -> dict[str, Any]:
    system = body.get("systemInstruction") or body.get("system_instruction") or {"parts": []}
    settings = body.get("generationConfig", {})
    schema = settings.get("responseJsonSchema") or settings.get("responseSchema")
    roles = {"model": "assistant"}
    return {
        "system": _text(system["parts"]),
        "turns": tuple(
            (roles.get(turn.get("role", "user"), "user"), _text(turn["parts"])) for turn in body["contents"]
        ),
        "max_tokens": settings.get("maxOutputTokens"),
        "searches": any("google_search" in tool or "googleSearch" in tool for tool in body.get("tools", [])),
        "answer_format": "json_schema" if schema else "text",
        "schema": schema,
    }


def _forced(choice: Any, tools: Mapping[str, Any], name_of: Any) -> dict[str, Any]:
    if not tools or choice in (None, "auto", "none"):
        return {}
    name = next(iter(tools)) if choice == "required" else name_of(choice)
    return {"answer_format": "tool", "tool": name, "schema": tools[name]}


def _text(content: Any) -> str:
    """The text of a message's content, be it a text or a list of blocks."""
    if isinstance(content, str):
        return content
    return "\n".join(block["text"] for block in content or [] if isinstance(block.get("text"), str))
