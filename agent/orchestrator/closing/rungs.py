"""Rungs: a round's candidates are trained for few epochs on few folds first, and only the best go on to the round.

A rung is the machinery of a round with its own first and last step (`choose`, `assess`), in a folder
rungK_N_<timestamp> beside the round's. It comes between the round's `check` and `apply`. The round itself is the last
rung, trains its candidates in full, and is all that acceptance sees. Survivors go on from their checkpoints
(`Manifest.continues`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agent.errors import UsageError
from agent.halving import Entrant, Halving, promoted
from agent.orchestrator.closing import nothing_learnt
from agent.orchestrator.closing.assess import candidate_result, explained
from agent.orchestrator.training import render
from agent.orchestrator.training.rows import endings
from agent.orchestrator.work import Given, StepResult, Work
from agent.records import CandidateResult
from agent.reference import Reference, load_reference
from agent.store.decision import RungDecision
from agent.store.events import RungBegun
from agent.store.paths import RoundPaths
from agent.store.record import RungRecord, RungResult
from agent.store.study import Settings, StudyConfig
from agent.summaries import read_summary
from trainers.manifest import load_manifest
from trainers.registry import RegisteredTrainer


def full_epochs(config: StudyConfig, trainer: RegisteredTrainer, reference: Reference) -> int:
    """The epochs of a full training, which rungs are a share of. Raises UsageError where nothing says how many."""
    if config.epochs is not None:
        return config.epochs
    name = trainer.epochs_parameter
    if name is None or name not in reference.parameters:
        raise UsageError(f"--rungs: trainer {trainer.name} has no number of epochs to train fewer of; give --epochs")
    if name in reference.tunable():
        raise UsageError(f"--rungs: {name} is tuned in this study, so there is no full number of epochs; fix it")
    return int(reference.effective()[name])


def halving_of(settings: Settings, config: StudyConfig, trainer: RegisteredTrainer, reference: Reference) -> Halving:
    """The study's halving. Raises UsageError."""
    try:
        epochs = full_epochs(config, trainer, reference) if settings.rungs > 1 else 1
        return Halving(rungs=settings.rungs, eta=settings.eta, epochs=epochs)
    except ValueError as error:
        raise UsageError(str(error)) from error


# -- when ------------------------------------------------------------------------------------------------------


def next_of(work: Work) -> RoundPaths | None:
    """The rung that this open round waits for, begun if it was not; None where the round itself goes on."""
    steps = work.steps
    check, apply = steps.read("check"), steps.read("apply")
    if check is None or not check.final or (apply is not None and apply.final):
        return None
    begun = work.store.rungs(work.paths)
    for one in begun:
        paths = work.store.folder(one.folder)
        if not paths.over:
            return paths
    number = len(begun) + 1
    if begun and not work.store.rung_record(work.store.folder(begun[-1].folder)).result.promoted:
        # It closed on nothing, and its cause was told: its candidates are trained anew.
        number = len(begun)
    if not begun and work.settings.rungs == 1:
        return None
    if begun:
        # What was begun is finished as it was begun, whatever this call says.
        eta, epochs, folds = begun[-1].eta, begun[-1].epochs, begun[-1].folds
    else:
        reference = load_reference(work.paths.before)
        halving = halving_of(work.settings, work.store.config, work.tools.trainer, reference)
        eta, epochs = halving.eta, tuple(halving.budgets)
        folds = work.store.config.folds[: work.settings.rung_folds]
    rivals = [p for p in render.survivors(work) if not _seeded(p.proposal.source)]
    if number >= len(epochs) or len(rivals) < 2:
        return None
    paths = _unclaimed(work, f"rung{number}") or work.store.begin(work.number, f"rung{number}")
    work.store.journal.append(
        RungBegun(folder=paths.root.name, of=work.paths.root.name, rung=number, eta=eta, epochs=epochs, folds=folds)
    )
    return paths


def _unclaimed(work: Work, kind: str) -> RoundPaths | None:
    """A folder that was made and, killed at that moment, not journaled."""
    known = {begun.folder for begun in work.store.journal.of(RungBegun)}
    folders = [f for f in work.store.paths.folders(kind) if f.number == work.number and f.path.name not in known]
    return work.store.paths.round(folders[-1]) if folders else None


def _seeded(source: str) -> bool:
    return source in render.AS_IT_STANDS


# -- the steps -------------------------------------------------------------------------------------------------


def choose(work: Work) -> StepResult:
    """Write the references of the proposals that are still in, and how long and on what they are trained."""
    rung = _rung_of(work)
    parent = _parent(work, rung)
    epochs = rung.epochs[rung.rung - 1]
    before, text = render.before_of(parent)
    outputs, decided = [], []
    for one in render.survivors(parent):
        made, name = render.candidate_of(parent, before, text, one.proposal), one.name
        work.store.disk.make_folder(work.paths.candidate(name))
        work.store.disk.write(work.paths.reference(name), made.text)
        outputs.append(work.paths.reference(name))
        decided.append(render.decided(name, one.proposal, before, made))
    decision = RungDecision(
        task=work.store.config.task,
        round=work.number,
        of=rung.of,
        rung=rung.rung,
        epochs=epochs,
        folds=rung.folds,
        seeds=work.store.config.seeds[:1],
        continues=render.all_continued(work.store, parent.paths, {one.name: one.name for one in decided}),
        candidates=decided,
    )
    work.store.disk.write_json(work.paths.decision, decision.to_json())
    where = f"fold {', '.join(map(str, rung.folds))}"
    message = f"{work.label}: {len(decided)} candidates for {epochs} of {rung.epochs[-1]} epochs on {where}"
    return StepResult(inputs=[parent.paths.checked], outputs=[*outputs, work.paths.decision], message=message)


def assess(work: Work) -> StepResult:
    """Say who goes on; round.json closes the rung."""
    store, paths, objective = work.store, work.paths, work.store.config.objective
    rung, decision = _rung_of(work), store.decision(paths)
    assert decision.epochs is not None, "a rung's decision says how long it trains"
    ended = endings(store, paths)
    results = []
    for candidate in decision.candidates:
        path = paths.candidate_summary(candidate.name, "val")
        summary = explained(read_summary(path, objective, shipped=store.config.shipped), ended)
        results.append(candidate_result(work.number, candidate, summary))
    again = not nothing_learnt.measured(results) and not nothing_learnt.closed_by_person(work)
    kept = [] if again else _kept(work, results, rung.eta)
    record = RungRecord(
        folder=paths.root.name,
        round=work.number,
        closed_at=store.clock().isoformat(),
        objective=objective,
        result=RungResult(
            rung=rung.rung,
            epochs=decision.epochs,
            share=decision.epochs / rung.epochs[-1],
            folds=decision.folds,
            promoted=kept,
            candidates=results,
        ),
    )
    store.disk.write_json(paths.closed, record.to_json())
    values = {result.candidate: result.value for result in results}
    shown = ", ".join(name if (value := values[name]) is None else f"{name} {value:.4g}" for name in kept)
    message = f"{work.label}: {len(kept)} of {len(results)} go on: {shown}"
    if again:
        message = f"{work.label}: nothing was measured; it is trained again"
    inputs = [paths.candidate_summary(name, "val") for name in load_manifest(paths.manifest).candidates]
    return StepResult(inputs=inputs, outputs=[paths.closed], message=message)


def _kept(work: Work, results: Sequence[CandidateResult], eta: int) -> list[str]:
    """Who goes on; where nobody has a value the first alone, so that the round comes to an end that says why."""
    entrants = [
        Entrant(name=one.candidate, value=one.value if one.complete else None, seeded=_seeded(one.source))
        for one in results
    ]
    kept = promoted(entrants, work.store.config.objective, eta)
    if not kept:
        kept = [entrants[0].name]
        work.say(f"{work.label}: nobody has a value; {kept[0]} alone goes on, to end the round with its reason")
    return kept


def _rung_of(work: Work) -> RungBegun:
    """The rung that is being worked on, as it was begun."""
    found = work.store.journal.last(RungBegun, folder=work.paths.root.name)
    assert found is not None, "a rung's folder is worked on once the journal has it"
    return found


def _parent(work: Work, rung: RungBegun) -> Work:
    """The round that the rung is of."""
    paths = work.store.folder(rung.of)
    rerun = paths.number < work.store.next_number() - 1
    assert work.stage.parent is not None
    return replace(work, paths=paths, stage=work.stage.parent, rerun=rerun, given=Given())
