"""The autotuner's two texts: what a proposer sees of a study, and what it answered.

Both are written in every round after the first, whoever proposes: with an optimiser they are the record of what stood
before it, with a language model they are its prompt's content and its reply. Validation values only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agent.acceptance import Incumbent, rank
from agent.records import Objective, Observation, Proposal
from agent.reference import Parameter, Reference
from agent.reference.model import show
from trainers.contract import Value
from trainers.layout import candidate_name

BEST, LAST = 5, 20
FAILURES = 20
MESSAGE_CHARACTERS = 200


def digest(
    reference: Reference,
    history: Sequence[Observation],
    diagnosis: Sequence[Mapping[str, Any]],
    *,
    objective: Objective,
    incumbent: Incumbent | None = None,
) -> str:
    """What a proposer sees: goal, ranges, incumbent, best, last, failures with causes, diagnosis. Deterministic.

    diagnosis: findings of `analyse_round`. incumbent: by default the best complete observation.
    """
    ranked = [observation for observation in rank(history, objective) if observation.value is not None]
    failed = [observation for observation in history if observation.value is None]
    by_settings = [observation for observation in failed if observation.outcome.is_config]
    lost = len(failed) - len(by_settings)
    sections = [
        _section("Goal", [f"{objective.direction} {objective.metric} (validation)"]),
        _section("Parameters", [_parameter(reference, name) for name in reference.parameters]),
        _section("Constraints", [f"{c.expression.text}: {c.message}" for c in reference.constraints]),
        _section("Incumbent", [_incumbent(reference, incumbent, ranked, objective)]),
        _section(f"Best {BEST}", [_observed(reference, o, objective) for o in ranked[:BEST]]),
        _section(f"Last {LAST}", [_observed(reference, o, objective) for o in history[-LAST:]]),
        _section("Settings that failed", [_failure(reference, o) for o in by_settings[-FAILURES:]]),
        _section("Lost to machines", [f"{lost} candidates; they say nothing about their settings"] if lost else []),
        _section("Diagnosis", [one_line(finding.get("text", "")) for finding in diagnosis]),
    ]
    return "\n\n".join(sections) + "\n"


def response(proposals: Sequence[Proposal], diagnosis: Sequence[Mapping[str, Any]]) -> str:
    """What was proposed, as JSON text: the findings it rests on, and each proposal with source and reason."""
    answer = {
        "diagnosis": [finding.get("text", "") for finding in diagnosis],
        "proposals": [
            {
                "name": candidate_name(position),
                "source": proposal.source,
                "reason": proposal.reason,
                "values": dict(proposal.values),
                "details": dict(proposal.details),
            }
            for position, proposal in enumerate(proposals)
        ],
    }
    return json.dumps(answer, indent=2, ensure_ascii=False) + "\n"


def one_line(text: object) -> str:
    """Foreign text (a program's own words) as one shortened line: it must not look like a section of its own."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= MESSAGE_CHARACTERS else line[: MESSAGE_CHARACTERS - 3] + "..."


def _section(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"# {title}", *(f"- {line}" for line in lines or ["none"])])


def _parameter(reference: Reference, name: str) -> str:
    parameter: Parameter = reference.parameters[name]
    parts = [f"{name} = {show(parameter.value)} (default {show(parameter.default)}): {parameter.allowed}"]
    if not parameter.tune:
        parts.append("not tuned, stays as it is")
    if parameter.condition is not None:
        parts.append(f"only while {parameter.condition.text}")
    if parameter.description:
        parts.append(one_line(parameter.description))
    return "; ".join(parts)


def _incumbent(
    reference: Reference, incumbent: Incumbent | None, ranked: Sequence[Observation], objective: Objective
) -> str:
    if incumbent is not None:
        return incumbent.describe()
    complete = [observation for observation in ranked if observation.complete]
    return _observed(reference, complete[0], objective) if complete else "none yet"


def _observed(reference: Reference, observation: Observation, objective: Objective) -> str:
    where = f"round {observation.round} {observation.candidate} ({observation.source or 'unknown'})"
    values = _values(reference, observation.values)
    if observation.value is None:
        return f"{where}: {observation.outcome}; {values}"
    error = "" if observation.standard_error is None else f" ± {observation.standard_error:.2g}"
    rows = "" if observation.complete else f" over only {observation.n} of {observation.rows} rows"
    result = f"{objective.metric} {observation.value:.5g}{error}{rows}"
    return f"{where}: {result}; {values}"


def _failure(reference: Reference, observation: Observation) -> str:
    said = f" ({one_line(observation.message)})" if observation.message.strip() else ""
    cause = f"{observation.outcome}{said}"
    return f"round {observation.round} {observation.candidate}: {cause}; {_values(reference, observation.values)}"


def _values(reference: Reference, values: Mapping[str, Value]) -> str:
    """All but those that are not tuned and stand in the parameters' section as they are."""
    return ", ".join(
        f"{name} = {show(value)}" for name, value in values.items() if not _fixed(reference, name, value)
    )


def _fixed(reference: Reference, name: str, value: Value) -> bool:
    parameter = reference.parameters.get(name)
    return parameter is not None and not parameter.tune and parameter.value == value
