"""The detached process behind the local launcher: runs one batch's items over some workers, and survives its starter.

Started as a file (`python -I -S local_queue.py FOLDER`), so it imports nothing but the standard library and does not
depend on the working directory or on how Roundtable was installed. Linux (/proc).

Two processes: the *queue* runs the tasks, the *supervisor* is its parent and only waits. When the queue ends in
whatever way (SIGKILL too), the supervisor ends every process left in the queue's session, SIGTERM first, and writes
done.json: nothing trains on unseen. A parent-death signal would reach only `bash script`, not what that has started.

The batch's folder:
    spec.json      what to run, written by the launcher
    pid.json       both processes with start time and boot: its exclusive creation is the start
    events.jsonl   one line per change: {"item", "state": "running"|"gone", "at", "pid"?, "code"?, "told"?}
    stop/ITEM      written by the launcher: this item alone is to stop, or not to begin
    done.json      written last: {"reason": "finished"|"cancelled"|"killed", "at"}
    queue.log      what the queue itself has to say, normally nothing
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Exit codes of the starting process.
STARTED, ALREADY = 0, 3

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


# --- processes ---


def proc_stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the third on (state, ppid, pgrp, session, ...); None when it is not there."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The command's name (field 2) may itself hold blanks and parentheses.
    return text[text.rindex(")") + 2 :].split()


def identity(pid: int) -> dict[str, Any]:
    """A process as it can be told from a later one with the same id."""
    fields = proc_stat(pid)
    return {"pid": pid, "started": int(fields[19]) if fields else 0}


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def process_alive(process: dict[str, Any]) -> bool:
    """Whether it still runs: same id, same start time, not a zombie."""
    fields = proc_stat(int(process["pid"]))
    return fields is not None and fields[0] not in "ZX" and int(fields[19]) == int(process["started"])


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None when the file is not there or is no JSON object (a pipe would be waited for)."""
    try:
        value = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write_json(path: Path, value: dict[str, Any]) -> None:
    temporary = _temporary(path)
    with open(temporary, "x", encoding="utf-8") as stream:
        stream.write(json.dumps(value))
    temporary.replace(path)


def _temporary(path: Path) -> Path:
    """A name beside a file that nobody can have put a link at."""
    return path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")


def open_to_append(path: Path) -> int:
    """A descriptor that appends to a regular file; no link is followed, for a folder may be open to others. (Like
    trainers.files.open_in_place, which this file cannot import.)"""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    os.set_blocking(descriptor, True)
    return descriptor


def started(folder: Path) -> bool:
    """Whether a queue was ever started here."""
    return (folder / "pid.json").exists()


def stop_mark(folder: Path, item: int) -> Path:
    """The file that tells the queue to stop one item."""
    return folder / "stop" / str(item)


def alive(folder: Path) -> bool | None:
    """Whether the queue of this folder may still run something; None when it is another machine's."""
    if not started(folder) or (folder / "done.json").exists():
        return False
    record = read_json(folder / "pid.json")
    if record is None:
        return None
    if record["host"] != socket.gethostname():
        return None
    return record["boot"] == boot_id() and any(process_alive(record[who]) for who in ("queue", "supervisor"))


# --- the supervisor ---


def main(folder: Path) -> int:
    """Become supervisor and queue in the background; returns in the starter with STARTED or ALREADY."""
    ready, report = os.pipe()
    if os.fork():
        os.close(report)
        with os.fdopen(ready, "rb") as pipe:
            word = pipe.read()
        return {b"started": STARTED, b"already": ALREADY}.get(word, 1)
    os.close(ready)
    os.setsid()
    _detach(folder)
    go, gate = os.pipe()
    queue = os.fork()
    if not queue:
        os.close(gate)
        os.close(report)
        os.setsid()
        held = os.read(go, 1)
        os.close(go)
        os._exit(_run(folder) if held else 0)
    os.close(go)
    claimed = _claim(folder, queue)
    os.write(report, b"started" if claimed else b"already")
    os.close(report)
    if claimed:
        os.write(gate, b"g")
    os.close(gate)
    _, status = os.waitpid(queue, 0)
    if claimed:
        _sweep(queue, float((read_json(folder / "spec.json") or {}).get("grace_s", 30)))
        reason = {0: "finished", CANCELLED: "cancelled"}.get(os.waitstatus_to_exitcode(status), "killed")
        _finish(folder, reason)
    os._exit(0)


def _detach(folder: Path) -> None:
    """No terminal, no open file of the starter."""
    null = os.open(os.devnull, os.O_RDONLY)
    log = open_to_append(folder / "queue.log")
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
    os.close(null)
    os.close(log)


def _claim(folder: Path, queue: int) -> bool:
    """Create pid.json if it is not there; whole or not at all, whoever is killed when."""
    record = {
        "supervisor": identity(os.getpid()),
        "queue": identity(queue),
        "host": socket.gethostname(),
        "boot": boot_id(),
    }
    temporary = _temporary(folder / "pid.json")
    with open(temporary, "x", encoding="utf-8") as stream:
        stream.write(json.dumps(record))
    try:
        os.link(temporary, folder / "pid.json")
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def _sweep(session: int, grace_s: float) -> None:
    """End every process of the session except this one: SIGTERM, the grace, SIGKILL."""
    for number, patience in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        left = list(members(session))
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + patience
        while left and time.monotonic() < deadline:
            time.sleep(0.05)
            left = list(members(session))
        if not left:
            return


def members(session: int) -> Iterator[int]:
    """Living processes of a session, this one left out."""
    for entry in os.listdir("/proc"):
        fields = proc_stat(int(entry)) if entry.isdigit() else None
        if fields and int(fields[3]) == session and fields[0] not in "ZX" and int(entry) != os.getpid():
            yield int(entry)


def _finish(folder: Path, reason: str) -> None:
    if not (folder / "done.json").exists():
        write_json(folder / "done.json", {"reason": reason, "at": time.time()})


# --- the queue ---

CANCELLED = 20


class Cancelled(Exception):
    """SIGTERM came, or the supervisor is gone."""


@dataclass(kw_only=True)
class Task:
    """A running item: `bash script` is the leader of its own process group."""

    process: subprocess.Popen[bytes]
    gpus: list[str]
    kill_at: float | None = None
    """Monotonic time at which what is left of the group gets SIGKILL; None while nobody wants it to end."""
    told: bool = False
    """Whether it was told to stop while it ran, whatever its exit code then says."""
    cpu_s: float | None = None
    """CPU time of the script and of all that it waited for, once it has ended."""

    def ended(self) -> bool:
        """Whether the script is over. Waits for it by wait4, which also tells what it took."""
        process = self.process
        if process.returncode is None:
            try:
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            except ChildProcessError:
                return process.poll() is not None
            if pid == 0:
                return False
            process.returncode = os.waitstatus_to_exitcode(status)
            self.cpu_s = usage.ru_utime + usage.ru_stime
        return True

    def group_left(self) -> bool:
        """Whether the group still has a process that can do something."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        # A container without an init leaves zombies, and they answer to signal 0: look closer.
        everyone = (proc_stat(int(entry)) for entry in os.listdir("/proc") if entry.isdigit())
        return any(f and int(f[2]) == self.process.pid and f[0] not in "ZX" for f in everyone)

    def press(self, grace_s: float) -> None:
        """SIGTERM to the group at the first call (a trainer then saves its checkpoint), SIGKILL after the grace."""
        number = signal.SIGTERM
        if self.kill_at is None:
            self.kill_at = time.monotonic() + grace_s
        elif time.monotonic() >= self.kill_at:
            number = signal.SIGKILL
        else:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class Queue:
    """Runs the items of a spec. Single-threaded: it sleeps in select until a child ends or a signal comes."""

    def __init__(self, folder: Path, spec: dict[str, Any]) -> None:
        self.folder = folder
        self.spec = spec
        self.logs = Path(spec["round_dir"]) / "logs"
        self.running: dict[int, Task] = {}
        self.free = [str(gpu) for gpu in spec["gpus"]]
        self.cancelled = False
        self.supervisor = os.getppid()
        self.events = open_to_append(folder / "events.jsonl")
        self.wake = self._wake_on_signals()

    def _wake_on_signals(self) -> int:
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._cancel)
        return read

    def _cancel(self, *_: object) -> None:
        self.cancelled = True

    def run(self) -> int:
        self.logs.mkdir(parents=True, exist_ok=True)
        try:
            self._wait_for_others()
            for item in self.spec["items"]:
                while len(self.running) >= self.spec["workers"]:
                    self._wait()
                self._check()
                if stop_mark(self.folder, item).exists():
                    self._event(item=item, state="gone", code=None, told=True)
                else:
                    self._start(item)
            while self.running:
                self._wait()
        except Cancelled:
            self._stop_all()
            return CANCELLED
        return 0

    def _wait_for_others(self) -> None:
        pause = 0.05
        while any(alive(Path(folder)) is not False for folder in self.spec["after"]):
            self._sleep(pause)
            self._check()
            pause = min(1.0, pause * 1.5)

    def _check(self) -> None:
        if self.cancelled or os.getppid() != self.supervisor:
            raise Cancelled

    def _sleep(self, seconds: float) -> None:
        if select.select([self.wake], [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                os.read(self.wake, 4096)

    def _wait(self) -> None:
        """Wait until something changes."""
        self._check()
        self._stop_marked()
        if not self._reap():
            # Nothing tells when the leftovers of an ended task are gone: look often while there are some.
            self._sleep(0.1 if any(task.kill_at for task in self.running.values()) else 1.0)
            self._reap()
        self._check()

    def _stop_marked(self) -> None:
        """Looked for rather than signalled: whoever cancels may be on another machine."""
        if (self.folder / "stop").is_dir():
            for item, task in self.running.items():
                if stop_mark(self.folder, item).exists() and not task.ended():
                    task.told = True
                    task.press(self.spec["grace_s"])

    def _reap(self) -> bool:
        ended = []
        for item, task in self.running.items():
            if not task.ended():
                continue
            if task.group_left():
                task.press(self.spec["grace_s"])  # what a script leaves behind would train on unseen
            else:
                ended.append(item)
        for item in ended:
            task = self.running.pop(item)
            self.free += task.gpus
            more: dict[str, object] = {"told": True} if task.told else {}
            if task.cpu_s is not None:
                more["cpu_s"] = round(task.cpu_s, 3)
            self._event(item=item, state="gone", code=task.process.returncode, **more)
        return bool(ended)

    def _start(self, item: int) -> None:
        wanted = self.spec["gpus_per_task"]
        environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(self.spec["cpus_per_task"]))
        # Set even when empty: a CPU trial that sees a GPU would use it.
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(self.free[:wanted])
        try:
            with open(open_to_append(self.logs / f"{self.spec['name']}_{item}.log"), "ab") as log:
                process = subprocess.Popen(
                    ["bash", self.spec["script"], str(item), str(self.spec["attempt"])],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.spec["round_dir"],
                    env=environment,
                    process_group=0,
                )
        except OSError as error:  # costs this item, not the others
            self._event(item=item, state="gone", code=None, error=str(error))
            return
        self.running[item] = Task(process=process, gpus=self.free[:wanted])
        self.free = self.free[wanted:]
        self._event(item=item, state="running", pid=process.pid)

    def _stop_all(self) -> None:
        while self.running:
            for task in self.running.values():
                task.told = task.told or not task.ended()
                task.press(self.spec["grace_s"])
            if not self._reap():
                self._sleep(0.1)

    def _event(self, **fields: object) -> None:
        line = json.dumps(fields | {"at": time.time()}) + "\n"
        os.write(self.events, line.encode())


def _run(folder: Path) -> int:
    try:
        spec = read_json(folder / "spec.json")
        if spec is None:
            sys.stderr.write(f"{folder}/spec.json cannot be read\n")
            return 1
        queue = Queue(folder, spec)
        code = queue.run()
        if os.getppid() != queue.supervisor:
            _sweep(os.getsid(0), float(spec["grace_s"]))
            _finish(folder, "cancelled")
        return code
    except BaseException as error:  # this process has no other way to speak: os._exit follows
        sys.stderr.write(f"the queue stopped: {type(error).__name__}: {error}\n")
        return 1
    finally:
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
