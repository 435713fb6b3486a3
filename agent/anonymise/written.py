"""Names inside of JSON as it was written: a name with a quotation mark in it must neither break it nor be missed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"(?P<names_a_property>\s*:)?', re.DOTALL)


def in_json(text: str, change: Callable[[str], str]) -> str:
    """The text with every string of its JSON changed and all else, names of properties too, as it was written; a
    text that is no JSON is changed as a whole."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return change(text)

    def changed(found: re.Match[str]) -> str:
        if found["names_a_property"]:
            return found[0]
        before = json.loads(found[0], strict=False)
        after = change(before)
        halves = any("\ud800" <= c <= "\udfff" for c in after)  # of a pair: only escaped are they text for a file
        return found[0] if after == before else json.dumps(after, ensure_ascii=halves)

    return _STRING.sub(changed, text)
