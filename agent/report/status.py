"""How a study stands, as data (`overview`) and as tables on a terminal (`print_overview`).

Closed rounds are read from their round.json alone, so that 200 rounds of 50 trials stay a matter of a second.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agent.store.paths import RoundPaths
from agent.store.store import Store
from trainers.files import FileProblem, read_json_object
from trainers.layout import AttemptFiles
from trainers.manifest import Manifest, ManifestProblem, Row, load_manifest
from trainers.results import read_exit, read_row

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


def overview(store: Store) -> dict[str, Any]:
    """Everything `status` shows, JSON-ready."""
    config = store.config
    incumbent = read_json_object(store.paths.incumbent) if store.paths.incumbent.exists() else None
    records = [store.round_record(paths) for paths in store.closed()]
    confirmations = [
        store.round_record(store.paths.round(folder))
        for folder in store.paths.newest("confirm")
        if store.paths.round(folder).closed.exists()
    ]
    open_round = store.open_folder() or store.open_folder("confirm")
    return {
        "study": config.study,
        "folder": str(store.paths.root),
        "task": config.task,
        "trainer": config.trainer,
        "objective": {"metric": config.metric, "direction": config.direction},
        "folds": list(config.folds),
        "seeds": list(config.seeds),
        "incumbent": incumbent,
        "rounds": [_closed_round(record) for record in records],
        "confirmations": [
            {"seeds": c["seeds"], "gain": c["gain"], "challenger": c["challenger"]} for c in confirmations
        ],
        "open": open_round_state(store, open_round) if open_round is not None else None,
    }


def _closed_round(record: Mapping[str, Any]) -> dict[str, Any]:
    names = ("name", "source", "value", "std", "n", "rows", "outcomes", "values", "message")
    candidates = [{name: c[name] for name in names} for c in record["candidates"]]
    return {"round": record["round"], "closed_at": record["closed_at"], "candidates": candidates}


def open_round_state(store: Store, paths: RoundPaths) -> dict[str, Any]:
    """The open round: its last step and every row's state as the disk tells it."""
    state: dict[str, Any] = {
        "round": paths.number,
        "folder": paths.root.name,
        "step": _last_step(paths),
        "rows": [],
    }
    try:
        manifest = load_manifest(paths.manifest)
    except ManifestProblem:
        # Not rendered yet; the step says so.
        return state
    state["rows"] = [row_state(paths, manifest, row) for row in manifest.rows]
    state["counts"] = dict(Counter(row["state"] for row in state["rows"]))
    return state


def _last_step(paths: RoundPaths) -> str:
    records = sorted(paths.steps.glob("*.json")) if paths.steps.is_dir() else []
    return records[-1].stem[3:] if records else "begun"


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


def print_overview(view: Mapping[str, Any], console: Console, *, only_round: int | None = None) -> None:
    """Rounds and candidates as one table, then the open round, the best and the confirmation."""
    from rich.table import Table
    from rich.text import Text

    goal = view["objective"]
    console.print(
        Text(
            f"{view['study']}: {view['trainer']} on {view['task']}, {goal['direction']} {goal['metric']}",
            style="bold",
        )
    )
    best = view["incumbent"]
    table = Table(box=None, pad_edge=False)
    for name, justify in (("round", "right"), ("candidate", "left"), ("source", "left"), ("trials", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    table.add_column(goal["metric"], justify="right")
    table.add_column("", justify="left", no_wrap=True, overflow="ellipsis")
    for entry in view["rounds"]:
        if only_round is not None and entry["round"] != only_round:
            continue
        for candidate in entry["candidates"]:
            chosen = best and (best["round"], best["candidate"]) == (entry["round"], candidate["name"])
            table.add_row(
                str(entry["round"]),
                candidate["name"],
                candidate["source"],
                Text(_outcomes(candidate["outcomes"])),
                _value(candidate),
                Text(f"best, {best['verdict']}" if chosen and best else " ".join(candidate["message"].split())[:200]),
            )
    console.print(table)
    if view["open"] is not None:
        console.print(open_table(view["open"]))
    for confirmation in view["confirmations"]:
        at, seeds = confirmation["challenger"], ", ".join(map(str, confirmation["seeds"]))
        head = f"round {at['round']} {at['candidate']} against the default at fresh seeds {seeds}"
        console.print(Text(f"{head}: {confirmation['gain']['text']}"))


def _outcomes(outcomes: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in outcomes.items())


def _value(candidate: Mapping[str, Any]) -> str:
    if candidate["value"] is None:
        return "-"
    spread = f" ±{candidate['std']:.4f}" if candidate["std"] is not None else ""
    return f"{candidate['value']:.4f}{spread} (n={candidate['n']})"


def open_table(state: Mapping[str, Any], *, most: int = 40) -> RenderableType:
    """The rows of an open round; beyond `most`, those that run or failed first."""
    from rich.table import Table
    from rich.text import Text

    counts = ", ".join(f"{count} {name}" for name, count in sorted(state.get("counts", {}).items()))
    title = f"round {state['round']} is open after step {state['step']}{': ' + counts if counts else ''}"
    table = Table(box=None, pad_edge=False, title=Text(title), title_justify="left")
    for name in ("row", "candidate", "fold", "seed", "state", "epoch", "value"):
        table.add_column(name)
    order = {"running": 0, "pending": 2, "ok": 3}
    rows = sorted(state["rows"], key=lambda row: (order.get(row["state"], 1), row["row"]))
    for row in sorted(rows[:most], key=lambda row: row["row"]):
        value = row.get("value")
        epoch = f"{row['epoch']}/{row['epochs']}" if row.get("epoch") is not None else ""
        cells = [str(row[name]) for name in ("row", "candidate", "fold", "seed", "state")]
        table.add_row(*cells, epoch, f"{value:.4f}" if isinstance(value, int | float) else "")
    if len(rows) > most:
        table.add_row("...", f"{len(rows) - most} more")
    return table
