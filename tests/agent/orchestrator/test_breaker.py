"""Line 31: ten refused submissions, or three arrays that started nothing, pause a study; a person resumes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.api.begin import begin
from agent.api.run import tick_once
from agent.errors import LaunchError, StudyPaused
from agent.orchestrator.training import circuit_breaker
from agent.records import Outcome
from agent.report.overview import overview
from agent.store.events import AttemptEnded, Paused, Refused, RoundClosed, Submitted
from agent.store.store import Store
from agent.store.study import Settings
from tests.agent.orchestrator.conftest import Lab, wait_for
from tests.cases.fake_slurm import FakeSlurm


@pytest.fixture
def store(lab: Lab) -> Store:
    return begin(lab.options())


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm(tmp_path / "bin")
    monkeypatch.setenv("PATH", fake.environment()["PATH"])
    return fake


def refuse(store: Store, times: int) -> None:
    for _ in range(times):
        store.journal.append(Refused(name="a", folder="round_1", message="Invalid partition"))


def submit(store: Store, *, folder: str = "round_1", attempt: int = 1, items: tuple[int, ...] = (0, 1)) -> None:
    job = str(100 + len(store.journal))
    store.journal.append(
        Submitted(
            name="a",
            folder=folder,
            kind="train",
            attempt=attempt,
            launcher="sbatch",
            job_id=job,
            items=items,
            tasks=tuple(f"{job}_{item}" for item in items),
            cluster=None,
            submitted_at=0.0,
            adopted=False,
        )
    )


def end(store: Store, row: int, outcome: str, *, folder: str = "round_1", attempt: int = 1) -> None:
    store.journal.append(
        AttemptEnded(
            folder=folder,
            row=row,
            attempt=attempt,
            outcome=Outcome(outcome),
            raw="FAILED",
            node="n1",
            exit_code="0:53",
            evidence="JobLaunchFailure",
            memory=None,
        )
    )


def fail_start(store: Store, attempt: int, *, folder: str = "round_1") -> None:
    submit(store, folder=folder, attempt=attempt)
    for row in (0, 1):
        end(store, row, "launch_fail", folder=folder, attempt=attempt)


def test_line_31_ten_refusals_in_a_row_pause(store: Store) -> None:
    refuse(store, 9)
    assert circuit_breaker.trip(store) is None
    refuse(store, 1)
    paused = circuit_breaker.trip(store)
    assert paused is not None and "10 submissions in a row were refused" in paused.reason
    assert "Invalid partition" in paused.reason
    assert circuit_breaker.trip(store) == paused
    assert len(list(store.journal.of(Paused))) == 1


def test_line_31_a_submission_that_was_taken_begins_the_count_anew(store: Store) -> None:
    refuse(store, 9)
    submit(store)
    refuse(store, 9)
    assert circuit_breaker.trip(store) is None


def test_line_31_three_arrays_that_started_nothing_pause(store: Store) -> None:
    fail_start(store, 1)
    fail_start(store, 2)
    assert circuit_breaker.trip(store) is None
    fail_start(store, 1, folder="round_2")
    with pytest.raises(StudyPaused, match=r"3 arrays in a row \(.*\) started not one row.*JobLaunchFailure"):
        circuit_breaker.check(store)


@pytest.mark.parametrize("other", ["timeout", "crashed", "node_fail"])
def test_line_31_one_row_that_started_is_enough(store: Store, other: str) -> None:
    fail_start(store, 1)
    fail_start(store, 2)
    submit(store, attempt=3)
    end(store, 0, "launch_fail", attempt=3)
    end(store, 1, other, attempt=3)
    fail_start(store, 4)
    assert circuit_breaker.trip(store) is None


def test_line_31_a_bad_node_that_takes_some_rows_of_each_array_does_not_pause(store: Store) -> None:
    """Rows that are ok leave no outcome in the journal; that their array is not complete in it tells of them."""
    for number in range(1, 6):
        submit(store, folder=f"round_{number}")
        end(store, 0, "launch_fail", folder=f"round_{number}")
    assert circuit_breaker.trip(store) is None


def test_line_31_an_array_that_all_went_well_begins_the_count_anew(store: Store) -> None:
    fail_start(store, 1)
    fail_start(store, 2)
    submit(store, attempt=3)
    store.journal.append(RoundClosed(round=1, folder="round_1", incumbent=None))
    fail_start(store, 1, folder="round_2")
    assert circuit_breaker.trip(store) is None


def test_line_31_an_array_that_still_runs_decides_nothing(store: Store) -> None:
    fail_start(store, 1)
    fail_start(store, 2)
    submit(store, attempt=3)
    assert circuit_breaker.trip(store) is None
    end(store, 0, "launch_fail", attempt=3)
    end(store, 1, "launch_fail", attempt=3)
    assert circuit_breaker.trip(store) is not None


def test_line_31_resuming_begins_every_count_anew(store: Store) -> None:
    refuse(store, 10)
    assert circuit_breaker.trip(store) is not None and circuit_breaker.resume(store, by="me")
    assert circuit_breaker.paused(store.journal) is None and circuit_breaker.trip(store) is None
    assert not circuit_breaker.resume(store, by="me")
    refuse(store, 9)
    assert circuit_breaker.trip(store) is None


def test_line_31_ticks_of_processes_of_their_own_count_together_until_the_study_is_paused(
    lab: Lab, fake: FakeSlurm
) -> None:
    store = begin(lab.options())
    store.put_settings(Settings(launcher="sbatch", auto_train=True))
    fake.answer("sbatch", err="sbatch: error: Batch job submission failed: Invalid partition name specified", code=1)
    for _ in range(10):
        with pytest.raises(LaunchError, match="Invalid partition"):
            tick_once(lab.store())
    calls = len(fake.calls("sbatch"))
    with pytest.raises(StudyPaused, match=r"(?s)Invalid partition.*--resume"):
        tick_once(lab.store())
    assert len(fake.calls("sbatch")) == calls
    view = overview(lab.store())["control"]["paused"]
    assert "10 submissions in a row" in view["reason"]


def test_line_31_tune_refuses_to_submit_while_paused_and_goes_on_with_resume(lab: Lab) -> None:
    store = begin(lab.options())
    refuse(store, 10)
    circuit_breaker.trip(store)
    with pytest.raises(StudyPaused, match="--resume"):
        lab.tune()
    assert lab.trained == []
    assert lab.tune(resume=True).closed == 1
    assert len(lab.trained) == 1


def test_line_31_what_runs_is_collected_while_paused(lab: Lab) -> None:
    begin(lab.options()).put_settings(Settings(launcher="local", auto_train=True, confirm="never", target_round=2))
    assert tick_once(lab.store()).state == "waiting"
    store = lab.store()
    refuse(store, 10)
    circuit_breaker.trip(store)

    def closed() -> bool:
        try:
            tick_once(lab.store())
        except StudyPaused:
            return len(lab.store().closed()) == 1
        return False

    wait_for(closed)
    assert len(lab.trained) == 1
