"""One study, round after round, under the faults of its plans; what breaks is told with seed, round and sequence."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.api.begin import begin
from agent.store.store import Store
from agent.store.study import Settings
from tests.cluster.cluster import Cluster
from tests.cluster.config import ClusterConfig
from tests.soak import invariants
from tests.soak.driver import ADOPT_AFTER_S, CANDIDATES, POLL_S, RESULT_GRACE_S, STUDY, options
from tests.soak.plan import DaemonFault, Kill, Plan, draw
from tests.soak.replay import contradictions, derived
from tests.soak.shims import Shims

TRAINER = Path(__file__).parent / "trainer"
ROOT = Path(__file__).parents[2]
CLUSTER = ClusterConfig(nodes=2, preemption=True)
#: A round that takes longer does not close.
ROUND_LIMIT_S = 600.0
#: Errors after which a person calls again, or cron does: nothing is lost, the next call goes on.
#: The round closed on nothing, which stops the study; the next call goes on.
STOPPING = ("TrialsCrashed", "NothingLearnt")
PASSING = ("LaunchError", "SchedulerUnavailable", "SubmitLimit", "AmbiguousSubmission", "StudyBusy")
CALLED_AGAIN_AFTER_S = 0.5


class SoakFailed(AssertionError):
    """An invariant does not hold. The message tells how to run the round again."""


@dataclass
class Tally:
    """What a soak came to."""

    rounds: int = 0
    seconds: list[float] = field(default_factory=list)
    """Of each round, its checks left out."""
    faults: Counter[str] = field(default_factory=Counter)
    """Those that befell: a second attempt's, say, never happen where none was needed."""
    errors: Counter[str] = field(default_factory=Counter)
    """Errors that ended a call and passed by themselves, and calls that were killed."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """Of the rows, as the rounds' records count them."""
    calls: Counter[str] = field(default_factory=Counter)
    """Of SLURM's programs by the orchestrator."""
    accounted: int = 0
    unaccounted: int = 0

    def lines(self) -> Iterator[str]:
        """For a person."""
        mean = sum(self.seconds) / len(self.seconds) if self.seconds else 0.0
        yield f"{self.rounds} rounds closed, {mean:.1f} s each (longest {max(self.seconds, default=0):.0f} s)"
        for what in ("faults", "errors", "outcomes", "calls"):
            counts: Counter[str] = getattr(self, what)
            total = sum(counts.values())
            yield f"{what}: {total} ({', '.join(f'{name} {count}' for name, count in counts.most_common())})"
        yield f"tasks accounted for: {self.accounted}, at their declared charge: {self.unaccounted}"


class Driver:
    """The process that forks the orchestrator's calls (driver.py)."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "tests.soak.driver", str(home / "runs"), str(TRAINER / "soak.yaml")]
        self._log = (home / "calls.log").open("ab")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=dict(environment),
            cwd=ROOT,
        )

    def call(
        self, kind: str, target: int, *, kill: Kill, resume: bool, meanwhile: Callable[[], None]
    ) -> dict[str, Any]:
        """Have a call made, and do something else while it runs."""
        assert self._process.stdin is not None and self._process.stdout is not None
        job = {
            "call": kind,
            "target": target,
            "resume": resume,
            "kill_at": kill.boundary,
            "kill_after_s": kill.after_s,
        }
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        self._process.stdin.flush()
        while not select.select([self._process.stdout], [], [], 0.1)[0]:
            meanwhile()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """Also ends a call that is under way: it finds nobody to tell."""
        self._process.communicate()
        self._log.close()


class Soak:
    """A study under faults. home: a folder for all that it needs, which stays."""

    def __init__(self, cluster: Cluster, home: Path, *, seed: int, first: int = 1, patient: bool = True) -> None:
        self.cluster, self.home, self.seed, self.first, self.patient = cluster, home, seed, first, patient
        for name in ("faults", "locks", "out"):
            (home / name).mkdir(parents=True)
        self.shims = Shims(home / "bin")
        self.root = home / "runs" / STUDY
        self.tally = Tally()
        self._fingerprints: dict[str, str] = {}
        self._delivered: dict[Path, float] = {}
        self._begin()
        environment = cluster.environment()
        environment["PATH"] = f"{self.shims.folder}{os.pathsep}{environment['PATH']}"
        self._driver = Driver(home, environment)

    def _begin(self) -> None:
        store = begin(options(self.home / "runs", TRAINER / "soak.yaml", target=1))
        setup = [f'export SOAK_HOME="{self.home}" SOAK_SHIMS="{self.shims.folder}"', f'source "{TRAINER}/setup.sh"']
        lines = ["partition: main", "gpus: 1", "cpus: 1", 'time: "00:10:00"', f"setup: {json.dumps(setup)}"]
        store.paths.profile.write_text("\n".join(lines) + "\n")
        settings = Settings(
            launcher="sbatch",
            auto_train=True,
            confirm="never",
            candidates=CANDIDATES,
            poll_s=POLL_S,
            adopt_after_s=ADOPT_AFTER_S,
            result_grace_s=RESULT_GRACE_S,
        )
        store.put_settings(settings)

    def close(self) -> None:
        self._driver.close()

    # -- one round ---------------------------------------------------------------------------------------------

    def round(self) -> Plan:
        """Run the next round to its end and check everything. Raises SoakFailed."""
        target = self.tally.rounds + 1
        plan = draw(self.seed, self.first + self.tally.rounds, patient=self.patient)
        for (row, attempt), fault in plan.rows.items():
            (self.home / "faults" / f"{target}-{row}-{attempt}").write_text(fault)
        self.shims.plan(plan.submissions)
        began = time.monotonic()
        weather = Weather(self.cluster, plan.daemons)
        try:
            self._drive(plan, target, weather, until=began + ROUND_LIMIT_S)
        finally:
            weather.clear()
        self.tally.seconds.append(time.monotonic() - began)
        self.tally.rounds = target
        self.tally.faults.update(weather.begun)
        self._check(plan, target)
        return plan

    def _drive(self, plan: Plan, target: int, weather: Weather, *, until: float) -> None:
        """Call the orchestrator until the round is closed, as a person, cron or a controller would."""
        kills, resume = list(plan.kills), False

        def meanwhile() -> None:
            weather.change()
            self._deliver(late_only=True)

        while True:
            kill = kills.pop(0) if kills else Kill()
            answer = self._driver.call(plan.driver, target, kill=kill, resume=resume, meanwhile=meanwhile)
            resume = False
            if answer["code"] < 0 and answer["error"] != "Hung":
                self.tally.errors["killed"] += 1
            elif answer["state"] == "finished":
                return
            elif answer["error"] in STOPPING:
                self.tally.errors[answer["error"]] += 1
                return
            elif answer["error"] == "RoundCancelled":
                # All that was left of it was cancelled by hand: the person has it closed as it is.
                self.tally.errors["RoundCancelled"] += 1
                if self._call("collect", target)["code"] == 0:
                    return
            elif answer["error"] == "StudyPaused":
                self.tally.errors["StudyPaused"] += 1
                resume = True
            elif answer["error"] in PASSING:
                self.tally.errors[answer["error"]] += 1
            elif answer["error"]:
                raise self._failed(plan, [f"{answer['error']}: {answer['message']}"])
            if time.monotonic() > until:
                raise self._failed(plan, [f"the round did not close within {ROUND_LIMIT_S:.0f} s"])
            if answer["state"] != "waiting" or plan.driver == "ticks":
                time.sleep(CALLED_AGAIN_AFTER_S)

    def _deliver(self, *, late_only: bool) -> None:
        """Let results appear whose time has come; late_only: and leave the others."""
        for path in self.root.glob("round_*/trials/*/*/result.json.late:*"):
            due = path.stat().st_mtime + float(path.name.rpartition(":")[2])
            if not late_only or time.time() >= due:
                result = path.with_name("result.json")
                self._delivered[result] = time.time()
                path.rename(result)

    # -- what must hold ----------------------------------------------------------------------------------------

    def _check(self, plan: Plan, target: int) -> None:
        found = list(self._round_wrong(target))
        found += self._settled(lambda store: invariants.orphans(store, self.cluster), 60)
        # Results that were later than their round: they change nothing any more.
        self._deliver(late_only=False)
        store = Store.open(self.root)
        found += invariants.changed(self._fingerprints)
        found += invariants.hours_wrong(store, invariants.accounting(self.cluster))
        if found:
            raise self._failed(plan, found)
        for entry in store.round_record(store.closed()[-1]).candidates:
            self.tally.outcomes.update(entry.outcomes)

    def _round_wrong(self, target: int) -> Iterator[str]:
        store = Store.open(self.root)
        closed = store.closed()
        if len(closed) != target or store.open_folder() is not None:
            yield f"closed rounds: {[paths.number for paths in closed]}; open: {store.open_folder()}"
            return
        yield from invariants.trained_twice(self.home)
        yield from invariants.results_lost(store, closed[-1], self._delivered)
        yield from contradictions(self.root)
        # This process derives the state, a new one does, and a call with nothing to do leaves it as it is.
        before = derived(self.root)
        if self._state() != before:
            yield "another process derives another state from the same journal and disk"
        entries = len(store.journal)
        idle = self._call("tune", target)
        if idle["error"] or idle["state"] != "finished":
            yield f"a further call with nothing to do: {idle}"
        added = [event.event for event in Store.open(self.root).journal.events[entries:]]
        if set(added) - {"refund", "settings", "resumed"}:
            yield f"a further call with nothing to do journaled {added}"
        if self._state() != derived(self.root) or (not added and derived(self.root) != before):
            yield "a further call with nothing to do changed the state"
        self._fingerprints |= invariants.fingerprints(closed[-1])

    def _settled(self, wrong: Callable[[Store], list[str]], seconds: float) -> list[str]:
        """What is still wrong after a while."""
        until = time.monotonic() + seconds
        while (found := wrong(Store.open(self.root))) and time.monotonic() < until:
            time.sleep(0.3)
        return found

    def _call(self, kind: str, target: int) -> dict[str, Any]:
        return self._driver.call(kind, target, kill=Kill(), resume=False, meanwhile=lambda: None)

    def _state(self) -> str:
        return str(self._call("state", self.tally.rounds)["state"])

    def finish(self) -> None:
        """After the last round: every hour that accounting knows is in the ledger. Raises SoakFailed."""

        def missing(store: Store) -> list[str]:
            self._call("collect", self.tally.rounds)
            store = Store.open(self.root)
            runs = invariants.accounting(self.cluster)
            return [*invariants.hours_missing(store, runs), *invariants.hours_wrong(store, runs)]

        if found := self._settled(missing, 90):
            raise self._failed(draw(self.seed, self.first + self.tally.rounds - 1, patient=self.patient), found)

    def count(self) -> None:
        """Complete the tally."""
        store = Store.open(self.root)
        ledger = store.ledger()
        self.tally.unaccounted = sum(map(len, ledger.unaccounted().values()))
        self.tally.accounted = sum(len(ledger.seconds(name)) for name in ledger.charges)
        befallen = self.home / "befallen.log"
        rows = [line.split()[1] for line in befallen.read_text().splitlines()] if befallen.exists() else []
        self.tally.faults.update(f"row {fault.partition(':')[0]}" for fault in rows)
        self.tally.faults.update(f"sbatch {fault.partition(':')[0]}" for fault in self.shims.befallen())
        self.tally.calls = Counter(call.program for call in self.shims.calls())

    def _failed(self, plan: Plan, found: list[str]) -> SoakFailed:
        lines = [f"seed {self.seed}, round {plan.number}: {plan.describe()}", *found]
        lines += [f"again: python -m tests.soak --seed {self.seed} --first {plan.number} --rounds 1"]
        lines += [f"    (or from the beginning: --seed {self.seed} --first {self.first}); files in {self.home}"]
        return SoakFailed("\n".join(lines))


class Weather:
    """The daemons' faults of one round."""

    def __init__(self, cluster: Cluster, faults: Sequence[DaemonFault]) -> None:
        self._cluster = cluster
        self._began = time.monotonic()
        self._coming = sorted(faults, key=lambda fault: fault.at_s)
        self._going: list[tuple[float, DaemonFault]] = []
        self.begun: list[str] = []

    def change(self) -> None:
        """Begin and end what is due now."""
        now = time.monotonic() - self._began
        while self._coming and self._coming[0].at_s <= now:
            fault = self._coming.pop(0)
            self.begun.append(fault.action)
            action, _, daemon = fault.action.partition(" ")
            if action == "restart":
                self._cluster.restart(daemon)
                continue
            (self._cluster.kill if action == "kill" else self._cluster.pause)(daemon)
            self._going.append((now + fault.for_s, fault))
        for until, fault in [pair for pair in self._going if pair[0] <= now]:
            self._end(fault)
            self._going.remove((until, fault))

    def clear(self) -> None:
        """End all that goes on; what has not begun stays away."""
        for _, fault in self._going:
            self._end(fault)
        self._going.clear()

    def _end(self, fault: DaemonFault) -> None:
        action, _, daemon = fault.action.partition(" ")
        if action == "kill":
            self._cluster.restart(daemon)
        else:
            self._cluster.resume(daemon)
