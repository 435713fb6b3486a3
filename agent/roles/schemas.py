"""JSON Schema of what models answer: every object is closed and requires all that it has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Schema = dict[str, Any]


def closed(**properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def array(items: Schema, description: str) -> Schema:
    return {"type": "array", "items": items, "description": description}


def text(description: str) -> Schema:
    return {"type": "string", "description": description}


def one_of(choices: Iterable[str]) -> Schema:
    return {"type": "string", "enum": list(choices)}


def verdicts(**properties: Schema) -> Schema:
    """{verdicts: [one object of these properties for each candidate]}."""
    return closed(verdicts=array(closed(**properties), "One for each candidate."))
