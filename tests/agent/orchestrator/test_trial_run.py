"""`sbatch --test-only` for every script of a round before the first is submitted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agent.api import tick_once
from agent.api.dry_run import dry_run
from agent.errors import LaunchError, StudyPaused
from agent.orchestrator.training.circuit_breaker import FAILED_SUBMISSIONS
from agent.store.events import Intent, Submitted
from agent.store.study import Settings
from tests.agent.orchestrator.conftest import Lab
from tests.cases.fake_slurm import FakeSlurm
from tests.cluster.cluster import Cluster

#: Answers by whether --test-only is asked and about which kind of script; a submission gets an id.
SBATCH = """#!/bin/sh
here=$(dirname "$0")
kind=train
case "$*" in */eval_*) kind=eval ;; */prepare_*) kind=prepare ;; esac
how=real
case " $* " in *" --test-only "*) how=test ;; esac
echo "$how $kind" >> "$here/sbatch.said"
if [ -e "$here/$how.$kind" ]; then . "$here/$how.$kind"; fi
if [ $how = test ]; then
    echo "sbatch: Job 7 to start at 2031-02-03T04:05:06 using 1 processors on nodes n1 in partition main" >&2
    exit 0
fi
echo 4242
"""
NO_NODE = 'echo "allocation failure: Requested node configuration is not available" >&2; exit 1'


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm(tmp_path / "bin")
    (fake.folder / "sbatch").write_text(SBATCH)
    (fake.folder / "sinfo").write_text((fake.folder / "squeue").read_text())
    (fake.folder / "sinfo").chmod(0o755)
    fake.answer("sinfo", "main|8|20000|idle|1|(null)|avx\n")
    monkeypatch.setenv("PATH", fake.environment()["PATH"])
    return fake


def begin(lab: Lab, text: str = "partition: main\n", **settings: Any) -> None:
    from agent.api.begin import begin

    fields: dict[str, Any] = {"auto_train": True, "launcher": "sbatch", "candidates": 1, "target_round": 1}
    store = begin(lab.options(seeds=(0, 1)))
    store.put_settings(Settings(**(fields | settings)))
    store.paths.profile.write_text(text)


def said(fake: FakeSlurm) -> Counter[str]:
    path = fake.folder / "sbatch.said"
    return Counter(path.read_text().splitlines()) if path.exists() else Counter()


def answers(fake: FakeSlurm, what: str, lines: str) -> None:
    (fake.folder / what).write_text(lines + "\n")


def test_each_script_is_asked_about_once_a_round_before_any_is_submitted(lab: Lab, fake: FakeSlurm) -> None:
    begin(lab, "partition: main\nmax_array_size: 1\n")
    for _ in range(3):
        tick_once(lab.store())
    calls = (fake.folder / "sbatch.said").read_text().splitlines()
    assert calls == ["test train", "test eval", "real train", "real train", "real eval"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("Invalid partition name specified", r"set `partition` in the cluster profile"),
        ("Invalid account or account/partition combination specified", r"set `account` in the cluster profile"),
        ("Invalid feature specification", r"set another `constraint`"),
        ("Memory specification can not be satisfied", r"lower `mem`"),
    ],
)
def test_an_evaluation_that_would_be_refused_keeps_the_training_back(
    lab: Lab, fake: FakeSlurm, answer: str, words: str
) -> None:
    begin(lab)
    answers(fake, "test.eval", f'echo "allocation failure: {answer}" >&2; exit 1')
    expected = rf"sbatch refused eval_demo_round1.slurm: .*{answer}.*{words}.*under `eval`.*Nothing of round 1 was"
    with pytest.raises(LaunchError, match=expected):
        tick_once(lab.store())
    assert not any(call.startswith("real") for call in said(fake))
    assert not list(lab.store().journal.of(Intent, Submitted))
    # Mended, the round goes on where it was.
    (fake.folder / "test.eval").unlink()
    tick_once(lab.store())
    assert said(fake)["real train"] == said(fake)["real eval"] == 1


def test_a_refusal_that_nobody_mends_pauses_an_unattended_study(lab: Lab, fake: FakeSlurm) -> None:
    begin(lab)
    answers(
        fake,
        "test.train",
        'echo "sbatch: error: invalid partition specified: x" >&2; '
        'echo "allocation failure: Invalid partition name specified" >&2; exit 1',
    )
    for _ in range(FAILED_SUBMISSIONS):
        with pytest.raises(LaunchError):
            tick_once(lab.store())
    with pytest.raises(StudyPaused, match="submissions in a row were refused"):
        tick_once(lab.store())
    assert said(fake) == {"test train": FAILED_SUBMISSIONS}


@pytest.mark.parametrize(
    "lines",
    [
        'echo "sbatch: unrecognized option --test-only" >&2; exit 255',
        'echo "our wrapper takes no option test-only" >&2; exit 1',
        'echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2; exit 1',
        'echo "allocation failure: Requested nodes are busy" >&2; exit 1',
        'echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2; '
        'echo "allocation failure: Job violates accounting/QOS policy" >&2; exit 1',
        "kill -9 $$",
        "exit 3",
        "echo 12345; exit 0",
        'echo "welcome to the cluster"; exit 0',
    ],
)
def test_a_site_whose_test_only_answers_oddly_is_no_obstacle(lab: Lab, fake: FakeSlurm, lines: str) -> None:
    begin(lab)
    answers(fake, "test.train", lines)
    answers(fake, "test.eval", lines)
    tick_once(lab.store())
    assert said(fake) == {"test train": 1, "test eval": 1, "real train": 1, "real eval": 1}


@pytest.mark.parametrize(
    ("nodes", "refused"),
    [
        ("main|8|20000|idle|1|(null)|avx\n", True),
        ("main|8|20000|drained|4|(null)|avx\n", False),
        ("main|8|20000|idle|3|(null)|avx\nmain|64|20000|down*|1|(null)|avx\n", False),
        ("main|2|20000|idle|1|(null)|avx\nother|8|20000|down|1|(null)|avx\n", True),
        ("", False),
    ],
)
def test_what_no_node_offers_is_told_from_nodes_that_come_back(
    lab: Lab, fake: FakeSlurm, nodes: str, refused: bool
) -> None:
    """Measured on 22.05: with every node drained, --test-only refuses what sbatch takes and lets wait."""
    begin(lab, "partition: main\ncpus: 4\n")
    fake.answer("sinfo", nodes)
    answers(fake, "test.train", NO_NODE)
    if refused:
        with pytest.raises(LaunchError, match=r"node configuration is not available.*ask for less"):
            tick_once(lab.store())
    else:
        tick_once(lab.store())
    assert said(fake)["real train"] == (0 if refused else 1)


def test_a_node_that_was_just_resumed_is_asked_about_twice(lab: Lab, fake: FakeSlurm) -> None:
    """Seen on a real cluster: sbatch judged by a node that was still drained, and sinfo, asked next, had it idle."""
    begin(lab, "partition: main\ncpus: 4\n")
    fake.answer("sinfo", "main|8|20000|idle|1|(null)|avx\n")
    once = f'if mkdir "$here/asked.before" 2>/dev/null; then {NO_NODE}; fi'
    answers(fake, "test.train", once)
    tick_once(lab.store())
    assert said(fake) == {"test train": 2, "test eval": 1, "real train": 1, "real eval": 1}


def test_the_dry_run_asks_once_a_script_and_says_where_the_keys_stand(lab: Lab, fake: FakeSlurm) -> None:
    profile = lab.root / "p.yaml"
    profile.write_text("partition: main\nmax_array_size: 2\n")
    answers(fake, "test.eval", 'echo "allocation failure: Invalid qos specification" >&2; exit 1')
    found = dry_run(lab.options(launcher="sbatch", seeds=(0, 1, 2, 3), profile=profile))
    assert said(fake) == {"test train": 1, "test eval": 1}
    (refusal,) = found.refusals
    assert "set `qos` in the cluster profile" in refusal and "stands under `eval`" in refusal
    assert sum(line.startswith("$ sbatch") for line in found.lines) == 2


@pytest.mark.cluster
@pytest.mark.parametrize("launcher", ["sbatch", "submitit"])
def test_a_real_cluster_refuses_an_evaluation_before_the_training_is_in_the_queue(
    lab: Lab, slurm: Cluster, launcher: str
) -> None:
    profile = lab.root / "p.yaml"
    profile.write_text('partition: main\ncpus: 1\ntime: "00:10:00"\neval: {partition: nosuch}\n')
    with pytest.raises(LaunchError, match=r"eval_demo_round1.slurm: .*invalid partition specified: nosuch"):
        lab.tune(launcher=launcher, profile=profile, poll_s=0.3)
    assert slurm.run(["squeue", "-h"], check=True).stdout == ""
    profile.write_text('partition: main\ncpus: 1\ntime: "00:10:00"\n')
    assert lab.tune(launcher=launcher, profile=profile, poll_s=0.3).closed == 1
