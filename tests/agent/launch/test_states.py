"""SLURM's words: every state, and the text of its programs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.launch.base import State
from agent.launch.states import (
    STATES,
    chunks,
    compact,
    expand,
    format_time,
    offset_for,
    parse_allocated,
    parse_config,
    parse_elapsed,
    parse_minutes,
    parse_sacct,
    parse_squeue,
    parse_submission,
    parse_time,
    state_of,
)

# JOB STATE CODES of squeue(1) and sacct(1), 20.11 to 24.05.
MANUAL = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "COMPLETING", "CONFIGURING", "DEADLINE", "FAILED", "LAUNCH_FAILED"),
    *("NODE_FAIL", "OUT_OF_MEMORY", "PENDING", "POWER_UP_NODE", "PREEMPTED", "RECONFIG_FAIL", "REQUEUED"),
    *("REQUEUE_FED", "REQUEUE_HOLD", "RESIZING", "RESV_DEL_HOLD", "REVOKED", "RUNNING", "SIGNALING", "SPECIAL_EXIT"),
    *("STAGE_OUT", "STOPPED", "SUSPENDED", "TIMEOUT"),
}


def test_every_state_of_the_manuals_is_known() -> None:
    assert set(STATES) == MANUAL
    assert State.UNKNOWN not in STATES.values()


@pytest.mark.parametrize(
    ("raw", "state"),
    [
        ("COMPLETED", State.GONE),
        ("CANCELLED by 1000", State.GONE),
        ("CANCELLED+", State.GONE),
        ("OUT_OF_MEMORY", State.GONE),
        ("TIMEOUT", State.GONE),
        ("NODE_FAIL", State.GONE),
        ("PREEMPTED", State.GONE),
        ("COMPLETING", State.RUNNING),
        ("SUSPENDED", State.RUNNING),
        ("REQUEUE_HOLD", State.PENDING),
        ("SPECIAL_EXIT", State.PENDING),
    ],
)
def test_states(raw: str, state: State) -> None:
    assert state_of(raw) is state


@pytest.mark.parametrize("raw", ["WARPED", "", "completed?"])
def test_an_unknown_state_is_no_end(raw: str) -> None:
    assert state_of(raw) is State.UNKNOWN


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("123\n", ("123", None)),
        ("123;alpha\n", ("123", "alpha")),
        ("Welcome to the cluster!\n77 jobs wait\n123;alpha\n", ("123", "alpha")),
        ("123\nhave a nice day\n", ("123", None)),
        ("", None),
        ("Submitted batch job 123\n", None),
        ("123 \n", ("123", None)),
        ("-5\n", None),
    ],
)
def test_parse_submission(text: str, answer: object) -> None:
    assert parse_submission(text) == answer


def test_squeue() -> None:
    text = (
        "CLUSTER: alpha\n"
        "15_3|RUNNING|2031-02-03T04:05:06|1-02:03:04|n1|None|train-x\n"
        "15_[4-6:2,9%2]|PENDING|2031-02-03T04:05:06|0:00||(Priority)|train-x\n"
        "16|PENDING|N/A|INVALID|n/a|Dependency|a|b\n"
        "garbage\n"
    )
    records = parse_squeue(text)
    assert [record.task for record in records] == ["15_3", "15_4", "15_6", "15_9", "16"]
    assert records[0].elapsed_s == 93784 and records[0].node == "n1" and records[0].reason == ""
    assert records[1].reason == "(Priority)"
    assert records[4].submitted is None and records[4].elapsed_s is None and records[4].name == "a|b"
    assert records[0].job == records[1].job == "15"


def test_sacct_tells_a_task_that_could_not_be_launched_from_one_that_was_cancelled() -> None:
    """As 22.05 showed them: a failing Prolog under --no-requeue, and scancel by root and by a person."""
    head = "|00:00:02|2031-02-03T04:05:03|2031-02-03T04:05:01|n1|"
    text = (
        f"4_0|CANCELLED by 0|0:0{head}t\n4_0.batch|CANCELLED|{head}batch\n"
        f"4_1|CANCELLED|0:0{head}t\n4_1.batch|CANCELLED|{head}batch\n"
        f"4_2|CANCELLED by 0|0:0{head}t\n4_2.batch|CANCELLED|0:15{head}batch\n"
        f"4_3|CANCELLED by 1000|0:0{head}t\n4_3.batch|CANCELLED|{head}batch\n"
        f"4_4|CANCELLED by 0|0:0{head}t\n4_4.extern|CANCELLED|{head}extern\n"
    )
    assert [record.raw for record in parse_sacct(text)] == [
        "LAUNCH_FAILED",
        "LAUNCH_FAILED",
        "CANCELLED by 0",
        "CANCELLED by 1000",
        "CANCELLED by 0",
    ]


def test_sacct_folds_steps_and_keeps_every_run() -> None:
    head = "2031-02-03T04:05:0"
    text = (
        f"15_0|FAILED|0:125|00:00:09|{head}9|{head}1|n1|t\n"
        f"15_0.batch|OUT_OF_MEMORY|0:125|00:00:09|{head}9|{head}1|n1|batch\n"
        f"15_1|COMPLETED|0:0|00:00:09|{head}9|{head}1|n1|t\n"
        f"15_1.0|OUT_OF_MEMORY|0:125|00:00:02|{head}9|{head}1|n1|bash\n"
        f"15_2|PREEMPTED|0:0|00:00:09|{head}9|{head}1|n1|t\n"
        f"15_2.batch|CANCELLED|0:15|00:00:09|{head}9|{head}1|n1|batch\n"
        f"15_2|PENDING|0:0|00:00:00|Unknown|{head}9|None assigned|t\n"
        f"15_3|CANCELLED by 1000|0:0|00:00:00|Unknown|Unknown||t\n"
        f"99_9.batch|OUT_OF_MEMORY|0:125|00:00:09|{head}9|{head}1|n1|batch\n"
    )
    shown = [(record.task, record.raw, record.exit_code) for record in parse_sacct(text)]
    assert shown == [
        ("15_0", "OUT_OF_MEMORY", "0:125"),
        ("15_1", "COMPLETED", "0:0"),
        ("15_2", "PREEMPTED", "0:0"),
        ("15_2", "PENDING", "0:0"),
        ("15_3", "CANCELLED by 1000", "0:0"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("billing=8,cpu=8,gres/gpu=4,mem=20000M,node=1", (8, 4)),
        ("cpu=2,gres/gpu:a100=2,gres/gpu=2,node=1", (2, 2)),
        ("cpu=2,gres/gpu:a100=2,gres/gpu:v100=1", (2, 3)),
        ("billing=1,cpu=1,mem=1G,node=1", (1, None)),
        ("", (None, None)),
        ("cpu=x,gres/gpu", (None, None)),
    ],
)
def test_what_a_task_was_allocated(text: str, expected: tuple[int | None, int | None]) -> None:
    assert parse_allocated(text) == expected
    head = "2031-02-03T04:05:0"
    (record,) = parse_sacct(f"15_0|COMPLETED|0:0|00:00:09|{head}9|{head}1|n1|t|{text}\n")
    assert (record.name, record.cpus, record.gpus) == ("t", *expected)


def test_line_36_the_seconds_of_an_ended_task_count_only_beside_its_end() -> None:
    """While slurmctld hands on what a restarted slurmdbd missed, Elapsed of what is over grows with the clock."""
    since = "2031-02-03T04:05:06"
    text = (
        f"15_0|PREEMPTED|0:0|00:00:11|Unknown|{since}|n1|t\n"
        f"15_1|COMPLETED|0:0|00:00:01|2031-02-03T04:05:07|{since}|n1|t\n"
        f"15_2|RUNNING|0:0|00:00:11|Unknown|{since}|n1|t\n"
    )
    assert [record.elapsed_s for record in parse_sacct(text)] == [None, 1.0, 11.0]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("00:09", 9),
        ("01:02:03", 3723),
        ("2-00:00:01", 172801),
        ("0:00", 0),
        ("INVALID", None),
        ("", None),
        ("5", None),
    ],
)
def test_elapsed(text: str, seconds: float | None) -> None:
    assert parse_elapsed(text) == seconds


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90),
        ("1:30", 2),
        ("2:00:00", 120),
        ("1-0", 1440),
        ("1-2:30", 1590),
        ("1-02:30:01", 1591),
        ("UNLIMITED", None),
        ("", None),
    ],
)
def test_minutes(text: str, minutes: int | None) -> None:
    assert parse_minutes(text) == minutes


def test_times_survive_the_round_trip() -> None:
    assert parse_time(format_time(1_800_000_000)) == 1_800_000_000
    assert parse_time("Unknown") is None


def test_config() -> None:
    config = parse_config("Configuration data as of 2031\nMaxArraySize            = 1001\nA = b = c\n\nHEAD\n")
    assert config["MaxArraySize"] == "1001" and config["A"] == "b = c"


@given(st.sets(st.integers(0, 400), min_size=1))
def test_compact_and_expand_are_inverse(indices: set[int]) -> None:
    assert expand(f"7_[{compact(indices)}%3]") == [f"7_{index}" for index in sorted(indices)]


def test_compact() -> None:
    assert compact([0, 1, 2, 5]) == "0-2,5"
    assert compact([3]) == "3"
    assert compact([1, 2, 4]) == "1-2,4"


@given(
    st.sets(st.integers(0, 3000), min_size=1),
    st.one_of(st.none(), st.integers(0, 1000)),
    st.one_of(st.none(), st.integers(1, 50)),
)
def test_chunks_lose_nothing_and_fit(items: set[int], largest: int | None, most: int | None) -> None:
    ordered = sorted(items)
    parts = chunks(ordered, largest, max_tasks=most)
    assert [item for part in parts for item in part] == ordered
    for part in parts:
        offset = offset_for(part, largest)
        assert all(item - offset >= 0 for item in part)
        assert largest is None or part[-1] - offset <= largest
        assert most is None or len(part) <= most


def test_indices_read_as_items_where_they_fit() -> None:
    assert chunks(range(1001), 1000) == [tuple(range(1001))]
    assert offset_for((3, 1000), 1000) == 0
    assert chunks((3, 1000, 1001, 2001, 2002), 1000) == [(3, 1000, 1001), (2001, 2002)]
