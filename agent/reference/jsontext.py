"""JSON files written by people: read with every flaw named, kept and written back in one stable form."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from agent.errors import InvalidReference
from agent.reference.model import show

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 4 * 2**20
MAX_DEPTH = 50

Finding = tuple[str, object, str]
"""(where, value, message)"""


class JsonObject(dict[str, object]):
    """An object of the file in which keys occur twice; `sanity` reports them."""

    duplicates: tuple[str, ...] = ()


def read_json(path: Path) -> object:
    """The file's JSON, to be judged by `sanity`. Raises InvalidReference: unreadable, too large, not JSON."""
    text = _text(path)
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        end = " (the file ends there: is it cut off?)" if error.pos >= len(text.rstrip()) else ""
        raise _refused(path, where, f"not JSON: {error.msg}{end}; mend it or restore an earlier version") from None
    except RecursionError:
        raise _refused(path, "file", f"nested too deeply; at most {MAX_DEPTH} levels are allowed") from None
    except ValueError as error:  # an integer of thousands of digits
        raise _refused(path, "file", f"not usable JSON: {error}") from None


def write_json(raw: object) -> str:
    """The canonical text: indent 2, keys in their order, Unicode as it is, one newline at the end."""
    return json.dumps(raw, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def sanity(raw: object) -> Iterator[Finding]:
    """What no part of a reference may hold: duplicate keys, NaN, infinities, unwritable text, non-JSON objects."""
    yield from _sanity(raw, "", 1)


def join(where: str, key: object) -> str:
    """The dotted path of `key` below `where`, on one line whatever the key holds."""
    name = key if isinstance(key, str) and key.isprintable() and key else repr(key)
    return f"{where}.{name[:60]}" if where else name[:60]


def _sanity(value: object, where: str, depth: int) -> Iterator[Finding]:
    if depth > MAX_DEPTH:
        yield where, "", f"nested more than {MAX_DEPTH} levels deep"
    elif isinstance(value, dict):
        if isinstance(value, JsonObject):
            for key in value.duplicates:
                yield join(where, key), "", "this key occurs twice in the same object; keep one"
        for key, item in value.items():
            yield from _key_sanity(key, where)
            yield from _sanity(item, join(where, key), depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _sanity(item, f"{where}[{index}]", depth + 1)
    elif isinstance(value, str):
        if not _encodable(value):
            yield where, ascii(value), "holds half a surrogate pair, which no UTF-8 file can hold"
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield where, value, "is not a finite number; NaN, infinities and overflowing numbers are refused"
    elif value is not None and not isinstance(value, bool | int):
        yield where, "", f"is a {type(value).__name__}, which JSON cannot hold"


def _key_sanity(key: object, where: str) -> Iterator[Finding]:
    if not isinstance(key, str):
        yield join(where, key), "", "keys must be texts"
    elif not _encodable(key):
        yield join(where, ascii(key)), "", "holds half a surrogate pair, which no UTF-8 file can hold"


def is_text(value: object) -> bool:
    """Whether it is a text that a UTF-8 file can hold."""
    return isinstance(value, str) and _encodable(value)


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _object(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    twice: list[str] = []
    for key, value in pairs:
        if key in found and key not in twice:
            twice.append(key)
        found[key] = value
    if not twice:
        return found
    marked = JsonObject(found)
    marked.duplicates = tuple(twice)
    return marked


def _text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise _refused(path, "file", "not a regular file")
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        remedy = "`roundtable init` writes one, --hp-ref names another"
        raise _refused(path, "file", f"no such file; {remedy}") from None
    except OSError as error:
        raise _refused(path, "file", f"cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise _refused(path, "file", f"larger than {MAX_BYTES // 2**20} MiB; a reference is a few kilobytes")
    try:
        return data.decode("utf-8-sig")  # some editors begin a UTF-8 file with a mark
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _refused(path, f"line {line}", f"not UTF-8 (byte {show(error.start)}: {error.reason})") from None


def _refused(path: Path, where: str, message: str) -> InvalidReference:
    return InvalidReference.at(path, message, where=where)
