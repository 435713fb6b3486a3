"""A launcher of an installed distribution: chosen by name, described without its code, and named where it fails."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agent.api import Study, TuneOptions, tune
from agent.errors import AmbiguousSubmission, InvalidPlugin, SchedulerUnavailable, UsageError
from agent.launch.base import Batch, LaunchSettings, SlurmSettings, Submission
from agent.launch.catalogue import capabilities_of
from agent.launch.select import make_launcher
from tests.cases.launcher_case import Round
from tests.plugins.conftest import Install

ROOT = Path(__file__).parents[2]
NOOP = ROOT / "tests" / "programs" / "noop.yaml"

#: Says what it can do in a module of its own; the code, which needs more, is in another.
ENTRY = """
from agent.launch.catalogue import Capabilities, LauncherEntry
ENTRY = LauncherEntry(
    name="desk",
    capabilities=Capabilities(system="desk", results_at_once=True, certain_find=True, cheap_polls=True),
    factory="desk_code:make",
)
"""
#: Runs every task at once and waits for it, which is no way to run anything but a test.
CODE = """
import subprocess
from agent.launch.base import State, Submission, TaskStatus

def make(settings):
    return Desk(settings)

class Desk:
    name = "desk"
    def __init__(self, settings):
        self.settings, self.made = settings, {}
    def submit(self, batch):
        for item in batch.items:
            subprocess.run(["bash", str(batch.script), str(item), str(batch.attempt)], env=self.settings.environment)
        tasks = tuple(str(item) for item in batch.items)
        made = Submission(launcher="desk", name=batch.name, job_id=batch.name, items=batch.items, tasks=tasks)
        self.made[batch.name] = made
        return made
    def find(self, batch):
        return self.made.get(batch.name)
    def poll(self, submissions):
        gone = TaskStatus(state=State.GONE, raw="COMPLETED")
        return {(s.name, item): gone for s in submissions for item in s.items}
    def cancel(self, submissions, *, items=None):
        pass
    def largest_index(self):
        return None
    def elapsed(self, submissions, *, ask=True):
        return {(s.name, item): 1.0 for s in submissions for item in s.items}
    def held(self, submissions):
        return {}
    def test_only(self, batch):
        return None
"""


def desk(install: Install, code: str = CODE) -> None:
    install("lab_desk", {"roundtable.launchers": {"desk": "desk_entry:ENTRY"}}, desk_entry=ENTRY, desk_code=code)


def test_a_study_is_trained_with_it(install: Install, tmp_path: Path) -> None:
    desk(install)
    tune(
        TuneOptions(
            task="demo",
            trainer=str(NOOP),
            output_dir=tmp_path / "runs",
            auto_train=True,
            launcher="desk",
            candidates=2,
            max_rounds=2,
            confirm="never",
            data={"log": str(tmp_path / "log")},
        )
    )
    study = Study(tmp_path / "runs" / "demo")
    assert [str(seen.outcome) for seen in study.history] == ["ok"] * 4


def test_what_it_can_do_is_known_without_its_code(install: Install) -> None:
    desk(install, "raise ImportError('asked too early')")
    assert capabilities_of("desk").system == "desk"
    assert "desk_code" not in sys.modules
    with pytest.raises(InvalidPlugin, match=r"the launcher desk cannot be made \(desk_code:make\): ImportError"):
        make_launcher("desk")


def test_a_journal_of_one_that_is_gone_is_answered_with_those_there_are(install: Install) -> None:
    desk(install)
    with pytest.raises(UsageError, match="no launcher 'gone': choose one of submitit, sbatch, local, desk"):
        capabilities_of("gone")


def test_what_it_raises_is_unknown_and_never_nothing_runs(install: Install, tmp_path: Path) -> None:
    """A submission that failed half way is looked up by its name before another one is made."""
    failing = CODE.replace("        return self.made.get(batch.name)", "        return 1 / 0").replace(
        "        tasks = tuple", "        raise ConnectionError('cut off')\n        tasks = tuple"
    )
    desk(install, failing)
    launcher = make_launcher("desk", LaunchSettings(environment={"PATH": "/usr/bin:/bin"}))
    batch: Batch = Round(tmp_path / "round_1", SlurmSettings()).batch("one", [0])
    with pytest.raises(
        AmbiguousSubmission, match=r"the launcher desk \(desk_code:make\) failed: ConnectionError: cut"
    ):
        launcher.submit(batch)
    with pytest.raises(SchedulerUnavailable, match="failed: ZeroDivisionError"):
        launcher.find(batch)


def test_a_task_that_it_says_nothing_of_is_unknown(install: Install) -> None:
    desk(install, CODE.replace("for item in s.items}\n    def cancel", "for item in s.items[1:]}\n    def cancel"))
    made = Submission(launcher="desk", name="a", job_id="a", items=(3, 4), tasks=("3", "4"))
    with pytest.raises(SchedulerUnavailable, match="poll said nothing of a, task 3"):
        make_launcher("desk").poll([made])
