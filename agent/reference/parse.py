"""From JSON to a Reference: every problem of a file in one go, or the checked record."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from agent.errors import InvalidReference, Problem
from agent.reference.domain import ABSENT, Findings, examine_literals, examine_parameter
from agent.reference.expression import Expression, ExpressionError
from agent.reference.jsontext import read_json, sanity, write_json
from agent.reference.keys import (
    CHANGE,
    CONSTRAINT,
    DIRECTIONS,
    HEADER,
    MAX_CONSTRAINTS,
    MAX_PARAMETERS,
    OBJECTIVE,
    REQUIRED_HEADER,
    SCHEMA_VERSION,
    listed,
)
from agent.reference.model import Constraint, Objective, Parameter, RecordedChange, Reference, is_number

if TYPE_CHECKING:
    from pathlib import Path

REMEDY = "Edit these places, or restore an earlier version of the reference."
HEX_DIGITS = frozenset("0123456789abcdef")


def check_reference(raw: object, *, file: str) -> list[Problem]:
    """Every problem of a reference's JSON value; empty where `parse_reference` accepts it."""
    return _examine(raw, file)[0]


def parse_reference(raw: object, *, file: str) -> Reference:
    """The checked record of a reference's JSON value. Raises InvalidReference with every problem."""
    problems, reference = _examine(raw, file)
    if problems or reference is None:
        raise InvalidReference(problems, REMEDY)
    return reference


def load_reference(path: Path) -> Reference:
    """Read and check a file. Raises InvalidReference: missing, unreadable, larger than 4 MiB, not UTF-8, not JSON
    (with line and column), or with any problem that `check_reference` finds."""
    return parse_reference(read_json(path), file=str(path))


def _examine(raw: object, file: str) -> tuple[list[Problem], Reference | None]:
    findings = Findings(file)
    for where, value, message in sanity(raw):
        findings.add(where or "file", value, message)
    if not isinstance(raw, dict):
        findings.add("file", raw, f"must be a JSON object with the keys {listed(HEADER)}")
        return findings.problems, None
    header = _header(raw, findings)
    parameters, sound = _parameters(raw, findings)
    names = [name for name in _object(raw, "parameters") if isinstance(name, str)]
    constraints = _constraints(raw, names[:MAX_PARAMETERS], findings)
    for name, parameter in parameters.items():
        if parameter.condition is not None:
            examine_literals(parameter.condition, f"parameters.{name}.condition", parameters, findings)
    for index, constraint in constraints.items():
        examine_literals(constraint.expression, f"constraints[{index}].expression", parameters, findings)
    order = _order(parameters, findings)
    if not sound or order is None:
        return findings.problems, None
    reference = Reference(
        text=write_json(raw) if not findings.problems else "",
        parameters=parameters,
        constraints=tuple(constraints.values()),
        order=order,
        **header,
    )
    _evaluate(reference, list(constraints), findings)
    return findings.problems, None if findings.problems else reference


def _header(raw: Mapping[str, Any], findings: Findings) -> dict[str, Any]:
    findings.misspelled_keys(raw, HEADER, "")
    for key in REQUIRED_HEADER:
        if key not in raw:
            findings.add(key, ABSENT, f"missing; a reference needs {listed(REQUIRED_HEADER)}")
    version = raw.get("schema_version", SCHEMA_VERSION)
    if isinstance(version, bool) or version != SCHEMA_VERSION or not isinstance(version, int):
        findings.add("schema_version", version, f"this Roundtable reads version {SCHEMA_VERSION}")
    task = raw.get("task")
    if task is not None and (not isinstance(task, str) or not task.strip()):
        findings.add("task", task, "must be a text that is not blank, or null")
    sha = raw.get("parent_sha256")
    if sha is not None and not (isinstance(sha, str) and len(sha) == 64 and HEX_DIGITS.issuperset(sha)):
        findings.add("parent_sha256", sha, "must be 64 hexadecimal digits (lower case), or null")
    return {
        "trainer": findings.text(raw, "trainer", "", blank=False),
        "task": task,
        "round": _count(raw, "round", 0, findings),
        "version": _count(raw, "version", 1, findings),
        "parent_sha256": sha,
        "source": findings.text(raw, "source", ""),
        "objective": _objective(raw, findings),
        "changes": _changes(raw, findings),
    }


def _count(raw: Mapping[str, Any], key: str, low: int, findings: Findings) -> int:
    value = raw.get(key, low)
    if isinstance(value, int) and is_number(value) and value >= low:
        return value
    findings.add(key, value, f"must be an integer from {low}")
    return low


def _objective(raw: Mapping[str, Any], findings: Findings) -> Objective:
    objective = _object(raw, "objective")
    if "objective" in raw and raw["objective"] is not objective:
        findings.add("objective", raw["objective"], f"must be an object with the keys {listed(OBJECTIVE)}")
    elif "objective" in raw:
        findings.misspelled_keys(objective, OBJECTIVE, "objective")
        if "metric" not in objective:
            findings.add("objective.metric", ABSENT, "missing; the name of a metric in the validation summary")
        if findings.one_of(objective, "direction", "objective", DIRECTIONS):
            metric = findings.text(objective, "metric", "objective", blank=False)
            return Objective(metric=metric, direction=objective["direction"])
    return Objective(metric="", direction="maximize")


def _changes(raw: Mapping[str, Any], findings: Findings) -> tuple[RecordedChange, ...]:
    found = []
    for index, item in _items(raw, "changes", CHANGE, findings):
        where = f"changes[{index}]"
        for key in CHANGE:
            if key not in item:
                findings.add(f"{where}.{key}", ABSENT, f"missing; a change has {listed(CHANGE)}")
        for key in ("old", "new"):
            value = item.get(key)
            if value is not None and not isinstance(value, str | bool) and not is_number(value):
                findings.add(f"{where}.{key}", value, "must be a text, a number, true, false or null")
        texts = {key: findings.text(item, key, where) for key in ("parameter", "source", "reason")}
        found.append(RecordedChange(old=item.get("old"), new=item.get("new"), **texts))
    return tuple(found)


def _parameters(raw: Mapping[str, Any], findings: Findings) -> tuple[dict[str, Parameter], bool]:
    """The usable parameters, and whether that is all of them."""
    if "parameters" not in raw:
        return {}, False
    entries = raw["parameters"]
    if not isinstance(entries, dict) or not entries:
        findings.add("parameters", entries, "must be an object: name -> parameter, with one parameter or more")
        return {}, False
    if len(entries) > MAX_PARAMETERS:
        findings.add("parameters", ABSENT, f"has {len(entries)} parameters; at most {MAX_PARAMETERS} are allowed")
        return {}, False
    names = [name for name in entries if isinstance(name, str)]
    found = {name: examine_parameter(name, entries[name], names, findings) for name in names}
    usable = {name: parameter for name, parameter in found.items() if parameter is not None}
    return usable, len(usable) == len(entries)


def _constraints(raw: Mapping[str, Any], names: list[str], findings: Findings) -> dict[int, Constraint]:
    """The usable constraints by their index in the file."""
    found: dict[int, Constraint] = {}
    items = _items(raw, "constraints", CONSTRAINT, findings)
    if len(items) > MAX_CONSTRAINTS:
        findings.add("constraints", ABSENT, f"has {len(items)} entries; at most {MAX_CONSTRAINTS} are allowed")
        return found
    for index, item in items:
        where = f"constraints[{index}]"
        if "message" not in item:
            findings.add(f"{where}.message", ABSENT, "missing; say what is wrong when the constraint does not hold")
        message = findings.text(item, "message", where, blank=False)
        if "expression" not in item:
            findings.add(f"{where}.expression", ABSENT, "missing; such as d_model % n_heads == 0")
        elif expression := findings.expression(item["expression"], f"{where}.expression", names):
            found[index] = Constraint(expression=expression, message=message)
    return found


def _order(parameters: Mapping[str, Parameter], findings: Findings) -> tuple[str, ...] | None:
    """Names with parents first; None, and a problem for each cycle, where conditions run in circles."""
    parents = {n: p.condition.names if p.condition else frozenset[str]() for n, p in parameters.items()}
    for name, needed in parents.items():
        if name in needed:
            findings.add(f"parameters.{name}.condition", ABSENT, f"reads {name} itself; name other parameters")
    if any(name in needed for name, needed in parents.items()):
        return None
    cyclic = False
    while True:
        try:
            order = tuple(TopologicalSorter(parents).static_order())
        except CycleError as error:
            cycle: list[str] = error.args[1]
            circle = " -> ".join(reversed(cycle))
            findings.add(f"parameters.{cycle[0]}.condition", ABSENT, f"conditions run in a circle: {circle}")
            parents[cycle[0]] = frozenset()
            cyclic = True
        else:
            return None if cyclic else order


def _evaluate(reference: Reference, indices: list[int], findings: Findings) -> None:
    """Report conditions that cannot be evaluated, and constraints that the effective values violate."""
    try:
        effective = reference.effective()
    except ExpressionError as error:
        findings.add(f"parameters.{reference.condition_owner(error)}.condition", ABSENT, str(error))
        return
    for position, message in reference.violations(effective):
        expression: Expression = reference.constraints[position].expression
        findings.add(f"constraints[{indices[position]}]", expression.text, message)


def _object(raw: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = raw.get(key)
    return value if isinstance(value, dict) else {}


def _items(
    raw: Mapping[str, Any], key: str, known: Mapping[str, str], findings: Findings
) -> list[tuple[int, dict[str, Any]]]:
    """The objects of the list raw[key] with their indices; whatever else stands there is reported."""
    value = raw.get(key, [])
    if not isinstance(value, list):
        findings.add(key, value, f"must be a list of objects with the keys {listed(known)}")
        return []
    found = []
    for index, item in enumerate(value):
        where = f"{key}[{index}]"
        if isinstance(item, dict):
            findings.misspelled_keys(item, known, where)
            found.append((index, item))
        else:
            findings.add(where, item, f"must be an object with the keys {listed(known)}")
    return found
