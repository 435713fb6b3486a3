"""`roundtable reference`: check, diff, history, restore."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import UsageError
from agent.reference import Reference, describe, diff, load_reference

if TYPE_CHECKING:
    from agent.store.store import Store


def run(parsed: argparse.Namespace) -> int:
    actions = {"check": _check, "diff": _diff, "history": _history, "restore": _restore}
    sys.stdout.write(actions[parsed.action](parsed) + "\n")
    return 0


def _check(parsed: argparse.Namespace) -> str:
    reference = load_reference(parsed.path)
    active = len(reference.effective())
    return (
        f"{parsed.path}: valid; {len(reference.parameters)} parameters, {active} active, "
        f"{len(reference.tunable())} tuned; objective: {reference.objective.direction} {reference.objective.metric}"
    )


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
    from agent.store.versions import sha256

    own = sha256(read_text(path))
    known = [entry["source"] for entry in store.journal.of("reference") if entry["sha256"] == own]
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

    from agent.api.begin import frozen_text
    from agent.catalogue import frozen_trainer

    if store.paths.folders():
        raise UsageError(
            f"{store.paths.root}: no file holds the reference that was written last; `roundtable reference history "
            "--study ...` lists what there is"
        )
    found = frozen_trainer(store.config.trainer, frozen_text(store))
    with tempfile.TemporaryDirectory(prefix="roundtable-reference-") as folder:
        path = Path(folder) / f"{store.config.trainer}.json"
        path.write_text(found.reference(store.config.task, None).to_text(), encoding="utf-8")
        return store.versions.put_back(path, _described)


def _described(old: Reference, new: Reference) -> str:
    return describe(diff(old, new))
