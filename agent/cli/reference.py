"""`roundtable reference`: check, diff, history, restore."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import InvalidReference, UsageError
from agent.reference import Reference, describe, diff, is_old, load_reference, read_json

if TYPE_CHECKING:
    from agent.catalogue import Found
    from agent.store.store import Store


def run(parsed: argparse.Namespace) -> int:
    actions = {"check": _check, "diff": _diff, "history": _history, "restore": _restore}
    sys.stdout.write(actions[parsed.action](parsed) + "\n")
    return 0


def _check(parsed: argparse.Namespace) -> str:
    reference, found = _read(parsed.path, parsed.trainer)
    against = _held_against(parsed.path, reference, found)
    active = len(reference.effective())
    return (
        f"{parsed.path}: valid; {len(reference.parameters)} parameters, {active} active, "
        f"{len(reference.tunable())} tuned; objective: {reference.objective.direction} {reference.objective.metric}"
        f"{against}"
    )


def _read(path: Path, trainer: str | None) -> tuple[Reference, Found | None]:
    """The reference in a file, of the old form too where the trainer is named, and that trainer.

    Raises InvalidReference, InvalidTrainer.
    """
    raw = read_json(path)
    if trainer is not None:
        from agent.catalogue import find_trainer

        found = find_trainer(trainer)
        return found.reference("task", path), found
    if is_old(raw):
        message = "is of the form before schema_version; `--trainer NAME` says whose it is and checks it"
        raise InvalidReference.at(path, message)
    return load_reference(path), None


def _held_against(path: Path, reference: Reference, found: Found | None) -> str:
    """Hold a reference against its trainer, and one that lies in a study against the study's data too.

    found: a trainer that was named. Raises InvalidReference. Returns what it was held against, for the person.
    """
    from agent.fitting import Setting, check_fit, noted
    from trainers.registry import TRAINERS

    if found is not None:
        check_fit(reference, Setting(trainer=found.trainer, description=found.frozen), file=str(path))
        return f"; {found.trainer.name} can do all of it"

    if (path.parent / "study.yaml").exists():
        from agent.api.begin import trainer_of
        from agent.api.wiring import study_setting
        from agent.store.store import Store

        store = Store.open(path.parent.absolute())
        found = trainer_of(store)
        check_fit(reference, study_setting(store, found), file=str(path))
        notes = "".join(f"\n{line}" for line in noted(reference))
        return f"; {found.trainer.name} can do all of it with this study's data{notes}"
    if reference.trainer in TRAINERS:
        check_fit(reference, Setting(trainer=TRAINERS[reference.trainer]), file=str(path))
        return f"; {reference.trainer} can do all of it (what the data leaves, `roundtable init` says)"
    return f"; not held against a trainer: {reference.trainer} is none that ships"


def _diff(parsed: argparse.Namespace) -> str:
    for path in (parsed.old, parsed.new):
        if not path.exists():
            raise UsageError(
                f"{path}: no such file; an archived version of a study is given as "
                "runs/STUDY/history/hyperparameter_reference_round_N.json"
            )
    return _described(load_reference(parsed.old), load_reference(parsed.new))


def _history(parsed: argparse.Namespace) -> str:
    from agent.cli.common import study_folder
    from agent.store.store import Store

    store = Store.open(study_folder(parsed))
    lines = [f"{path.name}  {_source(store, path)}" for path in store.versions.archived()]
    current = store.paths.reference
    return "\n".join([*lines, f"{current.name}  {_source(store, current)}, current"])


def _source(store: Store, path: Path) -> str:
    """Who made a version. The header alone cannot tell: it still names the version that a person has edited."""
    from agent.store.disk import read_text
    from agent.store.events import ReferenceWritten
    from agent.store.versions import sha256

    own = sha256(read_text(path))
    known = [written.source for written in store.journal.of(ReferenceWritten) if written.sha256 == own]
    if not known:
        return "edited by hand"
    # "init" tells which command wrote the file; its header tells whether from the shipped reference or a person's.
    return f"source {load_reference(path).source if known[0] == 'init' else known[0]}"


def _restore(parsed: argparse.Namespace) -> str:
    from agent.cli.common import study_folder
    from agent.store.lease import held
    from agent.store.store import Store

    store = Store.open(study_folder(parsed))
    with held(store.paths.lease):
        if parsed.version != "last":
            return store.versions.restore(parsed.version, _described)
        path = store.versions.last_written()
        return store.versions.put_back(path, _described) if path is not None else _as_begun(store)


def _as_begun(store: Store) -> str:
    """Before round 1 there is no other copy: the reference that the trainer brings. Raises UsageError after it."""
    import tempfile

    from agent.api.begin import trainer_of

    if store.paths.folders():
        raise UsageError(
            f"{store.paths.root}: no file holds the reference that was written last; `roundtable reference history "
            "--study ...` lists what there is"
        )
    found = trainer_of(store)
    with tempfile.TemporaryDirectory(prefix="roundtable-reference-") as folder:
        path = Path(folder) / f"{store.config.trainer}.json"
        with path.open("x", encoding="utf-8") as stream:
            stream.write(found.reference(store.config.task, None).to_text())
        return store.versions.put_back(path, _described)


def _described(old: Reference, new: Reference) -> str:
    return describe(diff(old, new))
