"""Closing a round: rank its candidates, name the incumbent, and write what people and later rounds read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from agent import acceptance, diagnosis
from agent.objectives import parse_limit, quantities, violation
from agent.orchestrator.closing.accept import Accepted, accept
from agent.orchestrator.training.render import closed_rungs
from agent.orchestrator.training.rows import endings
from agent.orchestrator.work import StepResult, Work
from agent.records import CandidateResult, Outcome, TrialAnalysis, TrialRecord
from agent.report.naive import naive_names, study_warning
from agent.report.tables import best_record, pareto_record, trials_csv
from agent.store.decision import Candidate
from agent.store.events import AttemptEnded, RoundClosed
from agent.store.record import RoundRecord, RungResult
from agent.store.store import Store
from agent.summaries import Summary, read_summary
from trainers.layout import AttemptFiles
from trainers.manifest import Manifest, Row, load_manifest
from trainers.results import RowResult, read_row


def assess(work: Work) -> StepResult:
    """Write analysis.json beside each trial, then incumbent, tables, and last round.json, which closes the round."""
    store, paths = work.store, work.paths
    manifest = load_manifest(paths.manifest)
    decision = store.decision(paths)
    ended = endings(store, paths)
    read = {
        name: read_summary(paths.candidate_summary(name, "val"), store.config.objective, shipped=store.config.shipped)
        for name in manifest.candidates
    }
    summaries = {name: explained(summary, ended) for name, summary in read.items()}
    analyses = _analyse_trials(work, manifest)
    results = [candidate_result(work.number, one, summaries[one.name]) for one in decision.candidates]
    found = accept(work, results)
    incumbent = found.incumbent
    record = RoundRecord(
        round=work.number,
        closed_at=store.clock().isoformat(),
        objective=store.config.objective,
        ranking=[one.candidate for one in acceptance.rank(results, store.config.objective)],
        candidates=[replace(one, violates=_violates(work, one)) for one in results],
        judgements=found.judgements(work.number),
        analyses=analyses,
        incumbent=incumbent,
        acceptance=found.record(work.tools.rules),
        limits=work.settings.limits,
        notes=[*decision.notes, *_notes(found)],
        plan=decision.plan,
        costs=_total(summaries),
        screened=screened(work),
    )
    records = [store.round_record(closed) for closed in store.closed() if closed.number != work.number]
    records = sorted([*records, record], key=lambda one: one.round)
    outputs = [store.paths.trials_csv, *_put_front(work, records)]
    if incumbent is not None:
        outputs += put_incumbent(store, incumbent, records)
    store.disk.write(store.paths.trials_csv, trials_csv(store.config, records))
    held = incumbent.to_json() if incumbent is not None else None
    store.journal.append_once(RoundClosed(round=work.number, folder=paths.root.name, incumbent=held), key=("folder",))
    store.disk.write_json(paths.closed, record.to_json())
    best = incumbent.describe() if incumbent else "no candidate has a value yet"
    names = naive_names(store.config.trainer, brought=store.config.trainer_sha256 is not None)
    if warning := study_warning(records, incumbent, names):
        work.say(f"warning: {warning}")
    for line in (*found.lines(work.number), *(f"round {work.number}: {note}" for note in _notes(found))):
        work.say(line)
    return StepResult(
        inputs=[paths.candidate_summary(name, "val") for name in manifest.candidates],
        outputs=[paths.closed, *outputs],
        message=f"round {work.number} closed; {best}{_beside(record, store.config.metric)}",
    )


def screened(work: Work) -> list[RungResult]:
    """Of round.json: what each of the round's rungs measured, and who went on."""
    return [record.result for record in closed_rungs(work.store, work.paths)]


def _beside(record: RoundRecord, metric: str) -> str:
    """What the trainer measured beside the round's best: metrics named OBJECTIVE_NAME, such as a naive forecast's."""
    best = record.candidate(record.ranking[0]) if record.ranking else None
    if best is None or best.value is None:
        return ""
    beside = {name.removeprefix(f"{metric}_"): v for name, v in best.metrics.items() if name.startswith(f"{metric}_")}
    if not beside:
        return ""
    shown = ", ".join(f"{name} {value:.4g}" for name, value in beside.items())
    return f"; beside {best.candidate} ({metric} {best.value:.4g}): {shown}"


def _violates(work: Work, result: CandidateResult) -> str:
    """Why a measured candidate may not lead, where a limit says so."""
    limits = [parse_limit(text) for text in work.settings.limits]
    return violation(quantities(result), limits) if result.n else ""


def _put_front(work: Work, records: Sequence[RoundRecord]) -> list[Path]:
    """pareto.json, where the study has further objectives."""
    store, settings = work.store, work.settings
    if not settings.also:
        return []
    store.disk.write_json(store.paths.pareto, pareto_record(store.config, records, settings.also, settings.limits))
    return [store.paths.pareto]


def _notes(found: Accepted) -> list[str]:
    """What became of the judge, where it did not do its work."""
    if found.judge is None or not found.judge.why:
        return []
    return [f"the judge: {found.judge.status}, {found.judge.why}; the rules' borderline stands"]


def put_incumbent(store: Store, incumbent: acceptance.Incumbent, records: Sequence[RoundRecord]) -> list[Path]:
    """Write incumbent.json and best_overall.json; records: round.json of every round, the newest included."""
    folders = {folder.number: folder.path.name for folder in store.paths.newest()}
    store.disk.write_json(store.paths.incumbent, {**incumbent.to_json(), "sha256": _sha256(records, incumbent)})
    store.disk.write_json(store.paths.best, best_record(store.config, records, incumbent, folders))
    return [store.paths.incumbent, store.paths.best]


def _sha256(records: Sequence[RoundRecord], incumbent: acceptance.Incumbent) -> str:
    """sha256 of the reference that the incumbent was trained with."""
    record = next(record for record in records if record.round == incumbent.round)
    return record.candidate(incumbent.candidate).sha256


def candidate_result(number: int, candidate: Candidate, summary: Summary) -> CandidateResult:
    """What a candidate of round `number` gave."""
    return CandidateResult(
        round=number,
        candidate=candidate.name,
        source=candidate.source,
        instead_of=candidate.instead_of,
        key=candidate.key,
        sha256=candidate.sha256,
        values=candidate.values,
        outcome=summary.outcome,
        value=summary.value,
        std=summary.std,
        n=summary.n,
        rows=summary.rows,
        outcomes=summary.outcomes,
        metrics=summary.metrics,
        costs=summary.costs,
        message=summary.message[:500],
        trials=summary.trials,
    )


def explained(summary: Summary, ended: Mapping[int, Sequence[AttemptEnded]]) -> Summary:
    """The summary with the ends that were found out for its rows; the evaluation saw only which had no result."""
    trials = tuple(
        _explained_trial(trial, ended.get(-1 if trial.row is None else trial.row, ())) for trial in summary.trials
    )
    if trials == summary.trials:
        return summary
    outcomes = Counter(trial.outcome for trial in trials)
    return replace(summary, trials=trials, outcomes=dict(sorted(outcomes.items())))


def _explained_trial(trial: TrialRecord, ended: Sequence[AttemptEnded]) -> TrialRecord:
    if not ended or trial.outcome in (Outcome.OK, Outcome.BAD_CONFIG):
        return trial
    last = ended[-1]
    if last.attempt < (trial.attempt or 0):
        return trial
    # Agents read the message: what failed with how much memory is knowledge, the node's name is none of theirs.
    message = last.evidence.removesuffix(f", on {last.node}")
    if last.outcome is Outcome.HOST_OOM and last.memory:
        message += f", with mem {last.memory}"
    place = {"node": last.node} if last.node else {}
    said = {"attempt": last.attempt, "outcome": last.outcome.value, "message": message[:500]}
    return TrialRecord({**trial.raw, **said, **place})


def _analyse_trials(work: Work, manifest: Manifest) -> dict[str, TrialAnalysis]:
    """analysis.json beside every finished trial; the flags of each candidate's trials for the next diagnosis."""
    found: dict[str, TrialAnalysis] = {}
    for row in manifest.rows:
        result = read_row(work.paths, manifest, row)
        if result is None or result.outcome == "corrupt_result":
            continue
        analysis = _analyse(work, row, result)
        if analysis is not None:
            found[f"{row.candidate}_f{row.fold}_s{row.seed}"] = analysis
    return found


def _analyse(work: Work, row: Row, result: RowResult) -> TrialAnalysis | None:
    folder: AttemptFiles = work.paths.attempt(row.candidate, row.fold, row.seed, result.attempt)
    if not folder.metrics.exists():
        return None
    analysis = diagnosis.analyse_trial(diagnosis.read_epochs(folder.metrics), dict(result.raw))
    work.store.disk.write_json(folder.analysis, analysis)
    return TrialAnalysis(keywords=analysis["keywords"], flags=[flag["name"] for flag in analysis["flags"]])


def _total(summaries: Mapping[str, Summary]) -> dict[str, float]:
    total: dict[str, float] = {}
    for summary in summaries.values():
        for name, value in summary.costs.items():
            total[name] = round(total.get(name, 0.0) + value, 3)
    return total
