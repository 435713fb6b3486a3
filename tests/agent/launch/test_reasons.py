"""Line 27 of the requirements: queue waits are patience; holds, dead dependencies and per-job limits need action."""

from __future__ import annotations

import pytest

from agent.launch.base import State, TaskStatus
from agent.launch.reasons import Need, explain, grouped


@pytest.mark.parametrize(
    "reason",
    [
        "Priority",
        "Resources",
        "Dependency",
        "BeginTime",
        "Licenses",
        "JobArrayTaskLimit",
        "Reservation",
        "PartitionDown",
        "ReqNodeNotAvail, UnavailableNodes:n[1-3]",
        "ReqNodeNotAvail(Unavailable:n1,n2)",
        "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
        "QOSMaxJobsPerUserLimit",
        "QOSMaxGRESPerUser",
        "QOSMaxCpuPerUserLimit",
        "QOSMaxSubmitJobPerUserLimit",
        "QOSGrpGRES",
        "QOSGrpCPURunMinutesLimit",
        "AssocGrpGRES",
        "AssocGrpCpuLimit",
        "AssocGrpCPURunMinutesLimit",
        "AssocMaxJobsLimit",
        "AssociationJobLimit",
        "MaxGRESPerAccount",
        "MaxJobsPerAccount",
    ],
)
def test_line_27_queue_waits_are_patience(reason: str) -> None:
    found = explain(reason)
    assert found.need is Need.PATIENCE and found.text and found.reason == reason


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("launch failed requeued held", "scontrol release"),
        ("JobHoldMaxRequeue", "scontrol release"),
        ("JobHeldUser", "scontrol release"),
        ("JobHeldAdmin", "administrator"),
        ("DependencyNeverSatisfied", "roundtable retry"),
        ("PartitionTimeLimit", "`time`"),
        ("PartitionNodeLimit", "`partition`"),
        ("PartitionConfig", "profile"),
        ("BadConstraints", "constraint"),
        ("InvalidQOS", "`qos`"),
        ("InvalidAccount", "`account`"),
        ("QOSMaxGRESPerJob", "ask for less"),
        ("QOSMaxGRESPerNode", "ask for less"),
        ("QOSMaxWallDurationPerJobLimit", "ask for less"),
        ("QOSMinGRES", "ask for less"),
        ("QOSTimeLimit", "ask for less"),
        ("AssocMaxWallDurationPerJobLimit", "ask for less"),
        ("AssocMaxCpuPerJobLimit", "ask for less"),
        ("AssociationTimeLimit", "ask for less"),
        ("MaxMemPerLimit", "ask for less"),
        ("AssocGrpCPUMinutesLimit", "used up"),
        ("QOSGrpWallLimit", "used up"),
        ("QOSUsageThreshold", "used up"),
    ],
)
def test_line_27_holds_dead_dependencies_and_per_job_limits_need_action(reason: str, remedy: str) -> None:
    found = explain(reason)
    assert found.need is Need.ACTION and remedy in found.text
    assert str(found).startswith(f"{reason} (")


@pytest.mark.parametrize("reason", ["SomethingOfNextYear", "waits for a worker or for an earlier batch", "Maximum"])
def test_line_27_an_unknown_reason_is_shown_as_it_is(reason: str) -> None:
    found = explain(f" {reason} ")
    assert (str(found), found.need, found.text) == (reason, Need.PATIENCE, "")


def test_line_27_rows_are_grouped_and_what_needs_action_comes_first() -> None:
    def pending(reason: str) -> TaskStatus:
        return TaskStatus(state=State.PENDING, raw="PENDING", reason=reason)

    statuses = {row: pending("Priority") for row in range(12)} | {row: pending("JobHeldUser") for row in (12, 13, 20)}
    statuses |= {30: TaskStatus(state=State.RUNNING, reason="None"), 31: pending(""), 32: pending("JobHeldUser")}
    statuses |= {33: TaskStatus(state=State.UNKNOWN, reason="in neither squeue nor sacct")}
    first, second = grouped(statuses)
    assert first.items == (12, 13, 20, 32) and second.items == tuple(range(12))
    assert first.text.startswith("4 rows (12-13,20,32) pending: JobHeldUser (held by a person: `scontrol release")
    assert second.text == "12 rows pending: Priority (waits its turn)"
    assert grouped({5: pending("Resources")})[0].text == (
        "1 row pending: Resources (next in line; waits for free resources)"
    )
