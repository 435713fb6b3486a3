"""Who runs an attempt: exactly one task gets the claim, a duplicate finds it taken and writes nothing.

Standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from trainers.files import FileProblem, create_exclusive, read_json_object, to_json, write_atomic
from trainers.layout import AttemptFiles, RoundFiles
from trainers.manifest import Row


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A task as others can recognise it: the scheduler's id where there is one, and the process."""

    task: str
    """"slurm:123_4" or "process:<host>:<pid>"."""
    restart: int
    """How often the scheduler requeued this task (SLURM_RESTART_COUNT)."""
    host: str
    pid: int
    started: int
    """Process start time in clock ticks since boot, so that a reused pid is not mistaken for this process."""
    boot: str

    def alive(self) -> bool | None:
        """Whether the process runs; None when it is (or was) on another machine or before a reboot elsewhere."""
        if self.host != host_name():
            return None
        return self.boot == boot_id() and process_start(self.pid) == self.started


def this_owner(environment: Mapping[str, str]) -> Owner:
    """The process that asks, with its SLURM identity if it has one."""
    job = environment.get("SLURM_ARRAY_JOB_ID") or environment.get("SLURM_JOB_ID")
    index = environment.get("SLURM_ARRAY_TASK_ID")
    host, pid = host_name(), os.getpid()
    task = f"slurm:{job}_{index}" if job and index else f"slurm:{job}" if job else f"process:{host}:{pid}"
    return Owner(
        task=task,
        restart=int(environment.get("SLURM_RESTART_COUNT") or 0),
        host=host,
        pid=pid,
        started=process_start(pid) or 0,
        boot=boot_id(),
    )


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The answer to a claim: the attempt that is ours, or why there is nothing to do."""

    attempt: int | None
    reason: str
    resumed: bool = False
    """The same task was requeued by the scheduler and goes on in its own folder."""


def claim_attempt(files: RoundFiles, row: Row, wanted: int | None, owner: Owner) -> Claim:
    """Claim an attempt at a row. `wanted` is a number, or None for "the next one, if there is reason for one".

    Raises OSError when the folder cannot be written.
    """
    begun = files.attempts(row.candidate, row.fold, row.seed)
    for number in begun:
        if _ended_ok(files.attempt(row.candidate, row.fold, row.seed, number)):
            return Claim(attempt=None, reason=f"already finished by attempt {number}")
    if wanted is None:
        wanted = begun[-1] if begun else 1
        if begun and not _is_requeue_of(files.attempt(row.candidate, row.fold, row.seed, wanted), owner):
            if reason := _blocked(files, row, wanted):
                return Claim(attempt=None, reason=reason)
            wanted += 1
    elif begun and wanted < begun[-1]:
        return Claim(attempt=None, reason=f"attempt {begun[-1]} has begun, attempt {wanted} is out of date")
    folder = files.attempt(row.candidate, row.fold, row.seed, wanted)
    folder.root.mkdir(parents=True, exist_ok=True)
    record = asdict(owner) | {"row": row.row, "attempt": wanted, "at": datetime.now(UTC).isoformat()}
    if create_exclusive(folder.claim, to_json(record)):
        return Claim(attempt=wanted, reason="claimed")
    if _is_requeue_of(folder, owner):
        write_atomic(folder.claim, to_json(record))
        # The earlier run's marker says how that run was cut; left there, it would be taken for this one's end.
        folder.exit.unlink(missing_ok=True)
        return Claim(attempt=wanted, reason=f"requeued {owner.restart} times", resumed=True)
    holder = read_claim(folder.claim)
    by = f" by {holder.task} on {holder.host}" if holder else ""
    return Claim(attempt=None, reason=f"attempt {wanted} was claimed{by}")


def _is_requeue_of(folder: AttemptFiles, owner: Owner) -> bool:
    """Whether the scheduler requeued the task that has this attempt, and `owner` is its next run."""
    holder = read_claim(folder.claim)
    if holder is None or holder.task != owner.task or not owner.task.startswith("slurm:"):
        return False
    return holder.restart < owner.restart and not folder.result.exists()


def newer_begun(files: RoundFiles, row: Row, attempt: int) -> bool:
    """Whether a later attempt at the row was claimed."""
    later = (number for number in files.attempts(row.candidate, row.fold, row.seed) if number > attempt)
    return any(files.attempt(row.candidate, row.fold, row.seed, number).claim.exists() for number in later)


def read_claim(path: Path) -> Owner | None:
    """The owner in a claim file; None when there is none or it is broken."""
    try:
        raw = read_json_object(path)
        return Owner(
            task=str(raw["task"]),
            restart=int(str(raw["restart"])),
            host=str(raw["host"]),
            pid=int(str(raw["pid"])),
            started=int(str(raw["started"])),
            boot=str(raw["boot"]),
        )
    except (FileProblem, KeyError, ValueError):
        return None


def _blocked(files: RoundFiles, row: Row, number: int) -> str:
    """Why a next attempt must not begin by itself after attempt `number`, or an empty string."""
    folder = files.attempt(row.candidate, row.fold, row.seed, number)
    if folder.result.exists() or folder.exit.exists():
        return ""
    owner = read_claim(folder.claim)
    alive = owner.alive() if owner else None
    if owner and alive:
        return f"attempt {number} is running: {owner.task} (pid {owner.pid})"
    if owner and alive is None:
        text = f"attempt {number} was claimed by {owner.task} on {owner.host} and left no exit marker;"
        return f"{text} if that task is gone, give the number of the new attempt: {number + 1}"
    return ""


def _ended_ok(folder: AttemptFiles) -> bool:
    try:
        return read_json_object(folder.result).get("outcome") == "ok"
    except FileProblem:
        return False


def host_name() -> str:
    """What socket.gethostname() says, without the import."""
    return os.uname().nodename


def boot_id() -> str:
    """This boot of this machine; empty where the kernel does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def process_start(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot (field 22 of /proc/PID/stat); None when it is not there.

    A zombie counts as gone: it will never write again.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command name (field 2) may hold spaces and parentheses: count fields after its last ")".
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])
