"""Checking the search space of a description: parameters in the reference's format, and constraints.

What is checked here is what a person mistypes. The reference made from it is checked again, in full, by whoever
loads it.
"""

from __future__ import annotations

import ast
import keyword
import math
import re
from collections.abc import Collection
from typing import Any

from trainers.command.findings import Findings, Section, is_number, is_whole
from trainers.command.placeholders import RUN

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
TYPES = ("float", "int", "categorical", "bool")
IMPACTS = ("small", "medium", "radical")
FUNCTIONS = ("abs", "max", "min")
RESERVED = frozenset({*RUN, *FUNCTIONS, "resume_from", *(word.lower() for word in keyword.kwlist)})
"""Names with another meaning in commands, RT_ variables or expressions."""
MAX_PARAMETERS = 500

COMMON = ("type", "default", "description", "group", "impact", "condition", "tune", "unit")
KEYS = {
    "float": ("type", "low", "high", "log", "step", *COMMON[1:]),
    "int": ("type", "low", "high", "log", "step", *COMMON[1:]),
    "categorical": ("type", "choices", *COMMON[1:]),
    "bool": COMMON,
}
REQUIRED = {
    "float": ("low", "high", "default"),
    "int": ("low", "high", "default"),
    "categorical": ("choices", "default"),
    "bool": ("default",),
}


def read_parameters(top: Section) -> dict[str, dict[str, Any]]:
    """The parameters, each complete in the reference's format; problems are noted."""
    found: dict[str, dict[str, Any]] = {}
    raw = top.mapping("parameters")
    if not raw and isinstance(top.raw.get("parameters") or {}, dict):
        top.add("parameters", "", "missing; name at least one parameter that may be varied")
    if len(raw) > MAX_PARAMETERS:
        top.add("parameters", len(raw), f"more than {MAX_PARAMETERS} parameters")
    for name, value in raw.items():
        where = top.path("parameters") + "." + (name if name.isprintable() else repr(name))
        if refusal := name_refusal(name):
            top.findings.add(where, "", refusal)
        if not isinstance(value, dict):
            top.findings.add(where, value, "must be a mapping with type, default and a range or choices")
        elif value.get("type") not in TYPES:
            shown = value.get("type", "")
            top.findings.add(f"{where}.type", shown, f"must be one of {', '.join(TYPES)}")
        else:
            found[name] = _parameter(name, Section(value, where, KEYS[value["type"]], top.findings), raw)
    return found


def name_refusal(name: str) -> str:
    """Why `name` cannot name a parameter; empty where it can."""
    if not NAME.fullmatch(name):
        return "a parameter's name has 1 to 100 ASCII letters, digits and underscores and begins with no digit"
    if name.lower() in RESERVED:
        return (
            f"this name has another meaning; choose another, e.g. {name}_value (taken: {', '.join(sorted(RESERVED))})"
        )
    return ""


def _parameter(name: str, section: Section, names: Collection[str]) -> dict[str, Any]:
    before = len(section.findings.problems)
    kind = section.raw["type"]
    section.missing(*REQUIRED[kind])
    for key in ("log", "tune"):
        if not isinstance(section.raw.get(key, False), bool):
            section.add(key, section.raw[key], "must be true or false")
    if section.has("impact"):
        section.one_of("impact", IMPACTS)
    for key in ("description", "group", "unit"):
        section.text(key)
    if section.has("condition"):
        check_expression(section.text("condition"), section.path("condition"), names, section.findings)
    if len(section.findings.problems) == before:
        {"float": _check_range, "int": _check_range, "categorical": _check_choices, "bool": _check_bool}[kind](
            section
        )
    kept = {key: value for key, value in section.raw.items() if value is not None}
    if kind == "float":
        numbers = ("low", "high", "step", "default")
        kept |= {key: float(kept[key]) for key in numbers if is_number(kept.get(key))}
    return {"type": kind, **kept, "description": kept.get("description") or name.replace("_", " ").strip() or name}


def _check_range(section: Section) -> None:
    raw = section.raw
    fits, noun = (is_whole, "a whole number") if raw["type"] == "int" else (is_number, "a number")
    wrong = [key for key in ("low", "high", "step", "default") if key in raw and not fits(raw[key])]
    for key in wrong:
        section.add(key, raw[key], f"must be {noun}")
    if wrong:
        return
    low, high, step, default = raw["low"], raw["high"], raw.get("step"), raw["default"]
    if low >= high:
        section.add("low", low, f"must be below high = {high}; the range is empty")
        return
    if raw.get("log") and low <= 0:
        section.add("low", low, "must be above 0 with log: true")
    if raw.get("log") and step is not None:
        section.add("step", step, "has no meaning with log: true; remove one of them")
    if step is not None and not 0 < step <= high - low:
        section.add("step", step, f"must be above 0 and at most high - low = {high - low}")
    elif step is not None and not math.isclose((default - low) / step, round((default - low) / step), abs_tol=1e-9):
        section.add("default", default, f"must be on the grid low + k step, from {low} in steps of {step}")
    if not low <= default <= high:
        section.add("default", default, f"must be from {low} to {high}")


def _check_choices(section: Section) -> None:
    choices, default = section.raw["choices"], section.raw["default"]
    if not isinstance(choices, list) or not choices:
        section.add("choices", choices, "must be a list of values, such as [sgd, adam]")
        return
    for position, choice in enumerate(choices):
        where = f"{section.path('choices')}[{position}]"
        if not isinstance(choice, str | bool | int | float) or (isinstance(choice, str) and "\0" in choice):
            section.findings.add(where, choice, "must be a text, a number, true or false")
        elif any(_same(choice, other) for other in choices[:position]):
            section.findings.add(where, choice, "stands twice")
    if not any(_same(default, choice) for choice in choices):
        section.add("default", default, f"must be one of the choices: {', '.join(map(str, choices))}")


def _check_bool(section: Section) -> None:
    if not isinstance(section.raw["default"], bool):
        section.add("default", section.raw["default"], "must be true or false")


def _same(left: object, right: object) -> bool:
    """Equality as JSON has it: true is not 1."""
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def read_constraints(top: Section, names: Collection[str]) -> tuple[dict[str, str], ...]:
    """The constraints as {expression, message}; a plain text is an expression."""
    raw = top.raw.get("constraints")
    if raw is None:
        return ()
    if not isinstance(raw, list):
        top.add("constraints", raw, 'must be a list, such as ["width % heads == 0"]')
        return ()
    found = []
    for position, item in enumerate(raw):
        where = f"{top.path('constraints')}[{position}]"
        section = Section(
            item if isinstance(item, dict) else {"expression": item}, where, ("expression", "message"), top.findings
        )
        section.missing("expression")
        if expression := section.text("expression"):
            check_expression(expression, section.path("expression"), names, top.findings)
            found.append({"expression": expression, "message": section.text("message", f"needs {expression}")})
    return tuple(found)


def check_expression(text: str, where: str, names: Collection[str], findings: Findings) -> None:
    """Note text that is no expression, or reads something else than parameters."""
    if not text:
        return
    try:
        tree = ast.parse(text.strip(), mode="eval") if len(text) <= 500 else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    if tree is None:
        findings.add(where, text, "is not an expression of at most 500 characters, such as optimizer == 'sgd'")
        return
    unknown = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - {*names, *FUNCTIONS}
    if unknown:
        message = (
            f"{', '.join(sorted(unknown))}: not a parameter (a text needs quotes); parameters: {', '.join(names)}"
        )
        findings.add(where, text, message)
