"""Answers from a file, in place of a language model: for demonstrations, tests and dry runs.

A script is a YAML or JSON file with a list `replies`. Each has a `role` and one of `json` (the answer's data), `text`
(the answer as a model would send it) or `error` (an LLMError by name), and may have `message` (of the error), `stop`,
`usage`, `citations` and `repeat`. Each role takes its own replies in order. An answer goes through the same reading
and validation as a real one.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from agent.errors import (
    LLMError,
    LLMRefusal,
    LLMRejected,
    LLMUnavailable,
    LLMUnusable,
    ProblemsError,
    UsageError,
)
from agent.llm.base import Citation, Reply, Request, Usage, rough_tokens
from agent.model_roles import ROLES
from trainers.command.findings import Findings, Section

NAME = "scripted"
ERRORS: Mapping[str, type[LLMError]] = {
    kind.__name__: kind for kind in (LLMUnavailable, LLMRejected, LLMRefusal, LLMUnusable)
}
"""What an endpoint can fail with."""
_KEYS = ("role", "json", "text", "error", "message", "stop", "usage", "citations", "repeat")
_COUNTS = tuple(each.name for each in fields(Usage))
_MOST_REPEATS = 100_000


class InvalidReplies(ProblemsError):
    """A script of replies that may not be used."""


@dataclass(frozen=True, kw_only=True)
class ScriptedReply:
    """One entry of a script."""

    role: str
    text: str = ""
    error: str = ""
    """Name of the LLMError that is raised; "": an answer."""
    message: str = ""
    stop: str = ""
    usage: Usage | None = None
    """None: estimated from the texts."""
    citations: tuple[Citation, ...] = ()
    repeat: int = 1


class Scripted:
    """A script as an `LLM` for every role. See `agent.llm.base.LLM`."""

    def __init__(
        self, replies: tuple[ScriptedReply, ...], *, file: str, used: Mapping[str, int] | None = None
    ) -> None:
        """file: for messages. used: how many replies each role took in earlier processes."""
        self._file = file
        self._replies = {role: [reply for reply in replies if reply.role == role] for role in ROLES}
        self._used = Counter({role: int(count) for role, count in (used or {}).items()})

    @property
    def provider(self) -> str:
        return NAME

    @property
    def model(self) -> str:
        return NAME

    @property
    def used(self) -> Mapping[str, int]:
        """How many replies each role has taken so far, earlier processes included."""
        return dict(self._used)

    def complete(self, request: Request) -> Reply:
        """The role's next reply. Raises LLMUnavailable when none is left, or the error that the script asks for."""
        scripted = self._next(request.role)
        reply = Reply(
            text=scripted.text,
            usage=scripted.usage or _estimated(request, scripted),
            provider=NAME,
            model=NAME,
            answer_format="text" if request.schema is None else "json_schema",
            stop=scripted.stop or ("error" if scripted.error else "end"),
            citations=scripted.citations,
        )
        if scripted.error:
            raise _error(scripted, reply)
        if request.schema is None:
            return reply
        from agent.llm.answer import parse_answer

        try:
            return replace(reply, data=parse_answer(scripted.text, request.schema))
        except LLMUnusable as error:
            raise LLMUnusable(error.problems, reply=reply) from error

    def _next(self, role: str) -> ScriptedReply:
        place = self._used[role]
        for reply in self._replies.get(role, []):
            if place < reply.repeat:
                self._used[role] += 1
                return reply
            place -= reply.repeat
        total = sum(reply.repeat for reply in self._replies.get(role, []))
        raise LLMUnavailable(
            f"{self._file}: no reply is left for {role}: it has {total}; add one under `replies`, or use `repeat`"
        )


def load_scripted(path: Path, *, used: Mapping[str, int] | None = None) -> Scripted:
    """The script in a file. Raises InvalidReplies with every problem, UsageError when it cannot be read."""
    from trainers.files import FileProblem, read_json_object
    from trainers.yaml_file import read_yaml

    try:
        raw = read_json_object(path, limit=2**24) if path.suffix == ".json" else read_yaml(path, limit=2**24)
    except FileProblem as error:
        raise UsageError(str(error)) from error
    return Scripted(parse_script(raw, file=str(path)), file=str(path), used=used)


def parse_script(raw: Mapping[str, Any], *, file: str) -> tuple[ScriptedReply, ...]:
    """The replies of a script as read. file: for messages. Raises InvalidReplies with every problem."""
    findings = Findings(file)
    top = Section(raw, "", ("replies",), findings)
    entries = raw.get("replies")
    if not isinstance(entries, list) or not entries:
        top.add("replies", "" if entries is None else entries, "must be a list with at least one reply")
        entries = []
    replies = []
    for place, entry in enumerate(entries):
        where = f"replies[{place}]"
        if isinstance(entry, dict):
            replies.append(_reply(Section(entry, where, _KEYS, findings)))
        else:
            findings.add(where, entry, "must be a mapping with role and one of json, text, error")
    if findings.problems:
        raise InvalidReplies.of(file, findings.problems)
    return tuple(replies)


def _reply(entry: Section) -> ScriptedReply:
    raw = entry.raw
    role = _one_of(entry, "role", tuple(ROLES))
    # `json: null` is an answer, so presence counts, not the value.
    kinds = [key for key in ("json", "text", "error") if key in raw]
    if len(kinds) != 1:
        entry.add("json", "", f"must have exactly one of json, text, error; it has {' and '.join(kinds) or 'none'}")
    if "text" in raw and not isinstance(raw["text"], str):
        entry.add("text", raw["text"], "must be a text (in quotes where YAML reads something else)")
    text = json.dumps(raw["json"], ensure_ascii=False) if "json" in raw else raw.get("text")
    error = _one_of(entry, "error", tuple(ERRORS)) if "error" in raw else ""
    if entry.has("message") and "error" not in raw:
        entry.add("message", raw["message"], "belongs to an error; there is none")
    return ScriptedReply(
        role=role,
        text=text if isinstance(text, str) else "",
        error=error,
        message=entry.text("message"),
        stop=entry.text("stop"),
        usage=_usage(entry),
        citations=_citations(entry),
        repeat=_repeat(entry),
    )


def _one_of(entry: Section, key: str, allowed: tuple[str, ...]) -> str:
    value = entry.raw.get(key)
    if isinstance(value, str) and value in allowed:
        return value
    near = difflib.get_close_matches(str(value), allowed, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    entry.add(key, "" if value is None else value, f"{hint}must be one of {', '.join(allowed)}")
    return ""


def _usage(entry: Section) -> Usage | None:
    if not entry.has("usage"):
        return None
    counts = entry.section("usage", _COUNTS)
    usage = Usage(**{name: counts.whole(name, 0) or 0 for name in _COUNTS})
    if usage.cached_tokens + usage.cache_write_tokens > usage.input_tokens:
        counts.add("input_tokens", usage.input_tokens, "must hold the cached and the cache-written tokens too")
    return usage


def _citations(entry: Section) -> tuple[Citation, ...]:
    raw = entry.raw.get("citations") or []
    if not isinstance(raw, list) or not all(isinstance(each, dict) for each in raw):
        entry.add("citations", raw, "must be a list of {url, title}")
        return ()
    sections = [
        Section(each, f"{entry.path('citations')}[{place}]", ("url", "title"), entry.findings)
        for place, each in enumerate(raw)
    ]
    for section in sections:
        section.missing("url")
    return tuple(Citation(url=section.text("url"), title=section.text("title")) for section in sections)


def _repeat(entry: Section) -> int:
    repeat = entry.whole("repeat", 1, low=1) or 1
    if repeat > _MOST_REPEATS:
        entry.add("repeat", repeat, f"must be at most {_MOST_REPEATS}")
    return repeat


def _estimated(request: Request, scripted: ScriptedReply) -> Usage:
    """Usage where the script gives none: nothing for an error, else as the texts' sizes suggest."""
    if scripted.error:
        return Usage()
    texts = [request.system, *(message.text for message in request.messages)]
    if request.schema is not None:
        texts.append(json.dumps(request.schema, ensure_ascii=False, sort_keys=True))
    return Usage(input_tokens=rough_tokens(texts), output_tokens=rough_tokens(scripted.text))


def _error(scripted: ScriptedReply, reply: Reply) -> LLMError:
    message = scripted.message or f"the script asks for {scripted.error}"
    # Tokens that nobody counted were not spent: only a given usage comes with an error.
    spent = reply if scripted.usage is not None else None
    if scripted.error == "LLMUnusable":
        return LLMUnusable([message], reply=spent)
    return ERRORS[scripted.error](message, reply=spent)
