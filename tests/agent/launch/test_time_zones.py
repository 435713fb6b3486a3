"""SLURM's times around both changes of summer time, whatever the zone of the machine that asks.

The stand-ins print what happened at an instant by the clock of their own TZ, as SLURM's programs do: without an
offset, so that the hour that summer time ends with stands twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from agent.launch.base import State, Submission
from agent.launch.scheduler import Pace, SlurmReader
from tests.cases.fake_slurm import FakeSlurm
from tests.cluster.cluster import Cluster

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC")
#: (what changes, a minute before it): Lord Howe's summer time is half an hour, Kolkata has none.
CHANGES = {
    "Europe/Berlin": ("2026-03-29T00:59:00+00:00", "2026-10-25T00:59:00+00:00"),
    "America/New_York": ("2026-03-08T06:59:00+00:00", "2026-11-01T05:59:00+00:00"),
    "Australia/Lord_Howe": ("2026-10-03T15:29:00+00:00", "2026-04-04T14:59:00+00:00"),
    "Asia/Kolkata": ("2026-03-29T00:59:00+00:00", "2026-10-25T00:59:00+00:00"),
    "UTC": ("2026-03-29T00:59:00+00:00", "2026-10-25T00:59:00+00:00"),
}
CASES = [(zone, at) for zone in ZONES for at in CHANGES[zone]]
#: When the look is made, in seconds after the change: within, at the end of and after an hour that may stand twice.
LOOKS = (-3600, -60, 0, 1799, 1800, 3599, 3600, 7200)

SQUEUE = """#!/bin/sh
[ -n "$IDLE" ] || echo "15_0|RUNNING|$(date -d @{submitted} +%Y-%m-%dT%H:%M:%S)|0:07|n1|None|train-x"
"""
SACCT = """#!/bin/sh
while [ "$1" != -S ]; do shift; done
asked=$(date -d "$2" +%s) || exit 1
if [ "$asked" -gt {now} ]; then
    echo "sacct: error: Start time is in the future" >&2
    exit 1
fi
# slurmdbd finds nothing that ended before the time that was asked for.
[ "$asked" -gt {submitted} ] && exit 0
at=$(date -d @{submitted} +%Y-%m-%dT%H:%M:%S)
if [ -n "$IDLE" ]; then
    echo "15_0|COMPLETED|0:0|00:00:30|$(date -d @{ended} +%Y-%m-%dT%H:%M:%S)|$at|n1|train-x"
else
    echo "15_0|RUNNING|0:0|00:00:07|Unknown|$at|n1|train-x"
fi
"""


@pytest.fixture
def local_clock() -> Iterator[pytest.MonkeyPatch]:
    """This process's own zone may be changed; `time.tzset()` makes it count."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch
    time.tzset()


def site(folder: Path, *, submitted: float, now: float) -> FakeSlurm:
    fake = FakeSlurm(folder)
    values = {"submitted": int(submitted), "ended": int(submitted) + 30, "now": int(now)}
    for name, text in (("squeue", SQUEUE), ("sacct", SACCT)):
        (fake.folder / name).write_text(text.format(**values))
    return fake


@pytest.mark.parametrize(("zone", "change"), CASES)
def test_tasks_around_a_change_of_summer_time_are_seen_and_charged(
    tmp_path: Path, local_clock: pytest.MonkeyPatch, zone: str, change: str
) -> None:
    local_clock.setenv("TZ", zone)
    time.tzset()
    for number, look in enumerate(LOOKS):
        now = datetime.fromisoformat(change).timestamp() + 60 + look
        submitted = now - 40
        fake = site(tmp_path / str(number), submitted=submitted, now=now)
        one = Submission(
            launcher="sbatch", name="train-x", job_id="15", items=(0,), tasks=("15_0",), submitted_at=submitted
        )
        running = SlurmReader(Pace(interval_s=0), environment=fake.environment(TZ=zone), clock=lambda at=now: at)
        assert running.poll([one])["train-x", 0].state is State.RUNNING, (zone, look)
        found = running.find("train-x")
        assert found == ("15", None, int(submitted)), (zone, look)
        over = SlurmReader(
            Pace(interval_s=0), environment=fake.environment(TZ=zone, IDLE="1"), clock=lambda at=now: at
        )
        assert over.poll([one])["train-x", 0].raw == "COMPLETED", (zone, look)
        assert over.elapsed([one]) == {("train-x", 0): 30.0}, (zone, look)


def test_an_id_from_before_the_change_still_does_not_speak_for_a_task(
    tmp_path: Path, local_clock: pytest.MonkeyPatch
) -> None:
    """An hour before the very same wall-clock time: another job of the reused id, not ours."""
    local_clock.setenv("TZ", "Europe/Berlin")
    time.tzset()
    submitted = datetime.fromisoformat("2026-10-25T01:30:00+00:00").timestamp()
    fake = site(tmp_path / "s", submitted=submitted - 3600, now=submitted + 40)
    one = Submission(
        launcher="sbatch", name="train-x", job_id="15", items=(0,), tasks=("15_0",), submitted_at=submitted
    )
    reader = SlurmReader(environment=fake.environment(TZ="Europe/Berlin"), clock=lambda: submitted + 40)
    assert reader.poll([one])["train-x", 0].state is State.UNKNOWN


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kolkata", ""])
def test_a_real_cluster_is_read_from_any_zone_and_tasks_keep_the_persons(
    tmp_path: Path, slurm: Cluster, local_clock: pytest.MonkeyPatch, zone: str
) -> None:
    """zone: TZ of the login shell; empty where none is set."""
    from agent.launch.sbatch import SbatchLauncher
    from tests.agent.launch.test_slurm_launchers import PACE, _settings
    from tests.cases.launcher_case import Round

    if zone:
        local_clock.setenv("TZ", zone)
    else:
        local_clock.delenv("TZ", raising=False)
    time.tzset()
    round = Round(tmp_path / "round", _settings())
    reader = SlurmReader(PACE)
    launcher = SbatchLauncher(reader)
    batch = round.batch("zone", [0])
    made = launcher.submit(batch)
    found = launcher.find(batch)
    assert found is not None and abs(found.submitted_at - made.submitted_at) < 60
    # By another reader, which has not made the submission itself and so has to ask.
    other = SlurmReader(PACE)
    slurm.wait_for(lambda: other.poll([made])[made.name, 0].state is State.GONE)
    assert other.poll([made])[made.name, 0].raw == "COMPLETED"
    slurm.wait_for(lambda: other.elapsed([made]))
    assert round.environment(0).get("TZ", "") == zone
