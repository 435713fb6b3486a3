"""One study on a cluster that is broken on purpose: driven look by look, as cron would, and checked at its end.

A test says what breaks between two looks; `Patient.assert_sound` holds what must be true however a study was
treated: each row trained once at a time, no finished result lost, no job left behind, infrastructure never a score,
the journal and the ledger in agreement with what accounting knows.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from agent.api import Study, TuneOptions, tick_once
from agent.api.begin import begin
from agent.launch.states import parse_elapsed
from agent.store.events import AttemptEnded, Charged, Event, Refunded, Submitted
from agent.store.paths import RoundPaths
from agent.store.store import Store
from agent.store.study import Settings
from tests.cluster.cluster import Cluster
from trainers.manifest import load_manifest
from trainers.results import read_row
from trainers.yaml_file import dump_yaml

E = TypeVar("E", bound=Event)

ROOT = Path(__file__).parents[2]
GATED = ROOT / "tests" / "programs" / "gated.yaml"
#: Every daemon in every phase, and what takes minutes: ROUNDTABLE_FULL_FAULTS=1
FULL = os.environ.get("ROUNDTABLE_FULL_FAULTS") == "1"
full = pytest.mark.skipif(not FULL, reason="takes a minute: ROUNDTABLE_FULL_FAULTS=1 runs it")

PROGRAMS = ("sbatch", "squeue", "sacct", "scancel", "scontrol")

#: Stands before a program of SLURM: notes the call, does what a test has put beside it, hands on to the real one.
SHIM = """#!/bin/sh
# --test-only submits nothing: it is neither counted nor broken.
case " $* " in *" --test-only "*) exec '{real}' "$@" ;; esac
echo '{name}' >>'{folder}/calls'
if [ -e '{folder}/instead-of-{name}' ]; then . '{folder}/instead-of-{name}'; fi
exec '{real}' "$@"
"""


class Shims:
    """SLURM's programs as the orchestrator finds them on PATH: counted, and broken where a test says so."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._real = {name: shutil.which(name) or pytest.fail(f"{name} is not on PATH") for name in PROGRAMS}
        for name, real in self._real.items():
            (folder / name).write_text(SHIM.format(name=name, folder=folder, real=real))
            (folder / name).chmod(0o755)

    def real(self, name: str) -> str:
        """The real program's path."""
        return self._real[name]

    @property
    def path(self) -> str:
        return f"{self.folder}{os.pathsep}{os.environ['PATH']}"

    def instead(self, name: str, lines: str) -> None:
        """Shell lines that the program runs first; `exit` ends it, else the real one follows. "$@" is its own."""
        (self.folder / f"instead-of-{name}").write_text(lines + "\n")

    def mend(self, name: str) -> None:
        (self.folder / f"instead-of-{name}").unlink(missing_ok=True)

    def calls(self) -> Counter[str]:
        path = self.folder / "calls"
        return Counter(path.read_text().split()) if path.exists() else Counter()


@dataclass
class Patient:
    """A study, the cluster that it runs on, and what both were put through."""

    root: Path
    cluster: Cluster
    shims: Shims
    lines: list[str] = field(default_factory=list)
    looks: list[float] = field(default_factory=list)
    """Seconds of each look."""
    began: float = field(default_factory=time.monotonic)

    # -- what it trains ---------------------------------------------------------------------------------------------

    def shut(self, *candidates: str) -> None:
        """Trainings that have begun, of these candidates alone or of all, wait until `open`."""
        for name in [f"shut-{candidate}" for candidate in candidates] or ["shut"]:
            (self.root / name).touch()

    def open(self, name: str = "shut*") -> None:
        for path in self.root.glob(name):
            path.unlink()

    @property
    def trained(self) -> list[str]:
        """One entry a training that began: "round candidate fold seed"."""
        log = self.root / "trained.log"
        return log.read_text().splitlines() if log.exists() else []

    # -- how it is driven -------------------------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        return self.root / "demo"

    def store(self) -> Store:
        return Store.open(self.folder)

    def begin(
        self, *, candidates: int = 2, rounds: int = 1, profile: dict[str, Any] | None = None, **changes: Any
    ) -> None:
        """A study whose next look submits its first round."""
        options = TuneOptions(
            task="demo", trainer=str(GATED), output_dir=self.root, confirm="never", data={"folder": str(self.root)}
        )
        store = begin(options)
        asked = {"partition": "main", "cpus": 1, "time": "00:10:00"} | (profile or {})
        (self.folder / "profile.yaml").write_text(dump_yaml(asked))
        settings = {"candidates": candidates, "target_round": rounds, "launcher": "sbatch", "auto_train": True}
        quick = {"confirm": "never", "poll_s": 0.5, "result_grace_s": 0.5, "adopt_after_s": 60.0}
        store.put_settings(Settings(**(settings | quick | changes)))

    def look(self) -> Any:
        """One look, as cron does it: a reader of its own, nothing remembered but what is on disk."""
        began = time.monotonic()
        try:
            # Only here: what the test itself asks of SLURM is not counted.
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("PATH", self.shims.path)
                return tick_once(self.store(), say=self.lines.append)
        finally:
            self.looks.append(time.monotonic() - began)

    def look_elsewhere(self) -> int:
        """One look in a process of its own, whose id shims find in `looker`; its exit code (negative: the signal)."""
        argv = [sys.executable, "-m", "agent", "tick", "--study", str(self.folder)]
        environment = os.environ | {"PATH": self.shims.path}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with subprocess.Popen(argv, cwd=ROOT, env=environment, text=True, **pipes) as process:
            (self.root / "looker").write_text(str(process.pid))
            told, _ = process.communicate(timeout=300)
        self.lines.extend(told.splitlines())
        return process.returncode

    def look_until(self, condition: Callable[[], object], what: str, *, limit_s: float = 120.0) -> None:
        """Look again and again until the condition holds."""
        deadline = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not within {limit_s:g} s\n{self.told()}"
            self.look()
            time.sleep(0.1)

    def finish(self, *, limit_s: float = 180.0) -> None:
        """Look until the target is reached."""
        deadline = time.monotonic() + limit_s
        while self.look().state != "finished":
            assert time.monotonic() < deadline, f"not finished within {limit_s:g} s\n{self.told()}"
            time.sleep(0.1)

    @staticmethod
    def pause(seconds: float) -> None:
        time.sleep(seconds)

    def wait(self, condition: Callable[[], object], what: str, *, limit_s: float = 60.0) -> None:
        """Without a look in between."""
        deadline = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not within {limit_s:g} s\n{self.told()}"
            time.sleep(0.1)

    # -- what is known of it ----------------------------------------------------------------------------------------

    def journal(self, *kinds: type[E]) -> list[E]:
        return list(self.store().journal.of(*kinds))

    def ends(self) -> list[tuple[int, int, str]]:
        """(row, attempt, outcome) as journaled."""
        return [(e.row, e.attempt, e.outcome) for e in self.journal(AttemptEnded)]

    def said(self, text: str) -> bool:
        return any(text in line for line in self.lines)

    def pid(self, daemon: str) -> int:
        """The cluster's daemon, for a signal at a moment that only a shim sees."""
        found = self.cluster.pid(daemon)
        assert found is not None, f"{daemon} does not run"
        return found

    def state_of(self, job: str) -> str:
        """The state of a job's only task, as squeue has it."""
        return self.cluster.run(["squeue", "-h", "-r", "-t", "all", "-j", f"{job},{job}", "-o", "%T"]).stdout.strip()

    def row_on(self, node: str) -> int:
        """The row whose task runs on this node."""
        done = self.cluster.run(["squeue", "-h", "-r", "-t", "running", "-w", node, "-o", "%K"], check=True)
        return int(done.stdout)

    def results(self) -> list[Path]:
        return list(self.folder.glob("round_*/trials/*/attempt_*/result.json"))

    def markers(self) -> list[Path]:
        """Attempts that were interrupted and said so."""
        marks = self.folder.glob("round_*/trials/*/attempt_*/exit.json")
        return [path for path in marks if json.loads(path.read_text())["outcome"] == "interrupted"]

    def queued(self) -> list[str]:
        """Names of this study's jobs that are pending, running or completing."""
        done = self.cluster.run(["squeue", "-h", "-r", "-o", "%j"], check=True)
        return [name for name in done.stdout.split() if name.startswith("rt-demo-")]

    def jobs(self, kind: str = "train") -> list[Submitted]:
        return [e for e in self.journal(Submitted) if e.kind == kind]

    def told(self) -> str:
        """What a failed assertion shows."""
        entries = self.store().paths.journal.read_text().splitlines()
        queue = self.cluster.run(["squeue", "-r", "-t", "all"], timeout=30).stdout
        return "\n".join([*self.lines, *(entry[:300] for entry in entries), queue])

    def _rounds(self) -> list[RoundPaths]:
        return self.store().closed()

    # -- what must be true at the end -------------------------------------------------------------------------------

    def assert_sound(
        self,
        *,
        rounds: int = 1,
        ends: list[tuple[int, int, str]] | None = None,
        twins: bool = False,
        beside: bool = False,
    ) -> None:
        """Every invariant of a study that closed `rounds` rounds with all rows ok.

        ends: the journaled ends of attempts. twins: the test itself submitted a job twice. beside: a training that
        nobody could stop or see went on beside the next attempt for a while.
        """
        assert len(self._rounds()) == rounds, self.told()
        assert sorted(self.ends()) == sorted(ends or []), self.told()
        assert (self.root / "twice.log").exists() == beside, self.told()
        self._assert_trained_once(again=len(ends or []))
        self._assert_results_count()
        self._assert_handed_over_once(twins=twins)
        self.cluster.wait_for(lambda: not self.queued(), 60)
        self.assert_accounts()

    def _assert_trained_once(self, *, again: int) -> None:
        """No row is trained more often than attempts of it ended badly."""
        rows = [row for paths in self._rounds() for row in load_manifest(paths.manifest).rows]
        assert len(set(self.trained)) == len(rows), self.told()
        assert len(self.trained) <= len(rows) + again, self.told()

    def _assert_results_count(self) -> None:
        """Each row's result on disk is its score; scores are the parabola's, so no fault can have become one."""
        for paths in self._rounds():
            manifest = load_manifest(paths.manifest)
            record = json.loads(paths.closed.read_text())
            trials = {trial["row"]: trial for candidate in record["candidates"] for trial in candidate["trials"]}
            for row in manifest.rows:
                result = read_row(paths, manifest, row)
                assert result is not None and result.outcome == "ok", (row, self.told())
                assert trials[row.row]["outcome"] == "ok" and trials[row.row]["attempt"] == result.attempt
        for seen in Study(self.folder).history:
            assert seen.value is not None and math.isclose(
                seen.value, 1 - (seen.values["x"] - 0.3) ** 2, abs_tol=1e-9
            )

    def _assert_handed_over_once(self, *, twins: bool) -> None:
        """Each name was submitted once as far as the journal, and as the scheduler itself, knows."""
        names = Counter(e.name for e in self.journal(Submitted))
        assert set(names.values()) == {1}, names
        if twins:
            return
        # What was refused for its demands stays in the queue, as a failed job for that reason.
        shown = self.cluster.run(["squeue", "-h", "-t", "all", "-o", "%F %j %r"], check=True).stdout.splitlines()
        known = {(name, job) for job, name, reason in map(str.split, shown) if reason != "BadConstraints"}
        jobs = Counter(name for name, _ in known if name in names)
        assert all(count == 1 for count in jobs.values()), jobs

    def assert_accounts(self) -> None:
        """Each submission is charged once; what was refunded is what accounting says, within a second an attempt."""
        store = self.store()
        charges = Counter(e.name for e in store.journal.of(Charged))
        assert charges == Counter(e.name for e in store.journal.of(Submitted))
        ledger = store.ledger()
        if not self.cluster.config.accounting:
            assert not list(store.journal.of(Refunded))
            return
        for name in ledger.charges:
            seconds_of = ledger.seconds(name)
            known = self._accounted(name, seconds_of.keys())
            for item, seconds in seconds_of.items():
                assert abs(seconds - known[item]) <= 1, (name, item, seconds, known)

    def _accounted(self, name: str, items: Iterable[int]) -> dict[int, float]:
        """Seconds that accounting has for each item of a submission, once it has these.

        A restarted slurmctld tells accounting of its array tasks anew, up to 5 s later; until then sacct shows the
        array under one line, without its tasks.
        """
        wanted = set(items)

        self.cluster.wait_for(lambda: wanted <= self._accounted_now(name).keys(), 30)
        return self._accounted_now(name)

    def _accounted_now(self, name: str) -> dict[int, float]:
        [made] = [e for e in self.journal(Submitted) if e.name == name]
        argv = ["sacct", "-n", "-P", "-X", "-D", "-j", made.job_id, "--format=JobID,Elapsed"]
        found: dict[int, float] = {}
        for line in self.cluster.run(argv, check=True).stdout.splitlines():
            task, elapsed = line.split("|")
            if task in made.tasks:
                item = made.items[made.tasks.index(task)]
                found[item] = found.get(item, 0.0) + (parse_elapsed(elapsed) or 0.0)
        return found

    # -- figures ----------------------------------------------------------------------------------------------------

    def figures(self) -> dict[str, Any]:
        """What the table of faults says about this study."""
        claims = [path for paths in self._rounds() for path in paths.root.glob("trials/*/attempt_*/claim.json")]
        return {
            "seconds": round(time.monotonic() - self.began, 1),
            "looks": len(self.looks),
            "longest look": round(max(self.looks, default=0.0), 1),
            "attempts": f"{len(claims)} for {len(set(self.trained))} rows",
            "calls": " ".join(f"{name} {count}" for name, count in sorted(self.shims.calls().items())),
        }
