"""Finds and ends the processes of one test cluster; as a script, does so when its parent is gone.

A daemon is known by the mark in its environment. slurmstepd and the jobs are orphans of slurmd by SLURM's design
and carry no mark; slurmd gives each of them SLURM_CONF, and a job also has SLURM_JOB_ID. Having SLURM_CONF alone
means nothing: a person's shell may point at the cluster. A job that wipes its environment is found through its
parent. Standard library only: `python -I processes.py STATE` is the watchdog.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

MARK = "ROUNDTABLE_TEST_CLUSTER"


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process of the cluster. start_time (clock ticks since boot) tells it from a later one with the same pid."""

    pid: int
    parent: int
    start_time: int
    name: str


def _read(pid: int) -> Process | None:
    """The living process `pid`; None for one that is gone or only waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name stands in parentheses and may hold anything, so the fields are counted from the last one (proc(5)).
    name = stat[stat.index("(") + 1 : stat.rindex(")")]
    fields = stat[stat.rindex(")") + 2 :].split()
    if fields[0] in ("Z", "X"):
        return None
    return Process(pid=pid, parent=int(fields[1]), start_time=int(fields[19]), name=name)


def _belongs(process: Process, state: Path) -> bool:
    try:
        environment = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    if f"{MARK}={state}".encode() in environment:
        return True
    if f"SLURM_CONF={state}/slurm.conf".encode() not in environment:
        return False
    return process.name == "slurmstepd" or any(entry.startswith(b"SLURM_JOB_ID=") for entry in environment)


def cluster_processes(state: Path) -> list[Process]:
    """Every living process of the cluster in `state`: daemons, step daemons, jobs and whatever those started."""
    everything = [found for entry in os.listdir("/proc") if entry.isdigit() and (found := _read(int(entry)))]
    own = {process.pid for process in everything if _belongs(process, state)}
    grew = True
    while grew:
        heirs = {process.pid for process in everything if process.parent in own}
        grew = not heirs <= own
        own |= heirs
    return [process for process in everything if process.pid in own and process.pid != os.getpid()]


def node_processes(state: Path, node: str) -> list[Process]:
    """The step daemons of one node, then the jobs under them: in the order in which they must die.

    A step daemon that outlives its job reports the job's end, which a lost machine does not.
    """
    everything = {process.pid: process for process in cluster_processes(state)}
    jobs = [process for process in everything.values() if _on_node(process, node)]
    parents = {process.parent for process in jobs}
    daemons = [p for p in everything.values() if p.pid in parents and p.name == "slurmstepd"]
    return [*daemons, *(process for process in jobs if process not in daemons)]


def _on_node(process: Process, node: str) -> bool:
    try:
        return f"SLURMD_NODENAME={node}".encode() in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def send(process: Process, number: signal.Signals) -> None:
    """Signals the process unless it is gone or its pid belongs to another by now."""
    now = _read(process.pid)
    if now is not None and now.start_time == process.start_time:
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            pass


def end_all(state: Path, *, patience_s: float, limit_s: float = 10.0) -> list[Process]:
    """TERM to all, after `patience_s` KILL to those that stayed; returns those still there after `limit_s` more."""
    for process in cluster_processes(state):
        send(process, signal.SIGCONT)
        send(process, signal.SIGTERM)
    kill_at = time.monotonic() + patience_s
    while (left := cluster_processes(state)) and time.monotonic() < kill_at + limit_s:
        if time.monotonic() >= kill_at:
            for process in left:
                send(process, signal.SIGKILL)
        time.sleep(0.05)
    return left


def remove_state(state: Path) -> None:
    """Removes the state directory, and the database where a link says that it lies elsewhere."""
    database = state / "database"
    if database.is_symlink():
        shutil.rmtree(database.resolve(), ignore_errors=True)
    shutil.rmtree(state, ignore_errors=True)


def _watch(state: Path) -> None:
    """Cleans up once standard input closes, which the kernel does even when the parent dies of SIGKILL."""
    sys.stdin.buffer.read()
    end_all(state, patience_s=0.0)
    remove_state(state)


if __name__ == "__main__":
    _watch(Path(sys.argv[1]))
