"""The JSON Schema of a reference, for editors and other programs.

It says what a schema can say; `check_reference` accepts nothing that the schema refuses, and refuses more
(low below high, grids, conditions, constraints).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.reference.expression import ALLOWED, FUNCTIONS, MAX_CHARACTERS
from agent.reference.keys import (
    CHANGE,
    CONSTRAINT,
    DIRECTIONS,
    FOREIGN_KEYS,
    HEADER,
    IMPACTS,
    MAX_CHOICES,
    MAX_CONSTRAINTS,
    MAX_PARAMETERS,
    NAME_PATTERN,
    OBJECTIVE,
    PARAMETER,
    REQUIRED_HEADER,
    REQUIRED_PARAMETER,
    RESERVED,
    SCHEMA_VERSION,
    TYPES,
)

TEXT: dict[str, Any] = {"type": "string"}
SOME_TEXT = {"type": "string", "pattern": "\\S"}
FLAG = {"type": "boolean"}
SCALAR = {"type": ["string", "number", "boolean"]}
SCALAR_OR_NULL = {"type": ["string", "number", "boolean", "null"]}
EXPRESSION = {"type": "string", "pattern": "\\S"}


def json_schema() -> dict[str, Any]:
    """A fresh JSON Schema (draft 2020-12)."""
    header: dict[str, Any] = {
        "schema_version": {"const": SCHEMA_VERSION},
        "trainer": SOME_TEXT,
        "task": {"type": ["string", "null"], "pattern": "\\S"},
        "round": {"type": "integer", "minimum": 0},
        "version": {"type": "integer", "minimum": 1},
        "parent_sha256": {"type": ["string", "null"], "pattern": "^[0-9a-f]{64}$"},
        "source": TEXT,
        "objective": _object(
            OBJECTIVE,
            {"metric": SOME_TEXT, "direction": {"enum": list(DIRECTIONS)}},
            required=list(OBJECTIVE),
        ),
        "changes": {"type": "array", "items": {"$ref": "#/$defs/change"}},
        "parameters": {
            "type": "object",
            "minProperties": 1,
            "maxProperties": MAX_PARAMETERS,
            "propertyNames": {"pattern": f"^{NAME_PATTERN}$", "not": {"enum": list(RESERVED)}},
            "additionalProperties": {"$ref": "#/$defs/parameter"},
        },
        "constraints": {"type": "array", "maxItems": MAX_CONSTRAINTS, "items": {"$ref": "#/$defs/constraint"}},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Roundtable hyperparameter reference",
        "$comment": f"Expressions, of at most {MAX_CHARACTERS} characters, hold {ALLOWED}; "
        f"functions: {', '.join(FUNCTIONS)}. Unknown keys are kept; begin your own with x_.",
        **_object(HEADER, header, required=list(REQUIRED_HEADER)),
        "$defs": {"parameter": _parameter(), "change": _change(), "constraint": _constraint()},
    }


def _parameter() -> dict[str, Any]:
    properties: dict[str, Any] = {
        "type": {"enum": list(TYPES)},
        "low": {"type": "number"},
        "high": {"type": "number"},
        "log": {**FLAG, "default": False},
        "step": {"type": "number", "exclusiveMinimum": 0},
        "choices": {"type": "array", "minItems": 1, "maxItems": MAX_CHOICES, "uniqueItems": True, "items": SCALAR},
        "default": SCALAR,
        "active_value": SCALAR,
        "description": SOME_TEXT,
        "group": TEXT,
        "impact": {"enum": list(IMPACTS), "default": IMPACTS[0]},
        "condition": EXPRESSION,
        "tune": {**FLAG, "default": True},
        "unit": TEXT,
        "data_note": TEXT,
    }
    common = _object(PARAMETER, properties, required=["type", "default", "description"])
    return {**common, "allOf": [_of_type(kind) for kind in TYPES]}


def _of_type(kind: str) -> dict[str, Any]:
    """What a parameter of this type must, may and may not have."""
    value = {"float": {"type": "number"}, "int": {"type": "integer"}, "bool": FLAG, "categorical": SCALAR}[kind]
    properties: dict[str, Any] = {"default": value, "active_value": value}
    if kind == "int":
        properties |= dict.fromkeys(("low", "high", "step"), value)
    properties |= dict.fromkeys(FOREIGN_KEYS[kind], False)
    return {
        "if": {"properties": {"type": {"const": kind}}, "required": ["type"]},
        "then": {"required": list(REQUIRED_PARAMETER[kind]), "properties": properties},
    }


def _change() -> dict[str, Any]:
    properties = {
        "parameter": TEXT,
        "old": SCALAR_OR_NULL,
        "new": SCALAR_OR_NULL,
        "source": TEXT,
        "reason": TEXT,
    }
    return _object(CHANGE, properties, required=list(CHANGE))


def _constraint() -> dict[str, Any]:
    return _object(CONSTRAINT, {"expression": EXPRESSION, "message": SOME_TEXT}, required=list(CONSTRAINT))


def _object(
    descriptions: Mapping[str, str], properties: Mapping[str, Mapping[str, Any]], *, required: list[str]
) -> dict[str, Any]:
    """An object schema whose properties carry the descriptions of `keys`, in their order."""
    return {
        "type": "object",
        "required": required,
        "properties": {key: {"description": text, **properties[key]} for key, text in descriptions.items()},
    }
