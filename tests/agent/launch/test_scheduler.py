"""The reader of SLURM's state, against programs that answer as troubled clusters do."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import SchedulerUnavailable
from agent.launch.base import State, Submission, TaskStatus
from agent.launch.scheduler import Pace, SlurmReader
from agent.launch.states import format_time
from tests.cases.fake_slurm import FakeSlurm

NOW = 1_900_000_000.0
PACE = Pace(interval_s=60, lost_after_s=120, unaccounted_after_s=30, timeout_s=0.5)
NO_ACCOUNTING = {"err": "Slurm accounting storage is disabled\n", "code": 1}


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def slurm(tmp_path: Path) -> FakeSlurm:
    return FakeSlurm(tmp_path / "bin")


@pytest.fixture
def said() -> list[str]:
    """What the reader tells beside its answers."""
    return []


@pytest.fixture
def reader(slurm: FakeSlurm, clock: Clock, said: list[str]) -> SlurmReader:
    return SlurmReader(PACE, environment=slurm.environment(), clock=clock, say=said.append)


def submission(name: str = "train-x", job: str = "15", n: int = 1, **more: object) -> Submission:
    return Submission(
        launcher="sbatch",
        name=name,
        job_id=job,
        items=tuple(range(n)),
        tasks=tuple(f"{job}_{index}" for index in range(n)),
        submitted_at=NOW,
        **more,  # type: ignore[arg-type]
    )


def squeue(task: str, state: str, name: str = "train-x", *, at: float = NOW, reason: str = "None") -> str:
    return f"{task}|{state}|{format_time(at)}|0:07|n1|{reason}|{name}\n"


def sacct(task: str, state: str, name: str = "train-x", *, at: float = NOW, code: str = "0:0") -> str:
    return f"{task}|{state}|{code}|00:00:07|{format_time(at + 7)}|{format_time(at)}|n1|{name}\n"


def only(reader: SlurmReader, *submissions: Submission) -> TaskStatus:
    (status,) = reader.poll(submissions or [submission()]).values()
    return status


def test_pending_shows_its_reason(reader: SlurmReader, slurm: FakeSlurm) -> None:
    slurm.answer("squeue", squeue("15_0", "PENDING", reason="Priority"))
    status = only(reader)
    assert (status.state, status.reason) == (State.PENDING, "Priority")


def test_history_completes_what_squeue_still_shows(reader: SlurmReader, slurm: FakeSlurm) -> None:
    slurm.answer("squeue", squeue("15_0", "FAILED"))
    slurm.answer(
        "sacct", sacct("15_0", "FAILED", code="0:125") + sacct("15_0.batch", "OUT_OF_MEMORY", "batch", code="0:125")
    )
    status = only(reader)
    assert (status.state, status.raw, status.exit_code) == (State.GONE, "OUT_OF_MEMORY", "0:125")


def test_a_requeued_task_is_not_gone(reader: SlurmReader, slurm: FakeSlurm) -> None:
    slurm.answer("squeue", squeue("15_0", "PENDING", reason="BeginTime"))
    slurm.answer("sacct", sacct("15_0", "PREEMPTED"))
    assert only(reader).state is State.PENDING


def test_the_newest_run_counts(reader: SlurmReader, slurm: FakeSlurm) -> None:
    slurm.answer("sacct", sacct("15_0", "NODE_FAIL") + sacct("15_0", "COMPLETED", at=NOW + 60))
    assert only(reader).raw == "COMPLETED"


def test_line_2_a_row_is_not_gone_while_a_second_job_of_its_name_may_have_it(
    reader: SlurmReader, slurm: FakeSlurm, clock: Clock
) -> None:
    """A submission taken for lost arrived after it had been made again, and its task was the first to claim."""
    slurm.answer("squeue", squeue("15_0", "COMPLETED") + squeue("14_0", "RUNNING") + squeue("14_1", "RUNNING"))
    slurm.answer("sacct", sacct("15_0", "COMPLETED"))
    assert only(reader).state is State.RUNNING
    slurm.answer("squeue", squeue("15_0", "COMPLETED") + squeue("14_0", "FAILED") + squeue("14_1", "RUNNING"))
    clock.now += 60
    assert (only(reader).state, only(reader).raw) == (State.GONE, "COMPLETED")


def test_missing_is_not_done(reader: SlurmReader, clock: Clock) -> None:
    assert only(reader).state is State.UNKNOWN
    clock.now += 119
    assert only(reader).state is State.UNKNOWN
    clock.now += 61
    status = only(reader)
    assert (status.state, status.raw) == (State.GONE, "LOST")


def test_purged_ids_are_lost_only_after_the_deadline_and_may_return(
    reader: SlurmReader, slurm: FakeSlurm, clock: Clock
) -> None:
    slurm.answer("squeue", squeue("15_0", "RUNNING"))
    assert only(reader).state is State.RUNNING
    slurm.answer("squeue")
    clock.now += 60
    assert only(reader).state is State.UNKNOWN
    slurm.answer("sacct", sacct("15_0", "COMPLETED"))
    clock.now += 60
    assert only(reader).raw == "COMPLETED"


def test_accounting_that_never_closes_a_job_does_not_hold_for_ever(
    reader: SlurmReader, slurm: FakeSlurm, clock: Clock
) -> None:
    slurm.answer("sacct", sacct("15_0", "RUNNING"))
    status = only(reader)
    assert (status.state, status.raw) == (State.UNKNOWN, "RUNNING")
    clock.now += 121
    assert only(reader).raw == "LOST"


def test_ticks_of_short_life_reach_the_deadline(slurm: FakeSlurm, clock: Clock, tmp_path: Path) -> None:
    def tick() -> TaskStatus:
        fresh = SlurmReader(
            PACE, memory=tmp_path / "study" / "absent.json", environment=slurm.environment(), clock=clock
        )
        return only(fresh)

    assert tick().state is State.UNKNOWN
    clock.now += 70
    assert tick().state is State.UNKNOWN
    clock.now += 70
    assert tick().raw == "LOST"
    (tmp_path / "study" / "absent.json").write_text('{"torn')
    assert tick().state is State.UNKNOWN


def test_a_clock_that_went_back_does_not_silence_the_reader(
    reader: SlurmReader, slurm: FakeSlurm, clock: Clock
) -> None:
    only(reader)
    clock.now -= 86400
    slurm.answer("squeue", squeue("15_0", "RUNNING"))
    assert only(reader).state is State.RUNNING


def test_a_reused_id_does_not_speak_for_us(reader: SlurmReader, slurm: FakeSlurm) -> None:
    slurm.answer("squeue", squeue("15_0", "RUNNING", "somebody-else"))
    slurm.answer("sacct", sacct("15_0", "COMPLETED", at=NOW - 86400) + sacct("15_0", "FAILED", "somebody-else"))
    assert only(reader).state is State.UNKNOWN


def test_a_task_is_not_gone_while_its_twin_may_run(reader: SlurmReader, slurm: FakeSlurm, clock: Clock) -> None:
    """An array that was submitted twice under its one name: the task that came second ends at once."""
    slurm.answer("squeue", squeue("15_0", "COMPLETED") + squeue("14_0", "RUNNING") + squeue("14_1", "PENDING"))
    found = reader.poll([submission(n=2)])
    assert [found["train-x", item].state for item in (0, 1)] == [State.RUNNING, State.PENDING]
    clock.now += PACE.interval_s
    slurm.answer("squeue", squeue("15_0", "COMPLETED") + squeue("14_0", "COMPLETED"))
    assert only(reader).state is State.GONE


def test_clocks_may_differ_a_little(reader: SlurmReader, slurm: FakeSlurm) -> None:
    slurm.answer("sacct", sacct("15_0", "COMPLETED", at=NOW - 120))
    assert only(reader).raw == "COMPLETED"


def test_without_accounting_squeue_alone_decides(
    reader: SlurmReader, slurm: FakeSlurm, clock: Clock, said: list[str]
) -> None:
    slurm.answer("sacct", **NO_ACCOUNTING)  # type: ignore[arg-type]
    both = submission(n=2)
    slurm.answer("squeue", squeue("15_0", "COMPLETED") + squeue("15_1", "RUNNING"))
    states = [status.state for status in reader.poll([both]).values()]
    assert states == [State.GONE, State.RUNNING]
    slurm.answer("squeue")
    clock.now += 60
    first, second = reader.poll([both]).values()
    assert (first.state, first.raw) == (State.GONE, "COMPLETED"), "seen ending, then forgotten after MinJobAge"
    assert second.state is State.UNKNOWN
    clock.now += 60
    assert [status.raw for status in reader.poll([both]).values()] == ["COMPLETED", "LOST"]
    assert "accounting" not in " ".join(said)


def test_accounting_that_does_not_answer_costs_only_patience(
    reader: SlurmReader, slurm: FakeSlurm, clock: Clock, said: list[str]
) -> None:
    slurm.answer("sacct", err="sacct: error: slurm_persist_conn_open: Connection refused\n", code=1)
    assert only(reader).state is State.UNKNOWN
    assert "Connection refused" in " ".join(said)
    clock.now += 60
    assert only(reader).state is State.UNKNOWN, "30 s are for clusters without accounting only"
    slurm.answer("sacct", sleep=5)
    clock.now += 61
    assert only(reader).raw == "LOST"


def test_accounting_that_does_not_answer_is_said_once_until_it_does(
    reader: SlurmReader, slurm: FakeSlurm, clock: Clock, said: list[str]
) -> None:
    slurm.answer("sacct", err="sacct: error: Connection refused", code=1)
    for _ in range(3):
        only(reader, submission())
        clock.now += 200
    assert " ".join(said).count("no accounting now") == 1
    slurm.answer("sacct", sacct("15_0", "COMPLETED"))
    only(reader, submission())
    assert " ".join(said).count("accounting answers again") == 1


def test_ticks_of_short_life_say_once_that_accounting_does_not_answer_and_once_that_it_does(
    slurm: FakeSlurm, clock: Clock, tmp_path: Path, said: list[str]
) -> None:
    """Cron's looks are processes of their own: the study remembers what was said, also where no task is missing."""

    def tick() -> None:
        clock.now += 300
        memory, environment = tmp_path / "scheduler.json", slurm.environment()
        reader = SlurmReader(PACE, memory=memory, environment=environment, clock=clock, say=said.append)
        reader.elapsed([submission()])

    for outage in (1, 2):
        slurm.answer("sacct", err="sacct: error: Connection refused", code=1)
        for _ in range(3):
            tick()
        assert " ".join(said).count("no accounting now") == outage
        slurm.answer("sacct")
        tick()
        tick()
        assert " ".join(said).count("accounting answers again") == outage


def test_an_unknown_state_is_not_an_end_and_is_told_once(
    reader: SlurmReader, slurm: FakeSlurm, clock: Clock, said: list[str]
) -> None:
    slurm.answer("squeue", squeue("15_0", "WARPED"))
    for _ in range(2):
        status = only(reader)
        assert (status.state, status.raw) == (State.UNKNOWN, "WARPED")
        clock.now += 61
    assert said == ["unknown SLURM state 'WARPED': treated as not finished"]


def test_one_query_however_many_tasks_and_at_most_one_per_interval(
    reader: SlurmReader, slurm: FakeSlurm, clock: Clock
) -> None:
    many = [submission(f"train-{index}", str(20 + index), n=2000) for index in range(5)]
    lines = "".join(squeue(task, "RUNNING", s.name) for s in many for task in s.tasks)
    slurm.answer("squeue", lines)
    assert {status.state for status in reader.poll(many).values()} == {State.RUNNING}
    clock.now += 59
    reader.poll(many)
    reader.poll(many[:2])
    assert (len(slurm.calls("squeue")), len(slurm.calls("sacct"))) == (1, 1)
    clock.now += 2
    reader.poll(many)
    assert len(slurm.calls("squeue")) == 2


def test_a_new_submission_is_asked_about_at_once(reader: SlurmReader, slurm: FakeSlurm) -> None:
    slurm.answer("squeue", squeue("15_0", "RUNNING") + squeue("16_0", "PENDING", "eval-x"))
    only(reader)
    seen = reader.poll([submission(), submission("eval-x", "16")])
    assert [status.state for status in seen.values()] == [State.RUNNING, State.PENDING]


def test_line_24_what_was_made_just_now_is_pending_unasked(
    reader: SlurmReader, slurm: FakeSlurm, clock: Clock
) -> None:
    reader.note_made("train-x")
    assert only(reader).state is State.PENDING and slurm.calls("squeue") == slurm.calls("sacct") == []
    assert reader.elapsed([submission()]) == {} and slurm.calls("sacct") == []
    clock.now += 59
    assert only(reader, submission(job="16")).state is State.PENDING and slurm.calls("squeue") == []
    slurm.answer("squeue", squeue("15_0", "RUNNING"))
    clock.now += 1
    assert only(reader).state is State.RUNNING and len(slurm.calls("squeue")) == 1


def test_line_24_hours_that_are_owed_come_with_the_next_poll(
    reader: SlurmReader, slurm: FakeSlurm, clock: Clock
) -> None:
    earlier = submission("train-w", "14")
    assert reader.elapsed([earlier], ask=False) == {} and slurm.calls("sacct") == []
    slurm.answer("sacct", sacct("14_0", "COMPLETED", "train-w") + sacct("15_0", "RUNNING"))
    only(reader)
    assert reader.elapsed([earlier], ask=False) == {("train-w", 0): 7.0}
    (asked,) = slurm.calls("sacct")
    assert asked[asked.index("-j") + 1] == "14,15"


def test_a_silent_controller_is_unavailable_and_asked_less_often(
    reader: SlurmReader, slurm: FakeSlurm, clock: Clock
) -> None:
    slurm.answer("squeue", err="slurm_load_jobs error: Unable to contact slurm controller\n", code=1)
    for pause, calls in ((0, 1), (61, 1), (60, 2), (179, 2), (2, 3), (179, 3), (2, 4)):
        clock.now += pause
        with pytest.raises(SchedulerUnavailable, match="Unable to contact"):
            reader.poll([submission()])
        assert len(slurm.calls("squeue")) == calls
    slurm.answer("squeue", sleep=5)
    clock.now += 181
    with pytest.raises(SchedulerUnavailable, match=r"did not answer within 0\.5 s"):
        reader.poll([submission()])
    slurm.answer("squeue", squeue("15_0", "RUNNING"))
    clock.now += 181
    assert only(reader).state is State.RUNNING


def test_queries_are_scrubbed_and_not_localised(slurm: FakeSlurm, clock: Clock) -> None:
    hostile = {"SQUEUE_FORMAT": "%A", "SACCT_FORMAT": "JobID", "SLURM_TIME_FORMAT": "relative", "SLURM_CONF": "/x"}
    reader = SlurmReader(PACE, environment=slurm.environment(**hostile, LC_ALL="de_DE"), clock=clock)
    only(reader)
    for name in ("squeue", "sacct"):
        (environment,) = slurm.environments(name)
        assert environment["LC_ALL"] == "C" and environment["SLURM_CONF"] == "/x"
        assert not set(environment) & {"SQUEUE_FORMAT", "SACCT_FORMAT", "SLURM_TIME_FORMAT"}


def test_each_cluster_is_asked_by_itself(reader: SlurmReader, slurm: FakeSlurm) -> None:
    reader.poll([submission(), submission("far", "3", cluster="alpha")])
    assert ["-M" in call for call in slurm.calls("squeue")] == [False, True]
    assert slurm.calls("sacct")[1][:2] == ["-M", "alpha"]


# --- by name ---


def test_find_takes_the_first_of_several(reader: SlurmReader, slurm: FakeSlurm, said: list[str]) -> None:
    slurm.answer("squeue", squeue("16_0", "PENDING") + squeue("16_1", "PENDING"))
    slurm.answer("sacct", sacct("15_0", "COMPLETED", at=NOW - 60) + sacct("17_0", "RUNNING", "train-xy"))
    assert reader.find("train-x") == ("15", None, NOW - 60)
    assert "submitted 2 times" in " ".join(said)


def born_dead(task: str) -> str:
    """What squeue shows of a refused submission ("Requested node configuration is not available"), 22.05."""
    return f"{task}|FAILED|{format_time(NOW)}|0:00||BadConstraints|train-x\n"


def test_find_does_not_take_a_refused_submission_for_the_job(reader: SlurmReader, slurm: FakeSlurm) -> None:
    slurm.answer("squeue", born_dead("15_0") + born_dead("15_1"))
    assert reader.find("train-x") is None
    slurm.answer("squeue", born_dead("15_0") + squeue("17_0", "RUNNING"))
    found = reader.find("train-x")
    assert found is not None and found[0] == "17"
    # A job that failed on a node is one.
    slurm.answer("squeue", "")
    slurm.answer("sacct", sacct("15_0", "FAILED"))
    found = reader.find("train-x")
    assert found is not None and found[0] == "15"


def test_what_a_refusal_left_in_the_queue_is_withdrawn(reader: SlurmReader, slurm: FakeSlurm) -> None:
    slurm.answer("squeue", born_dead("15_0") + squeue("16_0", "PENDING", reason="BadConstraints"))
    assert reader.withdraw("train-x") == ["16"]
    assert slurm.calls("scancel") == [["16"]]
    slurm.answer("squeue", born_dead("15_0"))
    assert reader.withdraw("train-x") == [] and len(slurm.calls("scancel")) == 1


def test_find_knows_that_it_does_not_know(reader: SlurmReader, slurm: FakeSlurm) -> None:
    assert reader.find("train-x") is None
    slurm.answer("sacct", **NO_ACCOUNTING)  # type: ignore[arg-type]
    assert reader.find("train-x") is None
    slurm.answer("sacct", err="sacct: error: Problem talking to the database: Connection refused\n", code=1)
    with pytest.raises(SchedulerUnavailable, match="Connection refused"):
        reader.find("train-x")
    slurm.answer("squeue", err="slurm_load_jobs error: Socket timed out\n", code=1)
    with pytest.raises(SchedulerUnavailable, match="Socket timed out"):
        reader.find("train-x")


# --- cancel and limits ---


def test_cancel_by_id_and_by_name(reader: SlurmReader, slurm: FakeSlurm) -> None:
    reader.cancel([submission(), submission("eval-x", "16")])
    calls = slurm.calls("scancel")
    assert calls[0] == ["15", "16"]
    assert [call[-1] for call in calls[1:]] == ["eval-x", "train-x"]


def test_cancelling_what_is_gone_is_no_error(reader: SlurmReader, slurm: FakeSlurm) -> None:
    slurm.answer("scancel", err="scancel: error: Kill job error on job id 15: Invalid job id specified\n", code=1)
    reader.cancel([submission()])
    slurm.answer("scancel", err="scancel: error: Unable to contact slurm controller\n", code=1)
    with pytest.raises(SchedulerUnavailable, match="Unable to contact"):
        reader.cancel([submission()])


@pytest.mark.parametrize(
    ("config", "largest"), [("MaxArraySize = 1001\n", 1000), ("MaxArraySize = 0\n", None), ("", None)]
)
def test_largest_index(reader: SlurmReader, slurm: FakeSlurm, config: str, largest: int | None) -> None:
    slurm.answer("scontrol", config)
    assert reader.largest_index() == largest
    reader.largest_index()
    assert len(slurm.calls("scontrol")) == 1
