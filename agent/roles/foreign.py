"""Text that others wrote, made fit for a line of ours: flattened first, then hidden, and only then cut to size.

The order matters: a line break inside of a name would keep the name from being found, and so would a cut through it.
`hide` puts aliases for names (`agent.anonymise`); `str`, the default, hides nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable

MESSAGE_CHARACTERS = 200

Hide = Callable[[str], str]


def one_line(text: object, limit: int = MESSAGE_CHARACTERS, hide: Hide = str) -> str:
    """Foreign text as one line of at most `limit` characters, without control and direction characters."""
    line = _hidden_line(text, hide)
    return line if len(line) <= limit else line[: limit - 3] + "..."


def quoted(text: object, limit: int = MESSAGE_CHARACTERS, hide: Hide = str) -> str:
    """Foreign text as one quoted line; quotation marks inside it are escaped, so that it cannot end the quotation."""
    return json.dumps(one_line(text, limit, hide), ensure_ascii=False)


def cut(text: str, limit: int, hide: Hide = str) -> str:
    """Foreign text of several lines, without control characters, its length bounded and the cut announced."""
    clean = hide(cleaned(hide(text)))
    return clean if len(clean) <= limit else _announced(clean, limit)


def cleaned(text: str) -> str:
    """Text of several lines without control characters."""
    lines = ("".join(c if c.isprintable() else " " for c in line).rstrip() for line in text.strip().splitlines())
    return "\n".join(lines)


def record_line(text: object, limit: int, hide: Hide) -> str:
    """`one_line` with the names left in it, for a record that a later prompt may quote: cut between two names."""
    line = _flat(str(text))
    return line if len(line) <= limit else line[: _end(line, limit - 3, hide)] + "..."


def record_text(text: str, limit: int, hide: Hide) -> str:
    """`cut` with the names left in it, cut between two names."""
    clean = cleaned(text)
    return clean if len(clean) <= limit else _announced(clean, _end(clean, limit, hide))


def _flat(text: str) -> str:
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())


def _hidden_line(text: object, hide: Hide) -> str:
    """Hidden after it was flattened; where that makes a difference before it too, for names with such characters."""
    given = str(text)
    flat = _flat(given)
    return hide(flat) if flat == given else hide(_flat(hide(given)))


def _announced(text: str, end: int) -> str:
    return f"{text[:end].rstrip()} ... [{len(text) - end:,} characters cut]"


def _end(text: str, limit: int, hide: Hide) -> int:
    """Where to cut so that no name is cut in two: what is hidden of the beginning begins what is hidden of all."""
    whole, end = hide(text), limit
    while end > 0 and not whole.startswith(hide(text[:end])):
        end = text.rfind(" ", 0, end)
    return max(end, 0)
