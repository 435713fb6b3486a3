"""The checker: every proposal against the rules, then a model's critique. It judges and explains; it alters nothing.

Rules: names, types, ranges and grids, conditions, constraints, completeness, duplicates of what was tried or of one
another (B5), and what was wrong with the answer that a proposal was made of. The critique sees what a model proposed
and the rules let pass; it blocks only with a finding, and a critique that failed is recorded as skipped: it neither
approves nor refuses.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agent.errors import LLMError, Problem
from agent.llm.base import Message, Request
from agent.model_roles import CHECKER
from agent.planning import Plan
from agent.records import Proposal
from agent.reference import Reference, check_values, config_key
from agent.reference.model import show
from agent.roles import schemas
from agent.roles.answers import CheckerVerdicts
from agent.roles.ask import Agents, Hidden
from agent.roles.digest import digest, hidden_value, settings
from agent.roles.foreign import Hide, one_line, quoted, record_line
from agent.roles.situation import Situation
from trainers.contract import Value
from trainers.layout import candidate_name

BY_MODEL = ("llm", "panel", "planner")
"""Sources whose proposals a critique looks at; the Bayesian proposer gives no reasons to judge."""
NO_FINDING = ("", "none", "n a", "na", "no finding", "no findings", "nothing", "ok", "null")
"""Findings, in lower-case letters and digits, that say nothing: such a block does not count."""
DIGEST_CHARACTERS = 16_000
FINDING_CHARACTERS = 400
_ALLOWED = "allowed: "


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
class Finding:
    """Why the critique blocks a candidate. parameter: the one at fault, "" where it is the whole."""

    text: str
    parameter: str = ""

    def __str__(self) -> str:
        return f"critique: {self.parameter}: {self.text}" if self.parameter else f"critique: {self.text}"


@dataclass(frozen=True, kw_only=True)
class Critique:
    """What became of the critique."""

    status: str = "not asked"
    """asked, skipped (it failed or judged nothing: neither approval nor refusal) or not asked."""
    why: str = ""
    """Why it was skipped or not asked, or which of its verdicts do not count or are missing."""
    call: str | None = None
    """Name of the exchange, where there was an answer."""
    findings: Mapping[str, Sequence[Finding]] = field(default_factory=dict)
    """Candidate -> why it is blocked; only those that are."""
    prompt: str = ""
    response: str = ""

    def __post_init__(self) -> None:
        if self.status not in ("asked", "skipped", "not asked"):
            raise ValueError(f"status is {self.status!r}: must be asked, skipped or not asked")

    @property
    def skipped(self) -> str:
        """Why it was skipped, "" where it was not."""
        return self.why if self.status == "skipped" else ""

    def to_json(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "why": self.why,
            "call": self.call,
            "findings": {
                name: [{"finding": finding.text, "parameter": finding.parameter or None} for finding in found]
                for name, found in self.findings.items()
            },
        }


@dataclass(frozen=True, kw_only=True)
class Checked:
    """The checker's result."""

    candidates: Sequence[CheckedProposal]
    critique: Critique = field(default_factory=Critique)

    @property
    def valid(self) -> list[CheckedProposal]:
        return [candidate for candidate in self.candidates if candidate.valid]

    def judged(self) -> dict[str, dict[str, object]]:
        """The file's `candidates`: name -> what the rules say, parameter by parameter, and the findings."""
        return {
            candidate.name: {
                "valid": candidate.valid,
                "parameters": {
                    name: {"value": judged.value, "valid": judged.valid, "reason": judged.reason}
                    for name, judged in candidate.parameters.items()
                },
                "findings": list(candidate.findings),
            }
            for candidate in self.candidates
        }


def check(
    reference: Reference, proposals: Sequence[Proposal], *, taken: Collection[str], plan: Plan | None = None
) -> Checked:
    """Judge proposals in their order; of two that are the same the first is kept.

    taken: keys of what was tried; where it maps key -> place ("round 2 c01"), findings name the place. plan: those
    that were made for its step (details["step"]) are held to what that step may change.
    """
    seen: dict[str, str] = {}
    candidates = []
    for position, proposal in enumerate(proposals):
        name = candidate_name(position)
        problems = check_values(reference, proposal.values, file=name, complete=True)
        findings = [_finding(problem) for problem in problems] + _answer_problems(proposal)
        if plan is not None and "step" in proposal.details:
            findings += plan.outside(reference, proposal)
        key = None
        if not problems:
            key = config_key(reference, proposal.values)
            if key in taken:
                place = taken[key] if isinstance(taken, Mapping) else "an earlier round"
                findings.append(f"the same settings were trained before (key {key}, {place})")
            elif key in seen:
                findings.append(f"the same settings as {seen[key]} of this round (key {key})")
            elif not findings:
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


def critique(agents: Agents, situation: Situation, checked: Checked) -> Critique:
    """Ask a model about the valid candidates that a model proposed.

    Blocked is only what has the verdict "block" with a finding that says something; a missing verdict, "ok" and a
    bare block let a candidate pass; `why` names those that are missing or bare. Without any verdict it is skipped.
    Never raises LLMError: it is what `skipped` says.
    """
    shown = [candidate for candidate in checked.valid if candidate.proposal.source in BY_MODEL]
    if not shown:
        return Critique(why="no valid candidate of a model")
    hide = agents.prompts.hide
    prompt = agents.prompts.render(
        "checker",
        digest=digest(situation, hide=hide, cap=DIGEST_CHARACTERS),
        candidates=[{"name": candidate.name, "lines": _lines(candidate.proposal, hide)} for candidate in shown],
    )
    request = Request(
        role=CHECKER.name,
        system=prompt.system,
        messages=(Message(role="user", text=prompt.user),),
        schema=verdict_schema(situation.reference, [candidate.name for candidate in shown]),
        schema_name="verdicts",
        max_tokens=CHECKER.answer_tokens(),
    )
    text = f"[system]\n{prompt.system}\n\n[user]\n{prompt.user}\n"
    try:
        answer = agents.ask(request)
    except LLMError as error:
        return Critique(status="skipped", why=one_line(f"{type(error).__name__}: {error}", 500), prompt=text)
    findings: dict[str, list[Finding]] = {}
    bare = []
    verdicts = answer.read(CheckerVerdicts).verdicts
    for verdict in verdicts:
        finding = record_line(verdict.finding, FINDING_CHARACTERS, hide)
        if verdict.verdict != "block":
            continue
        if _says_nothing(finding):
            bare.append(verdict.candidate)
            continue
        parameter = verdict.parameter if verdict.parameter in situation.reference.parameters else ""
        findings.setdefault(verdict.candidate, []).append(Finding(text=finding, parameter=parameter))
    judged = {verdict.candidate for verdict in verdicts}
    missing = [candidate.name for candidate in shown if candidate.name not in judged]
    why = [f"blocks without a finding do not count: {', '.join(dict.fromkeys(bare))}"] if bare else []
    why += [f"no verdict for {', '.join(missing)}"] if missing else []
    return Critique(
        status="asked" if judged else "skipped",
        why="; ".join(why),
        call=answer.call,
        findings=findings,
        prompt=text,
        response=answer.text,
    )


def verdict_schema(reference: Reference, names: Sequence[str]) -> dict[str, Any]:
    """JSON Schema of {verdicts: [{candidate, verdict, finding, parameter}]}; closed, everything required."""
    return schemas.verdicts(
        candidate=schemas.one_of(names),
        verdict=schemas.one_of(("ok", "block")),
        finding=schemas.text("The defect and the numbers behind it; empty for ok."),
        parameter=schemas.one_of(dict.fromkeys([*reference.tunable(), "none"])),
    )


def with_critique(checked: Checked, critique: Critique) -> Checked:
    """The result with the critique's findings among those of the candidates that it blocks."""
    return replace(
        checked,
        candidates=[
            _blocked(candidate, critique.findings.get(candidate.name, ())) for candidate in checked.candidates
        ],
        critique=critique,
    )


def with_same_critique(checked: Checked, earlier: Checked) -> Checked:
    """The result with an earlier one's critique; its findings count for the proposals that are still the same."""
    same = {
        now.name
        for now, then in zip(checked.candidates, earlier.candidates, strict=False)
        if (now.name, now.proposal) == (then.name, then.proposal)
    }
    findings = {name: found for name, found in earlier.critique.findings.items() if name in same}
    merged = with_critique(checked, replace(earlier.critique, findings=findings))
    return replace(merged, critique=earlier.critique)


def input_text(reference: Reference, proposals: Sequence[Proposal], critique: Critique | None = None) -> str:
    """What the checker was given: the rules, the proposals, and the critique's prompt where one was asked for."""
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
    if critique is not None and critique.prompt:
        lines += ["", "# Critique", critique.prompt.rstrip("\n")]
    return "\n".join(lines) + "\n"


def response_text(checked: Checked) -> str:
    """What the checker said of each candidate and whose it is, a line, and below it each finding; then what became of
    the critique, which looked at what a model had proposed: a candidate that it blocked may be another's by now."""
    lines = [f"{len(checked.valid)} of {len(checked.candidates)} proposals are valid"]
    for candidate in checked.candidates:
        whose = one_line(_whose(candidate.proposal), FINDING_CHARACTERS)
        lines.append(f"{candidate.name} ({whose}): {'valid' if candidate.valid else 'refused'}")
        lines += [f"  {one_line(finding, FINDING_CHARACTERS)}" for finding in candidate.findings]
    said = checked.critique
    lines.append(f"critique: {said.status}{f' ({one_line(said.why, FINDING_CHARACTERS)})' if said.why else ''}")
    now = {candidate.name: candidate.findings for candidate in checked.candidates}
    for name, found in said.findings.items():
        gone = [str(finding) for finding in found if str(finding) not in now.get(name, ())]
        lines += [f"  the model's {name}, which was replaced: {one_line(text, FINDING_CHARACTERS)}" for text in gone]
    if said.response:
        lines += ["", f"# Critique ({said.call}) of the model's candidates as they then were", said.response.rstrip()]
    return "\n".join(lines) + "\n"


def _whose(proposal: Proposal) -> str:
    """Where a proposal comes from, and in whose place it stands."""
    if "replaces" in proposal.details:
        return f"{proposal.source}, in place of its first answer, which was refused"
    instead = proposal.details.get("instead_of")
    if not isinstance(instead, Mapping):
        return proposal.source
    why = "; ".join(str(reason).replace("critique: ", "blocked: ", 1) for reason in instead["why"] if reason)
    return f"{proposal.source}, in place of the model's{f': {why}' if why else ''}"


def _finding(problem: Problem) -> str:
    shown = f" = {problem.value}" if problem.value else ""
    if shown and problem.message.startswith(_ALLOWED):
        return f"{problem.where}{shown} is refused: allowed is {problem.message.removeprefix(_ALLOWED)}"
    return f"{problem.where}{shown}: {problem.message}"


def _answer_problems(proposal: Proposal) -> list[str]:
    """What was wrong with the answer that the proposal was made of, and that its values do not show."""
    problems = proposal.details.get("problems", ())
    return [str(p) for p in problems] if isinstance(problems, Sequence) and not isinstance(problems, str) else []


def _blocked(candidate: CheckedProposal, findings: Sequence[Finding]) -> CheckedProposal:
    parameters = dict(candidate.parameters)
    for finding in findings:
        if (judged := parameters.get(finding.parameter)) is not None and judged.valid:
            parameters[finding.parameter] = Judgement(value=judged.value, valid=False, reason=str(finding))
    return replace(candidate, parameters=parameters, findings=[*candidate.findings, *map(str, findings)])


def _lines(proposal: Proposal, hide: Hide) -> list[Hidden]:
    """A model's proposal as the critique sees it: its words are quoted."""
    details, lines = proposal.details, []
    changes = details.get("changes")
    for change in changes if isinstance(changes, Sequence) else ():
        before = "inactive" if change["from"] is None else hidden_value(change["from"], hide)
        after, reason = hidden_value(change["to"], hide), quoted(change["reason"], hide=hide)
        lines.append(f"{hide(change['parameter'])}: {before} -> {after}, because {reason}")
    if "expected_effect" in details:
        lines.append(f"expected effect, in its own words: {quoted(details['expected_effect'], hide=hide)}")
    if "confidence" in details:
        lines.append(f"confidence: {show(details['confidence'])}")
    return [Hidden(line) for line in [*lines, f"all values: {settings(proposal.values, hide)}"]]


def _says_nothing(finding: str) -> bool:
    words = "".join(c if c.isalnum() else " " for c in finding).split()
    return " ".join(words).casefold() in NO_FINDING


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
