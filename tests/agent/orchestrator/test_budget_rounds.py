"""Hours through whole rounds: said and held before a submission, charged once, refunded from accounting."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TypeVar

import pytest

from agent.api import tick_once, tune
from agent.api.begin import begin
from agent.api.steer import collect_round
from agent.errors import BudgetExceeded, RoundtableError, UsageError
from agent.launch.base import Batch, SlurmSettings, State
from agent.launch.sbatch import SbatchLauncher
from agent.launch.scheduler import Pace, SlurmReader
from agent.report.hours import hours, hours_lines
from agent.store.disk import Disk
from agent.store.events import Charged, Event, Intent, OverBudget, Refunded, Submitted
from agent.store.store import Store
from agent.store.study import Settings
from tests.agent.orchestrator.conftest import Lab
from tests.agent.orchestrator.test_rounds import edit
from tests.cluster.cluster import Cluster
from tests.cluster.config import ClusterConfig
from tests.cluster.fixtures import require_cluster

E = TypeVar("E", bound=Event)


def write_profile(folder: Path, text: str) -> Path:
    path = folder / "profile.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    return write_profile(tmp_path, 'cpus: 1\ntime: "02:00:00"\n')


def events(store: Store, *kinds: type[E]) -> list[E]:
    return list(store.journal.of(*kinds))


def check_charged_once(store: Store) -> None:
    made = Counter(entry.name for entry in events(store, Submitted))
    charged = Counter(entry.name for entry in events(store, Charged))
    assert made == charged
    assert set(made.values()) == {1}


# -- the local launcher ---------------------------------------------------------------------------------------------


def test_line_34_the_worst_case_is_said_before_the_submission(lab: Lab, profile: Path) -> None:
    lab.tune(candidates=3, profile=profile, max_cpu_hours=100, max_rounds=2)
    told = [line for line in lab.lines if "at most" in line]
    worst = "3 rows x 2 h x 1 CPU + 1 x 1 h x 1 CPU = at most 7 CPU-hours"
    assert told[0] == f"round 1: {worst}; 0 of 100 spent"
    # Round 1 took seconds, and accounting has told so by now.
    assert told[1] == f"round 2: {worst}; under 0.01 of 100 spent"
    assert len(told) == 2


def test_line_36_charged_at_submission_and_refunded_when_the_rows_have_ended(lab: Lab, profile: Path) -> None:
    lab.tune(candidates=2, profile=profile)
    store = lab.store()
    check_charged_once(store)
    first = events(store, Charged)[0]
    assert (first.rows, first.cpu_hours, first.gpu_hours, first.limit_s) == (2, 4.0, 0.0, 7200)
    ledger = store.ledger()
    assert ledger.unaccounted() == {}
    assert 0 < ledger.balance("cpu").spent < 0.1
    view = hours(store)
    assert view["cpu"]["committed"] == 0
    assert view["unaccounted"] == []


def test_a_cap_refuses_before_anything_is_submitted_and_a_higher_one_goes_on(lab: Lab, profile: Path) -> None:
    with pytest.raises(BudgetExceeded, match=r"round 1 is not submitted: .* 7 CPU-hours, but 0 of 6 spent"):
        lab.tune(candidates=3, profile=profile, max_cpu_hours=6)
    store = lab.store()
    assert lab.trained == []
    assert events(store, Intent, Submitted, Charged) == []
    paths = store.open_folder()
    assert paths is not None
    # cron looks again and again: the same refusal, journaled once.
    for _ in range(2):
        with pytest.raises(BudgetExceeded):
            tick_once(store)
    store = lab.store()
    assert len(events(store, OverBudget)) == 1
    assert "the round stays open" in hours(store)["paused"]
    assert lab.tune(candidates=3, max_cpu_hours=7).closed == 1
    store = lab.store()
    assert [p.root.name for p in store.closed()] == [paths.root.name]
    assert hours(store)["paused"] is None


def test_a_cap_without_a_time_limit_says_what_to_do(lab: Lab) -> None:
    with pytest.raises(BudgetExceeded, match=r"no time limit.*set `time` in the cluster profile"):
        lab.tune(max_cpu_hours=5)
    assert lab.trained == []


def test_no_gpu_needs_no_limit_under_a_cap_on_gpus(lab: Lab) -> None:
    assert lab.tune(max_gpu_hours=1).closed == 1


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("event", ["charge", "submitted", "refund"])
def test_a_kill_around_an_entry_charges_and_refunds_once(lab: Lab, profile: Path, event: str, when: str) -> None:
    class Cut(Exception):
        pass

    class Cutting(Disk):
        def append(self, path: Path, line: str) -> None:
            mine = path.name == "journal.jsonl" and json.loads(line)["event"] == event
            if mine and when == "before":
                raise Cut
            super().append(path, line)
            if mine:
                raise Cut

    options = lab.options(candidates=2, profile=profile, max_iterations=1)
    with pytest.raises(Cut):
        tune(options, disk=Cutting())
    tune(options)
    store = lab.store()
    check_charged_once(store)
    assert len(lab.trained) == 2
    assert store.ledger().unaccounted() == {}
    refunded = Counter((e.name, item) for e in events(store, Refunded) for item in e.seconds)
    assert set(refunded.values()) == {1}


def test_an_adopted_submission_is_charged_as_it_was_asked_for(lab: Lab, profile: Path) -> None:
    """Killed after the launch; the next call brings another profile, which the running tasks know nothing of."""

    class Cut(Exception):
        pass

    class Cutting(Disk):
        def append(self, path: Path, line: str) -> None:
            if path.name == "journal.jsonl" and json.loads(line)["event"] == "charge":
                raise Cut
            super().append(path, line)

    with pytest.raises(Cut):
        tune(lab.options(profile=profile, max_iterations=1), disk=Cutting())
    other = write_profile(lab.root, 'cpus: 1\ntime: "00:09:00"\n')
    tune(lab.options(profile=other, max_iterations=1))
    charged = events(lab.store(), Charged)
    assert [(entry.kind, entry.limit_s) for entry in charged] == [("train", 7200), ("eval", 540)]


def test_no_round_is_opened_after_the_studys_time(lab: Lab) -> None:
    outcome = lab.tune(max_rounds=3, max_hours=1e-6)
    assert outcome.closed == 1
    assert lab.said("no new round: --max-hours 1e-06 since the study's first submission are over")
    with pytest.raises(BudgetExceeded, match="no new round"):
        lab.tune(force_round=1)
    assert lab.tune(max_rounds=1, max_hours=24).closed == 1


def test_status_tells_of_hours(lab: Lab, profile: Path) -> None:
    lab.tune(profile=profile, max_cpu_hours=50)
    view = hours(lab.store())
    assert view["cpu"]["cap"] == 50
    assert view["cpu"]["left"] == pytest.approx(50 - view["cpu"]["spent"])
    assert hours_lines(view) == ["CPU-hours: under 0.01 of 50 spent"]


# -- a real cluster -------------------------------------------------------------------------------------------------


def elapsed_by_sacct(slurm: Cluster, job: str) -> dict[str, float]:
    """JobID -> seconds of all its runs, as a person would add them up."""
    argv = ["sacct", "-D", "-X", "-n", "-P", "-j", job, "--format=JobID,ElapsedRaw"]
    total: dict[str, float] = {}
    for line in slurm.run(argv, check=True).stdout.splitlines():
        task, seconds = line.split("|")
        total[task] = total.get(task, 0.0) + float(seconds)
    return total


def settled(lab: Lab, slurm: Cluster) -> Store:
    """The study when accounting has told of every task, by ticks alone."""

    def look() -> bool:
        tick_once(lab.store())
        return not lab.store().ledger().unaccounted()

    slurm.wait_for(look, timeout=30, interval=0.5)
    return lab.store()


@pytest.mark.cluster
@pytest.mark.parametrize("launcher", ["sbatch", "submitit"])
def test_line_36_the_ledger_is_within_a_second_of_sacct(lab: Lab, slurm: Cluster, launcher: str) -> None:
    profile = write_profile(lab.root, 'partition: gpu\ngpus: 1\ncpus: 1\ntime: "00:10:00"\n')
    store = begin(lab.options())
    edit(store.paths.reference, "mode", "slow")
    lab.tune(launcher=launcher, profile=profile, candidates=3, poll_s=0.3, max_gpu_hours=10)
    assert lab.said("round 1: 3 rows x 10 min x 1 GPU = at most 0.5 GPU-hours; 0 of 10 spent")
    store = settled(lab, slurm)
    check_charged_once(store)
    ledger = store.ledger()
    spent = 0.0
    for entry in events(store, Submitted):
        told = elapsed_by_sacct(slurm, entry.job_id)
        for item, task in zip(entry.items, entry.tasks, strict=True):
            assert ledger.seconds(entry.name)[item] == pytest.approx(told[task], abs=1)
            spent += told[task] / 3600
    assert spent * 3600 > 2.5  # three rows of a second, by whole seconds
    assert ledger.balance("gpu").spent == pytest.approx(spent, abs=6 / 3600)
    assert hours(store)["gpu"]["left"] == pytest.approx(10 - ledger.balance("gpu").spent)


@pytest.mark.cluster
def test_line_36_every_run_of_a_requeued_task_counts(tmp_path: Path, slurm: Cluster) -> None:
    script = tmp_path / "train.slurm"
    script.write_text("#!/bin/bash\nsleep 2\n")
    wanted = (("partition", "main"), ("time", "5"), ("requeue", None))
    batch = Batch(
        name="rt-requeued-train",
        kind="train",
        round_dir=tmp_path,
        script=script,
        array_script=script,
        items=(0, 1),
        settings=SlurmSettings(directives=wanted),
    )
    launcher = SbatchLauncher(SlurmReader(Pace(interval_s=0.2)))
    made = launcher.submit(batch)
    key = (made.name, 0)
    slurm.wait_for(lambda: launcher.poll([made])[key].state is State.RUNNING)
    slurm.wait_for(lambda: (launcher.poll([made])[key].elapsed_s or 0) >= 1)
    slurm.run(["scontrol", "requeue", made.tasks[0]], check=True)
    assert key not in launcher.elapsed([made])
    slurm.wait_for(lambda: len(launcher.elapsed([made])) == 2, timeout=60, interval=0.3)
    runs = slurm.run(
        ["sacct", "-D", "-X", "-n", "-P", "-j", made.tasks[0], "--format=ElapsedRaw"], check=True
    ).stdout.split()
    assert len(runs) == 2
    told = elapsed_by_sacct(slurm, made.job_id)
    assert launcher.elapsed([made]) == {(made.name, item): told[task] for item, task in enumerate(made.tasks)}
    assert told[made.tasks[0]] == sum(map(float, runs))


@pytest.mark.cluster
def test_line_36_hours_that_accounting_learned_late_are_refunded_by_collect(
    lab: Lab, slurm: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sacct lags, and is asked once a minute: a study's last evaluation is seldom accounted for when it ends."""
    profile = write_profile(lab.root, 'partition: main\ncpus: 1\ntime: "00:30:00"\n')
    shim = lab.root / "bin" / "sacct"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\necho 'Slurm accounting storage is disabled' >&2\nexit 1\n")
    shim.chmod(0o755)
    begin(lab.options()).put_settings(Settings(result_grace_s=0.5))
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(shim.parent), prepend=":")
        lab.tune(launcher="sbatch", profile=profile, candidates=2, poll_s=0.3)
    root = lab.store().paths.root
    assert sum(map(len, lab.store().ledger().unaccounted().values())) == 3

    def all_known() -> bool:
        collect_round(root, say=lab.lines.append)
        return not lab.store().ledger().unaccounted()

    slurm.wait_for(all_known, timeout=60, interval=0.5)
    assert lab.lines[-1] == "no round is open; all hours are known"
    assert hours(lab.store())["cpu"]["committed"] == 0
    with pytest.raises(UsageError, match="no round is open"):
        collect_round(root)


@pytest.mark.cluster
def test_a_task_on_a_node_of_its_own_is_charged_for_all_of_it(lab: Lab, slurm: Cluster) -> None:
    """--exclusive (and MaxMemPerCPU) raise what was asked for; accounting says to what."""
    text = 'partition: main\ncpus: 1\ntime: "00:30:00"\nextra: {exclusive: true}\n'
    lab.tune(launcher="sbatch", profile=write_profile(lab.root, text), poll_s=0.3)
    root = lab.store().paths.root

    def all_known() -> bool:
        if lab.store().ledger().unaccounted():
            collect_round(root, say=lab.lines.append)
        return not lab.store().ledger().unaccounted()

    slurm.wait_for(all_known, timeout=60, interval=0.5)
    journal = lab.store().journal
    made = {entry.kind: entry for entry in journal.of(Submitted)}
    held = {entry.name: entry.held for entry in journal.of(Refunded)}
    seconds = elapsed_by_sacct(slurm, made["train"].job_id)[made["train"].tasks[0]]
    assert held[made["train"].name][0]["cpu"] == pytest.approx(8 * seconds, abs=8)
    # The evaluation folds files together and does not ask for a node of its own.
    folding = elapsed_by_sacct(slurm, made["eval"].job_id)[made["eval"].tasks[0]]
    assert held[made["eval"].name][0]["cpu"] == pytest.approx(folding, abs=1)
    spent = hours(lab.store())["cpu"]["spent"]
    assert spent == pytest.approx(sum(each[0]["cpu"] for each in held.values()) / 3600, abs=1e-4)


@pytest.mark.cluster
def test_line_36_without_accounting_rows_stay_at_the_declared_charge(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ClusterConfig(accounting=False)
    require_cluster(config)
    profile = write_profile(lab.root, 'partition: main\ncpus: 2\ntime: "00:30:00"\n')
    monkeypatch.delenv("SLURM_CONF", raising=False)  # the session's cluster
    with Cluster(config) as cluster, cluster.exported():
        begin(lab.options()).put_settings(Settings(result_grace_s=0.5))
        lab.tune(launcher="sbatch", profile=profile, candidates=2, poll_s=0.3, max_cpu_hours=6)
        tick_once(lab.store())
        store = lab.store()
        view = hours(store)
        # Two rows of half an hour with two CPUs, and their evaluation of half an hour with one.
        assert (view["cpu"]["spent"], view["cpu"]["committed"], view["cpu"]["left"]) == (0, 2.5, 3.5)
        assert [entry["rows"] for entry in view["unaccounted"]] == [[0, 1], [0]]
        words = "3 tasks that ended are not accounted for and count as declared (`collect` asks again):"
        assert words in hours_lines(view)
        with pytest.raises(BudgetExceeded, match=r"2\.5 committed: 3\.5 are left"):
            lab.tune(launcher="sbatch", candidates=4, poll_s=0.3)


@pytest.mark.cluster
def test_a_cluster_that_is_asked_nothing_else_refuses_nothing(lab: Lab, slurm: Cluster) -> None:
    """No cap, no limit: it is said once, and the study runs."""
    profile = write_profile(lab.root, "partition: main\ncpus: 1\n")
    lab.tune(launcher="sbatch", profile=profile, poll_s=0.3, max_rounds=2)
    told = [line for line in lab.lines if "no time limit" in line]
    assert len(told) == 1
    assert "an unknown number of CPU-hours" in told[0]
    with pytest.raises(RoundtableError, match="no time limit"):
        lab.tune(launcher="sbatch", poll_s=0.3, max_cpu_hours=10)


def test_a_local_study_is_charged_for_the_cpu_time_that_its_tasks_used(lab: Lab) -> None:
    lab.tune(max_rounds=1, candidates=2)
    journal = lab.store().journal
    charged = {entry.name: set(entry.items) for entry in journal.of(Charged)}
    refunds = {entry.name: entry for entry in journal.of(Refunded)}
    assert refunds.keys() == charged.keys(), "the evaluation's task is accounted for, too"
    for name, entry in refunds.items():
        assert set(entry.seconds) == set(entry.held) == charged[name]
        assert all(held["cpu"] > 0 for held in entry.held.values())
