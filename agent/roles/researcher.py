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
from agent.model_roles import RESEARCHER
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

_BULLET = re.compile(r"(\s*)(?:[-*•–]|\d{1,2}[.)])\s+(\S.*)")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_LINK = re.compile(r"\[([^\[\]]{0,200})\]\(\s*https?://[^\s()]*(?:\([^\s()]*\)[^\s()]*)*\s*\)", re.IGNORECASE)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]{1,20}://[^\s<>\"'`\]]+", re.IGNORECASE)
_BARE_ADDRESS = re.compile(r"(?<![\w@./-])(?:[a-z0-9-]{1,63}\.){1,4}[a-z]{2,12}/[^\s<>\"'`\]]+", re.IGNORECASE)
"""A page's address without its scheme: with a path, for a host alone is a site's name (and "e.g." is none)."""
_ARXIV = re.compile(r"\barxiv\s?:\s?(\d{4}\.\d{4,5})", re.IGNORECASE)
_ARXIV_PATH = re.compile(r"/(?:abs|pdf|html)/(\d{4}\.\d{4,5})")
_DOI = re.compile(r"\bdoi\s?:\s?(10\.\d{4,9}/[^\s<>\"'`\]]+)", re.IGNORECASE)
_SOURCE_LIST = re.compile(
    r"[#*_\s]*(?:sources|references|links|citations|bibliography|further reading)[*_\s]*(?::|$)", re.IGNORECASE
)
"""Where a list of pages begins that belongs to no single remedy."""
TITLE_WORDS = 4
"""Words from which on a page's title is no everyday phrase."""
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
            role=RESEARCHER.name,
            system=prompt.system,
            messages=(Message(role="user", text=prompt.user),),
            max_tokens=RESEARCHER.answer_tokens(),
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
    """Bullets, each with what is indented below it; without bullets, lines; a single line as its sentences.

    A list of sources behind them ends them: the last bullet would otherwise rest on all of its pages.
    """
    bullets: list[list[str]] = []
    joins = False
    for line in text.splitlines():
        if bullets and _SOURCE_LIST.match(line):
            break
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
    """The pages that a passage rests on, and how many addresses in it the search did not return.

    By address; a passage without one by the name of a site or page, where only one page has that name. One address
    that the search did not return makes the whole passage unsourced: which part of it a real page beside it would
    bear out, nobody can tell.
    """
    by_place = {place: page.url for page in reversed(pages) for place in _places(page.url)}
    named = [_places(address) for address in dict.fromkeys(_addresses(passage))]
    known = [next((by_place[place] for place in places if place in by_place), None) for places in named]
    if named:
        found = [url for url in known if url is not None] if None not in known else []
    else:
        found = [page.url for page in pages if any(_names(passage, name) for name in _own_names(page, pages))]
    return tuple(dict.fromkeys(found))[:REMEDY_SOURCES], known.count(None)


def _addresses(passage: str) -> list[str]:
    """Addresses as they stand, with and without scheme, and papers by their identifier (arXiv, DOI)."""
    found = [_end_cut(address) for address in _ADDRESS.findall(passage)]
    rest = _ADDRESS.sub(" ", passage)
    found += [_end_cut(address) for address in _BARE_ADDRESS.findall(rest)]
    rest = _BARE_ADDRESS.sub(" ", rest)
    found += [f"https://arxiv.org/abs/{paper}" for paper in _ARXIV.findall(rest)]
    return found + [f"https://doi.org/{_end_cut(paper)}" for paper in _DOI.findall(rest)]


def _end_cut(address: str) -> str:
    """Without the punctuation of the sentence around it."""
    while address and (address[-1] in ".,;:!?*_" or (address[-1] == ")" and address.count("(") < address.count(")"))):
        address = address[:-1]
    return address


def _places(address: str) -> tuple[str, ...]:
    """An address as it is compared: without scheme, www, fragment, last slash and campaign parameters; a paper of
    arXiv also as the paper, whichever of its versions and forms."""
    try:
        parts = urlsplit(address if "://" in address else f"https://{address}")
    except ValueError:
        return (address,)
    query = "&".join(part for part in parts.query.split("&") if part and not part.lower().startswith("utm_"))
    host = parts.netloc.lower().removeprefix("www.")
    place = f"{host}{parts.path.rstrip('/')}?{query}"
    paper = _ARXIV_PATH.match(parts.path) if host == "arxiv.org" else None
    return (place, f"arxiv:{paper[1]}") if paper else (place,)


def _own_names(page: Citation, pages: Sequence[Citation]) -> list[str]:
    """What only this page is called: its site, its title."""

    def names(one: Citation) -> set[str]:
        site = (urlsplit(one.url).hostname or "").removeprefix("www.")
        return {name for name in (site, one.title.strip().casefold()) if len(name) >= 5}

    others = {name for other in pages if other.url != page.url for name in names(other)}
    return sorted(names(page) - others)


def _names(passage: str, name: str) -> bool:
    """Whether a passage names a page. A short title is one only where it stands as one, in quotes or brackets: a
    page called "Weight decay" bears out nothing just because a sentence has these words."""
    named = rf"(?<![\w.-]){re.escape(name)}(?![\w-])"
    if "." not in name and len(name.split()) < TITLE_WORDS:
        named = rf"[\"'\u2018\u201c\u00ab(\[*_]\s*{named}\s*[\"'\u2019\u201d\u00bb)\]*_,.]"
    return re.search(named, passage.casefold()) is not None


def _cleaned(passage: str) -> str:
    """Without markup and addresses."""
    text = _ADDRESS.sub(_kept_bracket, _LINK.sub(r"\1", passage))
    return _EMPTY_BRACKETS.sub("", text.replace("**", "").replace("__", "").replace("`", ""))


def _kept_bracket(match: re.Match[str]) -> str:
    """Nothing in an address's place, but for a bracket that closes around it."""
    return ")" if match[0].count(")") > match[0].count("(") else ""
