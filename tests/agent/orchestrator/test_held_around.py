"""A preparation or evaluation that is held: status says so, with the remedy, while the rows have nothing to tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.api import tick_once
from agent.api.steer import collect_round, retry_rows
from agent.errors import MissingResults, RoundCancelled
from agent.launch.reasons import around_line, explain, job_list, waiting_line
from agent.launch.states import format_time
from agent.orchestrator.training.submissions import submissions
from agent.report.overview import overview
from agent.report.status import open_table
from agent.store.store import Store
from agent.store.study import Settings
from tests.agent.orchestrator.conftest import Lab
from tests.cases.fake_slurm import FakeSlurm
from tests.cases.simulated_cluster import put_results


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm(tmp_path / "bin")
    fake.answer("sbatch", "4242\n")
    monkeypatch.setenv("PATH", fake.environment()["PATH"])
    return fake


def begin(lab: Lab, **options: Any) -> Store:
    from agent.api.begin import begin

    store = begin(lab.options(**options))
    store.put_settings(Settings(auto_train=True, launcher="sbatch", target_round=1, poll_s=0.001))
    tick_once(store)
    return Store.open(store.paths.root)


def shown(store: Store) -> list[dict[str, Any]]:
    state = overview(Store.open(store.paths.root))["open"]
    return [group for group in state["pending"] if "kind" in group]


def queue(fake: FakeSlurm, store: Store, kind: str, reason: str) -> None:
    paths = store.at_work()[0]  # type: ignore[index]
    ((_, made),) = submissions(store, paths, kind)
    at = format_time(made.submitted_at)
    rest = "".join(
        f"{one.tasks[0]}|RUNNING|{at}|0:10|n1|None|{one.name}\n"
        for other in ("train", "eval")
        if other != kind
        for _, one in submissions(store, paths, other)
    )
    fake.answer("squeue", f"{rest}{made.tasks[0]}|PENDING|{at}|0:00||{reason}|{made.name}\n")


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("JobHeldUser", "held by a person: `scontrol release 4242` lets it go"),
        ("launch failed requeued held", "see the node's state, then `scontrol release 4242`"),
        ("DependencyNeverSatisfied", "`roundtable cancel`, then `roundtable retry`"),
        ("QOSMaxWallDurationPerJobLimit", "ask for less in the profile"),
    ],
)
def test_a_held_evaluation_is_shown_with_its_remedy(lab: Lab, fake: FakeSlurm, reason: str, remedy: str) -> None:
    store = begin(lab)
    queue(fake, store, "eval", reason)
    # While the row still trains, and when only the evaluation is left.
    for ended in (False, True):
        if ended:
            put_results(store.at_work()[0], [0])  # type: ignore[index]
        report = tick_once(Store.open(store.paths.root))
        (group,) = shown(store)
        assert (group["kind"], group["reason"], group["needs_action"]) == ("eval", reason, True)
        assert group["text"].startswith("the evaluation (SLURM job 4242) is pending: ") and remedy in group["text"]
        assert report.state == "waiting" and (remedy in report.message) is ended
        json.dumps(group)
    from rich.console import Console

    console = Console(width=200, record=True)
    console.print(open_table(overview(Store.open(store.paths.root))["open"]))
    assert f"needs you: the evaluation (SLURM job 4242) is pending: {reason}" in console.export_text()


def test_what_only_waits_its_turn_needs_nobody(lab: Lab, fake: FakeSlurm) -> None:
    store = begin(lab)
    queue(fake, store, "eval", "Dependency")
    tick_once(store)
    assert shown(store) == []
    put_results(store.at_work()[0], [0])  # type: ignore[index]
    queue(fake, store, "eval", "Priority")
    report = tick_once(Store.open(store.paths.root))
    (group,) = shown(store)
    assert not group["needs_action"] and "waits its turn" in group["text"]
    assert report.message.endswith("evaluating")


@pytest.mark.parametrize(
    ("rows", "command"),
    [((1,), "scontrol release 4242_1"), ((0, 2, 3), "scontrol release '4242_[0,2-3]'")],
)
def test_held_rows_are_shown_with_the_line_that_releases_them(
    lab: Lab, fake: FakeSlurm, rows: tuple[int, ...], command: str
) -> None:
    store = begin(lab, seeds=(0, 1, 2, 3))
    ((_, made),) = submissions(store, store.at_work()[0], "train")  # type: ignore[index]
    at = format_time(made.submitted_at)
    reasons = {row: "JobHeldUser" if row in rows else "Priority" for row in range(4)}
    lines = (f"{made.tasks[row]}|PENDING|{at}|0:00||{why}|{made.name}\n" for row, why in reasons.items())
    fake.answer("squeue", "".join(lines))
    tick_once(Store.open(store.paths.root))
    held, others = overview(Store.open(store.paths.root))["open"]["pending"]
    assert held["needs_action"] and f"held by a person: `{command}` lets it go" in held["text"]
    assert others["reason"] == "Priority" and "jobs" not in others


def test_on_another_cluster_the_line_names_it() -> None:
    assert job_list(["7_1", "7_2", "8", "9_4"]) == ["7_[1-2]", "8", "9_4"]
    line = waiting_line(explain("JobHeldUser"), 2, "1-2", ["7_[1-2]"], "gpu cluster")
    assert "`scontrol --clusters='gpu cluster' release '7_[1-2]'` lets it go" in line
    assert "`scontrol --clusters=c2 release 9` lets it go" in around_line("eval", "9", explain("JobHeldUser"), "c2")


def cancel_evaluation(fake: FakeSlurm, store: Store) -> None:
    """Accounting as it is after `scancel` of each evaluation."""
    made = [one for _, one in submissions(store, store.at_work()[0], "eval")]  # type: ignore[index]
    fake.answer("squeue")
    ends = [(one, format_time(one.submitted_at)) for one in made]
    lines = (f"{one.tasks[0]}|CANCELLED by 0|0:0|00:00:03|{at}|{at}|n1|{one.name}\n" for one, at in ends)
    fake.answer("sacct", "".join(lines))


@pytest.mark.parametrize("go_on", ["retry", "collect"])
def test_an_evaluation_that_a_person_cancelled_alone_halts_the_round(lab: Lab, fake: FakeSlurm, go_on: str) -> None:
    """With scancel, when the rows had ended: it was started again at each look, against their will."""
    root = begin(lab).paths.root
    put_results(Store.open(root).at_work()[0], [0])  # type: ignore[index]
    for count in (1, 2):
        cancel_evaluation(fake, Store.open(root))
        for _ in range(2):
            with pytest.raises(RoundCancelled, match=r"evaluation of round 1 was cancelled with scancel \(by root\)"):
                tick_once(Store.open(root))
        store = Store.open(root)
        assert len(submissions(store, store.at_work()[0], "eval")) == count  # type: ignore[index]
        if go_on == "retry":
            report, rows = retry_rows(root)
            assert rows == [] and report.message == "round 1: evaluation started again"
        else:
            with pytest.raises(MissingResults, match="evaluation started again"):
                collect_round(root)
        store = Store.open(root)
        assert len(submissions(store, store.at_work()[0], "eval")) == count + 1  # type: ignore[index]
