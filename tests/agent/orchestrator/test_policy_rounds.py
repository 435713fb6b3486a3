"""Rows that end badly, whole rounds of them: each told apart, retried or given up as the policy says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.api import Study, tick_once, tune
from agent.api.begin import begin
from agent.errors import InvalidPolicy, SubmissionRefused, TrialsCrashed
from agent.launch.base import State, TaskStatus
from agent.launch.catalogue import capabilities_of
from agent.launch.local import LocalLauncher
from agent.launch.profile import Profile
from agent.orchestrator.training import submit
from agent.orchestrator.training.retry_resources import Ask, ask_for
from agent.orchestrator.training.submissions import submissions
from agent.policy import load_policy
from agent.records import Outcome
from agent.resources import shipped_policy
from agent.store.events import AttemptEnded, Cancelled, PolicyGiven, QuorumReached, Submitted, Wave, WaveSubmitted
from agent.store.store import Store
from agent.store.study import Settings
from tests.agent.orchestrator.conftest import Lab
from tests.agent.orchestrator.test_rounds import edit, round_folder
from tests.cluster.cluster import Cluster
from tests.cluster.config import ClusterConfig
from tests.cluster.fixtures import require_cluster
from trainers.yaml_file import dump_yaml, read_yaml


def table(path: Path, *, quorum: float = 1.0, max_attempts: int = 4, **rules: Any) -> Path:
    """The shipped policy with some rules changed, as a file."""
    raw = read_yaml(shipped_policy())
    raw |= {"quorum": quorum, "max_attempts": max_attempts}
    raw["outcomes"] |= rules
    path.write_text(dump_yaml(raw))
    return path


def setup_profile(lab: Lab, *lines: str, **values: Any) -> Path:
    """A profile whose set-up lines decide how a row's attempt ends before it trains."""
    path = lab.root / "profile.yaml"
    path.write_text(dump_yaml({**values, "setup": list(lines)}))
    return path


def fails(row: int, how: str, *, until: int = 1) -> str:
    """A set-up line: attempts 1 to `until` of this row end like this."""
    row_and_attempt = f'[ "$roundtable_item" = {row} ] && [ "$roundtable_attempt" -le {until} ]'
    # The evaluation runs the same lines.
    return f'if [[ "$0" = */train_* ]] && {row_and_attempt}; then {how}; fi'


def ends(lab: Lab) -> list[tuple[int, int, str]]:
    """(row, attempt, outcome) as journaled."""
    return [(e.row, e.attempt, e.outcome) for e in lab.store().journal.of(AttemptEnded)]


def record(lab: Lab, number: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((round_folder(lab, number) / "round.json").read_text())
    return found


def trials(lab: Lab) -> dict[int, dict[str, Any]]:
    """The trials of round 1 by row."""
    return {trial["row"]: trial for candidate in record(lab)["candidates"] for trial in candidate["trials"]}


def train_jobs(lab: Lab) -> list[tuple[int, list[int]]]:
    """(attempt, rows) of every array of trials."""
    return [(e.attempt, list(e.items)) for e in lab.store().journal.of(Submitted) if e.kind == "train"]


# -- local: real processes, no scheduler -----------------------------------------------------------------------


def test_line_29_only_what_failed_is_retried_under_its_own_index(lab: Lab) -> None:
    profile = setup_profile(lab, fails(1, "exit 7"), fails(3, "exit 7"))
    assert lab.tune(profile=profile, candidates=2, seeds=(0, 1)).closed == 1
    assert train_jobs(lab) == [(1, [0, 1, 2, 3]), (2, [1, 3])]
    assert ends(lab) == [(1, 1, "launch_fail"), (3, 1, "launch_fail")]
    assert sorted(lab.trained) == ["1 c00 0 0", "1 c00 0 1", "1 c01 0 0", "1 c01 0 1"]
    assert [c["outcomes"] for c in record(lab)["candidates"]] == [{"ok": 2}, {"ok": 2}]


def test_what_is_given_up_is_told_with_its_evidence_and_is_no_score(lab: Lab) -> None:
    profile = setup_profile(lab, fails(1, "exit 7", until=9))
    assert lab.tune(profile=profile, candidates=2).closed == 1
    assert ends(lab) == [(1, attempt, "launch_fail") for attempt in (1, 2, 3)]
    first, second = Study(lab.root / "demo").history
    assert first.value is not None and second.value is None
    assert str(second.outcome) == "launch_fail" and not second.outcome.is_config and not second.outcome.is_measured
    assert "before it claimed its row" in second.message and "exit 7:0" in second.message
    assert trials(lab)[1]["attempt"] == 3


def test_a_persons_table_decides_and_is_kept_and_journaled(lab: Lab) -> None:
    mine = table(lab.root / "mine.yaml", launch_fail={"action": "give_up"})
    profile = setup_profile(lab, fails(0, "exit 7", until=9))
    lab.tune(profile=profile, policy=mine, seeds=(0, 1))
    assert ends(lab) == [(0, 1, "launch_fail")]
    store = lab.store()
    assert store.paths.policy.read_text() == mine.read_text()
    lab.tune(policy=mine)
    assert len(list(lab.store().journal.of(PolicyGiven))) == 1
    lab.tune(policy=table(mine, launch_fail={"action": "retry", "limit": 1}))
    assert len(list(lab.store().journal.of(PolicyGiven))) == 2
    assert ends(lab)[2:] == [(0, 1, "launch_fail"), (0, 2, "launch_fail")]


def test_a_broken_table_is_refused_before_anything_is_written(lab: Lab) -> None:
    mine = table(lab.root / "mine.yaml", lost={"action": "retry"}, crashed={"action": "stop"}, quorum=3)
    with pytest.raises(InvalidPolicy) as caught:
        lab.tune(policy=mine)
    assert len(caught.value.problems) == 3 and not (lab.root / "demo").exists()


def test_crashes_are_final_unless_the_table_says_otherwise(lab: Lab) -> None:
    edit(begin(lab.options()).paths.reference, "mode", "crash")
    with pytest.raises(TrialsCrashed):
        lab.tune()
    assert len(lab.trained) == 1
    mine = table(lab.root / "mine.yaml", crashed={"action": "retry", "limit": 2})
    with pytest.raises(TrialsCrashed):
        lab.tune(policy=mine)
    assert len(lab.trained) == 1 + 3
    assert "a bug" in Study(lab.root / "demo").history[-1].message


def test_half_a_result_is_trained_again(lab: Lab) -> None:
    half = 'd="$ROUNDTABLE_STUDY/attempt_1"; mkdir -p "$d"; printf \'{"schema\' > "$d/result.json"; exit 0'
    folder = f'"$(ls -d {lab.root}/demo/round_1_*)"/trials/c00_f0_s0'
    profile = setup_profile(lab, fails(0, half.replace('"$ROUNDTABLE_STUDY', f'{folder}"')))
    lab.tune(profile=profile)
    assert ends(lab) == [(0, 1, "corrupt_result")]
    assert trials(lab)[0]["outcome"] == "ok" and trials(lab)[0]["attempt"] == 2


def test_killed_by_the_kernel_or_a_person_is_lost_and_resumed(lab: Lab) -> None:
    claim = f"{lab.root}/demo/round_1_*/trials/c00_f0_s0/attempt_1/claim.json"
    profile = setup_profile(lab, fails(0, f"(until ls {claim}; do sleep 0.02; done; kill -9 $$) & true"))
    edit(begin(lab.options()).paths.reference, "mode", "slow")
    lab.tune(profile=profile)
    [entry] = lab.store().journal.of(AttemptEnded)
    assert entry.outcome == "lost" and entry.exit_code == "0:9" and "SIGKILL" in entry.evidence
    assert trials(lab)[0]["outcome"] == "ok"


def test_line_29_a_quorum_closes_the_round_without_retries(lab: Lab) -> None:
    mine = table(lab.root / "mine.yaml", quorum=0.75)
    profile = setup_profile(lab, fails(2, "exit 7"))
    assert lab.tune(profile=profile, policy=mine, seeds=(0, 1, 2, 3)).closed == 1
    assert train_jobs(lab) == [(1, [0, 1, 2, 3])]
    [candidate] = record(lab)["candidates"]
    assert candidate["outcomes"] == {"launch_fail": 1, "ok": 3} and candidate["n"] == 3


def test_a_quorum_reached_by_retries_stops_those_that_still_run(lab: Lab) -> None:
    """Two rows are lost at first: one retry ends well and makes the quorum, the other would sleep for a minute."""
    mine = table(lab.root / "mine.yaml", quorum=0.75)
    sleeper = fails(3, "sleep 60", until=2)
    profile = setup_profile(lab, fails(2, "exit 7"), fails(3, "exit 7"), sleeper)
    assert lab.tune(profile=profile, policy=mine, seeds=(0, 1, 2, 3), parallel=2).closed == 1
    [candidate] = record(lab)["candidates"]
    assert candidate["outcomes"] == {"launch_fail": 1, "ok": 3}
    [entry] = lab.store().journal.of(QuorumReached)
    assert (entry.ok, entry.rows) == (3, 4)
    assert ends(lab) == [(2, 1, "launch_fail"), (3, 1, "launch_fail")]


def test_a_wave_that_was_cut_short_is_carried_on_under_its_number(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the wave was journaled and before anything of it was handed over."""
    profile = setup_profile(lab, fails(1, "exit 7"))

    class Killed(BaseException):
        """No handler of ours may stop it."""

    once = submit._once

    def dying(work: Any, batch: Any) -> Any:
        if batch.attempt == 2:
            raise Killed
        return once(work, batch)

    with monkeypatch.context() as patch:
        patch.setattr(submit, "_once", dying)
        with pytest.raises(Killed):
            lab.tune(profile=profile, candidates=2)
    assert [e.attempt for e in lab.store().journal.of(Wave)] == [2]
    assert not list(lab.store().journal.of(WaveSubmitted))
    assert lab.tune(candidates=2, max_iterations=1).closed == 1
    assert [e.attempt for e in lab.store().journal.of(Wave)] == [2]
    assert train_jobs(lab) == [(1, [0, 1]), (2, [1])]
    assert ends(lab) == [(1, 1, "launch_fail")]


# -- fakes: what a scheduler says ------------------------------------------------------------------------------


class Teller:
    """Runs tasks here, and says of gone ones what a test has it say: (item, attempt) -> raw, exit code, node."""

    name = "sbatch"
    capabilities = capabilities_of(name)

    def __init__(self, words: dict[tuple[int, int], tuple[str, str, str]]) -> None:
        self.local = LocalLauncher()
        self.words = words
        self.asked: list[tuple[int, tuple[int, ...], dict[str, str | None]]] = []
        self.attempts: dict[str, int] = {}

    def submit(self, batch: Any) -> Any:
        if batch.kind == "train":
            self.asked.append((batch.attempt, batch.items, dict(batch.settings.directives)))
        self.attempts[batch.name] = batch.attempt
        return self.local.submit(batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.local, name)

    def poll(self, submissions: Any) -> Any:
        found = dict(self.local.poll(submissions))
        for (name, item), status in found.items():
            told = self.words.get((item, self.attempts[name])) if "-train-" in name else None
            if told and status.state is State.GONE:
                raw, code, node = told
                found[name, item] = TaskStatus(state=State.GONE, raw=raw, exit_code=code, node=node)
        return found


@pytest.fixture
def told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[tuple[int, int], tuple[str, str, str]]]:
    """What the scheduler is to say of rows, before the study is tuned."""
    words: dict[tuple[int, int], tuple[str, str, str]] = {}
    teller = Teller(words)
    monkeypatch.setattr("agent.api.wiring._launcher", lambda *_: teller)
    monkeypatch.setattr(lab, "teller", teller, raising=False)
    yield words


def impatient(lab: Lab, *, rows: int = 1) -> Store:
    """A study that has begun and waits for no late result."""
    store = begin(lab.options(seeds=tuple(range(rows))))
    store.put_settings(Settings(result_grace_s=0.0))
    return store


def asked(lab: Lab) -> list[tuple[int, tuple[int, ...], dict[str, str | None]]]:
    """(attempt, rows, what of memory, time and nodes was asked for) of every array of trials."""
    names = ("mem", "time", "exclude")
    teller: Teller = lab.teller  # type: ignore[attr-defined]
    return [(a, items, {k: v for k, v in given.items() if k in names}) for a, items, given in teller.asked]


def test_line_28_retries_are_grouped_by_what_they_ask_for(
    lab: Lab, told: dict[tuple[int, int], tuple[str, str, str]]
) -> None:
    impatient(lab, rows=8)
    for row, words in {
        0: ("OUT_OF_MEMORY", "0:125", "n1"),
        1: ("TIMEOUT", "0:0", "n2"),
        2: ("NODE_FAIL", "0:0", "n3"),
        3: ("PREEMPTED", "0:0", "n1"),
        4: ("LAUNCH_FAILED", "0:0", "n4"),
        5: ("OUT_OF_MEMORY", "0:125", "n2"),
        6: ("CANCELLED by 1000", "0:15", "n1"),
    }.items():
        told[row, 1] = words
    lines = [fails(row, "exit 1") for row in range(7)]
    profile = setup_profile(lab, *lines, mem="4G", time="01:00:00", exclude="bad1")
    assert lab.tune(profile=profile, seeds=tuple(range(8)), poll_s=0.1).closed == 1
    base = {"mem": "4G", "time": "01:00:00", "exclude": "bad1"}
    assert asked(lab) == [
        (1, tuple(range(8)), base),
        (2, (0, 5), base | {"mem": "8192M"}),
        (2, (1,), base | {"time": "0-01:30:00"}),
        (2, (2, 4), base | {"exclude": "bad1,n3,n4"}),
        (2, (3,), base),
    ]
    names = [e.name for e in lab.store().journal.of(Submitted)]
    assert len(names) == len(set(names))
    [candidate] = record(lab)["candidates"]
    assert candidate["outcomes"] == {"cancelled": 1, "ok": 7}
    assert trials(lab)[6]["message"] == "CANCELLED by 1000, exit 0:15" and trials(lab)[6]["node"] == "n1"


def test_a_node_that_is_not_excluded_any_more_is_not_said_to_be(
    lab: Lab, told: dict[tuple[int, int], tuple[str, str, str]]
) -> None:
    impatient(lab)
    told[0, 1] = ("NODE_FAIL", "0:0", "n1")
    teller: Teller = lab.teller  # type: ignore[attr-defined]
    submit_any = teller.submit

    def only_node(batch: Any) -> Any:
        if "exclude" in dict(batch.settings.directives):
            said = "sbatch refused it: Requested node configuration is not available"
            raise SubmissionRefused(said, no_node=True, too_much=True)
        return submit_any(batch)

    teller.submit = only_node  # type: ignore[method-assign]
    assert lab.tune(profile=setup_profile(lab, fails(0, "exit 1")), poll_s=0.1).closed == 1
    assert lab.said("no other node than n1 will do: not excluded any more")
    assert lab.said("attempt 2 started: rows 0") and not lab.said("(not on n1)")


def test_memory_grows_to_the_profiles_limit_and_then_is_knowledge(
    lab: Lab, told: dict[tuple[int, int], tuple[str, str, str]]
) -> None:
    impatient(lab)
    for attempt in range(1, 9):
        told[0, attempt] = ("OUT_OF_MEMORY", "0:125", "gpu17")
    profile = setup_profile(lab, fails(0, "exit 1", until=9), mem="4G", max_mem="6G")
    mine = table(lab.root / "mine.yaml", host_oom={"action": "retry", "limit": 8, "memory_factor": 2}, max_attempts=9)
    assert lab.tune(profile=profile, policy=mine, poll_s=0.1).closed == 1
    assert [given["mem"] for _, _, given in asked(lab)] == ["4G", "6144M"]
    [seen] = Study(lab.root / "demo").history
    assert str(seen.outcome) == "host_oom" and seen.outcome.is_config and seen.outcome.is_measured
    assert "mem 6144M" in seen.message and "gpu17" not in seen.message and seen.values["x"] == 0.5
    assert lab.said("max_mem (6G)")


def test_without_mem_in_the_profile_it_says_so_and_retries_as_it_was(
    lab: Lab, told: dict[tuple[int, int], tuple[str, str, str]]
) -> None:
    impatient(lab)
    told[0, 1] = ("OUT_OF_MEMORY", "0:125", "n1")
    lab.tune(profile=setup_profile(lab, fails(0, "exit 1")), poll_s=0.1)
    assert [given for _, _, given in asked(lab)] == [{}, {}]
    assert lab.said("the profile names no mem")


def test_line_23_a_worker_killed_for_memory_is_no_crash(
    lab: Lab, told: dict[tuple[int, int], tuple[str, str, str]]
) -> None:
    told[0, 1] = ("OUT_OF_MEMORY", "0:125", "n1")
    edit(impatient(lab).paths.reference, "mode", "crash")
    with pytest.raises(TrialsCrashed):
        lab.tune(profile=setup_profile(lab, mem="1G"), poll_s=0.1)
    assert ends(lab) == [(0, 1, "host_oom"), (0, 2, "crashed")]


def test_free_retries_leave_the_attempts_alone(lab: Lab, told: dict[tuple[int, int], tuple[str, str, str]]) -> None:
    impatient(lab)
    for attempt in range(1, 6):
        told[0, attempt] = ("PREEMPTED", "0:0", "n1")
    mine = table(lab.root / "mine.yaml", max_attempts=1)
    lab.tune(profile=setup_profile(lab, fails(0, "exit 1", until=5)), policy=mine, poll_s=0.1)
    assert [outcome for _, _, outcome in ends(lab)] == ["preempted"] * 5
    assert trials(lab)[0]["outcome"] == "ok" and trials(lab)[0]["attempt"] == 6


def test_a_row_that_a_person_cancelled_is_not_started_again_although_nobody_says_cancelled(
    lab: Lab, told: dict[tuple[int, int], tuple[str, str, str]]
) -> None:
    """Without accounting a cancelled task is only gone."""
    impatient(lab, rows=2)
    told[0, 1] = ("LOST", "", "")
    profile = setup_profile(lab, fails(0, "sleep 0.5; exit 1"))

    def watch(store: Any, report: Any) -> None:
        made = submissions(store, report.round, "train")
        if made and not list(store.journal.of(Cancelled)):
            names = tuple(one.name for _, one in made)
            folder = report.round.root.name
            store.journal.append(
                Cancelled(folder=folder, round=1, rows=(0,), whole=False, names=names, by="me", request="r")
            )

    tune(lab.options(profile=profile, seeds=(0, 1), poll_s=0.1), watch=watch)
    assert ends(lab) == [(0, 1, "cancelled")]
    assert record(lab)["candidates"][0]["outcomes"] == {"cancelled": 1, "ok": 1}


def test_ticks_of_their_own_come_to_the_same_end(lab: Lab, told: dict[tuple[int, int], tuple[str, str, str]]) -> None:
    impatient(lab, rows=2)
    told[1, 1] = ("NODE_FAIL", "0:0", "n1")
    profile = setup_profile(lab, fails(1, "exit 1"))
    options = lab.options(profile=profile, seeds=(0, 1), poll_s=0.1)

    class Left(BaseException):
        """The person's terminal is closed."""

    def leave(store: Any, report: Any) -> None:
        raise Left

    with pytest.raises(Left):
        tune(options, watch=leave)
    for _ in range(200):
        if tick_once(lab.store()).state == "finished":
            break
    assert ends(lab) == [(1, 1, "node_fail")] and record(lab)["candidates"][0]["outcomes"] == {"ok": 2}


# -- what a retry asks for -------------------------------------------------------------------------------------


def past(*outcomes: str, node: str = "n1") -> list[AttemptEnded]:
    return [
        AttemptEnded(
            folder="round_1_x",
            row=0,
            attempt=attempt,
            outcome=Outcome(outcome),
            raw="",
            node=node,
            exit_code="",
            evidence="",
            memory=None,
        )
        for attempt, outcome in enumerate(outcomes, 1)
    ]


@pytest.mark.parametrize(
    ("profile", "outcomes", "expected"),
    [
        (Profile(mem="1000"), ("host_oom", "host_oom"), Ask(memory="4000M")),
        (Profile(mem="1500K"), ("host_oom",), Ask(memory="3M")),
        (Profile(mem="1T"), ("host_oom",), Ask(memory="2097152M")),
        (Profile(mem="0"), ("host_oom",), Ask()),
        (Profile(mem="8G", max_mem="4G"), ("host_oom",), Ask(memory="8192M")),
        (Profile(cpus=4, extra={"mem-per-cpu": "1G"}, max_mem="6G"), ("host_oom",), Ask(memory="1536M")),
        (Profile(time="90"), ("timeout",), Ask(time="0-02:15:00")),
        (Profile(time="1-00:00:00", max_time="1-06:00:00"), ("timeout",), Ask(time="1-06:00:00")),
        (Profile(time="2-00:00:00", max_time="1-06:00:00"), ("timeout",), Ask(time="2-00:00:00")),
        (Profile(), ("timeout", "host_oom", "lost"), Ask()),
        (Profile(), ("node_fail", "lost"), Ask(exclude=("n1",))),
        (Profile(mem="1G"), ("crashed", "cancelled", "corrupt_result"), Ask()),
    ],
)
def test_factors_multiply_up_to_the_profiles_limits(
    profile: Profile, outcomes: tuple[str, ...], expected: Ask
) -> None:
    assert ask_for(past(*outcomes), load_policy(shipped_policy()), profile) == expected


def test_a_node_name_that_could_be_an_option_is_never_excluded() -> None:
    hostile = past("node_fail", node="--wrap=rm") + past("node_fail", node="a b") + past("node_fail", node="")
    assert ask_for(hostile, load_policy(shipped_policy()), Profile()) == Ask()


# -- a real cluster --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def busy() -> Iterator[Cluster]:
    """Two nodes, memory limits, and a partition whose jobs push others out."""
    config = ClusterConfig(nodes=2, preemption=True, cgroup_memory=True)
    require_cluster(config)
    # The session's shared cluster may be exported already.
    with Cluster(config) as cluster, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(cluster.slurm_conf))
        yield cluster


@pytest.mark.cluster
def test_line_28_every_fault_of_a_real_cluster_is_told_apart(lab: Lab, busy: Cluster) -> None:
    """Nine rows, one array: each ends another way, and each retry goes where the policy sends it.

    Half a minute of it waits for slurmctld to look at time limits.
    """
    store = begin(lab.options(seeds=tuple(range(9))))
    store.put_settings(Settings(result_grace_s=1.0))
    half = f'd="$(ls -d {lab.root}/demo/round_1_*)/trials/c00_f0_s6/attempt_1"; mkdir -p "$d"'
    greedy = "python3 -c 'b = bytearray(b\"x\") * (150 << 20)'"
    cancel = 'scancel "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"; sleep 60'
    preempt = "sbatch --partition=urgent --exclusive --nodes=2 --time=1 --output=/dev/null --wrap='sleep 0.2'"
    profile = setup_profile(
        lab,
        fails(1, "exit 0"),
        fails(2, "exit 7"),
        fails(3, cancel),
        fails(4, "kill -9 $$"),
        fails(5, greedy),
        fails(6, f'{half}; printf \'{{"schema\' > "$d/result.json"; exit 0'),
        # When the others have ended, so that it alone is pushed out.
        fails(7, f"while squeue -hrj $SLURM_ARRAY_JOB_ID | grep -q _8; do sleep 1; done; {preempt}; sleep 60"),
        fails(8, 'trap "" USR2; scontrol update JobId=${SLURM_ARRAY_JOB_ID}_8 TimeLimit=0; sleep 90'),
        partition="main",
        mem="100M",
        time="00:05:00",
        cpus=1,
    )
    assert lab.tune(launcher="sbatch", profile=profile, seeds=tuple(range(9)), poll_s=0.5).closed == 1
    assert [(row, outcome) for row, attempt, outcome in sorted(ends(lab)) if attempt == 1] == [
        (1, "no_result"),
        (2, "launch_fail"),
        (3, "cancelled"),
        (4, "launch_fail"),
        (5, "host_oom"),
        (6, "corrupt_result"),
        (7, "preempted"),
        (8, "timeout"),
    ]
    assert train_jobs(lab)[0] == (1, list(range(9)))
    assert sorted(row for attempt, rows in train_jobs(lab) if attempt == 2 for row in rows) == [1, 2, 4, 5, 6, 7, 8]
    [candidate] = record(lab)["candidates"]
    assert candidate["outcomes"] == {"cancelled": 1, "ok": 8}
    entries = {e.row: e for e in lab.store().journal.of(AttemptEnded)}
    assert entries[5].exit_code == "0:125" and entries[5].raw == "OUT_OF_MEMORY"
    assert entries[5].node in ("n1", "n2") and entries[3].raw.startswith("CANCELLED")


@pytest.mark.cluster
def test_line_28_a_node_is_not_excluded_where_there_is_no_other(lab: Lab, busy: Cluster) -> None:
    begin(lab.options()).put_settings(Settings(result_grace_s=0.5))
    profile = setup_profile(lab, fails(0, "exit 7"), partition="main", time="00:05:00", mem="100M", exclude="n1")
    assert lab.tune(launcher="sbatch", profile=profile, poll_s=0.3).closed == 1
    assert ends(lab) == [(0, 1, "launch_fail")] and lab.said("not excluded any more")
    assert [str(o.outcome) for o in Study(lab.root / "demo").history] == ["ok"]
