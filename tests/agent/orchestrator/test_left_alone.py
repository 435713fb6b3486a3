"""A study that is left alone: stop files, keys that are gone, settings of earlier versions, caps on whole waves."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from agent.api import tick_once
from agent.api.begin import begin
from agent.api.control import StartOptions, start, stop
from agent.errors import BudgetExceeded, UsageError
from agent.store.control import request_stop
from agent.store.events import Submitted, Wave
from agent.store.study import Settings
from tests.agent.orchestrator.conftest import Lab, wait_for
from tests.agent.orchestrator.test_policy_rounds import fails, setup_profile, told
from tests.agent.orchestrator.test_rounds import edit
from tests.cluster.cluster import Cluster

__all__ = ["told"]


def slow_study(lab: Lab) -> None:
    edit(begin(lab.options()).paths.reference, "mode", "slow")


def test_line_33_a_waiting_tune_ends_at_the_stop_file_and_its_trials_go_on(lab: Lab) -> None:
    slow_study(lab)
    stopper = threading.Thread(target=lambda: (wait_for(lambda: lab.trained), request_stop(lab.store())))
    stopper.start()
    outcome = lab.tune(max_rounds=2)
    stopper.join()
    assert (outcome.state, outcome.closed) == ("stopped", 0) and lab.said("stop.json was written")
    wait_for(lambda: list((lab.root / "demo").glob("round_1_*/trials/*/attempt_1/result.json")))
    # Called in spite of the file that is there: it goes on, and trains nothing twice.
    assert lab.tune(max_iterations=1).closed == 1
    assert len(lab.trained) == 1


def test_a_table_that_settings_held_once_is_passed_over_and_said(lab: Lab) -> None:
    lab.tune()
    path = lab.store().paths.settings
    path.write_text(json.dumps(json.loads(path.read_text()) | {"max_attempts": 7}))
    assert lab.tune().closed == 1
    assert lab.said("max_attempts is not used any more: policy.yaml")
    assert "max_attempts" not in json.loads(path.read_text())
    lab.lines.clear()
    lab.tune()
    assert not lab.said("max_attempts")


def test_other_unknown_settings_are_still_refused(lab: Lab) -> None:
    lab.tune()
    path = lab.store().paths.settings
    path.write_text(json.dumps(json.loads(path.read_text()) | {"max_atempts": 7}))
    with pytest.raises(Exception, match="max_atempts"):
        lab.tune()


@pytest.mark.parametrize("launcher", ["local"])
def test_no_task_inherits_a_key_whose_variable_a_person_named(
    lab: Lab, launcher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_OWN_KEY", "sk-must-never-arrive")
    monkeypatch.setenv("MY_OWN_WORD", "may-arrive")
    seen = lab.root / "seen"
    profile = setup_profile(lab, f'env > "{seen}.$roundtable_item"')
    options: dict[str, Any] = {"provider": "custom", "base_url": "http://127.0.0.1:9", "model": "m"}
    lab.tune(launcher=launcher, profile=profile, key_env="MY_OWN_KEY", **options)
    environment = Path(f"{seen}.0").read_text()
    assert "may-arrive" in environment and "must-never-arrive" not in environment and "MY_OWN_KEY" not in environment


@pytest.mark.cluster
def test_no_controller_inherits_a_named_key_nor_is_it_counted_on(
    lab: Lab, slurm: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SLURM keeps a job's environment on disk: a key must come from .env."""
    monkeypatch.chdir(lab.root)
    monkeypatch.setenv("MY_OWN_KEY", "sk-must-never-arrive")
    seen = lab.root / "seen"
    (lab.root / "profile.yaml").write_text(f"partition: main\nsetup: ['env > \"{seen}\"']\n")
    options: dict[str, Any] = {"provider": "custom", "base_url": "http://127.0.0.1:9", "model": "m"}
    lab.tune(profile=lab.root / "profile.yaml", key_env="MY_OWN_KEY", **options)
    seen.unlink()
    root = lab.store().paths.root
    again = StartOptions(controller="slurm", launcher="sbatch", max_iterations=2)
    with pytest.raises(UsageError, match=r"MY_OWN_KEY.*put them into .*\.env"):
        start(root, again, say=lab.lines.append)
    (lab.root / ".env").write_text("MY_OWN_KEY=sk-of-the-file\n")
    assert start(root, again, say=lab.lines.append) is None
    wait_for(lambda: seen.exists() and "SLURM_JOB_ID" in seen.read_text(), seconds=60)
    assert "MY_OWN_KEY" not in seen.read_text()
    stop(root, now=True, say=lab.lines.append)
    slurm.drain()


@pytest.mark.parametrize("controller", ["foreground", "cron"])
def test_start_refuses_requeues_where_there_is_no_queue(lab: Lab, controller: str) -> None:
    lab.tune()
    options = StartOptions(controller=controller, requeue_on_timeout=True, max_iterations=2)
    with pytest.raises(UsageError, match=r"--requeue-on-timeout.*--launcher local"):
        start(lab.store().paths.root, options, say=lab.lines.append)
    assert lab.store().settings().requeue_on_timeout is None


def test_scripts_for_a_person_may_requeue_where_there_is_no_slurm(lab: Lab) -> None:
    lab.tune(auto_train=False, slurm=True, requeue_on_timeout=True)
    (script,) = (lab.root / "demo").glob("round_1_*/train_*.slurm")
    assert "#SBATCH --requeue\n" in script.read_text()


def test_a_tick_without_the_key_collects_and_then_says_what_is_missing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lab.root)  # no .env here
    monkeypatch.setenv("MY_OWN_KEY", "sk-0123456789")
    slow_study(lab)
    store = lab.store()
    config = {"provider": "custom", "base_url": "http://127.0.0.1:9", "model": "m", "key_env": "MY_OWN_KEY"}
    settings = {"provider": "custom", "proposer": "llm", "llm": config, "target_round": 2}
    store.put_settings(Settings(auto_train=True, **settings))  # type: ignore[arg-type]
    assert tick_once(store).state == "waiting"
    monkeypatch.delenv("MY_OWN_KEY")
    closed = lab.root / "demo"

    def missing() -> bool:
        try:
            return bool(tick_once(lab.store()).state == "finished")
        except UsageError as error:
            assert "MY_OWN_KEY" in str(error)
            return True

    wait_for(missing)
    assert len(list(closed.glob("round_1_*/round.json"))) == 1
    assert not list(closed.glob("round_2_*")), "a round that needs the model is not begun"


def test_line_34_a_wave_of_retries_is_held_against_the_cap_as_a_whole(
    lab: Lab, told: dict[tuple[int, int], tuple[str, str, str]]
) -> None:
    """Two groups (more memory, more time): none is handed over where both together are too much."""
    begin(lab.options(seeds=(0, 1, 2, 3))).put_settings(Settings(result_grace_s=0.0))
    told |= {(0, 1): ("OUT_OF_MEMORY", "0:125", "n1"), (1, 1): ("TIMEOUT", "0:0", "n2")}
    broken = (fails(0, "exit 7"), fails(1, "exit 7"))
    profile = setup_profile(lab, *broken, cpus=1, mem="1G", time="01:00:00")
    # 5 hours go into the first submission; a retry of one row takes 1 (+1 to evaluate), of the other 1.5 (+1).
    with pytest.raises(BudgetExceeded, match="are left"):
        lab.tune(profile=profile, seeds=(0, 1, 2, 3), max_cpu_hours=7.2)
    waves = list(lab.store().journal.of(Wave))
    assert len(waves) == 1 and len(waves[0].groups) == 2
    assert [e.attempt for e in lab.store().journal.of(Submitted) if e.kind == "train"] == [1]
    assert lab.tune(profile=profile, seeds=(0, 1, 2, 3), max_cpu_hours=20, max_iterations=1).closed == 1
    assert [e.attempt for e in lab.store().journal.of(Submitted) if e.kind == "train"] == [1, 2, 2]
