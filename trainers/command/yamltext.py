"""A description's YAML: every problem noted, and only what JSON can hold (read by trainers.yaml_file)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainers.command.findings import DescriptionProblem, Findings, is_number
from trainers.files import FileProblem, read_bounded
from trainers.yaml_file import load_mapping

MAX_BYTES = 256 * 2**10
MAX_DEPTH = 20
QUOTES = 'texts that hold { } [ ] : # & * or begin with @ ` % need quotes, e.g. "{learning_rate}"'


def read_yaml(path: Path, findings: Findings) -> dict[str, Any]:
    """The file's one mapping; duplicate keys and values that JSON lacks are noted in `findings`.

    Raises DescriptionProblem where there is nothing further to check: unreadable, above 256 KiB, not UTF-8, not YAML,
    not a mapping; tags, anchors and aliases are refused (an alias can expand a small file without bound).
    """

    def note(line: int, key: str) -> None:
        findings.add(f"line {line}", key, "this key stands twice; keep one")

    try:
        value = load_mapping(read_bounded(path, MAX_BYTES), name=str(path), duplicate=note)
    except FileProblem as error:
        what = f"{error.what} ({QUOTES})" if error.where else error.what
        raise DescriptionProblem(str(path), [(error.where or "file", "", what)]) from None
    _check_plain(value, "", 1, findings)
    return value


def _check_plain(value: object, where: str, depth: int, findings: Findings) -> None:
    """Note what JSON, and so the frozen description, cannot hold."""
    if depth > MAX_DEPTH:
        findings.add(where, "", f"nested more than {MAX_DEPTH} levels deep")
    elif isinstance(value, dict):
        for key in [key for key in value if not isinstance(key, str) or not _encodable(key)]:
            findings.add(where or "file", key, 'a key must be a text in UTF-8; put it in quotes: "1"')
            del value[key]
        for key, item in value.items():
            _check_plain(item, f"{where}.{key}" if where else key, depth + 1, findings)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            _check_plain(item, f"{where}[{position}]", depth + 1, findings)
    elif isinstance(value, str):
        if not _encodable(value):
            findings.add(where, value, "holds half a surrogate pair, which no UTF-8 file can hold; write \\U0001f600")
    elif isinstance(value, int | float) and not isinstance(value, bool) and not is_number(value):
        findings.add(where, value, "must be finite, and an integer within 2**53")
    elif value is not None and not isinstance(value, bool | int | float):
        findings.add(
            where, value, f"is a {type(value).__name__}; only texts, numbers, true, false, lists and mappings"
        )


def _encodable(text: str) -> bool:
    return text == text.encode("utf-8", "replace").decode("utf-8")
