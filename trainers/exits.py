"""How a task ends and what it says meanwhile: exit codes, exit.json, and lines in its log."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from datetime import UTC, datetime

from trainers.files import write_json
from trainers.layout import AttemptFiles

#: Exit codes: 0 done or nothing to do, 1 the row failed (result.json says how), 2 refused before training,
#: 128 + signal interrupted with a checkpoint saved.
DONE, FAILED, REFUSED = 0, 1, 2
MESSAGE_LIMIT = 2000


def mark_exit(folder: AttemptFiles, code: int, outcome: str, message: str) -> None:
    record = {"rc": code, "outcome": outcome, "message": message[:MESSAGE_LIMIT], "at": now()}
    write_json(folder.exit, record)


def now() -> str:
    return datetime.now(UTC).isoformat()


def costs_of(seconds: float, gpus: int) -> dict[str, float]:
    """Wall, CPU (own and children's) and GPU seconds; GPU seconds are wall seconds times GPUs held."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    return {"wall_seconds": round(seconds, 3), "cpu_seconds": round(cpu, 3), "gpu_seconds": round(seconds * gpus, 3)}


def say(text: str) -> None:
    # The log may be on the disk that is full, which must not end a training.
    with suppress(OSError):
        sys.stderr.write(f"{datetime.now(UTC).strftime('%Y-%m-%dT%H:%M:%SZ')} {text}\n")
        sys.stderr.flush()


def print_traceback() -> None:
    import traceback

    with suppress(OSError):
        traceback.print_exc()
