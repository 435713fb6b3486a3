"""One daemon of the test cluster: a child process with its log."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(kw_only=True)
class Daemon:
    """A program kept in the foreground, in its own session so that Ctrl-C at a terminal reaches only the test run.

    answers: true once the daemon does its work; None when that shows elsewhere (a slurmd shows in slurmctld).
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    answers: Callable[[], bool] | None
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                list(self.argv),
                env=dict(self.env),
                cwd=self.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int | None:
        """Its process id; None when it does not run."""
        return self._process.pid if self._process is not None and self.alive() else None

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def end(self, *, patience_s: float) -> None:
        """TERM, and KILL when it has not ended after `patience_s` seconds (at once with 0)."""
        if self._process is None or not self.alive():
            return
        # A paused process takes TERM only once it goes on.
        self._process.terminate()
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(timeout=patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log_tail(self, lines: int) -> str:
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        status = "running" if self.alive() else f"ended with {self._process.returncode if self._process else None}"
        return "\n".join([f"--- {self.name} ({status}): {self.log.name}", *text.splitlines()[-lines:]])
