"""`prepare`: one job makes the data that all trials of a round share, before the array."""

from __future__ import annotations

import time

from trainers.contract import Interrupted, StopFlag, TrainerError
from trainers.exits import DONE, FAILED, MESSAGE_LIMIT, now, print_traceback, say
from trainers.files import FileProblem, read_json_object, write_json
from trainers.layout import RoundFiles
from trainers.manifest import ManifestProblem, load_manifest, read_values


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
    _mark(files, "began", "")
    outcome, message, code = "ok", "", DONE
    try:
        made = module.prepare_data(manifest.task, manifest.data, values, folds=manifest.folds, cpus=cpus, stop=stop)
        message = "" if made else "nothing was missing"
    except Interrupted as error:
        outcome, message, code = "interrupted", str(error), 128 + (stop.signal or 0)
    except (Exception, SystemExit) as error:
        outcome, message, code = "failed", f"{type(error).__name__}: {error}", FAILED
        if not isinstance(error, TrainerError):
            print_traceback()
    _mark(files, outcome, message, seconds=round(time.monotonic() - clock, 3))
    say(f"preparation: {outcome}{f' ({message})' if message else ''}")
    return code


def _mark(files: RoundFiles, outcome: str, message: str, **more: object) -> None:
    record = {"outcome": outcome, "message": message[:MESSAGE_LIMIT], "at": now()}
    write_json(files.prepared, record | more)


def unprepared(files: RoundFiles, attempt: int) -> str:
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
