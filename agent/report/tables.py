"""The study's tables as files: trials_summary.csv and best_overall.json. Pure: text in, text out."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from agent.acceptance import Incumbent
from agent.objectives import front, parse_further, parse_limit, quantities, violation
from agent.store.study import StudyConfig
from trainers.layout import REFERENCE_NAME, trial_name

_FIXED = ("round", "candidate", "fold", "seed", "attempt", "outcome", "value", "source", "key")


def trials_csv(config: StudyConfig, records: Sequence[Mapping[str, Any]]) -> str:
    """One line for each trial of all closed rounds: where it stands, its outcome and value, its hyperparameters.

    `value` is the objective, empty for a trial without one. A parameter that is inactive there is empty too.
    """
    # A rung's candidates first: they were trained first. Their column is there only in a study that has rungs.
    lines = [
        (record, rung, candidate)
        for record in records
        for rung in (*record.get("screened", ()), None)
        for candidate in (record if rung is None else rung)["candidates"]
    ]
    names = dict.fromkeys(name for _, _, candidate in lines for name in candidate["values"])
    with_rungs = any("screened" in record for record in records)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*_FIXED, *(("rung",) if with_rungs else ()), *names])
    for record, rung, candidate in lines:
        values = [candidate["values"].get(name, "") for name in names]
        # A summary that a person gave has a value but no trials of ours: one line without fold and seed.
        given = {"metrics": {config.metric: candidate["value"]}, "outcome": candidate["outcome"]}
        for trial in candidate["trials"] or [given]:
            score = trial.get("metrics", {}).get(config.metric, "")
            place = [record["round"], candidate["name"], trial.get("fold"), trial.get("seed")]
            rest = [trial.get("attempt"), trial.get("outcome"), score, candidate["source"], candidate["key"]]
            rest += ([rung["rung"] if rung is not None else ""]) if with_rungs else []
            writer.writerow([*place, *("" if cell is None else cell for cell in rest), *values])
    return stream.getvalue()


def pareto_record(
    config: StudyConfig, records: Sequence[Mapping[str, Any]], also: Sequence[str], limits: Sequence[str]
) -> dict[str, Any]:
    """pareto.json: the complete candidates within the limits that no other one dominates, best of the study's own
    objective first. What was measured twice under one key counts once, the newest."""
    objectives = [config.objective, *map(parse_further, also)]
    bounds = [parse_limit(text) for text in limits]
    complete = {
        c["key"]: {"round": record["round"], "candidate": c["name"], "values": c["values"], "measures": quantities(c)}
        for record in records
        for c in record["candidates"]
        if c["n"] and c["n"] == c["rows"]
    }
    within = {key: one for key, one in complete.items() if not violation(one["measures"], bounds)}
    kept = front({key: one["measures"] for key, one in within.items()}, objectives)
    kept.sort(key=lambda key: -config.objective.gain(within[key]["measures"][config.metric], 0.0))
    return {
        "schema_version": 1,
        "objectives": [{"metric": o.metric, "direction": o.direction} for o in objectives],
        "limits": list(limits),
        "candidates": len(complete),
        "within_limits": len(within),
        "front": [within[key] for key in kept],
    }


def best_record(
    config: StudyConfig, records: Sequence[Mapping[str, Any]], incumbent: Incumbent, folders: Mapping[int, str]
) -> dict[str, Any]:
    """best_overall.json: the incumbent's settings and where its files are, relative to the study.

    folders: round number -> name of its folder.
    """
    record = next(record for record in records if record["round"] == incumbent.round)
    candidate = next(c for c in record["candidates"] if c["name"] == incumbent.candidate)
    folder = folders[incumbent.round]
    scored = [trial for trial in candidate["trials"] if trial.get("outcome") == "ok"]
    return {
        "schema_version": 1,
        "objective": {"metric": config.metric, "direction": config.direction},
        **incumbent.to_json(),
        "source": candidate["source"],
        "values": candidate["values"],
        "reference": f"{folder}/candidates/{incumbent.candidate}/{REFERENCE_NAME}",
        "trials": [
            {
                "fold": trial["fold"],
                "seed": trial["seed"],
                "value": trial.get("metrics", {}).get(config.metric),
                "folder": f"{folder}/trials/{trial_name(incumbent.candidate, trial['fold'], trial['seed'])}"
                f"/attempt_{trial['attempt']}",
            }
            for trial in scored
            if trial.keys() >= {"fold", "seed", "attempt"}
        ],
    }
