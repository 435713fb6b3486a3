"""`roundtable reference`: check, diff, history, restore."""

from __future__ import annotations

import argparse
import sys

from agent.cli.common import study_folder
from agent.reference import Reference, describe, diff, load_reference
from agent.store.lease import held
from agent.store.store import Store


def run(parsed: argparse.Namespace) -> int:
    if parsed.action == "check":
        reference = load_reference(parsed.path)
        active = len(reference.effective())
        sys.stdout.write(
            f"{parsed.path}: valid; {len(reference.parameters)} parameters, {active} active, "
            f"{len(reference.tunable())} tuned; objective: {reference.objective.direction} "
            f"{reference.objective.metric}\n"
        )
    elif parsed.action == "diff":
        sys.stdout.write(_described(load_reference(parsed.old), load_reference(parsed.new)) + "\n")
    elif parsed.action == "history":
        versions = Store.open(study_folder(parsed)).versions
        lines = [f"{path.name}  source {load_reference(path).source}" for path in versions.archived()]
        sys.stdout.write("\n".join([*lines, "hyperparameter_reference.json  current"]) + "\n")
    else:
        store = Store.open(study_folder(parsed))
        with held(store.paths.lease):
            sys.stdout.write(store.versions.restore(parsed.version, _described) + "\n")
    return 0


def _described(old: Reference, new: Reference) -> str:
    return describe(diff(old, new))
