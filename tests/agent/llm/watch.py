"""Notices what an answer must never cause: a process, a changed file, a connection to somewhere else."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

FORBIDDEN = {
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.forkpty",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.chmod",
    "shutil.rmtree",
    "shutil.move",
}


class Watch:
    """Audit events of this process while `port` is open. Python removes no hook, so this one only falls silent."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._port: int | None = None
        sys.addaudithook(self._hook)

    @contextmanager
    def port(self, root: str) -> Iterator[None]:
        """Watch, and allow connections to this address alone."""
        # The SDKs name the machine in their headers; Python asks `uname` for it, once in a process.
        platform.processor()
        self.seen.clear()
        self._port = urlsplit(root).port
        try:
            yield
        finally:
            self._port = None

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._port is None:
            return
        if arguments and isinstance(arguments[0], str) and "__pycache__" in arguments[0]:
            return  # Python keeps what it has compiled: an import of ours or of an SDK's
        if event in FORBIDDEN or (event == "open" and self._writes(*arguments)):
            self.seen.append(f"{event} {arguments!r}")
        elif event == "socket.connect" and arguments[1][1] != self._port:
            self.seen.append(f"{event} {arguments[1]!r}")

    @staticmethod
    def _writes(path: object, mode: object, flags: object) -> bool:
        """Whether a file is opened for writing."""
        if not isinstance(path, str) or path == os.devnull:
            return False
        return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND))
