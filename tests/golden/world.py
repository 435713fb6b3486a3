"""One study in a world that is the same each time: a clock, a cluster, a person's commands; all in this process."""

from __future__ import annotations

import contextlib
import getpass
import io
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.cli.main import run
from agent.launch.training import import_root
from tests.golden.clock import Clock
from tests.golden.cluster import Cluster, clean_environment, programs
from tests.golden.pack import Place

#: A person's Ctrl-C is meant for a call that waits; a call that goes on for longer than this waits for nobody.
LONGEST_CALL_S = 7 * 86400


class World:
    """What a recording or a test works with. `base` is the folder that is packed; the study is `base`/demo."""

    def __init__(self, folder: Path, *, user: str, host: str, began: datetime, zone: str = "UTC") -> None:
        """folder: made if need be, and holds `base` and what is not packed. began: when the recording began."""
        self.folder = folder.resolve()
        self.base = self.folder / "base"
        self.zone = zone
        start = int(began.replace(tzinfo=UTC).timestamp())
        checkout = import_root()
        assert checkout is not None, "golden studies are recorded and played in a checkout"
        self.place = Place(
            base=self.base, python=sys.executable, checkout=str(checkout), user=user, host=host, began=start
        )
        self.clock = Clock(float(start))
        self.transcript: list[str] = []
        """What was called and what it said."""
        self.written: list[tuple[str, str]] = []
        """(path relative to `base`, text) of every file that was put in place as a whole, oldest first."""
        self._interrupt: float | None = None
        self._made = 0
        self.cluster: Cluster

    @property
    def study(self) -> Path:
        return self.base / "demo"

    @contextlib.contextmanager
    def entered(self) -> Iterator[World]:
        """Inside the block the product sees this world and nothing else."""
        self.base.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "bin").exists():
            programs(self.folder / "bin")
        self.cluster = Cluster(self.base / "cluster.json", self.clock, host=self.place.host)
        self.clock.passed.append(self._watch)
        patch = pytest.MonkeyPatch()
        before = os.getcwd()
        for name in list(os.environ):
            if not name.startswith(("PYTEST_", "COV_")):
                patch.delenv(name)
        for name, value in clean_environment(self.folder / "bin", self.base, self.place.user, self.zone).items():
            patch.setenv(name, value)
        time.tzset()
        uname = os.uname()
        patch.setattr(os, "uname", lambda: os.uname_result((uname.sysname, self.place.host, *uname[2:])))
        patch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
        patch.setattr(socket, "gethostname", lambda: self.place.host)
        patch.setattr(getpass, "getuser", lambda: self.place.user)
        patch.setattr(uuid, "uuid4", self._uuid)
        patch.setattr(subprocess, "Popen", self.cluster.popen)
        replace = os.replace

        def noted(source: Path, target: Path) -> None:
            if Path(target).is_relative_to(self.base):
                self.written.append((str(Path(target).relative_to(self.base)), Path(source).read_bytes().decode()))
            replace(source, target)

        patch.setattr(os, "replace", noted)
        patch.setattr(os, "fsync", lambda descriptor: None)  # which only takes time where no power is cut
        patch.chdir(self.base)
        try:
            with self.clock.in_place():
                yield self
        finally:
            patch.undo()
            os.chdir(before)
            time.tzset()

    def _uuid(self) -> uuid.UUID:
        """Another one each time, the same in each recording."""
        self._made += 1
        return uuid.UUID(int=(int(self.clock.now) - self.place.began) * 1000 + self._made, version=4)

    def _watch(self) -> None:
        if self._interrupt is not None and self.clock.now >= self._interrupt:
            self._interrupt = None
            raise KeyboardInterrupt
        assert self.clock.now < self.place.began + LONGEST_CALL_S * 10, "the world's time is over: it waits in vain"

    # -- what a person does -----------------------------------------------------------------------------------------

    def put(self, name: str, text: str) -> Path:
        """Write a file beside the study."""
        path = self.base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def call(self, *words: str | Path, interrupt_s: float | None = None) -> str:
        """`roundtable WORDS`; what it printed. interrupt_s: a person presses Ctrl-C after so many seconds."""
        if interrupt_s is not None:
            self._interrupt = self.clock.now + interrupt_s
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run([str(word) for word in words])
        self._interrupt = None
        called = " ".join(map(str, words))
        self.transcript.append(f"$ roundtable {called}\n{out.getvalue()}{err.getvalue()}[{code}]\n")
        return out.getvalue()

    def tune(self, *words: str | Path, interrupt_s: float | None = None) -> str:
        """`roundtable tune` of this study."""
        place = ("--task", "demo", "--study", "demo", "--output-dir", self.base)
        return self.call("tune", *place, *words, interrupt_s=interrupt_s)

    def wait(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    def tick(self, *, until: str = "", every_s: float = 60.0, most: int = 200) -> None:
        """`roundtable tick` again and again, until a file of the study matches the pattern `until` (once where it is
        empty)."""
        for _ in range(most if until else 1):
            self.call("tick", "--study", self.study)
            if until and any(self.study.glob(until)):
                return
            self.wait(every_s)
        assert not until, f"{until} did not appear in {most} ticks:\n" + "".join(self.transcript[-3:])


def ask(world: World) -> dict[str, str]:
    """What the readers of a study answer: name of the question -> text."""
    study, reference = world.study, world.study / "hyperparameter_reference.json"
    before = len(world.transcript)
    asked: dict[str, tuple[str | Path, ...]] = {
        "status": ("status", "--study", study),
        "status_json": ("status", "--study", study, "--json"),
        "costs": ("costs", "--study", study),
        "graph": ("graph", "--study", study),
        "reference_check": ("reference", "check", reference),
        "reference_history": ("reference", "history", "--study", study),
    }
    found = {}
    for name, words in asked.items():
        world.call(*words)
        found[name] = world.transcript[-1]
    del world.transcript[before:]
    return found | {"api": _api(study)}


#: What a person's program reads of a run and of an observation.
_RUN = ("round", "candidate", "source", "key", "values", "outcome", "value", "std", "n", "rows", "metrics", "costs")
_RUN += ("verdict", "best", "plan")
_OBSERVATION = ("round", "candidate", "fidelity", "values", "key", "outcome", "value", "std", "n", "rows", "source")
_OBSERVATION += ("message", "violates")


def _api(root: Path) -> str:
    """What `agent.api.Study` says, field by field."""
    from agent.api import Study

    study = Study(root)
    state = study.state
    answers = {
        "state": {name: getattr(state, name) for name in ("closed", "open", "target", "ended", "finished")},
        "rounds": study.rounds,
        "history": [_fields(one, _OBSERVATION) for one in study.history],
        "recent": [_fields(one, _OBSERVATION) for one in study.recent(2)],
        "runs": [_fields(one, _RUN) for one in study.runs],
        "best_run": _fields(study.best_run, _RUN) if study.best_run is not None else None,
        "best": study.best,
        "pareto": study.pareto,
    }
    return json.dumps(answers, indent=1, default=_plain) + "\n"


def _plain(value: Any) -> Any:
    """What is no JSON itself: a mapping, or an object that says how it is written in round.json."""
    return value.to_json() if hasattr(value, "to_json") else dict(value)


def _fields(value: object, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names}
