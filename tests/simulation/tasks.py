"""What a task does on disk, as trainers.job does it: claims its row, leaves a result and an exit marker, or not.

The claim and the files are written through trainers' own functions; the training itself is a number.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trainers.evaluate
from tests.simulation.script import unit
from trainers import claim
from trainers.claim import Owner
from trainers.files import to_json, write_json
from trainers.layout import AttemptFiles, RoundFiles
from trainers.manifest import Manifest, ManifestProblem, Row, load_manifest

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster, Run, Task

#: Whose jobs they are. Not root's: a cancellation by root is slurmd's.
USER = 1000

#: Faults of a row after which its scheduler says so: state and exit code.
ENDS = {
    "host_oom": ("OUT_OF_MEMORY", "0:125"),
    "timeout": ("TIMEOUT", "0:0"),
    "node_fail": ("NODE_FAIL", "0:0"),
    "preempted": ("PREEMPTED", "0:0"),
    "killed": ("FAILED", "0:9"),
    "root_cancel": ("CANCELLED by 0", "0:15"),
}


def round_of(folder: Path) -> int:
    """The number in the name of a round's folder; below 0 for folders that are no round (rungs, confirmations)."""
    kind, number = folder.name.split("_")[:2]
    return int(number) if kind == "round" else -int(number)


def start(cluster: Cluster, task: Task) -> None:
    """The script begins to run."""
    if task.job.kind == "eval":
        _evaluate(cluster, task)
    else:
        _train(cluster, task)


def stop(cluster: Cluster, task: Task, run: Run, raw: str) -> None:
    """SIGTERM: a training leaves its exit marker and no result."""
    if run.ended is not None:
        return
    if task.claimed is not None and (found := _row(task)) is not None:
        files, _, row = found
        folder = files.attempt(row.candidate, row.fold, row.seed, task.claimed)
        _mark(folder, 143, "interrupted")
    cluster.end(task, run, raw, "0:15")


def _train(cluster: Cluster, task: Task) -> None:
    run, what = task.run, task.fault.what if task.fault is not None and not task.restarts else ""
    if what:
        cluster.note(task)
    if what in ("dies_unclaimed", "launch_failed", "no_claim"):
        raw, code = {"dies_unclaimed": ("FAILED", "7:0"), "launch_failed": ("FAILED", "0:53")}.get(
            what, ("COMPLETED", "0:0")
        )
        cluster.at(cluster.now + 2, lambda: cluster.end(task, run, raw, code))
        return
    if (found := _row(task)) is None:
        cluster.end(task, run, "FAILED", "2:0")  # the round's folder is gone
        return
    files, manifest, row = found
    claimed = claim.claim_attempt(files, row, task.job.attempt, _owner(task))
    if claimed.attempt is None:
        cluster.at(cluster.now + 1, lambda: cluster.end(task, run, "COMPLETED"))
        return
    cluster.trains(task, claimed.attempt)
    folder = files.attempt(row.candidate, row.fold, row.seed, claimed.attempt)
    lasts = 20 + 70 * cluster.chance("runs", task.id, task.restarts) + (1500 if what == "slow" else 0)
    act = functools.partial(_finish, cluster, task, run, folder, record(manifest, row, claimed.attempt), what)
    cluster.at(cluster.now + lasts, act)
    if what == "scancel":
        cluster.at(cluster.now + lasts / 2, lambda: cluster.cancel(task, USER))


def _finish(cluster: Cluster, task: Task, run: Run, folder: AttemptFiles, result: dict[str, Any], what: str) -> None:
    """The training is over."""
    if run.ended is not None or not folder.root.exists():
        cluster.end(task, run, "FAILED", "1:0")
        return
    if what in ENDS:
        cluster.end(task, run, *ENDS[what])
    elif what == "requeued":
        cluster.requeue(task, run, "REQUEUED")
    elif what == "vanishes":
        cluster.end(task, run, "NODE_FAIL")
        task.vanished = True
    elif what == "warned":
        _mark(folder, 140, "interrupted")
        cluster.end(task, run, "FAILED", "140:0")
    elif what == "leaves_nothing":
        cluster.end(task, run, "COMPLETED")
    else:
        _leave(cluster, task, run, folder, result, what)


def _leave(cluster: Cluster, task: Task, run: Run, folder: AttemptFiles, result: dict[str, Any], what: str) -> None:
    """A result, whole or not, now or later."""
    outcome = {"crash": "crashed", "late_fail": "crashed", "bad_config": "bad_config", "gpu_oom": "gpu_oom"}.get(
        what, "ok"
    )
    if outcome != "ok":
        error = {"type": "Simulated", "message": "as planned"}
        result = result | {"outcome": outcome, "metrics": {}, "directions": {}, "error": error}
    if what == "corrupt":
        result = result | {"row": 99}
    text = to_json(result)
    late = task.fault.seconds if task.fault is not None and what.startswith("late") else 0.0

    def appear() -> None:
        if folder.root.exists():
            folder.result.write_text(text[:60] if what == "half" else text)
            _mark(folder, 0 if outcome == "ok" else 1, outcome)
            if outcome == "ok" and what not in ("half", "corrupt"):
                cluster.good.setdefault((task.job.folder.name, task.item), cluster.now)

    if late:
        cluster.at(cluster.now + late, appear)
    else:
        appear()
    cluster.end(task, run, "COMPLETED" if outcome == "ok" else "FAILED", "0:0" if outcome == "ok" else "1:0")


def _evaluate(cluster: Cluster, task: Task) -> None:
    run, what = task.run, task.fault.what if task.fault is not None else ""
    if what:
        cluster.note(task)
    lasts = 5 + (600 if what == "slow" else 0)

    def over() -> None:
        if run.ended is not None:
            return
        files = RoundFiles(task.job.folder)
        if what == "dies" or not files.manifest.exists():
            cluster.end(task, run, "FAILED", "1:0")
            return
        if what == "half_way":
            trainers.evaluate.evaluate(files, 0)
            cluster.end(task, run, "NODE_FAIL")
            return
        if what == "vanishes":
            task.vanished = True
            cluster.end(task, run, "NODE_FAIL")
            return
        trainers.evaluate.evaluate_all(files)
        cluster.end(task, run, "COMPLETED")

    cluster.at(cluster.now + lasts, over)
    if what == "scancel":
        cluster.cancel(task, USER)


# -- files -------------------------------------------------------------------------------------------------------


def _row(task: Task) -> tuple[RoundFiles, Manifest, Row] | None:
    files = RoundFiles(task.job.folder)
    try:
        manifest = load_manifest(files.manifest)
    except ManifestProblem:
        return None
    return files, manifest, manifest.rows[task.item]


def _owner(task: Task) -> Owner:
    return Owner(
        task=f"slurm:{task.id}", restart=task.restarts, host=task.run.node, pid=1, started=1, boot="simulated"
    )


def record(manifest: Manifest, row: Row, attempt: int) -> dict[str, Any]:
    """A good result of a row."""
    sha = manifest.candidates[row.candidate]
    score = 0.5 + unit("score", sha[:12]) / 2 + unit("noise", sha[:12], row.seed) / 50
    return {
        "schema_version": 1,
        "study": manifest.study,
        "round": manifest.round,
        "row": row.row,
        "candidate": row.candidate,
        "fold": row.fold,
        "seed": row.seed,
        "attempt": attempt,
        "reference_sha256": sha,
        "outcome": "ok",
        "metrics": {manifest.objective: score},
        "directions": {manifest.objective: manifest.direction},
        "costs": {"wall_seconds": 10.0, "cpu_seconds": 9.0, "gpu_seconds": 10.0},
    }


def _mark(folder: AttemptFiles, code: int, outcome: str) -> None:
    if folder.root.exists():
        write_json(folder.exit, {"rc": code, "outcome": outcome, "message": "", "at": "2030-01-01T00:00:00+00:00"})


def silence() -> Callable[[], None]:
    """Have evaluations say nothing on standard error; returns what undoes it."""
    said = trainers.evaluate.say
    trainers.evaluate.say = lambda text: None

    def undo() -> None:
        trainers.evaluate.say = said

    return undo
