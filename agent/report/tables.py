"""The study's tables as files: trials_summary.csv and best_overall.json. Pure: text in, text out."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from agent.acceptance import Incumbent
from agent.objectives import front, parse_further, parse_limit, quantities, violation
from agent.records import CandidateResult, TrialRecord
from agent.store.record import RoundRecord
from agent.store.study import StudyConfig
from trainers.layout import REFERENCE_NAME, trial_name

_FIXED = ("round", "candidate", "fold", "seed", "attempt", "outcome", "value", "source", "key")


def trials_csv(config: StudyConfig, records: Sequence[RoundRecord]) -> str:
    """One line for each trial of all closed rounds: where it stands, its outcome and value, its hyperparameters.

    `value` is the objective, empty for a trial without one. A parameter that is inactive there is empty too.
    """
    # A rung's candidates first: they were trained first. Their column is there only in a study that has rungs.
    lines: list[tuple[int | str, CandidateResult]] = []
    for record in records:
        lines += [(rung.rung, result) for rung in record.screened for result in rung.candidates]
        lines += [("", result) for result in record.candidates]
    names = dict.fromkeys(name for _, result in lines for name in result.values)
    with_rungs = any(record.screened for record in records)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*_FIXED, *(("rung",) if with_rungs else ()), *names])
    for rung, result in lines:
        values = [result.values.get(name, "") for name in names]
        rest = [result.source, result.key, *((rung,) if with_rungs else ())]
        for trial in result.trials or [_given(result, config.metric)]:
            place = [result.round, result.candidate, trial.fold, trial.seed, trial.attempt]
            writer.writerow([*place, trial.outcome, trial.metrics.get(config.metric, ""), *rest, *values])
    return stream.getvalue()


def _given(result: CandidateResult, metric: str) -> TrialRecord:
    """A summary that a person gave has a value but no trials of ours: one line without fold and seed."""
    return TrialRecord({"outcome": result.outcome.value, "metrics": {metric: result.value}})


def pareto_record(
    config: StudyConfig, records: Sequence[RoundRecord], also: Sequence[str], limits: Sequence[str]
) -> dict[str, object]:
    """pareto.json: the complete candidates within the limits that no other one dominates, best of the study's own
    objective first. What was measured twice under one key counts once, the newest."""
    objectives = [config.objective, *map(parse_further, also)]
    bounds = [parse_limit(text) for text in limits]
    complete = {result.key: result for record in records for result in record.candidates if result.complete}
    measures = {key: quantities(result) for key, result in complete.items()}
    within = {key: measured for key, measured in measures.items() if not violation(measured, bounds)}
    kept = front(within, objectives)
    kept.sort(key=lambda key: -config.objective.gain(within[key][config.metric], 0.0))
    return {
        "schema_version": 1,
        "objectives": [{"metric": o.metric, "direction": o.direction} for o in objectives],
        "limits": list(limits),
        "candidates": len(complete),
        "within_limits": len(within),
        "front": [
            {
                "round": complete[key].round,
                "candidate": complete[key].candidate,
                "values": dict(complete[key].values),
                "measures": within[key],
            }
            for key in kept
        ],
    }


def best_record(
    config: StudyConfig, records: Sequence[RoundRecord], incumbent: Incumbent, folders: Mapping[int, str]
) -> dict[str, object]:
    """best_overall.json: the incumbent's settings and where its files are, relative to the study.

    folders: round number -> name of its folder.
    """
    record = next(record for record in records if record.round == incumbent.round)
    result = record.candidate(incumbent.candidate)
    folder = folders[incumbent.round]
    trials = []
    for trial in result.trials:
        if trial.ok and trial.place is not None:
            fold, seed, attempt = trial.place
            where = f"{folder}/trials/{trial_name(incumbent.candidate, fold, seed)}/attempt_{attempt}"
            trials.append({"fold": fold, "seed": seed, "value": trial.metrics.get(config.metric), "folder": where})
    return {
        "schema_version": 1,
        "objective": {"metric": config.metric, "direction": config.direction},
        **incumbent.to_json(),
        "source": result.source,
        "values": dict(result.values),
        "reference": f"{folder}/candidates/{incumbent.candidate}/{REFERENCE_NAME}",
        "trials": trials,
    }
