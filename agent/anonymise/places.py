"""Paths and e-mail addresses by their looks: what may identify a person or a cluster without being a known name."""

from __future__ import annotations

import re
from collections.abc import Callable

from agent.anonymise.tokens import is_mark

#: Where an absolute path begins: a drive, a share, a home folder, an environment variable, the root.
_START = r"(?:[A-Za-z]:[\\/](?!/)|\\\\(?=[\w.])|~(?:[A-Za-z_][\w.-]*+)?/|\$(?:\w+|\{\w+\})/|(?<!:)//|/(?!/))"
_REST = r"""(?:\\[ ]|[^\s"'`<>|,;])*+"""

_QUOTED = re.compile(
    rf"""
      (?<=") {_START} [^"\n]*+ (?=")
    | (?<=') {_START} [^'\n]*+ (?=')
    | (?<=`) {_START} [^`\n]*+ (?=`)
    """,
    re.VERBOSE,
)
_BARE = re.compile(
    rf"""
      (?<![\w+.-])(?P<scheme>[A-Za-z][\w+.-]*+):// {_REST}
    | (?<![\w.)\]}}/\\~]) {_START} {_REST}
    """,
    re.VERBOSE,
)
# Possessive quantifiers and the look-behind keep both patterns linear: each run of characters is tried once.
_EMAIL = re.compile(r"(?<![\w.+-])([\w.+-]++)@([\w-]++(?:\.[\w-]++)*+)")
_GOES_ON = re.compile(_REST)
_CLOSING = ".:!?)]}"


def looks_like_path(text: str) -> bool:
    """Whether a whole text is an absolute path or an address of a file (s3://..., file://...)."""
    found = _BARE.match(text)
    return found is not None and found.end() == len(text)


def replace_quoted_paths(text: str, replacement: Callable[[str, str], str | None]) -> str:
    """Replace absolute paths between quotes, which may hold spaces; otherwise like `replace_paths`."""
    return _QUOTED.sub(lambda found: _replaced(found, found[0], "", replacement), text) if _may_hold(text) else text


def replace_paths(text: str, replacement: Callable[[str, str], str | None]) -> str:
    """Replace what looks like an absolute path. `replacement(path, scheme)` gives None to leave it.

    A path ends at the first space, quote, comma or semicolon, without the punctuation that closes a sentence.
    "and/or", "1/2", "(a + b)/c" and relative paths are none.
    """

    def replaced(found: re.Match[str]) -> str:
        return _replaced(found, found[0].rstrip(_CLOSING), found["scheme"] or "", replacement)

    return _BARE.sub(replaced, text) if _may_hold(text) else text


def _replaced(found: re.Match[str], path: str, scheme: str, replacement: Callable[[str, str], str | None]) -> str:
    named = any(character.isalpha() for character in path) and not _marked(found)
    new = replacement(path, scheme) if named else None
    return found[0] if new is None else new + found[0][len(path) :]


def _marked(found: re.Match[str]) -> bool:
    """Whether a combining mark stands beside it: \\w knows none, and an alias there would be part of a word."""
    return any(
        map(
            is_mark,
            found.string[max(found.start() - 1, 0) : found.start()] + found.string[found.end() : found.end() + 1],
        )
    )


def _may_hold(text: str) -> bool:
    return "/" in text or "\\" in text


def path_goes_on(text: str, end: int) -> int:
    """Where a path ends of which a beginning, up to `end`, is known; `end` itself where that is all of it."""
    if text[end : end + 1] in _CLOSING:
        return end
    found = _GOES_ON.match(text, end)
    return end if found is None else end + len(found[0].rstrip(_CLOSING))


def replace_emails(text: str, replacement: Callable[[str, str], str | None]) -> str:
    """Replace what looks like `user@host`. `replacement(user, host)` gives None to leave it ("recall@10")."""

    def replaced(found: re.Match[str]) -> str:
        new = None if _marked(found) else replacement(found[1], found[2])
        return found[0] if new is None else new

    return _EMAIL.sub(replaced, text) if "@" in text else text
