"""What the rounds so far say, in a few findings: input of the next round's proposals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from agent.diagnosis.flag import Flag
from agent.diagnosis.parts import absent_class_finding, fold_findings, weak_class_finding, worst_case_finding
from agent.diagnosis.trends import rounded
from agent.diagnosis.weakness import Classes
from agent.records import CandidateResult, Objective, TrialAnalysis
from trainers.layout import trial_name

STALE_ROUNDS = 2
"""Rounds without a new best before that is worth a finding."""
MAX_TRIALS = 20
"""Trials that `newest_trials` gives: what a prompt can hold of a round of any size."""
MAX_FLAGS = 8


def analyse_round(
    history: Sequence[CandidateResult],
    analyses: Mapping[str, TrialAnalysis],
    objective: Objective,
    *,
    candidates: Sequence[CandidateResult] = (),
    per_class: Mapping[str, Classes] | None = None,
    per_class_before: Mapping[str, Classes] | None = None,
    per_class_accepted: Classes | None = None,
    per_case: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    class_metric: str | None = None,
    class_direction: str = "maximize",
) -> list[dict[str, Any]]:
    """Findings {name, evidence, text}, JSON-ready; empty without history.

    analyses: trial -> its flags, of the newest round. candidates: of the newest round, whose trials tell folds that
    stand apart. per_class, per_class_before: candidate ->
    class -> metric -> value of the newest round and the one before, from their validation summaries; class_metric:
    by default the first that the classes have. per_class_accepted: the classes of the incumbent. per_case: candidate
    -> its cases, where its summary tells them.
    """
    if not history:
        return []
    weak = weak_class_finding(
        per_class or {},
        per_class_before or {},
        metric=class_metric,
        direction=class_direction,
        accepted=per_class_accepted,
    )
    flags = [
        _best(history, objective),
        _stale(history, objective),
        _noise(history),
        *_failures(history),
        *fold_findings(candidates, objective),
        weak,
        absent_class_finding(per_class or {}),
        worst_case_finding(per_case or {}, metric=objective.metric) if objective.direction == "maximize" else None,
        *(flag for flag in _common_flags(analyses) if weak is None or flag.name != weak.name),
    ]
    return [flag.to_json() for flag in flags if flag is not None]


def newest_trials(
    ranking: Sequence[str],
    candidates: Sequence[CandidateResult],
    analyses: Mapping[str, Mapping[str, Any]],
    *,
    limit: int = MAX_TRIALS,
) -> list[dict[str, Any]]:
    """The newest round's trials: [{trial, candidate, flags: [{name, evidence, text}], trends, keywords}], best first.

    ranking, candidates: of the round. analyses: trial -> its analysis.json; trials without one are left out. Of more
    than `limit` trials every candidate gives as many as the others, as far as it has them, in the order of the
    ranking.
    """
    places = {name: position for position, name in enumerate(ranking)}
    ordered = sorted(candidates, key=lambda result: places.get(result.candidate, len(places)))
    queued = []
    for position, result in enumerate(ordered):
        names = [trial_name(result.candidate, *trial.cell) for trial in result.trials if trial.cell is not None]
        known = [name for name in names if name in analyses]
        queued += [(turn, position, result.candidate, name) for turn, name in enumerate(known)]
    chosen = sorted(sorted(queued)[:limit], key=lambda item: (item[1], item[0]))
    return [_trial(name, candidate, analyses[name]) for _, _, candidate, name in chosen]


def _trial(name: str, candidate: str, analysis: Mapping[str, Any]) -> dict[str, Any]:
    """What of an analysis.json has the right form: it lay on a disk that others write to."""
    flags, trends, keywords = (analysis.get(name) for name in ("flags", "trends", "keywords"))
    listed = flags if isinstance(flags, list) else []
    flags = [flag for flag in listed if isinstance(flag, Mapping) and isinstance(flag.get("name"), str)]
    return {
        "trial": name,
        "candidate": candidate,
        "flags": [
            {"name": flag["name"], "evidence": flag.get("evidence", {}), "text": flag.get("text", "")}
            for flag in flags[:MAX_FLAGS]
        ],
        "trends": dict(trends) if isinstance(trends, Mapping) else {},
        "keywords": [str(word) for word in keywords] if isinstance(keywords, list) else [],
    }


def _scored(history: Sequence[CandidateResult]) -> list[tuple[CandidateResult, float]]:
    """Complete ones where there are any: means over fewer folds do not compare."""
    complete = [o for o in history if o.value is not None and o.complete]
    return [(o, o.value) for o in complete or history if o.value is not None]


def _best(history: Sequence[CandidateResult], objective: Objective) -> Flag | None:
    scored = _scored(history)
    if not scored:
        return Flag(name="no_value", text=f"none of {len(history)} candidates has a value yet", evidence={})
    best, value = scored[0]
    for observation, other in scored[1:]:
        if objective.better(other, value):
            best, value = observation, other
    # An earlier study's name, which follows warm_start:, is not for those who read this.
    source = best.source.partition(":")[0] or "unknown"
    text = f"best {objective.metric} {value:.5g} in round {best.round} {best.candidate} ({source})"
    evidence: dict[str, Any] = {"round": best.round, "candidate": best.candidate, "value": rounded(value)}
    first = next((o for o in history if o.source == "default" and o.value is not None), None)
    if first is not None and first.value is not None and first is not best:
        gain = objective.gain(value, first.value)
        text += f", {gain:+.4g} against the default"
        evidence["gain_over_default"] = rounded(gain)
    return Flag(name="best", text=text, evidence=evidence)


def _stale(history: Sequence[CandidateResult], objective: Objective) -> Flag | None:
    scored = _scored(history)
    newest = max(observation.round for observation in history)
    if not scored:
        return None
    best, improved = scored[0][1], scored[0][0].round
    for observation, value in sorted(scored, key=lambda pair: pair[0].round):
        if objective.better(value, best):
            best, improved = value, observation.round
    since = newest - improved
    if since < STALE_ROUNDS:
        return None
    return Flag(
        name="no_new_best",
        text=f"no new best in the last {since} rounds (since round {improved})",
        evidence={"rounds": since, "since": improved},
    )


def _noise(history: Sequence[CandidateResult]) -> Flag | None:
    """Whether candidates differ by more than their own folds and seeds do."""
    stds = [o.std for o in history if o.std is not None]
    values = [value for _, value in _scored(history)]
    if len(values) < 3 or not stds:
        return None
    # hypot, because squares of a diverged objective overflow.
    within = math.hypot(*stds) / math.sqrt(len(stds))
    rows = [o.n for o in history if o.std is not None]
    error = within / math.sqrt(sum(rows) / len(rows))
    mean = math.fsum(values) / len(values)
    between = math.hypot(*(value - mean for value in values)) / math.sqrt(len(values) - 1)
    if between > 2 * error:
        return None
    return Flag(
        name="within_noise",
        text=f"the candidates' means spread by {between:.3g}, not twice the standard error {error:.3g} of one mean",
        evidence={"between": rounded(between), "standard_error": rounded(error), "candidates": len(values)},
    )


def _failures(history: Sequence[CandidateResult]) -> list[Flag]:
    failed = [o for o in history if o.value is None]
    flags = []
    for by_settings, name, meaning in (
        (True, "failed_settings", "their settings did it"),
        (False, "lost_trials", "this says nothing about their settings"),
    ):
        counts = Counter(o.outcome for o in failed if o.outcome.is_config is by_settings)
        if counts:
            listed = ", ".join(f"{outcome} {count}" for outcome, count in sorted(counts.items()))
            flags.append(
                Flag(
                    name=name,
                    text=f"{counts.total()} of {len(history)} candidates gave no value ({listed}); {meaning}",
                    evidence={"outcomes": {str(outcome): count for outcome, count in sorted(counts.items())}},
                )
            )
    return flags


def _common_flags(analyses: Mapping[str, TrialAnalysis]) -> list[Flag]:
    """Each flag of the newest round's trials, most frequent first."""
    trials: dict[str, list[str]] = {}
    for trial, analysis in sorted(analyses.items()):
        for name in dict.fromkeys(analysis.flags):
            trials.setdefault(name, []).append(trial)
    found = []
    for name, where in sorted(trials.items(), key=lambda item: (-len(item[1]), item[0])):
        shown = ", ".join(where[:6]) + (" ..." if len(where) > 6 else "")
        found.append(
            Flag(
                name=name,
                text=f"{name} in {len(where)} of {len(analyses)} trials of the newest round ({shown})",
                evidence={"trials": where[:50], "count": len(where), "of": len(analyses)},
            )
        )
    return found
