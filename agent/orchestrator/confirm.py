"""At the study's end: train the default and the winner again at fresh seeds, paired, and say what the gain was.

The winner of a search is partly the luckiest candidate; seeds that the search never used show what is left.
"""

from __future__ import annotations

from typing import Any

from agent import acceptance
from agent.orchestrator.context import StepResult, Work
from agent.store.disk import read_text
from agent.store.store import Store
from agent.store.study import Settings
from trainers.files import read_json_object
from trainers.layout import candidate_name
from trainers.manifest import load_manifest
from trainers.results import read_row

#: Fresh seeds begin this far above the study's own.
SEED_OFFSET = 1000


def wanted(store: Store, settings: Settings) -> bool:
    """Whether there is a winner other than the default that was not yet confirmed."""
    if settings.confirm != "final" or not settings.auto_train:
        return False
    incumbent, default = _incumbent(store), _default(store)
    if incumbent is None or default is None or default["value"] is None or incumbent.key == default["key"]:
        return False
    done = [
        store.round_record(store.paths.round(folder))
        for folder in store.paths.newest("confirm")
        if store.paths.round(folder).closed.exists()
    ]
    return all(record["key"] != incumbent.key for record in done)


def choose(work: Work) -> StepResult:
    """c00 is the default, c01 the winner, each with the very reference it was trained with before."""
    store, paths = work.store, work.paths
    incumbent, default = _incumbent(store), _default(store)
    assert incumbent is not None and default is not None, "a confirmation begins only where both exist"
    first = store.closed()[0]
    winner = next(r for r in store.closed() if r.number == incumbent.round)
    chosen = [
        ("default", first.reference(candidate_name(0)), default),
        ("incumbent", winner.reference(incumbent.candidate), _entry_of(store, incumbent)),
    ]
    entries = []
    for position, (source, path, entry) in enumerate(chosen):
        name = candidate_name(position)
        text = read_text(path)
        store.disk.make_folder(paths.candidate(name))
        store.disk.write(paths.reference(name), text)
        entries.append(
            {
                "name": name,
                "source": source,
                "reason": f"confirmation of round {incumbent.round} {incumbent.candidate} at fresh seeds",
                "key": entry["key"],
                "sha256": entry["sha256"],
                "values": entry["values"],
                "changes": {},
                "details": {},
            }
        )
    used = [entry["seeds"] for entry in store.journal.of("confirm_begun") if entry["folder"] != paths.root.name]
    start = max([*store.config.seeds, *(seed for seeds in used for seed in seeds)]) + (1 if used else SEED_OFFSET)
    seeds = list(range(start, start + work.settings.confirm_seeds))
    if not any(e["folder"] == paths.root.name for e in store.journal.of("confirm_begun")):
        store.journal.append("confirm_begun", folder=paths.root.name, key=incumbent.key, seeds=seeds)
    decision = {
        "schema_version": 1,
        "task": store.config.task,
        "round": work.number,
        "seeds": seeds,
        "diagnosis": [],
        "notes": [f"paired confirmation of {incumbent.describe()}"],
        "candidates": entries,
        "refused": {},
    }
    store.disk.write_json(paths.decision, decision)
    count = len(seeds) * len(store.config.folds)
    message = f"confirming round {incumbent.round} {incumbent.candidate} against the default: 2 x {count} trials"
    return StepResult(outputs=[paths.decision], details={"seeds": seeds}, message=message)


def assess(work: Work) -> StepResult:
    """The paired gain, its standard error, and the incumbent's verdict."""
    store, paths = work.store, work.paths
    manifest = load_manifest(paths.manifest)
    decision: Any = read_json_object(paths.decision)
    incumbent = _incumbent(store)
    assert incumbent is not None, "an incumbent is never removed"
    values: dict[str, dict[tuple[int, int], float]] = {name: {} for name in manifest.candidates}
    for row in manifest.rows:
        result = read_row(paths, manifest, row)
        if result is not None and result.outcome == "ok":
            values[row.candidate][row.fold, row.seed] = result.metrics[manifest.objective]
    gain = acceptance.paired_gain(values["c00"], values["c01"], store.config.objective)
    record = {
        "schema_version": 1,
        "kind": "confirm",
        "round": work.number,
        "closed_at": store.clock().isoformat(),
        "key": decision["candidates"][1]["key"],
        "candidate": {"round": incumbent.round, "name": incumbent.candidate},
        "seeds": decision["seeds"],
        "objective": {"metric": store.config.metric, "direction": store.config.direction},
        "gain": gain.to_json(),
    }
    if incumbent.key == record["key"]:
        verdict = "confirmed" if gain.confirmed else incumbent.verdict
        store.disk.write_json(store.paths.incumbent, incumbent.with_verdict(verdict, gain).to_json())
    if not any(e["folder"] == paths.root.name for e in store.journal.of("confirmed")):
        store.journal.append("confirmed", folder=paths.root.name, gain=gain.to_json())
    store.disk.write_json(paths.closed, record)
    return StepResult(outputs=[paths.closed], message=gain.describe())


def _incumbent(store: Store) -> acceptance.Incumbent | None:
    path = store.paths.incumbent
    return acceptance.Incumbent.from_json(read_json_object(path)) if path.exists() else None


def _default(store: Store) -> dict[str, Any] | None:
    """The entry of round 1's c00, what the study began with."""
    closed = store.closed()
    if not closed or closed[0].number != 1:
        return None
    entry: dict[str, Any] = store.round_record(closed[0])["candidates"][0]
    return entry


def _entry_of(store: Store, incumbent: acceptance.Incumbent) -> dict[str, Any]:
    paths = next(r for r in store.closed() if r.number == incumbent.round)
    entries: list[dict[str, Any]] = store.round_record(paths)["candidates"]
    return next(entry for entry in entries if entry["name"] == incumbent.candidate)
