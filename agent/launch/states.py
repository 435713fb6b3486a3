"""SLURM's words as data: its states, and the text of sbatch, squeue, sacct and scontrol. Pure functions.

States: slurm(1) manual pages of squeue and sacct (JOB STATE CODES), versions 20.11 to 24.05.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from agent.launch.base import State

STATES: dict[str, State] = {
    "PENDING": State.PENDING,
    "REQUEUED": State.PENDING,
    "REQUEUE_FED": State.PENDING,
    "REQUEUE_HOLD": State.PENDING,
    "RESV_DEL_HOLD": State.PENDING,
    "SPECIAL_EXIT": State.PENDING,  # requeued and held until somebody acts
    "POWER_UP_NODE": State.PENDING,
    "CONFIGURING": State.RUNNING,
    "RUNNING": State.RUNNING,
    "COMPLETING": State.RUNNING,  # its processes may still write
    "RESIZING": State.RUNNING,
    "SIGNALING": State.RUNNING,
    "STAGE_OUT": State.RUNNING,
    "STOPPED": State.RUNNING,
    "SUSPENDED": State.RUNNING,
    "BOOT_FAIL": State.GONE,
    "CANCELLED": State.GONE,
    "COMPLETED": State.GONE,
    "DEADLINE": State.GONE,
    "FAILED": State.GONE,
    "LAUNCH_FAILED": State.GONE,
    "NODE_FAIL": State.GONE,
    "OUT_OF_MEMORY": State.GONE,
    "PREEMPTED": State.GONE,
    "RECONFIG_FAIL": State.GONE,
    "REVOKED": State.GONE,  # a federation's sibling cluster took the job; here it is over
    "TIMEOUT": State.GONE,
}

#: A cancellation by root, which slurmd is, or by nobody.
_BY_SLURM = ("CANCELLED", "CANCELLED by 0")

SQUEUE_FORMAT = "%i|%T|%V|%M|%N|%r|%j"
SACCT_FORMAT = "JobID,State,ExitCode,Elapsed,End,Submit,NodeList,JobName,AllocTRES"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One task as squeue or sacct shows it."""

    task: str
    """"123_4", or "123" for a job that is no array."""
    name: str
    raw: str
    submitted: float | None = None
    """Seconds since the epoch; None where SLURM does not tell."""
    elapsed_s: float | None = None
    ended: float | None = None
    """Seconds since the epoch, of a run that is over; None where SLURM does not tell."""
    node: str = ""
    reason: str = ""
    exit_code: str = ""
    cpus: int | None = None
    """Allocated, which may be more than was asked for; None where SLURM does not tell."""
    gpus: int | None = None
    """Allocated; None where SLURM does not tell, or does not account for GPUs."""

    @property
    def job(self) -> str:
        return self.task.partition("_")[0]


def state_of(raw: str) -> State:
    """A state's meaning. "CANCELLED by 1000" counts as CANCELLED; an unknown word is never taken for an end."""
    words = raw.split()
    word = words[0].rstrip("+") if words else ""
    return STATES.get(word, State.UNKNOWN)


def parse_submission(text: str) -> tuple[str, str | None] | None:
    """Job id and cluster from `sbatch --parsable`; other lines are noise from wrappers. None when there is no id."""
    for line in reversed(text.splitlines()):
        match = re.fullmatch(r"(\d+)(?:;(\S+))?", line.strip())
        if match:
            return match[1], match[2]
    return None


def parse_squeue(text: str) -> list[Record]:
    """Records from `squeue -r -h -o SQUEUE_FORMAT`; lines of another shape (cluster headings) are left out."""
    records = []
    for line in text.splitlines():
        fields = line.split("|", 6)
        if len(fields) != 7:
            continue
        task, raw, submitted, elapsed, node, reason, name = (field.strip() for field in fields)
        for single in expand(task):
            record = Record(
                task=single,
                name=name,
                raw=raw,
                submitted=parse_time(submitted),
                elapsed_s=parse_elapsed(elapsed),
                node=node,
                reason="" if reason == "None" else reason,
            )
            records.append(record)
    return records


def parse_sacct(text: str) -> list[Record]:
    """Records from `sacct -n -P -D --format=SACCT_FORMAT`, one per run of a task, in sacct's order.

    The Elapsed of an ended task counts only beside its End. While slurmctld hands on what slurmdbd missed, a task
    already shows its final state, without an End, and an Elapsed that grows with the clock (measured: 11 s for a run
    of one second).

    Steps are folded into their task: a batch step's OUT_OF_MEMORY is often the only trace of a host out of memory
    (the job itself says FAILED), and a batch step without an exit code the only one of a node that could not launch
    the task: slurmd then cancels it, as root, for a job that may not be requeued (measured on 22.05 with a failing
    Prolog; a person's scancel leaves 0:15 there).
    """
    records: list[Record] = []
    newest: dict[str, int] = {}
    for line in text.splitlines():
        fields = [field.strip() for field in line.split("|")]
        if len(fields) < 8:
            continue
        task, raw, exit_code, elapsed, end, submitted, node, name = fields[:8]
        cpus, gpus = parse_allocated(fields[-1] if len(fields) > 8 else "")
        owner, dot, step = task.partition(".")
        if dot:
            index = newest.get(owner)
            if index is not None and raw.startswith("OUT_OF_MEMORY") and records[index].raw.startswith("FAILED"):
                records[index] = replace(records[index], raw="OUT_OF_MEMORY", exit_code=exit_code)
            elif index is not None and step == "batch" and records[index].raw in _BY_SLURM and not exit_code:
                records[index] = replace(records[index], raw="LAUNCH_FAILED")
            continue
        unknown = not end[:1].isdigit() and state_of(raw) is State.GONE
        for single in expand(task):
            newest[single] = len(records)
            record = Record(
                task=single,
                name=name,
                raw=raw,
                submitted=parse_time(submitted),
                elapsed_s=None if unknown else parse_elapsed(elapsed),
                ended=parse_time(end),
                node="" if node == "None assigned" else node,
                exit_code=exit_code,
                cpus=cpus,
                gpus=gpus,
            )
            records.append(record)
    return records


def parse_allocated(text: str) -> tuple[int | None, int | None]:
    """CPUs and GPUs of sacct's AllocTRES, "billing=8,cpu=8,gres/gpu=4,mem=2G,node=1"; None for what is not there.

    GPUs may stand there by kind as well (gres/gpu:a100=4), beside their sum or alone.
    """
    counts = {
        name: int(value) for name, _, value in (part.partition("=") for part in text.split(",")) if value.isdecimal()
    }
    kinds = [count for name, count in counts.items() if name.startswith("gres/gpu:")]
    return counts.get("cpu"), counts.get("gres/gpu", sum(kinds) if kinds else None)


def expand(task: str) -> list[str]:
    """The single ids behind an id as SLURM prints it: "15_[0-2,7%2]" is four; anything else stands for itself."""
    match = re.fullmatch(r"(\d+)_\[([\d,:-]+)(?:%\d+)?\]", task)
    if not match:
        return [task]
    indices: list[int] = []
    for part in match[2].split(","):
        span, _, step = part.partition(":")
        first, _, last = span.partition("-")
        indices.extend(range(int(first), int(last or first) + 1, int(step or 1)))
    return [f"{match[1]}_{index}" for index in indices]


def parse_time(text: str) -> float | None:
    """Seconds since the epoch of SLURM's "2031-02-03T04:05:06"; None for Unknown and N/A.

    UTC, because its programs are asked with TZ=UTC (environment.for_queries): by a local clock, the hour that summer
    time ends with stands twice.
    """
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def format_time(seconds: float) -> str:
    """What sacct's -S takes under TZ=UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def parse_elapsed(text: str) -> float | None:
    """Seconds of "[days-][hours:]minutes:seconds"; None for anything else (e.g. INVALID)."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)(?:\.\d+)?", text)
    if not match:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def parse_minutes(text: str) -> int | None:
    """Minutes, rounded up, of an sbatch --time value; None for UNLIMITED, INFINITE and what is no time.

    sbatch(1): "minutes", "minutes:seconds", "hours:minutes:seconds", "days-hours", "days-hours:minutes" and
    "days-hours:minutes:seconds".
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text.strip())
    if not match:
        return None
    days, a, b, c = (int(part) if part is not None else None for part in match.groups())
    if days is not None:
        seconds = ((days * 24 + (a or 0)) * 60 + (b or 0)) * 60 + (c or 0)
    elif c is not None:
        seconds = ((a or 0) * 60 + (b or 0)) * 60 + c
    else:
        seconds = (a or 0) * 60 + (b or 0)
    return -(-seconds // 60)


def parse_config(text: str) -> dict[str, str]:
    """`scontrol show config` as names and values."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def array_limits(config: Mapping[str, str]) -> tuple[int | None, int | None]:
    """MaxArraySize and max_array_tasks (which may be lower) of `scontrol show config`; None where it says neither."""
    size = config.get("MaxArraySize", "")
    match = re.search(r"max_array_tasks=(\d+)", config.get("SchedulerParameters", ""))
    return int(size) if size.isdigit() else None, int(match[1]) if match else None


def parse_pairs(line: str) -> dict[str, str]:
    """A line of `scontrol show ... -o` as names and values."""
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


def compact(indices: Iterable[int]) -> str:
    """The shortest --array list: 0, 1, 2, 5 is "0-2,5"."""
    runs: list[list[int]] = []
    for index in sorted(set(indices)):
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in runs)


def offset_for(items: Sequence[int], largest_index: int | None) -> int:
    """What is taken off the items to get array indices: nothing where they fit, so that indices read as items."""
    return 0 if largest_index is None or items[-1] <= largest_index else items[0]


def chunks(items: Sequence[int], largest_index: int | None, *, max_tasks: int | None = None) -> list[tuple[int, ...]]:
    """Split ascending items into arrays whose indices fit and that have at most `max_tasks` tasks each."""
    parts: list[list[int]] = []
    for item in items:
        part = parts[-1] if parts else None
        if part is None or (max_tasks is not None and len(part) >= max_tasks):
            fits = False
        elif largest_index is None or item <= largest_index:
            fits = True
        else:
            fits = item - part[0] <= largest_index
        if part is not None and fits:
            part.append(item)
        else:
            parts.append([item])
    return [tuple(part) for part in parts]
