"""Results that come late, ids that SLURM gives out again, rows that somebody else has claimed."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.api import tick_once, tune
from agent.api.begin import begin
from agent.api.steer import collect_round
from agent.errors import MissingResults, RoundCancelled
from agent.store.events import AttemptEnded, Event, ResultMissing, Submitted, WaveSubmitted
from agent.store.store import Store
from agent.store.study import Settings
from tests.agent.orchestrator.conftest import Lab
from tests.cluster.cluster import Cluster
from tests.cluster.config import ClusterConfig
from tests.cluster.fixtures import require_cluster
from tests.faults.case_limits import assert_sound, ends, hurry, profile
from tests.faults.case_limits import drained as drained
from tests.faults.case_limits import lab as lab
from trainers.yaml_file import dump_yaml

ROOT = Path(__file__).parents[2]


# -- late results --------------------------------------------------------------------------------------------------


class SlowFiles:
    """A shared filesystem on which the first attempt's result does not show until it is told to."""

    def __init__(self, lab: Lab, *, then: str = "true") -> None:
        """then: what later attempts do before they begin."""
        self.lab = lab
        self.hidden = lab.root / "hidden"
        self.hidden.mkdir()
        script = lab.root / "hide.sh"
        script.write_text(f"""
cd "$(dirname "$0")"
PYTHONPATH={ROOT} {sys.executable} -m trainers.job train --round-dir . --row "$roundtable_item" --attempt 1
for file in trials/c00_f0_s"$roundtable_item"/attempt_1/{{result,exit}}.json; do
    mkdir -p "{self.hidden}/$(dirname "$file")" && mv "$file" "{self.hidden}/$file"
done
exit 0
""")
        first = f'if [[ "$0" = */train_* && "$roundtable_attempt" = 1 ]]; then . "{script}"; fi'
        self.setup = [first, f'if [[ "$0" = */train_* ]]; then {then}; fi']

    def show(self, store: Store) -> None:
        """The files appear."""
        [folder] = store.paths.root.glob("round_1_*")
        shutil.copytree(self.hidden, folder, dirs_exist_ok=True)


def when(kind: type[Event], then: Callable[[Store], None]) -> Callable[[Store, Any], None]:
    """A watcher that does something once the journal has such an event."""
    done: list[Event] = []

    def watch(store: Store, report: Any) -> None:
        if not done and (event := store.journal.last(kind)) is not None:
            done.append(event)
            then(store)

    return watch


def arrays(lab: Lab) -> list[tuple[int, list[int]]]:
    return [(e.attempt, list(e.items)) for e in lab.store().journal.of(Submitted) if e.kind == "train"]


@pytest.mark.cluster
def test_line_22_a_result_that_appears_within_the_grace_period_is_taken(lab: Lab, drained: Cluster) -> None:
    files = SlowFiles(lab)
    hurry(lab, seeds=2, result_grace_s=60.0)
    options = lab.options(launcher="sbatch", profile=profile(lab, setup=files.setup), seeds=(0, 1), poll_s=0.3)
    assert tune(options, watch=when(ResultMissing, files.show)).closed == 1
    assert ends(lab) == [] and arrays(lab) == [(1, [0, 1])]
    assert sorted(lab.trained) == ["1 c00 0 0", "1 c00 0 1"]
    assert_sound(lab, drained)


@pytest.mark.cluster
def test_line_22_a_result_that_appears_after_it_counts_and_its_retry_is_stopped(lab: Lab, drained: Cluster) -> None:
    """Nothing that was finished is lost, and nothing goes on for a row that has its result."""
    files = SlowFiles(lab, then="sleep 600")
    hurry(lab, seeds=2, result_grace_s=0.3)
    options = lab.options(launcher="sbatch", profile=profile(lab, setup=files.setup), seeds=(0, 1), poll_s=0.3)
    assert tune(options, watch=when(WaveSubmitted, files.show)).closed == 1
    assert ends(lab) == [(0, 1, "no_result"), (1, 1, "no_result")]
    assert arrays(lab) == [(1, [0, 1]), (2, [0, 1])]
    assert sorted(lab.trained) == ["1 c00 0 0", "1 c00 0 1"]
    assert_sound(lab, drained)


# -- ids that are given out again ----------------------------------------------------------------------------------


@pytest.mark.cluster
def test_line_26_an_id_that_slurm_gives_out_again_speaks_for_the_new_job_only(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller loses its state, as after a wrap at MaxJobId: both studies have the same ids in accounting."""
    config = ClusterConfig()
    require_cluster(config)
    other = Lab(tmp_path / "other", [])
    other.root.mkdir()
    with Cluster(config) as cluster:
        monkeypatch.setenv("SLURM_CONF", str(cluster.slurm_conf))
        hurry(other, seeds=2)
        ended = 'if [[ "$0" = */train_* ]]; then scancel "$SLURM_ARRAY_JOB_ID"; sleep 60; fi'
        mine = profile(other, setup=[ended])
        with pytest.raises(RoundCancelled, match="scancel"):
            other.tune(launcher="sbatch", profile=mine, seeds=(0, 1), poll_s=0.3)
        cluster.wait_for(lambda: _collected(other), 60)
        assert ends(other) == [(0, 1, "cancelled"), (1, 1, "cancelled")]
        cluster.kill("slurmctld")
        shutil.rmtree(cluster.state / "slurmctld")
        (cluster.state / "slurmctld").mkdir()
        cluster.restart("slurmctld")
        cluster.wait_for(lambda: "idle" in cluster.run(["sinfo", "-h", "-o", "%T"]).stdout)

        hurry(lab, seeds=2)
        slow = 'if [[ "$0" = */train_* ]]; then sleep 2; fi'
        assert lab.tune(launcher="sbatch", profile=profile(lab, setup=[slow]), seeds=(0, 1), poll_s=0.3).closed == 1
        jobs = [[e.job_id for e in one.store().journal.of(Submitted)] for one in (other, lab)]
        assert set(jobs[0]) & set(jobs[1]), "the ids were not given out again"
        assert ends(lab) == [] and sorted(lab.trained) == ["1 c00 0 0", "1 c00 0 1"]
        cluster.wait_for(lambda: _refunded(lab), 30)
        assert_sound(lab, cluster)


def _collected(lab: Lab) -> bool:
    """Close a cancelled round as it is."""
    try:
        return collect_round(lab.store().paths.root).closed == 1
    except MissingResults:  # its evaluation is still there
        return False


def _refunded(lab: Lab) -> bool:
    """Both rows' seconds are known, and are those of two rows that slept for two seconds each."""
    tick_once(lab.store())
    ledger = lab.store().ledger()
    seconds = [s for name in ledger.charges if "-train-" in name for s in ledger.seconds(name).values()]
    return len(seconds) == 2 and all(2 <= s < 30 for s in seconds)


# -- rows that somebody else has claimed ---------------------------------------------------------------------------


#: Notes that it began, and trains as long as a file is there.
GATED = """
echo "$RT_ROUND $RT_CANDIDATE $RT_FOLD $RT_SEED" >>"$1"
while [ -e "$2" ]; do sleep 0.1; done
echo '{"score": 1}' >"$RT_SUMMARY"
"""


@pytest.mark.cluster
def test_line_02_a_duplicate_that_claimed_a_row_first_is_waited_for(lab: Lab, drained: Cluster) -> None:
    """The same array is in the queue twice, as after an answer that was lost, and the one without a record trains."""
    gate = lab.root / "shut"
    gate.touch()
    (lab.root / "gated.sh").write_text(GATED)
    trainer = {
        "name": "gated",
        "command": ["sh", "gated.sh", "{data.log}", "{data.gate}"],
        "parameters": {"x": {"type": "float", "low": 0, "high": 1, "default": 0.5}},
        "pass_values": ["environment"],
        "objective": {"metric": "score", "direction": "maximize"},
    }
    (lab.root / "gated.yaml").write_text(dump_yaml(trainer))
    data = {"log": str(lab.log), "gate": str(gate)}
    waits = {"launcher": "sbatch", "auto_train": True, "poll_s": 0.3, "result_grace_s": 0.3}
    begin(lab.options(trainer=str(lab.root / "gated.yaml"), data=data, seeds=(0, 1))).put_settings(Settings(**waits))
    profile(lab, extra={"begin": "now+1hour"}).rename(lab.root / "demo" / "profile.yaml")
    tick_once(lab.store())
    array, evaluation = lab.store().journal.of(Submitted)
    [script] = (lab.root / "demo").glob("round_1_*/train_*.slurm")
    again = [f"--job-name={array.name}", "--array=0-1", "--begin=now", "--partition=main", "--no-requeue"]
    twin = ["sbatch", *again, "--cpus-per-task=1", f"--output={lab.root}/twin.log", str(script), "0", "1"]
    drained.run(twin, check=True)
    drained.wait_for(lambda: len(lab.trained) == 2, 30)
    for job in (array.job_id, evaluation.job_id):
        drained.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=True)

    def ours_ended() -> bool:
        shown = drained.run(["squeue", "-h", "-r", "-t", "all", "-j", array.job_id, "-o", "%T"]).stdout
        return shown.split() == ["COMPLETED"] * 2

    drained.wait_for(ours_ended, 30)
    for _ in range(3):
        assert tick_once(lab.store()).state == "waiting"
        time.sleep(0.4)
    assert ends(lab) == []
    # The evaluation that was chained behind our array came too early; the next one starts at once.
    profile(lab, extra={"begin": "now"}).rename(lab.root / "demo" / "profile.yaml")
    gate.unlink()
    drained.wait_for(lambda: tick_once(lab.store()).state == "finished", 60, interval=0.3)
    assert ends(lab) == [] and arrays(lab) == [(1, [0, 1])]
    assert sorted(lab.trained) == ["1 c00 0 0", "1 c00 0 1"]
    assert_sound(lab, drained)


def test_line_03_a_claim_of_another_host_costs_an_attempt_and_is_told(lab: Lab) -> None:
    """Somebody on another machine claimed the row and left nothing: that attempt is theirs, the next one is ours."""
    hurry(lab)
    claim = {"task": "process:elsewhere:1", "restart": 0, "host": "elsewhere", "pid": 1, "started": 1, "boot": "b"}
    folder = '"$(dirname "$0")"/trials/c00_f0_s0/attempt_1'
    put = f"mkdir -p {folder}; echo '{json.dumps(claim)}' >{folder}/claim.json"
    line = f'if [[ "$0" = */train_* && "$roundtable_attempt" = 1 ]]; then {put}; fi'
    assert lab.tune(profile=profile(lab, setup=[line])).closed == 1
    [entry] = lab.store().journal.of(AttemptEnded)
    assert entry.outcome == "no_result" and "claimed by process:elsewhere:1 on elsewhere" in entry.evidence
    assert lab.trained == ["1 c00 0 0"]
    assert_sound(lab)
