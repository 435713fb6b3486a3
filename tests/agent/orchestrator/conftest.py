"""Studies of the no-op trainer on the local launcher: real scripts, processes and files, a second a round."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.api import Outcome, TuneOptions, tune
from agent.launch.local import LocalLauncher
from agent.orchestrator.training.submissions import submissions
from agent.store.store import Store

NOOP = Path(__file__).parents[2] / "programs" / "noop.yaml"


@dataclass
class Lab:
    """A folder for studies, the options that all calls share, and what the trainer noted."""

    root: Path
    lines: list[str]

    @property
    def log(self) -> Path:
        return self.root / "trained.log"

    @property
    def trained(self) -> list[str]:
        """One entry a training that began: "round candidate fold seed"."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def options(self, **changes: Any) -> TuneOptions:
        fields: dict[str, Any] = {
            "task": "demo",
            "trainer": str(NOOP),
            "output_dir": self.root,
            "auto_train": True,
            "launcher": "local",
            "confirm": "never",
            "data": {"log": str(self.log)},
        }
        return TuneOptions(**(fields | changes))

    def tune(self, **changes: Any) -> Outcome:
        return tune(self.options(**changes), say=self.lines.append)

    def store(self) -> Store:
        return Store.open(self.root / "demo")

    def said(self, text: str) -> bool:
        return any(text in line for line in self.lines)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Ends every local queue that a test left behind, by its own record."""
    lab = Lab(tmp_path, [])
    yield lab
    root = tmp_path / "demo"
    if not (root / "study.yaml").exists():
        return
    store = Store.open(root)
    launcher = LocalLauncher()
    for folder in [*store.paths.folders(), *store.paths.folders("confirm")]:
        made = [s for kind in ("train", "eval") for _, s in submissions(store, store.paths.round(folder), kind)]
        launcher.cancel([submission for submission in made if submission.launcher == "local"])


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Look every 20 ms until the condition holds; fail loudly when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
