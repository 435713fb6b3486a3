"""YAML from people: safe types only, duplicate keys refused, size capped. PyYAML is imported when called.

Numbers, booleans and null are those of YAML 1.2 and JSON. PyYAML follows YAML 1.1, where `1e-4` is text, `010` is 8,
`no` is false and `time: 12:00:00` is the number 43200: each changes a search space or a time limit without a word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers.files import FileProblem, read_bounded

if TYPE_CHECKING:
    import yaml

SCALARS = (
    ("null", re.compile(r"(~|null|Null|NULL|)\Z"), ("~", "n", "N", "")),
    ("bool", re.compile(r"(true|True|TRUE|false|False|FALSE)\Z"), tuple("tTfF")),
    ("int", re.compile(r"[-+]?(0|[1-9][0-9]*)\Z"), tuple("-+0123456789")),
    ("float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z"), tuple("-+.0123456789")),
)


class WrittenInt(int):
    """An integer that does not print as it was written, such as +5; `written` is what stood there."""

    written: str


class WrittenFloat(float):
    """A number that does not print as it was written, such as 0123 or 1.10; `written` is what stood there."""

    written: str


def read_yaml(path: Path, *, limit: int = 2**20, written: bool = False) -> dict[str, Any]:
    """One YAML mapping. Raises FileProblem, which names the file, the line and what is wrong.

    written: numbers remember how they were written where that differs, for files in which they may be meant as text.
    """
    return parse_yaml(read_bounded(path, limit), name=str(path), written=written)


def parse_yaml(text: str, *, name: str, written: bool = False) -> dict[str, Any]:
    """`read_yaml` for text that is already here; `name` is what messages call it."""

    def refuse(line: int, key: str) -> None:
        raise FileProblem(name, f"the key {key!r} stands twice", where=f"line {line}")

    value = load_mapping(text, name=name, duplicate=refuse, written=written)
    for key in value:
        if not isinstance(key, str):
            raise FileProblem(name, f"the key {key!r} must be a text; put it in quotes")
    return value


def load_mapping(
    text: str, *, name: str, duplicate: Callable[[int, str], None], written: bool = False
) -> dict[Any, Any]:
    """One YAML mapping of any keys. duplicate: told of keys standing twice (line, key). Raises FileProblem."""
    import yaml

    try:
        value = yaml.load(text, _loader(duplicate, written=written))  # a subclass of SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1} column {mark.column + 1}" if mark else ""
        why = ", ".join(part for part in (error.context, error.problem) if part)
        raise FileProblem(name, f"not usable YAML: {why}", where=where) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: `!!int x`, or an integer of thousands of digits
        raise FileProblem(name, f"not usable YAML: {' '.join(str(error).split())[:200]}") from error
    except RecursionError as error:
        raise FileProblem(name, "nested too deep") from error
    if not isinstance(value, dict):
        found = "is empty" if value is None else f"is a {type(value).__name__}"
        raise FileProblem(name, f"{found}; expected keys with values, such as `key: value`")
    return value


def _loader(duplicate: Callable[[int, str], None], *, written: bool = False) -> type[yaml.SafeLoader]:
    """A SafeLoader with the scalars above that refuses anchors and tells of keys standing twice (line, key).

    written: numbers are WrittenInt and WrittenFloat where they do not print as they stand.

    An alias lets a few lines expand to gigabytes, and no file of ours needs one.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own class attribute, filled below

        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            event = self.peek_event()  # type: ignore[no-untyped-call]
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
                problem = "anchors (&) and aliases (*) are not supported; write the value out, or quote the text"
                raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: set[object] = set()
            for key_node, _ in node.value:
                key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
                if key is not None and key in seen:
                    duplicate(key_node.start_mark.line + 1, key)
                seen.add(key)
            return super().construct_mapping(node, deep=deep)

    def number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int | float:
        whole = node.tag.endswith(":int")
        value = loader.construct_yaml_int(node) if whole else loader.construct_yaml_float(node)
        if str(value) == node.value:
            return value
        kept = WrittenInt(value) if whole else WrittenFloat(value)
        kept.written = node.value
        return kept

    if written:
        for name in ("int", "float"):
            Loader.add_constructor(f"tag:yaml.org,2002:{name}", number)
    for name, pattern, first in SCALARS:
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{name}", pattern, list(first))
    return Loader


def dump_yaml(value: Mapping[str, Any]) -> str:
    """Plain block YAML in the given key order."""
    import yaml

    return yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
