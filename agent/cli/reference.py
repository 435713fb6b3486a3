"""`roundtable reference`: check, diff, history, restore."""

from __future__ import annotations

import argparse
import sys

from agent.reference import Reference, describe, diff, load_reference


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
    return _described(load_reference(parsed.old), load_reference(parsed.new))


def _history(parsed: argparse.Namespace) -> str:
    from agent.cli.common import study_folder
    from agent.store.store import Store

    versions = Store.open(study_folder(parsed)).versions
    lines = [f"{path.name}  source {load_reference(path).source}" for path in versions.archived()]
    return "\n".join([*lines, "hyperparameter_reference.json  current"])


def _restore(parsed: argparse.Namespace) -> str:
    from agent.cli.common import study_folder
    from agent.store.lease import held
    from agent.store.store import Store

    store = Store.open(study_folder(parsed))
    with held(store.paths.lease):
        return store.versions.restore(parsed.version, _described)


def _described(old: Reference, new: Reference) -> str:
    return describe(diff(old, new))
