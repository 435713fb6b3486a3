"""The researcher: keywords in, cited remedies out, found by a web search that a model or a search engine makes.

What comes back was written by strangers. It is cut to size, stripped of control characters and addresses that the
search did not return, and handed on as text to weigh: nothing in it is followed, run or opened.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from agent.llm.base import Citation, Message, Request, Search
from agent.llm.google_search import is_web_address
from agent.roles.analyst import plain_keywords
from agent.roles.ask import Agents, Hidden
from agent.roles.foreign import Hide, record_line
from agent.roles.situation import Remedy

QUERY_KEYWORDS = 6
QUERY_CHARACTERS = 240
"""A query of many words finds pages that hold them all, and those are lists of words."""
REMEDY_CHARACTERS = 300
ALL_CHARACTERS = 4000
"""Of all remedies together with their addresses: what later prompts carry."""
REMEDY_SOURCES = 3
PAGES = 20
MAX_TOKENS = 4096

_BULLET = re.compile(r"(\s*)(?:[-*•–]|\d{1,2}[.)])\s+(\S.*)")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_LINK = re.compile(r"\[([^\[\]]{0,200})\]\(\s*https?://[^\s()]*(?:\([^\s()]*\)[^\s()]*)*\s*\)", re.IGNORECASE)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]{1,20}://[^\s<>\"'`\]]+", re.IGNORECASE)
_EMPTY_BRACKETS = re.compile(r"[(\[]\s*[,;]*\s*[)\]]")


@dataclass(frozen=True, kw_only=True)
class Research:
    """What a search brought back. Untrusted text."""

    query: str
    """As it was sent, with aliases for names; empty where nothing was asked."""
    remedies: Sequence[Remedy] = ()
    """A remedy whose `sources` are empty names no page that the search returned."""
    pages: Sequence[str] = ()
    """Every page that the answer as a whole rests on."""
    call: str = ""
    """Name of the exchange; empty where nothing was asked."""
    note: str = ""
    """Why there is nothing, where there is nothing."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """What was left out, and how many of it."""

    def to_json(self) -> dict[str, Any]:
        """research.json."""
        return {
            "schema_version": 1,
            "query": self.query,
            "call": self.call,
            "note": self.note,
            "remedies": [
                {"text": remedy.text, "sources": list(remedy.sources), "sourced": bool(remedy.sources)}
                for remedy in self.remedies
            ],
            "pages": list(self.pages),
            "dropped": dict(self.dropped),
        }

    @property
    def readable(self) -> str:
        """For people: the remedies with their pages, and what was left out."""
        lines = [f"Search: {self.query or 'none'}" + (f" (call {self.call})" if self.call else "")]
        lines += [self.note] if self.note else []
        for remedy in self.remedies:
            lines += [f"- {remedy.text}", *(f"  {source}" for source in remedy.sources or ("[names no source]",))]
        elsewhere = [page for page in self.pages if not any(page in remedy.sources for remedy in self.remedies)]
        lines += ["Further pages of the answer:", *(f"  {page}" for page in elsewhere)] if elsewhere else []
        lines += [f"Left out: {count} {what}" for what, count in self.dropped.items()]
        return "\n".join(lines) + "\n"


def research(agents: Agents, keywords: Sequence[str], *, max_remedies: int = 6) -> Research:
    """Search for remedies. keywords: the most important first. Raises LLMError.

    The query passes `Prompts.hide` like everything that leaves: a keyword may hold a name that is anonymised.
    """
    dropped: Counter[str] = Counter()
    words, refused = plain_keywords(keywords, most=QUERY_KEYWORDS)
    dropped["keywords that are no plain words, or repeated, or too many"] = refused
    if not words:
        return Research(query="", note="nothing was searched: no finding gave a keyword", dropped=+dropped)
    hide = agents.prompts.hide
    query = _query(map(hide, words))
    prompt = agents.prompts.render(
        "researcher", query=Hidden(query), keywords=words, count=max_remedies, characters=REMEDY_CHARACTERS
    )
    answer = agents.ask(
        Request(
            role="researcher",
            system=prompt.system,
            messages=(Message(role="user", text=prompt.user),),
            max_tokens=MAX_TOKENS,
            search=Search(query=query),
        )
    )
    pages = [citation for citation in answer.citations if is_web_address(citation.url)]
    dropped["citations that are no web address"] = len(answer.citations) - len(pages)
    dropped["pages beyond the first 20"] = len(pages[PAGES:])
    remedies = _remedies(answer.text, pages[:PAGES], max_remedies, dropped, hide)
    return Research(
        query=query,
        remedies=remedies,
        pages=tuple(dict.fromkeys(page.url for page in pages[:PAGES])),
        call=answer.call,
        note="" if remedies else "the search found no remedy",
        dropped=+dropped,
    )


def _query(words: Iterable[str]) -> str:
    query = "machine learning training"
    for word in words:
        if len(query) + 1 + len(word) <= QUERY_CHARACTERS:
            query += f" {word}"
    return query


def _remedies(text: str, pages: Sequence[Citation], most: int, dropped: Counter[str], hide: Hide) -> list[Remedy]:
    """The answer's passages, each with the pages it names, within every cap."""
    found: dict[str, Remedy] = {}
    room = ALL_CHARACTERS
    for passage in _passages(text):
        passage = passage[:ALL_CHARACTERS]
        sources, unknown = _sources(passage, pages)
        shown = record_line(_cleaned(passage), REMEDY_CHARACTERS, hide)
        if not any(character.isalnum() for character in shown) or shown.casefold() in found:
            continue
        size = len(shown) + sum(map(len, sources))
        if len(found) >= most or size > room:
            dropped["remedies beyond the caps on number and size"] += 1
            continue
        dropped["addresses that the search did not return"] += unknown
        found[shown.casefold()] = Remedy(text=shown, sources=sources)
        room -= size
    return list(found.values())


def _passages(text: str) -> list[str]:
    """Bullets, each with what is indented below it; without bullets, lines; a single line as its sentences."""
    bullets: list[list[str]] = []
    joins = False
    for line in text.splitlines():
        bullet = _BULLET.match(line)
        if bullet and not (bullets and len(bullet[1].expandtabs()) >= 2):
            bullets.append([bullet[2]])
            joins = True
        elif not line.strip():
            joins = False
        elif bullets and (joins or line[0].isspace()):
            bullets[-1].append(bullet[2] if bullet else line.strip())
    if bullets:
        return [" ".join(bullet) for bullet in bullets]
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#") and not line.endswith(":")]
    return _SENTENCE_END.split(lines[0]) if len(lines) == 1 else lines


def _sources(passage: str, pages: Sequence[Citation]) -> tuple[tuple[str, ...], int]:
    """The pages that a passage names, and how many addresses in it the search did not return.

    By address; a passage without one by the name of a site or page, where only one page has that name.
    """
    by_place = {_place(page.url): page.url for page in reversed(pages)}
    named = [_place(address) for address in dict.fromkeys(_addresses(passage))]
    known = [by_place[place] for place in named if place in by_place]
    if not known:
        known = [page.url for page in pages if any(_names(passage, name) for name in _own_names(page, pages))]
    return tuple(dict.fromkeys(known))[:REMEDY_SOURCES], sum(place not in by_place for place in named)


def _addresses(passage: str) -> list[str]:
    found = []
    for address in _ADDRESS.findall(passage):
        while address and (
            address[-1] in ".,;:!?*_" or (address[-1] == ")" and address.count("(") < address.count(")"))
        ):
            address = address[:-1]
        found.append(address)
    return found


def _place(address: str) -> str:
    """An address as it is compared: without scheme, www, fragment, last slash and campaign parameters."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return address
    query = "&".join(part for part in parts.query.split("&") if part and not part.lower().startswith("utm_"))
    return f"{parts.netloc.lower().removeprefix('www.')}{parts.path.rstrip('/')}?{query}"


def _own_names(page: Citation, pages: Sequence[Citation]) -> list[str]:
    """What only this page is called: its site, its title."""

    def names(one: Citation) -> set[str]:
        site = (urlsplit(one.url).hostname or "").removeprefix("www.")
        return {name for name in (site, one.title.strip().casefold()) if len(name) >= 5}

    others = {name for other in pages if other.url != page.url for name in names(other)}
    return sorted(names(page) - others)


def _names(passage: str, name: str) -> bool:
    return re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", passage.casefold()) is not None


def _cleaned(passage: str) -> str:
    """Without markup and addresses."""
    text = _ADDRESS.sub(_kept_bracket, _LINK.sub(r"\1", passage))
    return _EMPTY_BRACKETS.sub("", text.replace("**", "").replace("__", "").replace("`", ""))


def _kept_bracket(match: re.Match[str]) -> str:
    """Nothing in an address's place, but for a bracket that closes around it."""
    return ")" if match[0].count(")") > match[0].count("(") else ""
