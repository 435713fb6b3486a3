"""Names in other spellings: LEFT-VENTRICLE, leftVentricle and left ventricle for Left_Ventricle, Charite for Charité.

A text is cut into parts at separators, humps (leftVentricle, MRIHeart) and between letters and digits. Two spellings
are one where their parts put together have the same key: compatibility forms, case and marks folded away (NFKD).
Linear in the text, whatever the number of names.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

#: Keys shorter than this are too common as words; such a name is found only as it is written.
SHORTEST = 3
#: From here on a name is also found inside of a word: HeartMRIv2, pre_heart.
INSIDE_FROM = 4
#: Between words ("a dam" is no adam) both must be as long as this, unless the name itself has a gap there.
_WORD = 4
#: Letters that no normal form takes apart.
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i"})
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"})
_SOFT = frozenset({"", "_", "-", "\u2010", "\u2011", "\u2013"})
_GAPS = frozenset({" ", ".", "\n", "\t", "\u00a0", "__", "--", "\r\n"})

#: Of a text in which A stands for capitals, a for other letters, 0 for digits, m for marks.
_PART = re.compile(r"(?:Am*)+(?=Am*a)|Am*(?:am*)+|(?:Am*)+|(?:am*)+|(?:0m*)+")
_RUN = re.compile(r"[Aa0m]+")
_SHAPES = {"Lu": "A", "Lt": "A", "Nd": "0", "Mn": "m", "Mc": "m", "Me": "m"}


@lru_cache(maxsize=65536)
def key(text: str) -> str:
    """What all spellings of a name have in common; "" for one without letters and digits."""
    if text.isascii():
        return "".join(filter(str.isalnum, text)).lower()
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold()).translate(_LETTERS)
    return "".join(letter for letter in plain if letter.isalnum())


def keys(text: str) -> frozenset[str]:
    """The key, and that of the spelling without umlauts (Mueller)."""
    composed = unicodedata.normalize("NFC", text).casefold()
    return frozenset({key(text), key(composed.translate(_UMLAUTS))}) - {""}


def is_spelled(text: str) -> bool:
    """Whether a name is made of words and separators, so that it has other spellings."""
    return all(c.isalnum() or c in "_-. " or unicodedata.category(c)[0] == "M" for c in text) and any(
        map(str.isalpha, text)
    )


def parts(text: str) -> list[tuple[int, int]]:
    """Where the parts of a text begin and end."""
    return [found.span() for found in _PART.finditer(_shape(text))]


def _shape(text: str) -> str:
    table = _ASCII if text.isascii() else {ord(c): _shape_of(c) for c in set(text)}
    return text.translate(table)


def _shape_of(character: str) -> str:
    found = _SHAPES.get(unicodedata.category(character))
    return found or ("a" if character.isalnum() else " ")


_ASCII = {code: _shape_of(chr(code)) for code in range(128)}


@dataclass
class _Known:
    alias: str | None
    """None: a word that stays."""
    gaps: set[int]
    """Offsets in the key at which the name itself has a gap or a hump."""
    written: dict[str, str]
    """Aliases of the names as they are written: cat and Cat may be two."""


class Spellings:
    """Finds names whatever their spelling."""

    def __init__(self, names: Iterable[tuple[str, str]], kept: Iterable[str]) -> None:
        """names: (text, alias). kept: words that stay, and that no name is found inside of."""
        self._known: dict[str, _Known] = {}
        for text, alias in [*((text, None) for text in kept), *names]:
            if not is_spelled(text):
                continue
            for folded in keys(text):
                if len(folded) >= SHORTEST or alias is None:
                    known = self._known.setdefault(folded, _Known(alias, set(), {}))
                    known.gaps |= _gaps(text)
                    if alias is not None:
                        known.written.setdefault(text, alias)
        self._names = any(known.alias is not None for known in self._known.values())
        self._prefixes = {folded[:end] for folded in self._known for end in range(1, len(folded) + 1)}

    def find(self, text: str, taken: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, str]]:
        """(offset, offset of the end, alias) from left to right, the longest first. taken: spans to leave alone."""
        if not self._names:
            return
        shape = _shape(text)
        starts: dict[str, tuple[int, ...]] = {}
        done, number = 0, 0
        for run in _RUN.finditer(shape):
            begin, end = run.span()
            word = text[begin:end]
            offsets = starts.get(word)
            if offsets is None:
                offsets = starts[word] = self._starts(word, shape[begin:end])
            for offset in offsets:
                at = begin + offset
                while number < len(taken) and taken[number][1] <= at:
                    number += 1
                limit = taken[number][0] if number < len(taken) else len(text)
                if at >= done and at < limit and (found := self._longest(text, shape, at, limit)):
                    done, known = found
                    if known.alias is not None:
                        yield at, done, known.written.get(text[at:done], known.alias)

    def _starts(self, word: str, shape: str) -> tuple[int, ...]:
        """Where in a word a name may begin: at the parts that are the beginning of one."""
        return tuple(
            found.start()
            for found in _PART.finditer(shape)
            if key(word[found.start() : found.end()]) in self._prefixes
        )

    def _longest(self, text: str, shape: str, begin: int, limit: int) -> tuple[int, _Known] | None:
        best = None
        folded, length, end = "", 0, begin
        needed: list[int] = []  # gaps between words that the name has to have too
        joint = 0
        while (part := _PART.match(shape, end + joint)) is not None and part.end() <= limit:
            more = key(text[part.start() : part.end()])
            gap = text[end : end + joint]
            if gap in _GAPS and not (length >= _WORD <= len(more)):
                needed.append(len(folded))
            folded, length, end = folded + more, len(more), part.end()
            if folded not in self._prefixes:
                break
            known = self._known.get(folded)
            if known is not None and known.gaps.issuperset(needed) and _stands(text, begin, end, len(folded)):
                best = end, known
            joint = _joint(text, shape, end)
        return best


def _joint(text: str, shape: str, end: int) -> int:
    """How many characters part what ends here from the next part of the same name; beyond the text where none may."""
    if shape[end : end + 1] != " ":
        return 0
    for width in (1, 2):
        if shape[end + width : end + width + 1] not in (" ", ""):
            gap = text[end : end + width]
            return width if gap in _SOFT or gap in _GAPS else len(text)
    return len(text)


def _gaps(text: str) -> set[int]:
    found, length = set(), 0
    for begin, end in parts(text):
        found.add(length)
        length += len(key(text[begin:end]))
    return found


def _stands(text: str, begin: int, end: int, length: int) -> bool:
    """Whether a name may end where these parts do: at anything but letters and digits; a long one also at `_`, at a
    hump, and before digits (HeartMRI2024). Not behind its own digits: cifar10x is another name than cifar10."""
    before, after = text[begin - 1 : begin], text[end : end + 1]
    if not (_is_word(before) or _is_word(after)):
        return True
    if length < INSIDE_FROM:
        return False
    return _may_touch(before, text[begin]) and not (_is_word(after) and after != "_" and text[end - 1].isdigit())


def _may_touch(before: str, first: str) -> bool:
    return not _is_word(before) or before == "_" or not (before.isdigit() or first.isdigit())


def _is_word(character: str) -> bool:
    return character == "_" or (
        character != "" and (character.isalnum() or unicodedata.category(character)[0] == "M")
    )


def spaced(text: str, spans: Iterable[tuple[int, int, str]]) -> Iterator[tuple[int, int, str]]:
    """The spans with a hyphen between an alias and the rest of the word that it was found in."""
    for begin, end, alias in spans:
        before, after = text[begin - 1 : begin], text[end : end + 1]
        lead = "-" if _is_word(before) and before != "_" else ""
        trail = "-" if _is_word(after) and after != "_" else ""
        yield begin, end, f"{lead}{alias}{trail}"


def words_of(texts: Iterable[str]) -> frozenset[str]:
    """The keys of all words of some texts, whole and in parts: a vocabulary."""
    found: set[str] = set()
    for text in texts:
        for word in re.findall(r"[^\W_]+", text):
            found.add(key(word))
            found.update(key(word[begin:end]) for begin, end in parts(word))
    return frozenset(found)
