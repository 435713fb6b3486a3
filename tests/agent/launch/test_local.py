"""The local launcher: the conformance class, and what only a queue of one's own must do."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.errors import LaunchError, StorageError, UsageError
from agent.launch import local_queue
from agent.launch.base import Launcher, SlurmSettings, State, Submission
from agent.launch.local import LocalLauncher, LocalSettings
from agent.launch.logs import log_file
from tests.cases.launcher_case import LauncherCase, Round


@pytest.fixture
def round(tmp_path: Path) -> Round:
    return Round(tmp_path / "round_1", SlurmSettings())


def make(**settings: object) -> LocalLauncher:
    return LocalLauncher(LocalSettings(**{"workers": 4, "grace_s": 5.0, **settings}))  # type: ignore[arg-type]


class TestLocal(LauncherCase):
    @pytest.fixture
    def launcher(self) -> Launcher:
        return make()

    @pytest.fixture
    def another(self) -> Launcher:
        return make()


def wait(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def gone(launcher: LocalLauncher, *submissions: Submission) -> bool:
    return all(status.state is State.GONE for status in launcher.poll(submissions).values())


def processes(submission: Submission) -> dict[str, int]:
    record = json.loads((Path(submission.job_id) / "pid.json").read_text())
    return {who: record[who]["pid"] for who in ("queue", "supervisor")}


def session(pid: int) -> list[int]:
    return list(local_queue.members(pid))


STUBBORN = """
trap 'touch "$notes/term_$1"; exit 0' TERM
touch "$notes/ready_$1"
while true; do sleep 0.05; done
"""
#: A body that does not exec: bash would die of SIGTERM and leave its child behind.
WITH_CHILD = """
bash -c 'trap "touch $0/childterm; exit 0" TERM; touch "$0/ready_0"; while true; do sleep 0.05; done' "$notes"
true
"""


@pytest.mark.parametrize("body", [STUBBORN, WITH_CHILD], ids=["leader", "child"])
def test_tasks_end_when_the_queue_is_killed(round: Round, body: str) -> None:
    launcher = make()
    round.do(0, body)
    submission = launcher.submit(round.batch("killed", [0, 1], parallel=1))
    wait((round.notes / "ready_0").exists)
    queue = processes(submission)["queue"]
    os.kill(queue, signal.SIGKILL)
    wait(lambda: gone(launcher, submission))
    assert session(queue) == []
    assert (round.notes / ("term_0" if body is STUBBORN else "childterm")).exists()
    assert round.begun() == [(0, "1")]
    statuses = launcher.poll([submission])
    assert {status.raw for status in statuses.values()} == {"KILLED"}
    again = launcher.find(round.batch("other", [0]))
    assert again is None


def test_tasks_end_when_the_supervisor_is_killed(round: Round) -> None:
    launcher = make()
    round.do(0, STUBBORN)
    submission = launcher.submit(round.batch("orphan", [0]))
    wait((round.notes / "ready_0").exists)
    ids = processes(submission)
    os.kill(ids["supervisor"], signal.SIGKILL)
    wait(lambda: gone(launcher, submission))
    assert (round.notes / "term_0").exists()
    wait(lambda: session(ids["queue"]) == [])


def test_a_task_that_ignores_sigterm_is_killed_after_the_grace(round: Round) -> None:
    launcher = make(grace_s=0.3)
    round.do(0, "trap '' TERM; touch \"$notes/ready_0\"; while true; do sleep 0.05; done")
    submission = launcher.submit(round.batch("deaf", [0]))
    wait((round.notes / "ready_0").exists)
    launcher.cancel([submission])
    wait(lambda: gone(launcher, submission))
    assert launcher.poll([submission])[submission.name, 0].exit_code == "0:9"
    wait(lambda: session(processes(submission)["queue"]) == [])


def test_what_a_task_leaves_in_the_background_is_ended(round: Round) -> None:
    launcher = make()
    round.do(0, 'sleep 300 & echo "$!" > "$notes/left"')
    submission = launcher.submit(round.batch("left", [0]))
    wait(lambda: gone(launcher, submission))
    assert launcher.poll([submission])[submission.name, 0].raw == "COMPLETED"
    left = int((round.notes / "left").read_text())
    fields = local_queue.proc_stat(left)
    assert fields is None or fields[0] in "ZX"


def test_the_queue_outlives_its_submitter(round: Round) -> None:
    round.do(0, "sleep 1")
    batch = round.batch("outlive", [0, 1], parallel=1)
    code = (
        "import os, signal, pickle, sys\n"
        "from agent.launch.local import LocalLauncher\n"
        "LocalLauncher().submit(pickle.loads(sys.stdin.buffer.read()))\n"
        "os.killpg(0, signal.SIGKILL)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(batch), start_new_session=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    launcher = make()
    found = launcher.find(batch)
    assert found is not None
    wait(lambda: gone(launcher, found))
    assert round.begun() == [(0, "1"), (1, "1")]


def test_the_same_name_never_starts_twice(round: Round) -> None:
    batch = round.batch("twice", range(3))
    submissions = [make().submit(batch) for _ in range(3)]
    assert len(set(submissions)) == 1
    wait(lambda: gone(make(), submissions[0]))
    make().submit(batch)
    assert round.begun() == [(0, "1"), (1, "1"), (2, "1")]


def test_two_starters_at_once_make_one_queue(round: Round) -> None:
    batch = round.batch("race", range(3))
    folder = round.root / "launch" / batch.name
    folder.mkdir(parents=True)
    local_queue.write_json(folder / "spec.json", make()._spec(batch))
    argv = [sys.executable, "-I", "-S", local_queue.__file__, str(folder)]
    starters = [subprocess.Popen(argv) for _ in range(8)]
    codes = sorted(starter.wait() for starter in starters)
    assert codes == [local_queue.STARTED] + [local_queue.ALREADY] * 7
    submission = make().find(batch)
    assert submission is not None
    wait(lambda: gone(make(), submission))
    assert round.begun() == [(0, "1"), (1, "1"), (2, "1")]


def test_a_submit_killed_before_its_start_is_taken_over(round: Round) -> None:
    launcher = make()
    batch = round.batch("half", [0])
    folder = round.root / "launch" / batch.name
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text('{"torn')
    assert launcher.find(batch) is None
    submission = launcher.submit(batch)
    wait(lambda: gone(launcher, submission))
    assert round.begun() == [(0, "1")]


def test_gpus_are_handed_out_one_each(round: Round) -> None:
    launcher = make(gpus=("3", "5", "GPU-ab"), gpus_per_task=1, cpus_per_task=2, workers=8)
    for item in range(6):
        round.do(
            item,
            'mkdir "$notes/gpu_$CUDA_VISIBLE_DEVICES" || touch "$notes/clash"; sleep 0.1\n'
            'rmdir "$notes/gpu_$CUDA_VISIBLE_DEVICES"',
        )
    submission = launcher.submit(round.batch("gpus", range(6)))
    wait(lambda: gone(launcher, submission))
    assert not (round.notes / "clash").exists()
    assert {round.environment(item)["CUDA_VISIBLE_DEVICES"] for item in range(6)} == {"3", "5", "GPU-ab"}
    assert {round.environment(0)[name] for name in local_queue.THREAD_VARIABLES} == {"2"}


def test_a_cpu_task_sees_no_gpu_and_one_thread(round: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    launcher = make()
    submission = launcher.submit(round.batch("cpu", [0]))
    wait(lambda: gone(launcher, submission))
    inside = round.environment(0)
    assert inside["CUDA_VISIBLE_DEVICES"] == ""
    assert {inside[name] for name in local_queue.THREAD_VARIABLES} == {"1"}


def test_standard_input_is_empty(round: Round) -> None:
    launcher = make()
    round.do(0, 'wc -c > "$notes/read"')
    submission = launcher.submit(round.batch("stdin", [0]))
    wait(lambda: gone(launcher, submission))
    assert (round.notes / "read").read_text().strip() == "0"


def test_an_earlier_queue_that_was_killed_counts_as_gone(round: Round) -> None:
    launcher = make(grace_s=0.2)
    round.do(0, "sleep 60")
    first = launcher.submit(round.batch("first", [0]))
    second = launcher.submit(round.batch("second", [1], after=(first,)))
    wait(lambda: launcher.poll([first])[first.name, 0].state is State.RUNNING)
    assert launcher.poll([second])[second.name, 1].state is State.PENDING
    ids = processes(first)
    members = session(ids["queue"])
    for pid in (ids["supervisor"], *members):
        os.kill(pid, signal.SIGKILL)
    wait(lambda: gone(launcher, first, second))
    assert not (Path(first.job_id) / "done.json").exists()
    assert round.ended() == [1]


def test_a_reboot_or_a_reused_pid_is_not_taken_for_the_queue(round: Round) -> None:
    launcher = make()
    submission = launcher.submit(round.batch("boot", [0]))
    folder = Path(submission.job_id)
    wait((folder / "done.json").exists)
    (folder / "done.json").unlink()
    record = json.loads((folder / "pid.json").read_text())
    me = local_queue.identity(os.getpid())
    (folder / "pid.json").write_text(json.dumps(record | {"queue": me}))
    assert local_queue.alive(folder) is True
    (folder / "pid.json").write_text(json.dumps(record | {"queue": me, "boot": "another"}))
    assert local_queue.alive(folder) is False
    (folder / "pid.json").write_text(json.dumps(record | {"queue": me | {"started": me["started"] - 1}}))
    assert local_queue.alive(folder) is False


def test_a_queue_on_another_machine_is_unknown_and_not_cancelled_from_here(round: Round) -> None:
    launcher = make()
    batch = round.batch("elsewhere", [0])
    submission = launcher.submit(batch)
    folder = Path(submission.job_id)
    wait((folder / "done.json").exists)
    for name in ("done.json", "events.jsonl"):
        (folder / name).unlink()
    record = json.loads((folder / "pid.json").read_text())
    (folder / "pid.json").write_text(json.dumps(record | {"host": "login2"}))
    status = launcher.poll([submission])[batch.name, 0]
    assert status.state is State.UNKNOWN and "another machine" in status.reason
    with pytest.raises(LaunchError, match="login2"):
        launcher.cancel([submission])


def test_a_torn_last_event_is_left_for_later(round: Round) -> None:
    launcher = make()
    submission = launcher.submit(round.batch("torn", [0, 1]))
    wait(lambda: gone(launcher, submission))
    with (Path(submission.job_id) / "events.jsonl").open("a") as events:
        events.write('{"item": 0, "sta')
    assert gone(launcher, submission)


def test_a_row_that_cannot_start_costs_only_itself(round: Round) -> None:
    launcher = make()
    batch = round.batch("nolog", [0, 1])
    (round.root / "logs" / f"{batch.name}_0.log").mkdir(parents=True)
    submission = launcher.submit(batch)
    wait(lambda: gone(launcher, submission))
    status = launcher.poll([submission])[batch.name, 0]
    assert status.raw == "FAILED" and "directory" in status.reason
    assert round.ended() == [1]


def test_exit_codes_read_as_sacct_writes_them(round: Round) -> None:
    launcher = make()
    round.do(0, "exit 7")
    round.do(1, "kill -SEGV $$")
    submission = launcher.submit(round.batch("codes", [0, 1, 2]))
    wait(lambda: gone(launcher, submission))
    statuses = launcher.poll([submission])
    assert [statuses[submission.name, item].exit_code for item in range(3)] == ["7:0", "0:11", "0:0"]
    assert all((statuses[submission.name, item].elapsed_s or 0) > 0 for item in range(3))
    assert log_file(round.root, submission, 0).read_bytes().startswith(b"hello from 0")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 0}, "workers is 0"),
        ({"gpus_per_task": 2, "gpus": ("0",)}, "asks for 2 GPU"),
        ({"gpus": ("0", "0")}, "twice"),
        ({"cpus_per_task": 0}, "cpus_per_task"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make(**settings)


def test_width() -> None:
    assert LocalSettings(workers=4).width(2) == 2
    assert LocalSettings(workers=4).width(9) == 4
    assert LocalSettings(workers=4, gpus=("0", "1", "2"), gpus_per_task=2).width(None) == 1
    assert LocalSettings(cpus_per_task=100000).width(None) == 1


def test_it_waits_only_for_its_own_kind(round: Round) -> None:
    stranger = Submission(launcher="sbatch", name="x", job_id="1", items=(0,), tasks=("1_0",))
    with pytest.raises(UsageError, match="wait for work started by sbatch"):
        make().submit(round.batch("mixed", [0], after=(stranger,)))


def test_a_folder_that_cannot_be_written(round: Round) -> None:
    (round.root / "launch").write_text("a file in the way")
    with pytest.raises(StorageError, match="launch"):
        make().submit(round.batch("blocked", [0]))


def test_the_queue_file_stands_alone(tmp_path: Path) -> None:
    """No site-packages, no package of ours: it must start wherever Roundtable is installed."""
    code = f"import sys; sys.argv=['x']; exec(open({local_queue.__file__!r}).read().split('if __name__')[0]); "
    code += "print(sorted(m for m in sys.modules if m.split('.')[0] in ('agent', 'trainers', 'yaml', 'submitit')))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]", done.stderr
