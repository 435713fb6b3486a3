"""Line 33 without a cluster: the foreground controller, cron's line, stop, what start refuses; SLURM's programs are
fakes."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from agent.api.begin import begin
from agent.api.control import StartOptions, drive_job, start, stop, tick_unattended
from agent.api.cron import command, schedule
from agent.api.resident import CPU_DAY_SHARE, Resident
from agent.errors import AmbiguousSubmission, LaunchError, StudyBusy, StudyPaused, UsageError
from agent.launch.controller import job_name, options, script_text
from agent.launch.profile import Profile, load_profile
from agent.orchestrator.training import circuit_breaker
from agent.report.overview import overview
from agent.store import control
from agent.store.control import Identity
from agent.store.events import (
    ControllerBegan,
    ControllerEnded,
    ControllerSubmitted,
    Event,
    Refused,
    Started,
    StopRequested,
)
from agent.store.lease import held
from agent.store.store import Store
from agent.store.study import Settings
from tests.agent.orchestrator.conftest import Lab, lab, wait_for
from tests.cases.fake_slurm import FakeSlurm

E = TypeVar("E", bound=Event)

__all__ = ["lab"]

ROOT = Path(__file__).parents[3]


@pytest.fixture
def root(lab: Lab) -> Path:
    """A study of two rounds before its first, trained locally."""
    store = begin(lab.options())
    store.put_settings(Settings(launcher="local", auto_train=True, confirm="never", target_round=2))
    return store.paths.root


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm(tmp_path / "bin")
    fake.answer("sbatch", "41\n")
    monkeypatch.setenv("PATH", fake.environment()["PATH"])
    return fake


@pytest.fixture
def slurm_root(root: Path, fake: FakeSlurm) -> Path:
    """The same study, for the sbatch launcher of fake programs."""
    settings = Settings(launcher="sbatch", auto_train=True, confirm="never", target_round=2)
    Store.open(root).put_settings(settings)
    return root


def queue(fake: FakeSlurm, root: Path, *rows: tuple[str, int, str]) -> None:
    """What squeue shows: (job id, generation, state)."""
    at = datetime.now().strftime("%Y-%m-%dT%H:%M:%S")
    lines = [f"{job}|{state}|{at}|0:01|n1|None|{job_name(root, generation)}" for job, generation, state in rows]
    fake.answer("squeue", "".join(line + "\n" for line in lines))


def begin_start(root: Path, kind: str = "slurm", **changes: Any) -> list[str]:
    lines: list[str] = []
    start(root, StartOptions(controller=kind, **changes), say=lines.append)
    return lines


def child(root: Path, *arguments: str) -> subprocess.Popen[str]:
    """`roundtable start` in a process of its own."""
    argv = [sys.executable, "-m", "agent", "start", "--study", str(root), *arguments]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def events(root: Path, *kinds: type[E]) -> list[E]:
    return list(Store.open(root).journal.of(*kinds))


# -- the foreground -----------------------------------------------------------------------------------------------


def test_line_33_the_foreground_drives_to_the_target(root: Path, lab: Lab) -> None:
    lines = begin_start(root, "foreground", candidates=2)
    assert len(Store.open(root).closed()) == 2 and len(lab.trained) == len(set(lab.trained)) == 4
    assert lines[-1] == "finished: 2 rounds are closed"
    assert [type(event) for event in control.events(Store.open(root))] == [ControllerBegan, ControllerEnded]
    beat = control.heartbeat(root / "controller.json")
    assert beat is not None and (beat["state"], beat["kind"]) == ("ended", "foreground")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_line_33_signals_end_it_cleanly_and_the_next_start_goes_on(root: Path, lab: Lab, number: int) -> None:
    edit_mode(root, "slow")
    process = child(root, "--controller", "foreground", "--max-iterations", "2")
    wait_for(lambda: lab.trained)
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0 and f"{signal.Signals(number).name} received" in out
    assert events(root, ControllerEnded)[-1].final
    begin_start(root, "foreground")
    assert len(lab.trained) == len(set(lab.trained)) == 2, "what ran when the signal came was collected, not redone"


def edit_mode(root: Path, mode: str) -> None:
    from tests.agent.orchestrator.test_rounds import edit

    edit(root / "hyperparameter_reference.json", "mode", mode)


def test_line_33_a_second_start_names_the_process_and_a_lost_one_is_noticed(root: Path, lab: Lab) -> None:
    edit_mode(root, "slow")
    process = child(root, "--controller", "foreground", "--max-iterations", "9")
    wait_for(lambda: events(root, ControllerBegan))
    with pytest.raises(StudyBusy, match=rf"driven already: process {process.pid} on .*roundtable stop"):
        begin_start(root, "foreground")
    process.kill()
    process.communicate(timeout=30)
    closed = len(Store.open(root).closed())
    begin_start(root, "foreground", max_iterations=closed + 1)
    assert len(Store.open(root).closed()) == closed + 1
    assert len(lab.trained) == len(set(lab.trained))


def test_line_33_the_stop_file_ends_it_between_two_looks(root: Path, lab: Lab) -> None:
    edit_mode(root, "slow")
    process = child(root, "--controller", "foreground", "--max-iterations", "99")
    wait_for(lambda: lab.trained)
    said: list[str] = []
    stop(root, now=False, say=said.append)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0 and "stopped by " in out
    assert "stop requested by" in text_of(root)
    assert tick_unattended(root, say=said.append) is None and said[-1].startswith("stopped by ")
    begin_start(root, "foreground", max_iterations=len(Store.open(root).closed()) + 1)
    assert not (root / "stop.json").exists() and "stop requested" not in text_of(root)
    assert [e.event for e in events(root, StopRequested, Started)][-1] == "started"


def text_of(root: Path) -> str:
    import io

    from rich.console import Console

    from agent.report.status import print_overview

    stream = io.StringIO()
    print_overview(overview(Store.open(root)), Console(file=stream, width=400))
    return stream.getvalue()


def test_a_touched_stop_file_stops_too(root: Path) -> None:
    (root / "stop.json").touch()
    assert tick_unattended(root, say=lambda line: None) is None


def test_line_33_start_does_not_wait_for_ever_for_whoever_holds_the_lease(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.api.control.PATIENCE_S", 0.3)
    with held(root / "lease.json"), pytest.raises(StudyBusy, match="is working on this study"):
        begin_start(root, "foreground")
    assert events(root, Started) == []


def test_line_33_a_controller_waits_for_the_lease_between_its_looks(root: Path, lab: Lab) -> None:
    me = Identity(generation=1, kind="foreground", host="n1", pid=1, started=1, boot="b")
    lines: list[str] = []
    resident = Resident(root, me, say=lines.append)
    with held(root / "lease.json"):
        assert resident._look() is None and resident._look() is None
    assert len(lines) == 1 and "is working on this study" in lines[0], "said once, not at each look"
    assert resident._look() is None and events(root, ControllerBegan)


# -- what start refuses -------------------------------------------------------------------------------------------


def test_nothing_left_to_do_is_said(root: Path) -> None:
    begin_start(root, "foreground")
    with pytest.raises(UsageError, match=r"2 rounds are closed .* ends with round 2; give --max-iterations N, more"):
        begin_start(root, "foreground")
    assert begin_start(root, "foreground", max_iterations=3)[-1] == "finished: 3 rounds are closed"


def test_a_study_without_settings_needs_a_target(lab: Lab) -> None:
    store = begin(lab.options())
    with pytest.raises(UsageError, match="give --max-iterations N, more than 0"):
        begin_start(store.paths.root, "foreground", launcher="local")


def test_local_trials_would_end_with_each_controller_job(root: Path, fake: FakeSlurm) -> None:
    with pytest.raises(UsageError, match=r"--launcher local, whose trials would end with each controller job"):
        begin_start(root)
    assert fake.calls("sbatch") == [] and events(root, Started) == []


def test_a_paused_study_needs_resume(root: Path) -> None:
    store = Store.open(root)
    for _ in range(circuit_breaker.FAILED_SUBMISSIONS):
        store.journal.append(Refused(name="a", folder="f", message="no such partition"))
    circuit_breaker.trip(store)
    with pytest.raises(StudyPaused, match=r"no such partition.*--resume"):
        begin_start(root, "foreground")
    assert "paused since" in text_of(root)
    assert begin_start(root, "foreground", resume=True)[-1].startswith("finished")
    assert "paused since" not in text_of(root)


def test_keys_of_language_models_must_lie_in_a_file(
    slurm_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: FakeSlurm
) -> None:
    """Keys of the shell are kept from jobs, whose environment SLURM stores."""
    settings = Store.open(slurm_root).settings()
    import dataclasses

    llm = {"provider": "anthropic"}
    Store.open(slurm_root).put_settings(dataclasses.replace(settings, provider="anthropic", proposer="llm", llm=llm))
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-0123456789")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"does not inherit keys from this shell.*\.env"):
        begin_start(slurm_root)
    assert os.environ["ANTHROPIC_API_KEY"] == "sk-ant-0123456789" and fake.calls("sbatch") == []
    (tmp_path / ".env").write_text("ANTHROPIC_API_KEY=sk-ant-0123456789\n")
    begin_start(slurm_root)
    assert "sk-ant" not in (slurm_root / "controller.slurm").read_text()


# -- controller jobs ----------------------------------------------------------------------------------------------


def test_line_33_the_job_is_small_unique_and_never_has_a_deadline(slurm_root: Path, fake: FakeSlurm) -> None:
    (slurm_root / "profile.yaml").write_text("partition: gpu\naccount: lab\ngpus: 4\ncpus: 32\n")
    begin_start(slurm_root)
    (argv,) = fake.calls("sbatch")
    for wanted in (
        "--partition=gpu",
        "--account=lab",
        "--cpus-per-task=1",
        "--time=01:00:00",
        "--no-requeue",
        "--open-mode=append",
        f"--output={slurm_root}/controller.log",
        f"--job-name={job_name(slurm_root, 1)}",
    ):
        assert wanted in argv
    assert not any(word.startswith(("--gres", "--gpus", "--deadline", "--dependency", "--array")) for word in argv)
    assert argv[-2:] == [f"{slurm_root}/controller.slurm", "1"]
    entry = events(slurm_root, ControllerSubmitted)[0]
    assert (entry.job_id, entry.generation, entry.adopted) == ("41", 1, False)
    assert entry.name.startswith("rt-ctl-demo-")


def test_line_33_the_profile_has_a_part_for_controllers(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("partition: gpu\ncontroller: {partition: cpu, time: 30, mem: 1G, extra: {nice: 10}}\n")
    found = options(load_profile(path))
    assert {"--partition=cpu", "--time=30", "--mem=1G", "--nice=10"} <= set(found)
    path.write_text("controller: {gpus: 1}\n")
    with pytest.raises(UsageError, match=r"controller\.gpus.*unknown key; .*valid keys: partition, account"):
        load_profile(path)


@pytest.mark.parametrize("folder", ["plain", "with space", "ünï", "quote'", "$(touch hacked)", "a%b"])
def test_the_script_quotes_every_path(tmp_path: Path, folder: str) -> None:
    where = tmp_path / folder
    where.mkdir()
    script = where / "controller.slurm"
    # In place of python: says what it was called with.
    fake_python = where / "python"
    fake_python.write_text('#!/bin/sh\nprintf "%s\\n" "$PWD" "$@"\n')
    fake_python.chmod(0o755)
    text = script_text(
        study=where, folder=where, script=script, python=fake_python, import_root=None, profile=Profile()
    )
    script.write_text(text)
    done = subprocess.run(["bash", str(script), "7"], capture_output=True, text=True, cwd=tmp_path)
    expected = [
        where,
        "-P",
        "-m",
        "roundtable",
        "start",
        "--study",
        where,
        "--controller",
        "slurm",
        "--generation",
        "7",
    ]
    assert done.stdout.splitlines() == [str(word) for word in expected], done.stderr
    assert list(tmp_path.glob("**/hacked")) == []
    assert subprocess.run(["bash", str(script), "x; true"], capture_output=True).returncode == 2


def test_line_33_a_refused_controller_is_said_and_tried_again(slurm_root: Path, fake: FakeSlurm) -> None:
    fake.answer("sbatch", err="sbatch: error: Batch job submission failed: Invalid account", code=1)
    with pytest.raises(LaunchError, match="Invalid account"):
        begin_start(slurm_root)
    fake.answer("sbatch", "42\n")
    begin_start(slurm_root)
    assert [e.generation for e in events(slurm_root, ControllerSubmitted)] == [1]


def test_line_33_an_ambiguous_controller_is_looked_up_before_any_second(slurm_root: Path, fake: FakeSlurm) -> None:
    fake.answer("sbatch", err="sbatch: error: Socket timed out on send/recv operation", code=1)
    with pytest.raises(AmbiguousSubmission):
        begin_start(slurm_root)
    with pytest.raises(AmbiguousSubmission, match="looking it up until"):
        begin_start(slurm_root)
    assert len(fake.calls("sbatch")) == 1
    queue(fake, slurm_root, ("41", 1, "PENDING"))
    with pytest.raises(StudyBusy, match="SLURM job 41 "):
        begin_start(slurm_root)
    assert len(fake.calls("sbatch")) == 1 and events(slurm_root, ControllerSubmitted)[0].adopted


def test_line_33_a_lost_controller_is_noticed_by_the_queue(slurm_root: Path, fake: FakeSlurm) -> None:
    begin_start(slurm_root)
    queue(fake, slurm_root, ("41", 1, "RUNNING"))
    with pytest.raises(StudyBusy, match=r"SLURM job 41 \(generation 1, RUNNING\)"):
        begin_start(slurm_root)
    queue(fake, slurm_root)
    fake.answer("sbatch", "43\n")
    begin_start(slurm_root)
    assert [e.job_id for e in events(slurm_root, ControllerSubmitted)] == ["41", "43"]
    assert fake.calls("sbatch")[-1][-1] == "2"


def test_line_33_nobody_starts_a_second_one_while_the_queue_does_not_answer(
    slurm_root: Path, fake: FakeSlurm
) -> None:
    begin_start(slurm_root)
    fake.answer("squeue", err="slurm_load_jobs error: Unable to contact slurm controller", code=1)
    with pytest.raises(LaunchError, match="squeue failed"):
        begin_start(slurm_root)
    assert len(fake.calls("sbatch")) == 1


def test_a_generation_that_nobody_submitted_does_not_tick(slurm_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    ending = drive_job(slurm_root, 5, say=lambda line: None)
    assert isinstance(ending.error, UsageError) and "generation 5 was not submitted" in ending.reason
    assert events(slurm_root, ControllerBegan) == []


def test_line_33_an_older_generation_ends_as_soon_as_a_later_one_has_begun(root: Path) -> None:
    """A controller that was suspended, or that the scheduler forgot, must not tick beside its replacement."""
    store = Store.open(root)
    store.journal.append(ControllerBegan(generation=2, kind="slurm", host="n2", pid=1, job_id="50"))
    me = Identity(generation=1, kind="foreground", host="n1", pid=1, started=1, boot="b")
    ending = Resident(root, me, say=lambda line: None).run()
    assert ending.silent and "generation 2 has taken over" in ending.reason
    assert not (root / "controller.json").exists() and events(root, ControllerEnded) == []


def test_line_33_stop_now_cancels_controller_and_successor(slurm_root: Path, fake: FakeSlurm) -> None:
    begin_start(slurm_root)
    stop(slurm_root, now=True, say=lambda line: None)
    cancelled = [call for call in fake.calls("scancel") if "41" in call]
    assert cancelled and events(slurm_root, StopRequested)[0].now


# -- how often ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cpu_s", "wait"), [(0.01, 60.0), (0.04, 0.04 * CPU_DAY_SHARE), (0.1, 0.1 * CPU_DAY_SHARE), (5.0, 180.0)]
)
def test_line_24_dear_looks_are_rarer_but_never_beyond_three_intervals(root: Path, cpu_s: float, wait: float) -> None:
    me = Identity(generation=1, kind="foreground", host="n1", pid=1, started=1, boot="b")
    resident = Resident(root, me, say=lambda line: None)
    resident._store = Store.open(root)
    resident._store.put_settings(Settings(launcher="sbatch"))
    assert resident._wait(cpu_s) == pytest.approx(wait)


# -- cron ---------------------------------------------------------------------------------------------------------


def test_cron_prints_a_line_and_installs_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = begin_start(root, "cron", every_minutes=15)
    assert lines[-1].startswith("*/15 * * * * cd ")
    assert f"tick --study {root} --unattended >> {root}/controller.log 2>&1" in lines[-1]
    assert events(root, Started)[0].controller == "cron" and events(root, ControllerSubmitted) == []


@pytest.mark.parametrize(
    ("minutes", "fields"),
    [(1, "* * * * *"), (10, "*/10 * * * *"), (60, "0 */1 * * *"), (120, "0 */2 * * *"), (1440, "0 0 * * *")],
)
def test_cron_fields(minutes: int, fields: str) -> None:
    assert schedule(minutes) == fields


@pytest.mark.parametrize("minutes", [7, 45, 90, 300, 2880])
def test_periods_that_cron_cannot_keep_are_refused(minutes: int) -> None:
    with pytest.raises(UsageError, match="divide an hour or a day"):
        schedule(minutes)


def cron_would_run(line: str) -> str:
    """The command of a crontab line as cron hands it to sh: the first bare % ends it, \\% is %."""
    rest = line.split(" ", 5)[5]
    position = next((i for i, c in enumerate(rest) if c == "%" and rest[i - 1] != "\\"), len(rest))
    return rest[:position].replace("\\%", "%")


@pytest.mark.parametrize("folder", ["plain", "a space", "50%done", "quo'te", "ünï", "$(touch hacked)"])
def test_the_line_works_as_cron_runs_it(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    where = tmp_path / folder
    where.mkdir()
    store = begin(lab.options(output_dir=where))
    store.put_settings(Settings(launcher="local", auto_train=True, confirm="never", target_round=1))
    root = store.paths.root
    monkeypatch.chdir(where)
    line = begin_start(root, "cron")[-1]
    environment = {"HOME": "/root", "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LOGNAME": "root"}
    closed = root.glob

    def ticked() -> bool:
        done = subprocess.run(["/bin/sh", "-c", cron_would_run(line)], env=environment, cwd="/", text=True)
        assert done.returncode == 0, (root / "controller.log").read_text()
        return any(closed("round_1_*/round.json"))

    wait_for(ticked)
    assert "round 1: waiting" in (root / "controller.log").read_text()
    assert list(tmp_path.glob("**/hacked")) == []
    assert "controller: cron on" in text_of(root)


def test_the_line_brings_what_crons_bare_environment_lacks(
    slurm_root: Path, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", "/etc/some where/slurm.conf")
    words = shlex.split(command(Store.open(slurm_root).paths))
    assert "SLURM_CONF=/etc/some where/slurm.conf" in words
    assert f"PATH={fake.folder}:/usr/bin:/bin" in words


def test_scrontab_is_preferred_where_it_answers(slurm_root: Path, fake: FakeSlurm, tmp_path: Path) -> None:
    program = fake.folder / "scrontab"
    program.write_text((fake.folder / "squeue").read_text())
    program.chmod(0o755)
    fake.answer("scrontab", err="no crontab for root", code=1)
    lines = begin_start(slurm_root, "cron")
    assert "scrontab -e" in lines[0] and lines[1].startswith("#SCRON ") and lines[2].startswith("*/10 * * * * cd ")
    fake.answer("scrontab", err="scrontab: error: scrontab is disabled on this cluster", code=1)
    assert "crontab -e" in begin_start(slurm_root, "cron")[0]
    assert all("-e" not in call and "-" not in call for call in fake.calls("scrontab")), "nothing is installed"


# -- status -------------------------------------------------------------------------------------------------------


def test_status_shows_who_looks_and_asks_no_scheduler(slurm_root: Path, fake: FakeSlurm) -> None:
    begin_start(slurm_root)
    asked = len(fake.calls("squeue"))
    me = Identity(generation=1, kind="slurm", host="n7", pid=9, started=1, boot="b", job_id="41")
    store = Store.open(slurm_root)
    at = datetime.now(UTC)
    soon = (at + timedelta(seconds=60)).isoformat()
    control.beat(store.disk, store.paths.controller, me, at=at.isoformat(), next_at=soon, state="running")
    store.journal.append(ControllerBegan(generation=1, kind="slurm", host="n7", pid=9, job_id="41"))
    said = text_of(slurm_root)
    assert "controller: SLURM job 41 on n7, generation 1, last look " in said and "overdue" not in said
    late = (at - timedelta(minutes=30)).isoformat()
    control.beat(store.disk, store.paths.controller, me, at=late, next_at=late, state="running", trouble="no answer")
    assert "overdue by 30 min" in text_of(slurm_root) and "in trouble, and trying again: no answer" in text_of(
        slurm_root
    )
    assert len(fake.calls("squeue")) == asked


def test_status_says_of_no_controller_that_ended_that_it_is_on_its_way(slurm_root: Path, fake: FakeSlurm) -> None:
    """One that found the stop file before its first look has journaled nothing."""
    begin_start(slurm_root)
    assert "SLURM job 41 was submitted and has not begun (`squeue -j 41` shows it)" in text_of(slurm_root)
    store = Store.open(slurm_root)
    me = Identity(generation=1, kind="slurm", host="n7", pid=9, started=1, boot="b", job_id="41")
    at = datetime.now(UTC).isoformat()
    control.beat(store.disk, store.paths.controller, me, at=at, state="ended", reason="stopped by me")
    said = text_of(slurm_root)
    assert "ended" in said and "stopped by me" in said and "has not begun" not in said


def ended(process: subprocess.Popen[bytes], request: pytest.FixtureRequest) -> subprocess.Popen[bytes]:
    """The process, killed when its test is over, however that ended."""

    def end() -> None:
        process.kill()
        process.wait()

    request.addfinalizer(end)
    return process


def test_watch_writes_a_block_a_change_and_ends_well_on_ctrl_c(
    root: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    target = tmp_path / "watch.txt"
    with target.open("w") as stream:
        argv = [sys.executable, "-m", "agent", "status", "--study", str(root), "--watch", "0.2"]
        process = ended(subprocess.Popen(argv, cwd=ROOT, stdout=stream), request)

        def blocks() -> int:
            return target.read_text().count("demo: noop on demo")

        wait_for(lambda: blocks() == 1)
        me = Identity(generation=1, kind="cron", host="n7", pid=9, started=1, boot="b")
        store = Store.open(root)
        control.beat(store.disk, store.paths.controller, me, at="2031-02-03T04:05:06+00:00", state="running")
        wait_for(lambda: blocks() == 2)
        control.beat(store.disk, store.paths.controller, me, at="2031-02-03T04:06:06+00:00", state="running")
        control.request_stop(store)
        wait_for(lambda: blocks() == 3)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
    assert "stop requested" in target.read_text()


def test_watch_redraws_a_terminal_in_place(root: Path, request: pytest.FixtureRequest) -> None:
    leader, follower = os.openpty()
    argv = [sys.executable, "-m", "agent", "status", "--study", str(root), "--watch", "0.2"]
    process = ended(subprocess.Popen(argv, cwd=ROOT, stdout=follower, stdin=follower, stderr=follower), request)
    os.close(follower)
    seen = b""

    def shown() -> bool:
        nonlocal seen
        seen += os.read(leader, 65536)
        return seen.count(b"demo: noop on demo") >= 2

    wait_for(shown)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0
    os.close(leader)


@pytest.mark.parametrize("make", [lambda root: ["--every", "10m", "--controller", "slurm"], lambda root: []])
def test_wrong_options_are_refused_by_name(root: Path, make: Callable[[Path], list[str]]) -> None:
    process = child(root, *make(root))
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 2 and "--controller" in out
