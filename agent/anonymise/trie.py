"""Finding many names at once: a trie of their tokens, in which the longest name that stands whole wins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from agent.anonymise.tokens import Tokens, is_word

#: Shorter names are only whole words; from here on also parts of words joined by `_` (cifar10_train).
JOINED_FROM = 4

_END = ""


def trie_of(texts: Iterable[str]) -> dict[str, Any]:
    """Nested by token; the text itself under _END, which is no token."""
    root: dict[str, Any] = {}
    for text in texts:
        node = root
        for token in Tokens(text).texts:
            node = node.setdefault(token, {})
        node[_END] = text
    return root


def longest_first(texts: Sequence[str], place: int, trie: dict[str, Any], before: str) -> list[tuple[int, str]]:
    """Names that begin at a token and stand whole: (token after the last, name)."""
    found = []
    node, end = trie, place
    while end < len(texts) and (deeper := node.get(texts[end])) is not None:
        node, end = deeper, end + 1
        if _END in node:
            beside = (before, texts[end] if end < len(texts) else " ")
            joined = len(node[_END]) >= JOINED_FROM
            if not any(is_word(token) and not (joined and token == "_") for token in beside):
                found.append((end, node[_END]))
    return found[::-1]


def spliced(text: str, spans: Iterable[tuple[int, int, str]]) -> str:
    """The text with each span (begin, end) replaced."""
    parts, done = [], 0
    for begin, end, new in spans:
        parts += [text[done:begin], new]
        done = end
    return "".join([*parts, text[done:]])
