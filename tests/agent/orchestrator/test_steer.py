"""Steering the open round by hand: submit, collect, retry and cancel, on this machine and on a real SLURM."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from agent.__main__ import main
from agent.api import tick_once, tune
from agent.api.begin import begin
from agent.api.steer import cancellation
from agent.errors import RoundCancelled
from agent.launch.base import Submission
from agent.launch.scheduler import SlurmReader
from agent.orchestrator.training.submissions import submissions
from agent.report.overview import overview
from agent.store.events import Cancelled, Event, Intent, RetryAsked, Submitted
from agent.store.lease import held
from agent.store.requests import cancelled_rows, halted
from agent.store.store import Store
from agent.store.study import Settings
from tests.agent.orchestrator.conftest import Lab, wait_for
from tests.cases.fake_slurm import FakeSlurm
from tests.cluster.cluster import Cluster

E = TypeVar("E", bound=Event)

#: A trainer whose rows (one a seed) do what files beside its log say: hang_SEED, refuse_SEED.
PROGRAM = """
echo "$2" >>"$3/log"
trap 'echo "$2" >>"$3/stopped"; exit 143' TERM
if [ -e "$3/hang_$2" ]; then touch "$3/hangs_$2"; for _ in $(seq 600); do sleep 0.1; done; fi
if [ -e "$3/refuse_$2" ]; then echo "the loss is nan" >&2; exit 3; fi
echo '{"score": 0.5}' >"$1/summary.json"
"""
TRAINER = """
name: steered
description: Does what files say.
command: ["sh", "steered.sh", "{out}", "{seed}", "{data.flags}"]
parameters:
  x: {type: float, low: 0.0, high: 1.0, default: 0.5, description: Nothing}
constraints: []
pass_values: [environment]
objective: {metric: score, direction: maximize}
summary: summary.json
seeds: [0]
bad_config: {exit_codes: [3]}
stop_grace_s: 5
"""
QUICK = {"result_grace_s": 0.3, "poll_s": 0.3}


class Bench:
    """A study of four rows, and what its rows are told to do."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.flags = lab.root / "flags"
        self.flags.mkdir()
        (lab.root / "steered.sh").write_text(PROGRAM)
        (lab.root / "steered.yaml").write_text(TRAINER)

    def options(self, **changes: Any) -> Any:
        fields: dict[str, Any] = {
            "trainer": str(self.lab.root / "steered.yaml"),
            "data": {"flags": str(self.flags)},
            "seeds": (0, 1, 2, 3),
        }
        return self.lab.options(**(fields | changes))

    def begin(self, **settings: Any) -> Store:
        """A study whose next tick submits its first round."""
        store = begin(self.options())
        store.put_settings(Settings(**({"auto_train": True, "launcher": "local", "parallel": 4} | QUICK | settings)))
        return store

    def tick(self) -> Any:
        return tick_once(self.lab.store(), say=self.lab.lines.append)

    def tell(self, *names: str) -> None:
        for name in names:
            (self.flags / name).touch()

    def untell(self, *names: str) -> None:
        for name in names:
            (self.flags / name).unlink()

    def hangs(self, *rows: int) -> Callable[[], bool]:
        return lambda: all((self.flags / f"hangs_{row}").exists() for row in rows)

    @property
    def stopped(self) -> list[int]:
        """Rows that were told to stop while they ran, so that they could save a checkpoint."""
        log = self.flags / "stopped"
        return sorted(int(line) for line in log.read_text().split()) if log.exists() else []

    @property
    def trained(self) -> list[int]:
        log = self.flags / "log"
        return [int(line) for line in log.read_text().split()] if log.exists() else []

    def round(self) -> Any:
        store = self.lab.store()
        return store.paths.round(store.paths.newest()[-1])

    def record(self) -> Any:
        return json.loads(self.round().closed.read_text())

    def journal(self, kind: type[E]) -> list[E]:
        return list(self.lab.store().journal.of(kind))

    def attempts(self, kind: str = "train") -> list[tuple[int, tuple[int, ...]]]:
        return [(number, made.items) for number, made in submissions(self.lab.store(), self.round(), kind)]

    def call(self, command: str, *options: str) -> int:
        return main([command, "--study", str(self.lab.root / "demo"), *options])


@pytest.fixture
def bench(lab: Lab) -> Bench:
    return Bench(lab)


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was printed since the last call, on both streams."""

    def read() -> str:
        said = capsys.readouterr()
        return said.out + said.err

    return read


def ticks(bench: Bench, until: Callable[[], object], seconds: float = 40.0) -> None:
    def look() -> object:
        bench.tick()
        return until()

    wait_for(look, seconds)


# -- cancel ----------------------------------------------------------------------------------------------------------


def test_line_32_cancelling_the_round_stops_everything_and_waits_for_a_person(bench: Bench, out: Any) -> None:
    bench.tell("hang_1", "hang_2")
    bench.begin(parallel=3)
    bench.tick()
    wait_for(bench.hangs(1, 2))
    wait_for(
        lambda: sorted(bench.trained) == [0, 1, 2, 3] and list(bench.round().root.glob("trials/*_s3/*/result.*"))
    )
    assert bench.call("cancel", "--yes") == 0
    said = out()
    assert "2 running (rows 1-2)" in said and "roundtable retry --study " in said
    assert str(bench.lab.root / "demo") in "".join(said.split())
    wait_for(lambda: bench.stopped == [1, 2])
    entry = bench.journal(Cancelled)[0]
    assert (entry.rows, entry.whole, entry.who) == ((1, 2), True, "person")
    assert len(entry.names) == 2, "the training's and the evaluation's queue"
    assert list(bench.lab.store().paths.requests.iterdir()) == []
    with pytest.raises(RoundCancelled, match="round 1 was cancelled"):
        bench.tick()
    view = overview(bench.lab.store())["open"]
    assert [row["state"] for row in view["rows"]] == ["ok", "cancelled", "cancelled", "ok"]
    assert "was cancelled" in view["halted"]
    assert bench.call("status") == 0 and "round 1 was cancelled: `roundtable retry" in " ".join(out().split())
    assert bench.call("cancel", "--yes") == 2 and "nothing to cancel" in out()


def test_line_28_cancelled_rows_are_never_retried_by_themselves_but_a_person_may(bench: Bench, out: Any) -> None:
    bench.tell("hang_1", "hang_3")
    bench.begin()
    bench.tick()
    wait_for(bench.hangs(1, 3))
    assert bench.call("cancel", "--rows", "1,3", "--yes") == 0
    assert "rows 1,3: 2 running (rows 1,3)" in out()
    bench.untell("hang_1", "hang_3")
    assert bench.call("retry", "--rows", "3") in (0, 2)
    # The stop takes a moment: a row that still runs is refused, and nothing is started twice.
    if bench.attempts()[1:] == []:
        wait_for(lambda: bench.call("retry", "--rows", "3") == 0)
    assert bench.attempts() == [(1, (0, 1, 2, 3)), (2, (3,))], "its original index"
    assert bench.attempts("eval")[-1][0] == 2, "a fresh evaluation behind it"
    assert cancelled_rows(bench.lab.store(), bench.round()) == {1}
    ticks(bench, lambda: bench.round().closed.exists())
    assert bench.attempts()[2:] == [], "row 1 was not started again"
    trials = bench.record()["candidates"][0]["trials"]
    assert [trial["outcome"] == "ok" for trial in trials] == [True, False, True, True]
    assert trials[1]["outcome"] == "cancelled" and trials[3]["attempt"] == 2
    assert sorted(bench.trained) == [0, 1, 2, 3, 3]


def test_an_open_rung_is_cancelled_and_retried_as_a_round_is(bench: Bench, out: Any) -> None:
    text = TRAINER.replace('"{data.flags}"]', '"{data.flags}", "{epochs}"]') + "epochs: 9\n"
    (bench.lab.root / "steered.yaml").write_text(text)
    bench.tell("hang_0")
    bench.begin(parallel=3, candidates=3, rungs=2)
    bench.tick()
    wait_for(lambda: bench.trained == [0, 0, 0])
    assert bench.call("cancel", "--rows", "2", "--yes") == 0
    said = out()
    assert "round 1 rung 1 (" in said and "row 2: 1 running (row 2)" in said
    wait_for(lambda: bench.stopped == [0])
    assert bench.call("cancel", "--yes") == 0
    assert "round 1 rung 1 was cancelled" in " ".join(out().split())
    wait_for(lambda: bench.stopped == [0, 0, 0])
    with pytest.raises(RoundCancelled, match="round 1 rung 1 was cancelled"):
        bench.tick()
    assert bench.call("collect", "--round", "2") == 2 and "the open round is 1" in out()
    bench.untell("hang_0")
    wait_for(lambda: bench.call("retry", "--rows", "0-1") == 0)
    rung = bench.lab.store().paths.root / bench.journal(Cancelled)[0].folder
    ticks(bench, lambda: bench.round().closed.exists())
    told = json.loads((rung / "round.json").read_text())
    outcomes = {c["name"]: [(t["outcome"], t["attempt"]) for t in c["trials"]] for c in told["candidates"]}
    assert outcomes == {"c00": [("ok", 2)], "c01": [("ok", 2)], "c02": [("cancelled", 1)]}
    assert set(told["promoted"]) == {"c00", "c01"}, "what a person cancelled goes no further"
    assert [c["name"] for c in bench.record()["candidates"]] == ["c00", "c01"]


def test_a_cancelled_round_is_retried_as_a_whole_or_collected_as_it_is(bench: Bench, out: Any) -> None:
    bench.tell("hang_2", "hang_3")
    bench.begin()
    bench.tick()
    wait_for(bench.hangs(2, 3))
    wait_for(lambda: len(list(bench.round().root.glob("trials/*/*/result.json"))) == 2)
    assert bench.call("cancel", "--yes") == 0
    bench.untell("hang_2")
    (bench.flags / "hangs_3").unlink()
    wait_for(lambda: bench.call("retry") == 0)
    assert bench.attempts()[-1] == (2, (2, 3))
    wait_for(bench.hangs(3))
    wait_for(lambda: len(list(bench.round().root.glob("trials/*/*/result.json"))) == 3)
    assert halted(bench.lab.store(), bench.round()) is None
    assert bench.call("cancel", "--yes") == 0
    wait_for(lambda: bench.call("collect") == 0)
    record = bench.record()
    trials = record["candidates"][0]["trials"]
    assert [trial["outcome"] for trial in trials] == ["ok", "ok", "ok", "cancelled"] and trials[2]["attempt"] == 2
    assert bench.lab.store().open_folder() is None, "collect opens no further round"
    assert "nothing" not in out() and bench.attempts()[2:] == []


def test_line_32_cancel_works_while_another_process_holds_the_lease(bench: Bench, out: Any) -> None:
    bench.tell("hang_0", "hang_1")
    store = bench.begin()
    bench.tick()
    wait_for(bench.hangs(0, 1))
    with held(store.paths.lease):
        assert bench.call("cancel", "--rows", "0", "--yes") == 0
        assert "notes it at its next look" in out()
        wait_for(lambda: bench.stopped)
        assert bench.journal(Cancelled) == [], "only the holder writes the journal"
        assert len(list(store.paths.requests.iterdir())) == 1
        assert bench.call("retry", "--rows", "0") == 2 and "is working on this study" in out()
        assert bench.call("collect") == 2 and "is working on this study" in out()
        assert bench.call("submit") == 2 and "is working on this study" in out()
    bench.tick()
    entry = bench.journal(Cancelled)[0]
    # By then its task is gone; what was asked for is journaled all the same.
    assert entry.rows == (0,) and entry.whole is False
    assert list(store.paths.requests.iterdir()) == []


def test_line_32_a_watching_tune_is_told_and_ends(bench: Bench, out: Any) -> None:
    bench.tell("hang_0", "hang_1", "hang_2", "hang_3")
    caught: list[BaseException] = []

    def watch() -> None:
        try:
            tune(bench.options(), say=bench.lab.lines.append)
        except RoundCancelled as error:
            caught.append(error)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        wait_for(lambda: bench.flags.exists() and any(bench.flags.glob("hangs_*")))
        assert bench.call("cancel", "--yes") == 0
    finally:
        watching.join(30)
    assert not watching.is_alive() and len(caught) == 1
    assert bench.lab.said("cancelled by")
    assert bench.journal(Cancelled)[0].rows == (0, 1, 2, 3)


def test_a_request_that_was_carried_out_but_not_removed_is_journaled_once(bench: Bench) -> None:
    bench.tell("hang_0")
    store = bench.begin()
    bench.tick()
    wait_for(bench.hangs(0))
    wanted = cancellation(store.paths.root, rows=[0])
    kept: dict[Path, str] = {}
    with held(store.paths.lease):
        wanted.carry_out()
        kept = {path: path.read_text() for path in store.paths.requests.iterdir()}
    bench.tick()
    # As a kill between the journal and the removal leaves it.
    for path, text in kept.items():
        path.write_text(text)
    bench.tick()
    assert len(bench.journal(Cancelled)) == 1
    assert list(store.paths.requests.iterdir()) == []


def test_without_a_terminal_cancel_asks_for_yes(bench: Bench, out: Any) -> None:
    bench.tell("hang_0")
    bench.begin()
    bench.tick()
    wait_for(bench.hangs(0))
    assert bench.call("cancel") == 2 and "--yes" in out()
    assert bench.journal(Cancelled) == [] and not bench.lab.store().paths.requests.exists()


@pytest.mark.parametrize(("answer", "cancelled"), [("y\n", 1), ("\n", 0), ("no\n", 0), ("", 0)])
def test_on_a_terminal_cancel_asks(
    bench: Bench, out: Any, monkeypatch: pytest.MonkeyPatch, answer: str, cancelled: int
) -> None:
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    bench.tell("hang_0")
    bench.begin()
    bench.tick()
    wait_for(bench.hangs(0))
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert bench.call("cancel") == 0
    assert "Cancel? [y/N]" in out()
    assert len(bench.journal(Cancelled)) == cancelled


def test_line_27_a_launchers_own_reason_is_shown_as_it_is(bench: Bench, out: Any) -> None:
    bench.tell("hang_0")
    bench.begin(parallel=1)
    bench.tick()
    wait_for(bench.hangs(0))
    bench.tick()
    assert bench.call("status") == 0
    shown = " ".join(out().split())
    assert "3 rows pending: waits for a worker or for an earlier batch" in shown and "needs you" not in shown
    assert bench.call("cancel", "--rows", "1-3", "--yes") == 0
    assert "rows 1-3: 3 pending (rows 1-3)" in out()
    bench.tell("hangs_0")
    assert bench.call("cancel", "--rows", "0", "--yes") == 0
    ticks(bench, lambda: not json.loads(bench.round().pending.read_text())["groups"])
    wait_for(lambda: bench.stopped == [0])
    assert bench.trained == [0], "what is cancelled before its turn never begins"


# -- retry -----------------------------------------------------------------------------------------------------------


def test_failed_rows_are_retried_only_when_asked_for_and_the_new_result_counts(bench: Bench, out: Any) -> None:
    bench.tell("refuse_1", "hang_2", "refuse_3")
    bench.begin()
    bench.tick()
    wait_for(bench.hangs(2))
    wait_for(lambda: len(list(bench.round().root.glob("trials/*/*/result.json"))) == 3)
    assert bench.call("retry") == 2
    said = out()
    assert "row 0 ok; row 2 running or pending; rows 1,3 ended with a failure as the result: see --failed" in said
    bench.untell("refuse_1", "hang_2")
    bench.tell("hang_1")
    assert bench.call("retry", "--failed") == 0
    assert bench.attempts()[-1] == (2, (1, 3))
    assert bench.journal(RetryAsked)[0].source == "person"
    wait_for(bench.hangs(1))
    assert bench.call("cancel", "--rows", "2", "--yes") == 0
    # Rows 1 and 3 have results of attempt 1 already; the round waits for the ones that were asked for.
    for _ in range(8):
        assert bench.tick().state == "waiting"
    assert not bench.round().closed.exists()
    bench.untell("hang_1")
    assert bench.call("cancel", "--rows", "1", "--yes") == 0
    wait_for(lambda: 1 in bench.stopped)
    wait_for(lambda: bench.call("retry", "--rows", "1") == 0)
    ticks(bench, lambda: bench.round().closed.exists())
    trials = bench.record()["candidates"][0]["trials"]
    assert [(trial["attempt"], trial["outcome"]) for trial in trials if trial["row"] in (0, 1, 3)] == [
        (1, "ok"),
        (3, "ok"),
        (2, "bad_config"),
    ]


def test_what_cannot_be_retried_is_refused_by_name(bench: Bench, out: Any) -> None:
    assert main(["retry", "--study", "demo", "--output-dir", str(bench.lab.root)]) == 2
    assert "is no study" in out()
    bench.tell("hang_2")
    bench.begin()
    assert bench.call("retry") == 2 and "there is no round yet" in out()
    bench.tick()
    wait_for(bench.hangs(2))
    wait_for(lambda: len(list(bench.round().root.glob("trials/*/*/result.json"))) == 3)
    assert bench.call("retry", "--rows", "2,4-6") == 2 and "--rows 4-6: round 1 has rows 0-3" in out()
    assert bench.call("retry", "--rows", "0,2") == 2 and "--rows 0: already ok" in out()
    assert bench.call("retry", "--rows", "2") == 2 and "still running or pending" in out()
    assert bench.call("retry", "--rows", "2", "--failed") == 2 and "one of the two" in out()
    assert bench.call("retry", "--round", "2") == 2 and "--round 2: the open round is 1" in out()
    assert bench.call("cancel", "--rows", "9", "--yes") == 2 and "round 1 has rows 0-3" in out()
    assert bench.call("cancel", "--rows", "0-1", "--yes") == 2 and "nothing to cancel" in out()
    assert bench.call("submit") == 2 and "was submitted already: rt-demo-r1-train-1-0" in out()
    assert bench.call("collect") == 3 and "row 2: running" in out()
    bench.untell("hang_2")
    assert bench.journal(RetryAsked) == bench.journal(Cancelled) == []
    assert bench.call("cancel", "--yes") == 0
    wait_for(lambda: bench.call("collect") == 0)
    # Hours that were not known yet are all that is left to collect.
    wait_for(lambda: bench.call("collect") == 2)
    out()
    for command, options in (("retry", ()), ("cancel", ("--yes",)), ("collect", ()), ("submit", ())):
        assert bench.call(command, *options) == 2 and "no round is open (closed rounds: 1)" in out()
        assert bench.call(command, *options, "--round", "1") == 2 and "--force-round 1 runs it again" in " ".join(
            out().replace("`", "").split()
        )


# -- submit and collect ----------------------------------------------------------------------------------------------


def test_a_round_rendered_for_a_person_is_submitted_and_collected_by_command(bench: Bench, out: Any) -> None:
    tune(bench.options(auto_train=False, parallel=4))
    assert bench.call("retry") == 2 and "was not submitted by Roundtable: `roundtable submit" in out()
    assert bench.call("cancel", "--yes") == 2 and "nothing of round 1 was submitted by Roundtable" in out()
    assert bench.call("collect") == 3 and "row 0: c00_f0_s0 has no result" in out()
    bench.tell("hang_3")
    assert bench.call("submit") == 0
    assert "4 rows submitted" in out()
    wait_for(bench.hangs(3))
    assert bench.call("submit") == 2 and "was submitted already" in out()
    assert bench.call("collect") == 3 and "row 3: running" in out()
    # A call in the manual flow goes on watching what was handed over.
    assert bench.tick().state == "waiting"
    bench.untell("hang_3")
    assert bench.call("cancel", "--rows", "3", "--yes") == 0
    wait_for(lambda: bench.call("retry", "--rows", "3") == 0)
    wait_for(lambda: bench.call("collect") == 0)
    store = bench.lab.store()
    assert [paths.number for paths in store.closed()] == [1] and store.open_folder() is None
    assert store.settings().auto_train is False


def test_a_round_that_a_person_has_begun_is_not_submitted_beside_them(bench: Bench, out: Any) -> None:
    import subprocess

    tune(bench.options(auto_train=False))
    subprocess.run(["bash", str(bench.round().script("train")), "2"], check=True, capture_output=True)
    assert bench.call("submit") == 2
    said = out()
    assert "was begun by hand: c00_f0_s2 are claimed" in said and "--force-round 1" in said
    assert bench.attempts() == []


def test_a_submission_in_doubt_is_named_and_cancelled_by_its_name(bench: Bench, out: Any) -> None:
    store = bench.begin(auto_train=False)
    tune(bench.options(auto_train=False))
    paths = bench.round()
    with held(store.paths.lease):
        journal = Store.open(store.paths.root).journal
        journal.append(Intent(name="rt-demo-r1-train-1-0-x", kind="train", folder=paths.root.name, rows=4))
    assert bench.call("submit") == 2 and "rt-demo-r1-train-1-0-x (in doubt" in out()
    assert bench.call("cancel", "--rows", "1", "--yes") == 0 and "waits until it is known" in out()
    assert bench.call("cancel", "--yes") == 0
    assert "submissions in doubt: rt-demo-r1-train-1-0-x" in out()
    assert bench.journal(Cancelled)[0].names == ("rt-demo-r1-train-1-0-x",)
    with pytest.raises(RoundCancelled):
        bench.tick()
    assert list(store.paths.requests.iterdir()) == []


def test_a_round_of_another_launcher_is_refused_but_can_be_cancelled(bench: Bench, out: Any) -> None:
    bench.tell("hang_0")
    store = bench.begin()
    bench.tick()
    wait_for(bench.hangs(0))
    store = bench.lab.store()
    store.put_settings(Settings(auto_train=True, launcher="sbatch"))
    for command in ("retry", "collect", "submit"):
        assert bench.call(command) == 2
        assert "round 1 was submitted with local; finish it with --launcher local" in out()
    assert bench.call("cancel", "--yes") == 0
    wait_for(lambda: bench.stopped)


def test_line_32_some_tasks_are_cancelled_by_id_in_every_job_of_that_name(tmp_path: Path) -> None:
    fake = FakeSlurm(tmp_path / "bin")
    fake.answer(
        "squeue", "90_1|PENDING|2031-01-01T00:00:00|0:00||Priority|train-x\n90_2|PENDING|N/A|0:00|||train-x\n"
    )
    made = Submission(
        launcher="sbatch", name="train-x", job_id="15", items=(5, 6, 7, 9), tasks=("15_0", "15_1", "15_2", "15_4")
    )
    alone = Submission(launcher="submitit", name="train-x", job_id="16", items=(6,), tasks=("16",))
    other = Submission(launcher="sbatch", name="train-x", job_id="17", items=(1,), tasks=("17_1",))
    reader = SlurmReader(environment=fake.environment())
    reader.cancel([made, alone, other], items=(6, 7, 9))
    assert fake.calls("scancel") == [["15_[1-2,4]", "16", "90_[1-2,4]"]]
    doubtful = Submission(launcher="sbatch", name="train-y", job_id="", items=(), tasks=())
    reader.cancel([doubtful])
    assert [call[-2:] for call in fake.calls("scancel")[1:]] == [["-n", "train-y"]]


# -- on a real SLURM -------------------------------------------------------------------------------------------------


@pytest.fixture
def cluster_bench(bench: Bench, slurm: Cluster) -> Any:
    """A study on the cluster's first partition; what it leaves there is cancelled."""

    def make(**settings: Any) -> Bench:
        store = bench.begin(launcher="sbatch", **settings)
        store.paths.profile.write_text('partition: main\ncpus: 1\ntime: "00:10:00"\n')
        return bench

    yield make
    slurm.drain()


def job_of(bench: Bench) -> str:
    return submissions(bench.lab.store(), bench.round(), "train")[0][1].job_id


@pytest.mark.cluster
def test_line_12_and_13_cancelled_rows_keep_their_indices_in_a_retry_with_a_fresh_evaluation(
    cluster_bench: Any, slurm: Cluster, out: Any
) -> None:
    bench: Bench = cluster_bench()
    bench.tell("hang_1", "hang_2", "hang_3")
    bench.tick()
    wait_for(bench.hangs(1, 2, 3))
    job = job_of(bench)
    # One by hand, one by command: both are a person's will. The last index has the array's own raw id.
    slurm.run(["scancel", f"{job}_1"], check=True)
    assert bench.call("cancel", "--rows", "3", "--yes") == 0

    def states() -> dict[str, str]:
        done = slurm.run(["sacct", "-n", "-P", "-X", "-j", job, "--format=JobID,State"], check=True)
        return {task: state.split()[0] for task, state in (line.split("|") for line in done.stdout.splitlines())}

    wait_for(lambda: [states().get(f"{job}_{row}") for row in (1, 3)] == ["CANCELLED", "CANCELLED"])
    assert states()[f"{job}_2"] == "RUNNING", "only what was meant is stopped"
    for _ in range(4):
        bench.tick()
    assert len(bench.attempts()) == 1
    bench.untell("hang_1", "hang_2", "hang_3")
    wait_for(lambda: bench.call("retry", "--rows", "1,3") == 0)
    again = submissions(bench.lab.store(), bench.round(), "train")[-1][1]
    assert (again.items, again.tasks) == ((1, 3), (f"{again.job_id}_1", f"{again.job_id}_3"))
    assert [number for number, _ in bench.attempts("eval")] == [1, 2]
    assert bench.call("cancel", "--rows", "2", "--yes") == 0
    ticks(bench, lambda: bench.round().closed.exists(), 60)
    trials = bench.record()["candidates"][0]["trials"]
    assert [trial["outcome"] for trial in trials] == ["ok", "ok", "cancelled", "ok"]
    assert [trials[row]["attempt"] for row in (0, 1, 3)] == [1, 2, 2]
    assert sorted(bench.trained) == [0, 1, 1, 2, 3, 3]


@pytest.mark.cluster
def test_line_32_the_whole_round_is_cancelled_by_id_and_by_name(cluster_bench: Any, slurm: Cluster, out: Any) -> None:
    bench: Bench = cluster_bench()
    bench.tell("hang_0", "hang_1", "hang_2", "hang_3")
    bench.tick()
    wait_for(bench.hangs(0, 1, 2, 3))
    name = submissions(bench.lab.store(), bench.round(), "train")[0][1].name
    # A second job under the same name, as an ambiguous submission may leave.
    slurm.run(["sbatch", "-n1", f"--job-name={name}", "--output=/dev/null", "--wrap", "sleep 300"], check=True)
    assert bench.call("cancel", "--yes") == 0
    slurm.wait_for_jobs(30)
    wait_for(lambda: len(bench.stopped) == 4)
    assert bench.call("retry", "--rows", "0") == 0
    bench_jobs = slurm.run(["squeue", "-h", "-r", "-o", "%j"], check=True).stdout
    assert "train-2-0" in bench_jobs


@pytest.mark.cluster
def test_line_32_a_submission_in_doubt_is_cancelled_by_name_and_settled_before_any_retry(
    cluster_bench: Any, slurm: Cluster, out: Any
) -> None:
    bench: Bench = cluster_bench()
    bench.tell("hang_0", "hang_1", "hang_2", "hang_3")
    bench.tick()
    wait_for(bench.hangs(0, 1, 2, 3))
    # As a kill between sbatch and its record leaves it: the job runs, the journal has the intent alone.
    paths, journal = bench.round(), bench.lab.store().paths.journal
    lines = journal.read_text().splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if '"event": "intent"' in line)
    journal.write_text("".join(lines[: first + 1]))
    for path in (*paths.steps.glob("*submit.json"), *paths.steps.glob("*collect.json")):
        path.unlink()
    assert bench.call("retry") == 2 and "is not settled yet" in out()
    assert bench.call("cancel", "--yes") == 0
    assert "submissions in doubt: rt-demo-r1-train-1-0" in out()
    wait_for(lambda: bench.stopped == [0, 1, 2, 3])
    with pytest.raises(RoundCancelled):
        bench.tick()
    assert bench.attempts() == []
    bench.untell("hang_0", "hang_1", "hang_2", "hang_3")
    assert bench.call("retry") == 0 and "was in doubt when it was cancelled" in out()
    assert bench.attempts() == [(1, (0, 1, 2, 3))] and bench.journal(Submitted)[0].adopted is True
    wait_for(lambda: len(bench.attempts()) == 2 or bench.call("retry") == 0)
    ticks(bench, lambda: bench.round().closed.exists(), 60)
    trials = bench.record()["candidates"][0]["trials"]
    assert [(trial["outcome"], trial["attempt"]) for trial in trials] == [("ok", 2)] * 4


@pytest.mark.cluster
def test_line_27_pending_reasons_are_shown_by_status(cluster_bench: Any, slurm: Cluster, out: Any) -> None:
    bench: Bench = cluster_bench()
    slurm.run(["scontrol", "update", "PartitionName=main", "State=DOWN"], check=True)
    try:
        bench.tick()
        job = job_of(bench)
        slurm.run(["scontrol", "uhold", f"{job}_2"], check=True)
        wait_for(lambda: "JobHeldUser" in slurm.run(["squeue", "-h", "-r", "-o", "%r"]).stdout)

        def reasons() -> dict[str, dict[str, Any]]:
            bench.tick()
            pending = overview(bench.lab.store())["open"]["pending"]
            # The evaluation waits too, sometimes for the same reason; it has no rows.
            return {group["reason"]: group for group in pending if group["rows"]}

        wait_for(lambda: {"PartitionDown", "JobHeldUser"} <= set(reasons()))
        found = reasons()
        assert (found["JobHeldUser"]["rows"], found["JobHeldUser"]["needs_action"]) == ("2", True)
        assert (found["PartitionDown"]["rows"], found["PartitionDown"]["needs_action"]) == ("0-1,3", False)

        def looked_again() -> bool:
            """Whether nothing had changed at a further look, after which the file must be as old as it was."""
            file = bench.round().pending
            text, written = file.read_text(), file.stat().st_mtime_ns
            bench.tick()
            # SLURM may have another reason for the evaluation by now.
            if file.read_text() != text:
                return False
            assert file.stat().st_mtime_ns == written, "written when it changes, not at every look"
            return True

        wait_for(looked_again)
        assert bench.call("status") == 0
        shown = " ".join(out().split())
        held = f"held by a person: `scontrol release {job}_2` lets it go"
        assert f"needs you: 1 row (2) pending: JobHeldUser ({held}" in shown
        assert "3 rows pending: PartitionDown" in shown
        assert bench.call("collect") == 3 and "row 2: pending (JobHeldUser)" in out()
    finally:
        slurm.run(["scontrol", "update", "PartitionName=main", "State=UP"], check=True)
    slurm.run(["scontrol", "release", job], check=True)
    ticks(bench, lambda: bench.round().closed.exists(), 60)
    assert overview(bench.lab.store())["open"] is None


@pytest.mark.cluster
def test_line_27_a_limit_of_the_partition_needs_action(cluster_bench: Any, slurm: Cluster, out: Any) -> None:
    bench: Bench = cluster_bench()
    slurm.run(["scontrol", "update", "PartitionName=main", "MaxTime=5"], check=True)
    try:
        bench.tick()

        def group() -> dict[str, Any]:
            bench.tick()
            found = overview(bench.lab.store())["open"]["pending"]
            return found[0] if found else {}

        wait_for(lambda: group().get("reason") == "PartitionTimeLimit")
        assert group()["needs_action"] and group()["rows"] == "0-3"
        assert "lower `time` in the profile" in group()["text"]
        assert bench.call("cancel", "--yes") == 0 and "4 pending (rows 0-3)" in out()
        slurm.wait_for_jobs(30)
    finally:
        slurm.run(["scontrol", "update", "PartitionName=main", "MaxTime=UNLIMITED"], check=True)


@pytest.mark.cluster
def test_more_gpus_than_any_node_has_are_refused_with_the_remedy(cluster_bench: Any, out: Any) -> None:
    bench: Bench = cluster_bench()
    profile = bench.lab.store().paths.profile
    profile.write_text(profile.read_text() + "gpus: 9\n")
    assert bench.call("tick") == 2
    said = out()
    assert "sbatch refused" in said and "profile" in said
    assert bench.call("cancel", "--yes") == 2 and "nothing of round 1 was submitted" in out()
    # Nothing runs for certain: with a profile that can be met the round goes on.
    profile.write_text(profile.read_text().replace("gpus: 9\n", ""))
    assert bench.call("tick") == 0
    assert len(bench.attempts()) == 1
