"""`eval`: the rows of candidates are folded into their summaries, and checkpoints tested where that is asked for."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainers.contract import Control, StopFlag
from trainers.disk import refuses
from trainers.exits import DONE, FAILED, MESSAGE_LIMIT, costs_of, print_traceback, say
from trainers.files import FileProblem, read_json_object, read_regular, to_json, write_atomic
from trainers.layout import RoundFiles
from trainers.manifest import Manifest, ManifestProblem, Row, load_manifest, read_values
from trainers.results import RowResult, read_row
from trainers.train_row import measured_by, module_of


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
                print_traceback()
            say(f"{candidate}: not evaluated: {error}")
            code = FAILED
        if code != DONE:
            failed.append(candidate)
    if failed:
        names = ", ".join(failed)[:MESSAGE_LIMIT]
        say(f"{len(failed)} of {len(manifest.candidates)} candidates are not evaluated: {names}")
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
        measured = module_of(spec).test(spec, Control(stop=StopFlag(), report=lambda epoch, metrics: None))
        raw = measured_by(measured) | {"costs": costs_of(time.monotonic() - clock, spec.gpus)}
        to_json(raw)
    except (Exception, SystemExit) as error:
        print_traceback()
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
        say(f"{candidate}: none of its rows has a result; {paths[0]} is a person's, and stays")
        return
    for path in paths:
        if not _holds(path, text):
            write_atomic(path, text)
    say(f"{candidate}: {split} summary of {len(summary['per_fold'])} rows, outcomes {summary['outcomes']}")


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
