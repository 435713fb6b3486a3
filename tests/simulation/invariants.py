"""What must hold in a simulated study: after every look, when a round closes, and at the end.

`Watch` reads the journal as it grows, so that a look costs what is new in it. The invariants are those of the soak on
a real cluster (tests/soak/invariants.py, replay.py), and more.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agent.store.events import line_of
from agent.store.paths import RoundPaths
from agent.store.store import Store
from tests.simulation.cluster import Cluster
from tests.simulation.journal_rules import JournalRules
from tests.simulation.programs import Programs
from tests.simulation.script import Script
from tests.simulation.study import GRACE_S
from tests.soak.invariants import SLACK_S
from tests.soak.replay import contradictions
from trainers.manifest import load_manifest
from trainers.results import read_result

Entry = Mapping[str, Any]
#: A task that was cancelled is gone by then, a look later.
STOPPED_WITHIN_S = 60.0
#: What a look with nothing to do may journal: what it learns of hours.
IDLE = frozenset(("refund",))


class Watch:
    """Follows one study. script: what befalls it, which some invariants depend on."""

    def __init__(self, cluster: Cluster, programs: Programs, script: Script) -> None:
        self._cluster = cluster
        self._programs = programs
        self._acts = {one.what for one in script.faults if one.where in ("person", "shell")}
        self._setting = script.setting
        jumps = any(one.where == "clock" for one in script.faults)
        self.rules = JournalRules(cluster, grace_s=0.0 if jumps else GRACE_S)
        self._requeues = any(one.what == "requeued" for one in script.faults)
        self._troubled = any(one.where == "squeue" for one in script.faults)
        self.looked_last = self.looked_before_last = cluster.now
        """When the last two looks began that went well."""
        self._read = 0
        self._files: dict[Path, str] = {}
        self._over: dict[str, float] = {}
        """Folders of closed rounds, and when each was seen closed."""

    # -- after every look ----------------------------------------------------------------------------------------

    def look(self, store: Store) -> Iterator[str]:
        """What is wrong now."""
        yield from self._cluster.wrong
        yield from self._programs.wrong
        new = [line_of(event) for event in store.journal.events[self._read :]]
        for position, entry in enumerate(new, self._read):
            yield from self.rules.check(position, entry)
        self._read += len(new)
        for job in self._cluster.jobs.values():
            if job.name not in self.rules.intents:
                yield f"job {job.id} ({job.name}) is named by no intent"
        if any(entry["event"] == "charge" for entry in new):
            yield from self._budget(store)
        yield from self._left_behind()

    def _budget(self, store: Store) -> Iterator[str]:
        cap = store.settings().max_gpu_hours
        if cap is not None and not self._requeues:
            total = store.ledger().balance("gpu").total
            if total > cap + 1e-6:
                yield f"{total:.3f} GPU-hours are spent and committed, of {cap}"

    def _left_behind(self) -> Iterator[str]:
        """Trainings that go on a minute after their round was closed."""
        known = {entry["job_id"] for entry in self.rules.submitted.values() if entry["kind"] == "train"}
        for task in self._cluster.living():
            closed = self._over.get(task.job.folder.name)
            good = self._cluster.good.get((task.job.folder.name, task.item), 2e10)
            seen = max(good, task.run.submitted) < self.looked_before_last
            if (
                str(task.job.id) in known
                and seen
                and self._cluster.now > self.looked_last + 10
                and not self._troubled
            ):
                yield f"task {task.id} ({task.job.name}) goes on although its row has a result"
            stopped = self.rules.quorum.get(task.job.name)
            if stopped is not None and self._cluster.now > stopped + STOPPED_WITHIN_S and not self._troubled:
                yield f"task {task.id} ({task.job.name}) lives although the quorum stopped it"
            if closed is not None and self._cluster.now > closed + STOPPED_WITHIN_S and str(task.job.id) in known:
                yield f"task {task.id} ({task.job.name}) lives although its round is closed"

    def rewritten(self, store: Store, before: bytes) -> Iterator[str]:
        """The study's reference as it stood before a look that rewrote it is kept: nothing overwrites unarchived."""
        path = store.paths.reference
        if not path.exists() or path.read_bytes() == before or not before.endswith(b"}\n"):
            return
        sha = hashlib.sha256(before).hexdigest()
        kept = [*store.paths.root.glob("history/*.json"), *store.paths.root.glob("round_*/reference_before.json")]
        if sha not in map(_sha256, kept):
            yield "the reference was rewritten, and what stood there before is nowhere"

    # -- when a round closes -------------------------------------------------------------------------------------

    def closed(self, store: Store, paths: RoundPaths) -> Iterator[str]:
        """What is wrong with a round that has just closed."""
        yield from self.changed()
        yield from self._results(store, paths)
        yield from self._stopped(paths)
        for job in self._cluster.jobs.values():
            # What was in doubt when a person cancelled the round was stopped by its name.
            known = job.name in self.rules.submitted or job.name in self.rules.stopped
            if job.kind == "train" and job.folder.name == paths.root.name and not known:
                yield f"job {job.id} ({job.name}) is recorded nowhere, and its round is closed"
        self._over[paths.root.name] = self._cluster.now
        files = [*paths.root.glob("trials/*/*/result.json"), *paths.root.glob("candidates/*/*.json"), paths.closed]
        self._files |= {path: _sha256(path) for path in files}

    def changed(self) -> Iterator[str]:
        """Files of closed rounds that are gone or other ones than they were."""
        for path, sha in self._files.items():
            if not path.exists() or _sha256(path) != sha:
                yield f"{path.relative_to(path.parents[3])} changed after its round was closed"

    def _results(self, store: Store, paths: RoundPaths) -> Iterator[str]:
        """Finished rows that the record does not count, and counted rows that are not there."""
        look = store.steps(paths, ORDER).read("collect")
        manifest = load_manifest(paths.manifest)
        record = json.loads(paths.closed.read_text())
        trials = {trial["row"]: trial for entry in record["candidates"] for trial in entry["trials"]}
        if set(trials) != {row.row for row in manifest.rows}:
            yield f"{paths.root.name} has rows {sorted(trials)} in its record"
            return
        for row in manifest.rows:
            found = {}
            for attempt in paths.attempts(row.candidate, row.fold, row.seed):
                folder = paths.attempt(row.candidate, row.fold, row.seed, attempt)
                result = read_result(folder, manifest, row, attempt)
                if result is not None and result.outcome == "ok":
                    found[attempt] = dict(result.metrics)
            trial = trials[row.row]
            if trial["outcome"] == "ok":
                if found.get(trial["attempt"]) != trial["metrics"]:
                    yield f"{paths.root.name} row {row.row}: on disk {found}, in round.json {trial}"
            elif found:
                yield f"{paths.root.name} row {row.row} finished ({found}), in round.json {trial}"
        if look is None:
            yield f"{paths.root.name} is closed without a record of its collection"

    def _stopped(self, paths: RoundPaths) -> Iterator[str]:
        """Tasks of a closed round that were cancelled although nobody wanted it."""
        stopped, folder = self.rules.stopped, paths.root.name
        for job in self._cluster.jobs.values():
            if job.folder.name != folder or job.kind != "train":
                continue
            for task in job.tasks:
                by_hand = task.fault is not None and task.fault.what == "scancel"
                ours = task.run.raw.startswith("CANCELLED") and task.run.raw != "CANCELLED by 0" and not by_hand
                if ours and job.name not in stopped and (folder, task.item) not in stopped:
                    yield f"task {task.id} (row {task.item} of {folder}) was cancelled; nobody wanted that"

    # -- at the end ----------------------------------------------------------------------------------------------

    def end(self, store: Store) -> Iterator[str]:
        """What is wrong when the study is over and a while has passed."""
        yield from self.changed()
        yield from (line for line in contradictions(store.paths.root) if not self._expected(line))
        yield from self._left_behind()
        yield from self._hours(store)

    def _expected(self, line: str) -> bool:
        """What the soak, which knows neither people who edit nor confirmations, would take for a contradiction."""
        if self._acts & {"edit", "break_reference"} and line.startswith("the reference on disk"):
            return True
        # An evaluation in doubt whose summaries are there is not asked for any more: its round closes without it.
        if line.startswith("charged and not submitted") and not re.search("-(train|prepare)-", line):
            return True
        if self._setting.confirm != "never" and "derived again" in line:
            return True
        return self.rules.forced and ("derived again" in line or line.startswith("closed in the journal"))

    def _hours(self, store: Store) -> Iterator[str]:
        """Each row's seconds in the ledger are the cluster's, to a second a run."""
        ledger = store.ledger()
        tasks = {task.id: task for job in self._cluster.jobs.values() for task in job.tasks}
        unaccounted = ledger.unaccounted()
        for entry in lines(store, "submitted"):
            names = dict(zip(entry["items"], entry["tasks"], strict=True))
            for item, seconds in ledger.seconds(entry["name"]).items():
                runs = tasks[names[item]].runs
                spent = sum((run.ended or 0) - run.began for run in runs if run.began is not None)
                if abs(spent - seconds) > SLACK_S * len(runs):
                    yield f"{entry['name']} item {item}: {seconds} s in the ledger, {spent} s on the cluster"
            for item in unaccounted.get(entry["name"], ()):
                task = tasks[names[item]]
                if self._programs.accounting and not task.vanished:
                    yield f"{entry['name']} item {item} stands at its declared charge; it ended {task.run.raw}"


ORDER = ("analyse", "propose", "check", "apply", "render", "submit", "collect", "assess")


def lines(store: Store, event: str) -> list[Entry]:
    """The journal's lines of an event, as they stand on disk."""
    return [line_of(one) for one in store.journal.events if one.event == event]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
