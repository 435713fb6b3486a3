"""YAML from people: safe types only, duplicate keys refused, size capped. PyYAML is imported when called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainers.files import FileProblem


def read_yaml(path: Path, *, limit: int = 2**20) -> dict[str, Any]:
    """One YAML mapping. Raises FileProblem, which names the file, the line and what is wrong."""
    try:
        if path.stat().st_size > limit:
            raise FileProblem(f"{path}: {path.stat().st_size} bytes, more than the {limit} that are read")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise FileProblem(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise FileProblem(f"{path}: not UTF-8 at byte {error.start}") from error
    return parse_yaml(text, name=str(path))


def parse_yaml(text: str, *, name: str) -> dict[str, Any]:
    """`read_yaml` for text that is already here; `name` is what messages call it."""
    import yaml

    class Loader(yaml.SafeLoader):
        """SafeLoader that refuses a key standing twice in one mapping, instead of taking the last."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: set[Any] = set()
            for key_node, _ in node.value:
                key = self.construct_object(key_node, deep=True)
                line = key_node.start_mark.line + 1
                if not isinstance(key, str | int | float | bool):
                    raise FileProblem(f"{name}: line {line}: a key must be a plain word, not {type(key).__name__}")
                if key in seen:
                    raise FileProblem(f"{name}: line {line}: the key {key!r} stands twice")
                seen.add(key)
            return super().construct_mapping(node, deep=deep)

        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            # Aliases let a few lines expand to gigabytes; no file of ours needs them.
            if self.check_event(yaml.AliasEvent):
                raise FileProblem(f"{name}: YAML aliases (*name) are not accepted: write the value out")
            return super().compose_node(parent, index)

    try:
        value = yaml.load(text, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise FileProblem(f"{name}: {where}{error.problem or error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise FileProblem(f"{name}: {error}") from error
    if not isinstance(value, dict):
        raise FileProblem(f"{name}: expected `key: value` lines, found {type(value).__name__}")
    return value


def dump_yaml(value: Mapping[str, Any]) -> str:
    """Plain block YAML in the given key order."""
    import yaml

    return yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
