"""Reading a description's YAML: every problem noted, and only what JSON can hold (scalars: trainers.yaml_file)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainers.command.findings import DescriptionProblem, Findings, is_number, shown
from trainers.yaml_file import core_loader

MAX_BYTES = 256 * 2**10
MAX_DEPTH = 20
QUOTES = 'texts that hold { } [ ] : # & * or begin with @ ` % need quotes, e.g. "{learning_rate}"'


def read_yaml(path: Path, findings: Findings) -> dict[str, Any]:
    """The file's one mapping; duplicate keys and values that JSON lacks are noted in `findings`.

    Raises DescriptionProblem where there is nothing further to check: unreadable, above 256 KiB, not UTF-8, not YAML,
    not a mapping; tags, anchors and aliases are refused (an alias can expand a small file without bound).
    """
    import yaml

    text = _text(path)

    def note(line: int, key: str) -> None:
        findings.add(f"line {line}", key, "this key stands twice; keep one")

    try:
        value = yaml.load(text, core_loader(note))  # a subclass of SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1} column {mark.column + 1}" if mark else "file"
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        raise _refused(path, where, f"not usable YAML: {reason} ({QUOTES})") from None
    except yaml.YAMLError as error:
        raise _refused(path, "file", f"not usable YAML: {' '.join(str(error).split())[:200]}") from None
    except RecursionError:
        raise _refused(path, "file", f"nested more than {MAX_DEPTH} levels deep") from None
    except ValueError as error:  # `!!int x`, or an integer of thousands of digits
        raise _refused(path, "file", f"not usable YAML: {error}") from None
    if not isinstance(value, dict):
        message = "is empty" if value is None else f"holds {shown(value)}"
        raise _refused(path, "file", f"{message}; expected keys with values, such as `name: my_program`")
    _check_plain(value, "", 1, findings)
    return value


def _text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise _refused(path, "file", "not a regular file")
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise _refused(path, "file", f"cannot be read: {reason}") from None
    if len(data) > MAX_BYTES:
        raise _refused(path, "file", f"larger than {MAX_BYTES // 2**10} KiB; a description is a page")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _refused(path, f"line {line}", "not UTF-8") from None


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


def _refused(path: Path, where: str, message: str) -> DescriptionProblem:
    return DescriptionProblem(str(path), [(where, "", message)])
