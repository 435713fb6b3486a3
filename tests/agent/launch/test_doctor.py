"""Doctor's single checks: programs' odd answers, mount tables, trials, and the script that looks at a node."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.launch.ask import Asker
from agent.launch.commands import Reply
from agent.launch.doctor import trial, visit
from agent.launch.doctor.disk import Mount, check_place, check_trial, mount_of, parse_mounts, try_folder
from agent.launch.doctor.finding import Area, Finding, Level
from agent.launch.doctor.machine import check_cpu_limit, check_interpreter, check_job, check_variables
from agent.launch.doctor.request import Request, check_dry_run, check_request, header
from agent.launch.doctor.slurm import (
    ask_config,
    check_accounting,
    check_config,
    check_limits,
    check_programs,
    check_versions,
)
from agent.launch.nodes import Nodes, parse_nodes, parse_partitions
from agent.launch.options import split_directive
from agent.launch.profile import Profile, Resources
from agent.launch.profile_checks import gres_items, megabytes
from tests.cases.fake_slurm import FakeSlurm
from trainers.registry import TRAINERS

OK, WARNING, PROBLEM = Level.OK, Level.WARNING, Level.PROBLEM
ANSWERS = {
    "ClusterName": "c",
    "MaxArraySize": "1001",
    "MinJobAge": "300 sec",
    "KillWait": "30 sec",
    "JobRequeue": "1",
}


@pytest.fixture
def fake(tmp_path: Path) -> FakeSlurm:
    return FakeSlurm(tmp_path / "bin")


@pytest.fixture
def asker(fake: FakeSlurm) -> Asker:
    return Asker(fake.environment(), patience_s=10)


def only(found: Finding | Iterable[Finding], level: Level, *words: str) -> Finding:
    """The one finding of this level, which must say all of the words."""
    findings = [found] if isinstance(found, Finding) else list(found)
    chosen = [finding for finding in findings if finding.level is level]
    assert len(chosen) == 1, findings
    text = f"{chosen[0].looked_at}: {chosen[0].found} -> {chosen[0].change}"
    assert all(word in text for word in words), text
    return chosen[0]


# --- findings and programs ---


def test_a_problem_without_a_remedy_is_refused() -> None:
    with pytest.raises(ValueError, match="says what to change"):
        Area("disk").problem("x", "y", "")


def test_foreign_text_cannot_steer_a_terminal() -> None:
    finding = Area("cluster").ok("x", "\x1b[31mred\x1b[0m\nsecond\tline " + "a" * 900)
    assert "\x1b" not in finding.found and "\n" not in finding.found and len(finding.found) == 400


def test_programs_of_one_version(fake: FakeSlurm, asker: Asker) -> None:
    for name in ("sbatch", "squeue", "sacct", "scancel", "scontrol", "srun"):
        fake.answer(name, "slurm-wlm 22.05.8\n")
    findings, reachable = check_programs(asker, "submitit", chosen=False)
    assert reachable
    assert [finding.found for finding in findings if finding.level is OK] == ["22.05"]


def test_a_missing_program_leaves_the_local_launcher(fake: FakeSlurm, tmp_path: Path) -> None:
    (fake.folder / "sacct").unlink()
    asker = Asker({"PATH": str(fake.folder)})
    findings, reachable = check_programs(asker, "sbatch", chosen=True)
    assert not reachable
    only(findings, PROBLEM, "missing: sacct", "only --launcher local works", "login node")
    findings, reachable = check_programs(Asker({"PATH": str(tmp_path)}), "sbatch", chosen=True)
    only(findings, PROBLEM, "none of SLURM's programs is there")


def test_without_srun_submitit_alone_is_out(fake: FakeSlurm) -> None:
    (fake.folder / "srun").unlink()
    asker = Asker({"PATH": str(fake.folder)})
    assert check_programs(asker, "submitit", chosen=True)[0][0].level is PROBLEM
    first = check_programs(asker, "sbatch", chosen=True)[0][0]
    assert first.level is WARNING and "submitit does not" in first.found


def test_without_slurm_local_runs_work(tmp_path: Path) -> None:
    findings, reachable = check_programs(Asker({"PATH": str(tmp_path)}), "local", chosen=False)
    assert not reachable and only(findings, OK, "local runs work", "no SLURM on this machine")


@pytest.mark.parametrize(
    ("answers", "level", "words"),
    [
        ({"sbatch": "slurm 24.05.3"}, OK, ["24.05"]),
        ({"sbatch": "slurm 25.11.0-rc1"}, OK, ["25.11", "known up to 24.05"]),
        ({"sbatch": "slurm 19.05.5"}, WARNING, ["19.05 is older than 20.11", "by hand"]),
        ({"sbatch": "slurm 23.02.1", "squeue": "slurm 24.05.1"}, WARNING, ["differ", "squeue 24.05"]),
        ({"sbatch": "hello"}, WARNING, ["no SLURM version", "'hello'", "type sbatch"]),
        ({"sbatch": ""}, WARNING, ["no SLURM version"]),
    ],
)
def test_versions(answers: dict[str, str], level: Level, words: list[str]) -> None:
    only(check_versions(answers), level, *words)


# --- the controller and its settings ---


def test_a_controller_that_hangs_is_not_asked_again(fake: FakeSlurm) -> None:
    fake.answer("scontrol", sleep=30)
    finding, config = ask_config(Asker(fake.environment(), patience_s=0.3))
    assert config == {} and len(fake.calls("scontrol")) <= 1
    only(finding, PROBLEM, "does not answer", "within 0.3 s", "--launcher local")


@pytest.mark.parametrize(
    ("out", "err", "code", "words"),
    [
        ("Slurmctld(primary) at vm is DOWN\n*****\n** RESTORE **\n", "", 1, ["at vm is DOWN)"]),
        ("", "error: x\nscontrol: fatal: Could not establish a configuration source\n", 1, ["no cluster is set up"]),
        ("what?\n", "", 0, ["what?"]),
        ("", "", 0, ["exit code 0"]),
        ("Slurmctld(primary) at vm is UP\n", "", 0, ["show config", "cannot be read"]),
    ],
)
def test_a_controller_that_is_not_up(
    fake: FakeSlurm, asker: Asker, out: str, err: str, code: int, words: list[str]
) -> None:
    fake.answer("scontrol", out, err=err, code=code)
    finding, config = ask_config(asker)
    assert config == {}
    only(finding, PROBLEM, *words)


def test_line_25_accounting_switched_off() -> None:
    off = Reply(code=1, out="", err="Slurm accounting storage is disabled\n")
    only(check_accounting(off), WARNING, "switched off", "GPU-hours stay")
    late = Reply(code=124, out="", err="sacct did not answer within 20 s")
    only(check_accounting(late), WARNING, "does not answer now", "within 20 s")
    only(check_accounting(Reply(code=0, out="", err="")), OK)


def test_line_11_sizes_of_arrays() -> None:
    small = list(check_config(ANSWERS | {"MaxArraySize": "101"}, rows=500))
    only(small[:1], OK, "MaxArraySize: 101", "500 rows fit in 5 arrays")
    only(list(check_config(ANSWERS, rows=5))[:1], OK, "one array")
    only(check_config(ANSWERS | {"MaxArraySize": "0"}), PROBLEM, "no job arrays", "--launcher local")
    only(check_config(ANSWERS | {"MaxArraySize": "many"}), WARNING, "is many")
    capped = ANSWERS | {"SchedulerParameters": "bf_interval=1,max_array_tasks=50"}
    only(check_config(capped, rows=500), WARNING, "50, less than", "max_array_size: 50")
    assert not [f for f in check_config(capped, rows=500, cap=50) if f.level is not OK]


def test_settings_of_a_site() -> None:
    assert {finding.level for finding in check_config(ANSWERS)} == {OK}
    only(check_config(ANSWERS | {"KillWait": "2 sec"}), WARNING, "2 s between SIGTERM and SIGKILL", "signal_seconds")
    short = ANSWERS | {"MinJobAge": "60 sec"}
    only(check_config(short, accounting=False, poll_s=60), WARNING, "60 s: without accounting", "--poll 20")
    assert {finding.level for finding in check_config(short, accounting=True)} == {OK}
    newer = check_config(ANSWERS | {"SLURM_VERSION": "22.05.8"}, client="slurm 24.05.1")
    only(newer, WARNING, "programs are 24.05, the controller is 22.05")
    preempting = ANSWERS | {"PreemptType": "preempt/partition_prio", "PreemptMode": "REQUEUE"}
    assert any("may be preempted" in finding.found for finding in check_config(preempting))


def limits(assoc: str, kinds: str = "normal||\n", *, code: int = 0, **options: Any) -> list[Finding]:
    defaults: dict[str, Any] = {"enforced": True, "account": None, "qos": None, "rows": None, "user": "ada"}
    return check_limits(
        Reply(code=code, out=assoc, err="x\nno database\n" if code else ""),
        Reply(code=0, out=kinds, err=""),
        **(defaults | options),
    )


def test_accounts_and_limits() -> None:
    mine = "lab||normal,long|10|3\nother||normal||\n"
    only(limits(mine), OK, "accounts lab, other", "MaxJobs 10, MaxSubmitJobs 3")
    only(limits(mine, rows=10), WARNING, "10 rows are more", "nothing has to change")
    only(limits(mine, account="other", rows=10), OK, "no limit on jobs")
    only(limits(mine, account="nix"), PROBLEM, "nix is none of ada's accounts", "one of lab, other")
    only(limits(mine, account="nix", enforced=False), WARNING, "does not enforce it now")
    only(limits(mine, account="other", qos="long"), PROBLEM, "long is none of ada's QOS (normal)")
    only(limits(mine, "long|4|2\n", qos="long", account="lab"), OK, "MaxJobs 4, MaxSubmitJobs 2")
    only(limits(""), PROBLEM, "no association for ada")
    only(limits("", code=1), WARNING, "cannot be read: no database")
    only(limits("garbage\n"), PROBLEM, "no association")


# --- the profile against partitions and nodes ---

PARTITIONS = parse_partitions(
    "PartitionName=main Default=YES MaxTime=UNLIMITED DefaultTime=NONE State=UP AllowAccounts=ALL\n"
    "PartitionName=short Default=NO MaxTime=00:10:00 DefaultTime=00:05:00 State=UP AllowAccounts=lab,staff\n"
    "PartitionName=old Default=NO MaxTime=1-00:00:00 State=DRAIN\n"
    "nonsense\n"
)
NODES = parse_nodes(
    "main|8|20000|idle|4|(null)|avx\nshort|16|64000|mix|2|gpu:a100:4(S:0-1),shard:8|a100,nvlink,80gb\nx|y\n"
)


def request(config: dict[str, str] | None = None, *, uses_gpu: bool = False, **wanted: Any) -> list[Finding]:
    asked = Resources(**({"time": "5"} | wanted))
    return check_request(
        Request(
            wanted=asked, kind="train", partitions=PARTITIONS, nodes=NODES, config=config or {}, uses_gpu=uses_gpu
        )
    )


def test_a_fitting_profile_has_no_complaint() -> None:
    fitting = request(
        partition="short", account="lab", gres="gpu:a100:2", cpus=16, mem="32G", constraint="a100&nvlink"
    )
    assert {finding.level for finding in fitting} == {OK}
    assert {finding.level for finding in request()} == {OK}


@pytest.mark.parametrize(
    ("wanted", "level", "words"),
    [
        ({"partition": "mian"}, PROBLEM, ["there is no mian", "main, short, old"]),
        ({"partition": "old"}, PROBLEM, ["old is DRAIN: it takes no jobs"]),
        ({"partition": "short", "account": "nix"}, PROBLEM, ["for account lab,staff only, not nix"]),
        ({"partition": "short"}, WARNING, ["for account lab,staff only", "set `account`"]),
        ({"time": None}, WARNING, ["main has no limit", "worst-case GPU-hours"]),
        (
            {"partition": "short", "account": "lab", "time": "11"},
            PROBLEM,
            ["above the MaxTime", "never start", "main"],
        ),
        ({"partition": "short", "account": "lab", "time": None}, WARNING, ["short gives 00:05:00"]),
        ({"gpus": 1}, PROBLEM, ["nodes offer none", "`partition` to one of short"]),
        ({"partition": "short", "account": "lab", "gpus": 5}, PROBLEM, ["no node offers gpu:5", "gpu:a100:4"]),
        ({"partition": "short", "account": "lab", "gres": "gpu:h100:1"}, PROBLEM, ["no node offers gpu:h100:1"]),
        ({"cpus": 9}, PROBLEM, ["9 asked for; the largest node has 8", "at most 8"]),
        ({"mem": "20G"}, PROBLEM, ["20G asked for; the largest node has 20000M"]),
        ({"constraint": "h100"}, PROBLEM, ["no node of the partition has h100", "avx"]),
        ({"constraint": "avx&40gb"}, PROBLEM, ["no node of the partition has 40gb", "avx"]),
        ({"constraint": "avx*2"}, OK, ["avx*2: known"]),
        ({"partition": "main,short", "account": "lab", "time": "11", "gpus": 4}, OK, ["gpu:4"]),
    ],
)
def test_what_a_profile_asks_for(wanted: dict[str, Any], level: Level, words: list[str]) -> None:
    findings = request(**wanted)
    if level is OK:
        assert {finding.level for finding in findings} == {OK}
        assert any(word in finding.found for finding in findings for word in words)
    else:
        only(findings, level, *words)


@pytest.mark.parametrize(
    "constraint", ["80gb", "a100&80gb", "a100&80gb|nvlink", "[a100|80gb]", "(a100&80gb)|nvlink", "[a100*1&80gb*2]"]
)
def test_features_may_begin_with_a_digit_and_stand_in_any_expression(constraint: str) -> None:
    findings = request(partition="short", account="lab", constraint=constraint)
    assert [f.found for f in findings if f.looked_at == "constraint (train)"] == [f"{constraint}: known"]


def test_a_trainer_that_wants_a_gpu_and_a_profile_that_asks_for_none() -> None:
    only(request(partition="short", account="lab", uses_gpu=True), WARNING, "none asked for", "gpus: 1")
    assert {finding.level for finding in request(uses_gpu=True)} == {OK}, "the partition has none to offer"


def test_memory_that_nobody_named() -> None:
    metered = {"SelectTypeParameters": "CR_CORE_MEMORY", "DefMemPerNode": "UNLIMITED"}
    only(request(metered), WARNING, "all of a node's memory", "set `mem`")
    assert any("DefMemPerCPU is 2000M" in f.found for f in request(metered | {"DefMemPerCPU": "2000"}))
    assert {finding.level for finding in request(metered, mem="1G")} == {OK}
    assert {finding.level for finding in request(metered, extra={"mem-per-cpu": "1G"})} == {OK}


def test_nodes_that_are_all_down() -> None:
    down = [replace(group, state="drain*") for group in NODES]
    asked = Request(wanted=Resources(time="5"), kind="eval", partitions=PARTITIONS, nodes=down, config={})
    findings = check_request(asked)
    only(findings, WARNING, "nodes (eval)", "drain*", "sinfo -R")


def test_no_default_partition() -> None:
    others = {"short": PARTITIONS["short"]}
    findings = check_request(Request(wanted=Resources(), kind="train", partitions=others, nodes=[], config={}))
    only(findings, PROBLEM, "no default partition", "one of short")


def test_reading_what_slurm_prints() -> None:
    assert NODES[1] == Nodes(
        partition="short",
        cpus=16,
        memory_mb=64000,
        state="mix",
        count=2,
        gres="gpu:a100:4(S:0-1),shard:8",
        features=("a100", "nvlink", "80gb"),
    )
    assert len(NODES) == 2 and list(PARTITIONS) == ["main", "short", "old"]
    assert gres_items("gpu:a100:4(S:0,2),shard:8,gpu") == [("gpu", "a100", 4), ("shard", "", 8), ("gpu", "", 1)]
    assert [megabytes(text) for text in ("512", "2G", "1T", "1024K", "3MB")] == [512, 2048, 2**20, 1, 3]


# --- sbatch --test-only ---


def test_the_dry_run_asks_with_the_profiles_own_lines(fake: FakeSlurm, asker: Asker) -> None:
    profile = Profile(partition="gpu", gpus=1, time="10", extra={"comment": 'it\'s "x"', "exclusive": True})
    text = header(profile.settings("train"), ("array", "0-3%2"))
    lines = [line.removeprefix("#SBATCH ") for line in text.splitlines()[1:]]
    arguments = [split_directive(line)[0] for line in lines]
    assert arguments[0] == "--array=0-3%2"
    assert {"--partition=gpu", "--gres=gpu:1", "--time=10", '--comment=it\'s "x"', "--exclusive"} <= set(arguments)
    fake.answer("sbatch", err="sbatch: Job 5 to start at 2031-02-03T04:05:06 using 1 processors on nodes n1 in p\n")
    only(check_dry_run(asker, profile.settings("train"), kind="train", array="0"), OK, "2031-02-03T04:05:06 on n1")
    assert fake.calls("sbatch") == [["--test-only"]]


@pytest.mark.parametrize(
    ("err", "alive", "level", "words"),
    [
        ("allocation failure: Invalid partition name specified\n", True, PROBLEM, ["refused", "sinfo"]),
        ("allocation failure: Invalid feature specification\n", True, PROBLEM, ["constraint"]),
        ("allocation failure: Requested node configuration is not available\n", True, PROBLEM, ["ask for less"]),
        ("allocation failure: Requested node configuration is not available\n", False, WARNING, ["nodes are back"]),
        ("allocation failure: Some new reason\n", True, PROBLEM, ["Some new reason", "change what is named"]),
        ("sbatch: error: Batch job submission failed: MaxSubmitJobLimit\n", True, WARNING, ["no more jobs"]),
        ("sbatch: error: Socket timed out on send/recv operation\n", True, WARNING, ["no answer"]),
    ],
)
def test_refusals(fake: FakeSlurm, asker: Asker, err: str, alive: bool, level: Level, words: list[str]) -> None:
    fake.answer("sbatch", err=err, code=1)
    only(check_dry_run(asker, Profile().settings("eval"), kind="eval", array="0", alive=alive), level, *words)


def test_a_dry_run_that_hangs(fake: FakeSlurm) -> None:
    fake.answer("sbatch", sleep=30)
    hasty = Asker(fake.environment(), patience_s=0.1)
    only(check_dry_run(hasty, Profile().settings("train"), kind="train", array="0"), WARNING, "no answer", "0.3 s")


# --- disk ---

MOUNTS = parse_mounts(
    "1 0 8:1 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
    "2 1 0:30 / /home rw master:2 - nfs4 server:/home rw,vers=4.2\n"
    "3 1 0:31 / /home/old\\040data rw - nfs server:/o rw,nolock\n"
    "4 1 0:32 / /scratch rw - lustre mds:/s rw,localflock\n"
    "5 1 0:33 / /dev/shm rw - tmpfs tmpfs rw\n"
    "6 1 0:34 / /work rw - fuse.sshfs u@h:/w rw\n"
    "7 1 0:35 / /home rw - xfs /dev/vdb rw\n"
    "torn line\n"
)


def test_the_mount_of_a_folder() -> None:
    kinds = {
        place: (mount_of(Path(place), MOUNTS) or Mount(point="", kind="none", options=())).kind
        for place in ("/", "/homes/x", "/home/old data/a", "/scratch/a", "/home/ada")
    }
    # The later mount hides the earlier one at the same place.
    assert kinds == {
        "/": "ext4",
        "/homes/x": "ext4",
        "/home/old data/a": "nfs",
        "/scratch/a": "lustre",
        "/home/ada": "xfs",
    }
    assert mount_of(Path("/x"), []) is None


@pytest.mark.parametrize(
    ("folder", "level", "words"),
    [
        ("/work/runs", OK, ["fuse.sshfs", "shared between machines"]),
        ("/opt/runs", WARNING, ["ext4", "local filesystem", "--output-dir"]),
        ("/tmp/runs", WARNING, ["/tmp is usually each node's own"]),
        ("/dev/shm/runs", WARNING, ["/dev/shm"]),
        ("/scratch/runs", WARNING, ["localflock", "one machine only"]),
        ("/home/old data", WARNING, ["nolock"]),
    ],
)
def test_places(folder: str, level: Level, words: list[str]) -> None:
    path = Path(folder)
    findings = list(check_place(path, mount_of(path, MOUNTS), slurm=True))
    only([finding for finding in findings if level is OK or finding.level is not OK], level, *words)
    local = check_place(path, mount_of(path, MOUNTS), slurm=False)
    only(local, OK, "local runs need no shared one")


def test_a_folder_that_scripts_cannot_name() -> None:
    only(check_place(Path("/work/a\nb"), MOUNTS[5], slurm=True), PROBLEM, "U+000A", "--study")
    only(check_place(Path("/work/a\\b"), MOUNTS[5], slurm=True), PROBLEM, "backslash")
    only(check_place(Path("/work/a"), None, slurm=True), WARNING, "no mount table")


def test_a_folder_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    findings, writable = try_folder(Asker(), tmp_path)
    assert writable and list(tmp_path.iterdir()) == []
    assert any("write, rename, link and flock work" in finding.found for finding in findings)


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    findings, writable = try_folder(Asker(), tmp_path / "none")
    assert not writable
    only(findings, PROBLEM, "No such file", "--output-dir")


def test_a_folder_that_may_not_be_written() -> None:
    findings, writable = try_folder(Asker(), Path("/proc"))
    assert not writable
    only([finding for finding in findings if "writing" in finding.looked_at], PROBLEM, "write fails")


def test_a_filesystem_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = tmp_path / "stuck.py"
    stuck.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(trial, "__file__", str(stuck))
    monkeypatch.setattr("agent.launch.doctor.disk.TRIAL_S", 0.5)
    findings, writable = try_folder(Asker(), tmp_path)
    assert not writable
    only(findings, PROBLEM, "no answer within 0.5 s", "hangs")


def tried(**changes: Any) -> list[Finding]:
    good = {"failed": {}, "free_bytes": 2**40, "inodes": 10**7, "free_inodes": 10**6, "skew_s": 0.0}
    return list(check_trial(good | changes, looked="writing in /x"))


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"failed": {"write": "Disk quota exceeded"}}, PROBLEM, ["write fails: Disk quota exceeded", "quota"]),
        ({"failed": {"rename": "Operation not permitted"}}, PROBLEM, ["rename fails"]),
        ({"failed": {"link": "Operation not permitted"}}, PROBLEM, ["link fails", "claim"]),
        ({"failed": {"lock": "No locks available"}}, PROBLEM, ["flock fails: No locks available"]),
        ({"free_bytes": 2**20}, PROBLEM, ["0.0 GiB free", "free some space"]),
        ({"free_bytes": 2**31}, WARNING, ["2.0 GiB free", "quota"]),
        ({"free_inodes": 100}, WARNING, ["only 100 inodes"]),
        ({"skew_s": 90.0}, WARNING, ["90 s behind this machine's"]),
        ({"skew_s": -90.0}, WARNING, ["90 s ahead of"]),
    ],
)
def test_what_a_trial_tells(changes: dict[str, Any], level: Level, words: list[str]) -> None:
    only([finding for finding in tried(**changes) if finding.level is not OK], level, *words)


def test_a_filesystem_without_a_table_of_inodes_is_not_full() -> None:
    assert {finding.level for finding in tried(inodes=0, free_inodes=0)} == {OK}


def test_a_lock_held_elsewhere_is_seen(tmp_path: Path) -> None:
    lock, report = tmp_path / "lock", tmp_path / "report.json"
    lock.touch()
    argv = [sys.executable, "-IS", trial.__file__, str(tmp_path), "--lock", str(lock), "--report", str(report)]
    with lock.open("r+") as held:
        subprocess.run(argv, check=True, timeout=30)
        assert json.loads(report.read_text())["locked_elsewhere"] is False
        fcntl.flock(held, fcntl.LOCK_EX)
        subprocess.run(argv, check=True, timeout=30)
    assert json.loads(report.read_text())["locked_elsewhere"] is True
    assert {path.name for path in tmp_path.iterdir()} == {"lock", "report.json"}


# --- the shell, and the training python ---


def test_variables_that_steer_tasks() -> None:
    shell = {
        "SBATCH_TIMELIMIT": "1",
        "VIRTUAL_ENV": "/secret-place",
        "XDG_RUNTIME_DIR": "/run",
        "OPENAI_API_KEY": "k",
    }
    findings = check_variables(shell, slurm=True)
    only(findings, WARNING, "SBATCH_TIMELIMIT", "unset SBATCH_TIMELIMIT")
    assert only(findings, OK, "not handed to tasks: VIRTUAL_ENV")
    assert not any("secret-place" in f.found or "OPENAI" in f.found or "XDG" in f.found for f in findings)
    assert {finding.level for finding in check_variables(shell, slurm=False)} == {OK}
    only(check_variables({"PYTHONPATH": "/x"}, slurm=True), WARNING, "PYTHONPATH", "`env`")
    only(check_variables({"PATH": "/bin"}, slurm=True), OK, "none that would steer")


def test_inside_of_a_job_and_under_a_cpu_limit() -> None:
    only(check_job({"SLURM_JOB_ID": "77"}), WARNING, "inside of SLURM job 77")
    assert list(check_job({})) == []
    only(check_cpu_limit(900), WARNING, "killed after 900 CPU-seconds", "tick")
    assert list(check_cpu_limit(-1)) == []
    only(check_cpu_limit(10**6), OK, "killed after 1000000")


def test_the_training_python(tmp_path: Path) -> None:
    missing = Profile(python=tmp_path / "venv" / "bin" / "python")
    only(check_interpreter(missing, None, nodes=True), PROBLEM, "no such python", f"uv venv {tmp_path}/venv")
    bare = only(check_interpreter(Profile(python=tmp_path / "python"), None, nodes=True), PROBLEM)
    assert "uv venv" not in bare.change
    findings = list(check_interpreter(Profile(), None, nodes=True))
    assert [finding.level for finding in findings] == [OK, OK] and "cannot be seen from here" in findings[1].found
    absent = replace(TRAINERS["resnet9"], requires=("json", "no_such_module_xyz"))
    only(check_interpreter(Profile(), absent, nodes=False), PROBLEM, "no_such_module_xyz", "uv")
    present = replace(absent, requires=("json",))
    only(check_interpreter(Profile(), present, nodes=False), OK, "imports what resnet9 needs")


def test_nothing_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = Profile(python=tmp_path / "venv" / "bin" / "python", build=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    only(check_interpreter(profile, TRAINERS["resnet9"], nodes=False), PROBLEM, "needs uv")
    (tmp_path / "uv").write_text("#!/bin/sh\ntouch built\n")
    (tmp_path / "uv").chmod(0o755)
    only(check_interpreter(profile, TRAINERS["resnet9"], nodes=False), OK, "before the first submission")
    assert {path.name for path in tmp_path.iterdir()} == {"uv"}


# --- a node's view, without a cluster: its script run by bash here ---


def look(tmp_path: Path, *, hide: bool = False, **changes: Any) -> tuple[int, list[Finding]]:
    """Run the node's script here and read its outcome. hide: the node does not see the folder."""
    inside = tmp_path / "inside dir"
    inside.mkdir()
    (inside / "trial.py").write_text(Path(trial.__file__).read_text())
    (inside / "lock").touch()
    trainer = replace(TRAINERS["resnet9"], requires=("json",))
    given: dict[str, Any] = {"profile": Profile(), "python": Path(sys.executable), "import_root": None} | changes
    wanted = visit.Visit(folder=tmp_path, trainer=given.pop("trainer", trainer), **given)
    text = visit.node_script(wanted, inside, "name")
    if hide:
        inside.rename(tmp_path / "elsewhere")
    done = subprocess.run(["bash", "-s"], input=text, text=True, timeout=60, env={**os.environ, "PYTHONPATH": "/nix"})
    inside = tmp_path / "elsewhere" if hide else inside
    path = inside / "report.json"
    report = json.loads(path.read_text()) if path.exists() else None
    state = {"JobState": "COMPLETED" if done.returncode == 0 else "FAILED", "ExitCode": f"{done.returncode}:0"}
    shown = state | {"NodeList": "n7"}
    return done.returncode, list(visit.outcome(wanted, inside, shown, report, "12"))


ROOT = Path(__file__).parents[3]


def test_a_node_that_sees_everything(tmp_path: Path) -> None:
    code, findings = look(tmp_path, import_root=ROOT)
    assert code == 0, findings
    assert findings[0].level is OK and "imports what resnet9 needs" in findings[0].found


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hide": True}, ["12 on n7", "does not see", "--output-dir"]),
        ({"python": Path("/no/python")}, ["does not see /no/python", "shared"]),
        ({"profile": Profile(setup=("echo no module >&2; exit 9",))}, ["no module", "mend `setup`"]),
        ({"python": Path("/bin/false")}, ["python failed", "by hand"]),
        ({"import_root": Path("/no/checkout")}, ["/no/checkout", "checkout on a shared"]),
        (
            {"import_root": ROOT, "trainer": replace(TRAINERS["resnet9"], requires=("no_such_xyz",))},
            ["no_such_xyz", "ModuleNotFoundError"],
        ),
    ],
)
def test_a_node_that_lacks_something(tmp_path: Path, changes: dict[str, Any], words: list[str]) -> None:
    code, findings = look(tmp_path, **changes)
    assert code in range(41, 48)
    only([finding for finding in findings if finding.looked_at.startswith("a job")], PROBLEM, *words)


def test_the_jobs_own_time_is_short(tmp_path: Path) -> None:
    def lines(profile: Profile) -> str:
        wanted = visit.Visit(folder=tmp_path, profile=profile, python=Path("/p"), import_root=None)
        return visit.node_script(wanted, tmp_path, "n")

    assert "--time=10\n" in lines(Profile(time="04:00:00")) and "04:00" not in lines(Profile(time="04:00:00"))
    assert "--time=5\n" in lines(Profile(time="5"))
    assert "--time" not in lines(Profile()) and "--signal" not in lines(Profile(time="5"))


def test_a_job_that_ended_without_a_word(tmp_path: Path) -> None:
    wanted = visit.Visit(folder=tmp_path, profile=Profile(), python=Path("/p"), import_root=None)
    only(
        visit.outcome(wanted, tmp_path, {"JobState": "NODE_FAIL", "ExitCode": "0:0"}, None, "3"), PROBLEM, "NODE_FAIL"
    )


@pytest.mark.parametrize(
    ("answer", "level", "words"),
    [
        ({"err": "allocation failure: Invalid qos specification\n", "code": 1}, PROBLEM, ["did not take it"]),
        (
            {"err": "sbatch: error: Socket timed out on send/recv\n", "code": 1},
            WARNING,
            ["no clear answer", "ends at"],
        ),
        ({"out": "no number\n"}, WARNING, ["no clear answer"]),
        ({"sleep": 30}, WARNING, ["no clear answer", "within 0.5 s"]),
    ],
)
def test_a_job_that_is_not_taken_leaves_nothing(
    fake: FakeSlurm, tmp_path: Path, answer: dict[str, Any], level: Level, words: list[str]
) -> None:
    fake.answer("sbatch", **answer)
    folder = tmp_path / "study"
    folder.mkdir()
    wanted = visit.Visit(folder=folder, profile=Profile(), python=Path("/p"), import_root=None)
    asker = Asker(fake.environment(), patience_s=10, submit_patience_s=0.5)
    said: list[str] = []
    only(visit.visit_node(asker, wanted, say=said.append), level, *words)
    assert list(folder.iterdir()) == [] and said == []
    assert fake.calls("scancel")[0][0] == "--name", "a job whose answer was lost is cancelled by its name"


def test_a_job_that_never_starts_is_cancelled(fake: FakeSlurm, tmp_path: Path) -> None:
    fake.answer("sbatch", "77\n")
    fake.answer("scontrol", "JobId=77 JobName=x JobState=PENDING Reason=Priority ExitCode=0:0 NodeList=(null)\n")
    wanted = visit.Visit(folder=tmp_path, profile=Profile(), python=Path("/p"), import_root=None, wait_s=10)
    now = iter(range(0, 100, 6))
    findings = visit.visit_node(
        Asker(fake.environment(), patience_s=10),
        wanted,
        say=lambda line: None,
        clock=lambda: float(next(now)),
        sleep=lambda seconds: None,
    )
    only(findings, WARNING, "PENDING (Priority) after 10 s", "longer --wait")
    assert len(fake.calls("scancel")) == 1 and list(tmp_path.glob(".roundtable*")) == []
