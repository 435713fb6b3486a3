"""The checker: every proposal against the rules. It judges and explains; it alters nothing.

Rules: names, types, ranges and grids, conditions, constraints, completeness, and duplicates of what was tried or of
one another (B5).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.errors import Problem
from agent.records import Proposal
from agent.reference import Reference, check_values, config_key
from agent.roles.autotuner import one_line
from trainers.contract import Value
from trainers.layout import candidate_name


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the rules say about one value."""

    value: Value
    valid: bool
    reason: str
    """What is allowed, where it is not valid; else why it is."""


@dataclass(frozen=True, kw_only=True)
class CheckedProposal:
    """A proposal, as it came, and what the rules say."""

    name: str
    """By its place among the proposals: c00, c01, ..."""
    proposal: Proposal
    key: str | None
    """None where the values are not fit to have one."""
    parameters: Mapping[str, Judgement]
    findings: Sequence[str]
    """Why it is refused, one line each; empty where it is valid."""

    @property
    def valid(self) -> bool:
        return not self.findings


@dataclass(frozen=True, kw_only=True)
class Checked:
    """The checker's result: checked_hyperparameters.json."""

    candidates: Sequence[CheckedProposal]

    @property
    def valid(self) -> list[CheckedProposal]:
        return [candidate for candidate in self.candidates if candidate.valid]

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": 1,
            "candidates": {
                candidate.name: {
                    "valid": candidate.valid,
                    "parameters": {
                        name: {"value": judged.value, "valid": judged.valid, "reason": judged.reason}
                        for name, judged in candidate.parameters.items()
                    },
                    "findings": list(candidate.findings),
                }
                for candidate in self.candidates
            },
        }


def check(reference: Reference, proposals: Sequence[Proposal], *, taken: Collection[str]) -> Checked:
    """Judge proposals in their order; of two that are the same the first is kept.

    taken: keys of what was tried; where it maps key -> place ("round 2 c01"), findings name the place.
    """
    seen: dict[str, str] = {}
    candidates = []
    for position, proposal in enumerate(proposals):
        name = candidate_name(position)
        problems = check_values(reference, proposal.values, file=name, complete=True)
        findings = [_finding(problem) for problem in problems]
        key = None
        if not problems:
            key = config_key(reference, proposal.values)
            if key in taken:
                place = taken[key] if isinstance(taken, Mapping) else "an earlier round"
                findings.append(f"the same settings were trained before (key {key}, {place})")
            elif key in seen:
                findings.append(f"the same settings as {seen[key]} of this round (key {key})")
            else:
                seen[key] = name
        candidates.append(
            CheckedProposal(
                name=name,
                proposal=proposal,
                key=key,
                parameters=_judgements(reference, proposal, problems),
                findings=findings,
            )
        )
    return Checked(candidates=candidates)


def input_text(reference: Reference, proposals: Sequence[Proposal]) -> str:
    """What the checker was given: the rules and the proposals."""
    lines = ["# Rules"]
    for name in reference.tunable():
        parameter = reference.parameters[name]
        only = f"; only while {parameter.condition.text}" if parameter.condition is not None else ""
        lines.append(f"- {name}: {parameter.allowed}{only}")
    lines += [f"- {constraint.expression.text}: {constraint.message}" for constraint in reference.constraints]
    lines.append("- nothing that was trained before, and nothing twice")
    for position, proposal in enumerate(proposals):
        lines += ["", f"# {candidate_name(position)} ({proposal.source}: {one_line(proposal.reason)})"]
        lines += [f"- {one_line(name)} = {one_line(_text(value))}" for name, value in proposal.values.items()]
    return "\n".join(lines) + "\n"


def response_text(checked: Checked) -> str:
    """What the checker said, a line a candidate and below it each finding."""
    lines = [f"{len(checked.valid)} of {len(checked.candidates)} proposals are valid"]
    for candidate in checked.candidates:
        lines.append(f"{candidate.name}: {'valid' if candidate.valid else 'refused'}")
        lines += [f"  {one_line(finding)}" for finding in candidate.findings]
    return "\n".join(lines) + "\n"


def _finding(problem: Problem) -> str:
    shown = f" = {problem.value}" if problem.value else ""
    return f"{problem.where}{shown}: {problem.message}"


def _judgements(reference: Reference, proposal: Proposal, problems: Sequence[Problem]) -> dict[str, Judgement]:
    """One for each proposed value; a violated constraint is a finding of the whole, not of a value."""
    by_place = {problem.where: problem.message for problem in problems}
    judged = {}
    for name, value in proposal.values.items():
        message = by_place.get(name)
        parameter = reference.parameters.get(name)
        fits = f"allowed: {parameter.allowed}" if parameter is not None else ""
        judged[name] = Judgement(value=value, valid=message is None, reason=message or fits)
    return judged


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=repr)
