"""One program in its own session: started, watched, stopped, and never left behind.

Nothing here knows what the program is for. Standard library only; written for Linux, and on other systems the
program's process group is all that is cleaned up.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainers.contract import BadConfig, StopFlag, TrainerError
from trainers.files import open_in_place

TOKEN_VARIABLE = "RT_RUN_ID"
POLL_FIRST_S, POLL_LAST_S = 0.01, 0.25
#: What a program's own children get to finish once it has ended by itself.
CHILDREN_GRACE_S = 5.0
#: Listings of /proc in a row that must show nothing: a process that forks behind one and dies before it is looked at
#: leaves a child that it lacks.
EMPTY_SCANS = 2
TAIL_BYTES = 64 * 2**10
SCAN_BYTES = 2**20
TAIL_LINES, LINE_CHARACTERS, TAIL_CHARACTERS = 20, 300, 1500
ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)")
PR_SET_PDEATHSIG = 1
IMPORT_ROOT = Path(__file__).resolve().parents[2]
#: What tells the guard that nothing is left to guard.
_DISMISSED = b"done"
_FOR_THE_TASK = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def of_the_person(environment: Mapping[str, str]) -> dict[str, str]:
    """A task's environment as a person's program may have it: without the folder in which Roundtable is found.

    Where Roundtable runs from a checkout, tasks have that folder first in PYTHONPATH, and it would hide packages
    `agent` and `trainers` of the program's own, wherever these are installed.
    """
    found = dict(environment)
    first, _, others = found.get("PYTHONPATH", "").partition(os.pathsep)
    if first == str(IMPORT_ROOT):
        del found["PYTHONPATH"]
        if others:
            found["PYTHONPATH"] = others
    return found


class ProgramFailed(TrainerError):
    """The program could not be started, or ended with an exit code that no rule of the description explains."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a program ended."""

    code: int
    """Exit code as a shell reports it: 128 + N after signal N."""
    stopped: bool
    """It was told to stop before it had ended."""
    output: bytes
    """The last MiB of what this run wrote."""


def run_program(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    stop: StopFlag,
    grace_s: float,
    watch: Callable[[], None] = lambda: None,
) -> Ended:
    """Run `command` to its end, its output appended to `log`, calling `watch` while it runs.

    A requested stop sends SIGTERM to all of its processes, and SIGKILL to those that are left after `grace_s`
    seconds. However this function is left, no process of the program is alive: not its children in other process
    groups, nor daemons that left its session.

    Raises ProgramFailed where it cannot be started, BadConfig where a value cannot be an argument (a null byte).
    """
    if not folder.is_dir():
        raise ProgramFailed(f"the working directory {folder} is not there")
    token = os.urandom(16).hex()
    program = command[0] if "/" not in command[0] else str(folder / command[0])
    with _guard(token) as tell:
        with open(log, "ab", opener=open_in_place) as stream:
            begin = stream.tell()
            try:
                process = subprocess.Popen(
                    [program, *command[1:]],
                    cwd=folder,
                    env={**environment, TOKEN_VARIABLE: token},
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=_in_the_child(),
                )
            except OSError as error:
                raise ProgramFailed(f"{program} cannot be started in {folder}: {error.strerror or error}") from None
            except ValueError as error:
                raise BadConfig(f"a value cannot be handed to {program}: {error}") from None
        tell(process.pid)
        try:
            stopped = _wait(process, stop, watch)
            _end(process, token, grace_s if stopped else CHILDREN_GRACE_S)
        finally:
            _end(process, token, 0.0)  # after an exception; else the second look that EMPTY_SCANS is about
    watch()
    code = process.returncode
    return Ended(code=128 - code if code < 0 else code, stopped=stopped, output=_written(log, begin))


def _wait(process: subprocess.Popen[bytes], stop: StopFlag, watch: Callable[[], None]) -> bool:
    """Wait for the end or a stop; whether it was a stop. Polls, so that a signal's flag is seen in time."""
    pause = POLL_FIRST_S
    while process.poll() is None:
        if stop.requested:
            return True
        watch()
        time.sleep(pause)
        pause = min(pause * 1.5, POLL_LAST_S)
    # A scheduler signals all processes of a job at once: the program may be gone before the flag is looked at again.
    return stop.requested


def _end(process: subprocess.Popen[bytes], token: str, grace_s: float) -> None:
    """SIGTERM to every process of the program, SIGKILL to what is left after `grace_s`; reaps the program."""
    deadline = time.monotonic() + grace_s
    told = False
    pause = POLL_FIRST_S
    while True:
        running = process.poll() is None
        late = time.monotonic() >= deadline
        alive = _signal_all(process, token, signal.SIGKILL if late else None if told else signal.SIGTERM)
        told = True
        if not alive and not running:
            return
        time.sleep(pause)
        pause = min(pause * 1.5, POLL_LAST_S, max(deadline - time.monotonic(), POLL_FIRST_S))


def _signal_all(process: subprocess.Popen[bytes], token: str, number: int | None) -> int:
    """Send `number` (None: nothing) to the program's living processes and return how many there are."""
    if not Path("/proc/self/stat").exists():
        running = process.poll() is None
        if number is not None and running:  # a group's id is its own only until its leader is reaped
            os.killpg(process.pid, number)
        return int(running)
    count = 0
    for handle in _members(process.pid, token):
        count += 1
        if number is not None:
            try:
                signal.pidfd_send_signal(handle, number)
            except ProcessLookupError:
                pass  # it ended in between
    return count


def _members(session: int, token: str) -> Iterator[int]:
    """A pidfd for each living process of the program: in its session, or with its token in the environment.

    The pidfd is opened before the process is looked at a last time, so a signal cannot reach another process that got
    the same pid meanwhile.
    """
    marker = f"{TOKEN_VARIABLE}={token}".encode()
    own = str(os.getpid())
    # What began before this process is none of the program's: on a full node that spares most environments.
    since = int(_stat(own)[19])
    for entry in os.listdir("/proc"):
        if not entry.isdecimal() or entry == own or not _belongs(entry, session, marker, since):
            continue
        try:
            handle = os.pidfd_open(int(entry))
        except OSError:
            continue
        try:
            if _belongs(entry, session, marker, since):
                yield handle
        finally:
            os.close(handle)


def _belongs(entry: str, session: int, marker: bytes, since: int) -> bool:
    """Whether a process lives and is the program's. since: in ticks since boot, as /proc has it."""
    try:
        fields = _stat(entry)
        if fields[0] in (b"Z", b"X"):
            return False
        if int(fields[3]) == session:
            return True
        return int(fields[19]) >= since and marker in _read(f"/proc/{entry}/environ").split(b"\0")
    except (OSError, IndexError):
        return False  # it ended in between, or it is another person's


def _stat(entry: str) -> list[bytes]:
    """Fields of /proc/PID/stat behind the command name, which may hold spaces: state, ppid, pgrp, session, ...; the
    20th is the start."""
    return _read(f"/proc/{entry}/stat").rpartition(b")")[2].split()


def _read(path: str) -> bytes:
    # Without buffers and paths as objects: this looks at each process of a node, twice a training.
    with open(path, "rb", buffering=0) as stream:
        return stream.readall()


@contextlib.contextmanager
def _guard(token: str) -> Iterator[Callable[[int], None]]:
    """Around the program: where this process is killed outright, another one ends what the program leaves.

    The death signal below reaches the program alone, not what it started: a shell script's training would go on
    beside the row's next attempt. SLURM ends it where it tracks processes by cgroup; where it follows parents
    (proctrack/linuxproc), and on one machine alone, nobody else does. Yields what is to be told the program's pid.
    """
    if not sys.platform.startswith("linux"):
        yield _nobody
        return
    reading, writing = os.pipe()

    def tell(session: int) -> None:
        with contextlib.suppress(BrokenPipeError):  # somebody killed the guard: nothing is lost with it
            os.write(writing, b"%d\n" % session)

    guard = os.fork()
    if not guard:
        try:
            os.close(writing)
            _stand_by(reading, token)
        finally:
            os._exit(0)
    os.close(reading)
    try:
        yield tell
    finally:
        with contextlib.suppress(BrokenPipeError):
            os.write(writing, _DISMISSED)
        os.close(writing)
        os.waitpid(guard, 0)


def _nobody(session: int) -> None:
    """No guard stands by."""


def _stand_by(reading: int, token: str) -> None:
    """The guard: waits until it is dismissed, or until the pipe ends because its parent is dead."""
    # Signals to the task's group, or to all of a job, are the task's to answer; SIGKILL to all leaves nothing to do.
    os.setsid()
    for number in _FOR_THE_TASK:
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    told = b""
    while part := os.read(reading, 64):
        told += part
    if told.endswith(_DISMISSED):
        return
    session = int(told or b"-1")
    deadline = time.monotonic() + CHILDREN_GRACE_S
    empty = 0
    while time.monotonic() < deadline and empty < EMPTY_SCANS:
        left = 0
        for handle in _members(session, token):
            left += 1
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        empty = 0 if left else empty + 1
        if left:
            time.sleep(POLL_FIRST_S)


def _in_the_child() -> Callable[[], None] | None:
    """For the child: die with this process, so that SIGKILL to the task does not leave its program running; and do
    not mind a scheduler's warning. Under srun it reaches every process of a step: without a handler the program would
    die of it, where it is told to stop by SIGTERM and given time."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), *[ctypes.c_ulong(0)] * 3)
        if os.getppid() != parent:  # it died before the line above
            os._exit(137)
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)

    return ask


def _written(log: Path, begin: int) -> bytes:
    """The last MiB of the log that was written from byte `begin` on."""
    with log.open("rb") as stream:
        end = stream.seek(0, os.SEEK_END)
        stream.seek(max(begin, end - SCAN_BYTES))
        return stream.read(SCAN_BYTES)


def last_lines(output: bytes) -> str:
    """The end of a program's output, fit for a message: no control characters, bounded lines and length."""
    text = ESCAPES.sub("", output[-TAIL_BYTES:].decode("utf-8", errors="replace"))
    lines = (
        " ".join("".join(c if c.isprintable() else " " for c in line).split()) for line in re.split(r"[\r\n]", text)
    )
    kept = [line[:LINE_CHARACTERS] for line in lines if line][-TAIL_LINES:]
    return "\n".join(kept)[-TAIL_CHARACTERS:]
