"""Turning checked proposals into files: candidates' references, the rewritten study reference, manifest, scripts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agent.errors import InputChanged, InvalidProfile, ProposalError, SchedulerUnavailable, UsageError
from agent.launch.catalogue import capabilities_of
from agent.launch.gpus import none_left, refuse_idle, silent_on_gpus, taken, unasked
from agent.launch.render import Rendered, manual_commands, render_round
from agent.launch.scheduler import Pace, SlurmReader
from agent.orchestrator.work import StepResult, Work
from agent.records import Proposal
from agent.reference import Reference, Successor, as_successor, parse_reference, successor
from agent.store.decision import Candidate, CheckedProposals, Continues, NamedProposal, Proposals, RoundDecision
from agent.store.disk import read_text
from agent.store.paths import RoundPaths
from agent.store.record import RungRecord
from agent.store.store import Store
from agent.store.versions import sha256
from trainers.files import parse_json_object, read_json_object
from trainers.layout import candidate_name
from trainers.manifest import Manifest, Row, load_manifest

#: slurm.conf(5): what MaxArraySize is where a site says nothing.
DEFAULT_ARRAY_SIZE = 1001
#: A controller that does not answer must not keep a person waiting for scripts that need none.
LIMIT_TIMEOUT_S = 20.0

#: Sources whose candidate is the reference as it stands, not a change of it.
AS_IT_STANDS = ("default", "person")


def apply(work: Work) -> StepResult:
    """Give each valid proposal its reference; c00's becomes the study's, after the one before is archived."""
    proposed, checked = work.store.proposals(work.paths), work.store.checked(work.paths)
    before, before_text = before_of(work)
    valid = survivors(work, checked)
    if not valid:
        raise ProposalError(f"{work.paths.checked}: no proposal of round {work.number} passed the checks")
    outputs = []
    chosen = []
    for position, one in enumerate(valid):
        name = candidate_name(position)
        made = candidate_of(work, before, before_text, one.proposal)
        work.store.disk.make_folder(work.paths.candidate(name))
        work.store.disk.write(work.paths.reference(name), made.text)
        outputs.append(work.paths.reference(name))
        chosen.append(decided(name, one.proposal, before, made))
    first = read_text(work.paths.reference(candidate_name(0)))
    if not work.rerun:
        _archive(work, before_text, before, edited=proposed.person_edited)
        _rewrite_study(work, before_text, before, first, valid[0].proposal.source)
    names = {candidate_name(position): one.name for position, one in enumerate(valid)}
    continues = all_continued(work.store, work.paths, names)
    work.store.disk.write_json(work.paths.decision, _decision(work, proposed, checked, chosen, continues).to_json())
    inputs = [work.paths.proposals, work.paths.checked, work.paths.before]
    inputs += [paths.closed for paths in rung_folders(work.store, work.paths)]
    return StepResult(inputs=inputs, outputs=[*outputs, work.paths.decision])


def before_of(work: Work) -> tuple[Reference, str]:
    """The reference that a round's proposals were made from, and its text."""
    text = read_text(work.paths.before)
    return _parsed(text, str(work.paths.before)), text


def candidate_of(work: Work, before: Reference, before_text: str, proposal: Proposal) -> Successor:
    """A proposal's reference: of round 1's default the very file that the person has."""
    if work.number == 1 and proposal.source in AS_IT_STANDS:
        return replace(Successor.of(before), text=before_text)
    return _successor(work, before, proposal)


def survivors(work: Work, checked: CheckedProposals | None = None) -> list[NamedProposal]:
    """The valid proposals of a round that its closed rungs left in, in their order.

    checked: checked_hyperparameters.json, where it was read already.
    """
    valid = (checked or work.store.checked(work.paths)).valid
    for rung in closed_rungs(work.store, work.paths):
        valid = [one for one in valid if one.name in rung.result.promoted]
    return valid


def rung_folders(store: Store, paths: RoundPaths) -> list[RoundPaths]:
    """A round's closed rungs, in their order."""
    folders = (store.folder(begun.folder) for begun in store.rungs(paths))
    return [folder for folder in folders if folder.over]


def closed_rungs(store: Store, paths: RoundPaths) -> list[RungRecord]:
    """Their round.json, without one that closed on nothing and is trained again."""
    records = [store.rung_record(folder) for folder in rung_folders(store, paths)]
    return [record for record in records if record.result.promoted]


def all_continued(store: Store, paths: RoundPaths, names: Mapping[str, str]) -> Continues:
    """Candidate -> where its proposal was trained before, [folder, candidate], the newest rung first.

    names: candidate -> the name of its proposal, which is what rungs call it.
    """
    folders = [record.folder for record in reversed(closed_rungs(store, paths))]
    return {candidate: [[folder, own] for folder in folders] for candidate, own in names.items()} if folders else {}


def _successor(work: Work, before: Reference, proposal: Proposal) -> Successor:
    version = before.version + (work.number > 1)
    if proposal.source in AS_IT_STANDS:
        trained = work.store.closed(below=work.number)[-1].reference(candidate_name(0))
        parent = _parsed(read_text(trained), str(trained))
        edited = as_successor(
            before,
            parent=parent,
            round=work.number,
            version=parent.version + 1,
            source=proposal.source,
            reasons=proposal.reason,
        )
        return Successor.of(edited)
    return successor(
        before,
        proposal.values,
        round=work.number,
        version=version,
        source=proposal.source,
        reasons=proposal.reason,
    )


def decided(name: str, proposal: Proposal, before: Reference, made: Successor) -> Candidate:
    """A proposal as a candidate of the decision."""
    old, new = before.effective(), made.effective
    changes = {
        key: {"from": old.get(key), "to": new.get(key)} for key in {**old, **new} if old.get(key) != new.get(key)
    }
    return Candidate(
        name=name,
        source=proposal.source,
        reason=proposal.reason,
        key=made.key,
        sha256=sha256(made.text),
        values=new,
        changes=changes,
        details=proposal.details,
    )


def _decision(
    work: Work, proposed: Proposals, checked: CheckedProposals, chosen: list[Candidate], continues: Continues
) -> RoundDecision:
    return RoundDecision(
        task=work.store.config.task,
        round=work.number,
        findings=proposed.findings,
        model_diagnosis=checked.model_diagnosis,
        plan=checked.plan,
        # By the settings of the steps that asked: a call that was killed may have been followed by one with others.
        agents_saw_test=any(bool(step.settings.get("agents_see_test")) for step in (proposed, checked)),
        incumbent=proposed.incumbent,
        notes=checked.notes,
        critique=checked.critique,
        candidates=chosen,
        replaced=checked.replaced,
        refused=checked.refused,
        continues=continues,
    )


def _archive(work: Work, before_text: str, before: Reference, *, edited: bool) -> None:
    """Keep what stood (A-S4). A person's edit overwrote what Roundtable had written: that is kept under its round,
    the edit under the round that it begins. Round 1 trains the file as it stands and overwrites nothing."""
    if work.number == 1:
        return
    versions = work.store.versions
    if not edited:
        versions.archive(before_text, before.round)
        return
    newest = (work.store.paths.round(folder) for folder in reversed(work.store.paths.folders()))
    others = [paths.reference(candidate_name(0)) for paths in newest if paths.root != work.paths.root]
    written = next((path for path in others if path.exists() and versions.is_last_written(read_text(path))), None)
    if written is None:
        trained = work.store.closed(below=work.number)[-1]
        written = trained.reference(candidate_name(0))
    text = read_text(written)
    versions.archive(text, _parsed(text, str(written)).round)
    versions.archive(before_text, work.number)


def _rewrite_study(work: Work, before_text: str, before: Reference, first: str, source: str) -> None:
    """Write c00's reference, after what stood was archived. Every part can be repeated after a kill."""
    versions, number = work.store.versions, work.number
    if number == 1:
        # The first round trains the file as it stands: nothing is rewritten, but from here on edits are noticed.
        versions.journal_written(before_text, round_number=1, version=before.version, source=source)
        return
    if versions.current_text() not in (before_text, first) and versions.edited():
        raise InputChanged(
            f"{work.store.paths.reference}: edited while round {number} was prepared; call again to use the edit"
        )
    parsed = _parsed(first, "c00")
    versions.rewrite(first, round_number=number, version=parsed.version, source=source)


def _parsed(text: str, name: str) -> Reference:
    return parse_reference(parse_json_object(text, name=name), file=name)


def settings_changed(work: Work, details: Mapping[str, Any]) -> list[str]:
    """What an unsubmitted round would be rendered differently for now. Scripts once made for SLURM stay so: a person
    who comes back to collect need not say --slurm again."""
    changed = ["the profile"] if details["profile"] != _profile_sha256(work) else []
    if details.get("requeue_on_timeout", False) != work.tools.profile.requeue_on_timeout:
        changed.append("--requeue-on-timeout")
    return changed + (["--slurm"] if _for_slurm(work) and not details["slurm"] else [])


def _for_slurm(work: Work) -> bool:
    if work.settings.slurm:
        return True
    return work.settings.auto_train and capabilities_of(work.settings.launcher).array_scripts


def _profile_sha256(work: Work) -> str | None:
    path = work.store.paths.profile
    return sha256(read_text(path)) if path.exists() else None


def render(work: Work) -> StepResult:
    """Write the manifest and the scripts of the round."""
    return _write(work, build_manifest(work), slurm=_for_slurm(work))


def render_again(work: Work, *, slurm: bool) -> StepResult:
    """Write the scripts of a rendered round for the folder that it lies in now; its rows stay."""
    return _write(work, load_manifest(work.paths.manifest), slurm=slurm)


def _write(work: Work, manifest: Manifest, *, slurm: bool) -> StepResult:
    refuse_idle(work.tools.profile, work.tools.trainer)
    _refuse_pruned(work)
    if words := unasked(work.tools.profile, work.tools.trainer) if slurm else _no_gpu_here(work):
        work.say(words)
    if work.settings.auto_train and (words := _taken(work)):
        work.say(words)
    rendered = _rendered(work, manifest, slurm=slurm)
    disk = work.store.disk
    if not work.settings.auto_train and not work.tools.python.exists():
        work.say(f"{work.tools.python} is not there yet: make that environment before the scripts run")
    disk.make_folder(work.paths.logs)
    if manifest.trainer_file:
        disk.write(work.paths.trainer_file, read_text(work.store.paths.trainer_file))
    disk.write(work.paths.manifest, manifest.to_text())
    for path, text in rendered.texts.items():
        disk.write(path, text)
        work.tools.check_script(path)
    inputs = [work.paths.reference(name) for name in manifest.candidates]
    by_hand = slurm and not work.settings.auto_train
    limit = _most_tasks(work) if by_hand else work.tools.profile.max_array_size
    commands = manual_commands(rendered, slurm=slurm, max_array_size=limit, shell=os.environ)
    outputs = [work.paths.manifest, *rendered.texts]
    details = {
        "commands": commands,
        "most_tasks": limit,
        "slurm": slurm,
        "profile": _profile_sha256(work),
        "requeue_on_timeout": work.tools.profile.requeue_on_timeout,
    }
    return StepResult(inputs=inputs, outputs=outputs, details=details)


def _rendered(work: Work, manifest: Manifest, *, slurm: bool) -> Rendered:
    return render_round(
        work.paths,
        slug=work.store.config.slug,
        round=work.number,
        manifest=manifest,
        profile=work.tools.profile,
        python=work.tools.python,
        import_root=work.tools.import_root,
        slurm=slurm,
        secrets=work.tools.secrets,
    )


def commands_for(work: Work, manifest: Manifest, rows: Sequence[int], positions: Sequence[int]) -> list[str]:
    """The lines that a person runs for these rows and candidates of a rendered round alone."""
    record = work.steps.read("render")
    slurm = bool(record.details["slurm"]) if record is not None else _for_slurm(work)
    rendered = _rendered(work, manifest, slurm=slurm)
    prepared = work.paths.prepared.exists() and read_json_object(work.paths.prepared).get("outcome") == "ok"
    return manual_commands(
        rendered,
        slurm=slurm,
        max_array_size=record.details.get("most_tasks") if record is not None else None,
        shell=os.environ,
        rows=rows,
        evaluate=manifest.evaluation_items(positions),
        prepared=prepared,
    )


def refresh_scripts(work: Work) -> None:
    """Render an open round's scripts again where its profile was changed since: rows that are started again must find
    the python and the set-up lines that a person mended. Tasks that run keep what they have read.
    """
    steps = work.steps
    record = steps.read("render")
    if record is None or record.details["profile"] == _profile_sha256(work):
        return
    made = render_again(work, slurm=bool(record.details["slurm"]))
    work.say(f"{work.label}: the profile was changed: its scripts are rendered again")
    found = replace(record, outputs=steps.hashes(made.outputs), details={**record.details, **made.details})
    steps.write(found, at=work.store.clock())


def _most_tasks(work: Work) -> int:
    """Most tasks of an array that a person submits: the profile's, SLURM's, or its default where nobody answers."""
    given = work.tools.profile.max_array_size
    reader = SlurmReader(Pace(timeout_s=LIMIT_TIMEOUT_S), cluster=work.tools.profile.cluster)
    try:
        limit = reader.most_tasks()
    except (SchedulerUnavailable, UsageError) as error:
        work.log(f"SLURM's limit on arrays is not known ({error}): {DEFAULT_ARRAY_SIZE} tasks an array")
        limit = given or DEFAULT_ARRAY_SIZE
    limit = limit or DEFAULT_ARRAY_SIZE
    return min(limit, given or limit)


def _refuse_pruned(work: Work) -> None:
    """Raises InvalidProfile where a checkpoint would be removed that the study reads later."""
    kept = work.tools.profile.keep_checkpoints
    needed = {
        "best": work.settings.rungs > 1 and "rungs go on from last checkpoints",
        "last": work.settings.use_test and "--use-test-data tests the best ones",
    }
    if kept in needed and (why := needed[kept]):
        message = f"{why}: set it to both, or take it out"
        raise InvalidProfile.at("profile", message, where="keep_checkpoints", value=kept)


def _no_gpu_here(work: Work) -> str:
    tools = work.tools
    return none_left() if tools.trainer.uses_gpu and silent_on_gpus(tools.profile) else ""


def _taken(work: Work) -> str:
    """What to say of the GPUs that the local launcher is about to hand out."""
    from agent.launch.local import LocalLauncher

    launcher = work.tools.launcher()
    return taken(launcher.gpus) if isinstance(launcher, LocalLauncher) else ""


def build_manifest(work: Work) -> Manifest:
    """K candidates x folds x seeds, candidate by candidate, in one numbering; of a rung what its decision says."""
    config = work.store.config
    decision = work.store.decision(work.paths)
    trials = [
        (one.name, fold, seed)
        for one in decision.candidates
        for fold in decision.folds or config.folds
        for seed in decision.seeds or config.seeds
    ]
    settings = work.tools.profile
    use_test = work.settings.use_test and work.stage.tested
    return Manifest(
        study=config.study,
        task=config.task,
        trainer=config.trainer,
        trainer_file=work.paths.trainer_file.name if config.trainer_sha256 else None,
        round=work.number,
        objective=config.metric,
        direction=config.direction,
        folds=config.fold_count,
        epochs=decision.epochs or config.epochs,
        data=config.data,
        cpus=settings.cpus or 1,
        gpus=settings.gpu_count,
        use_test=use_test,
        # Models that run on test data need what they were trained with; folding results together is one small job.
        evaluation="array" if use_test else "job",
        continues=decision.continues,
        candidates={one.name: one.sha256 for one in decision.candidates},
        rows=tuple(
            Row(row=number, candidate=name, fold=fold, seed=seed) for number, (name, fold, seed) in enumerate(trials)
        ),
        extra={"kind": work.stage.kind},
    )
