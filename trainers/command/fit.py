"""What of a reference a program described by YAML takes: the names, types and texts that its YAML declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainers.command.description import from_json
from trainers.contract import Value
from trainers.fit import Asked, Fit, Refusal, Space, meant, not_among


def fit(
    space: Space, *, task: str, data: Mapping[str, Value] | None, folds: int, description: str | None = None
) -> Fit:
    """As `trainers.fit` describes; what the data leaves, only the program knows.

    Ranges and numbers may be widened: what has a meaning there, only the program knows too.
    """
    assert description is not None, "a program is known by its description"
    program = from_json(description, name="trainer.json")
    refused = [
        Refusal(parameter=name, message=f"is missing: {program.name} needs it; copy it from its YAML")
        for name in program.parameters
        if name not in space
    ]
    takes_any = "reference" in program.pass_values
    for name, asked in space.items():
        declared = program.parameters.get(name)
        if declared is not None:
            refused += _misfits(name, asked, declared, program.name)
        elif not takes_any:
            hint = f"; did you mean {near}?" if (near := meant(name, program.parameters)) else ""
            message = f"{program.name} never sees it: describe it in the YAML, or remove it{hint}"
            refused.append(Refusal(parameter=name, message=message))
    return Fit(refused=refused)


def _misfits(name: str, asked: Asked, declared: Mapping[str, Any], program: str) -> list[Refusal]:
    if asked.type != declared["type"]:
        message = f"is of type {asked.type}, but {program} declares it as {declared['type']}"
        return [Refusal(parameter=name, message=message)]
    allowed = declared.get("choices", ())
    texts = [choice for choice in allowed if isinstance(choice, str)]
    if not texts:
        return []
    found: dict[str, Refusal] = {}
    for key, value in asked.listed():
        if isinstance(value, str) and value not in texts and value not in found:
            message = f"{program} declares no such choice; {not_among(value, texts)} (or add it in the YAML)"
            found[value] = Refusal(parameter=name, key=key, value=value, message=message)
    return list(found.values())
