"""A time limit for a whole HTTP exchange.

The limits of httpx are for each read: a server that sends a byte now and then, in the body, in the headers or in an
error's body that an SDK reads by itself, would be waited for without end.
"""

from __future__ import annotations

import socket
from threading import Lock, Timer
from types import TracebackType
from typing import Any


class Deadline:
    """Shuts an exchange's connection down when its time is over, whoever is reading from it.

    A context manager, for httpx and httpx2: pass `hook` as a client's event hook for requests.
    """

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._sockets: list[socket.socket] = []
        self._lock = Lock()
        self._timer = Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> Deadline:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._timer.join()
        for connection in self._sockets:
            connection.close()

    def hook(self, request: Any) -> None:
        """Has httpx tell of the connection that it opens for a request."""
        request.extensions["trace"] = self._told

    def _told(self, event: str, details: dict[str, Any]) -> None:
        if not event.endswith("connect_tcp.complete"):
            return
        # A descriptor of its own: TLS takes the original one away. Shutting down reaches the connection by either.
        own = details["return_value"].get_extra_info("socket").dup()
        with self._lock:
            self._sockets.append(own)
            if self.passed:
                _shut(own)

    def _end(self) -> None:
        with self._lock:
            self.passed = True
            for connection in self._sockets:
                _shut(connection)


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # the other side was quicker
