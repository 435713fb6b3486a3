"""What the journal of a study may say, entry by entry, beside what the cluster really did.

Entries are read as they stand on disk (plain JSON), so that these rules hold whatever classes the product reads them
with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from tests.simulation.cluster import Cluster, Task

Entry = Mapping[str, Any]
Place = tuple[str, int]
"""A round's folder and a row."""
#: A clock may go back by so much (agent.store.journal).
BACK = timedelta(seconds=60)
#: Ends that the product tells from a row's own files, or from a person's word, and so may journal at once.
TOLD_BY_FILES = ("ok", "crashed", "bad_config", "gpu_oom", "cancelled")


class JournalRules:
    """Follows the journal as it grows."""

    def __init__(self, cluster: Cluster, *, grace_s: float) -> None:
        """grace_s: how long after its end a row's result is waited for; 0 where clocks that jump make that moot."""
        self._cluster = cluster
        self._grace_s = grace_s
        self._last: datetime | None = None
        self.look_began = cluster.now
        self.intents: dict[str, Entry] = {}
        self.submitted: dict[str, Entry] = {}
        self._charges: set[str] = set()
        self._refunded: set[tuple[str, str]] = set()
        self._attempts: dict[Place, int] = {}
        self._outcomes: set[tuple[str, int, int]] = set()
        self._cancelled: set[Place] = set()
        self.stopped: set[Place | str] = set()
        """Rows, and names of submissions, that somebody may have had stopped."""
        self.quorum: dict[str, float] = {}
        """Names of submissions that a quorum stops, and when it was reached."""
        self.requests: set[str] = set()
        """Ids of cancellations that were journaled."""
        self._halted: set[str] = set()
        self.halted_ever: set[str] = set()
        self._paused = False
        self._rounds: set[int] = set()
        self._free: set[int] = set()
        """Numbers that may be begun again: forced, discarded."""
        self.forced = False

    def check(self, position: int, entry: Entry) -> Iterator[str]:
        """What is wrong with a new entry. position: how many came before it."""
        if entry["seq"] != position + 1:
            yield f"journal entry {position + 1} has seq {entry['seq']}"
        at = datetime.fromisoformat(entry["at"])
        if self._last is not None and at < self._last - BACK:
            yield f"journal entry {position + 1} is of {at}, the one before of {self._last}"
        self._last = at
        handler = getattr(self, f"_on_{entry['event']}", None)
        if handler is not None:
            yield from handler(entry)

    # -- submissions -----------------------------------------------------------------------------------------------

    def _on_intent(self, entry: Entry) -> Iterator[str]:
        name, folder = entry["name"], entry["folder"]
        if self._paused:
            yield f"{name} is submitted although the study is paused"
        if folder in self._halted:
            yield f"{name} is submitted although a person cancelled all of {folder}"
        if entry["kind"] == "train":
            if found := [item for item in entry["items"] if (folder, item) in self._cancelled]:
                yield f"{name}: rows {found} are started although a person cancelled them"
            seen = [item for item in entry["items"] if self._cluster.good.get((folder, item), 2e10) < self.look_began]
            if seen and name not in self.intents:
                yield f"{name}: rows {seen} are started although their results are there"
        self.intents[name] = entry

    def _on_charge(self, entry: Entry) -> Iterator[str]:
        if entry["name"] in self._charges:
            yield f"{entry['name']} is charged twice"
        self._charges.add(entry["name"])

    def _on_submitted(self, entry: Entry) -> Iterator[str]:
        name = entry["name"]
        if name in self.submitted:
            yield f"{name} is recorded twice"
        if name not in self.intents or name not in self._charges:
            yield f"{name} is recorded without its intent or its charge"
        self.submitted[name] = entry
        if entry["kind"] != "train":
            return
        for item in entry["items"]:
            place = (entry["folder"], item)
            if entry["attempt"] <= self._attempts.get(place, 0):
                yield f"{place}: attempt {entry['attempt']} behind attempt {self._attempts[place]}"
            self._attempts[place] = entry["attempt"]

    def _on_refund(self, entry: Entry) -> Iterator[str]:
        for item in entry["seconds"]:
            if (entry["name"], item) in self._refunded:
                yield f"{entry['name']} item {item} is refunded twice"
            self._refunded.add((entry["name"], item))

    # -- rows ------------------------------------------------------------------------------------------------------

    def _on_outcome(self, entry: Entry) -> Iterator[str]:
        key = (entry["folder"], entry["row"], entry["attempt"])
        if key in self._outcomes:
            yield f"the end of {key} is journaled twice"
        self._outcomes.add(key)
        good = self._cluster.good.get(key[:2])
        if good is not None and self._grace_s and good < datetime.fromisoformat(entry["at"]).timestamp() - 0.01:
            yield f"the end of {key} is journaled as {entry['outcome']} although a result of its row is there"
        for task in self._tasks(*key):
            if task.active:
                yield f"the end of {key} is journaled as {entry['outcome']} while task {task.id} lives"
            elif entry["outcome"] not in TOLD_BY_FILES:
                waited = self._cluster.now - (task.run.ended or 0)
                if waited < self._grace_s:
                    yield f"the end of {key} is journaled as {entry['outcome']} {waited:.0f} s after its task's end"

    def _tasks(self, folder: str, row: int, attempt: int) -> Iterator[Task]:
        """What the cluster has of an attempt."""
        for job in self._cluster.jobs.values():
            if job.kind == "train" and job.attempt == attempt and job.folder.name == folder:
                yield from (task for task in job.tasks if task.item == row)

    def _on_cancelled(self, entry: Entry) -> Iterator[str]:
        rows = {(entry["folder"], row) for row in entry["rows"]}
        self._cancelled |= rows
        if entry["who"] == "person":
            # What somebody cancelled beside Roundtable is the cluster's to know.
            self.stopped |= rows | set(entry["names"] if entry["whole"] else ())
        if entry["whole"]:
            self._halted.add(entry["folder"])
            self.halted_ever.add(entry["folder"])
        if entry["request"] is not None:
            self.requests.add(entry["request"])
        yield from ()

    def _on_retry_asked(self, entry: Entry) -> Iterator[str]:
        self._cancelled -= {(entry["folder"], row) for row in entry["rows"]}
        self._halted.discard(entry["folder"])
        yield from ()

    def _on_released(self, entry: Entry) -> Iterator[str]:
        # The person has a cancelled round go on, or closed as it is.
        self._cancelled = {place for place in self._cancelled if place[0] != entry["folder"]}
        self._halted.discard(entry["folder"])
        yield from ()

    def _on_quorum(self, entry: Entry) -> Iterator[str]:
        self.stopped |= set(entry["names"])
        for name in entry["names"]:
            self.quorum.setdefault(name, self._cluster.now)
        yield from ()

    def _on_overtaken(self, entry: Entry) -> Iterator[str]:
        self.stopped |= {(entry["folder"], row) for row in entry["rows"]}
        yield from ()

    # -- rounds ----------------------------------------------------------------------------------------------------

    def _on_round_begun(self, entry: Entry) -> Iterator[str]:
        number = entry["round"]
        if number in self._rounds and number not in self._free:
            yield f"the number of round {number} is used twice"
        self._rounds.add(number)
        self._free.discard(number)

    def _on_closed(self, entry: Entry) -> Iterator[str]:
        if entry["folder"] in self._halted:
            yield f"{entry['folder']} is closed although a person cancelled it and said nothing since"

    def _on_forced(self, entry: Entry) -> Iterator[str]:
        self._free.add(entry["round"])
        self.forced |= entry["event"] == "forced"
        yield from ()

    _on_discarded = _on_forced

    def _on_paused(self, entry: Entry) -> Iterator[str]:
        self._paused = True
        yield from ()

    def _on_resumed(self, entry: Entry) -> Iterator[str]:
        self._paused = False
        yield from ()
