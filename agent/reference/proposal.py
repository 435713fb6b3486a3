"""The checks of proposed values: whatever an agent, a proposer or a person hands in is judged here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.errors import Problem
from agent.reference.domain import ABSENT, Findings
from agent.reference.expression import ExpressionError, Value
from agent.reference.jsontext import join
from agent.reference.keys import listed, misspelled
from agent.reference.model import Parameter, Reference, show


def check_values(
    reference: Reference, values: object, *, file: str = "proposal", complete: bool = False
) -> list[Problem]:
    """Every problem of proposed values, which count over the reference's own; empty where they may be trained.

    values: a mapping name -> value; nothing about it is trusted. complete: every tunable parameter that is active
    must be given. Refused: unknown names, wrong types, values out of range or off the grid, values for inactive
    parameters, other values for parameters with tune false, and effective values that violate a constraint.
    """
    findings = Findings(file)
    if not isinstance(values, Mapping):
        findings.add("values", values, f"must be an object: name -> value, of {listed(reference.parameters)}")
        return findings.problems
    accepted: dict[str, Value] = {}
    for name, value in values.items():
        message = _refusal(reference, name, value)
        if message:
            findings.add(join("", name), value, message)
        else:
            accepted[name] = value
    # What hangs on a refused value cannot be judged yet: saying more about it would mislead.
    unsure = _dependents(reference, [name for name in values if name not in accepted])
    try:
        effective = reference.effective(accepted)
    except ExpressionError as error:
        findings.add(f"parameters.{reference.condition_owner(error)}.condition", ABSENT, str(error))
        return findings.problems
    for name in accepted:
        if name not in effective and name not in unsure:
            findings.add(name, values[name], _inactive(reference.parameters[name], effective))
    for index, message in reference.violations(effective):
        expression = reference.constraints[index].expression
        if not expression.names & unsure:
            findings.add(f"constraints[{index}]", expression.text, message)
    if complete:
        for name in reference.tunable():
            if name in effective and name not in values:
                findings.add(name, ABSENT, f"missing; {reference.parameters[name].allowed}")
    return findings.problems


def _refusal(reference: Reference, name: object, value: object) -> str | None:
    if not isinstance(name, str) or name not in reference.parameters:
        meant = misspelled(name, reference.parameters) if isinstance(name, str) else None
        hint = f"did you mean {meant}? " if meant else ""
        return f"unknown parameter; {hint}Parameters: {listed(reference.parameters)}"
    parameter = reference.parameters[name]
    if message := parameter.refusal(value):
        return message
    assert isinstance(value, bool | int | float | str)
    if not parameter.tune and parameter.canonical(value) != parameter.canonical(parameter.value):
        why = f", because {parameter.data_note}" if parameter.data_note else ""
        return f"is not tuned (tune: false) and stays {show(parameter.value)}{why}; leave it out"
    return None


def _dependents(reference: Reference, names: Iterable[object]) -> set[object]:
    """`names` and every parameter whose activity hangs on one of them."""
    found = set(names)
    for name in reference.order:
        condition = reference.parameters[name].condition
        if condition is not None and condition.names & found:
            found.add(name)
    return found


def _inactive(parameter: Parameter, effective: Mapping[str, Value]) -> str:
    assert parameter.condition is not None, "only a condition makes a parameter inactive"
    parents = listed(
        f"{name} = {show(effective[name])}" if name in effective else f"{name} is inactive"
        for name in sorted(parameter.condition.names)
    )
    return f"has no effect unless {parameter.condition.text} ({parents}); leave it out"
