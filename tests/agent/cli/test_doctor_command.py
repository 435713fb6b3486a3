"""`roundtable doctor` as a person calls it: without SLURM, with stand-ins, and against a real cluster."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.__main__ import main
from agent.api import TuneOptions
from agent.api.begin import begin
from agent.api.doctor import Report
from agent.cli.doctor import print_table
from agent.launch.doctor.finding import Finding, Level
from tests.cases.fake_slurm import FakeSlurm
from tests.cluster.cluster import Cluster
from tests.cluster.config import ClusterConfig
from tests.cluster.fixtures import require_cluster

NOOP = Path(__file__).parents[2] / "programs" / "noop.yaml"
MESSY = ("SLURM_JOB_ID", "SBATCH_TIMELIMIT", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "PYTHONPATH", "VIRTUAL_ENV")


@pytest.fixture(autouse=True)
def tidy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of whoever runs the tests, and no .env of theirs."""
    for name in MESSY:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def without_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sh").symlink_to("/bin/sh")  # the test trainer's program
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    """Run with --json; the report."""
    capsys.readouterr()
    got = main(["doctor", "--json", *arguments])
    out = capsys.readouterr().out
    report: dict[str, Any] = json.loads(out)
    assert got == code, out
    assert report["ok"] is (code == 0)
    for finding in report["findings"]:
        assert finding["level"] == "ok" or finding["change"], finding
    return report


def levels(report: dict[str, Any], area: str) -> dict[str, str]:
    return {finding["looked_at"]: finding["level"] for finding in report["findings"] if finding["area"] == area}


def found(report: dict[str, Any], level: str) -> list[str]:
    return [f"{f['looked_at']}: {f['found']}" for f in report["findings"] if f["level"] == level]


def study(folder: Path) -> Path:
    options = TuneOptions(
        task="demo", trainer=str(NOOP), output_dir=folder, data={"log": str(folder / "log")}, folds=(0, 1, 2)
    )
    return begin(options).paths.root


# --- no SLURM ---


def test_a_laptop_is_healthy(without_slurm: None, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    report = doctor(capsys, "--output-dir", str(tmp_path / "runs"))
    assert report["launcher"] == "local" and report["problems"] == 0
    assert any("local runs work" in text for text in found(report, "ok"))
    assert not (tmp_path / "runs").exists() and list(tmp_path.glob(".roundtable*")) == []


def test_the_table_as_text(without_slurm: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--launcher", "sbatch"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("problem slurm: programs on PATH: missing: sbatch, squeue, sacct, scancel, scontrol")
    assert lines[1].startswith("        -> run this on a SLURM login node")
    assert lines[-1].startswith("1 problem, ") and lines[-1].endswith("(launcher sbatch)")


def test_the_table_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """What was found is shown as it is: not taken for markup, not cut short."""
    path = "/home/[bold]ada[/bold]/" + "x" * 120
    finding = Finding(level=Level.WARNING, area="disk", looked_at="folder", found=path, change="move")
    print_table(Report(launcher="local", findings=(finding,)))
    out = capsys.readouterr().out
    shown = "".join(line.split("│")[3].strip() for line in out.splitlines() if line.startswith("│"))
    assert shown == path and "0 problems, 1 warning (launcher local)" in out


def test_a_profile_that_local_runs_do_not_know(
    without_slurm: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "p.yaml").write_text("partition: gpu\naccount: lab\n")
    report = doctor(capsys, "--profile", str(tmp_path / "p.yaml"))
    assert any("asks for partition, account" in text for text in found(report, "warning"))


def test_a_study_and_its_program(without_slurm: None, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = study(tmp_path / "runs")
    before = sorted(path.name for path in root.iterdir())
    report = doctor(capsys, "--study", str(root))
    assert levels(report, "agents") == {"models": "ok"}
    assert any(
        text.startswith("training python") and "imports what noop needs" in text for text in found(report, "ok")
    )
    assert sorted(path.name for path in root.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--study", "nope"], ["nope is no study", "there are: none"]),
        (["--profile", "nowhere.yaml"], ["nowhere.yaml", "No such file"]),
        (["--trainer", "resnet8"], ["resnet8", "resnet9"]),
        (["--submit", "--launcher", "local"], ["--submit", "no nodes", "--launcher submitit"]),
        (["--launcher", "pbs"], ["--launcher", "submitit", "sbatch", "local"]),
        (["--wait", "0"], ["--wait", "above 0"]),
    ],
)
def test_wrong_input(
    without_slurm: None, capsys: pytest.CaptureFixture[str], arguments: list[str], named: list[str]
) -> None:
    try:
        code: object = main(["doctor", *arguments])
    except SystemExit as error:
        code = error.code
    message = capsys.readouterr().err
    assert code == 2 and all(word in message for word in named), message


def test_a_study_whose_program_is_not_there(
    without_slurm: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    root = study(tmp_path / "runs")
    (tmp_path / "bin" / "sh").unlink()
    report = doctor(capsys, "--study", str(root), code=1)
    assert any("sh: not found on the PATH" in text for text in found(report, "problem"))


def test_a_strangers_python_is_not_run(
    without_slurm: None, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(TuneOptions(task="demo", trainer=str(NOOP), output_dir=tmp_path, data={"log": str(tmp_path / "log")}))
    study = tmp_path / "demo"
    ran = tmp_path / "ran"
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n: > {ran}\n")
    python.chmod(0o755)
    (study / "profile.yaml").write_text(f"python: {python}\n")
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)
    report = doctor(capsys, "--study", str(study), "--launcher", "local")
    assert levels(report, "training") == {"training python": "warning"} and not ran.exists()


def test_a_study_has_its_own_trainer(without_slurm: None, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["doctor", "--study", str(study(tmp_path / "runs")), "--trainer", "resnet9"]) == 2
    assert "the study has its own" in capsys.readouterr().err


# --- keys ---


def with_models(root: Path, **llm: Any) -> None:
    """A study whose models are these, as tune would have stored them."""
    from agent.llm.config import LLMConfig
    from agent.store.study import Settings

    settings = Settings(launcher="local", proposer="llm", critique=False, llm=LLMConfig(**llm).to_json())
    (root / "settings.json").write_text(json.dumps(settings.plain()))


def test_keys_are_looked_for_and_never_shown(
    without_slurm: None, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = study(tmp_path / "runs")
    with_models(root, provider="anthropic")
    report = doctor(capsys, "--study", str(root), code=1)
    assert levels(report, "agents") == {
        "role analyst (anthropic)": "problem",
        "role autotuner (anthropic)": "problem",
        "role judge (anthropic)": "problem",
    }
    assert all("ANTHROPIC_API_KEY" in text for text in found(report, "problem"))
    monkeypatch.setenv("ROUNDTABLE_ANALYST_API_KEY", "sk-secret-1")
    (tmp_path / ".env").write_text("ANTHROPIC_API_KEY=sk-secret-2\n")
    report = doctor(capsys, "--study", str(root))
    texts = [text for text in found(report, "ok") if text.startswith("role")]
    assert len(texts) == 3 and "ROUNDTABLE_ANALYST_API_KEY" in texts[0] and ".env" in texts[1]
    assert "sk-secret" not in json.dumps(report)


def test_a_key_that_cannot_be_one(
    without_slurm: None, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = study(tmp_path / "runs")
    with_models(root, provider="openai")
    monkeypatch.setenv("OPENAI_API_KEY", "two words")
    report = doctor(capsys, "--study", str(root), code=1)
    assert any("white space" in text for text in found(report, "problem"))
    assert "two words" not in json.dumps(report)


def test_a_script_that_is_gone(without_slurm: None, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = study(tmp_path / "runs")
    with_models(root, provider="scripted", script=str(tmp_path / "gone.yaml"))
    report = doctor(capsys, "--study", str(root), code=1)
    assert any("gone.yaml: there is no such file" in text for text in found(report, "problem"))


def test_without_a_study_the_providers_with_keys_are_named(
    without_slurm: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    report = doctor(capsys)
    assert any("keys are there for openai" in text for text in found(report, "ok"))
    assert "sk-secret" not in json.dumps(report)


# --- stand-ins: what a healthy cluster does not answer ---


def test_garbage_from_every_program(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is made of it, and nothing breaks."""
    fake = FakeSlurm(tmp_path / "fake")
    for name in ("sinfo", "sacctmgr"):
        (fake.folder / name).write_text((fake.folder / "sacct").read_text())
        (fake.folder / name).chmod(0o755)
    for name in ("sbatch", "squeue", "sacct", "scancel", "srun", "sinfo", "sacctmgr"):
        fake.answer(name, "\x1b[31m|||=\x00 ¡garbage!\n")
    fake.answer("scontrol", "Slurmctld(primary) at vm is UP\nClusterName = c\nMaxArraySize = ?\nPartitionName\n")
    monkeypatch.setenv("PATH", fake.environment()["PATH"])
    report = doctor(capsys, "--launcher", "sbatch")
    assert {text.split(":")[0] for text in found(report, "warning")} >= {"MaxArraySize", "partitions"}
    assert "\x1b" not in json.dumps(report, ensure_ascii=False)


def test_a_controller_that_is_down_is_asked_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeSlurm(tmp_path / "fake")
    fake.answer("scontrol", "Slurmctld(primary) at vm is DOWN\n", code=1)
    monkeypatch.setenv("PATH", fake.environment()["PATH"])
    report = doctor(capsys, "--launcher", "sbatch", "--submit", code=1)
    assert [call for call in fake.calls("scontrol") if call != ["--version"]] == [["ping"]]
    assert [call for call in fake.calls("sbatch") if call != ["--version"]] == []
    assert any("not submitted: SLURM does not answer" in text for text in found(report, "warning"))


# --- the real thing ---


@pytest.fixture
def profile(tmp_path: Path) -> Any:
    def write(text: str) -> str:
        path = tmp_path / "p.yaml"
        path.write_text(text)
        return str(path)

    return write


def queue_is_empty(cluster: Cluster) -> bool:
    return cluster.run(["squeue", "-h"], check=True).stdout == ""


def test_a_study_on_a_real_cluster(
    slurm: Cluster, capsys: pytest.CaptureFixture[str], tmp_path: Path, profile: Any
) -> None:
    """The tiny job tells what a node sees, and leaves nothing."""
    root = study(tmp_path / "runs of me")
    text = f"partition: gpu\ntime: 5\ngpus: 1\nmem: 100\npython: {sys.executable}\neval: {{gpus: 0}}\n"
    before = sorted(path.name for path in root.iterdir())
    report = doctor(capsys, "--study", str(root), "--profile", profile(text), "--launcher", "sbatch", "--submit")
    assert levels(report, "cluster")["controller"] == "ok"
    assert levels(report, "cluster")["accounting (sacct)"] == "ok"
    checked = levels(report, "profile")
    assert set(checked.values()) == {"ok"}
    assert {"sbatch --test-only (train)", "sbatch --test-only (eval)", "gpus (train)", "time (eval)"} <= set(checked)
    node = [f for f in report["findings"] if f["area"] == "node"]
    assert [f["level"] for f in node] == ["ok", "ok"], node
    assert "on n1" in node[0]["looked_at"] and "imports what noop needs" in node[0]["found"]
    assert "a lock held here is seen" in node[1]["found"]
    assert queue_is_empty(slurm) and sorted(path.name for path in root.iterdir()) == before


def test_line_7_the_shells_variables_do_not_reach_the_dry_run(
    slurm: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, profile: Any
) -> None:
    monkeypatch.setenv("SBATCH_PARTITION", "nowhere")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    report = doctor(capsys, "--profile", profile("time: 5\n"), "--launcher", "sbatch")
    assert levels(report, "profile")["sbatch --test-only (train)"] == "ok"
    assert levels(report, "environment")["inside of a job"] == "warning"
    assert levels(report, "environment")["SBATCH_* variables"] == "warning"


@pytest.mark.parametrize(
    ("text", "looked_at"),
    [
        ("partition: nowhere\n", "partition (train)"),
        ("gpus: 5\ntime: 5\n", "gpus (train)"),
        ("gres: tpu:1\ntime: 5\n", "gpus (train)"),
        ("cpus: 9\ntime: 5\n", "cpus (train)"),
        ("mem: 900G\ntime: 5\n", "mem (train)"),
        ("constraint: a100\ntime: 5\n", "constraint (train)"),
    ],
)
def test_what_doctor_reads_sbatch_refuses_too(
    slurm: Cluster, capsys: pytest.CaptureFixture[str], profile: Any, text: str, looked_at: str
) -> None:
    report = doctor(capsys, "--profile", profile(text), "--launcher", "sbatch", code=1)
    problems = {name for name, level in levels(report, "profile").items() if level == "problem"}
    expected = {looked_at, "sbatch --test-only (train)"}
    if looked_at in ("partition (train)", "constraint (train)"):
        # What the evaluation goes by as well; of CPUs, memory and GPUs it asks for less.
        expected |= {name.replace("(train)", "(eval)") for name in expected}
    assert problems == expected


def test_a_node_without_the_training_python(slurm: Cluster, capsys: pytest.CaptureFixture[str], profile: Any) -> None:
    given = profile("time: 5\npython: /no/python\n")
    report = doctor(capsys, "--profile", given, "--launcher", "sbatch", "--submit", code=1)
    assert any("the node does not see /no/python" in text for text in found(report, "problem"))
    assert queue_is_empty(slurm)


@pytest.fixture(scope="module")
def odd() -> Iterator[Cluster]:
    """No accounting, small arrays, jobs soon forgotten, a partition of ten minutes, memory shared out."""
    config = ClusterConfig(accounting=False, max_array_size=11, min_job_age_s=2)
    require_cluster(config)
    standing = os.environ.pop("SLURM_CONF", None)
    try:
        with Cluster(config) as cluster, cluster.exported():
            cluster.run(["scontrol", "create", "PartitionName=short", "Nodes=ALL", "MaxTime=10"], check=True)
            yield cluster
    finally:
        if standing is not None:
            os.environ["SLURM_CONF"] = standing


def test_line_25_a_cluster_without_accounting(
    odd: Cluster, capsys: pytest.CaptureFixture[str], tmp_path: Path, profile: Any
) -> None:
    root = study(tmp_path / "runs")
    given = profile("partition: short\ntime: 20\n")
    report = doctor(capsys, "--study", str(root), "--profile", given, "--launcher", "sbatch", code=1)
    assert levels(report, "cluster")["accounting (sacct)"] == "warning"
    assert levels(report, "cluster")["MinJobAge"] == "warning"
    assert any("a round's 3 rows fit in one array" in text for text in found(report, "ok"))
    # sbatch alone would have taken it, and it would have waited for ever.
    assert levels(report, "profile")["time (train)"] == "problem"
    assert levels(report, "profile")["sbatch --test-only (train)"] == "ok"


def test_a_tiny_job_where_ended_jobs_are_forgotten(
    odd: Cluster, capsys: pytest.CaptureFixture[str], profile: Any
) -> None:
    report = doctor(capsys, "--profile", profile("time: 5\n"), "--launcher", "sbatch", "--submit")
    assert any("sees the folder" in text for text in found(report, "ok"))


def test_nodes_that_take_nothing(odd: Cluster, capsys: pytest.CaptureFixture[str], profile: Any) -> None:
    odd.run(["scontrol", "update", "NodeName=n1", "State=DRAIN", "Reason=test"], check=True)
    try:
        arguments = ("--profile", profile("time: 5\n"), "--launcher", "sbatch", "--submit", "--wait", "2")
        report = doctor(capsys, *arguments)
    finally:
        odd.run(["scontrol", "update", "NodeName=n1", "State=RESUME"], check=True)
    assert levels(report, "profile")["nodes (train)"] == "warning"
    assert any("was PENDING" in text and "cancelled" in text for text in found(report, "warning"))
    odd.wait_for(lambda: queue_is_empty(odd), 10)


def test_a_frozen_controller(odd: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    odd.pause("slurmctld")
    try:
        report = doctor(capsys, "--launcher", "sbatch", code=1)
    finally:
        odd.resume("slurmctld")
    assert any("does not answer" in text and "DOWN" in text for text in found(report, "problem"))
