"""Calls of the orchestrator, each in a forked process of its own: only this process pays for the imports.

    python -m tests.soak.driver STUDIES TRAINER     (jobs on standard input, answers on standard output, JSON lines)

A job: {"call": "tune" | "ticks" | "collect" | "state", "target": round, "resume": bool, "kill_at": change | null,
"kill_after_s": seconds | null}. Its answer: {"code": exit code, negative for a signal, "state": ..., "error": name of
the exception's class, "message": ...}.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.api import TuneOptions, tune
from agent.api.steer import collect_round
from agent.api.wiring import tools_for
from agent.errors import RoundtableError
from agent.store.disk import Disk
from agent.store.lease import held
from agent.store.store import Store

STUDY = "soak"
CANDIDATES, POLL_S = 2, 0.5
#: Seconds; much below the defaults, so that a round takes seconds too. Some faults lie before these and some behind.
ADOPT_AFTER_S, RESULT_GRACE_S = 6.0, 3.0
#: A call that takes longer hangs.
CALL_LIMIT_S = 420.0

Job = Mapping[str, Any]


def options(studies: Path, trainer: Path, *, target: int, resume: bool = False) -> TuneOptions:
    """The same call every time, with its target as a total."""
    return TuneOptions(
        task=STUDY,
        trainer=str(trainer),
        output_dir=studies,
        auto_train=True,
        launcher="sbatch",
        confirm="never",
        candidates=CANDIDATES,
        max_iterations=target,
        poll_s=POLL_S,
        resume=resume,
    )


class Doomed(Disk):
    """A disk that kills the process at its n-th boundary."""

    def __init__(self, kill_at: int | None) -> None:
        super().__init__(boundary=self._passed)
        self.__dict__["left"] = kill_at

    def _passed(self, name: str) -> None:
        if self.__dict__["left"] is None:
            return
        self.__dict__["left"] -= 1
        if self.__dict__["left"] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


def carry_out(studies: Path, trainer: Path, job: Job) -> str:
    """One call in this process; what it came to. Raises RoundtableError."""
    disk = Doomed(job["kill_at"])
    wanted = options(studies, trainer, target=job["target"], resume=job["resume"])
    if job["call"] == "collect":
        return str(collect_round(studies / STUDY).message)
    if job["call"] == "tune" or job["resume"]:
        return tune(wanted, disk=disk, say=_told).state
    return _tick(studies / STUDY, job["target"], disk)


def _tick(root: Path, target: int, disk: Disk) -> str:
    """What cron's tick does, with a target and on a disk of ours."""
    from agent.orchestrator import tick

    with held(root / "lease.json"):
        store = Store.open(root, disk=disk)
        store.journal.check_clock()
        settings = replace(store.settings(), target_round=target)
        store.put_settings(settings)
        return str(tick(store, tools_for(store, settings, _told, _told)).state)


def _told(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()


def call(studies: Path, trainer: Path, job: Job) -> dict[str, Any]:
    """Fork, carry the job out there, kill it when its time has come, and tell how it ended."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _child(studies, trainer, job, writing)
    os.close(writing)
    limit = job["kill_after_s"]
    # Jobs come one by one: what can be read before the answer is the end of the soak itself.
    ready = select.select([reading, sys.stdin], [], [], CALL_LIMIT_S if limit is None else limit)[0]
    hung = reading not in ready
    if hung:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    answer: dict[str, Any] = json.loads(said) if said else {"state": "", "error": "", "message": ""}
    if hung and limit is None:
        answer |= {"error": "Hung", "message": f"the call did not end within {CALL_LIMIT_S:.0f} s"}
    return answer | {"code": code}


def _child(studies: Path, trainer: Path, job: Job, pipe: int) -> None:
    answer = {"state": "", "error": "", "message": ""}
    code = 0
    try:
        if job["call"] == "state":
            from tests.soak.replay import derived

            answer["state"] = derived(studies / STUDY)
        else:
            answer["state"] = carry_out(studies, trainer, job)
    except RoundtableError as error:
        code = error.exit_code
        answer |= {"error": type(error).__name__, "message": str(error)}
        _told(f"{type(error).__name__}: {error}")
    except BaseException as error:
        code = 1
        answer |= {"error": type(error).__name__, "message": traceback.format_exc()}
    with os.fdopen(pipe, "wb") as stream:
        stream.write(json.dumps(answer).encode())
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    # Once, before the forks.
    for module in ("optuna", "agent.launch.sbatch", "agent.orchestrator", "tests.soak.replay"):
        importlib.import_module(module)
    studies, trainer = map(Path, sys.argv[1:])
    for line in sys.stdin:
        sys.stdout.write(json.dumps(call(studies, trainer, json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
