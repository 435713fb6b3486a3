"""What finished steps read must still be what they read: done again from there, or refused by name."""

from __future__ import annotations

from collections.abc import Sequence

from agent.errors import InputChanged
from agent.orchestrator.training import render
from agent.orchestrator.training.submissions import begun
from agent.orchestrator.work import Work
from agent.store.disk import read_text
from agent.store.steps import Status, StepRecord, Steps
from trainers.layout import candidate_name


def check(work: Work, steps: Steps, order: Sequence[str]) -> None:
    """Files that finished steps read must still be those files.

    Before anything was submitted, the steps from there on are done again; after that the change is refused by name.
    """
    if begun(work.store, work.paths):
        record = steps.read("submit")
        changed = steps.changed(record.inputs) if record is not None else []
        if changed:
            raise InputChanged(
                f"{work.store.paths.root / changed[0]}: changed after round {work.number} was submitted; put it back "
                f"as it was, or run the round again with --force-round {work.number}"
            )
        collected = steps.read("collect")
        if collected is not None and collected.final and steps.changed(collected.inputs):
            work.say(f"{work.label}: a summary changed; collecting again")
            steps.forget(["collect", "assess"])
        return
    thinned = bool(work.store.rungs(work.paths))
    for name in order:
        record = steps.read(name)
        if record is None or not record.final:
            continue
        changed = steps.changed(record.inputs)
        if name == "analyse":
            changed += _run_again_since(work, record)
        if name == "propose" and not work.rerun:
            applied = steps.read("apply") is not None
            # Candidates that were trained in rungs stay: an edit is for the next round.
            changed = [] if thinned and applied else _edited_since(work, applied=applied, changed=changed)
        if name in ("apply", "choose"):
            # What a person may edit is the study's reference; these files are made from it.
            changed += steps.changed(record.outputs)
        if name == "render":
            changed += render.settings_changed(work, record.details)
        if changed and thinned and order.index(name) < order.index("apply"):
            raise InputChanged(
                f"{work.store.paths.root / changed[0]}: changed while the rungs of round {work.number} are trained; "
                f"put it back as it was (the reference is kept in {work.paths.before}), or run the round again with "
                f"--force-round {work.number}"
            )
        if changed:
            work.say(f"{work.label}: {', '.join(changed)} changed; doing the round again from {name}")
            steps.forget(order[order.index(name) :])
            return
    rendered = steps.read("submit")
    if rendered is not None and rendered.status is Status.SKIPPED and work.settings.auto_train:
        work.say(f"{work.label}: was rendered for a person and nothing has begun; submitting it now")
        steps.forget(order[order.index("render") :])


def _run_again_since(work: Work, record: StepRecord) -> list[str]:
    """The round that this one was decided on, if it was run again since."""
    closed = work.store.closed(below=work.number)
    if not closed or not record.inputs:
        return []
    newest = str(closed[-1].closed.relative_to(work.store.paths.root))
    return [] if newest in record.inputs else [newest]


def _edited_since(work: Work, *, applied: bool, changed: list[str]) -> list[str]:
    """The study's reference, if a person changed it since this round's proposals were made from it.

    Its rewrite by this very round is no edit: once applied the journal knows it, and before that (killed within
    `apply`) it is the file that c00 has.
    """
    reference, first = work.store.paths.reference, work.paths.reference(candidate_name(0))
    if applied:
        return [reference.name] if work.store.versions.edited() else []
    if changed and first.exists() and read_text(first) == read_text(reference):
        return []
    return changed
