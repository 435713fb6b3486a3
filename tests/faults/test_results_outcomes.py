"""Rows that a trainer itself gives up, on a real cluster. All that a scheduler ends is in
tests/agent/orchestrator/test_policy_rounds.py.
"""

from __future__ import annotations

import json

import pytest

from agent.api import Study
from agent.api.begin import begin
from agent.store.events import Submitted
from agent.store.study import Settings
from tests.agent.orchestrator.conftest import Lab
from tests.cluster.cluster import Cluster
from tests.faults.case_limits import assert_sound, ends, profile
from tests.faults.case_limits import drained as drained
from tests.faults.case_limits import lab as lab
from trainers.yaml_file import dump_yaml

PROGRAM = """
echo "$RT_ROUND $RT_CANDIDATE $RT_FOLD $RT_SEED" >>"$1"
case "$RT_SEED" in
    1) exit 77 ;;
    2) echo "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB" >&2; exit 1 ;;
    3) echo "the loss is nan" >&2; exit 3 ;;
    4) echo '{"score": ' >"$RT_SUMMARY"; exit 0 ;;
    5) exit 0 ;;
    6) kill -SEGV $$ ;;
esac
echo '{"score": 0.5}' >"$RT_SUMMARY"
"""


@pytest.mark.cluster
def test_line_28_what_a_trainer_says_of_its_end_is_knowledge_or_a_crash_and_never_a_score(
    lab: Lab, drained: Cluster
) -> None:
    """CUDA out of memory by exit code and by words, refused settings, half a summary, none, and a fault."""
    (lab.root / "ends.sh").write_text(PROGRAM)
    trainer = {
        "name": "ends",
        "command": ["sh", "ends.sh", "{data.log}"],
        "parameters": {"x": {"type": "float", "low": 0, "high": 1, "default": 0.5}},
        "pass_values": ["environment"],
        "objective": {"metric": "score", "direction": "maximize"},
        "out_of_memory": {"exit_codes": [77], "output_contains": ["CUDA out of memory"]},
        "bad_config": {"exit_codes": [3]},
    }
    (lab.root / "ends.yaml").write_text(dump_yaml(trainer))
    options = {"trainer": str(lab.root / "ends.yaml"), "seeds": tuple(range(7))}
    begin(lab.options(**options)).put_settings(Settings(result_grace_s=8.0))
    assert lab.tune(launcher="sbatch", profile=profile(lab), poll_s=0.3, **options).closed == 1
    [paths] = lab.store().closed()
    [candidate] = json.loads(paths.closed.read_text())["candidates"]
    told = [trial["outcome"] for trial in candidate["trials"]]
    assert told == ["ok", "gpu_oom", "gpu_oom", "bad_config", "crashed", "crashed", "crashed"]
    assert (candidate["value"], candidate["n"]) == (0.5, 1)
    # None of them is tried again: the same would happen.
    assert [e.items for e in lab.store().journal.of(Submitted) if e.kind == "train"] == [tuple(range(7))]
    assert sorted(lab.trained) == [f"1 c00 0 {seed}" for seed in range(7)]
    assert {outcome for _, _, outcome in ends(lab)} <= {"crashed", "gpu_oom", "bad_config"}
    [seen] = Study(lab.root / "demo").history
    assert seen.value == 0.5
    assert_sound(lab, drained)


def test_line_28_cuda_out_of_memory_reaches_the_proposer_with_its_settings(lab: Lab) -> None:
    (lab.root / "oom.sh").write_text('echo "1 $RT_CANDIDATE 0 0" >>"$1"; echo "CUDA out of memory" >&2; exit 1\n')
    trainer = {
        "name": "oom",
        "command": ["sh", "oom.sh", "{data.log}"],
        "parameters": {"batch_size": {"type": "int", "low": 1, "high": 512, "default": 256}},
        "pass_values": ["environment"],
        "objective": {"metric": "score", "direction": "maximize"},
        "out_of_memory": {"output_contains": ["CUDA out of memory"]},
    }
    (lab.root / "oom.yaml").write_text(dump_yaml(trainer))
    options = {"trainer": str(lab.root / "oom.yaml"), "candidates": 2}
    assert lab.tune(**options).closed == 1
    for seen in Study(lab.root / "demo").history:
        assert str(seen.outcome) == "gpu_oom" and seen.outcome.is_config and seen.value is None
        assert "CUDA out of memory" in seen.message and seen.values["batch_size"] >= 1
    assert sorted(lab.trained) == ["1 c00 0 0", "1 c01 0 0"]
    assert_sound(lab)
