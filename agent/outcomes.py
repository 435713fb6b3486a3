"""How a row ended, told from what it left on disk and what the scheduler says. Pure.

A result on disk counts before the scheduler's word, with one exception: a program that failed while the scheduler
ended its task failed because of that (a data loader's worker killed for memory shows up as an error of the trainer).

States and exit codes: slurm(1) manual pages of squeue and sacct; "0:53" is slurmd's JobLaunchFailure, "0:125" its
out-of-memory mark (both measured on 22.05).
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from typing import Any, Protocol

from agent.records import Outcome
from trainers.results import RowResult


class Ending(Protocol):
    """What a launcher tells of a task that is gone (agent.launch.base.TaskStatus)."""

    @property
    def raw(self) -> str:
        """The scheduler's word, e.g. "TIMEOUT" or "CANCELLED by 1000"."""

    @property
    def reason(self) -> str: ...

    @property
    def exit_code(self) -> str:
        """ "code:signal" as sacct writes it; empty where nobody knows."""

    @property
    def node(self) -> str: ...


#: Words of SLURM and of the local launchers that tell an ending by themselves.
DECISIVE: Mapping[str, Outcome] = {
    "BOOT_FAIL": Outcome.NODE_FAIL,
    "CANCELLED": Outcome.CANCELLED,
    "DEADLINE": Outcome.TIMEOUT,
    "LAUNCH_FAILED": Outcome.LAUNCH_FAIL,
    "NODE_FAIL": Outcome.NODE_FAIL,
    "OUT_OF_MEMORY": Outcome.HOST_OOM,
    "PREEMPTED": Outcome.PREEMPTED,
    "RECONFIG_FAIL": Outcome.NODE_FAIL,
    "TIMEOUT": Outcome.TIMEOUT,
}
#: Words after which the task's own files decide.
_OPEN = ("COMPLETED", "FAILED")

LAUNCH_FAILURE, OUT_OF_MEMORY = "0:53", "0:125"
#: The warning before a task's time limit.
_WARNING = int(signal.SIGUSR2)
#: Signals that a program brings upon itself.
_FAULTS = {
    int(s) for s in (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGSYS)
}


def classify(
    result: RowResult | None,
    marker: Mapping[str, Any] | None,
    status: Ending,
    *,
    claimed: bool,
    holder: str = "",
) -> tuple[Outcome, str]:
    """How an attempt ended, and one line of evidence that ends with the scheduler's word, exit code and node.

    result, marker: its result.json and exit.json, None where they are not there. status: of its task, which is gone.
    claimed: whether the task came as far as claiming its row. holder: who has claimed it instead of this task.
    """
    outcome, why = _judge(result, marker, status, claimed)
    if holder and result is None and marker is None and outcome is Outcome.NO_RESULT:
        why = f"its row had been claimed by {holder}, which has left no result"
    return outcome, _line(why, status)


def _judge(
    result: RowResult | None, marker: Mapping[str, Any] | None, status: Ending, claimed: bool
) -> tuple[Outcome, str]:
    word = (status.raw.split() or [""])[0].rstrip("+")
    decisive = Outcome.HOST_OOM if status.exit_code == OUT_OF_MEMORY else DECISIVE.get(word)
    if result is not None:
        outcome = Outcome(result.outcome)
        if outcome is Outcome.CRASHED and decisive is not None:
            return decisive, f"the program failed as its task was ended: {result.message}"
        return outcome, result.message
    if decisive is not None:
        return decisive, ""
    if status.exit_code == LAUNCH_FAILURE:
        return Outcome.LAUNCH_FAIL, "the node could not start the script"
    if marker is not None:
        return _marked(marker)
    if word not in _OPEN:
        return Outcome.LOST, status.reason or "the scheduler no longer knows it"
    if word == "FAILED" and not claimed and _split(status.exit_code)[1] != _WARNING:
        why = "ended before it claimed its row: see its log for what failed (set-up lines, environment, disk)"
        return Outcome.LAUNCH_FAIL, status.reason or why
    return _unmarked(status.exit_code, claimed, failed=word == "FAILED")


def _marked(marker: Mapping[str, Any]) -> tuple[Outcome, str]:
    """An exit marker without a result: the task was interrupted, refused to train, or its result went missing."""
    said, message = marker.get("outcome"), str(marker.get("message") or "")
    if said == "interrupted":
        code = marker.get("rc")
        number = code - 128 if isinstance(code, int) else 0
        if number == _WARNING:
            return Outcome.TIMEOUT, "stopped by the warning before its time limit"
        return Outcome.LOST, f"stopped by {_signal(number)}"
    if said == "refused":
        return Outcome.CRASHED, f"refused to train: {message}"
    if said == "disk":
        return Outcome.NO_RESULT, f"the disk refused: {message}"
    return Outcome.NO_RESULT, f"its exit marker says {said}, but result.json is not there"


def _unmarked(exit_code: str, claimed: bool, *, failed: bool) -> tuple[Outcome, str]:
    """Neither a result nor an exit marker, although a task writes one even after an error: it died outright.

    failed: whether the scheduler says so; without accounting it does not tell the exit code.
    """
    code, number = _split(exit_code)
    if number in _FAULTS:
        return Outcome.CRASHED, f"died by {_signal(number)}"
    if number == _WARNING:
        return Outcome.TIMEOUT, "stopped by the warning before its time limit"
    if number:
        # SIGKILL may come from the kernel for memory, or from a person: nothing tells which.
        return Outcome.LOST, f"died by {_signal(number)}"
    if code or failed:
        return Outcome.NO_RESULT, "failed and left neither a result nor an exit marker"
    what = "ended well" if claimed else "ended well without claiming its row"
    return Outcome.NO_RESULT, f"{what} and left no result"


def _split(exit_code: str) -> tuple[int, int]:
    """Exit code and signal of "code:signal"; a shell's 128 + n counts as signal n. Zeros where it says nothing."""
    match = re.fullmatch(r"(-?\d+):(\d+)", exit_code)
    if match is None:
        return 0, 0
    code, number = int(match[1]), int(match[2])
    if code < 0:  # as Python's subprocess tells of a signal
        return 0, -code
    return (0, code - 128) if 128 < code < 128 + 65 and not number else (code, number)


def _signal(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def _line(why: str, status: Ending) -> str:
    facts = [status.raw or "state unknown"]
    if status.exit_code:
        facts.append(f"exit {status.exit_code}")
    if status.node:
        facts.append(f"on {status.node}")
    return ": ".join(part for part in (" ".join(why.split())[:500], ", ".join(facts)) if part)
