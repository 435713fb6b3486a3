"""The state of a study as its journal and its files give it: derived again by every process, always the same."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent import acceptance
from agent.acceptance.rules_file import load_rules
from agent.budget import RESOURCES
from agent.orchestrator.stages import Round
from agent.orchestrator.training import circuit_breaker
from agent.orchestrator.training.rows import endings
from agent.orchestrator.training.submissions import submissions
from agent.records import CandidateResult, Place
from agent.report.tables import trials_csv
from agent.resources import shipped_rules
from agent.store.events import Charged, Intent, RoundClosed, Submitted
from agent.store.paths import RoundPaths
from agent.store.requests import cancelled_rows
from agent.store.store import Store


def derived(root: Path) -> str:
    """All that the next call goes on from, as JSON: rounds, submissions, ends of rows, hours, incumbent, breaker."""
    store = Store.open(root)
    ledger = store.ledger()
    state = {
        "next": store.next_number(),
        "open": str(store.open_folder()),
        "rounds": {paths.root.name: _round(store, paths) for paths in store.closed()},
        "history": [dataclasses.asdict(one) for one in store.history()],
        "incumbent": store.record(store.paths.incumbent),
        "hours": {resource: dataclasses.asdict(ledger.balance(resource)) for resource in RESOURCES},
        "unaccounted": ledger.unaccounted(),
        "paused": circuit_breaker.paused(store.journal),
    }
    return json.dumps(state, sort_keys=True, default=str)


def _round(store: Store, paths: RoundPaths) -> dict[str, Any]:
    return {
        "record": store.round_record(paths).to_json(),
        "submissions": [
            (kind, attempt, dataclasses.asdict(made))
            for kind in ("train", "eval")
            for attempt, made in submissions(store, paths, kind)
        ],
        "endings": endings(store, paths),
        "cancelled": sorted(cancelled_rows(store, paths)),
    }


def contradictions(root: Path) -> Iterator[str]:
    """Where journal and files do not tell the same, each as a line."""
    store = Store.open(root)
    yield from _incumbents(store)
    records = [store.round_record(paths) for paths in store.closed()]
    if store.paths.trials_csv.read_text() != trials_csv(store.config, records):
        yield "trials_summary.csv is not the table of the closed rounds"
    journaled = [entry.folder for entry in store.journal.of(RoundClosed)]
    if journaled != [paths.root.name for paths in store.closed()]:
        yield f"closed in the journal: {journaled}, on disk: {[paths.root.name for paths in store.closed()]}"
    if store.versions.edited():
        yield "the reference on disk is not the one that the journal wrote last"
    yield from _submissions(store)
    for paths in store.closed():
        yield from _steps(store, paths)
        yield from _ends(store, paths)


def _incumbents(store: Store) -> Iterator[str]:
    """The incumbents of all rounds again, from what the rounds measured alone."""
    metric, rules = store.config.metric, load_rules(shipped_rules())
    current: acceptance.Incumbent | None = None
    known: dict[Place, CandidateResult] = {}
    for paths in store.closed():
        record = store.round_record(paths)
        known |= {one.place: one for one in record.candidates}
        noise = acceptance.estimate({place: one.cells(metric) for place, one in known.items()})
        judged = record.candidates if current is not None else list(known.values())
        current = acceptance.judge_round(current, judged, known, noise, store.config.objective, rules).elect()
        if record.incumbent != current:
            yield f"round {paths.number}: incumbent {record.incumbent}, derived again {current}"
    standing = store.record(store.paths.incumbent) or {}
    standing.pop("sha256", None)
    if standing != (current.to_json() if current else {}):
        yield f"incumbent.json is {standing}, derived again {current}"


def _submissions(store: Store) -> Iterator[str]:
    """Each submission once, behind its intent and its charge; and each intent came to something."""
    names = [entry.name for entry in store.journal.of(Submitted)]
    if twice := {name for name in names if names.count(name) > 1}:
        yield f"submitted twice: {sorted(twice)}"
    first: dict[tuple[str, str], int] = {}
    for entry in store.journal.of(Intent, Charged, Submitted):
        first.setdefault((entry.event, entry.name), entry.seq)
    for name in names:
        order = [first.get((event, name), 0) for event in ("intent", "charge", "submitted")]
        if order != sorted(order) or 0 in order:
            yield f"{name}: intent, charge, submitted are entries {order}"
    charged = {name for event, name in first if event == "charge"}
    if lonely := charged - set(names):
        yield f"charged and not submitted: {sorted(lonely)}"


def _steps(store: Store, paths: RoundPaths) -> Iterator[str]:
    """Every step done, and the files that it read and wrote are still those."""
    steps = store.steps(paths, tuple(Round.steps))
    for name in Round.steps:
        record = steps.read(name)
        if record is None or not record.final:
            yield f"round {paths.number}: step {name} has no final record"
        elif name in ("apply", "render", "submit", "collect"):
            own = {place: sha for place, sha in record.outputs.items() if place.startswith(paths.root.name)}
            if changed := steps.changed(own):
                yield f"round {paths.number}: {name} wrote {changed}, which changed since"


def _ends(store: Store, paths: RoundPaths) -> Iterator[str]:
    """A trial without a score is what the journal says of its row's last attempt."""
    ends = endings(store, paths)
    for candidate in store.round_record(paths).candidates:
        for trial in candidate.trials:
            row, outcome = trial.row, trial.outcome
            last = ends[row][-1].outcome if row in ends else None
            if outcome not in ("ok", "bad_config", "gpu_oom") and outcome != last:
                yield f"round {paths.number} row {row}: {outcome} in round.json, {last} in the journal"
    for row, entries in ends.items():
        attempts = [entry.attempt for entry in entries]
        if attempts != sorted(set(attempts)):
            yield f"round {paths.number} row {row}: ends of attempts {attempts}"
