"""Training at fresh seeds: the winner and what it is held against, paired, to say what the gain was; or replicates.

The winner of a search is partly the luckiest candidate; seeds that the search never used show what is left. It is the
same machinery as a round with its own first and last step.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace

from agent import acceptance
from agent.acceptance import Confirmation, Incumbent
from agent.orchestrator.closing import nothing_learnt
from agent.orchestrator.closing.accept import noise_of, results_in
from agent.orchestrator.closing.assess import put_incumbent
from agent.orchestrator.closing.fresh_seeds import Plan, after_last_round, before_next_round
from agent.orchestrator.work import StepResult, Work
from agent.records import CandidateResult, Place
from agent.store.decision import Candidate, ConfirmationDecision
from agent.store.disk import read_text
from agent.store.events import ConfirmationBegun, Confirmed
from agent.store.record import FINAL, REPLICATES, ConfirmationRecord, Position
from agent.store.store import Store
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
    for number, (source, result) in enumerate(chosen):
        name = candidate_name(number)
        text = read_text(rounds[result.round].reference(result.candidate))
        store.disk.make_folder(paths.candidate(name))
        store.disk.write(paths.reference(name), text)
        entries.append(
            Candidate(
                name=name,
                source=source,
                reason=_reason(plan),
                key=result.key,
                sha256=result.sha256,
                values=result.values,
            )
        )
    key = (plan.challenger or plan.base).key
    seeds = _fresh_seeds(work, key, _count(work, plan))
    decision = ConfirmationDecision(
        task=store.config.task,
        round=work.number,
        purpose=plan.purpose,
        seeds=seeds,
        base=_position(plan.base),
        challenger=_position(plan.challenger) if plan.challenger is not None else None,
        candidates=entries,
    )
    store.disk.write_json(paths.decision, decision.to_json())
    count = len(seeds) * len(store.config.folds)
    message = f"{_reason(plan)}: {len(entries)} x {count} trials{_cost(plan, count)}"
    return StepResult(outputs=[paths.decision], details={"seeds": seeds}, message=message)


def _count(work: Work, plan: Plan) -> int:
    """How many fresh seeds."""
    if plan.purpose == REPLICATES:
        assert work.settings.replicates is not None
        return work.settings.replicates
    return work.tools.rules.confirm_seeds or work.settings.confirm_seeds


def _reason(plan: Plan) -> str:
    if plan.challenger is None:
        return f"replicates of {_position(plan.base)} at fresh seeds, for the noise"
    against = "the default" if plan.purpose == FINAL else str(_position(plan.base))
    return f"confirming {_position(plan.challenger)} against {against} at fresh seeds"


def _cost(plan: Plan, count: int) -> str:
    """What it will take, from what the same settings took before."""
    seconds = 0.0
    for result in (plan.base, *([plan.challenger] if plan.challenger is not None else [])):
        spent = result.costs.get("wall_seconds")
        if spent is None or not result.n:
            return ""
        seconds += count * spent / result.n
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
    decision = store.confirmation_decision(paths)
    record = ConfirmationRecord(
        purpose=decision.purpose,
        round=work.number,
        closed_at=store.clock().isoformat(),
        challenger=decision.challenger,
        base=decision.base,
        seeds=decision.seeds,
        objective=store.config.objective,
        values=_values(work),
    )
    record, message = _replicates(work, record) if record.purpose == REPLICATES else _pair(work, decision, record)
    store.disk.write_json(paths.closed, replace(record, again=_again(work, record)).to_json())
    return StepResult(outputs=[paths.closed], message=message)


def _again(work: Work, record: ConfirmationRecord) -> bool:
    """Whether it is trained again: what machines lost confirms and refutes nothing."""
    return not learnt(work, record) and not nothing_learnt.closed_by_person(work)


def learnt(work: Work, record: ConfirmationRecord) -> bool:
    """Whether a confirmation or a set of replicates says anything, as closed or about to be."""
    return record.compared or nothing_learnt.settings_failed(work)


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


def _replicates(work: Work, record: ConfirmationRecord) -> tuple[ConfirmationRecord, str]:
    by_fold: dict[int, list[float]] = {}
    for (fold, _), value in record.values["c00"].items():
        by_fold.setdefault(fold, []).append(value)
    replicates = list(by_fold.values())
    noise = noise_of(work.store, _known(work.store), closing=work.paths, replicates=replicates)
    closed = Confirmed(folder=work.paths.root.name, noise=noise.to_json() if noise is not None else None)
    work.store.journal.append_once(closed, key=("folder",))
    found = replace(record, replicates=replicates, noise=noise)
    if noise is None:
        return found, "replicates: fewer than two ended ok, the noise stays unknown"
    varies = f"{noise.sd:.3g} (standard deviation, {noise.df} degrees of freedom)"
    return found, f"replicates: one trial varies by {varies}"


def _pair(work: Work, decision: ConfirmationDecision, record: ConfirmationRecord) -> tuple[ConfirmationRecord, str]:
    store, rules, objective = work.store, work.tools.rules, work.store.config.objective
    base: dict[Hashable, float] = dict(record.values["c00"].items())
    best: dict[Hashable, float] = dict(record.values["c01"].items())
    noise = noise_of(store, _known(store), closing=work.paths, gains=[acceptance.paired_gains(base, best, objective)])
    gain = acceptance.confirmation(base, best, objective, rules, noise)
    base_key, key = (candidate.key for candidate in decision.candidates)
    found = replace(record, key=key, gain=gain, gain_text=gain.describe(), noise=noise)
    change = "" if _again(work, found) else _judge(work, found, key, base_key, gain)
    store.journal.append_once(Confirmed(folder=work.paths.root.name, gain=gain.to_json()), key=("folder",))
    against = "the default" if record.purpose == FINAL else str(record.base)
    return found, f"{record.challenger} against {against} at fresh seeds: {gain.describe()}{change}"


def _known(store: Store) -> dict[Place, CandidateResult]:
    return results_in(store.round_record(paths) for paths in store.closed())


def _judge(work: Work, record: ConfirmationRecord, key: str, base_key: str, gain: Confirmation) -> str:
    """Put the gain beside the incumbent. A challenger that is confirmed takes the default's place; one without any
    gain at fresh seeds gives its place back: the paired trials are the better evidence. Returns what changed."""
    store = work.store
    current = Incumbent.from_json(store.read(store.paths.incumbent))
    known, at = _known(store), record.challenger
    assert at is not None, "a pair has a challenger"
    records = [store.round_record(paths) for paths in store.closed()]
    if current.key == key and gain.refuted:
        found = _former(work, record, base_key, known)
        put_incumbent(store, found, records)
        return f"; round {found.round} {found.candidate} is the incumbent again"
    if current.key != key:
        if not gain.confirmed:
            return ""
        current = Incumbent.of(known[at.round, at.candidate], store.config.metric)
    put_incumbent(store, current.judged(gain, against=base_key), records)
    return ""


def _former(
    work: Work, record: ConfirmationRecord, base_key: str, known: Mapping[Place, CandidateResult]
) -> Incumbent:
    """What the challenger was held against, with the standing that it had."""
    store, base = work.store, record.base
    closed = store.round_record(store.closed()[-1])
    before = closed.acceptance.against if closed.acceptance is not None else None
    if record.purpose != FINAL and before is not None and before.key == base_key:
        return before
    if base is not None:
        return Incumbent.of(known[base.round, base.candidate], store.config.metric)
    return Incumbent.of(next(one for one in known.values() if one.key == base_key), store.config.metric)


def _position(result: CandidateResult) -> Position:
    return Position(round=result.round, candidate=result.candidate, key=result.key)
