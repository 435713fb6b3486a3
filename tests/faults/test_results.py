"""Results that come late, ids that SLURM gives out again, rows that somebody else has claimed."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.api import Study, tick_once, tune
from agent.budget import Ledger
from agent.store.store import Store
from tests.agent.orchestrator.conftest import Lab
from tests.cluster.cluster import Cluster
from tests.cluster.config import ClusterConfig
from tests.cluster.fixtures import require_cluster
from tests.faults.case_limits import assert_sound, ends, hurry, profile, queued
from tests.faults.case_limits import drained as drained
from tests.faults.case_limits import lab as lab

ROOT = Path(__file__).parents[2]


# -- late results --------------------------------------------------------------------------------------------------


class SlowFiles:
    """A shared filesystem on which the first attempt's result does not show until it is told to."""

    def __init__(self, lab: Lab, *, then: str = "true") -> None:
        """then: what later attempts do before they begin."""
        self.lab = lab
        self.hidden = lab.root / "hidden"
        self.hidden.mkdir()
        script = lab.root / "hide.sh"
        script.write_text(f"""
cd "$(dirname "$0")"
PYTHONPATH={ROOT} {sys.executable} -m trainers.job train --round-dir . --row "$roundtable_item" --attempt 1
for file in trials/c00_f0_s"$roundtable_item"/attempt_1/{{result,exit}}.json; do
    mkdir -p "{self.hidden}/$(dirname "$file")" && mv "$file" "{self.hidden}/$file"
done
exit 0
""")
        first = f'if [[ "$0" = */train_* && "$roundtable_attempt" = 1 ]]; then . "{script}"; fi'
        self.setup = [first, f'if [[ "$0" = */train_* ]]; then {then}; fi']

    def show(self, store: Store) -> None:
        """The files appear."""
        [folder] = store.paths.root.glob("round_1_*")
        shutil.copytree(self.hidden, folder, dirs_exist_ok=True)


def when(event: str, then: Callable[[Store], None]) -> Callable[[Store, Any], None]:
    """A watcher that does something once the journal has this event."""
    done: list[str] = []

    def watch(store: Store, report: Any) -> None:
        if not done and list(store.journal.of(event)):
            done.append(event)
            then(store)

    return watch


def arrays(lab: Lab) -> list[tuple[int, list[int]]]:
    return [(e["attempt"], e["items"]) for e in lab.store().journal.of("submitted") if e["kind"] == "train"]


@pytest.mark.cluster
def test_line_22_a_result_that_appears_within_the_grace_period_is_taken(lab: Lab, drained: Cluster) -> None:
    files = SlowFiles(lab)
    hurry(lab, seeds=2, result_grace_s=60.0)
    options = lab.options(launcher="sbatch", profile=profile(lab, setup=files.setup), seeds=(0, 1), poll_s=0.3)
    assert tune(options, watch=when("gone", files.show)).closed == 1
    assert ends(lab) == [] and arrays(lab) == [(1, [0, 1])]
    assert sorted(lab.trained) == ["1 c00 0 0", "1 c00 0 1"]
    assert_sound(lab, drained)


@pytest.mark.cluster
def test_line_22_a_result_that_appears_after_it_counts_and_its_retry_is_stopped(lab: Lab, drained: Cluster) -> None:
    """Nothing that was finished is lost, and nothing goes on for a row that has its result."""
    files = SlowFiles(lab, then="sleep 600")
    hurry(lab, seeds=2, result_grace_s=0.3)
    options = lab.options(launcher="sbatch", profile=profile(lab, setup=files.setup), seeds=(0, 1), poll_s=0.3)
    assert tune(options, watch=when("wave_submitted", files.show)).closed == 1
    assert ends(lab) == [(0, 1, "no_result"), (1, 1, "no_result")]
    assert arrays(lab) == [(1, [0, 1]), (2, [0, 1])]
    assert sorted(lab.trained) == ["1 c00 0 0", "1 c00 0 1"]
    assert_sound(lab, drained)
