"""How a row ended: every word of SLURM, exit codes, markers and results. Lines are those of the list of facts."""

from __future__ import annotations

from typing import Any

import pytest

from agent.launch.base import State, TaskStatus
from agent.launch.local import _exit_code, _word
from agent.launch.states import STATES
from agent.outcomes import DECISIVE, classify
from agent.records import Outcome
from trainers.manifest import Row
from trainers.results import RowResult

ROW = Row(row=3, candidate="c00", fold=0, seed=0)


def gone(raw: str, exit_code: str = "", node: str = "n1", reason: str = "") -> TaskStatus:
    return TaskStatus(state=State.GONE, raw=raw, exit_code=exit_code, node=node, reason=reason)


def result(outcome: str, message: str = "") -> RowResult:
    return RowResult(row=ROW, attempt=1, outcome=outcome, message=message)


def marker(outcome: str, rc: int, message: str = "") -> dict[str, Any]:
    return {"rc": rc, "outcome": outcome, "message": message}


def outcome_of(status: TaskStatus, *, claimed: bool = True, **left: Any) -> Outcome:
    return classify(left.get("result"), left.get("marker"), status, claimed=claimed)[0]


ENDED = {
    "BOOT_FAIL": Outcome.NODE_FAIL,
    "CANCELLED": Outcome.CANCELLED,
    "COMPLETED": Outcome.NO_RESULT,
    "DEADLINE": Outcome.TIMEOUT,
    "FAILED": Outcome.NO_RESULT,
    "LAUNCH_FAILED": Outcome.LAUNCH_FAIL,
    "NODE_FAIL": Outcome.NODE_FAIL,
    "OUT_OF_MEMORY": Outcome.HOST_OOM,
    "PREEMPTED": Outcome.PREEMPTED,
    "RECONFIG_FAIL": Outcome.NODE_FAIL,
    "REVOKED": Outcome.LOST,
    "TIMEOUT": Outcome.TIMEOUT,
}


def test_line_21_every_final_state_of_slurm_has_an_outcome() -> None:
    assert set(ENDED) == {word for word, state in STATES.items() if state is State.GONE}
    assert set(DECISIVE) <= set(STATES)
    code = {"FAILED": "1:0", "COMPLETED": "0:0"}
    found = {word: outcome_of(gone(word, code.get(word, "0:0"))) for word in ENDED}
    assert found == ENDED


@pytest.mark.parametrize(
    ("raw", "exit_code", "claimed", "expected"),
    [
        ("CANCELLED by 1000", "0:15", True, Outcome.CANCELLED),
        ("CANCELLED+", "0:0", False, Outcome.CANCELLED),
        ("FAILED", "0:53", False, Outcome.LAUNCH_FAIL),
        ("FAILED", "0:53", True, Outcome.LAUNCH_FAIL),
        ("FAILED", "1:0", False, Outcome.LAUNCH_FAIL),
        ("FAILED", "127:0", False, Outcome.LAUNCH_FAIL),
        ("FAILED", "127:0", True, Outcome.NO_RESULT),
        ("FAILED", "0:125", True, Outcome.HOST_OOM),
        ("OUT_OF_MEMORY", "0:125", True, Outcome.HOST_OOM),
        ("COMPLETED", "0:0", False, Outcome.NO_RESULT),
        ("FAILED", "0:11", True, Outcome.CRASHED),
        ("FAILED", "139:0", True, Outcome.CRASHED),
        ("FAILED", "0:9", True, Outcome.LOST),
        ("FAILED", "137:0", True, Outcome.LOST),
        ("FAILED", "140:0", True, Outcome.TIMEOUT),
        ("FAILED", "0:12", True, Outcome.TIMEOUT),
        ("FAILED", "0:12", False, Outcome.TIMEOUT),
        ("FAILED", "", True, Outcome.NO_RESULT),
        ("LOST", "", True, Outcome.LOST),
        ("LOST", "", False, Outcome.LOST),
        ("KILLED", "", True, Outcome.LOST),
        ("", "", True, Outcome.LOST),
        ("SOMETHING_NEW", "0:0", True, Outcome.LOST),
    ],
)
def test_line_22_and_28_an_end_without_a_result(raw: str, exit_code: str, claimed: bool, expected: Outcome) -> None:
    assert outcome_of(gone(raw, exit_code), claimed=claimed) is expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (0, Outcome.NO_RESULT),
        (1, Outcome.NO_RESULT),
        (-9, Outcome.LOST),
        (-11, Outcome.CRASHED),
        (-12, Outcome.TIMEOUT),
    ],
)
def test_ends_as_the_local_launcher_tells_them(code: int, expected: Outcome) -> None:
    assert outcome_of(gone(_word(code, None), _exit_code(code), node="")) is expected


def test_a_local_task_that_could_not_start_never_began() -> None:
    status = gone("FAILED", node="", reason="[Errno 2] No such file or directory: 'bash'")
    outcome, evidence = classify(None, None, status, claimed=False)
    assert outcome is Outcome.LAUNCH_FAIL and "No such file" in evidence


@pytest.mark.parametrize(
    ("status", "left", "expected"),
    [
        (gone("FAILED", "140:0"), marker("interrupted", 140), Outcome.TIMEOUT),
        (gone("LOST"), marker("interrupted", 140), Outcome.TIMEOUT),
        (gone("FAILED", "143:0"), marker("interrupted", 143), Outcome.LOST),
        (gone("CANCELLED by 0", "143:0"), marker("interrupted", 143), Outcome.CANCELLED),
        (gone("PREEMPTED", "143:0"), marker("interrupted", 143), Outcome.PREEMPTED),
        (gone("TIMEOUT", "0:15"), marker("interrupted", 140), Outcome.TIMEOUT),
        (gone("FAILED", "2:0"), marker("refused", 2, "sha256 differs"), Outcome.CRASHED),
        (gone("FAILED", "1:0"), marker("disk", 1, "No space left on device"), Outcome.NO_RESULT),
        (gone("COMPLETED", "0:0"), marker("ok", 0), Outcome.NO_RESULT),
        (gone("FAILED", "1:0"), marker("crashed", 1), Outcome.NO_RESULT),
    ],
)
def test_line_25_exit_markers_tell_what_accounting_does_not(
    status: TaskStatus, left: dict[str, Any], expected: Outcome
) -> None:
    assert outcome_of(status, marker=left) is expected


@pytest.mark.parametrize("raw", ["COMPLETED", "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "LOST"])
@pytest.mark.parametrize("said", ["ok", "bad_config", "gpu_oom", "corrupt_result"])
def test_a_result_on_disk_counts_before_the_schedulers_word(raw: str, said: str) -> None:
    assert outcome_of(gone(raw), result=result(said)) is Outcome(said)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("OUT_OF_MEMORY", Outcome.HOST_OOM),
        ("PREEMPTED", Outcome.PREEMPTED),
        ("TIMEOUT", Outcome.TIMEOUT),
        ("CANCELLED by 7", Outcome.CANCELLED),
        ("NODE_FAIL", Outcome.NODE_FAIL),
        ("FAILED", Outcome.CRASHED),
        ("COMPLETED", Outcome.CRASHED),
        ("LOST", Outcome.CRASHED),
    ],
)
def test_line_23_a_crash_while_the_scheduler_ended_the_task_is_the_schedulers(raw: str, expected: Outcome) -> None:
    """A data loader's worker that is killed for memory lets the trainer fail like a bug would."""
    assert outcome_of(gone(raw, "1:0"), result=result("crashed", "worker exited unexpectedly")) is expected


def test_the_evidence_is_one_line_and_ends_with_the_facts() -> None:
    assert classify(None, None, gone("OUT_OF_MEMORY", "0:125"), claimed=True)[1] == "OUT_OF_MEMORY, exit 0:125, on n1"
    _, text = classify(result("crashed", "a\nb\tc" * 400), None, gone("FAILED", "1:0"), claimed=True)
    assert "\n" not in text and len(text) < 600 and text.endswith("FAILED, exit 1:0, on n1")
    _, text = classify(None, None, gone("FAILED", "0:9", node=""), claimed=True)
    assert text == "died by signal 9 (SIGKILL): FAILED, exit 0:9"
    # Without accounting squeue says FAILED, and nobody the exit code.
    for code in ("", "0:0"):
        _, text = classify(None, None, gone("FAILED", code, node=""), claimed=True)
        assert text.startswith("failed and left neither a result nor an exit marker: FAILED")
    _, text = classify(None, marker("interrupted", 300), gone("", node=""), claimed=True)
    assert text == "stopped by signal 172: state unknown"


def test_only_config_outcomes_say_something_about_settings() -> None:
    assert {o for o in Outcome if o.is_config} == {Outcome.BAD_CONFIG, Outcome.GPU_OOM, Outcome.HOST_OOM}
    assert {o for o in Outcome if o.is_measured} == {o for o in Outcome if o.is_config} | {Outcome.OK}
