"""`train`: a row is claimed and trained, and how it ended is put down whatever happens."""

from __future__ import annotations

import importlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from trainers.claim import claim_attempt, newer_begun, this_owner
from trainers.contract import (
    BadConfig,
    Control,
    Interrupted,
    OutOfMemory,
    StopFlag,
    TrainerError,
    TrialResult,
    TrialSpec,
)
from trainers.disk import keep, refuses
from trainers.exits import DONE, FAILED, MESSAGE_LIMIT, REFUSED, costs_of, mark_exit, now, print_traceback, say
from trainers.files import to_json, write_atomic
from trainers.layout import AttemptFiles, RoundFiles
from trainers.manifest import ManifestProblem, load_manifest, read_values
from trainers.results import earlier_attempts, identity
from trainers.saving import Saving

if TYPE_CHECKING:
    from trainers.visible import Given

#: How often a training looks whether a newer attempt at its row has begun. A node that is cut off from its scheduler
#: trains on while the row is started again elsewhere; then the older attempt gives way.
GIVE_WAY_S = 30.0


def train_row(files: RoundFiles, number: int, wanted: int | None) -> int:
    """Train one row of the manifest, unless another task has it or it is already finished."""
    manifest = load_manifest(files.manifest)
    if not 0 <= number < len(manifest.rows):
        text = f"the manifest has rows 0 to {len(manifest.rows) - 1}"
        raise ManifestProblem(str(files.manifest), [("row", str(number), text)])
    row = manifest.rows[number]
    stop = StopFlag()
    stop.install()
    claim = claim_attempt(files, row, wanted, this_owner(os.environ))
    if claim.attempt is None:
        say(f"row {number}: {claim.reason}; nothing to do")
        return DONE
    folder = files.attempt(row.candidate, row.fold, row.seed, claim.attempt)
    try:
        values = read_values(files.reference(row.candidate), sha256=manifest.candidates[row.candidate])
    except ManifestProblem as error:
        mark_exit(folder, REFUSED, "refused", str(error))
        raise
    stop.yield_to(partial(newer_begun, files, row, claim.attempt), every_s=GIVE_WAY_S)
    # A requeued task goes on from its own folder, unless it was killed before it saved anything there.
    earlier = earlier_attempts(files, manifest, row, claim.attempt + claim.resumed)
    spec = manifest.spec(files, row, attempt=claim.attempt, values=values, earlier=earlier)
    say(f"row {number}: {row.candidate} fold {row.fold} seed {row.seed}, attempt {claim.attempt} ({claim.reason})")
    refused = ""
    if files.prepared.exists():
        # Imported here: a row of milliseconds pays for each module.
        from trainers.prepare import unprepared

        refused = unprepared(files, claim.attempt)
    return train(spec, AttemptFiles(spec.out), identity(manifest, row, claim.attempt), stop, refused=refused)


def train(
    spec: TrialSpec,
    folder: AttemptFiles,
    about: Mapping[str, Any],
    stop: StopFlag,
    *,
    refused: str = "",
    by_hand: bool = False,
) -> int:
    """Call the trainer and put down how it ended. Only an interruption leaves no result, so that it is resumed.

    about: what result.json repeats of the row. refused: why it is not even called. by_hand: whoever started it
    (`roundtable train`) says what failed.
    """
    # Trainers that read the reference themselves, and programs started by a trainer, find it here (A-S8).
    os.environ["ROUNDTABLE_HP_REF"] = os.environ["NNUNET_HP_REF"] = str(spec.reference)
    given = _given(spec.gpus)
    if given is not None and given.words:
        say(given.words if given.fits else f"warning: {given.words}")
    started, clock = now(), time.monotonic()
    measured: dict[str, Any] = {}
    outcome = "ok"
    error: BaseException | None = None
    try:
        if refused:
            raise TrainerError(refused)
        saving = Saving.read(os.environ)
        spec = replace(spec, save_every=saving.every)
        result = module_of(spec).train(spec, Control(stop=stop, report=_Progress(folder, spec.epochs)))
        if not isinstance(result, TrialResult):
            raise TrainerError(f"the trainer returned {type(result).__name__}, not a TrialResult")
        if spec.objective not in result.metrics:
            raise TrainerError(f"the trainer returned no {spec.objective}, only {', '.join(result.metrics)}")
        measured = measured_by(result)
        to_json(measured)  # a NaN or a foreign object would leave a row without a result, to be trained again
    except Interrupted as interrupted:
        code = 128 + (stop.signal or 0)
        why = f"a newer attempt at this row has begun; {interrupted}" if stop.outdated else str(interrupted)
        mark_exit(folder, code, "interrupted", why)
        return code
    except BadConfig as caught:
        outcome, error = "bad_config", caught
    except OutOfMemory as caught:
        outcome, error = "gpu_oom", caught
    except (Exception, SystemExit) as caught:
        if not (by_hand and isinstance(caught, TrainerError)):
            print_traceback()
        if refuses(caught):
            return _without_room(folder, caught)
        outcome, error = "crashed", caught
    if error is not None and not by_hand:
        say(f"row {spec.row}: {outcome}: {error}")
    seconds = time.monotonic() - clock
    record = dict(about) | {
        "outcome": outcome,
        "metrics": {},
        "directions": {},
        "error": _error(error),
        "costs": costs_of(seconds, spec.gpus),
        "started": started,
        "finished": now(),
    }
    if given is not None and given.words:
        record["gpus"] = given.plain()
    if error is None:
        record |= measured
    code = DONE if error is None else FAILED
    keep(folder.result, record, say=say, stop=stop)
    if error is None:
        _prune(saving, folder, spec)
    mark_exit(folder, code, outcome, "" if error is None else str(error))
    return code


def module_of(spec: TrialSpec) -> Any:
    """The trainer's module. A row of a person's program may last for milliseconds: it needs no registry."""
    if spec.trainer_file is not None:
        return importlib.import_module("trainers.command.run")
    from trainers import registry

    return registry.trainer_module(spec.trainer)


def _given(asked: int) -> Given | None:
    """What the task was given of GPUs; None where none is asked for and nothing in its environment speaks of any."""
    if not (asked or any("GPU" in name for name in os.environ)):
        return None
    from trainers.visible import given_to_task

    return given_to_task(asked, os.environ)


def _prune(saving: Saving, folder: AttemptFiles, spec: TrialSpec) -> None:
    """Only once the result is there: a training killed before it goes on from its checkpoint."""
    spare: Sequence[str] = ()
    if spec.trainer_file is None:
        from trainers.registry import usable

        spare = usable(spec.trainer).spare_checkpoints
    try:
        removed = saving.prune(folder, spare)
    except OSError as error:
        say(f"{error.filename}: {error.strerror}: a checkpoint that should not be kept is still there")
    else:
        if removed:
            say(f"keeping {saving.keep} checkpoints: removed {', '.join(removed)}")


def _without_room(folder: AttemptFiles, error: BaseException) -> int:
    """The disk refused while it trained: no result, because that says nothing about the settings."""
    say(f"the disk refused: {error}")
    with suppress(OSError):
        mark_exit(folder, FAILED, "disk", str(error))
    return FAILED


def measured_by(result: TrialResult) -> dict[str, Any]:
    return {
        "metrics": dict(result.metrics),
        "directions": dict(result.directions),
        "samples": result.samples,
        "per_class": result.per_class,
        "per_case": result.per_case,
        "effective": dict(result.effective),
        "notes": dict(result.notes),
        "epochs_run": result.epochs_run,
    }


def _error(error: BaseException | None) -> dict[str, str] | None:
    if error is None:
        return None
    return {"type": type(error).__name__, "message": str(error)[:MESSAGE_LIMIT]}


class _Progress:
    """Writes progress.json for whoever watches. Not synced to disk, and nothing where that is full: a lost one costs
    nothing."""

    def __init__(self, folder: AttemptFiles, epochs: int | None) -> None:
        self._path = folder.progress
        self._epochs = epochs

    def __call__(self, epoch: int, metrics: Mapping[str, float]) -> None:
        record = {"epoch": epoch, "epochs": self._epochs, "metrics": dict(metrics), "at": time.time()}
        with suppress(OSError):
            # NaN is allowed here: a diverging run should be seen diverging.
            write_atomic(self._path, json.dumps(record), sync=False)
        shown = " ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        say(f"epoch {epoch}{f'/{self._epochs}' if self._epochs else ''} {shown}")
