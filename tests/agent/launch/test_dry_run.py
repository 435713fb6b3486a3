"""`tune --dry-run`: everything that a submission would meet, and not one byte of the study changed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.api import TuneOptions, tune
from agent.api.begin import begin
from agent.api.dry_run import dry_run
from agent.cli.main import run
from agent.errors import LaunchError, SchedulerUnavailable, SubmissionRefused, UsageError
from agent.launch import local_queue
from agent.launch.accounting import usage_by_task
from agent.launch.base import Batch, SlurmSettings, Submission
from agent.launch.sbatch import SbatchLauncher
from agent.launch.scheduler import Pace, SlurmReader
from agent.launch.states import Record
from agent.orchestrator.training.hours import request_of
from agent.store.events import Intent
from tests.agent.orchestrator.conftest import NOOP
from tests.cases.fake_slurm import FakeSlurm
from tests.cluster.cluster import Cluster


def options(root: Path, **changes: Any) -> TuneOptions:
    fields: dict[str, Any] = {
        "task": "demo",
        "trainer": str(NOOP),
        "output_dir": root / "runs",
        "launcher": "local",
        "confirm": "never",
        "data": {"log": str(root / "trained.log")},
    }
    return TuneOptions(**(fields | changes))


def state(folder: Path) -> dict[str, tuple[int, str]]:
    """Every entry below a folder: modification time and content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path.relative_to(folder))] = (path.stat().st_mtime_ns, content)
    return found


@pytest.fixture
def unchanged(tmp_path: Path) -> Iterator[None]:
    """The studies after the test's block are those before it, to the byte."""
    tune(options(tmp_path, auto_train=True, candidates=2))
    # A queue tells the last task's end and then its own.
    for queue in (tmp_path / "runs").glob("*/round_*/launch/*"):
        while local_queue.alive(queue):
            time.sleep(0.02)
    before = state(tmp_path / "runs")
    yield
    assert state(tmp_path / "runs") == before


def profile(folder: Path, text: str) -> Path:
    path = folder / "profile.yaml"
    path.write_text(text)
    return path


@pytest.mark.usefixtures("unchanged")
def test_line_34_a_local_dry_run_says_what_it_can(tmp_path: Path) -> None:
    given = profile(tmp_path, 'cpus: 1\ntime: "01:00:00"\n')
    found = dry_run(options(tmp_path, candidates=4, seeds=None, profile=given, max_cpu_hours=50))
    assert found.lines[0] == "round 2: 4 candidates, 4 rows in 1 array, then one job that evaluates them all (local)"
    assert found.lines[1].startswith("round 2: 4 rows x 1 h x 1 CPU + 1 x 1 h x 1 CPU = at most 5 CPU-hours; ")
    assert found.lines[2].startswith("nothing to ask: this machine starts the tasks itself")
    assert found.refusals == ()


@pytest.mark.usefixtures("unchanged")
def test_line_34_a_cap_refuses_in_the_dry_run_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = profile(tmp_path, 'cpus: 1\ntime: "01:00:00"\n')
    arguments = ["tune", "--dry-run", "--task", "demo", "--output-dir", str(tmp_path / "runs")]
    code = run([*arguments, "--profile", str(given), "--candidates", "4", "--max-cpu-hours", "4.5"])
    said = capsys.readouterr()
    assert code == 2
    assert "round 2 would not be submitted: 4 rows x 1 h x 1 CPU" in said.err
    assert "dry run: nothing was submitted or changed" in said.out
    assert run([*arguments, "--profile", str(given), "--candidates", "4", "--max-cpu-hours", "9"]) == 0


def test_line_34_a_new_study_is_not_even_begun(tmp_path: Path) -> None:
    found = dry_run(options(tmp_path, candidates=2))
    assert found.lines[0].startswith("round 1: 2 candidates, 2 rows")
    assert "unknown number of CPU-hours" in found.lines[1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("unchanged")
def test_options_that_contradict_the_study_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--epochs 7 does not fit the study"):
        dry_run(options(tmp_path, epochs=7))


@pytest.mark.usefixtures("unchanged")
def test_no_model_is_asked(tmp_path: Path) -> None:
    """The script has not a single reply: any question would fail."""
    script = tmp_path / "script.yaml"
    script.write_text("{}\n")
    found = dry_run(options(tmp_path, provider="scripted", script=script, proposer="llm", candidates=3))
    assert found.lines[0].startswith("round 2: 3 candidates, 3 rows")


def test_an_open_round_that_was_submitted_leaves_nothing_to_say(tmp_path: Path) -> None:
    store = begin(options(tmp_path))
    paths = store.begin(1)
    store.journal.append(Intent(name="x", kind="train", folder=paths.root.name, rows=1))
    before = state(tmp_path / "runs")
    found = dry_run(options(tmp_path))
    assert found.lines == (
        f"{paths.root.name} has been submitted and is not over: nothing new would be submitted now",
    )
    assert state(tmp_path / "runs") == before


@pytest.mark.usefixtures("unchanged")
def test_without_slurm_it_says_what_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    given = profile(tmp_path, 'gpus: 2\ntime: "01:00:00"\n')
    # bash alone: rendered scripts are checked with it.
    (tmp_path / "empty" / "bash").symlink_to("/bin/bash")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    found = dry_run(options(tmp_path, launcher="sbatch", candidates=3, profile=given))
    assert found.lines[0] == "round 2: 3 candidates, 3 rows, then one job that evaluates them all (sbatch)"
    assert "3 rows x 1 h x 2 GPUs = at most 6 GPU-hours" in found.lines[1]
    assert len(found.refusals) == 1
    assert found.refusals[0].startswith("SLURM could not be asked: --launcher sbatch needs sbatch")


# -- a real cluster -------------------------------------------------------------------------------------------------


@pytest.mark.cluster
@pytest.mark.parametrize("launcher", ["sbatch", "submitit"])
@pytest.mark.usefixtures("unchanged")
def test_line_34_sbatch_test_only_answers(tmp_path: Path, slurm: Cluster, launcher: str) -> None:
    given = profile(tmp_path, 'partition: gpu\ngpus: 1\ntime: "00:30:00"\n')
    found = dry_run(options(tmp_path, launcher=launcher, candidates=4, profile=given, max_gpu_hours=100, parallel=2))
    assert found.refusals == ()
    assert found.lines[1] == ("round 2: 4 rows x 30 min x 1 GPU = at most 2 GPU-hours; 0 of 100 spent")
    answers = [line for line in found.lines if line.startswith("sbatch --test-only")]
    assert len(answers) == 2
    assert all(" to start at 20" in line for line in answers)
    shown = [line for line in found.lines if line.startswith("$ ")]
    assert len(shown) == (2 if launcher == "sbatch" else 0)
    assert all(str(tmp_path / "runs" / "demo") in line and "roundtable-dry-run" not in line for line in shown)
    assert slurm.run(["squeue", "-h", "-t", "all", "--name", "rt-demo-r2-train-1-0"], check=True).stdout == ""


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("text", "words", "refused"),
    [
        ("partition: nosuch\n", "invalid partition specified", 2),
        # Five hundred CPUs are the training's alone: the evaluation asks for one.
        ("partition: gpu\ngpus: 1\ncpus: 500\n", "configuration is not available", 1),
    ],
)
@pytest.mark.usefixtures("unchanged", "slurm")
def test_line_34_what_slurm_would_refuse_is_a_refusal(tmp_path: Path, text: str, words: str, refused: int) -> None:
    found = dry_run(options(tmp_path, launcher="sbatch", profile=profile(tmp_path, text)))
    assert len(found.refusals) == refused
    assert all(words in line for line in found.refusals)


# -- the programs' answers ------------------------------------------------------------------------------------------


@pytest.fixture
def fake(tmp_path: Path) -> FakeSlurm:
    return FakeSlurm(tmp_path / "bin")


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    return Batch(
        name="train-x",
        kind="train",
        round_dir=tmp_path,
        script=tmp_path / "train.sh",
        array_script=tmp_path / "train.slurm",
        items=(0, 1),
        settings=SlurmSettings(directives=(("partition", "gpu"), ("time", "00:01:30"))),
    )


def test_line_34_the_line_asked_about_is_the_line_of_the_submission(fake: FakeSlurm, batch: Batch) -> None:
    launcher = SbatchLauncher(environment=fake.environment(SBATCH_TIMELIMIT="1"))
    fake.answer("sbatch", err="sbatch: Job 7 to start at 2031-02-03T04:05:06 using 1 processors on nodes n1\n")
    assert launcher.test_only(batch) == "Job 7 to start at 2031-02-03T04:05:06 using 1 processors on nodes n1"
    assert not (batch.round_dir / "logs").exists()
    fake.answer("sbatch", "8\n")
    launcher.submit(batch)
    asked, submitted = fake.calls("sbatch")
    assert asked == ["--test-only", *submitted]
    assert "SBATCH_TIMELIMIT" not in fake.environments("sbatch")[0]


@pytest.mark.parametrize(
    ("err", "kind"),
    [
        ("allocation failure: Requested node configuration is not available", SubmissionRefused),
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", SchedulerUnavailable),
        ("Killed", SchedulerUnavailable),
    ],
)
def test_a_refused_test_is_sorted_like_a_submission_but_never_ambiguous(
    fake: FakeSlurm, batch: Batch, err: str, kind: type[LaunchError]
) -> None:
    fake.answer("sbatch", err=f"{err}\n", code=1)
    with pytest.raises(LaunchError) as raised:
        SbatchLauncher(environment=fake.environment()).test_only(batch)
    assert type(raised.value) is kind


def test_slurm_rounds_a_limit_up_to_minutes_and_so_does_the_worst_case(batch: Batch) -> None:
    assert request_of(3, batch.settings).limit_s == 120
    extra = SlurmSettings(directives=(("gres", "gpu:a100:2,shard:1"), ("cpus-per-task", "8"), ("time", "1-00:00:00")))
    asked = request_of(3, extra)
    assert (asked.limit_s, asked.gpus, asked.cpus) == (86400, 2, 8)
    assert request_of(3, SlurmSettings(directives=(("time", "UNLIMITED"),))).limit_s is None


# -- accounting -----------------------------------------------------------------------------------------------------

NOW = 1_900_000_000.0


def submission(items: tuple[int, ...] = (0,)) -> Submission:
    tasks = tuple(f"15_{item}" for item in items)
    return Submission(launcher="sbatch", name="x", job_id="15", items=items, tasks=tasks, submitted_at=NOW)


def record(raw: str, seconds: float | None, *, at: float = NOW, task: str = "15_0", name: str = "x") -> Record:
    return Record(task=task, name=name, raw=raw, submitted=at, elapsed_s=seconds)


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([record("COMPLETED", 60)], 60),
        ([record("PREEMPTED", 50), record("COMPLETED", 60, at=NOW + 90)], 110),
        # Requeued within the second of its submission: sacct lists the newest last.
        ([record("PREEMPTED", 0), record("RUNNING", 30)], None),
        ([record("PREEMPTED", 50), record("PENDING", 0, at=NOW + 90)], None),
        ([record("RUNNING", 30)], None),
        ([record("CANCELLED by 1000", 0)], 0),
        ([record("COMPLETED", None)], None),
        ([], None),
        # Another job that had this id before, and one of another name that has it now.
        ([record("COMPLETED", 999, at=NOW - 86400)], None),
        ([record("COMPLETED", 999, name="y")], None),
        ([record("COMPLETED", 999, at=NOW - 86400), record("FAILED", 7)], 7),
    ],
)
def test_line_36_all_runs_of_a_task_are_counted_and_nobody_elses(
    records: list[Record], expected: float | None
) -> None:
    found = usage_by_task([submission()], records, tolerance_s=300)
    assert {key: usage.seconds for key, usage in found.items()} == ({} if expected is None else {("x", 0): expected})


def test_line_24_hours_come_with_the_query_that_is_made_anyway(fake: FakeSlurm) -> None:
    now = [NOW]
    reader = SlurmReader(Pace(interval_s=60), environment=fake.environment(), clock=lambda: now[0])
    line = "15_{0}|{1}|0:0|00:01:0{0}|2030-03-17T17:48:40|2030-03-17T17:46:40|n1|x\n"
    fake.answer("sacct", line.format(0, "COMPLETED") + line.format(1, "RUNNING"))
    made = [submission((0, 1))]
    reader.poll(made)
    assert reader.elapsed(made) == {("x", 0): 60}
    assert len(fake.calls("sacct")) == 1
    fake.answer("sacct", line.format(0, "COMPLETED") + line.format(1, "COMPLETED"))
    now[0] += 59
    assert reader.elapsed(made) == {("x", 0): 60}
    now[0] += 1
    assert reader.elapsed(made) == {("x", 0): 60, ("x", 1): 61}
    now[0] += 600
    reader.elapsed(made)
    assert len(fake.calls("sacct")) == 2
