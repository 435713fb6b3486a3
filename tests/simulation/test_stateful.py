"""Rules in any order, chosen and shrunk by hypothesis: a look, a person's act, time, a fault of what comes next.

The same world as elsewhere, driven step by step instead of by a script. Small here; more by
`HYPOTHESIS_PROFILE=long pytest tests/simulation/test_stateful.py`.
"""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.simulation import person, study, tasks
from tests.simulation.conftest import MEMORY
from tests.simulation.script import PERSON, ROWS, SHELL, SUBMISSIONS, Fault, Script, Setting
from tests.simulation.world import World

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
#: Looks after which a study whose faults are over must be.
LOOKS = 400

names = functools.partial(st.sampled_from)


class StudyMachine(RuleBasedStateMachine):
    """One study of two rounds."""

    def __init__(self) -> None:
        super().__init__()
        self.silence = tasks.silence()
        self.home = Path(tempfile.mkdtemp(prefix="rt-sim-", dir=MEMORY if MEMORY.is_dir() else None))
        self.state = ""

    @initialize(seed=st.integers(0, 99), resident=st.booleans(), accounting=st.booleans(), quorum=names((1.0, 0.5)))
    def begin(self, seed: int, resident: bool, accounting: bool, quorum: float) -> None:
        setting = Setting(rounds=2, resident=resident, accounting=accounting, quorum=quorum)
        # Named, so that rules which depend on what may happen know of it.
        acts = [Fault(where="person", at=(0,), what=what) for what in PERSON]
        self.world = World(Script(seed=seed, setting=setting, faults=tuple(acts)), self.home / "world")
        (self.home / "world").mkdir()
        self.world.begin()

    def _look(self, *, kills: frozenset[int] = frozenset(), full: range = range(0), shell: str = "") -> None:
        world = self.world
        world.number += 1
        act = functools.partial(world.attempt, functools.partial(person.act, world, shell))
        world.disk.plan(kills=set(kills), full=full, shells={30: act} if shell else {})
        self.state = world.look()
        assert world.ended.wrong == [], "\n".join([*world.ended.trace, *world.ended.wrong])

    @precondition(lambda self: self.state != "finished")
    @rule()
    def look(self) -> None:
        self._look()

    @rule(change=st.integers(1, 120))
    def look_and_die(self, change: int) -> None:
        self._look(kills=frozenset((change,)))

    @rule(change=st.integers(1, 100))
    def look_on_a_full_disk(self, change: int) -> None:
        self._look(full=range(change, change + 2))

    @rule(what=names(sorted(SHELL)))
    def look_beside_a_second_shell(self, what: str) -> None:
        self._look(shell=what)

    @rule(what=names(sorted(set(PERSON) - {"break_reference"})))
    def act(self, what: str) -> None:
        self.world.disk.plan(kills=set(), full=range(0), shells={})
        self.world.attempt(functools.partial(person.act, self.world, what))

    @rule(seconds=names((1.0, 61.0, 305.0)))
    def wait(self, seconds: float) -> None:
        self.world.cluster.advance(self.world.cluster.now + seconds)

    @rule(row=st.integers(0, 3), what=names(sorted(set(ROWS) - {"requeued"})), late=names((5.0, 100.0, 170.0)))
    def doom_a_row(self, row: int, what: str, late: float) -> None:
        """The next attempt at a row that is submitted ends so."""
        cluster = self.world.cluster
        seconds = late if what.startswith("late") else 0.0
        for number in (1, 2):
            for attempt in range(1, 9):
                fault = Fault(where="row", at=(number, row, attempt), what=what, seconds=seconds)
                if fault.at not in cluster.rows and attempt < 3:
                    cluster.rows[fault.at] = fault
                    return

    @rule(what=names(sorted(SUBMISSIONS)), late=names((30.0, 290.0)))
    def doom_a_submission(self, what: str, late: float) -> None:
        number = self.world.programs.calls["sbatch"] + 1
        fault = Fault(where="sbatch", at=(number,), what=what, seconds=late if what == "late" else 0.0)
        self.world.programs.submissions[number] = fault

    def teardown(self) -> None:
        """Left alone, the study comes to its end, and all that must hold at an end does."""
        try:
            if hasattr(self, "world"):
                while self.state != "finished" and self.world.number < LOOKS:
                    self._look()
                    self.world.wait()
                assert self.state == "finished", "\n".join(self.world.ended.trace)
                assert list(self.world.finish()) == []
        finally:
            self.silence()
            shutil.rmtree(self.home, ignore_errors=True)
            study.beginning.cache_clear()


StudyMachine.TestCase.settings = settings(
    max_examples=500 if LONG else 15,
    stateful_step_count=40 if LONG else 12,
    deadline=None,
    derandomize=not LONG,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestStudyMachine = StudyMachine.TestCase
