"""The plan of a round: the rules' step, the patience of a study, and how a plan ends one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from agent.errors import StudyEnds
from agent.orchestrator.deciding.agents import base_of
from agent.orchestrator.work import Work
from agent.planning import STOP, Advice, Past, Plan, advise, allowed
from agent.records import CandidateResult
from agent.reference import Reference
from agent.reference.keys import listed
from agent.store.decision import Decision
from agent.store.events import StudyEnded
from agent.store.record import RoundRecord
from agent.store.study import Settings


def past(work: Work) -> list[Past]:
    """The rounds before this one that tried something."""
    return past_rounds(work.store.round_record(paths) for paths in work.store.closed(below=work.number))


def past_rounds(records: Iterable[RoundRecord]) -> list[Past]:
    """Those that say something: round 1 measures what gains are counted from, and a round in which machines lost
    every candidate tried nothing."""
    return [
        Past(number=record.round, gained=record.gained, step=record.plan.step if record.plan is not None else None)
        for record in records
        if record.round > 1 and any(result.outcome.is_measured for result in record.candidates)
    ]


def out_of_patience(work: Work, reference: Reference, history: Sequence[CandidateResult]) -> Plan | None:
    """The plan to stop, where the study had `patience` rounds in a row without an accepted gain, whoever proposes."""
    if work.settings.patience is None:
        return None
    advice = advise(past(work), reference, patience=work.settings.patience)
    return _plan(work, reference, history, advice) if advice.step == STOP else None


def by_rules(work: Work, reference: Reference, history: Sequence[CandidateResult]) -> Plan:
    """The rules' plan. The patience was looked at before."""
    advice = advise(past(work), reference, escalate_after=work.settings.escalate_after)
    return _plan(work, reference, history, advice)


def record_stop(work: Work, plan: Plan) -> None:
    """The decision of a round that trains nothing: what `status` and a replay read."""
    decision = Decision(task=work.store.config.task, round=work.number, plan=plan, candidates=())
    work.store.disk.write_json(work.paths.decision, decision.to_json())


def end(work: Work, ended: StudyEnds) -> Settings:
    """The study ends before this round, as a result; its confirmation may follow. Every part can be repeated.

    Ticks open no further round; a call of tune, which asks for rounds, does. A forced rerun of an older round ends
    nothing but itself.
    """
    store = work.store
    who = "the planner" if ended.by == "model" else "the patience"
    if work.rerun:
        work.say(f"{who} would end the study before round {work.number}, which is not run again: {ended}")
        store.stop(work.paths)
        return work.settings
    store.journal.append_once(
        StudyEnded(folder=work.paths.root.name, round=work.number, by=ended.by, reason=str(ended)), key=("folder",)
    )
    work.say(f"{who} ends the study before round {work.number}: {ended}")
    store.put_settings(replace(store.settings(), target_round=work.number - 1))
    store.stop(work.paths)
    return replace(work.settings, target_round=work.number - 1)


def _plan(work: Work, reference: Reference, history: Sequence[CandidateResult], advice: Advice) -> Plan:
    base, name = base_of(reference, history, work.store.incumbent())
    if advice.step == STOP:
        what = "the study ends here"
    else:
        what = f"a {advice.step} step from {name}: only {listed(allowed(reference, advice.step))} may change"
    return Plan(
        step=advice.step, plan=what, reason=advice.reason, by="rules", advice=advice, base=base, base_name=name
    )
