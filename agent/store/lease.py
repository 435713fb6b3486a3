"""The lease: one process works on a study at a time, on one machine or several.

Two guards: an flock on lease.lock, which the kernel frees however the process dies (and which NFS passes to the
server), and lease.json with a heartbeat for filesystems where flock does not reach other machines.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from agent.errors import StudyBusy
from agent.store.disk import storage
from trainers.files import FileProblem, open_in_place, read_json_object, write_atomic

HEARTBEAT_S = 20.0
#: A lease of another machine is void after this long without a heartbeat.
EXPIRY_S = 120.0


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the study's lease while the block runs. Raises StudyBusy, naming the holder."""
    lock = path.with_suffix(".lock")
    with storage(lock):
        descriptor = open_in_place(lock, os.O_RDWR)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StudyBusy(_busy(path)) from error
        if _held_elsewhere(path):
            raise StudyBusy(_busy(path))
        stop = threading.Event()
        _beat(path)
        thread = threading.Thread(target=_beats, args=(path, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            with contextlib.suppress(OSError):
                if _ours(path):
                    path.unlink()
    finally:
        os.close(descriptor)


def _beat(path: Path) -> None:
    record = {"host": socket.gethostname(), "pid": os.getpid(), "heartbeat": time.time()}
    with storage(path):
        write_atomic(path, json.dumps(record) + "\n")


def _beats(path: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_S):
        if path.exists() and not _ours(path):
            # We were suspended for longer than EXPIRY_S and another machine took over: its lease stands.
            return
        # A full disk must not end a running study: the flock still holds, and the next beat tries again.
        with contextlib.suppress(Exception):
            _beat(path)


def _ours(path: Path) -> bool:
    try:
        record = read_json_object(path)
    except FileProblem:
        return False
    return (record.get("host"), record.get("pid")) == (socket.gethostname(), os.getpid())


def _held_elsewhere(path: Path) -> bool:
    """Whether another machine beat lately; ages are taken on the file server's clock alone."""
    try:
        host = read_json_object(path).get("host")
        age = _server_now(path) - path.stat().st_mtime
    except (FileProblem, OSError):
        return False
    return host != socket.gethostname() and age < EXPIRY_S


def _server_now(path: Path) -> float:
    probe = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.probe")
    with storage(path):
        os.close(open_in_place(probe, os.O_WRONLY))
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _busy(path: Path) -> str:
    try:
        holder = read_json_object(path)
        who = f"process {holder.get('pid')} on {holder.get('host')}"
    except FileProblem:
        who = "another process"
    return f"{path.parent}: {who} is working on this study; wait for it, or end it, then call again"
