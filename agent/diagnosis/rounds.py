"""What the rounds so far say, in a few findings: input of the next round's proposals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from agent.diagnosis.flags import Flag
from agent.diagnosis.trends import rounded
from agent.records import Objective, Observation

STALE_ROUNDS = 2
"""Rounds without a new best before that is worth a finding."""


def analyse_round(
    history: Sequence[Observation], analyses: Mapping[str, Mapping[str, Any]], objective: Objective
) -> list[dict[str, Any]]:
    """Findings {name, evidence, text}, JSON-ready; empty without history.

    analyses: trial -> {flags: [name, ...]} of the newest round, as round.json keeps them.
    """
    if not history:
        return []
    flags = [
        _best(history, objective),
        _stale(history, objective),
        _noise(history),
        *_failures(history),
        *_common_flags(analyses),
    ]
    return [flag.to_json() for flag in flags if flag is not None]


def _scored(history: Sequence[Observation]) -> list[tuple[Observation, float]]:
    """Complete ones where there are any: means over fewer folds do not compare."""
    complete = [o for o in history if o.value is not None and o.complete]
    return [(o, o.value) for o in complete or history if o.value is not None]


def _best(history: Sequence[Observation], objective: Objective) -> Flag | None:
    scored = _scored(history)
    if not scored:
        return Flag(name="no_value", text=f"none of {len(history)} candidates has a value yet", evidence={})
    best, value = scored[0]
    for observation, other in scored[1:]:
        if objective.better(other, value):
            best, value = observation, other
    text = f"best {objective.metric} {value:.5g} in round {best.round} {best.candidate} ({best.source or 'unknown'})"
    evidence: dict[str, Any] = {"round": best.round, "candidate": best.candidate, "value": rounded(value)}
    first = next((o for o in history if o.source == "default" and o.value is not None), None)
    if first is not None and first.value is not None and first is not best:
        gain = objective.gain(value, first.value)
        text += f", {gain:+.4g} against the default"
        evidence["gain_over_default"] = rounded(gain)
    return Flag(name="best", text=text, evidence=evidence)


def _stale(history: Sequence[Observation], objective: Objective) -> Flag | None:
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


def _noise(history: Sequence[Observation]) -> Flag | None:
    """Whether candidates differ by more than their own folds and seeds do."""
    stds = [o.std for o in history if o.std is not None]
    values = [value for _, value in _scored(history)]
    if len(values) < 3 or not stds:
        return None
    within = math.sqrt(math.fsum(std**2 for std in stds) / len(stds))
    rows = [o.n for o in history if o.std is not None]
    error = within / math.sqrt(sum(rows) / len(rows))
    mean = math.fsum(values) / len(values)
    between = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    if between > 2 * error:
        return None
    return Flag(
        name="within_noise",
        text=f"the candidates' means spread by {between:.3g}, not twice the standard error {error:.3g} of one mean",
        evidence={"between": rounded(between), "standard_error": rounded(error), "candidates": len(values)},
    )


def _failures(history: Sequence[Observation]) -> list[Flag]:
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


def _common_flags(analyses: Mapping[str, Mapping[str, Any]]) -> list[Flag]:
    """Each flag of the newest round's trials, most frequent first."""
    trials: dict[str, list[str]] = {}
    for trial, analysis in sorted(analyses.items()):
        for name in dict.fromkeys(map(str, analysis.get("flags", ()))):
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
