"""`run`: one training outside a study, as `roundtable train` plans it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainers.contract import StopFlag, TrialSpec
from trainers.exits import REFUSED, say
from trainers.files import read_json_object
from trainers.layout import AttemptFiles
from trainers.manifest import read_values
from trainers.results import SCHEMA_VERSION
from trainers.train_row import train


def run_by_hand(path: Path) -> int:
    """Train once outside a study: the same spec, result and files, in a folder the person names. path: the plan's."""
    plan: Any = read_json_object(path)
    out = Path(plan["out"])
    out.mkdir(parents=True, exist_ok=True)
    folder = AttemptFiles(out)
    if folder.result.exists():
        say(f"{folder.result} exists: training by hand never overwrites a result; give another --out")
        return REFUSED
    reference = Path(plan["reference"])
    spec = TrialSpec(
        **{k: plan[k] for k in ("study", "task", "trainer", "round", "candidate", "row", "fold", "folds", "seed")},
        **{k: plan[k] for k in ("attempt", "epochs", "data", "cpus", "gpus", "objective", "direction")},
        values=read_values(reference, sha256=plan["reference_sha256"]),
        reference=reference,
        trainer_file=Path(plan["trainer_file"]) if plan["trainer_file"] else None,
        out=out,
        previous=out if folder.checkpoint_last.exists() else None,
    )
    stop = StopFlag()
    stop.install()
    identity = {k: plan[k] for k in ("study", "round", "row", "candidate", "fold", "seed", "attempt")}
    identity |= {"schema_version": SCHEMA_VERSION, "reference_sha256": plan["reference_sha256"]}
    return train(spec, folder, identity, stop, by_hand=True)
