"""What a task runs, whichever launcher started it.

    python -m trainers.job prepare --round-dir DIR   (once, before the rows; only trainers that share prepared data)
    python -m trainers.job train --round-dir DIR --row N [--attempt A|next]
    python -m trainers.job eval  --round-dir DIR [--candidate-index P]   (all candidates, or the one at a position)
    python -m trainers.job run   --plan FILE          (once, outside a study: `roundtable train` writes the plan)
    python -m trainers.job probe --trainer X MODULE ...

`train` reads its row, claims it, trains, and writes result.json and exit.json whatever happens. Standard library
only until the trainer's module is imported.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
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
from trainers.files import FileProblem, read_json_object, read_regular, to_json, write_atomic, write_json
from trainers.layout import AttemptFiles, RoundFiles
from trainers.manifest import Manifest, ManifestProblem, Row, load_manifest, read_values
from trainers.results import SCHEMA_VERSION, RowResult, earlier_attempts, read_row
from trainers.saving import Saving

if TYPE_CHECKING:
    import argparse

    from trainers.visible import Given

#: Exit codes: 0 done or nothing to do, 1 the row failed (result.json says how), 2 refused before training,
#: 128 + signal interrupted with a checkpoint saved.
DONE, FAILED, REFUSED = 0, 1, 2
MESSAGE_LIMIT = 2000

#: How often a training looks whether a newer attempt at its row has begun. A node that is cut off from its scheduler
#: trains on while the row is started again elsewhere; then the older attempt gives way.
GIVE_WAY_S = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one task; the return value is the process's exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    options = _from_script(given) or _parser().parse_args(given)
    try:
        if options.command == "train":
            wanted = None if options.attempt == "next" else int(options.attempt)
            return train_row(RoundFiles(options.round_dir.resolve()), options.row, wanted)
        if options.command == "prepare":
            return prepare(RoundFiles(options.round_dir.resolve()), options.cpus)
        if options.command == "eval":
            files = RoundFiles(options.round_dir.resolve())
            return (
                evaluate_all(files) if options.candidate_index is None else evaluate(files, options.candidate_index)
            )
        if options.command == "run":
            return run_by_hand(options)
        return probe(options.trainer, options.module, code=options.code)
    except ManifestProblem as error:
        _say(str(error))
        return REFUSED
    except OSError as error:
        if not refuses(error):
            raise
        _say(f"{error.filename}: {error.strerror}: nothing more could be written; free some space and start it again")
        return FAILED


def prepare(files: RoundFiles, cpus: int) -> int:
    """Prepare the data that the trials of a round share, for what its candidates ask; repeated, it does nothing.

    prepared.json says how it ended, and that it began: a killed one must not be taken for one that never ran.
    """
    from trainers.registry import preparer

    manifest = load_manifest(files.manifest)
    module = preparer(manifest.trainer, brought=manifest.trainer_file is not None)
    if module is None:
        raise ManifestProblem(str(files.manifest), [("trainer", manifest.trainer, "has nothing to prepare")])
    stop = StopFlag()
    stop.install()
    values = [read_values(files.reference(name), sha256=sha) for name, sha in manifest.candidates.items()]
    clock = time.monotonic()
    _mark_preparation(files, "began", "")
    outcome, message, code = "ok", "", DONE
    try:
        made = module.prepare_data(manifest.task, manifest.data, values, folds=manifest.folds, cpus=cpus, stop=stop)
        message = "" if made else "nothing was missing"
    except Interrupted as error:
        outcome, message, code = "interrupted", str(error), 128 + (stop.signal or 0)
    except (Exception, SystemExit) as error:
        outcome, message, code = "failed", f"{type(error).__name__}: {error}", FAILED
        if not isinstance(error, TrainerError):
            _traceback()
    _mark_preparation(files, outcome, message, seconds=round(time.monotonic() - clock, 3))
    _say(f"preparation: {outcome}{f' ({message})' if message else ''}")
    return code


def _mark_preparation(files: RoundFiles, outcome: str, message: str, **more: object) -> None:
    record = {"outcome": outcome, "message": message[:MESSAGE_LIMIT], "at": datetime.now(UTC).isoformat()}
    write_json(files.prepared, record | more)


def _unprepared(files: RoundFiles, attempt: int) -> str:
    """Why this attempt should not even begin, or an empty string.

    Rows wait for the preparation's end however it ended. Without this each of them would fail as it did, or do on a
    GPU what it could not do. A later attempt may begin: by then a person has mended the cause.
    """
    if attempt > 1 or not files.prepared.exists():
        return ""
    try:
        found = read_json_object(files.prepared)
    except FileProblem as error:
        return str(error)
    if found.get("outcome") == "ok":
        return ""
    why = found.get("message") or "it began and left no end (killed? too little memory or time?)"
    return f"the data was not prepared: {why}; see the log of the preparation in {files.logs}, and retry"


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
        _say(f"row {number}: {claim.reason}; nothing to do")
        return DONE
    folder = files.attempt(row.candidate, row.fold, row.seed, claim.attempt)
    try:
        values = read_values(files.reference(row.candidate), sha256=manifest.candidates[row.candidate])
    except ManifestProblem as error:
        _mark_exit(folder, REFUSED, "refused", str(error))
        raise
    stop.yield_to(partial(newer_begun, files, row, claim.attempt), every_s=GIVE_WAY_S)
    # A requeued task goes on from its own folder, unless it was killed before it saved anything there.
    earlier = earlier_attempts(files, manifest, row, claim.attempt + claim.resumed)
    spec = manifest.spec(files, row, attempt=claim.attempt, values=values, earlier=earlier)
    _say(f"row {number}: {row.candidate} fold {row.fold} seed {row.seed}, attempt {claim.attempt} ({claim.reason})")
    identity = {
        "schema_version": SCHEMA_VERSION,
        "study": manifest.study,
        "round": manifest.round,
        "row": row.row,
        "candidate": row.candidate,
        "fold": row.fold,
        "seed": row.seed,
        "attempt": claim.attempt,
        "reference_sha256": manifest.candidates[row.candidate],
    }
    return _train(spec, AttemptFiles(spec.out), identity, stop, refused=_unprepared(files, claim.attempt))


def _train(
    spec: TrialSpec,
    folder: AttemptFiles,
    identity: Mapping[str, Any],
    stop: StopFlag,
    *,
    refused: str = "",
    by_hand: bool = False,
) -> int:
    """Call the trainer and put down how it ended. Only an interruption leaves no result, so that it is resumed.

    refused: why it is not even called. by_hand: whoever started it (`roundtable train`) says what failed.
    """
    # Trainers that read the reference themselves, and programs started by a trainer, find it here (A-S8).
    os.environ["ROUNDTABLE_HP_REF"] = os.environ["NNUNET_HP_REF"] = str(spec.reference)
    given = _given(spec.gpus)
    if given is not None and given.words:
        _say(given.words if given.fits else f"warning: {given.words}")
    started, clock = datetime.now(UTC), time.monotonic()
    measured: dict[str, Any] = {}
    outcome = "ok"
    error: BaseException | None = None
    try:
        if refused:
            raise TrainerError(refused)
        saving = Saving.read(os.environ)
        spec = replace(spec, save_every=saving.every)
        result = _module(spec).train(spec, Control(stop=stop, report=_Progress(folder, spec.epochs)))
        if not isinstance(result, TrialResult):
            raise TrainerError(f"the trainer returned {type(result).__name__}, not a TrialResult")
        if spec.objective not in result.metrics:
            raise TrainerError(f"the trainer returned no {spec.objective}, only {', '.join(result.metrics)}")
        measured = _measured(result)
        to_json(measured)  # a NaN or a foreign object would leave a row without a result, to be trained again
    except Interrupted as interrupted:
        code = 128 + (stop.signal or 0)
        why = f"a newer attempt at this row has begun; {interrupted}" if stop.outdated else str(interrupted)
        _mark_exit(folder, code, "interrupted", why)
        return code
    except BadConfig as caught:
        outcome, error = "bad_config", caught
    except OutOfMemory as caught:
        outcome, error = "gpu_oom", caught
    except (Exception, SystemExit) as caught:
        if not (by_hand and isinstance(caught, TrainerError)):
            _traceback()
        if refuses(caught):
            return _without_room(folder, caught)
        outcome, error = "crashed", caught
    if error is not None and not by_hand:
        _say(f"row {spec.row}: {outcome}: {error}")
    seconds = time.monotonic() - clock
    record = dict(identity) | {
        "outcome": outcome,
        "metrics": {},
        "directions": {},
        "error": _error(error),
        "costs": _costs(seconds, spec.gpus),
        "started": started.isoformat(),
        "finished": datetime.now(UTC).isoformat(),
    }
    if given is not None and given.words:
        record["gpus"] = given.plain()
    if error is None:
        record |= measured
    code = DONE if error is None else FAILED
    keep(folder.result, record, say=_say, stop=stop)
    if error is None:
        _prune(saving, folder, spec)
    _mark_exit(folder, code, outcome, "" if error is None else str(error))
    return code


def _module(spec: TrialSpec) -> Any:
    """The trainer's module. A row of a person's program may last for milliseconds: it needs no registry."""
    if spec.trainer_file is not None:
        return importlib.import_module("trainers.command.run")
    from trainers import registry

    return registry.trainer_module(spec.trainer)


def _given(asked: int) -> Given | None:
    """What the task was given of GPUs; None where none is asked for and nothing in its environment speaks of any."""
    if not (asked or any("GPU" in name for name in os.environ)):
        return None
    # Imported here: a row of milliseconds pays for each module.
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
        _say(f"{error.filename}: {error.strerror}: a checkpoint that should not be kept is still there")
    else:
        if removed:
            _say(f"keeping {saving.keep} checkpoints: removed {', '.join(removed)}")


def _without_room(folder: AttemptFiles, error: BaseException) -> int:
    """The disk refused while it trained: no result, because that says nothing about the settings."""
    _say(f"the disk refused: {error}")
    with suppress(OSError):
        _mark_exit(folder, FAILED, "disk", str(error))
    return FAILED


def _measured(result: TrialResult) -> dict[str, Any]:
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


def _costs(seconds: float, gpus: int) -> dict[str, float]:
    """Wall, CPU (own and children's) and GPU seconds; GPU seconds are wall seconds times GPUs held."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    return {"wall_seconds": round(seconds, 3), "cpu_seconds": round(cpu, 3), "gpu_seconds": round(seconds * gpus, 3)}


def _mark_exit(folder: AttemptFiles, code: int, outcome: str, message: str) -> None:
    record = {"rc": code, "outcome": outcome, "message": message[:MESSAGE_LIMIT], "at": datetime.now(UTC).isoformat()}
    write_json(folder.exit, record)


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
        _say(f"epoch {epoch}{f'/{self._epochs}' if self._epochs else ''} {shown}")


def evaluate(files: RoundFiles, position: int) -> int:
    """Fold a candidate's rows into val_summary.json (and, if asked, test its checkpoints into test_summary.json).

    Runs after the rows however they ended, so it checks every result itself and counts what is missing.
    """
    manifest = load_manifest(files.manifest)
    names = list(manifest.candidates)
    if not 0 <= position < len(names):
        text = f"the manifest has candidates 0 to {len(names) - 1}"
        raise ManifestProblem(str(files.manifest), [("candidate-index", str(position), text)])
    return _evaluate(files, manifest, names[position], position)


def evaluate_all(files: RoundFiles) -> int:
    """`evaluate` every candidate in one process. What goes wrong with one is said, and does not keep the others back.

    Killed in the middle and run again, it writes only what is missing or was of other results. A disk that takes
    nothing more ends it: the next candidate would find the same.
    """
    manifest = load_manifest(files.manifest)
    failed = []
    for position, candidate in enumerate(manifest.candidates):
        try:
            code = _evaluate(files, manifest, candidate, position)
        except Exception as error:
            if refuses(error):
                raise
            if not isinstance(error, ManifestProblem):
                _traceback()
            _say(f"{candidate}: not evaluated: {error}")
            code = FAILED
        if code != DONE:
            failed.append(candidate)
    if failed:
        names = ", ".join(failed)[:MESSAGE_LIMIT]
        _say(f"{len(failed)} of {len(manifest.candidates)} candidates are not evaluated: {names}")
    return FAILED if failed else DONE


def _evaluate(files: RoundFiles, manifest: Manifest, candidate: str, position: int) -> int:
    from trainers.registry import accumulator
    from trainers.summary import fold_results

    rows = [(row, read_row(files, manifest, row)) for row in manifest.of_candidate(candidate)]
    accumulate = None if manifest.trainer_file else accumulator(manifest.trainer)
    folded = fold_results(manifest, candidate, rows, split="val", accumulate=accumulate)
    _put_summary(files, candidate, position, "val", folded)
    if not manifest.use_test:
        return DONE
    values = read_values(files.reference(candidate), sha256=manifest.candidates[candidate])
    tested = [(row, _tested(files, manifest, row, result, values)) for row, result in rows]
    untested = [row for (row, trained), (_, result) in zip(rows, tested, strict=True) if _ok(trained) > _ok(result)]
    _put_summary(files, candidate, position, "test", fold_results(manifest, candidate, tested, split="test"))
    return FAILED if untested else DONE


def _ok(result: RowResult | None) -> bool:
    return result is not None and result.outcome == "ok"


def _tested(
    files: RoundFiles, manifest: Manifest, row: Row, result: RowResult | None, values: Mapping[str, Any]
) -> RowResult | None:
    """One row's checkpoint on the test set; rows without a finished training stay what they are."""
    if result is None or not _ok(result):
        return result
    spec = manifest.spec(files, row, attempt=result.attempt, values=values)
    clock = time.monotonic()
    try:
        measured = _module(spec).test(spec, Control(stop=StopFlag(), report=lambda epoch, metrics: None))
        raw = _measured(measured) | {"costs": _costs(time.monotonic() - clock, spec.gpus)}
        to_json(raw)
    except (Exception, SystemExit) as error:
        _traceback()
        return RowResult(row=row, attempt=result.attempt, outcome="crashed", message=str(error)[:MESSAGE_LIMIT])
    return RowResult(
        row=row,
        attempt=result.attempt,
        outcome="ok",
        metrics=raw["metrics"],
        directions=raw["directions"],
        raw=raw,
    )


def _put_summary(files: RoundFiles, candidate: str, position: int, split: str, summary: dict[str, Any]) -> None:
    text = to_json(summary)
    paths = [files.candidate_summary(candidate, split)]
    if position == 0:
        # The round's own summaries are those of c00, the reference that the round trained.
        paths.append(files.val_summary if split == "val" else files.test_summary)
    if not any(entry["attempt"] for entry in summary["per_fold"]) and _brought(paths[0], summary):
        _say(f"{candidate}: none of its rows has a result; {paths[0]} is a person's, and stays")
        return
    for path in paths:
        if not _holds(path, text):
            write_atomic(path, text)
    _say(f"{candidate}: {split} summary of {len(summary['per_fold'])} rows, outcomes {summary['outcomes']}")


def _holds(path: Path, text: str) -> bool:
    """Whether a file has this very text, so that an evaluation that is repeated writes only what changed."""
    try:
        return read_regular(path) == text.encode()
    except OSError:
        return False


def _brought(path: Path, summary: Mapping[str, Any]) -> bool:
    """Whether a summary stands there that no evaluation of this candidate in this round has written."""
    try:
        found = read_json_object(path)
    except FileProblem:
        return path.exists()
    return any(found.get(name) != summary[name] for name in ("study", "round", "candidate"))


def run_by_hand(options: argparse.Namespace | SimpleNamespace) -> int:
    """Train once outside a study: the same spec, result and files, in a folder the person names."""
    plan: Any = read_json_object(options.plan)
    out = Path(plan["out"])
    out.mkdir(parents=True, exist_ok=True)
    folder = AttemptFiles(out)
    if folder.result.exists():
        _say(f"{folder.result} exists: training by hand never overwrites a result; give another --out")
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
    return _train(spec, folder, identity, stop, by_hand=True)


def probe(trainer: str, modules: Sequence[str], *, code: bool = False) -> int:
    """Import what a trainer needs and print the versions as JSON; exit 2 names what is missing.

    code: also the trainer's own module, which is not Roundtable's.
    """
    found, missing = {}, []
    for name in modules:
        try:
            module = importlib.import_module(name)
        except Exception as error:
            missing.append(f"{name}: {type(error).__name__}: {error}")
        else:
            found[name] = str(getattr(module, "__version__", ""))
    if code:
        from trainers.registry import trainer_module

        try:
            trainer_module(trainer)
        except Exception as error:
            missing.append(f"{trainer}: {type(error).__name__}: {error}")
    sys.stdout.write(json.dumps({"python": sys.version.split()[0], "found": found, "missing": missing}) + "\n")
    return REFUSED if missing else DONE


def _say(text: str) -> None:
    # The log may be on the disk that is full, which must not end a training.
    with suppress(OSError):
        sys.stderr.write(f"{datetime.now(UTC).strftime('%Y-%m-%dT%H:%M:%SZ')} {text}\n")
        sys.stderr.flush()


def _traceback() -> None:
    import traceback

    with suppress(OSError):
        traceback.print_exc()


def _from_script(arguments: Sequence[str]) -> SimpleNamespace | None:
    """The options of a row as the rendered scripts give them; None for all else, which argparse reads or refuses.

    A task lives for milliseconds beyond its training, and importing argparse is a fifth of them.
    """
    match list(arguments):
        case ["train", "--round-dir", folder, "--row", row, "--attempt", attempt] if row.isdecimal():
            if attempt == "next" or (attempt.isdecimal() and int(attempt) >= 1):
                return SimpleNamespace(command="train", round_dir=Path(folder), row=int(row), attempt=attempt)
    return None


def _parser() -> argparse.ArgumentParser:
    import argparse

    parser = argparse.ArgumentParser(prog="python -m trainers.job")
    commands = parser.add_subparsers(dest="command", required=True)
    preparation = commands.add_parser("prepare", help="prepare the data that a round's trials share")
    preparation.add_argument("--round-dir", type=Path, required=True)
    preparation.add_argument("--cpus", type=int, default=1)
    train = commands.add_parser("train", help="train one row of a round's manifest")
    train.add_argument("--round-dir", type=Path, required=True)
    train.add_argument("--row", type=int, required=True)
    train.add_argument("--attempt", default="next", type=_attempt)
    evaluation = commands.add_parser("eval", help="fold candidates' rows into their summaries")
    evaluation.add_argument("--round-dir", type=Path, required=True)
    evaluation.add_argument("--candidate-index", type=int, help="only the candidate at this position (default: all)")
    by_hand = commands.add_parser("run", help="train once from a plan file (roundtable train writes it)")
    by_hand.add_argument("--plan", type=Path, required=True)
    check = commands.add_parser("probe", help="check that a trainer's modules can be imported")
    check.add_argument("--trainer", required=True)
    check.add_argument("--code", action="store_true", help="also the trainer's own code")
    check.add_argument("module", nargs="*")
    return parser


def _attempt(text: str) -> str:
    import argparse

    if text != "next" and not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number from 1, or next")
    return text


if __name__ == "__main__":
    sys.exit(main())
