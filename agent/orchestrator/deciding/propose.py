"""From history to proposals: who proposes how many. A person's edit or the default first, then models, then Bayes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agent.acceptance import Incumbent
from agent.errors import LLMError, ProposalError, StudyEnds
from agent.orchestrator.deciding import plan as planning
from agent.orchestrator.deciding.agents import agents_of, situation_of
from agent.orchestrator.work import StepResult, Work
from agent.planning import Plan
from agent.propose.baseline import DefaultProposer
from agent.propose.hybrid import model_places
from agent.proposers import proposer_entry
from agent.records import CandidateResult, InsteadOf, Proposal
from agent.reference import Reference, check_values, config_key, load_reference
from agent.roles import autotuner, checker, panel, planner
from agent.roles.ask import Agents
from agent.roles.digest import digest
from agent.roles.situation import Situation, Suggested
from agent.store.decision import ModelAnswer, Proposals
from agent.store.disk import read_text
from trainers.layout import candidate_name


@dataclass(kw_only=True)
class Draft:
    """The proposals of a round while they are gathered."""

    reference: Reference
    history: list[CandidateResult]
    taken: dict[str, str]
    """Key -> where: what was measured, and what this round has already."""
    notes: list[str]
    proposals: list[Proposal] = field(default_factory=list)
    suggestion: Proposal | None = None
    suggested: Suggested | None = None
    transcript: str = ""
    """Of a panel, whether or not its supervisor came to a decision."""
    plan: Plan | None = None

    def add(self, proposal: Proposal, *, valid: bool = True) -> None:
        """An invalid one keeps its place for the repair turn, and bars nothing."""
        if valid:
            key = config_key(self.reference, proposal.values)
            self.taken.setdefault(key, f"{candidate_name(len(self.proposals))} of this round")
        self.proposals.append(proposal)


def propose(work: Work) -> StepResult:
    """K proposals; never a configuration twice. Raises StudyEnds where the patience or the planner ends the study."""
    base_path, person = _base(work)
    reference = load_reference(base_path)
    if person and base_path == work.store.paths.reference:
        work.tools.check_fit(reference)
    work.store.disk.write(work.paths.before, read_text(base_path))
    analysis = analysis_of(work)
    earlier = list(analysis.get("notes", ()))
    history = work.store.history(below=work.number)
    draft = Draft(reference=reference, history=history, taken=tried(work, history), notes=list(earlier))
    findings = list(analysis.get("findings", ()))
    try:
        _gather(work, draft, person)
    except StudyEnds:
        assert draft.plan is not None
        planning.record_stop(work, draft.plan)
        work.store.disk.write_json(work.paths.proposals, _record(work, draft, findings, person).to_json())
        raise
    outputs = [work.paths.before, *_write_texts(work, draft, findings)]
    work.store.disk.write_json(work.paths.proposals, _record(work, draft, findings, person).to_json())
    for note in draft.notes[len(earlier) :]:
        work.say(f"round {work.number}: {note}")
    return StepResult(
        inputs=[base_path],
        outputs=[*outputs, work.paths.proposals],
        details={"proposals": len(draft.proposals), "sources": [p.source for p in draft.proposals]},
    )


def _gather(work: Work, draft: Draft, person: bool) -> None:
    """The reference as it stands where it is to be trained, then who proposes. Raises StudyEnds."""
    own = config_key(draft.reference)
    # As long as nothing was measured (round 1, or all before it crashed), the first thing to measure is the default.
    if not draft.taken or (person and own not in draft.taken):
        draft.add(_as_it_stands(work, draft, person))
    elif (plan := planning.out_of_patience(work, draft.reference, draft.history)) is not None:
        draft.plan = plan
        raise StudyEnds(plan.reason, by="rules")
    elif person:
        draft.notes.append(
            "the reference was edited, but its values were trained before: only its ranges are taken over"
        )
    _fill(work, draft)


def _fill(work: Work, draft: Draft) -> None:
    """Bring the round to its K proposals."""
    _from_earlier_studies(work, draft)
    places = work.settings.candidates - len(draft.proposals)
    if places > 0 and work.number > 1 and work.settings.planned:
        draft.plan = planning.by_rules(work, draft.reference, draft.history)
    asked = _model_places(work, draft.history, places)
    try:
        why = _ask_model(work, draft, asked) if asked > 0 else ""
    except StudyEnds as ended:
        if not draft.proposals:
            raise
        # What a person set, or an earlier study gave, is wanted whatever a model says.
        draft.plan = None
        draft.notes.append(f"the planner would end the study ({ended}); what this round has already is trained first")
        return
    open_places = work.settings.candidates - len(draft.proposals)
    instead = open_places - (places - asked)
    if open_places <= 0:
        return
    try:
        found, draft.plan = within_plan(work, draft.reference, draft.history, open_places, draft.taken, draft.plan)
    except ProposalError as error:
        if not draft.proposals:
            raise
        draft.notes.append(str(error))
        return
    for position, proposal in enumerate(found):
        draft.add(in_place_of(_model(work), proposal, [why]) if position < instead else proposal)


def _from_earlier_studies(work: Work, draft: Draft) -> None:
    """What --warm-start gave and no round has had yet, while there is room; a person's edit may rule some out."""
    record = work.store.record(work.store.paths.warm_start)
    # What machines lost was not tried, and comes again.
    seen = [o for o in draft.history if o.outcome.is_measured]
    had = {o.source for o in seen} | {o.key for o in seen}
    for start in record["starts"] if record is not None else ():
        if len(draft.proposals) >= work.settings.candidates:
            return
        proposal = Proposal(**start)
        if proposal.source in had or check_values(draft.reference, proposal.values, complete=True):
            continue
        key = config_key(draft.reference, proposal.values)
        if key not in had and key not in draft.taken:
            draft.add(proposal)


def _model(work: Work) -> str:
    """The source of a model's proposals."""
    return proposer_entry(work.settings.proposer).source(work.settings.planner)


def _model_places(work: Work, history: Sequence[CandidateResult], places: int) -> int:
    """How many of a round's open places a language model fills. Round 1 never asks one (A-S1)."""
    settings, entry = work.settings, proposer_entry(work.settings.proposer)
    if places <= 0 or work.number == 1 or work.tools.models is None or not entry.asks:
        return 0
    if entry.shares:
        return model_places(history, places, share=settings.llm_share, warmup=settings.llm_warmup)
    return places


def _ask_model(work: Work, draft: Draft, count: int) -> str:
    """Add a model's proposals, as they came. Returns why it gave fewer than asked for, "" where it did not."""
    assert work.tools.models is not None
    try:
        draft.suggestion = bayesian(work, draft.reference, draft.history, 1, draft.taken)[0]
    except ProposalError as error:
        # Nothing is left that a model could propose either: its calls would be paid for repeats.
        draft.notes.append(f"the language model was not asked: {error}")
        return str(error)
    agents = agents_of(work, "propose", work.tools.models, draft.reference)
    situation = situation_of(
        work, draft.reference, draft.history, suggestion=draft.suggestion, taken=dict(draft.taken)
    )
    try:
        suggested = _suggested(work, draft, agents, situation, count)
    except LLMError as error:
        why = f"{type(error).__name__}: {error}"
        if draft.plan is not None:
            draft.plan = replace(draft.plan, instead_of=InsteadOf(source=planner.SOURCE, why=(why,)))
        draft.transcript = work.tools.models.redact(error.transcript)
        draft.notes.append(
            f"the language model gave no proposal ({why}); {count} of this round's candidates come from "
            f"{work.tools.proposer.name} instead"
        )
        return why
    draft.suggested, draft.transcript = suggested, suggested.transcript
    for judged in checker.check(draft.reference, suggested.proposals, taken=draft.taken, plan=draft.plan).candidates:
        draft.add(judged.proposal, valid=judged.valid)
    given = len(suggested.proposals)
    if given < count:
        draft.notes.append(f"the language model proposed {given} of {count} candidates")
    return f"it proposed {given} of {count} candidates" if given < count else ""


def _suggested(work: Work, draft: Draft, agents: Agents, situation: Situation, count: int) -> Suggested:
    """What the study's kind of model proposes. Raises LLMError; StudyEnds where a planner says stop."""
    if draft.plan is not None:
        past = planning.past(work)
        planned = planner.suggest(agents, situation, count, advice=draft.plan.advice, past=past)
        draft.plan = planned.plan
        if planned.suggested is None:
            raise StudyEnds(f"{planned.plan.plan} ({planned.plan.reason})", by="model")
        return planned.suggested
    if proposer_entry(work.settings.proposer).speaks == "panel":
        return panel.discuss(agents, situation, count, work.settings.consult_turns)
    return autotuner.suggest(agents, situation, count)


def bayesian(
    work: Work,
    reference: Reference,
    history: Sequence[CandidateResult],
    count: int,
    taken: Mapping[str, str],
    *,
    plan: Plan | None = None,
) -> list[Proposal]:
    """The study's proposer, within what a plan's step may change. Raises ProposalError where there is no further
    setting."""
    found = work.tools.proposer.propose(
        reference if plan is None else plan.within(reference),
        [*history, *work.store.screened(below=work.number)],
        count,
        objective=work.store.config.objective,
        seed=work.seed(),
        taken=frozenset(taken),
    )
    return found if plan is None else [plan.own(reference, proposal) for proposal in found]


def within_plan(
    work: Work,
    reference: Reference,
    history: Sequence[CandidateResult],
    count: int,
    taken: Mapping[str, str],
    plan: Plan | None,
) -> tuple[list[Proposal], Plan | None]:
    """Bayesian proposals and the plan that they keep to: a deeper one where its step has nothing untried left.

    Raises ProposalError where no step has.
    """
    while True:
        try:
            return bayesian(work, reference, history, count, taken, plan=plan), plan
        except ProposalError as error:
            if plan is None or (plan := plan.deeper(reference, str(error))) is None:
                raise


def in_place_of(model: str, proposal: Proposal, why: Sequence[str]) -> Proposal:
    """A Bayesian proposal that stands where a model's should have: it says so wherever it is recorded.

    model: the source that the proposal would have had, "llm" or "panel".
    """
    return replace(
        proposal, details={**proposal.details, "instead_of": InsteadOf(source=model, why=tuple(why)).to_json()}
    )


def measured(history: Sequence[CandidateResult]) -> dict[str, str]:
    """Configurations that were measured, by key, and where. What crashed or was lost may be tried again."""
    return {o.key: f"round {o.round} {o.candidate}" for o in history if o.outcome.is_measured}


def tried(work: Work, history: Sequence[CandidateResult]) -> dict[str, str]:
    """`measured`, with what rungs have sorted out."""
    return measured([*work.store.screened(below=work.number), *history])


def analysis_of(work: Work) -> dict[str, Any]:
    return work.store.record(work.paths.analysis) or {}


def _base(work: Work) -> tuple[Any, bool]:
    """The reference that proposals start from, and whether a person edited it.

    A rerun of an older round starts from what that round started from.
    """
    earlier = [f for f in work.store.paths.folders() if f.number == work.number and f.path != work.paths.root]
    for folder in reversed(earlier):
        paths = work.store.paths.round(folder)
        if work.rerun and paths.proposals.exists() and paths.before.exists():
            return paths.before, work.store.proposals(paths).person_edited
    return work.store.paths.reference, work.store.versions.edited()


def _as_it_stands(work: Work, draft: Draft, person: bool) -> Proposal:
    proposer = DefaultProposer(source="person" if person else "default")
    return proposer.propose(
        draft.reference,
        draft.history,
        1,
        objective=work.store.config.objective,
        seed=work.seed(),
        taken=frozenset(),
    )[0]


def _write_texts(work: Work, draft: Draft, findings: Sequence[Mapping[str, Any]]) -> list[Any]:
    """step1: the decisive exchange with a model, or what stood before the proposer and what it proposed."""
    if work.number == 1 and len(draft.proposals) <= 1:
        return []
    disk, outputs = work.store.disk, [work.paths.autotuner_input, work.paths.autotuner_response]
    if draft.transcript:
        disk.write(work.paths.transcript, draft.transcript)
        outputs.append(work.paths.transcript)
    if draft.suggested is not None:
        disk.write(work.paths.autotuner_input, draft.suggested.prompt)
        disk.write(work.paths.autotuner_response, draft.suggested.response)
        return outputs
    situation = situation_of(work, draft.reference, draft.history, taken=tried(work, draft.history))
    disk.write(work.paths.autotuner_input, digest(situation))
    disk.write(work.paths.autotuner_response, autotuner.response(draft.proposals, findings))
    return outputs


def _record(work: Work, draft: Draft, findings: list[Any], person: bool) -> Proposals:
    incumbent = work.store.record(work.store.paths.incumbent)
    if incumbent is not None:
        # What the round's verdicts are held against: a broken one is refused before anything is trained.
        Incumbent.from_json(incumbent)
    return Proposals(
        round=work.number,
        person_edited=person,
        findings=findings,
        notes=draft.notes,
        proposals=draft.proposals,
        suggestion=draft.suggestion,
        plan=draft.plan,
        answer=_answer(draft.suggested) if draft.suggested is not None else None,
        incumbent=incumbent,
        aliases=work.store.record(work.store.paths.aliases),
        settings=work.settings.plain(),
    )


def _answer(suggested: Suggested) -> ModelAnswer:
    """What the repair turn needs of the exchange."""
    return ModelAnswer(
        diagnosis=suggested.diagnosis,
        prompt=suggested.prompt,
        response=suggested.response,
        repaired=suggested.repaired,
        transcript=suggested.transcript,
    )
