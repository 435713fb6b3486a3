"""Cutting text into tokens, so that names are found as whole words of any script, whatever their case or encoding.

Two texts are the same name when their canonical caseless forms agree (Unicode 15, 3.13, D145): NFD, casefold, NFD.
A token is a run of letters, digits and combining marks, or any other single character; `_` stands for itself, so that
`cifar10_train` is three tokens. All of it is linear in the text.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from functools import lru_cache
from itertools import accumulate

_ASCII = re.compile(r"[0-9a-z]+|.", re.DOTALL)


@lru_cache(maxsize=4096)
def fold(text: str) -> str:
    """The canonical caseless form."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).casefold())


def is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


def is_word(token: str) -> bool:
    """Whether a token may not stand beside a name without being part of it: a word, or `_`."""
    return token == "_" or token[0].isalnum() or is_mark(token[0])


class Tokens:
    """A text as tokens, and where in the text each begins. `texts` are folded."""

    def __init__(self, text: str) -> None:
        self._folded_edges: list[int] | None = None
        if text.isascii():
            self.texts: list[str] = _ASCII.findall(text.lower())
        else:
            pieces = _characters(text)
            folded = [fold(piece) for piece in pieces]
            self._folded_edges = [0, *accumulate(map(len, folded))]
            self._edges = [0, *accumulate(map(len, pieces))]
            self.texts = _cut("".join(folded))
        self._starts: list[int] = []

    def begin(self, position: int) -> int | None:
        """Offset in the text at which a token begins (position len: the end); None inside of one character."""
        offset = self._offsets()[position]
        if self._folded_edges is None:
            return offset
        place = bisect_left(self._folded_edges, offset)
        return self._edges[place] if self._folded_edges[place] == offset else None

    def at(self, offset: int) -> int:
        """The first token that begins at or after an offset of the text."""
        if self._folded_edges is not None:
            offset = self._folded_edges[bisect_left(self._edges, offset)]
        return bisect_left(self._offsets(), offset)

    def _offsets(self) -> list[int]:
        # Counted when first asked for: by then aliases have been joined into tokens, and most texts hold no name.
        if not self._starts:
            self._starts = [0, *accumulate(map(len, self.texts))]
        return self._starts


def _characters(text: str) -> list[str]:
    """Characters with their combining marks: what may be folded apart from the rest."""
    letters = set(text)
    marks = [c for c in letters if unicodedata.combining(c)]
    if not marks:
        return list(text)
    # A mark after a space or a stop stands alone: it may begin a name, and joins nothing that it could change.
    bases = [c for c in letters if not unicodedata.combining(c) and (c.isalnum() or fold(c) != c)]
    start = f"[{_escaped(bases)}][{_escaped(marks)}]+|" if bases else ""
    return re.findall(f"{start}[{_escaped(marks)}]+|.", text, re.DOTALL)


def _cut(folded: str) -> list[str]:
    words = [c for c in set(folded) if c.isalnum() or is_mark(c)]
    return re.findall(f"[{_escaped(words)}]+|." if words else ".", folded, re.DOTALL)


def _escaped(characters: list[str]) -> str:
    return "".join(map(re.escape, sorted(characters)))
