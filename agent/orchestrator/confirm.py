"""At the study's end: train the default and the winner again at fresh seeds, paired, and say what the gain was.

The winner of a search is partly the luckiest candidate; seeds that the search never used show what is left.
"""

from __future__ import annotations

from typing import Any

from agent import acceptance
from agent.orchestrator.assess import put_incumbent
from agent.orchestrator.context import StepResult, Work
from agent.orchestrator.prepare import AS_IT_STANDS
from agent.records import Observation
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
    """Whether there is a challenger of the default that was not yet held against it at fresh seeds."""
    if settings.confirm != "final" or not settings.auto_train:
        return False
    challenger, default = _challenger(store), _default(store)
    if challenger is None or default is None or default["value"] is None:
        return False
    folders = [store.paths.round(folder) for folder in store.paths.newest("confirm")]
    done = [store.round_record(paths) for paths in folders if paths.closed.exists()]
    return all(record["key"] != challenger.key for record in done)


def _challenger(store: Store) -> Observation | None:
    """The incumbent; where that is the default itself, the best of the others."""
    default = _default(store)
    others = [o for o in store.history() if default is None or o.key != default["key"]]
    best = acceptance.rank([o for o in others if o.complete], store.config.objective)
    return best[0] if best else None


def choose(work: Work) -> StepResult:
    """c00 is the default, c01 the winner, each with the very reference it was trained with before."""
    store, paths = work.store, work.paths
    challenger, default = _challenger(store), _default(store)
    assert challenger is not None and default is not None, "a confirmation begins only where both exist"
    rounds = {paths.number: paths for paths in store.closed()}
    chosen = [
        ("default", rounds[default["round"]].reference(default["name"]), default),
        ("challenger", rounds[challenger.round].reference(challenger.candidate), _entry_of(store, challenger)),
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
                "reason": f"confirmation of round {challenger.round} {challenger.candidate} at fresh seeds",
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
        store.journal.append("confirm_begun", folder=paths.root.name, key=challenger.key, seeds=seeds)
    decision = {
        "schema_version": 1,
        "task": store.config.task,
        "round": work.number,
        "seeds": seeds,
        "diagnosis": [],
        "notes": [],
        "challenger": {"round": challenger.round, "candidate": challenger.candidate},
        "candidates": entries,
        "refused": {},
    }
    store.disk.write_json(paths.decision, decision)
    count = len(seeds) * len(store.config.folds)
    name = f"round {challenger.round} {challenger.candidate}"
    message = f"confirming {name} against the default at fresh seeds: 2 x {count} trials"
    return StepResult(outputs=[paths.decision], details={"seeds": seeds}, message=message)


def assess(work: Work) -> StepResult:
    """The paired gain, its standard error, and the incumbent's verdict."""
    store, paths = work.store, work.paths
    manifest = load_manifest(paths.manifest)
    decision: Any = read_json_object(paths.decision)
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
        "challenger": decision["challenger"],
        "seeds": decision["seeds"],
        "objective": {"metric": store.config.metric, "direction": store.config.direction},
        "gain": gain.to_json() | {"text": gain.describe()},
    }
    _judge(store, decision["challenger"], record["key"], gain)
    if not any(e["folder"] == paths.root.name for e in store.journal.of("confirmed")):
        store.journal.append("confirmed", folder=paths.root.name, gain=gain.to_json())
    store.disk.write_json(paths.closed, record)
    at = decision["challenger"]
    message = f"round {at['round']} {at['candidate']} against the default at fresh seeds: {gain.describe()}"
    return StepResult(outputs=[paths.closed], message=message)


def _judge(store: Store, place: dict[str, Any], key: str, gain: acceptance.PairedGain) -> None:
    """Put the gain beside the incumbent. A challenger that is confirmed takes the default's place.

    The default may have led by one lucky run; the paired trials at fresh seeds are the better evidence.
    """
    current = acceptance.Incumbent.from_json(read_json_object(store.paths.incumbent))
    if current.key != key:
        if not gain.confirmed:
            return
        where = (place["round"], place["candidate"])
        observed = [o for o in store.history() if (o.round, o.candidate) == where]
        found = acceptance.incumbent(None, observed, store.config.objective)
        assert found is not None, "a challenger is complete and has a value"
        current = found
    default = _default(store)
    assert default is not None, "a confirmation begins only where there is a default"
    judged = current.judged(gain, against=default["key"])
    put_incumbent(store, judged, [store.round_record(paths) for paths in store.closed()])


def _default(store: Store) -> dict[str, Any] | None:
    """The entry of what the study began with: the first reference as it stood that has a value, else round 1's c00.

    It has `round` beside the entry's own fields.
    """
    entries = [
        entry | {"round": paths.number}
        for paths in store.closed()
        for entry in store.round_record(paths)["candidates"]
        if entry["source"] in AS_IT_STANDS
    ]
    return next((entry for entry in entries if entry["value"] is not None), entries[0] if entries else None)


def _entry_of(store: Store, chosen: Observation) -> dict[str, Any]:
    paths = next(r for r in store.closed() if r.number == chosen.round)
    entries: list[dict[str, Any]] = store.round_record(paths)["candidates"]
    return next(entry for entry in entries if entry["name"] == chosen.candidate)
