"""SLURM's programs and the local queue as functions of this process, on the world's clock, with one state file.

The product starts them as programs: `Programs` stands in the place of `subprocess.Popen`. What rows do is a plan that
a recording writes, and what they leave are the files that tasks leave.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.launch.states import expand, format_time
from tests.golden.clock import Clock
from trainers.evaluate import evaluate, evaluate_all
from trainers.layout import AttemptFiles, RoundFiles
from trainers.manifest import Manifest, Row, load_manifest, read_values

#: Seconds that a job waits in the queue and that a task runs.
WAITS_S, RUNS_S = 120, 600

_REAL = subprocess.Popen


@dataclass(frozen=True)
class Said:
    """What a program answered."""

    out: str = ""
    err: str = ""
    code: int = 0


class Answered:
    """A program that has ended, as far as `subprocess` looks at one."""

    def __init__(self, argv: Sequence[str], said: Said, *, text: bool) -> None:
        self.args, self.returncode, self.pid = argv, said.code, 0
        self.stdin = self.stdout = self.stderr = None
        self._output = (said.out, said.err) if text else (said.out.encode(), said.err.encode())

    def __enter__(self) -> Answered:
        return self

    def __exit__(self, *raised: object) -> None:
        """It has ended."""

    def communicate(self, input: object = None, timeout: float | None = None) -> tuple[Any, Any]:
        return self._output

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

        Ends: "crash", "memory", "node" (all without a result), "bad" (a result that says bad_config), "waits" (it
        stays in the queue until the plan says otherwise), "" (well).
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
        return Answered(words, self._answer(name, words[1:]), text=text)

    def _answer(self, name: str, words: Sequence[str]) -> Said:
        self.settle()
        if name in ("sbatch", "squeue", "sacct", "scancel", "scontrol"):
            said: Said = getattr(self, f"_{name}")(list(words))
            return said
        if list(words[:3]) == ["-m", "trainers.job", "probe"]:
            return Said('{"missing": [], "found": {}}\n')
        if list(words[:2]) == ["-m", "trainers.command.probe"]:
            return Said()
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
        number = self.state["next_job"]
        self.state["next_job"] += 1
        after = [int(job) for job in given.get("dependency", "afterany:").split(":")[1:] if job]
        begins = max([self._clock.now, *(self._end_of(job) for job in after)]) + WAITS_S
        kind = Path(script).name.partition("_")[0]
        indices = [int(one.partition("_")[2]) for one in expand(f"1_[{given['array'].partition('%')[0]}]")]
        self.state["jobs"].append(
            {
                "id": number,
                "name": given["job-name"],
                "kind": kind,
                "folder": str(Path(script).parent),
                "indices": indices,
                "offset": int(offset),
                "attempt": int(attempt),
                "submitted": int(self._clock.now),
                "begins": int(begins),
                "left": [],
                "cancelled": {},
            }
        )
        self._save()
        return lost if answer == "lost" else Said(f"{number}\n")

    def _squeue(self, words: list[str]) -> Said:
        names = words[words.index("--name") + 1].split(",") if "--name" in words else None
        lines = []
        for job, index in self._tasks():
            word, _, _ = self._stands(job, index)
            if (names is None or job["name"] in names) and word in ("PENDING", "RUNNING"):
                reason = "Priority" if word == "PENDING" else "None"
                node = "n1" if word == "RUNNING" else ""
                lines.append(
                    f"{job['id']}_{index}|{word}|{_time(job['submitted'])}|0:10|{node}|{reason}|{job['name']}"
                )
        return Said("".join(f"{line}\n" for line in lines))

    def _sacct(self, words: list[str]) -> Said:
        ids = words[words.index("-j") + 1].split(",") if "-j" in words else None
        names = words[words.index("--name") + 1].split(",") if "--name" in words else None
        lines = []
        for job, index in self._tasks():
            if (ids is not None and str(job["id"]) not in ids) or (names is not None and job["name"] not in names):
                continue
            word, code, ended = self._stands(job, index)
            began, node = min(job["begins"], ended or job["begins"]), "n1"
            seconds = max(0, int((ended or self._clock.now) - began)) if word != "PENDING" else 0
            spent = f"{seconds // 3600:02d}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}"
            end = _time(ended) if ended is not None else "Unknown"
            task = f"{job['id']}_{index}"
            lines.append(f"{task}|{word}|{code}|{spent}|{end}|{_time(job['submitted'])}|{node}|{job['name']}|cpu=1")
        return Said("".join(f"{line}\n" for line in lines))

    def _scancel(self, words: list[str]) -> Said:
        self.said.append(" ".join(["scancel", *("UID" if word == str(os.getuid()) else word for word in words)]))
        named = words[words.index("-n") + 1] if "-n" in words else None
        wanted = {task for word in words for task in expand(word)}
        for job, index in self._tasks():
            meant = {str(job["id"]), f"{job['id']}_{index}"} & wanted or job["name"] == named
            if meant and self._stands(job, index)[0] in ("PENDING", "RUNNING"):
                job["cancelled"][str(index)] = int(self._clock.now)
        self._save()
        return Said()

    # -- how tasks stand --------------------------------------------------------------------------------------------

    def _tasks(self) -> Iterator[tuple[dict[str, Any], int]]:
        for job in self.state["jobs"]:
            for index in job["indices"]:
                yield job, index

    def _end_of(self, number: int) -> float:
        return max(
            (self._stands_until(job, index) for job, index in self._tasks() if job["id"] == number), default=0.0
        )

    def _stands_until(self, job: Mapping[str, Any], index: int) -> float:
        return float(job["cancelled"].get(str(index), job["begins"] + RUNS_S))

    def _planned(self, job: Mapping[str, Any], index: int) -> str:
        folder = Path(job["folder"]).name
        number = folder.split("_")[1]
        kind = job["kind"][0] if folder.startswith("round_") else f"{folder[0]}{folder.partition('_')[0][-1]}"
        return str(self.state["plan"].get(f"{kind}{number}_{index + job['offset']}_{job['attempt']}", ""))

    def _stands(self, job: Mapping[str, Any], index: int) -> tuple[str, str, float | None]:
        """State, exit code, and when it ended."""
        now, cancelled = self._clock.now, job["cancelled"].get(str(index))
        if cancelled is not None:
            return "CANCELLED by 1000", "0:15", float(cancelled)
        planned = self._planned(job, index)
        if now < job["begins"] or planned == "waits":
            return "PENDING", "0:0", None
        if now < job["begins"] + RUNS_S:
            return "RUNNING", "0:0", None
        ends = {"crash": ("FAILED", "1:0"), "memory": ("OUT_OF_MEMORY", "0:125"), "node": ("NODE_FAIL", "0:0")}
        word, code = ends.get(planned, ("COMPLETED", "0:0"))
        return word, code, float(job["begins"] + RUNS_S)

    def settle(self) -> None:
        """Have the tasks that have begun claim their rows, and those that have ended leave what they leave."""
        for job, index in self._tasks():
            word, _, ended = self._stands(job, index)
            began = word != "PENDING" and job["begins"] <= (ended or self._clock.now)
            task = f"slurm:{job['id']}_{index}"
            for mark, due in ((f"{index} began", began), (f"{index} ended", began and ended is not None)):
                if due and mark not in job["left"]:
                    job["left"].append(mark)
                    at = job["begins"] if mark.endswith("began") else ended
                    files = RoundFiles(Path(job["folder"]))
                    end = "cancelled" if word.startswith("CANCELLED") else self._planned(job, index)
                    self._leave(files, job["kind"], index + job["offset"], job["attempt"], task, mark, at, end)
        self._save()

    def _leave(
        self, files: RoundFiles, kind: str, item: int, attempt: int, task: str, mark: str, at: float, end: str
    ) -> None:
        began = mark.endswith("began")
        if kind == "train":
            leave = leave_claim if began else leave_result
            leave(files, item, attempt=attempt, task=task, host=self._host, at=at, end=end)
        elif kind == "prepare":
            outcome = "began" if began else "ok" if not end else "failed"
            record = {"outcome": outcome, "message": "", "at": f"{_time(at)}+00:00"}
            put(files.prepared, record if began else record | {"seconds": float(RUNS_S)})
        elif not began and end != "cancelled":
            manifest = load_manifest(files.manifest)
            with contextlib.redirect_stderr(io.StringIO()):  # it goes to a log of the job's
                evaluate_all(files) if manifest.evaluation == "job" else evaluate(files, item)

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


def put(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


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
    """(epoch, training loss, validation loss, score): a parabola of `x`, more with `width`, reached bit by bit."""
    best = 0.9 - (float(values.get("x", 0.5)) - 0.3) ** 2 + float(values.get("width", 0)) / 1000
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
