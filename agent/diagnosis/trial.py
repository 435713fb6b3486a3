"""One trial's analysis.json: flags, trends, keywords."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agent.diagnosis.epochs import EpochTable
from agent.diagnosis.flag import Flag
from agent.diagnosis.flags import KEYWORDS, curve_flags
from agent.diagnosis.trends import curves, trends
from agent.diagnosis.weakness import weak_classes


def analyse_trial(table: EpochTable | Sequence[Mapping[str, float]], summary: Mapping[str, Any]) -> dict[str, Any]:
    """{flags: [{name, evidence, text}], trends: {...}, keywords: [...]} of one trial, JSON-ready.

    summary: the trial's result or summary; of it `directions`, `per_class` and `notes` are looked at, where they are
    objects. An empty table gives what the summary alone says.
    """
    if not isinstance(table, EpochTable):
        table = EpochTable(rows=tuple(table))
    directions = _directions(summary)
    found = curves(table.rows, directions)
    flags = curve_flags(table.rows, found)
    flags += [flag for flag in (_weak(summary, directions), _oom(summary), _unreadable(table)) if flag is not None]
    return {
        "flags": [flag.to_json() for flag in flags],
        "trends": trends(found),
        "keywords": list(dict.fromkeys(word for flag in flags for word in KEYWORDS[flag.name])),
    }


def _directions(summary: Mapping[str, Any]) -> dict[str, str]:
    """metric -> direction, from a trial's result (`directions`) or a summary (`metrics[name]["direction"]`)."""
    found = {name: entry.get("direction") for name, entry in _object(summary, "metrics").items() if _is_object(entry)}
    found |= _object(summary, "directions")
    return {name: value for name, value in found.items() if value in ("minimize", "maximize")}


def _weak(summary: Mapping[str, Any], directions: Mapping[str, str]) -> Flag | None:
    per_class = {name: entry for name, entry in _object(summary, "per_class").items() if _is_object(entry)}
    metric = next((name for entry in per_class.values() for name in entry), "")
    weak = weak_classes(per_class, metric=metric, direction=directions.get(metric, "maximize"))
    if not weak:
        return None
    named = ", ".join(f"{entry['class']} ({entry['value']:.3g})" for entry in weak[:5])
    more = f" and {len(weak) - 5} more" if len(weak) > 5 else ""
    return Flag(
        name="weak_classes",
        text=f"{metric} is far behind its mean over classes, {weak[0]['mean']:.3g}, for {named}{more}",
        evidence={"classes": weak[:20], "count": len(weak)},
    )


def _oom(summary: Mapping[str, Any]) -> Flag | None:
    adjusted = _object(summary, "notes").get("oom_adjusted")
    if adjusted is not True:
        return None
    effective = {name: value for name, value in _object(summary, "effective").items() if not _is_object(value)}
    used = ", ".join(f"{name} = {value}" for name, value in effective.items()) or "not recorded"
    return Flag(
        name="oom_adjusted",
        text=f"memory did not suffice for what was asked; effective: {used}",
        evidence={"effective": effective},
    )


def _unreadable(table: EpochTable) -> Flag | None:
    if not table.problems:
        return None
    return Flag(
        name="unreadable_log", text="; ".join(table.problems)[:500], evidence={"problems": list(table.problems)}
    )


def _object(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = raw.get(key)
    return value if isinstance(value, Mapping) else {}


def _is_object(value: object) -> bool:
    return isinstance(value, Mapping)
