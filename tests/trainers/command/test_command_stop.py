"""Stopping programs: the signal arrives, the grace is given, and nothing is left running on any way out."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from trainers.command import program
from trainers.command.run import ProgramFailed, train
from trainers.contract import Interrupted

ROOT = Path(__file__).resolve().parents[3]
SCORE = 'echo \'{"score": 0.25}\' > "$RT_SUMMARY"'
FAMILY = r"""
trap '' TERM
note() { echo "$1" >> "$RT_OUT/pids"; }
note $$
bash -c 'trap "" TERM; echo $$ >> "$RT_OUT/pids"; while :; do sleep 0.1; done' &
setsid bash -c 'trap "" TERM; echo $$ >> "$RT_OUT/pids"; while :; do sleep 0.1; done' &
set -m
bash -c 'echo $$ >> "$RT_OUT/pids"; sleep 60' &
(setsid env -u RT_OUT sh -c 'echo $$ >> pids; exec sleep 60' &)
"""


def pids(*files: Path) -> list[int]:
    return [int(line) for file in files if file.exists() for line in file.read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen within 10 s")


def stop_when(bench, condition: Callable[[], bool]) -> None:
    """Request a stop, as a signal does, as soon as the condition holds."""

    def watch() -> None:
        wait_for(condition)
        bench.stop.request(signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def test_a_program_may_save_and_end(bench):
    script = """trap 'echo saved > "$RT_OUT/checkpoint"; exit 0' TERM; : > "$RT_OUT/ready"
    while :; do sleep 0.05; done"""
    spec = bench.bash(script)
    stop_when(bench, (spec.out / "ready").exists)
    with pytest.raises(Interrupted, match="exit code 0"):
        train(spec, bench.control)
    assert (spec.out / "checkpoint").read_text() == "saved\n"


def test_a_summary_of_half_a_training_is_no_result(bench):
    spec = bench.bash(f"trap 'exit 0' TERM; {SCORE}; while :; do sleep 0.05; done")
    stop_when(bench, (spec.out / "summary.json").exists)
    with pytest.raises(Interrupted):
        train(spec, bench.control)


@pytest.fixture
def every_other_listing_is_empty(monkeypatch):
    """As where a child is forked behind a listing of /proc and its parent dies before it is looked at."""
    looks, members = itertools.count(), program._members
    monkeypatch.setattr(program, "_members", lambda *given: members(*given) if next(looks) % 2 else iter(()))


@pytest.mark.usefixtures("every_other_listing_is_empty")
def test_a_child_that_a_listing_misses_is_found_at_the_program_s_end(bench):
    spec = bench.bash(f'sleep 60 & echo $! > "$RT_OUT/pids"; {SCORE}')
    train(spec, bench.control)
    assert not alive(pids(spec.out / "pids")[0])


@pytest.mark.usefixtures("every_other_listing_is_empty")
def test_a_child_that_a_listing_misses_is_found_by_the_guard():
    left = subprocess.Popen(["sleep", "60"], start_new_session=True)
    reading, writing = os.pipe()
    guard = os.fork()
    if not guard:
        try:
            os.close(writing)
            program._stand_by(reading, "no such token")
        finally:
            os._exit(0)
    os.write(writing, b"%d\n" % left.pid)
    os.close(writing)
    os.waitpid(guard, 0)
    assert left.wait(timeout=10) == -signal.SIGKILL


def test_a_stop_before_the_start(bench):
    spec = bench.bash(SCORE)
    bench.stop.request(signal.SIGUSR2)
    with pytest.raises(Interrupted, match="before"):
        train(spec, bench.control)
    assert list(spec.out.iterdir()) == []


def test_a_family_that_ignores_the_signal_is_killed_after_the_grace(bench):
    spec = bench.bash(f"{FAMILY}\nwhile :; do sleep 0.1; done", stop_grace_s=0.3)
    files = (spec.out / "pids", bench.folder / "pids")
    stop_when(bench, lambda: len(pids(*files)) == 5)
    with pytest.raises(Interrupted, match="exit code 137"):
        train(spec, bench.control)
    family = pids(*files)
    assert len(family) == 5
    assert [pid for pid in family if alive(pid)] == []


@pytest.mark.parametrize(("ending", "error"), [(SCORE, None), ("exit 9", ProgramFailed)])
def test_children_do_not_outlive_the_program(bench, monkeypatch, ending, error):
    monkeypatch.setattr("trainers.command.program.CHILDREN_GRACE_S", 0.2)
    ready = 'while [ "$(cat "$RT_OUT/pids" pids 2>/dev/null | wc -l)" -lt 5 ]; do sleep 0.02; done'
    spec = bench.bash(f"{FAMILY}\n{ready}\n{ending}")
    if error is None:
        assert train(spec, bench.control).metrics == {"score": 0.25}
    else:
        with pytest.raises(error):
            train(spec, bench.control)
    family = pids(spec.out / "pids", bench.folder / "pids")
    assert len(family) == 5
    assert [pid for pid in family if alive(pid)] == []


def test_an_exception_while_it_runs_leaves_nothing_behind(bench):
    """Ctrl-C, or an error in the progress report."""
    script = 'echo $$ > "$RT_OUT/pids"; printf "epoch,val_loss\\n1,2\\n" > "$RT_OUT/metrics_epoch.csv"; sleep 60'
    spec = bench.bash(script, metrics_epoch={"file": "metrics_epoch.csv"})
    bench.progress = None  # the report fails
    with pytest.raises(AttributeError):
        train(spec, bench.control)
    (pid,) = pids(spec.out / "pids")
    assert not alive(pid)


def test_other_processes_are_left_alone(bench):
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        train(bench.bash(f"sleep 60 & {SCORE}"), bench.control)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_real_signal_to_the_task(bench, number):
    """The whole way: the task's process gets the signal, the program a SIGTERM."""
    task, inner = start_task(bench, "trap 'exit 0' TERM;", "while :; do sleep 0.05; done")
    try:
        task.send_signal(number)
        assert task.wait(timeout=20) == 42
        assert not alive(inner)
    finally:
        task.kill()
        task.wait()


def test_a_task_that_is_killed_takes_its_program_along(bench):
    task, inner = start_task(bench, "", "exec sleep 60")
    task.kill()
    task.wait()
    wait_for(lambda: not alive(inner))


@pytest.mark.parametrize("whom", ["the task", "its group"])
def test_a_task_that_is_killed_takes_along_what_its_program_started(bench, whom):
    """Else the row's next attempt would train beside it. The second child left the session, the third its marks."""
    task, inner = start_task(
        bench,
        "",
        "sleep 60 & setsid sleep 60 & (exec env -i /bin/sleep 60) & jobs -p > pids.new; mv pids.new pids; wait",
    )
    wait_for(lambda: len(pids(bench.folder / "pids")) == 3)
    family = [inner, *pids(bench.folder / "pids")]
    if whom == "the task":
        task.kill()
    else:
        os.killpg(task.pid, signal.SIGKILL)
    task.wait()
    wait_for(lambda: not any(map(alive, family)))


def start_task(bench, before: str, after: str):
    """A process that trains as a task does and exits with 42 when interrupted; and the program's pid."""
    spec = bench.bash(f'{before} echo $$ > "$RT_OUT/pids"; {after}')
    code = f"""
import sys
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(ROOT)!r}]
from pathlib import Path
from conftest import Bench
from trainers.command.run import train
from trainers.contract import Control, Interrupted, StopFlag
bench = object.__new__(Bench)
bench.root = Path({str(bench.root)!r})
bench.folder = bench.root / "trainer"
stop = StopFlag()
stop.install()
try:
    train(bench.spec(bench.folder / "trainer.yaml"), Control(stop=stop, report=print))
except Interrupted:
    sys.exit(42)
"""
    task = subprocess.Popen([sys.executable, "-c", code], env={**os.environ}, start_new_session=True)
    wait_for(lambda: len(pids(spec.out / "pids")) == 1)
    return task, pids(spec.out / "pids")[0]
