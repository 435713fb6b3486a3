"""What must hold in a simulated study: after every look, when a round closes, and at the end.

`Watch` reads the journal as it grows, so that a look costs what is new in it. The invariants are those of the soak on
a real cluster (tests/soak/invariants.py, replay.py), and more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.store.paths import RoundPaths
from agent.store.store import Store
from tests.simulation.cluster import Cluster
from tests.simulation.programs import Programs
from tests.soak.invariants import SLACK_S
from tests.soak.replay import contradictions
from trainers.manifest import load_manifest
from trainers.results import read_result

Entry = Mapping[str, Any]
#: What a look with nothing to do may journal: what it learns of hours.
IDLE = frozenset(("refund",))


class Watch:
    """Follows one study."""

    def __init__(self, cluster: Cluster, programs: Programs, *, edited: bool, confirms: bool) -> None:
        self._edited = edited
        self._confirms = confirms
        self._forced = False
        self._cluster = cluster
        self._programs = programs
        self._read = 0
        self._intents: set[str] = set()
        self._charges: set[str] = set()
        self._submitted: set[str] = set()
        self._attempts: dict[tuple[str, int], int] = {}
        self._outcomes: set[tuple[str, int, int]] = set()
        self._cancelled: set[tuple[str, int]] = set()
        self._rounds: set[int] = set()
        self._free: set[int] = set()
        """Numbers that may be begun again: forced, discarded."""
        self._files: dict[Path, str] = {}

    # -- after every look ----------------------------------------------------------------------------------------

    def look(self, store: Store) -> Iterator[str]:
        """What is wrong now."""
        yield from self._cluster.wrong
        yield from self._programs.wrong
        entries = store.journal.entries
        for position in range(self._read, len(entries)):
            entry = entries[position]
            if entry["seq"] != position + 1:
                yield f"journal entry {position + 1} has seq {entry['seq']}"
            yield from self._entry(entry)
        self._read = len(entries)
        for job in self._cluster.jobs.values():
            if job.name not in self._intents:
                yield f"job {job.id} ({job.name}) is named by no intent"

    def _entry(self, entry: Entry) -> Iterator[str]:
        handler = getattr(self, f"_on_{entry['event']}", None)
        if handler is not None:
            yield from handler(entry)

    def _on_intent(self, entry: Entry) -> Iterator[str]:
        self._intents.add(entry["name"])
        if entry["kind"] == "train" and (
            found := [i for i in entry["items"] if (entry["folder"], i) in self._cancelled]
        ):
            yield f"{entry['name']}: rows {found} are started although a person cancelled them"

    def _on_charge(self, entry: Entry) -> Iterator[str]:
        if entry["name"] in self._charges:
            yield f"{entry['name']} is charged twice"
        self._charges.add(entry["name"])

    def _on_submitted(self, entry: Entry) -> Iterator[str]:
        name = entry["name"]
        if name in self._submitted:
            yield f"{name} is recorded twice"
        if name not in self._intents or name not in self._charges:
            yield f"{name} is recorded without its intent or its charge"
        self._submitted.add(name)
        if entry["kind"] != "train":
            return
        for item in entry["items"]:
            place = (entry["folder"], item)
            if entry["attempt"] <= self._attempts.get(place, 0):
                yield f"{place}: attempt {entry['attempt']} behind attempt {self._attempts[place]}"
            self._attempts[place] = entry["attempt"]

    def _on_outcome(self, entry: Entry) -> Iterator[str]:
        key = (entry["folder"], entry["row"], entry["attempt"])
        if key in self._outcomes:
            yield f"the end of {key} is journaled twice"
        self._outcomes.add(key)

    def _on_cancelled(self, entry: Entry) -> Iterator[str]:
        self._cancelled |= {(entry["folder"], row) for row in entry["rows"]}
        yield from ()

    def _on_retry_asked(self, entry: Entry) -> Iterator[str]:
        self._cancelled -= {(entry["folder"], row) for row in entry["rows"]}
        yield from ()

    def _on_released(self, entry: Entry) -> Iterator[str]:
        # The person has a cancelled round go on whose submission was in doubt.
        self._cancelled = {place for place in self._cancelled if place[0] != entry["folder"]}
        yield from ()

    def _on_round_begun(self, entry: Entry) -> Iterator[str]:
        number = entry["round"]
        if number in self._rounds and number not in self._free:
            yield f"the number of round {number} is used twice"
        self._rounds.add(number)
        self._free.discard(number)

    def _on_forced(self, entry: Entry) -> Iterator[str]:
        self._free.add(entry["round"])
        self._forced |= entry["event"] == "forced"
        yield from ()

    _on_discarded = _on_forced

    # -- when a round closes -------------------------------------------------------------------------------------

    def closed(self, store: Store, paths: RoundPaths) -> Iterator[str]:
        """What is wrong with a round that has just closed."""
        yield from self.changed()
        yield from self._results(store, paths)
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
        record = store.round_record(paths)
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

    # -- at the end ----------------------------------------------------------------------------------------------

    def end(self, store: Store) -> Iterator[str]:
        """What is wrong when the study is over and a while has passed."""
        yield from self.changed()
        yield from (line for line in contradictions(store.paths.root) if not self._expected(line))
        yield from self._orphans(store)
        yield from self._hours(store)

    def _expected(self, line: str) -> bool:
        """What the soak, which knows neither people who edit nor confirmations, would take for a contradiction."""
        edited = self._edited and line.startswith("the reference on disk")
        again = "derived again" in line or line.startswith("closed in the journal")
        return edited or (self._confirms and "derived again" in line) or (self._forced and again)

    def _orphans(self, store: Store) -> Iterator[str]:
        known = {(entry["name"], entry["job_id"]) for entry in lines(store, "submitted")}
        for task in self._cluster.living():
            if (task.job.name, str(task.job.id)) in known:
                yield f"task {task.id} ({task.job.name}) lives although the study is over"

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
    return [entry for entry in store.journal.entries if entry["event"] == event]


def closed_at(store: Store, paths: RoundPaths) -> datetime:
    """When a round was closed, by its record."""
    return datetime.fromisoformat(store.round_record(paths)["closed_at"])


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
