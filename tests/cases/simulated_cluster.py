"""A cluster of any size behind fake programs, on a clock of its own: its rows wait, run, leave results and end."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from agent.launch.states import format_time
from agent.store.events import Submitted
from agent.store.paths import RoundFolder, RoundPaths
from agent.store.store import Store
from tests.cases.fake_slurm import FakeSlurm
from trainers.evaluate import evaluate_all
from trainers.files import to_json
from trainers.manifest import load_manifest

#: Asked how things stand. The others change something, or are asked once a process (scontrol).
QUERIES = ("squeue", "sacct")
PROGRAMS = ("sbatch", "squeue", "sacct", "scancel", "scontrol")


@dataclass
class SimulatedCluster:
    """Answers for one study. Its time goes on in `sleep`, which stands for what a controller does between looks."""

    fake: FakeSlurm
    root: Path
    waits_s: float = 100.0
    runs_s: float = 400.0
    fails: Collection[tuple[int, int, int]] = ()
    """(round, row, attempt) that end before they claim their row."""
    now: float = 1_900_000_000.0
    calls: list[tuple[float, str]] = field(default_factory=list)
    """(time, program) of every call, oldest first; those of one look at the same time."""
    _begun: dict[str, float] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)
    _counted: dict[str, int] = field(default_factory=dict)
    _told: object = None

    def clock(self) -> float:
        """Seconds since the epoch."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Note the calls of the look that is over, and let time pass."""
        self.note_calls()
        self.now += max(seconds, 0.0)
        self.answer()

    def note_calls(self) -> None:
        for program in PROGRAMS:
            path = self.fake.folder / f"{program}.calls"
            count = len(path.read_text().splitlines()) if path.exists() else 0
            self.calls += [(self.now, program)] * (count - self._counted.get(program, 0))
            self._counted[program] = count

    def times(self, program: str) -> list[float]:
        """When a program was called."""
        return [at for at, name in self.calls if name == program]

    def answer(self) -> None:
        """Have the programs tell how things stand now, and the rows that have ended leave what they leave."""
        store = Store.open(self.root)
        submitted = list(store.journal.of(Submitted))
        for entry in submitted:
            self._begun.setdefault(entry.name, self.now)
        ages = [self.now - self._begun[entry.name] for entry in submitted]
        phases = [(age >= self.waits_s) + (age >= self.waits_s + self.runs_s) for age in ages]
        if phases == self._told:
            return
        self._told = phases
        queue, known = [], []
        for entry in submitted:
            name, begun = entry.name, self._begun[entry.name]
            age, at = self.now - begun, format_time(begun)
            over = age >= self.waits_s + self.runs_s
            if over and name not in self._done:
                self._done.add(name)
                self._leave(store, entry)
            word = "PENDING" if age < self.waits_s else "RUNNING"
            for item, task in zip(entry.items, entry.tasks, strict=True):
                failed = (self._number(entry), item, entry.attempt) in self.fails and entry.kind == "train"
                end = ("FAILED", "7:0") if failed else ("COMPLETED", "0:0")
                state, code = end if over else (word, "0:0")
                ended = format_time(begun + self.waits_s + self.runs_s) if over else "Unknown"
                known.append(f"{task}|{state}|{code}|00:06:40|{ended}|{at}|n1|{name}")
                if not over:
                    queue.append(f"{task}|{state}|{at}|0:10|n1|None|{name}")
        self.fake.answer("squeue", "".join(f"{line}\n" for line in queue))
        self.fake.answer("sacct", "".join(f"{line}\n" for line in known))

    @staticmethod
    def _number(made: Submitted) -> int:
        folder = RoundFolder.parse(Path(made.folder))
        assert folder is not None
        return folder.number

    def _leave(self, store: Store, made: Submitted) -> None:
        folder = RoundFolder.parse(store.paths.root / made.folder)
        assert folder is not None
        paths = store.paths.round(folder)
        if made.kind == "eval":
            evaluate_all(paths)
            return
        items = [i for i in made.items if (folder.number, i, made.attempt) not in self.fails]
        put_results(paths, items, attempt=made.attempt)


def put_results(paths: RoundPaths, rows: Collection[int], *, attempt: int = 1) -> None:
    """result.json of these rows, as their tasks write it."""
    manifest = load_manifest(paths.manifest)
    for number in rows:
        row = manifest.rows[number]
        folder = paths.attempt(row.candidate, row.fold, row.seed, attempt)
        folder.root.mkdir(parents=True)
        result = {
            "schema_version": 1,
            "study": manifest.study,
            "round": manifest.round,
            "row": row.row,
            "candidate": row.candidate,
            "fold": row.fold,
            "seed": row.seed,
            "attempt": attempt,
            "reference_sha256": manifest.candidates[row.candidate],
            "outcome": "ok",
            "metrics": {manifest.objective: 0.5},
            "directions": {manifest.objective: manifest.direction},
            "costs": {"wall_seconds": 10.0, "cpu_seconds": 9.0, "gpu_seconds": 10.0},
        }
        folder.result.write_text(to_json(result))


def search_path(fake: FakeSlurm) -> str:
    """PATH with the fakes in front."""
    return f"{fake.folder}{os.pathsep}{os.environ['PATH']}"
