"""SLURM's programs and the local queue as functions of this process, on the world's clock, with one state file.

The product starts them as programs: `Cluster.popen` stands in the place of `subprocess.Popen`. What rows do is a plan
that a recording writes, and what they leave are the files that tasks leave.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.launch.states import expand, format_time
from tests.golden.clock import Clock
from trainers.job import main
from trainers.layout import AttemptFiles, RoundFiles
from trainers.manifest import Manifest, Row, load_manifest, read_values

#: Seconds that a job waits in the queue and that a task runs.
WAITS_S, RUNS_S = 120, 600

#: A uid that has no name on any machine.
NOBODY = 3999999937

_REAL = subprocess.Popen

#: End in the plan -> what accounting says of it.
_ENDS = {
    "crash": ("FAILED", "1:0"),
    "bad": ("FAILED", "1:0"),
    "memory": ("OUT_OF_MEMORY", "0:125"),
    "node": ("NODE_FAIL", "0:0"),
    "start": ("FAILED", "127:0"),
}


@dataclass(frozen=True)
class Said:
    """What a program answered."""

    out: str = ""
    err: str = ""
    code: int = 0


class Answered:
    """A program that has ended, as far as `subprocess` looks at one."""

    def __init__(self, argv: Sequence[str], answer: Callable[[str], Said], *, text: bool) -> None:
        """answer: from what stands on its standard input to what it says."""
        self.args, self._answer, self._text = argv, answer, text
        self.stdin = self.stdout = self.stderr = None
        self.returncode, self.pid = 0, 0

    def __enter__(self) -> Answered:
        return self

    def __exit__(self, *raised: object) -> None:
        """It has ended."""

    def communicate(self, input: str | None = None, timeout: float | None = None) -> tuple[Any, Any]:
        said = self._answer(input or "")
        self.returncode = said.code
        return (said.out, said.err) if self._text else (said.out.encode(), said.err.encode())

    def poll(self) -> int:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        return self.returncode


class Cluster:
    """A SLURM cluster and a machine with a local queue."""

    def __init__(self, file: Path, clock: Clock, *, host: str) -> None:
        """file: where its state is kept, so that a study that is unpacked finds its jobs."""
        self._file = file
        self._clock = clock
        self._host = host
        self.said: list[str] = []
        """Every sbatch and scancel, and every local queue that was started: what changes something."""
        self.state: dict[str, Any] = {"next_job": 1001, "jobs": [], "plan": {}, "answers": []}
        if file.exists():
            self.state = json.loads(file.read_text())
        clock.passed.append(self.settle)

    # -- the plan ---------------------------------------------------------------------------------------------------

    def plan(self, **ends: str) -> None:
        """How tasks end that do not end well: t1_3_2="crash" for the training of round 1, row 3, attempt 2.

        In place of t: p and e for preparation and evaluation, c and r1 for a confirmation's and a rung's tasks.
        Ends: "crash" and "bad" (its result says crashed and bad_config), "memory", "node" (no result), "start" (not
        even a claim), "waits" (it stays in the queue until the plan says otherwise), "" (well).
        """
        self.state["plan"] |= ends
        self._save()

    def answer(self, *words: str) -> None:
        """What the next submissions are told: "lost" (taken, and the answer lost), "dropped" (not taken, and the
        answer lost), "full" (a limit on jobs), "refused"."""
        self.state["answers"] += words
        self._save()

    # -- programs ---------------------------------------------------------------------------------------------------

    def popen(self, argv: Sequence[str], *rest: Any, **options: Any) -> Any:
        """In place of `subprocess.Popen`. What is not known is not started."""
        words = [str(word) for word in argv]
        name = os.path.basename(words[0])
        if name == "bash" and words[1:3] == ["-n", "--"]:
            return _REAL(argv, *rest, **options)
        text = bool(options.get("encoding") or options.get("text") or options.get("universal_newlines"))
        return Answered(words, lambda given: self.run(name, words[1:], given), text=text)

    def run(self, name: str, words: Sequence[str], given: str = "") -> Said:
        """A program's answer. given: its standard input."""
        self.settle()
        if name in ("sbatch", "squeue", "sacct", "scancel", "scontrol"):
            said: Said = getattr(self, f"_{name}")(list(words))
            return said
        if list(words[:3]) == ["-m", "trainers.job", "probe"]:
            return Said('{"missing": [], "found": {}}\n')
        if list(words[:2]) == ["-m", "trainers.command.probe"]:
            return Said()
        if words and words[-1].endswith("submitit_call.py"):
            return self._submitit(json.loads(given))
        if len(words) > 1 and words[-2].endswith("local_queue.py"):
            return self._local_queue(Path(words[-1]))
        raise AssertionError(f"a golden study starts no {name} {' '.join(words)}")

    def _scontrol(self, words: list[str]) -> Said:
        return Said("MaxArraySize            = 1001\n")

    def _sbatch(self, words: list[str]) -> Said:
        given = dict(word[2:].split("=", 1) for word in words if word.startswith("--") and "=" in word)
        if "--test-only" in words:
            return Said(err="sbatch: Job 1000 to start at a time that nobody knows\n")
        answers = self.state["answers"]
        answer = answers.pop(0) if answers else ""
        self.said.append(" ".join(["sbatch", *words, f"# {answer}" if answer else ""]).rstrip())
        self._save()
        if answer == "refused":
            return Said(err="sbatch: error: Batch job submission failed: Invalid account\n", code=1)
        if answer == "full":
            return Said(err="sbatch: error: Batch job submission failed: MaxSubmitJobsPerUser\n", code=1)
        lost = Said(err="sbatch: error: Batch job submission failed: Socket timed out\n", code=1)
        if answer == "dropped":
            return lost
        script, offset, attempt = words[-3:]
        indices = [task.partition("_")[2] for task in expand(f"1_[{given['array'].partition('%')[0]}]")]
        items = [int(index) + int(offset) for index in indices]
        number = self._take(
            given["job-name"], Path(script), items, indices, int(attempt), given.get("dependency", "")
        )
        return lost if answer == "lost" else Said(f"{number}\n")

    def _submitit(self, request: Mapping[str, Any]) -> Said:
        """As submitit_call.py does; of its pickles, which tasks read, nothing is left."""
        items, folder = request["items"], Path(request["folder"])
        more = request["parameters"]["additional_parameters"]
        # What reaches SLURM; the rest is between the two processes of one version.
        told = {name: request[name] for name in ("folder", "script", "log", "cwd", "items", "attempt", "parameters")}
        self.said.append(f"submitit {json.dumps(told, sort_keys=True)}")
        indices = [str(position) for position in range(len(items))] if len(items) > 1 else [""]
        attempt, after = int(request["attempt"]), more.get("dependency", "")
        number = self._take(folder.name, Path(request["script"]), items, indices, attempt, after)
        return Said(json.dumps({"ids": [_task(number, index) for index in indices], "session": 1}) + "\n")

    def _take(
        self, name: str, script: Path, items: list[int], indices: list[str], attempt: int, dependency: str
    ) -> int:
        """Put an array into the queue; its number."""
        number = int(self.state["next_job"])
        after = [int(job) for job in dependency.split(":")[1:]]
        job = {
            "id": number,
            "name": name,
            "kind": script.name.partition("_")[0],
            "folder": str(script.parent),
            "tasks": [_task(number, index) for index in indices],
            "items": items,
            "attempt": attempt,
            "submitted": int(self._clock.now),
            "begins": int(max([self._clock.now, *(self._end_of(other) for other in after)])) + WAITS_S,
            "left": [],
            "cancelled": {},
        }
        self.state["next_job"] = number + 1
        self.state["jobs"].append(job)
        self._save()
        return number

    def _squeue(self, words: list[str]) -> Said:
        names = words[words.index("--name") + 1].split(",") if "--name" in words else None
        lines = []
        for job, task, item in self._tasks():
            word, _, _ = self._stands(job, task, item)
            if (names is None or job["name"] in names) and word in ("PENDING", "RUNNING"):
                node, reason = ("", "Priority") if word == "PENDING" else ("n1", "None")
                lines.append(f"{task}|{word}|{_time(job['submitted'])}|0:10|{node}|{reason}|{job['name']}")
        return Said("".join(f"{line}\n" for line in lines))

    def _sacct(self, words: list[str]) -> Said:
        ids = words[words.index("-j") + 1].split(",") if "-j" in words else None
        names = words[words.index("--name") + 1].split(",") if "--name" in words else None
        lines = []
        for job, task, item in self._tasks():
            if (ids is not None and str(job["id"]) not in ids) or (names is not None and job["name"] not in names):
                continue
            word, code, ended = self._stands(job, task, item)
            until = self._clock.now if ended is None else ended
            seconds = max(0, int(until - job["begins"])) if word != "PENDING" else 0
            spent = f"{seconds // 3600:02d}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}"
            end = _time(ended) if ended is not None else "Unknown"
            submitted, name = _time(job["submitted"]), job["name"]
            lines.append(f"{task}|{word}|{code}|{spent}|{end}|{submitted}|n1|{name}|cpu=1")
        return Said("".join(f"{line}\n" for line in lines))

    def _scancel(self, words: list[str]) -> Said:
        self.said.append(" ".join(["scancel", *("UID" if word == str(os.getuid()) else word for word in words)]))
        named = words[words.index("-n") + 1] if "-n" in words else None
        wanted = {task for word in words for task in expand(word)}
        for job, task, item in self._tasks():
            meant = {str(job["id"]), task} & wanted or job["name"] == named
            if meant and self._stands(job, task, item)[0] in ("PENDING", "RUNNING"):
                job["cancelled"][task] = int(self._clock.now)
        self._save()
        return Said()

    # -- how tasks stand --------------------------------------------------------------------------------------------

    def _tasks(self) -> Iterator[tuple[dict[str, Any], str, int]]:
        """(job, task's id, its row or position) of every task."""
        for job in self.state["jobs"]:
            for task, item in zip(job["tasks"], job["items"], strict=True):
                yield job, task, item

    def _end_of(self, number: int) -> float:
        """When a job will have ended, as its plan is now."""
        ends = [
            float(job["cancelled"].get(task, job["begins"] + RUNS_S))
            for job, task, _ in self._tasks()
            if job["id"] == number
        ]
        return max(ends, default=0.0)

    def _planned(self, job: Mapping[str, Any], item: int) -> str:
        folder = Path(job["folder"]).name
        kind, number, _ = folder.split("_", 2)
        letter = {"round": job["kind"][0], "confirm": "c"}.get(kind, f"r{kind[-1]}")
        return str(self.state["plan"].get(f"{letter}{number}_{item}_{job['attempt']}", ""))

    def _stands(self, job: Mapping[str, Any], task: str, item: int) -> tuple[str, str, float | None]:
        """State, exit code, and when it ended."""
        now, cancelled, planned = self._clock.now, job["cancelled"].get(task), self._planned(job, item)
        if cancelled is not None:
            return f"CANCELLED by {NOBODY}", "0:15", float(cancelled)
        if now < job["begins"] or planned == "waits":
            return "PENDING", "0:0", None
        if planned != "start" and now < job["begins"] + RUNS_S:
            return "RUNNING", "0:0", None
        word, code = _ENDS.get(planned, ("COMPLETED", "0:0"))
        return word, code, float(job["begins"] + (1 if planned == "start" else RUNS_S))

    def settle(self) -> None:
        """Have the tasks that have begun claim their rows, and those that have ended leave what they leave."""
        left = 0
        for job, task, item in self._tasks():
            word, _, ended = self._stands(job, task, item)
            began = word != "PENDING" and job["begins"] <= (self._clock.now if ended is None else ended)
            for mark, due in ((f"{task} began", began), (f"{task} ended", began and ended is not None)):
                if due and mark not in job["left"]:
                    left += 1
                    job["left"].append(mark)
                    at = job["begins"] if mark.endswith("began") else ended
                    files = RoundFiles(Path(job["folder"]))
                    end = "cancelled" if word.startswith("CANCELLED") else self._planned(job, item)
                    self._leave(files, job["kind"], item, job["attempt"], f"slurm:{task}", mark, at, end)
        if left:
            self._save()

    def _leave(
        self, files: RoundFiles, kind: str, item: int, attempt: int, task: str, mark: str, at: float, end: str
    ) -> None:
        began = mark.endswith("began")
        if end == "start":
            return
        if kind == "train":
            leave = leave_claim if began else leave_result
            leave(files, item, attempt=attempt, task=task, host=self._host, at=at, end=end)
        elif kind == "prepare":
            outcome = "began" if began else "ok" if not end else "failed"
            record = {"outcome": outcome, "message": "", "at": f"{_time(at)}+00:00"}
            put(files.prepared, record if began else record | {"seconds": float(RUNS_S)})
        elif not began and end != "cancelled":
            together = load_manifest(files.manifest).evaluation == "job"
            evaluate(files, () if together else ("--candidate-index", str(item)))

    def _save(self) -> None:
        if self.state["jobs"] or self.state["plan"] or self.state["answers"]:
            put(self._file, self.state)

    # -- this machine -----------------------------------------------------------------------------------------------

    def _local_queue(self, folder: Path) -> Said:
        """All of a queue at once: its tasks run one after the other, for ten seconds each."""
        spec = json.loads((folder / "spec.json").read_text())
        os.utime(folder / "spec.json", (self._clock.now, self._clock.now))
        files = RoundFiles(Path(spec["round_dir"]))
        self.said.append(f"local queue {spec['name']}: {spec['kind']} {spec['items']}, attempt {spec['attempt']}")
        process = {"pid": 4_000_001, "started": 1}
        put(folder / "pid.json", {"supervisor": process, "queue": process, "host": self._host, "boot": "one"})
        lines = []
        for item in spec["items"]:
            lines.append({"item": item, "state": "running", "pid": 4_000_002, "at": self._clock.now})
            task, at = f"process:{self._host}:4000003", self._clock.now
            number = files.root.name.split("_")[1]
            end = str(self.state["plan"].get(f"{spec['kind'][0]}{number}_{item}_{spec['attempt']}", ""))
            for mark in ("began", "ended"):
                self._leave(files, spec["kind"], item, spec["attempt"], task, mark, at, end)
                at += 10.0
            self._clock.now += 10.0
            code = 1 if end else 0
            lines.append({"item": item, "state": "gone", "code": code, "cpu_s": 9.0, "at": self._clock.now})
        (folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        put(folder / "done.json", {"reason": "finished", "at": self._clock.now})
        return Said()


def _time(seconds: float) -> str:
    return format_time(seconds)


def _task(number: int, index: str) -> str:
    """The id of a task; without an index that of a job which is no array."""
    return f"{number}_{index}" if index else str(number)


def put(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


def evaluate(files: RoundFiles, which: Sequence[str] = ()) -> None:
    """An evaluation's task, which goes the product's own way. which: its options beside the folder."""
    with contextlib.redirect_stderr(io.StringIO()):  # it goes to a log of the job's
        main(["eval", "--round-dir", str(files.root), *which])


# -- what a task leaves ----------------------------------------------------------------------------------------------


def _row(files: RoundFiles, number: int, attempt: int) -> tuple[Manifest, Row, AttemptFiles]:
    manifest = load_manifest(files.manifest)
    row = manifest.rows[number]
    return manifest, row, files.attempt(row.candidate, row.fold, row.seed, attempt)


def leave_claim(files: RoundFiles, number: int, *, attempt: int, task: str, host: str, at: float, end: str) -> None:
    """As trainers/claim.py claims an attempt."""
    _, row, folder = _row(files, number, attempt)
    owner = {"task": task, "restart": 0, "host": host, "pid": 4_000_003, "started": 1, "boot": "one"}
    put(folder.claim, owner | {"row": row.row, "attempt": attempt, "at": f"{_time(at)}+00:00"})


def leave_result(files: RoundFiles, number: int, *, attempt: int, task: str, host: str, at: float, end: str) -> None:
    """As trainers/job.py ends an attempt: result.json, then exit.json; nothing where the scheduler killed it."""
    if end in ("node", "memory", "cancelled"):
        return
    manifest, row, folder = _row(files, number, attempt)
    values = read_values(files.reference(row.candidate), sha256=manifest.candidates[row.candidate])
    curve = _curve(values, row, manifest.epochs or 3)
    outcome = {"crash": "crashed", "bad": "bad_config"}.get(end, "ok")
    error = None if outcome == "ok" else {"type": "TrainerError", "message": f"as it was planned: {end}"}
    if outcome == "ok":
        lines = ["epoch,train_loss,val_loss,val_score", *(f"{n},{a},{b},{c}" for n, a, b, c in curve)]
        folder.metrics.write_text("".join(f"{line}\n" for line in lines))
    record = {
        "schema_version": 1,
        "study": manifest.study,
        "round": manifest.round,
        "row": row.row,
        "candidate": row.candidate,
        "fold": row.fold,
        "seed": row.seed,
        "attempt": attempt,
        "reference_sha256": manifest.candidates[row.candidate],
        "outcome": outcome,
        "metrics": {manifest.objective: curve[-1][3]} if outcome == "ok" else {},
        "directions": {manifest.objective: manifest.direction} if outcome == "ok" else {},
        "error": error,
        "costs": {"wall_seconds": 10.0 + number, "cpu_seconds": 9.0, "gpu_seconds": 0.0},
        "started": f"{_time(at - 10)}+00:00",
        "finished": f"{_time(at)}+00:00",
    }
    if outcome == "ok":
        record |= {"samples": None, "per_class": None, "per_case": None, "effective": {}, "notes": {}}
        record["epochs_run"] = None
    put(folder.result, record)
    code = 0 if outcome == "ok" else 1
    message = "" if error is None else error["message"]
    put(folder.exit, {"rc": code, "outcome": outcome, "message": message, "at": f"{_time(at)}+00:00"})


def _curve(values: Mapping[str, Any], row: Row, epochs: int) -> list[tuple[int, float, float, float]]:
    """(epoch, training loss, validation loss, score): a parabola of `x`, more with `width`, reached bit by bit.

    Of a trainer without an `x` it is made from all values.
    """
    made_of = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).digest()
    best = 0.9 - (float(values.get("x", made_of[0] / 256)) - 0.3) ** 2 + float(values.get("width", 0)) / 1000
    # What seeds and folds add differs from value to value, as noise does.
    best += (row.seed * 7919 + row.fold * 104729 + int(best * 1e6)) % 97 / 20000
    made = []
    for epoch in range(1, epochs + 1):
        score = round(best * (1 - 0.5**epoch), 6)
        made.append((epoch, round(1 - score, 6), round(1.05 - score, 6), score))
    return made


def programs(folder: Path) -> None:
    """Files with the names of SLURM's programs, for whoever looks whether they are there. None of them is started."""
    folder.mkdir(parents=True)
    for name in ("sbatch", "squeue", "sacct", "scancel", "scontrol", "srun"):
        (folder / name).write_text("#!/bin/false\n")
        (folder / name).chmod(0o755)


def clean_environment(programs: Path, home: Path, user: str, zone: str) -> dict[str, str]:
    """All that the product is told by its environment."""
    path = os.pathsep.join([str(programs), "/usr/bin", "/bin"])
    return {
        "PATH": path,
        "HOME": str(home),
        "LOGNAME": user,
        "USER": user,
        "TZ": zone,
        "COLUMNS": "1000",
        "LANG": "C.UTF-8",
    }
