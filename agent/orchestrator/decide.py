"""From history to checked proposals: diagnosis, proposals, rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent import diagnosis
from agent.errors import ProposalError
from agent.orchestrator.context import StepResult, Work
from agent.orchestrator.prepare import AS_IT_STANDS
from agent.propose.baseline import DefaultProposer
from agent.records import Observation, Proposal
from agent.reference import Reference, config_key, load_reference
from agent.roles import autotuner, checker
from agent.store.disk import read_text
from agent.store.steps import Status
from trainers.files import read_json_object
from trainers.layout import candidate_name


def analyse(work: Work) -> StepResult:
    """The diagnosis of the rounds so far; round 1 has none (A-S1)."""
    closed = work.store.closed(below=work.number)
    if not closed:
        return StepResult(status=Status.SKIPPED, details={"why": "round 1 has no history"})
    latest = closed[-1]
    record = work.store.round_record(latest)
    findings = diagnosis.analyse_round(
        work.store.history(below=work.number), record.get("analyses", {}), work.store.config.objective
    )
    work.store.disk.write_json(work.paths.analysis, {"round": latest.number, "findings": findings})
    return StepResult(inputs=[latest.closed], outputs=[work.paths.analysis], details={"findings": len(findings)})


def propose(work: Work) -> StepResult:
    """K proposals: a person's edit or the default first, the rest from the proposer; never a configuration twice."""
    history = work.store.history(below=work.number)
    base_path, person = _base(work)
    reference = load_reference(base_path)
    work.store.disk.write(work.paths.before, read_text(base_path))
    taken = set(_taken(history))
    proposals: list[Proposal] = []
    notes: list[str] = []
    own = config_key(reference)
    # As long as nothing was measured (round 1, or all before it crashed), the first thing to measure is the default.
    if not taken or (person and own not in taken):
        proposals += _as_it_stands(work, reference, history, person)
        taken.add(own)
    elif person:
        notes.append("the reference was edited, but its values were trained before: only its ranges are taken over")
    wanted = work.settings.candidates - len(proposals)
    if wanted > 0:
        try:
            proposals += work.tools.proposer.propose(
                reference,
                history,
                wanted,
                objective=work.store.config.objective,
                seed=work.seed(),
                taken=frozenset(taken),
            )
        except ProposalError as error:
            if not proposals:
                raise
            notes.append(str(error))
    findings = _findings(work)
    outputs = [work.paths.before, work.paths.proposals]
    if work.number > 1 or len(proposals) > 1:
        digest = autotuner.digest(reference, history, findings, objective=work.store.config.objective)
        work.store.disk.write(work.paths.autotuner_input, digest)
        work.store.disk.write(work.paths.autotuner_response, autotuner.response(proposals, findings))
        outputs += [work.paths.autotuner_input, work.paths.autotuner_response]
    record = {
        "schema_version": 1,
        "round": work.number,
        "person_edited": person,
        "diagnosis": findings,
        "notes": notes,
        "proposals": [_plain(position, proposal) for position, proposal in enumerate(proposals)],
    }
    work.store.disk.write_json(work.paths.proposals, record)
    for note in notes:
        work.say(f"round {work.number}: {note}")
    return StepResult(inputs=[base_path], outputs=outputs, details={"proposals": len(proposals)})


def _taken(history: Sequence[Observation]) -> dict[str, str]:
    """Configurations that were measured, by key, and where. What crashed or was lost may be tried again."""
    return {o.key: f"round {o.round} {o.candidate}" for o in history if o.outcome.is_measured}


def _base(work: Work) -> tuple[Any, bool]:
    """The reference that proposals start from, and whether a person edited it.

    A rerun of an older round starts from what that round started from.
    """
    earlier = [f for f in work.store.paths.folders() if f.number == work.number and f.path != work.paths.root]
    for folder in reversed(earlier):
        paths = work.store.paths.round(folder)
        if work.rerun and paths.proposals.exists() and paths.before.exists():
            return paths.before, bool(read_json_object(paths.proposals)["person_edited"])
    return work.store.paths.reference, work.store.versions.edited()


def _as_it_stands(work: Work, reference: Reference, history: list[Observation], person: bool) -> list[Proposal]:
    proposer = DefaultProposer(source="person" if person else "default")
    return proposer.propose(
        reference, history, 1, objective=work.store.config.objective, seed=work.seed(), taken=frozenset()
    )


def _findings(work: Work) -> list[Any]:
    if not work.paths.analysis.exists():
        return []
    raw: Any = read_json_object(work.paths.analysis)
    return list(raw["findings"])


def _plain(position: int, proposal: Proposal) -> dict[str, Any]:
    return {
        "name": candidate_name(position),
        "source": proposal.source,
        "reason": proposal.reason,
        "values": dict(proposal.values),
        "details": dict(proposal.details),
    }


def check(work: Work) -> StepResult:
    """Hold every proposal against the rules; the findings stay beside it, and nothing is altered."""
    raw: Any = read_json_object(work.paths.proposals)
    reference = load_reference(work.paths.before)
    proposals = [
        Proposal(values=p["values"], source=p["source"], reason=p["reason"], details=p["details"])
        for p in raw["proposals"]
    ]
    history = work.store.history(below=work.number)
    taken = _taken(history)
    checked = checker.check(reference, proposals, taken=taken)
    outputs = [work.paths.checked]
    if work.number > 1 or len(proposals) > 1:
        work.store.disk.write(work.paths.checker_input, checker.input_text(reference, proposals))
        work.store.disk.write(work.paths.checker_response, checker.response_text(checked))
        outputs += [work.paths.checker_input, work.paths.checker_response]
    work.store.disk.write_json(work.paths.checked, checked.to_json())
    return StepResult(
        inputs=[work.paths.proposals, work.paths.before],
        outputs=outputs,
        details={"sources": [p.source for p in proposals], "as_it_stands": list(AS_IT_STANDS)},
    )
