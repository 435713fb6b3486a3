"""What a model answers when it is asked for settings: the schema, made from the search space, and how to read it.

Changes are relative to the base that the digest shows. Nothing that a model says is clamped, rounded into range or
filled in silently: what is wrong stays as it is, for the checker to refuse and for the repair turn to name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from agent.errors import ProposalError
from agent.records import Proposal
from agent.reference import ExpressionError, Parameter, Reference
from agent.reference.keys import listed
from agent.reference.model import show
from agent.roles import schemas
from agent.roles.answers import Change, SuggestedCandidate, Suggestion
from agent.roles.digest import base_values
from agent.roles.foreign import Hide, one_line, record_line
from agent.roles.schemas import Schema
from agent.roles.situation import Situation
from trainers.contract import Value

REASON_CHARACTERS = 300
WORDS = {"float": "number", "int": "integer", "bool": "boolean"}
"""A parameter's type in JSON Schema."""


def answer_schema(reference: Reference, count: int) -> Schema:
    """JSON Schema of {diagnosis, candidates: [{changes: [change], expected_effect, confidence}]}.

    A change is one of several closed objects: one for the names of each numeric or boolean type, one for each
    categorical parameter with its choices. Only tunable parameters occur. Every object is closed and requires all it
    has, and no bound is in it but in words: Anthropic and OpenAI refuse or drop what is looser or tighter.
    Raises ProposalError where no parameter is tuned.
    """
    tunable = [reference.parameters[name] for name in reference.tunable()]
    if not tunable:
        raise ProposalError("no parameter of the reference is tuned (tune: false); there is nothing to propose")
    changes = []
    for kind, word in WORDS.items():
        names = [parameter.name for parameter in tunable if parameter.type == kind]
        if names:
            value = {"type": word, "description": "Within the parameter's range, as the data shows it."}
            changes.append(_change(names, value))
    changes += [_change([p.name], _choice(p)) for p in tunable if p.type == "categorical"]
    candidate = schemas.closed(
        changes=schemas.array({"anyOf": changes}, "Every parameter that differs from the base, each once."),
        expected_effect=schemas.text("What the changes should do to the objective, and how much."),
        confidence={"type": "number", "description": "From 0 to 1: that this beats the incumbent."},
    )
    return schemas.closed(
        diagnosis=schemas.text("What the history says, in a few sentences with its numbers."),
        candidates=schemas.array(candidate, f"Exactly {count}, each different; the best first."),
    )


def unusable(answer: Suggestion) -> list[str]:
    """Why nothing can be made of an answer that fits the schema: no candidate, or numbers that JSON does not have."""
    if not answer.candidates:
        return ["candidates is empty"]
    found = []
    for position, candidate in enumerate(answer.candidates):
        numbers = {f"changes[{k}].value": change.value for k, change in enumerate(candidate.changes)}
        for where, value in {**numbers, "confidence": candidate.confidence}.items():
            if isinstance(value, float) and not math.isfinite(value):
                found.append(f"candidates[{position}].{where} is {value}: must be a finite number")
    return found


def proposals(
    answer: Suggestion,
    situation: Situation,
    *,
    source: str,
    calls: Sequence[str],
    prompt_sha256: str,
    model: str,
    hide: Hide = str,
) -> list[Proposal]:
    """One proposal for each candidate of an answer that fits the schema, in its order.

    values: the base with the changes in it, less what of the base the changes make inactive; what they make active
    and do not set has the reference's present value (named in details["activated"]). A change of an inactive
    parameter, or to a value out of range, stays for the checker to refuse.
    details, all JSON: changes, expected_effect, confidence, activated, problems (findings that the values alone do
    not show), calls, prompt_sha256, model. hide: long reasons are cut between the names that it finds.
    """
    record = {"calls": list(calls), "prompt_sha256": prompt_sha256, "model": model}
    return [_proposal(candidate, situation, source, record, hide) for candidate in answer.candidates]


def _proposal(
    candidate: SuggestedCandidate, situation: Situation, source: str, record: Mapping[str, object], hide: Hide
) -> Proposal:
    reference = situation.reference
    base = {name: _settled(reference.parameters[name], value) for name, value in base_values(situation).items()}
    changes = {change.parameter: change for change in candidate.changes}
    to = {name: _settled(reference.parameters[name], change.value) for name, change in changes.items()}
    values, activated = _applied(reference, base, to)
    confidence = candidate.confidence
    problems = _problems(candidate.changes, base, to)
    if not 0 <= confidence <= 1:
        problems.append(f"confidence = {show(confidence)}: must be from 0 to 1")
    reasons = [f"{name}: {said}" for name, change in changes.items() if (said := one_line(change.reason))]
    details: dict[str, object] = {
        "changes": [
            {
                "parameter": name,
                "from": base.get(name),
                "to": change.value,
                "reason": record_line(change.reason, REASON_CHARACTERS, hide),
            }
            for name, change in changes.items()
        ],
        "expected_effect": record_line(candidate.expected_effect, REASON_CHARACTERS, hide),
        "confidence": confidence,
        **({"activated": activated} if activated else {}),
        **({"problems": problems} if problems else {}),
        **record,
    }
    reason = one_line("; ".join(reasons), 3 * REASON_CHARACTERS) or "the model gave no reason"
    return Proposal(values=values, source=source, reason=reason, details=details)


def _settled(parameter: Parameter, value: Value) -> Value:
    """A value inside the domain in its canonical form, in which settings are compared; any other as it came."""
    return value if parameter.refusal(value) else parameter.canonical(value)


def _applied(
    reference: Reference, base: Mapping[str, Value], to: dict[str, Value]
) -> tuple[dict[str, Value], dict[str, Value]]:
    """(values, those of them that became active without being set)."""
    wanted = {**base, **to}
    try:
        effective = reference.effective(wanted)
    except ExpressionError:  # a condition that these values break: the checker says which
        return wanted, {}
    tunable = reference.tunable()
    values = {name: wanted.get(name, effective.get(name)) for name in tunable if name in effective or name in to}
    activated = {name: effective[name] for name in values if name not in wanted}
    known = {name: _settled(reference.parameters[name], value) for name, value in values.items() if value is not None}
    return known, activated


def _problems(changes: Sequence[Change], base: Mapping[str, Value], to: Mapping[str, Value]) -> list[str]:
    """What the resulting values do not show: changes that contradict each other or change nothing."""
    if not changes:
        return ["changes is empty: the candidate is the base itself"]
    asked: dict[str, list[object]] = {}
    for change in changes:
        asked.setdefault(change.parameter, []).append(change.value)
    found = []
    for name, values in asked.items():
        if len(values) > 1:
            found.append(f"{name} is changed {len(values)} times ({listed(map(show, values[:5]))}); change it once")
        elif name in base and (type(base[name]), base[name]) == (type(to[name]), to[name]):
            found.append(f"{name} = {show(values[0])} is already in the base; leave it out or change it")
    return found


def _change(names: Sequence[str], value: Schema) -> Schema:
    reason = schemas.text("Why, with the numbers that speak for it; one sentence.")
    return schemas.closed(parameter=schemas.one_of(names), value=value, reason=reason)


def _choice(parameter: Parameter) -> Schema:
    """The choices; one form for each JSON type among them, because OpenAI wants every enum to have a type."""
    kinds: dict[str, list[Value]] = {}
    for choice in parameter.choices:
        kinds.setdefault(_json_type(choice), []).append(choice)
    forms = [{"type": kind, "enum": choices} for kind, choices in kinds.items()]
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def _json_type(value: Value) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "integer" if isinstance(value, int) else "number"
