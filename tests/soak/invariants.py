"""What must hold after every round: nothing trained twice, lost or orphaned, and every hour accounted for."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.report.hours import hours
from agent.store.events import Intent, Submitted
from agent.store.paths import RoundPaths
from agent.store.store import Store
from tests.cluster.cluster import Cluster
from trainers.manifest import load_manifest
from trainers.results import read_result

OURS = "rt-"
SLACK_S = 1.0
"""An attempt's charge and accounting's own figure for it may differ by so much."""
LAST_LOOK_S = 10.0
"""From the last reading of a round's results to the record of its collection, on a busy machine."""
_ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "PREEMPTED", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE")


def trained_twice(home: Path) -> Iterator[str]:
    """Trainings of one row that lived at the same time, and attempts that two tasks began.

    A training holds its row's lock as long as it lives; one that finds it taken notes an overlap.
    """
    path = home / "trained.log"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    yield from (f"two living trainings of one row: {' '.join(line)}" for line in lines if line[0] == "overlap")
    begun = [line[1:] for line in lines if line[0] == "began"]
    owners: dict[tuple[str, ...], set[str]] = {}
    for number, row, attempt, task, _ in begun:
        owners.setdefault((number, row, attempt), set()).add(task)
    yield from (f"round, row, attempt {key} by {tasks}" for key, tasks in owners.items() if len(tasks) > 1)
    yield from (f"began twice: {key}" for key, count in Counter(map(tuple, begun)).items() if count > 1)


def results_lost(store: Store, paths: RoundPaths, delivered: Mapping[Path, float]) -> Iterator[str]:
    """Finished rows of a closed round that its record does not count, and counted rows that are not there.

    delivered: when results appeared that did so late. What appeared as its round was being closed may count or not.
    """
    last_look = (paths.steps / "07_collect.json").stat().st_mtime - LAST_LOOK_S
    manifest = load_manifest(paths.manifest)
    record = store.round_record(paths)
    trials = {trial.row: trial for entry in record.candidates for trial in entry.trials}
    if set(trials) != {row.row for row in manifest.rows}:
        yield f"round {paths.number} has rows {sorted(trials)} in its record"
        return
    for row in manifest.rows:
        trial = trials[row.row]
        found = {}
        for attempt in paths.attempts(row.candidate, row.fold, row.seed):
            folder = paths.attempt(row.candidate, row.fold, row.seed, attempt)
            result = read_result(folder, manifest, row, attempt)
            if result is not None and result.outcome == "ok":
                found[attempt] = (result.metrics, delivered.get(folder.result, 0.0) < last_look)
        if trial.ok:
            if trial.attempt not in found or found[trial.attempt][0] != trial.metrics:
                yield f"round {paths.number} row {row.row}: on disk {found}, in round.json {trial}"
        elif any(in_time for _, in_time in found.values()):
            yield f"round {paths.number} row {row.row} finished ({found}), in round.json {trial}"


def fingerprints(paths: RoundPaths) -> dict[str, str]:
    """sha256 of every result and of what the round's verdict rests on."""
    files = [*paths.root.glob("trials/*/*/result.json"), *paths.root.glob("candidates/*/*.json"), paths.closed]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def changed(before: Mapping[str, str]) -> Iterator[str]:
    """Files that are gone or other ones than they were."""
    for name, sha in before.items():
        path = Path(name)
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != sha:
            yield f"{name} changed after its round was closed"


def orphans(store: Store, cluster: Cluster) -> list[str]:
    """Jobs of ours in the queue although no round is open, and processes that no job has."""
    active = cluster.run(["squeue", "-h", "-r", "-o", "%i %T %j"], check=True).stdout.splitlines()
    found = [f"job in the queue: {line}" for line in active if line.split()[-1].startswith(OURS)]
    known = {entry.name for entry in store.journal.of(Intent)}
    shown = cluster.run(["squeue", "-h", "-t", "all", "-o", "%j"], check=True).stdout.split()
    found += [f"a job that no intent names: {name}" for name in shown if name.startswith(OURS) and name not in known]
    return found if active else found + [f"process: {p.name} {p.pid}" for p in _strangers(cluster)]


def _strangers(cluster: Cluster) -> list[object]:
    """Processes of the cluster that are neither daemons nor theirs."""
    daemons = ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "slurmstepd", "slurmscriptd")
    return [process for process in cluster.processes() if not process.name.startswith(daemons)]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of one task as accounting has it."""

    state: str
    seconds: int


def accounting(cluster: Cluster) -> dict[tuple[str, str], list[Run]]:
    """(job name, task) -> its runs; empty while slurmdbd does not answer."""
    argv = ["sacct", "-X", "-D", "-n", "-P", "-S", "now-2days", "-o", "JobName,JobID,State,ElapsedRaw"]
    runs: dict[tuple[str, str], list[Run]] = {}
    for line in cluster.run(argv, check=True).stdout.splitlines():
        name, task, state, seconds = line.split("|")
        runs.setdefault((name, task), []).append(Run(state=state, seconds=int(seconds or 0)))
    return runs


def hours_wrong(store: Store, runs: Mapping[tuple[str, str], Sequence[Run]]) -> Iterator[str]:
    """Rows whose seconds in the ledger are not accounting's, to a second a run."""
    ledger = store.ledger()
    for entry in store.journal.of(Submitted):
        tasks = dict(zip(entry.items, entry.tasks, strict=True))
        for item, seconds in ledger.seconds(entry.name).items():
            found = runs.get((entry.name, tasks[item]), ())
            known = sum(run.seconds for run in found)
            if abs(known - seconds) > SLACK_S * max(1, len(found)):
                yield f"{entry.name} item {item}: {seconds} s in the ledger, {known} s in accounting ({found})"


def hours_missing(store: Store, runs: Mapping[tuple[str, str], Sequence[Run]]) -> Iterator[str]:
    """Rows at their declared charge although accounting knows their end, or that `status` does not list."""
    unaccounted = store.ledger().unaccounted()
    tasks = {e.name: dict(zip(e.items, e.tasks, strict=True)) for e in store.journal.of(Submitted)}
    for name, items in unaccounted.items():
        for item in items:
            found = runs.get((name, tasks[name][item]), ())
            if found and all(run.state.split()[0] in _ENDED for run in found):
                yield f"{name} item {item} stands at its declared charge; accounting has {found}"
    listed = {entry["name"]: tuple(entry["rows"]) for entry in hours(store)["unaccounted"]}
    if listed != unaccounted:
        yield f"listed as unaccounted: {listed}; they are {unaccounted}"
