"""Proposals before the rules, then a critic; one repair turn for a model's, then the Bayesian proposer.

Nothing is altered to make it valid, and every replacement says what it replaces and why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from agent.errors import LLMError, ProposalError
from agent.orchestrator.deciding.agents import agents_of, situation_of
from agent.orchestrator.deciding.llm_costs import write_costs
from agent.orchestrator.deciding.plan import past
from agent.orchestrator.deciding.propose import in_place_of, tried, within_plan
from agent.orchestrator.training.render import AS_IT_STANDS
from agent.orchestrator.work import StepResult, Work
from agent.planning import Plan
from agent.proposers import proposer_entry
from agent.records import CandidateResult, Proposal
from agent.reference import Reference, config_key, load_reference
from agent.roles import autotuner, checker, panel, planner
from agent.roles.ask import Agents
from agent.roles.checker import BY_MODEL, Checked, Critique
from agent.roles.situation import Situation, Suggested
from agent.store.decision import CheckedProposals, NamedProposal, Proposals, proposal_json
from trainers.layout import candidate_name

#: A study may lose its provider between two steps of a round.
NO_MODEL = "the study has no language model any more (--provider none)"


@dataclass(kw_only=True)
class Court:
    """The proposals of a round while they are judged."""

    work: Work
    reference: Reference
    history: list[CandidateResult]
    proposals: list[Proposal]
    notes: list[str]
    suggestion: Proposal | None
    suggested: Suggested | None
    plan: Plan | None
    refused: list[dict[str, Any]] = field(default_factory=list)
    """What was refused and replaced: name, source, values, findings."""
    _agents: Agents | None = None
    _situation: Situation | None = None

    @property
    def agents(self) -> Agents:
        assert self.work.tools.models is not None
        if self._agents is None:
            self._agents = agents_of(self.work, "check", self.work.tools.models, self.reference)
        return self._agents

    @property
    def situation(self) -> Situation:
        if self._situation is None:
            self._situation = situation_of(
                self.work,
                self.reference,
                self.history,
                suggestion=self.suggestion,
                taken=tried(self.work, self.history) | self._of_this_round(),
            )
        return self._situation

    def _of_this_round(self) -> dict[str, str]:
        """What a model must not propose again because this round has it already, from somebody else."""
        return {
            config_key(self.reference, proposal.values): f"{candidate_name(position)} of this round"
            for position, proposal in enumerate(self.proposals)
            if proposal.source not in BY_MODEL
        }

    def by_model(self, checked: Checked, *, valid: bool) -> dict[str, Sequence[str]]:
        """A model's candidates that are (not) valid -> their findings."""
        return {
            candidate.name: candidate.findings
            for candidate in checked.candidates
            if candidate.proposal.source in BY_MODEL and candidate.valid is valid
        }


def check(work: Work) -> StepResult:
    """Judge, repair once, replace what is still refused; leave findings beside every proposal."""
    proposed = work.store.proposals(work.paths)
    court = Court(
        work=work,
        reference=load_reference(work.paths.before),
        history=work.store.history(below=work.number),
        proposals=list(proposed.proposals),
        notes=[],
        suggestion=proposed.suggestion,
        suggested=_suggested(proposed),
        plan=proposed.plan,
    )
    checked = _judge(court)
    if court.by_model(checked, valid=False) and court.suggested is not None and not court.suggested.repaired:
        checked = _repair(court, checked)
    if _open_places(checked):
        checked = _replace(court, checked)
    outputs = _write(court, proposed, checked)
    for note in court.notes:
        work.say(f"round {work.number}: {note}")
    return StepResult(
        inputs=[work.paths.proposals, work.paths.before],
        outputs=outputs,
        details={"sources": [p.source for p in court.proposals], "as_it_stands": list(AS_IT_STANDS)},
    )


def _suggested(proposed: Proposals) -> Suggested | None:
    """The model's part of proposals.json."""
    answer = proposed.answer
    if answer is None:
        return None
    return Suggested(
        proposals=[proposal for proposal in proposed.proposals if proposal.source in BY_MODEL],
        diagnosis=answer.diagnosis,
        prompt=answer.prompt,
        response=answer.response,
        repaired=answer.repaired,
        transcript=answer.transcript,
    )


def _judge(court: Court) -> Checked:
    """The rules, and for what passes them of a model's the critic: a finding of its blocks, its failure does not."""
    checked = _by_rules(court)
    if not (court.by_model(checked, valid=True) and court.work.settings.critique):
        return checked
    if court.work.tools.models is None:
        critique = Critique(status="skipped", why=NO_MODEL)
    else:
        critique = checker.critique(court.agents, court.situation, checked)
    if critique.skipped:
        court.notes.append(f"the checker's model was skipped, the rules alone decided: {critique.skipped}")
    return checker.with_critique(checked, critique)


def _by_rules(court: Court) -> Checked:
    taken = tried(court.work, court.history)
    return checker.check(court.reference, court.proposals, taken=taken, plan=court.plan)


def _repair(court: Court, checked: Checked) -> Checked:
    """The one repair turn: the model hears every finding and answers for those candidates alone."""
    assert court.suggested is not None
    refused = court.by_model(checked, valid=False)
    _keep_refused(court, checked)
    repair = _repairer(court)
    own = [candidate_name(p) for p, proposal in enumerate(court.proposals) if proposal.source in BY_MODEL]
    if court.work.tools.models is None:
        court.notes.append(f"the repair turn failed: {NO_MODEL}")
        return checked
    try:
        court.suggested = repair(court.agents, court.situation, court.suggested, refused, names=own)
    except LLMError as error:
        court.notes.append(f"the repair turn failed: {type(error).__name__}: {error}")
        return checked
    places = [position for position in range(len(court.proposals)) if candidate_name(position) in refused]
    for position, proposal in zip(places, court.suggested.proposals, strict=False):
        court.proposals[position] = proposal
    left = [candidate_name(position) for position in places[len(court.suggested.proposals) :]]
    return _still_blocked(_judge(court), checked, left)


def _repairer(court: Court) -> Callable[..., Suggested]:
    """Who asks for replacements: whoever asked first."""
    assert court.suggested is not None
    if court.suggested.proposals[0].source == planner.SOURCE:
        assert court.plan is not None
        return partial(planner.repair, advice=court.plan.advice, past=past(court.work))
    return panel.repair if proposer_entry(court.work.settings.proposer).speaks == "panel" else autotuner.repair


def _still_blocked(now: Checked, before: Checked, names: Sequence[str]) -> Checked:
    """A candidate that the critic blocked and the repair turn left as it was stays blocked, whether or not the critic
    can be asked a second time."""
    said, kept = now.critique.findings, before.critique.findings
    kept = {name: kept[name] for name in names if name in kept and name not in said}
    blocked = checker.with_critique(now, replace(now.critique, findings=kept))
    return replace(blocked, critique=replace(now.critique, findings={**said, **kept}))


def _replace(court: Court, checked: Checked) -> Checked:
    """Bayesian proposals in the places of what a model could not get right. Places that stay open are left out."""
    refused = _open_places(checked)
    _keep_refused(court, checked)
    taken = tried(court.work, court.history)
    for candidate in checked.valid:
        taken[config_key(court.reference, candidate.proposal.values)] = candidate.name
    name = court.work.tools.proposer.name
    try:
        found, court.plan = within_plan(court.work, court.reference, court.history, len(refused), taken, court.plan)
    except ProposalError as error:
        court.notes.append(str(error))
        found = []
    for place, proposal in zip(list(refused), found, strict=False):
        position = next(p for p in range(len(court.proposals)) if candidate_name(p) == place)
        former = court.proposals[position]
        if former.source in BY_MODEL:
            proposal = in_place_of(former.source, proposal, refused[place])
            why = "; ".join(refused[place])
            court.notes.append(f"the language model's {place} was refused ({why}); it comes from {name} instead")
        elif (instead := former.details.get("instead_of")) is not None:
            proposal = replace(proposal, details={**proposal.details, "instead_of": instead})
        court.proposals[position] = proposal
    return checker.with_same_critique(_by_rules(court), checked)


def _open_places(checked: Checked) -> dict[str, Sequence[str]]:
    """Refused candidates whose place another proposal may take -> their findings.

    A Bayesian one is refused only where a model's repair came upon the same settings.
    """
    return {c.name: c.findings for c in checked.candidates if not c.valid and c.proposal.source not in AS_IT_STANDS}


def _keep_refused(court: Court, checked: Checked) -> None:
    for candidate in checked.candidates:
        if not candidate.valid:
            entry = proposal_json(candidate.name, candidate.proposal) | {"findings": list(candidate.findings)}
            if entry not in court.refused:
                court.refused.append(entry)


def _write(court: Court, proposed: Proposals, checked: Checked) -> list[Any]:
    work, disk = court.work, court.work.store.disk
    outputs = []
    if work.number > 1 or len(court.proposals) > 1:
        disk.write(work.paths.checker_input, checker.input_text(court.reference, court.proposals, checked.critique))
        disk.write(work.paths.checker_response, checker.response_text(checked))
        outputs += [work.paths.checker_input, work.paths.checker_response]
    if court.suggested is not None and court.suggested.repaired:
        disk.write(work.paths.autotuner_input, court.suggested.prompt)
        disk.write(work.paths.autotuner_response, court.suggested.response)
        if court.suggested.transcript:
            disk.write(work.paths.transcript, court.suggested.transcript)
    if work.tools.models is not None:
        outputs += write_costs(work, court.proposals)
    record = CheckedProposals(
        judged=checked.judged(),
        critique=checked.critique.to_json(),
        proposals=[NamedProposal(name=candidate_name(p), proposal=one) for p, one in enumerate(court.proposals)],
        replaced=court.refused,
        plan=court.plan,
        model_diagnosis=court.suggested.diagnosis if court.suggested is not None else "",
        notes=[*proposed.notes, *court.notes],
        settings=work.settings.plain(),
    )
    disk.write_json(work.paths.checked, record.to_json())
    return [*outputs, work.paths.checked]
