"""Cut, saved and gone on with on a real SLURM: tasks that requeue themselves, and what SLURM itself requeues."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.api import TuneOptions, tick_once
from agent.api.begin import begin
from agent.api.by_hand import ByHand, train_by_hand
from agent.errors import UsageError
from agent.store.events import AttemptEnded, Charged, Submitted
from agent.store.study import Settings
from tests.agent.orchestrator.conftest import Lab, wait_for
from tests.agent.orchestrator.test_rounds import edit
from tests.cluster.cluster import Cluster
from tests.cluster.config import ClusterConfig
from tests.cluster.fixtures import require_cluster
from trainers.layout import AttemptFiles

QUICK = {"result_grace_s": 0.5, "poll_s": 0.3}

#: Works in ten steps and saves each: a row goes on where it was cut. The row of the seed in $4 waits at step 5, until
#: it was cut once; all others end at once.
PROGRAM = """
steps="$1/steps"; touch "$steps"
echo "begins at $(wc -l <"$steps")" >>"$3/row_$2"
trap 'echo saved >>"$3/row_$2"; exit 0' TERM
for step in $(seq $(($(wc -l <"$steps") + 1)) 10); do
    if [ "$step" = 5 ] && [ "$2" = "$4" ] && ! grep -q saved "$3/row_$2"; then
        touch "$3/waits_$2"; for _ in $(seq 1200); do sleep 0.05; done
    fi
    echo "$step" >>"$steps"
done
echo '{"score": 0.5}' >"$1/summary.json"
"""
TRAINER = """
name: stepper
description: Ten steps, each saved.
command: ["sh", "stepper.sh", "{out}", "{seed}", "{data.notes}", "{data.slow}"]
parameters:
  x: {type: float, low: 0.0, high: 1.0, default: 0.5, description: Nothing}
constraints: []
pass_values: [environment]
objective: {metric: score, direction: maximize}
summary: summary.json
seeds: [0]
stop_grace_s: 5
"""


class Bench:
    """A study whose row of one seed waits to be cut."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.notes = lab.root / "notes"
        self.notes.mkdir()
        (lab.root / "stepper.sh").write_text(PROGRAM)
        (lab.root / "stepper.yaml").write_text(TRAINER)

    def begin(self, *, slow: int, seeds: tuple[int, ...], **settings: Any) -> None:
        trainer = str(self.lab.root / "stepper.yaml")
        store = begin(self.lab.options(trainer=trainer, data={"notes": str(self.notes), "slow": slow}, seeds=seeds))
        store.disk.write(store.paths.profile, 'partition: main\ncpus: 1\ntime: "00:10:00"\n')
        store.put_settings(Settings(**({"auto_train": True} | QUICK | settings)))

    def tick(self) -> Any:
        return tick_once(self.lab.store(), say=self.lab.lines.append)

    def attempt(self, seed: int, number: int = 1) -> AttemptFiles:
        store = self.lab.store()
        paths = store.paths.round(store.paths.newest()[-1])
        return paths.attempt("c00", 0, seed, number)

    def story(self, seed: int) -> list[str]:
        return (self.notes / f"row_{seed}").read_text().splitlines()

    def task(self, seed: int) -> str:
        """The row's task as SLURM names it."""
        [made] = [e for e in self.lab.store().journal.of(Submitted) if e.kind == "train"]
        return str(made.tasks[seed])

    def finish(self) -> None:
        wait_for(lambda: self.tick().state == "finished", seconds=120)

    @property
    def outcomes(self) -> list[tuple[int, int, str]]:
        return [(e.row, e.attempt, e.outcome) for e in self.lab.store().journal.of(AttemptEnded)]


@pytest.fixture
def bench(lab: Lab) -> Bench:
    return Bench(lab)


def warn(slurm: Cluster, launcher: str, task: str) -> None:
    """SLURM's warning before the time limit: to the batch shell with B: (sbatch), else to the steps (submitit)."""
    slurm.run(["scancel", *(["--batch"] if launcher == "sbatch" else []), "--signal=USR2", task], check=True)


@pytest.mark.cluster
@pytest.mark.parametrize("seeds", [(0, 1, 2), (0,)], ids=["the array's last task", "a batch of one"])
@pytest.mark.parametrize("launcher", ["sbatch", "submitit"])
def test_line_15_a_task_requeues_itself_and_no_other(
    bench: Bench, slurm: Cluster, launcher: str, seeds: tuple[int, ...]
) -> None:
    """The last task's own id is the array's: requeued by it, every task would run again."""
    slow = seeds[-1]
    bench.begin(slow=slow, seeds=seeds, launcher=launcher, requeue_on_timeout=True)
    bench.tick()
    wait_for((bench.notes / f"waits_{slow}").exists, seconds=60)
    for seed in seeds[:-1]:
        wait_for(bench.attempt(seed).result.exists, seconds=60)
    warn(slurm, launcher, bench.task(slow))
    bench.finish()
    assert bench.story(slow) == ["begins at 0", "saved", "begins at 4"]
    assert all(bench.story(seed) == ["begins at 0"] for seed in seeds[:-1])
    claims = [json.loads(bench.attempt(seed).claim.read_text()) for seed in seeds]
    assert [claim["restart"] for claim in claims] == [0] * (len(seeds) - 1) + [1]
    assert bench.outcomes == [], "the retry policy has no part in it"
    assert not bench.attempt(slow, 2).root.exists()
    made = [e for e in bench.lab.store().journal.of(Submitted) if e.kind == "train"]
    assert len(made) == 1


@pytest.mark.cluster
def test_line_36_the_worst_case_of_tasks_that_requeue_themselves_counts_every_run(
    bench: Bench, slurm: Cluster
) -> None:
    bench.begin(slow=9, seeds=(0, 1), launcher="sbatch", requeue_on_timeout=True)
    bench.finish()
    assert bench.lab.said("2 rows x 5 runs x 10 min x 1 CPU + 1 x 10 min x 1 CPU = at most 1.83 CPU-hours")
    train, evaluation = bench.lab.store().journal.of(Charged)
    assert (train.runs, train.cpu_hours, evaluation.runs) == (5, round(10 / 6, 9), 1)
    assert bench.lab.store().ledger().charges[train.name].request.runs == 5


@pytest.mark.cluster
def test_line_16_slurms_own_warning_reaches_the_trial(bench: Bench, slurm: Cluster) -> None:
    """A limit of one minute and a warning 59 s before it. SLURM gives it when it next looks, up to a minute early."""
    bench.begin(slow=0, seeds=(0,), launcher="sbatch", requeue_on_timeout=True)
    paths = bench.lab.store().paths
    paths.profile.write_text("partition: main\ncpus: 1\ntime: 1\nsignal_seconds: 59\n")
    bench.finish()
    assert bench.story(0)[:2] == ["begins at 0", "saved"] and bench.story(0)[-1] == "begins at 4"
    assert bench.outcomes == [] and not bench.attempt(0, 2).root.exists()


@pytest.mark.cluster
def test_line_14_a_time_out_without_requeue_is_the_policys_and_resumes(bench: Bench, slurm: Cluster) -> None:
    bench.begin(slow=1, seeds=(0, 1), launcher="sbatch")
    bench.tick()
    wait_for((bench.notes / "waits_1").exists, seconds=60)
    warn(slurm, "sbatch", bench.task(1))
    bench.finish()
    assert bench.outcomes == [(1, 1, "timeout")]
    assert json.loads(bench.attempt(1, 2).claim.read_text())["restart"] == 0


@pytest.fixture(scope="module", params=["REQUEUE", "CANCEL"])
def preempting(request: pytest.FixtureRequest) -> Iterator[tuple[Cluster, str]]:
    """A partition `urgent` whose jobs push those of `main` out: back into the queue, or for good."""
    config = ClusterConfig(preemption=True, preempt_mode=request.param)
    require_cluster(config)
    with Cluster(config) as cluster:
        yield cluster, request.param


@pytest.fixture
def pushy(preempting: tuple[Cluster, str], monkeypatch: pytest.MonkeyPatch) -> tuple[Cluster, str]:
    """That cluster, for one test alone: exported for longer, later tests would submit to it and ask the other."""
    monkeypatch.setenv("SLURM_CONF", str(preempting[0].slurm_conf))
    return preempting


@pytest.mark.cluster
@pytest.mark.parametrize("requeues", [False, True], ids=["policy", "requeue"])
def test_line_28_a_preempted_row_goes_on(bench: Bench, pushy: tuple[Cluster, str], requeues: bool) -> None:
    """Where SLURM may requeue it the same attempt goes on; else the policy retries it, for free."""
    cluster, mode = pushy
    bench.begin(slow=0, seeds=(0,), launcher="sbatch", requeue_on_timeout=requeues)
    bench.tick()
    wait_for((bench.notes / "waits_0").exists, seconds=60)
    urgent = ["sbatch", "--partition=urgent", "--exclusive", "--time=1", "--output=/dev/null", "--wrap=sleep 0.2"]
    cluster.run(urgent, check=True)
    bench.finish()
    by_slurm = requeues and mode == "REQUEUE"
    assert bench.outcomes == ([] if by_slurm else [(0, 1, "preempted")])
    last = bench.attempt(0, 1 if by_slurm else 2)
    assert last.result.exists() and json.loads(last.claim.read_text())["restart"] == (1 if by_slurm else 0)
    assert bench.story(0)[:2] == ["begins at 0", "saved"]
    if by_slurm:
        assert bench.story(0)[2:] == ["begins at 4"]


@pytest.mark.cluster
@pytest.mark.train
def test_a_trial_cut_three_times_ends_like_an_uncut_one(tmp_path: Path, slurm: Cluster) -> None:
    """ResNet-9 on real digits: to the last digit of each epoch's metrics, wherever in an epoch it was cut."""
    options = TuneOptions(
        task="digits",
        trainer="resnet9",
        output_dir=tmp_path,
        auto_train=True,
        launcher="sbatch",
        confirm="never",
        epochs=30,
    )
    store = begin(options)
    # Wide and long enough that three looks, each with a scancel, come before its end.
    edit(store.paths.reference, "width", 0.25)
    store.disk.write(store.paths.profile, 'partition: main\ncpus: 1\ntime: "00:10:00"\n')
    store.put_settings(Settings(auto_train=True, launcher="sbatch", requeue_on_timeout=True, **QUICK))
    tick_once(store)
    paths = store.paths.round(store.paths.newest()[-1])
    cut = paths.attempt("c00", 0, 0, 1)
    [made] = [e for e in type(store).open(store.paths.root).journal.of(Submitted) if e.kind == "train"]

    def restarted(times: int) -> bool:
        return cut.claim.exists() and json.loads(cut.claim.read_text())["restart"] == times

    def epoch() -> int:
        return int(json.loads(cut.progress.read_text())["epoch"]) if cut.progress.exists() else 0

    done = 0
    for times in range(3):
        wait_for(lambda times=times, done=done: restarted(times) and epoch() > done, seconds=120)  # type: ignore[misc]
        warn(slurm, "sbatch", made.tasks[0])
        done = epoch()
    wait_for(cut.result.exists, seconds=120)
    assert restarted(3)
    uncut = tmp_path / "uncut"
    alone = ByHand(trainer="resnet9", task="digits", out=uncut, hp_ref=paths.reference("c00"), epochs=30)
    assert train_by_hand(alone, say=print) == 0
    assert _metrics(cut.root) == _metrics(uncut)
    ours, theirs = (json.loads((folder / "result.json").read_text()) for folder in (cut.root, uncut))
    assert ours["metrics"] == theirs["metrics"] and "resumed_from" in ours["notes"]
    wait_for(lambda: tick_once(type(store).open(store.paths.root)).state == "finished", seconds=60)


def _metrics(folder: Path) -> list[dict[str, str]]:
    """metrics_epoch.csv without the seconds, the only thing that may differ."""
    with open(folder / "metrics_epoch.csv", newline="") as stream:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(stream)]


def test_requeueing_needs_a_scheduler(lab: Lab) -> None:
    with pytest.raises(UsageError, match=r"--requeue-on-timeout.*--launcher local"):
        lab.tune(requeue_on_timeout=True)
    assert not (lab.root / "demo").exists(), "refused before anything is written"
