"""The files of a round's decision, as objects: proposals.json, checked_hyperparameters.json, tuning_decision_*.json.

`to_json` writes them byte for byte as every version did; `read_*` refuses what is missing or of another type by file,
field and value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.planning import Plan
from agent.records import InsteadOf, Proposal
from agent.store.fields import Fields
from agent.store.record import FINAL, Position, read_position
from trainers.contract import Value
from trainers.layout import candidate_name

Json = Mapping[str, Any]
"""A part of a file that is written as it was read: findings, a critique, settings."""


@dataclass(frozen=True, kw_only=True)
class NamedProposal:
    """A proposal with its name in the round, which is its place among the proposals."""

    name: str
    proposal: Proposal


@dataclass(frozen=True, kw_only=True)
class ModelAnswer:
    """Of the exchange that proposals came from: what the repair turn needs."""

    diagnosis: str
    prompt: str
    response: str
    repaired: bool
    """Whether the one repair turn has been used."""
    transcript: str

    def to_json(self) -> dict[str, object]:
        return {
            "diagnosis": self.diagnosis,
            "prompt": self.prompt,
            "response": self.response,
            "repaired": self.repaired,
            "transcript": self.transcript,
        }


@dataclass(frozen=True, kw_only=True)
class Proposals:
    """proposals.json: all that the check step and a replay need besides the history."""

    round: int
    person_edited: bool
    """Whether the reference that they start from is a person's edit."""
    findings: Sequence[Json]
    notes: Sequence[str]
    proposals: Sequence[Proposal]
    suggestion: Proposal | None
    """What the Bayesian proposer would train next, where a model was asked."""
    plan: Plan | None
    answer: ModelAnswer | None
    """None where no model answered."""
    incumbent: Json | None
    """incumbent.json as it was."""
    aliases: Json | None
    """aliases.json as it was."""
    settings: Json
    """Under which the step was done."""

    def to_json(self) -> dict[str, object]:
        return {
            "schema_version": 2,
            "round": self.round,
            "person_edited": self.person_edited,
            "diagnosis": list(self.findings),
            "notes": list(self.notes),
            "proposals": [proposal_json(candidate_name(p), one) for p, one in enumerate(self.proposals)],
            "suggestion": proposal_json(candidate_name(0), self.suggestion) if self.suggestion is not None else None,
            "plan": self.plan.to_json() if self.plan is not None else None,
            "suggested": self.answer.to_json() if self.answer is not None else None,
            "incumbent": self.incumbent,
            "aliases": self.aliases,
            "settings": dict(self.settings),
        }


@dataclass(frozen=True, kw_only=True)
class CheckedProposals:
    """checked_hyperparameters.json: the final proposals, what the rules and the critique say, what was replaced."""

    judged: Mapping[str, Json]
    """Name -> {valid, parameters, findings}."""
    critique: Json
    proposals: Sequence[NamedProposal]
    replaced: Sequence[Json]
    """Refused proposals that others stand in for, each with its findings."""
    plan: Plan | None
    model_diagnosis: str
    notes: Sequence[str]
    settings: Json
    """Under which the step was done."""

    @property
    def valid(self) -> list[NamedProposal]:
        return [one for one in self.proposals if self.judged[one.name].get("valid")]

    @property
    def refused(self) -> dict[str, Json]:
        return {name: entry for name, entry in self.judged.items() if not entry.get("valid")}

    def to_json(self) -> dict[str, object]:
        return {
            "schema_version": 1,
            "candidates": dict(self.judged),
            "critique": self.critique,
            "proposals": [proposal_json(one.name, one.proposal) for one in self.proposals],
            "refused": list(self.replaced),
            "plan": self.plan.to_json() if self.plan is not None else None,
            "model_diagnosis": self.model_diagnosis,
            "notes": list(self.notes),
            "settings": dict(self.settings),
        }


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A candidate that is trained: its settings, where they come from, and the reference that has them."""

    name: str
    source: str
    reason: str
    key: str
    sha256: str
    """Of its reference."""
    values: Mapping[str, Value]
    """All that take effect."""
    changes: Mapping[str, Json] = field(default_factory=dict)
    """Parameter -> {from, to}."""
    details: Mapping[str, object] = field(default_factory=dict)

    @property
    def instead_of(self) -> InsteadOf | None:
        return InsteadOf.from_json(self.details.get("instead_of"))

    def to_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "source": self.source,
            "reason": self.reason,
            "key": self.key,
            "sha256": self.sha256,
            "values": dict(self.values),
            "changes": dict(self.changes),
            "details": dict(self.details),
        }


Continues = Mapping[str, Sequence[Sequence[str]]]
"""Candidate -> where its training goes on from: [folder, candidate], the newest first."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a stage trains: the part of its decision file that rendering and closing read."""

    task: str
    round: int
    candidates: Sequence[Candidate]
    notes: Sequence[str] = ()
    plan: Plan | None = None
    seeds: Sequence[int] = ()
    """Training seeds; empty: the study's."""
    folds: Sequence[int] = ()
    """Empty: the study's."""
    epochs: int | None = None
    """None: the study's."""
    continues: Continues = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Of a round that trains nothing: what `status` and a replay read."""
        plan = self.plan.to_json() if self.plan is not None else None
        return {"schema_version": 1, "task": self.task, "round": self.round, "plan": plan, "candidates": []}


@dataclass(frozen=True, kw_only=True)
class RoundDecision(Decision):
    """The decision of a round."""

    findings: Sequence[Json]
    model_diagnosis: str
    agents_saw_test: bool
    incumbent: Json | None
    """incumbent.json as it was, with the verdict that put it there: what the round was decided on top of."""
    critique: Json
    replaced: Sequence[Json]
    refused: Mapping[str, Json]

    def to_json(self) -> dict[str, object]:
        found: dict[str, object] = {
            "schema_version": 1,
            "task": self.task,
            "round": self.round,
            "diagnosis": list(self.findings),
            "model_diagnosis": self.model_diagnosis,
            "plan": self.plan.to_json() if self.plan is not None else None,
            "agents_saw_test": self.agents_saw_test,
            "incumbent": self.incumbent,
            "notes": list(self.notes),
            "critique": self.critique,
            "candidates": [one.to_json() for one in self.candidates],
            "replaced": list(self.replaced),
            "refused": dict(self.refused),
        }
        return found | ({"continues": self.continues} if self.continues else {})


@dataclass(frozen=True, kw_only=True)
class RungDecision(Decision):
    """The decision of a rung: which proposals are still in, and how long and on what they are trained."""

    of: str
    """The round's folder."""
    rung: int

    def to_json(self) -> dict[str, object]:
        return {
            "schema_version": 1,
            "task": self.task,
            "round": self.round,
            "of": self.of,
            "rung": self.rung,
            "epochs": self.epochs,
            "folds": list(self.folds),
            "seeds": list(self.seeds),
            "continues": self.continues,
            "diagnosis": [],
            "notes": [],
            "candidates": [one.to_json() for one in self.candidates],
            "refused": {},
        }


@dataclass(frozen=True, kw_only=True)
class ConfirmationDecision(Decision):
    """The decision of trainings at fresh seeds: c00 is what is held against, c01 the challenger."""

    purpose: str
    base: Position | None
    """None in files of an earlier version, where it was the default."""
    challenger: Position | None
    """None of replicates."""

    def to_json(self) -> dict[str, object]:
        return {
            "schema_version": 1,
            "task": self.task,
            "round": self.round,
            "purpose": self.purpose,
            "seeds": list(self.seeds),
            "diagnosis": [],
            "notes": [],
            "base": self.base.to_json() if self.base is not None else None,
            "challenger": self.challenger.to_json() if self.challenger is not None else None,
            "candidates": [one.to_json() for one in self.candidates],
            "refused": {},
        }


# -- reading ---------------------------------------------------------------------------------------------------


def proposal_json(name: str, proposal: Proposal) -> dict[str, object]:
    """A proposal as files hold it."""
    return {
        "name": name,
        "source": proposal.source,
        "reason": proposal.reason,
        "values": dict(proposal.values),
        "details": dict(proposal.details),
    }


def read_proposals(raw: Json, *, file: str) -> Proposals:
    """proposals.json. Raises InvalidStudy."""
    top = Fields(raw, file=file)
    answer, suggestion = top.optional_entry("suggested"), top.optional_entry("suggestion")
    return Proposals(
        round=top.whole("round"),
        person_edited=top.flag("person_edited"),
        findings=top.values("diagnosis"),
        notes=top.texts("notes"),
        proposals=tuple(_proposal(entry) for entry in top.entries("proposals")),
        suggestion=_proposal(suggestion) if suggestion is not None else None,
        plan=top.optional("plan", Plan.from_json),
        answer=_answer(answer) if answer is not None else None,
        incumbent=top.mapping("incumbent") if "incumbent" in top else None,
        aliases=top.mapping("aliases") if "aliases" in top else None,
        settings=top.mapping("settings") if "settings" in top else {},
    )


def read_checked(raw: Json, *, file: str) -> CheckedProposals:
    """checked_hyperparameters.json. Raises InvalidStudy."""
    top = Fields(raw, file=file)
    judged = top.mapping("candidates")
    found = CheckedProposals(
        judged=judged,
        critique=top.mapping("critique"),
        proposals=tuple(
            NamedProposal(name=entry.text("name"), proposal=_proposal(entry)) for entry in top.entries("proposals")
        ),
        replaced=top.values("refused"),
        plan=top.optional("plan", Plan.from_json),
        model_diagnosis=top.optional_text("model_diagnosis") or "",
        notes=top.texts("notes"),
        settings=top.mapping("settings") if "settings" in top else {},
    )
    for one in found.proposals:
        if not isinstance(judged.get(one.name), Mapping):
            top.wrong("candidates", f"has no {one.name}, which is among the proposals")
    return found


def read_decision(raw: Json, *, file: str) -> Decision:
    """The part of any decision file that rendering and closing read. Raises InvalidStudy."""
    return Decision(**_common(Fields(raw, file=file)))


def read_confirmation_decision(raw: Json, *, file: str) -> ConfirmationDecision:
    """The decision of trainings at fresh seeds. Raises InvalidStudy."""
    top = Fields(raw, file=file)
    base, challenger = top.optional_entry("base"), top.optional_entry("challenger")
    return ConfirmationDecision(
        # Of an earlier version, which had one purpose and the default as its base.
        purpose=top.optional_text("purpose") or FINAL,
        base=read_position(base) if base is not None else None,
        challenger=read_position(challenger) if challenger is not None else None,
        **_common(top),
    )


def _common(top: Fields) -> dict[str, Any]:
    return {
        "task": top.text("task"),
        "round": top.whole("round"),
        "candidates": tuple(_candidate(entry) for entry in top.entries("candidates")),
        "notes": top.optional_texts("notes"),
        "plan": top.optional("plan", Plan.from_json),
        "seeds": top.wholes("seeds") if "seeds" in top else (),
        "folds": top.wholes("folds") if "folds" in top else (),
        "epochs": top.whole("epochs") if "epochs" in top else None,
        "continues": top.mapping("continues") if "continues" in top else {},
    }


def _candidate(entry: Fields) -> Candidate:
    details = entry.mapping("details")
    if "instead_of" in details:
        entry.entry("details").read("instead_of", InsteadOf.from_json)
    return Candidate(
        name=entry.text("name"),
        source=entry.text("source"),
        reason=entry.text("reason"),
        key=entry.text("key"),
        sha256=entry.text("sha256"),
        values=entry.mapping("values"),
        changes=entry.mapping("changes"),
        details=details,
    )


def _proposal(entry: Fields) -> Proposal:
    try:
        return Proposal(
            values=entry.mapping("values"),
            source=entry.text("source"),
            reason=entry.text("reason"),
            details=entry.mapping("details"),
        )
    except ValueError as error:
        entry.wrong("source", str(error))


def _answer(entry: Fields) -> ModelAnswer:
    return ModelAnswer(
        diagnosis=entry.text("diagnosis"),
        prompt=entry.text("prompt"),
        response=entry.text("response"),
        repaired=entry.flag("repaired"),
        transcript=entry.text("transcript"),
    )
