"""What every test shares: one private SLURM a session, no network but loopback, quiet threads."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import Any

import pytest

from tests.cluster.fixtures import slurm

__all__ = ["slurm"]

pytest_plugins = ["tests.lanes", "tests.llm_server.fixtures", "tests.time_table"]

# Container images set it. Each of the thousand programs that tests start would then compile whatever it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Trials share two cores: more threads only contend (51 s against 2.7 s for one small training).
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the tests in the background ignores SIGINT, and every process below would inherit that: Ctrl-C,
# which some tests send, would then reach nobody.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_connect = socket.socket.connect


def _loopback_only(self: socket.socket, address: Any) -> None:
    """Tests may talk to this machine; anything else would make them depend on a network that is not there."""
    host = address[0] if isinstance(address, tuple) else ""
    if self.family in (socket.AF_INET, socket.AF_INET6) and not (
        host.startswith("127.") or host in ("localhost", "::1", "")
    ):
        raise OSError(f"tests may only connect to loopback, not to {host}")
    _connect(self, address)


@pytest.fixture(autouse=True, scope="session")
def loopback_only() -> Any:
    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", _loopback_only)
    yield
    patch.undo()
