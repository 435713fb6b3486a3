"""Every key of a reference with its meaning: the one text behind messages, JSON Schema and documents."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Iterable

from agent.reference.expression import FUNCTIONS

SCHEMA_VERSION = 1
TYPES = ("float", "int", "categorical", "bool")
IMPACTS = ("small", "medium", "radical")
DIRECTIONS = ("minimize", "maximize")

HEADER = {
    "schema_version": f"Version of this format; {SCHEMA_VERSION}.",
    "trainer": "Name of the trainer that obeys this reference.",
    "task": "The study's task; null in a reference that belongs to no study yet.",
    "round": "The round that trains with this version; 0 in a reference that belongs to no study yet.",
    "version": "Counts the versions of one round's reference, from 1.",
    "parent_sha256": "SHA-256 of the canonical text of the version before this one; null for the first.",
    "source": "Who made this version: shipped, person, or the proposer's name.",
    "objective": "What is tuned for.",
    "changes": "What this version changed against its parent; the parent's own changes are in the history.",
    "parameters": "Name -> parameter, in the order in which people and agents read them.",
    "constraints": "Rules across parameters; each must hold for the effective values.",
}
REQUIRED_HEADER = ("schema_version", "trainer", "objective", "parameters")

OBJECTIVE = {
    "metric": "Name of the metric in the validation summary.",
    "direction": "Whether smaller or larger is better.",
}
CHANGE = {
    "parameter": "Name of the parameter.",
    "old": "Effective value before; null where the parameter was inactive.",
    "new": "Effective value after; null where the parameter became inactive.",
    "source": "Who proposed it.",
    "reason": "Why.",
}
CONSTRAINT = {
    "expression": "Expression over parameter names that must be true, such as d_model % n_heads == 0. "
    "It does not apply while one of its parameters is inactive.",
    "message": "What a person or agent is told when it does not hold.",
}
PARAMETER = {
    "type": "Type of the value.",
    "low": "Smallest allowed value (float, int).",
    "high": "Largest allowed value (float, int).",
    "log": "true: varies over orders of magnitude and is searched on a log scale (float, int; needs low > 0).",
    "step": "Allowed values are low, low + step, low + 2 step, ... (float, int; not together with log).",
    "choices": "Allowed values (categorical): texts, numbers, true, false.",
    "default": "The value used while there is no active_value.",
    "active_value": "The value used instead of the default; may be absent.",
    "description": "What the parameter does, for people and agents.",
    "group": "Free text that groups parameters in tables and prompts.",
    "impact": "How deep a change goes: small (a setting), medium (architecture), radical (redesign).",
    "condition": "Expression over other parameters; while it is false the parameter is inactive and has no effect.",
    "tune": "false: documented and editable by hand, but never proposed.",
    "unit": "Unit of the value.",
    "data_note": "What this study's data takes away from the parameter, and why; written by Roundtable.",
}
REQUIRED_PARAMETER = {
    "float": ("type", "low", "high", "default", "description"),
    "int": ("type", "low", "high", "default", "description"),
    "categorical": ("type", "choices", "default", "description"),
    "bool": ("type", "default", "description"),
}
NUMBER_KEYS = ("low", "high", "log", "step")
FOREIGN_KEYS = {
    "float": ("choices",),
    "int": ("choices",),
    "categorical": NUMBER_KEYS,
    "bool": (*NUMBER_KEYS, "choices"),
}
"""Keys that mean nothing for a type; refused, because a key without effect misleads."""

OTHER_TOOLS_KEYS = {
    "active": "active_value",
    "current": "active_value",
    "value": "active_value",
    "lower": "low",
    "min": "low",
    "upper": "high",
    "max": "high",
    "options": "choices",
    "values": "choices",
    "fixed": "tune",
    "frozen": "tune",
    "when": "condition",
}
"""What other tools call a parameter's keys: taken for a typo too, because kept they would silently do nothing."""

MAX_PARAMETERS = 1000
MAX_CHOICES = 1000
MAX_CONSTRAINTS = 1000
"""Far beyond any real space; they keep the checks of a hostile file to seconds, its messages to megabytes."""

NAME_PATTERN = "[A-Za-z_][A-Za-z0-9_]{0,99}"
RESERVED = tuple(sorted({*keyword.kwlist, *FUNCTIONS}))


def name_refusal(name: str) -> str | None:
    """Why `name` cannot name a parameter, or None. Names are used in expressions, dataclasses and environments."""
    if not re.fullmatch(NAME_PATTERN, name):
        return "a name has 1 to 100 ASCII letters, digits and underscores and does not begin with a digit"
    if name in RESERVED:
        return f"this name is reserved, as are {', '.join(RESERVED)}"
    return None


def misspelled(key: str, known: Collection[str]) -> str | None:
    """The known key that `key` most likely misspells, or None where it is a note of the person's own.

    An unknown key is kept, so a mistyped `active_value` would silently do nothing. Capitals, separators and
    one slip (two in long keys) are therefore taken for a typo. Keys that begin with x_ are never.
    """
    if key.startswith("x_"):
        return None
    folded = _fold(key)
    if known is PARAMETER and folded in OTHER_TOOLS_KEYS:
        return OTHER_TOOLS_KEYS[folded]
    return next((k for k in known if _distance(folded, _fold(k)) <= (2 if len(k) > 6 else 1)), None)


def listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _fold(key: str) -> str:
    return key.lower().replace("_", "").replace("-", "").replace(" ", "")


def _distance(one: str, other: str) -> int:
    """Edits between two words (optimal string alignment: insert, delete, substitute, swap neighbours); at most 3."""
    if abs(len(one) - len(other)) > 2:
        return 3
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        older, before, row = before, row, [i]
        for j, b in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return min(row[-1], 3)
