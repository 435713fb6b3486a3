"""The HTTP server: loopback only, a thread a connection, every request kept."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.llm_server.asked import FORMATS, Asked, read
from tests.llm_server.behaviours import Behaviour, CutConnection, Drip, Hang, Redirect, Say, SchemaRefused, Status
from tests.llm_server.wires import Written, write

Model = Callable[[Asked], Behaviour]
"""Answers a request that no queued behaviour answers."""

#: How a path ends -> wire. Gateways put their own prefix before it (/v1, /api/v1, /v1beta/openai).
ENDINGS = {"/messages": "anthropic", "/responses": "responses", "/chat/completions": "chat"}


class LLMServer:
    """Answers each request with the next queued behaviour, else as `model` says; used as a context manager.

    A request that nothing was programmed for is answered with status 418 and noted in `unexpected`, and what broke
    in the server itself is noted in `broken`: the fixture asserts that both are empty.
    """

    def __init__(self, *queued: Behaviour, model: Model | None = None) -> None:
        self.requests: list[Asked] = []
        """In the order of their arrival."""
        self.model = model
        self.formats: frozenset[str] = frozenset(FORMATS)
        """Requests that ask for structure in another way get status 400 and use up no queued behaviour."""
        self.suffix = "-2026-01-01"
        """Answers name the model with this behind it, as providers do for an alias."""
        self.unexpected: list[str] = []
        self.broken: list[BaseException] = []
        self.dripped = 0
        """Answers that dripped to their end, because the client waited for it."""
        self._queued = deque(queued)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.002,), name="llm-server")

    def __enter__(self) -> LLMServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._http.shutdown()
        self._thread.join()
        self._http.hang_up()
        self._http.server_close()

    @property
    def root(self) -> str:
        """The address without any path."""
        return f"http://127.0.0.1:{self._http.server_port}"

    def base_url(self, style: str) -> str:
        """The base URL as a client of that API takes it: anthropic, responses, chat, gemini or search."""
        return self.root + {"anthropic": "", "gemini": "", "search": ""}.get(style, "/v1")

    def queue(self, *behaviours: Behaviour, times: int = 1) -> None:
        """Append behaviours, the whole series `times` times."""
        self._queued.extend(behaviours * times)

    @property
    def left(self) -> list[Behaviour]:
        """Queued behaviours that no request has used."""
        return list(self._queued)

    def paths(self) -> list[str]:
        return [asked.path for asked in self.requests]

    def decide(self, asked: Asked) -> tuple[int, Behaviour]:
        """Note a request; its number (from 1) and what to do with it."""
        with self._lock:
            self.requests.append(asked)
            number = len(self.requests)
            if asked.answer_format not in self.formats:
                return number, SchemaRefused()
            if self._queued:
                return number, self._queued.popleft()
            if self.model is not None:
                return number, self.model(asked)
            self.unexpected.append(f"request {number}: {asked.path}")
        return number, Status(418, "the test has programmed no answer to this request")

    def wait(self, seconds: float) -> bool:
        """Stand still; whether the server stops meanwhile."""
        return self._stopping.wait(seconds)


class _Http(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    owner: LLMServer

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End the connections that clients keep open, so that their threads end."""
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the client was quicker

    def handle_error(self, request: Any, client_address: Any) -> None:
        import sys

        error = sys.exc_info()[1]
        # Clients that time out hang up in the middle of an answer, as they should.
        if error is not None and not isinstance(error, ConnectionError):
            self.owner.broken.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Buffered, and flushed once an answer: headers and body in two packets meet the client's delayed
    # acknowledgement, which costs 40 ms a call.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Http

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self._answer("search" if parts.path == "/customsearch/v1" else None, dict(parse_qsl(parts.query)))

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        path = urlsplit(self.path).path
        wire = next((wire for ending, wire in ENDINGS.items() if path.endswith(ending)), None)
        if path.endswith(":generateContent"):
            wire = "gemini"
        self._answer(wire, json.loads(raw))

    def _answer(self, wire: str | None, body: Any) -> None:
        owner = self.server.owner
        if wire is None:
            owner.unexpected.append(f"no API has {self.command} {self.path}")
            return self._send(Written(status=404, body=b"{}"))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = read(wire, self.path, headers, body)
        number, behaviour = owner.decide(asked)
        model = asked.model + owner.suffix
        if isinstance(behaviour, Hang):
            owner.wait(behaviour.seconds)
            self.close_connection = True
        elif isinstance(behaviour, Drip):
            self._drip(behaviour)
        elif isinstance(behaviour, Redirect):
            self._send(Written(status=307, headers={"location": behaviour.to + self.path}, body=b"{}"))
        elif isinstance(behaviour, CutConnection):
            good = Say(json={"answer": "x" * 200}, usage=behaviour.usage)
            self._send(write(asked, good, model=model, number=number), cut=behaviour)
        else:
            self._send(write(asked, behaviour, model=model, number=number))

    def _send(self, written: Written, *, cut: CutConnection | None = None) -> None:
        body = written.body
        if cut is not None:
            self.close_connection = True
            if cut.after is None:
                return
            body = body[: cut.after]
        self.send_response(written.status)
        for name, value in written.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(written.body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _drip(self, behaviour: Drip) -> None:
        self.close_connection = True
        self.send_response(behaviour.code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(10**6))
        if behaviour.part == "body":
            self.end_headers()
        else:
            self.flush_headers()
        drop = b" " if behaviour.part == "body" else b"x-drop: 1\r\n"
        end = time.monotonic() + behaviour.seconds
        while time.monotonic() < end:
            self.wfile.write(drop)
            self.wfile.flush()
            if self.server.owner.wait(0.05):
                return
        self.server.owner.dripped += 1


def answers(sequence: Iterable[Behaviour]) -> Model:
    """A model that gives these one after the other, whatever is asked, and the last one ever after."""
    rest = deque(sequence)
    return lambda asked: rest.popleft() if len(rest) > 1 else rest[0]
