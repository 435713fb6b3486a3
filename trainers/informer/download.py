"""The Electricity Transformer data from its public address: only when asked for, and only the very same bytes."""

from __future__ import annotations

import fcntl
import hashlib
import urllib.error
import urllib.request
from pathlib import Path

from trainers.contract import DataProblem
from trainers.files import open_in_place, write_atomic
from trainers.informer.options import ETT

ADDRESS = "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/1d16c8f4f943005d613b5bc962e9eeb06058cf07/ETT-small/"
LIMIT = 64 * 2**20
TIMEOUT_S = 60.0


def download(task: str, target: Path, *, address: str = ADDRESS) -> None:
    """Fetch the task's file to `target` unless it is there. Raises DataProblem: no network, other bytes."""
    name, sha256 = ETT[task]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Trials of one round start together: one downloads, the others wait.
        with open(target.parent / ".download.lock", "a", opener=open_in_place) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if target.exists():
                return
            with urllib.request.urlopen(address + name, timeout=TIMEOUT_S) as reply:
                content: bytes = reply.read(LIMIT)
            found = hashlib.sha256(content).hexdigest()
            if found != sha256:
                raise DataProblem(f"{address}{name}: has the SHA-256 {found}, not {sha256}; nothing was kept")
            write_atomic(target, content)
    except (OSError, urllib.error.URLError) as error:
        raise DataProblem(
            f"{address}{name} could not be fetched to {target}: {error}; fetch it elsewhere and give --data path=FILE"
        ) from error
