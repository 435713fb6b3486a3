"""Training at fresh seeds: the winner and what it is held against, paired, to say what the gain was; or replicates.

The winner of a search is partly the luckiest candidate; seeds that the search never used show what is left. It is the
same machinery as a round with its own first and last step.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

from agent import acceptance
from agent.acceptance import Confirmation, Incumbent
from agent.orchestrator.closing import nothing_learnt
from agent.orchestrator.closing.accept import measured_in, noise_json, noise_of
from agent.orchestrator.closing.assess import put_incumbent
from agent.orchestrator.closing.fresh_seeds import FINAL, REPLICATES, Entry, Plan, after_last_round, before_next_round
from agent.orchestrator.work import StepResult, Work
from agent.store.disk import read_text
from agent.store.events import ConfirmationBegun, Confirmed
from agent.store.store import Store
from trainers.files import read_json_object
from trainers.layout import candidate_name
from trainers.manifest import load_manifest
from trainers.results import read_row

#: Fresh seeds begin this far above the study's own.
SEED_OFFSET = 1000


def choose(work: Work) -> StepResult:
    """c00 is what is held against, c01 the winner, each with the very reference it was trained with before."""
    store, paths = work.store, work.paths
    # Its folder was begun because it was wanted then; a later call, after a kill, may have other settings.
    begun = replace(work.settings, confirm="final", auto_train=True)
    plan = before_next_round(store, work.settings) or after_last_round(store, begun)
    assert plan is not None, "a confirmation begins only where there is something to train"
    rounds = {one.number: one for one in store.closed()}
    chosen = [("default" if plan.purpose == FINAL else "incumbent", plan.base)]
    chosen += [("challenger", plan.challenger)] if plan.challenger is not None else []
    entries = []
    for position, (source, entry) in enumerate(chosen):
        name = candidate_name(position)
        text = read_text(rounds[entry["round"]].reference(entry["name"]))
        store.disk.make_folder(paths.candidate(name))
        store.disk.write(paths.reference(name), text)
        entries.append(
            {
                "name": name,
                "source": source,
                "reason": _reason(plan),
                "key": entry["key"],
                "sha256": entry["sha256"],
                "values": entry["values"],
                "changes": {},
                "details": {},
            }
        )
    key = (plan.challenger or plan.base)["key"]
    seeds = _fresh_seeds(work, key, _count(work, plan))
    decision = {
        "schema_version": 1,
        "task": store.config.task,
        "round": work.number,
        "purpose": plan.purpose,
        "seeds": seeds,
        "diagnosis": [],
        "notes": [],
        "base": _place(plan.base),
        "challenger": _place(plan.challenger) if plan.challenger is not None else None,
        "candidates": entries,
        "refused": {},
    }
    store.disk.write_json(paths.decision, decision)
    count = len(seeds) * len(store.config.folds)
    message = f"{_reason(plan)}: {len(entries)} x {count} trials{_cost(entries, plan, count)}"
    return StepResult(outputs=[paths.decision], details={"seeds": seeds}, message=message)


def _count(work: Work, plan: Plan) -> int:
    """How many fresh seeds."""
    if plan.purpose == REPLICATES:
        assert work.settings.replicates is not None
        return work.settings.replicates
    return work.tools.rules.confirm_seeds or work.settings.confirm_seeds


def _reason(plan: Plan) -> str:
    if plan.challenger is None:
        return f"replicates of {_name(plan.base)} at fresh seeds, for the noise"
    against = "the default" if plan.purpose == FINAL else _name(plan.base)
    return f"confirming {_name(plan.challenger)} against {against} at fresh seeds"


def _cost(entries: list[dict[str, Any]], plan: Plan, count: int) -> str:
    """What it will take, from what the same settings took before."""
    seconds = 0.0
    for entry in (plan.base, *([plan.challenger] if plan.challenger is not None else [])):
        spent = entry.get("costs", {}).get("wall_seconds")
        if not isinstance(spent, int | float) or not entry["n"]:
            return ""
        seconds += count * spent / entry["n"]
    return f", about {seconds / 60:.1f} minutes of training in all"


def _fresh_seeds(work: Work, key: str, count: int) -> list[int]:
    """Seeds that neither the study nor an earlier confirmation used; journaled once."""
    journal, folder = work.store.journal, work.paths.root.name
    used = [begun.seeds for begun in journal.of(ConfirmationBegun) if begun.folder != folder]
    start = max([*work.store.config.seeds, *(seed for seeds in used for seed in seeds)]) + (
        1 if used else SEED_OFFSET
    )
    seeds = list(range(start, start + count))
    journal.append_once(ConfirmationBegun(folder=folder, key=key, seeds=tuple(seeds)), key=("folder",))
    return seeds


def assess(work: Work) -> StepResult:
    """The paired gain and the incumbent's verdict; of replicates the noise."""
    store, paths = work.store, work.paths
    decision: Any = read_json_object(paths.decision)
    values = _values(work)
    record = {
        "schema_version": 1,
        "kind": "confirm",
        # Of a decision of an earlier version, which had one purpose and the default as its base.
        "purpose": decision.get("purpose", FINAL),
        "round": work.number,
        "closed_at": store.clock().isoformat(),
        "challenger": decision["challenger"],
        "seeds": decision["seeds"],
        "objective": {"metric": store.config.metric, "direction": store.config.direction},
        "values": {
            name: [{"fold": fold, "seed": seed, "value": value} for (fold, seed), value in cells.items()]
            for name, cells in values.items()
        },
    }
    if "base" in decision:
        record["base"] = decision["base"]
    if record["purpose"] == REPLICATES:
        message = _close_replicates(work, record, values["c00"])
    else:
        message = _close_pair(work, decision, record, values)
    if _again(work, record):
        record["again"] = True
    store.disk.write_json(paths.closed, record)
    return StepResult(outputs=[paths.closed], message=message)


def _again(work: Work, record: Mapping[str, Any]) -> bool:
    """Whether it is trained again: what machines lost confirms and refutes nothing."""
    return not work.stage.learnt(work, record) and not nothing_learnt.closed_by_person(work)


def compared(record: Mapping[str, Any]) -> bool:
    """Whether the record of a confirmation holds a pair of values, or a replicate."""
    return bool(any(record.get("replicates", ())) or (record.get("gain") or {}).get("n"))


Cells = dict[tuple[int, int], float]


def _values(work: Work) -> dict[str, Cells]:
    """Candidate -> (fold, seed) -> value."""
    manifest = load_manifest(work.paths.manifest)
    values: dict[str, Cells] = {name: {} for name in manifest.candidates}
    for row in manifest.rows:
        result = read_row(work.paths, manifest, row)
        if result is not None and result.outcome == "ok":
            values[row.candidate][row.fold, row.seed] = result.metrics[manifest.objective]
    return values


def _close_replicates(work: Work, record: dict[str, Any], cells: Cells) -> str:
    by_fold: dict[int, list[float]] = {}
    for (fold, _), value in cells.items():
        by_fold.setdefault(fold, []).append(value)
    record["replicates"] = list(by_fold.values())
    noise = noise_of(work.store, _known(work.store), closing=work.paths, replicates=record["replicates"])
    record["noise"] = noise_json(noise)
    closed = Confirmed(folder=work.paths.root.name, noise=record["noise"])
    work.store.journal.append_once(closed, key=("folder",))
    if noise is None:
        return "replicates: fewer than two ended ok, the noise stays unknown"
    return f"replicates: one trial varies by {noise.sd:.3g} (standard deviation, {noise.df} degrees of freedom)"


def _close_pair(work: Work, decision: Any, record: dict[str, Any], values: Mapping[str, Cells]) -> str:
    store, rules, objective = work.store, work.tools.rules, work.store.config.objective
    base: dict[Hashable, float] = dict(values["c00"].items())
    best: dict[Hashable, float] = dict(values["c01"].items())
    noise = noise_of(store, _known(store), closing=work.paths, gains=[acceptance.paired_gains(base, best, objective)])
    gain = acceptance.confirmation(base, best, objective, rules, noise)
    key, base_key = (decision["candidates"][position]["key"] for position in (1, 0))
    record |= {"key": key, "gain": gain.to_json() | {"text": gain.describe()}, "noise": noise_json(noise)}
    change = "" if _again(work, record) else _judge(work, record, key, base_key, gain)
    store.journal.append_once(Confirmed(folder=work.paths.root.name, gain=gain.to_json()), key=("folder",))
    at = decision["challenger"]
    against = "the default" if record["purpose"] == FINAL else "round {round} {candidate}".format(**record["base"])
    return f"round {at['round']} {at['candidate']} against {against} at fresh seeds: {gain.describe()}{change}"


def _known(store: Store) -> dict[acceptance.Place, acceptance.Measured]:
    return measured_in(store, [store.round_record(paths) for paths in store.closed()])


def _judge(work: Work, record: Mapping[str, Any], key: str, base_key: str, gain: Confirmation) -> str:
    """Put the gain beside the incumbent. A challenger that is confirmed takes the default's place; one without any
    gain at fresh seeds gives its place back: the paired trials are the better evidence. Returns what changed."""
    store = work.store
    current = Incumbent.from_json(read_json_object(store.paths.incumbent))
    known = _known(store)
    at = record["challenger"]
    challenger = known[at["round"], at["candidate"]]
    if current.key == key and gain.refuted:
        found = _former(work, record, base_key, known)
        put_incumbent(store, found, [store.round_record(paths) for paths in store.closed()])
        return f"; round {found.round} {found.candidate} is the incumbent again"
    if current.key != key:
        if not gain.confirmed:
            return ""
        current = Incumbent.of(challenger, store.config.metric)
    judged = current.judged(gain, against=base_key)
    put_incumbent(store, judged, [store.round_record(paths) for paths in store.closed()])
    return ""


def _former(
    work: Work,
    record: Mapping[str, Any],
    base_key: str,
    known: Mapping[acceptance.Place, acceptance.Measured],
) -> Incumbent:
    """What the challenger was held against, with the standing that it had."""
    closed = work.store.round_record(work.store.closed()[-1])
    before: Any = (closed.get("acceptance") or {}).get("against")
    if record["purpose"] != FINAL and before is not None and before["key"] == base_key:
        return Incumbent.from_json(before)
    if "base" in record:
        return Incumbent.of(known[record["base"]["round"], record["base"]["candidate"]], work.store.config.metric)
    return Incumbent.of(next(one for one in known.values() if one.key == base_key), work.store.config.metric)


def _place(entry: Entry) -> dict[str, Any]:
    return {"round": entry["round"], "candidate": entry["name"], "key": entry["key"]}


def _name(entry: Entry) -> str:
    return f"round {entry['round']} {entry['name']}"
