"""A launcher that takes only so many rows at a time: submissions shrink and grow, and nothing is handed over twice.

The same on a real cluster's limits is in tests/faults/test_limits.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from agent.api import tick_once
from agent.api.begin import begin
from agent.errors import SubmitLimit
from agent.launch.catalogue import capabilities_of
from agent.launch.local import LocalLauncher
from agent.store.events import Deferred, Submitted
from agent.store.study import Settings
from tests.agent.orchestrator.conftest import Lab


class Killed(BaseException):
    """No handler of ours may stop it."""


class Narrow:
    """The local launcher under a name that has a queue, which takes `most` rows at once."""

    name = "sbatch"
    capabilities = capabilities_of(name)

    def __init__(self, most: int, *, own: bool = True) -> None:
        self.local = LocalLauncher()
        self.most = most
        self.own = own
        self.tried: list[int] = []
        self.dies = False

    def submit(self, batch: Any) -> Any:
        if batch.kind == "train":
            self.tried.append(len(batch.items))
            if len(batch.items) > self.most:
                raise SubmitLimit("no more jobs of yours now", own=self.own)
        made = self.local.submit(batch)
        if self.dies:
            raise Killed
        return made

    def __getattr__(self, name: str) -> Any:
        return getattr(self.local, name)


def narrow(lab: Lab, monkeypatch: pytest.MonkeyPatch, most: int, *, own: bool = True) -> Narrow:
    launcher = Narrow(most, own=own)
    monkeypatch.setattr("agent.api.wiring._launcher", lambda *_: launcher)
    monkeypatch.setattr("agent.api.run.LOCAL_LOOK_S", 0.05)
    begin(lab.options(seeds=tuple(range(8)))).put_settings(Settings(adopt_after_s=0.0, auto_train=True))
    return launcher


def arrays(lab: Lab) -> list[list[int]]:
    return [list(entry.items) for entry in lab.store().journal.of(Submitted) if entry.kind == "train"]


def test_arrays_shrink_until_they_fit_and_grow_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = narrow(lab, monkeypatch, 3)
    assert lab.tune(seeds=tuple(range(8)), poll_s=0.1).closed == 1
    assert launcher.tried == [8, 4, 2, 2, 2, 2]
    assert arrays(lab) == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert [entry.rows for entry in lab.store().journal.of(Deferred)] == [8, 4]
    assert sorted(lab.trained) == [f"1 c00 0 {seed}" for seed in range(8)]


def test_what_is_in_doubt_keeps_its_rows_although_the_limit_is_gone(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the submission and its record; the next call would have split the rows otherwise."""
    launcher = narrow(lab, monkeypatch, 3)
    launcher.dies = True
    with pytest.raises(Killed):
        lab.tune(seeds=tuple(range(8)), poll_s=0.1)
    assert arrays(lab) == []
    launcher.dies, launcher.most = False, 100
    assert lab.tune(seeds=tuple(range(8)), poll_s=0.1, max_iterations=1).closed == 1
    assert arrays(lab)[0] == [0, 1] and sorted(row for part in arrays(lab) for row in part) == list(range(8))
    assert next(entry.adopted for entry in lab.store().journal.of(Submitted))
    assert sorted(lab.trained) == [f"1 c00 0 {seed}" for seed in range(8)]


def test_a_full_queue_of_the_whole_cluster_is_asked_once_a_look(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """sbatch has waited for two minutes each time."""
    launcher = narrow(lab, monkeypatch, 0, own=False)
    for _ in range(3):
        report = tick_once(lab.store())
        assert report.state == "waiting" and "no more jobs" in report.message
    assert launcher.tried == [8, 4, 2] and not lab.trained


def test_a_study_that_was_only_deferred_counts_as_not_begun(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reference may still be changed, and its round is rendered anew."""
    launcher = narrow(lab, monkeypatch, 0)
    assert tick_once(lab.store()).state == "waiting"
    assert launcher.tried == [8, 4, 2, 1]
    reference = lab.store().paths.reference
    reference.write_text(reference.read_text().replace('"default": 0.5', '"default": 0.25'))
    launcher.most = 100
    assert lab.tune(seeds=tuple(range(8)), poll_s=0.1, max_iterations=1).closed == 1
    [candidate] = lab.store().round_record(lab.store().closed()[0]).candidates
    assert candidate.values["x"] == 0.25
