"""How a study stands, as data: what `status`, its --json and the Python API tell. Closed rounds are read from their
round.json alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.acceptance import Incumbent, Judgement
from agent.errors import UsageError
from agent.objectives import parse_further, parse_limit, quantities
from agent.records import CandidateResult
from agent.report.control import control_view
from agent.report.costs import costs
from agent.report.hours import hours
from agent.report.naive import naive_names, study_warning
from agent.store.events import StudyEnded
from agent.store.paths import RoundPaths
from agent.store.record import FINAL, ConfirmationRecord, RungResult
from agent.store.requests import cancelled_rows, halted, halted_text
from agent.store.steps import Status
from agent.store.store import Store
from agent.store.study import Settings
from trainers.files import FileProblem, read_json_object
from trainers.layout import AttemptFiles
from trainers.manifest import Manifest, ManifestProblem, Row, load_manifest
from trainers.results import read_exit, read_row


def overview(store: Store, *, only: int | None = None) -> dict[str, Any]:
    """Everything `status` shows, JSON-ready. `only`: this round alone, and every trial of it.

    Raises UsageError, naming the rounds there are, when `only` is none of them.
    """
    config = store.config
    incumbent = store.record(store.paths.incumbent)
    held = Incumbent.from_json(incumbent) if incumbent is not None else None
    confirmations = [
        store.confirmation_record(store.paths.round(folder))
        for folder in store.paths.folders("confirm")
        if store.paths.round(folder).closed.exists()
    ]
    open_round = next((paths for paths, _ in store.open_folders()), None)
    closed = store.closed()
    if only is not None:
        known = [paths.number for paths in (*closed, *((open_round,) if open_round else ()))]
        if only not in known:
            there = ", ".join(map(str, known)) or "none yet"
            raise UsageError(f"--round {only}: the study's rounds are: {there}")
        closed = [paths for paths in closed if paths.number == only]
    records = [store.round_record(paths) for paths in closed]
    names = naive_names(config.trainer, brought=config.trainer_sha256 is not None)
    return {
        "study": config.study,
        "folder": str(store.paths.root),
        "task": config.task,
        "trainer": config.trainer,
        "objective": {"metric": config.metric, "direction": config.direction},
        "folds": list(config.folds),
        "seeds": list(config.seeds),
        "incumbent": incumbent,
        "rounds": [_closed_round(store, paths, trials=only is not None) for paths in closed],
        "warning": study_warning(records, held, names),
        "confirmations": [_confirmation(record) for record in confirmations if record.gain is not None],
        "open": open_round_state(store, open_round) if open_round is not None else None,
        "also": _also(store),
        "pareto": store.record(store.paths.pareto),
        "ended": ended(store),
        "control": control_view(store),
        "llm": costs(store)["total"],
        "hours": hours(store),
    }


def _also(store: Store) -> list[str]:
    """Quantities of further objectives and limits, which the table shows beside the objective."""
    settings = store.settings() if store.driven() else Settings()
    names = [parse_further(text).metric for text in settings.also]
    names += [parse_limit(text).name for text in settings.limits]
    return [name for name in dict.fromkeys(names) if name != store.config.metric]


def _confirmation(record: ConfirmationRecord) -> dict[str, Any]:
    """One of an earlier version has no base: it was the default."""
    assert record.gain is not None
    return {
        "seeds": list(record.seeds),
        "gain": {**record.gain.to_json(), "text": record.gain_text},
        "challenger": record.challenger.to_json() if record.challenger is not None else None,
        "against": "the default" if record.base is None or record.purpose == FINAL else str(record.base),
    }


def ended(store: Store) -> dict[str, Any] | None:
    """Why the study ended before its rounds were used up, unless a later call went on: {round, by, reason}."""
    last = store.journal.last(StudyEnded)
    if last is None or last.round < store.next_number():
        return None
    return {"round": last.round, "by": last.by, "reason": last.reason}


def _closed_round(store: Store, paths: RoundPaths, *, trials: bool) -> dict[str, Any]:
    record = store.round_record(paths)
    # Beside the decision, never in it: round.json is what agents are told from.
    tested = paths.test_summary.exists()
    found: dict[str, Any] = {
        "round": record.round,
        "closed_at": record.closed_at,
        "ranking": list(record.ranking),
        "notes": list(record.notes),
        "noise": record.acceptance.noise.to_json() if record.acceptance and record.acceptance.noise else None,
        "plan": record.plan.to_json() if record.plan is not None else None,
    }
    if record.screened:
        found["rungs"] = [_rung(rung) for rung in record.screened]
    found["candidates"] = [
        _candidate(
            result,
            record.judgements.get(result.candidate),
            test=_test_values(paths, result.candidate) if tested else {},
            trials=trials,
        )
        for result in record.candidates
    ]
    return found


def _candidate(
    result: CandidateResult, judgement: Judgement | None, *, test: Mapping[str, Any], trials: bool
) -> dict[str, Any]:
    """A round of an earlier version has no judgement. test: of its test summary. trials: whether each is told."""
    return {
        "name": result.candidate,
        "source": result.source,
        "value": result.value,
        "std": result.std,
        "n": result.n,
        "rows": result.rows,
        "outcomes": result.outcomes,
        "values": result.values,
        "message": result.message,
        **({"trials": [trial.raw for trial in result.trials]} if trials else {}),
        "instead_of": result.instead_of.to_json() if result.instead_of is not None else None,
        "verdict": judgement.verdict if judgement is not None else None,
        "violates": result.violates,
        "measures": quantities(result),
        "test": test,
        "why": judgement.why if judgement is not None else "",
    }


def _test_values(paths: RoundPaths, candidate: str) -> dict[str, Any]:
    """{metric: {"value", "std", "n", ...}} of a candidate's test summary; nothing where none can be read."""
    try:
        raw: Any = read_json_object(paths.candidate_summary(candidate, "test"))
    except FileProblem:
        return {}
    metrics = raw.get("metrics")
    if not isinstance(metrics, dict):
        return {}
    return {
        name: found for name, found in metrics.items() if isinstance(found, dict) and _is_number(found.get("value"))
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _rung(rung: RungResult) -> dict[str, Any]:
    return {
        "rung": rung.rung,
        "epochs": rung.epochs,
        "folds": list(rung.folds),
        "promoted": list(rung.promoted),
        "candidates": [
            {"name": one.candidate, "source": one.source, "value": one.value, "outcome": one.outcome.value}
            for one in rung.candidates
        ],
    }


def open_round_state(store: Store, paths: RoundPaths) -> dict[str, Any]:
    """The open round: its last step and every row's state as the disk tells it."""
    state: dict[str, Any] = {
        "round": paths.number,
        "folder": paths.root.name,
        "label": paths.label,
        "step": _last_step(paths),
        "notes": _notes(paths),
        "plan": _plan(paths),
        "rows": [],
    }
    if waits := _waiting(paths):
        state["waiting"] = waits
    try:
        manifest = load_manifest(paths.manifest)
    except ManifestProblem:
        # Not rendered yet; the step says so.
        return state
    gone = cancelled_rows(store, paths)
    shown = [row_state(paths, manifest, row) for row in manifest.rows]
    # What a cancelled row left on disk looks like one that is still to begin, runs, was interrupted or crashed.
    state["rows"] = [
        row | {"state": "cancelled"} if row["row"] in gone and row["state"] != "ok" else row for row in shown
    ]
    if halted(store, paths) is not None:
        state["halted"] = halted_text(store, paths)
    state["pending"] = _pending(paths)
    state["counts"] = dict(Counter(row["state"] for row in state["rows"]))
    return state


def _pending(paths: RoundPaths) -> list[dict[str, Any]]:
    """Why rows were pending when the scheduler was last asked: reason, rows, what to do about it."""
    if not paths.pending.exists():
        return []
    # Imported where a scheduler's reasons are at hand: a study without any is shown without this room.
    from agent.launch.reasons import Need, around_line, explain, waiting_line

    raw: Any = read_json_object(paths.pending)
    found = []
    for group in raw["groups"]:
        explanation = explain(group["reason"])
        if "kind" in group:
            text = around_line(group["kind"], group["job"], explanation, group.get("cluster"))
        else:
            # Earlier versions noted no ids.
            jobs, cluster = group.get("jobs", ()), group.get("cluster")
            text = waiting_line(explanation, group["count"], group["rows"], jobs, cluster)
        action = explanation.need is Need.ACTION
        found.append({**group, "at": raw["at"], "needs_action": action, "text": text})
    return found


def _notes(paths: RoundPaths) -> list[str]:
    """What was decided otherwise than asked for, as far as the round has come."""
    for path in (paths.checked, paths.proposals, paths.analysis):
        if path.exists():
            raw: Any = read_json_object(path)
            return list(raw.get("notes", ()))
    return []


def _records(paths: RoundPaths) -> list[Path]:
    return sorted(paths.steps.glob("*.json")) if paths.steps.is_dir() else []


def _plan(paths: RoundPaths) -> dict[str, Any] | None:
    if not paths.proposals.exists():
        return None
    raw: Any = read_json_object(paths.proposals)
    plan: dict[str, Any] | None = raw.get("plan")
    return plan


def _last_step(paths: RoundPaths) -> str:
    records = _records(paths)
    return records[-1].stem[3:] if records else "begun"


def _waiting(paths: RoundPaths) -> str:
    """What the last step said that it waits for: a full queue, a scheduler that does not answer, late results."""
    try:
        record: Any = read_json_object(_records(paths)[-1])
        return str(record["details"].get("message") or "") if record["status"] == Status.WAITING else ""
    except (IndexError, FileProblem, KeyError, AttributeError):
        return ""


def row_state(paths: RoundPaths, manifest: Manifest, row: Row) -> dict[str, Any]:
    """One row by its files: pending (no attempt), running (claimed), interrupted, or its result's outcome."""
    shown: dict[str, Any] = {"row": row.row, "candidate": row.candidate, "fold": row.fold, "seed": row.seed}
    attempts = paths.attempts(row.candidate, row.fold, row.seed)
    if not attempts:
        return shown | {"state": "pending"}
    result = read_row(paths, manifest, row)
    if result is not None:
        value = result.metrics.get(manifest.objective)
        return shown | {"state": result.outcome, "attempt": result.attempt, "value": value, "message": result.message}
    folder = paths.attempt(row.candidate, row.fold, row.seed, attempts[-1])
    ended = read_exit(folder)
    state = str(ended["outcome"]) if ended else "running"
    return shown | {"state": state, "attempt": attempts[-1], **_progress(folder, manifest)}


def _progress(folder: AttemptFiles, manifest: Manifest) -> dict[str, Any]:
    try:
        raw: Any = read_json_object(folder.progress)
    except FileProblem:
        return {}
    metrics = raw.get("metrics") or {}
    return {"epoch": raw.get("epoch"), "epochs": raw.get("epochs"), "value": metrics.get(manifest.objective)}


def to_json(view: Mapping[str, Any]) -> str:
    """The overview as JSON text."""
    return json.dumps(view, indent=2, ensure_ascii=False) + "\n"
