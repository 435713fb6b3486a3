"""Runs arrays on this machine, without a scheduler: each batch is a detached queue over some workers.

The queue (local_queue.py) outlives the process that submitted it. Its folder, round_dir/launch/<batch name>/, is all
that a later process needs to find it, read its state and stop it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import AmbiguousSubmission, LaunchError, StorageError, UsageError
from agent.launch import local_queue
from agent.launch.base import Batch, LaunchSettings, State, Submission, TaskStatus
from agent.launch.catalogue import capabilities_of
from agent.launch.commands import CommandTimeout, run
from agent.launch.environment import scrub

#: The starter only forks; a machine that needs longer is in no state to train.
START_TIMEOUT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class LocalSettings:
    """What this machine gives to one queue."""

    workers: int | None = None
    """Tasks at a time; None: as many as the CPUs (and GPUs) allow. A batch's own `parallel` may lower it."""
    cpus_per_task: int = 1
    """Threads per task (OMP_NUM_THREADS and its like)."""
    gpus: tuple[str, ...] = ()
    """Device ids that are handed out, as CUDA_VISIBLE_DEVICES names them: "0", "1", or a UUID."""
    gpus_per_task: int = 0
    """Device ids each task gets; with 0 it sees none."""
    grace_s: float = 30.0
    """Seconds between SIGTERM and SIGKILL when a task is stopped: time to save a checkpoint."""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"workers is {self.workers}: must be at least 1")
        if self.cpus_per_task < 1 or self.gpus_per_task < 0 or self.grace_s < 0:
            raise UsageError("cpus_per_task must be at least 1, gpus_per_task and grace_s at least 0")
        if len(set(self.gpus)) != len(self.gpus):
            raise UsageError(f"gpus lists a device twice: {', '.join(self.gpus)}")
        if self.gpus_per_task > len(self.gpus):
            raise UsageError(
                f"each task asks for {self.gpus_per_task} GPU(s), but only {len(self.gpus)} may be handed out here"
                f" ({', '.join(self.gpus) or 'none'}): `nvidia-smi -L` lists this machine's, CUDA_VISIBLE_DEVICES and"
                " --gpus limit them; with `gpus: 0` in the profile (--profile) trials train on CPUs"
            )

    def width(self, parallel: int | None) -> int:
        """How many tasks run at a time."""
        limits = [self.workers or max(1, len(os.sched_getaffinity(0)) // self.cpus_per_task)]
        if parallel is not None:
            limits.append(parallel)
        if self.gpus_per_task:
            limits.append(len(self.gpus) // self.gpus_per_task)
        return max(1, min(limits))


def from_settings(settings: LaunchSettings) -> LocalLauncher:
    """The local launcher of a study. Raises UsageError for more GPUs a task than may be handed out."""
    local = LocalSettings(
        workers=settings.workers,
        cpus_per_task=settings.cpus_per_task,
        gpus=settings.gpus,
        gpus_per_task=settings.gpus_per_task,
    )
    return LocalLauncher(local, environment=settings.environment)


class LocalLauncher:
    """A queue of one's own on this machine."""

    name = "local"
    capabilities = capabilities_of(name)

    def __init__(
        self, settings: LocalSettings | None = None, *, environment: Mapping[str, str] | None = None
    ) -> None:
        self._settings = settings or LocalSettings()
        self._environment = environment

    @property
    def gpus(self) -> tuple[str, ...]:
        """The GPUs that are handed out to tasks."""
        return self._settings.gpus if self._settings.gpus_per_task else ()

    def submit(self, batch: Batch) -> Submission:
        folder = _folder(batch)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not local_queue.started(folder):
                local_queue.write_json(folder / "spec.json", self._spec(batch))
        except OSError as error:
            raise StorageError(f"{folder}: {error.strerror}: free space or choose another --output-dir") from error
        # By its file, isolated and without site: starts in 10 ms, whatever the working directory and PYTHONPATH are.
        argv = [sys.executable, "-I", "-S", local_queue.__file__, str(folder)]
        environment = scrub(os.environ if self._environment is None else self._environment)
        try:
            starter = run(argv, timeout_s=START_TIMEOUT_S, environment=environment)
        except CommandTimeout as error:
            # It may start yet; its folder tells, and a second start of the same queue does nothing.
            raise AmbiguousSubmission(f"the local queue {folder}: {error}", name=batch.name) from error
        if starter.code not in (local_queue.STARTED, local_queue.ALREADY):
            raise LaunchError(
                f"the local queue {folder} did not start: {_tail(folder / 'queue.log') or starter.words}"
            )
        return _submission(batch)

    def _spec(self, batch: Batch) -> dict[str, Any]:
        strangers = sorted({s.launcher for s in batch.after} - {self.name})
        if strangers:
            raise UsageError(
                f"the local launcher cannot wait for work started by {', '.join(strangers)}: keep to one launcher"
                " within a round"
            )
        return {
            "name": batch.name,
            "kind": batch.kind,
            "script": str(batch.script.absolute()),
            "round_dir": str(batch.round_dir.absolute()),
            "items": list(batch.items),
            "attempt": batch.attempt,
            "workers": self._settings.width(batch.parallel),
            "cpus_per_task": self._settings.cpus_per_task,
            "gpus": list(self._settings.gpus),
            "gpus_per_task": self._settings.gpus_per_task,
            "grace_s": self._settings.grace_s,
            "after": [s.job_id for s in batch.after],
        }

    def find(self, batch: Batch) -> Submission | None:
        # A folder without pid.json is a submit that was killed before its start: nothing runs, it may begin again.
        return _submission(batch) if local_queue.started(_folder(batch)) else None

    def poll(self, submissions: Sequence[Submission]) -> Mapping[tuple[str, int], TaskStatus]:
        result: dict[tuple[str, int], TaskStatus] = {}
        for submission in submissions:
            folder = Path(submission.job_id)
            # Liveness first: a queue that ends between the two reads has then written all its events.
            alive = local_queue.alive(folder)
            done = local_queue.read_json(folder / "done.json")
            events = _events(folder)
            for item in submission.items:
                result[submission.name, item] = _status(events.get(item, []), alive, done, folder)
        return result

    def cancel(self, submissions: Sequence[Submission], *, items: Collection[int] | None = None) -> None:
        for submission in submissions:
            folder = Path(submission.job_id)
            alive = local_queue.alive(folder)
            record = local_queue.read_json(folder / "pid.json")
            if items is not None:
                if alive is not False:
                    _tell(folder, [item for item in submission.items if item in items])
                continue
            if alive is None and record is not None:
                raise LaunchError(f"{submission.name} runs on {record['host']}: cancel it there (queue {folder})")
            if alive and record and local_queue.process_alive(record["queue"]):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(record["queue"]["pid"]), signal.SIGTERM)

    def largest_index(self) -> int | None:
        return None

    def elapsed(self, submissions: Sequence[Submission], *, ask: bool = True) -> Mapping[tuple[str, int], float]:
        found: dict[tuple[str, int], float] = {}
        for submission in submissions:
            folder = Path(submission.job_id)
            alive = local_queue.alive(folder)
            done = local_queue.read_json(folder / "done.json")
            events = _events(folder)
            for item in submission.items:
                if (seconds := _seconds(events.get(item, []), alive, done)) is not None:
                    found[submission.name, item] = seconds
        return found

    def held(self, submissions: Sequence[Submission]) -> Mapping[tuple[str, int], Mapping[str, float]]:
        """CPU-seconds that tasks used: nothing is allocated on a machine of one's own."""
        found: dict[tuple[str, int], Mapping[str, float]] = {}
        for submission in submissions:
            for item, events in _events(Path(submission.job_id)).items():
                for event in events:
                    if event["state"] == "gone" and "cpu_s" in event:
                        found[submission.name, item] = {"cpu": float(event["cpu_s"])}
        return found

    def test_only(self, batch: Batch) -> str | None:
        return None


def _folder(batch: Batch) -> Path:
    return batch.round_dir.absolute() / "launch" / batch.name


def _tell(folder: Path, items: Sequence[int]) -> None:
    """Have the queue, on whatever machine it runs, stop these items; it looks within a second."""
    try:
        for item in items:
            local_queue.stop_mark(folder, item).parent.mkdir(exist_ok=True)
            os.close(local_queue.open_to_append(local_queue.stop_mark(folder, item)))
    except OSError as error:
        raise StorageError(f"{folder}: {error.strerror}: the tasks could not be told to stop") from error


def _submission(batch: Batch) -> Submission:
    folder = _folder(batch)
    return Submission(
        launcher="local",
        name=batch.name,
        job_id=str(folder),
        items=batch.items,
        tasks=tuple(str(item) for item in batch.items),
        submitted_at=(folder / "spec.json").stat().st_mtime,
    )


def _events(folder: Path) -> dict[int, list[dict[str, Any]]]:
    """The queue's events by item, in order; a torn last line is left for the next reading."""
    events: dict[int, list[dict[str, Any]]] = {}
    try:
        text = (folder / "events.jsonl").read_text(encoding="utf-8")
    except FileNotFoundError:
        return events
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        events.setdefault(int(event["item"]), []).append(event)
    return events


def _status(
    events: list[dict[str, Any]], alive: bool | None, done: dict[str, Any] | None, folder: Path
) -> TaskStatus:
    running = next((event for event in events if event["state"] == "running"), None)
    gone = next((event for event in events if event["state"] == "gone"), None)
    if gone is not None:
        return TaskStatus(
            state=State.GONE,
            raw="CANCELLED" if gone.get("told") else _word(gone["code"], done),
            reason=str(gone.get("error", "")),
            exit_code=_exit_code(gone["code"]),
            elapsed_s=gone["at"] - running["at"] if running else None,
        )
    if alive is None:
        return TaskStatus(state=State.UNKNOWN, reason=f"its queue runs on another machine, see {folder / 'pid.json'}")
    if not alive:
        cancelled = done is not None and done["reason"] == "cancelled"
        return TaskStatus(state=State.GONE, raw="CANCELLED" if cancelled else "KILLED", reason="its queue is gone")
    if running is not None:
        return TaskStatus(state=State.RUNNING, raw="RUNNING")
    return TaskStatus(state=State.PENDING, raw="PENDING", reason="waits for a worker or for an earlier batch")


def _seconds(events: list[dict[str, Any]], alive: bool | None, done: dict[str, Any] | None) -> float | None:
    """How long a task took; None while it may run, and where nobody noted its end."""
    at = {event["state"]: float(event["at"]) for event in events}
    if "running" not in at:
        return 0.0 if "gone" in at or alive is False else None
    if "gone" in at:
        return max(0.0, at["gone"] - at["running"])
    # Killed with its queue: done.json is written when nothing of it is left.
    return max(0.0, float(done["at"]) - at["running"]) if alive is False and done is not None else None


def _word(code: int | None, done: dict[str, Any] | None) -> str:
    if code == 0:
        return "COMPLETED"
    if done is not None and done["reason"] == "cancelled" and code is not None and code < 0:
        return "CANCELLED"
    return "FAILED"


def _exit_code(code: int | None) -> str:
    """As sacct writes it: exit code and signal."""
    if code is None:
        return ""
    return f"0:{-code}" if code < 0 else f"{code}:0"


def _tail(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""
