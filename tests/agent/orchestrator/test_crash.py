"""SIGKILL at every step boundary: the next call goes on, nothing is lost and nothing is done twice.

Every study here is compared with one of the same seed that nobody killed. `ROUNDTABLE_SWEEP=1` kills at each single
change on disk, one study each; without it the boundaries are killed in chains, several in one study.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent.api import Study
from agent.api.begin import begin
from agent.errors import StudyBusy
from agent.store.events import RoundClosed, Submitted
from agent.store.store import Store
from tests.agent.orchestrator.conftest import Lab, kill, wait_for
from tests.agent.orchestrator.crash_run import CANDIDATES, ROUNDS

STEPS = ("analyse", "propose", "check", "apply", "render", "submit", "collect", "assess")


class Runner:
    """Runs studies in a process that forks each call; see crash_run."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.agent.orchestrator.crash_run"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
        )

    def study(self, root: Path, plan: Sequence[str], *, confirm: str = "never", rungs: int = 1) -> list[str]:
        """Run a study to its end, killed at each label of the plan once. Returns the labels that killed."""
        root.mkdir(parents=True, exist_ok=True)
        assert self._process.stdin is not None and self._process.stdout is not None
        job = {"root": str(root), "plan": list(plan), "confirm": confirm, "rungs": rungs}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        code = self._process.stdout.readline().strip()
        killed = lines(root / "killed.txt")
        assert code == "0", f"the last call exited with {code} after kills at {killed}"
        return killed

    def close(self) -> None:
        self._process.communicate()


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    runner = Runner()
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def unharmed(runner: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that nobody killed."""
    root = tmp_path_factory.mktemp("unharmed")
    assert runner.study(root, []) == []
    return root


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def picture(root: Path) -> dict[str, Any]:
    """All that must be the same after any kill: times, folder names, and the paths of this machine are left out."""
    study = root / "demo"
    rounds = {}
    for number in range(1, ROUNDS + 1):
        (folder,) = study.glob(f"round_{number}_*")
        record = read(folder / "round.json")
        measured = (record, *record.get("screened", ()))
        for candidate in (candidate for one in measured for candidate in one["candidates"]):
            candidate.pop("costs")
        manifest = read(folder / "manifest.json")
        manifest.pop("data")
        rounds[number] = {
            "proposals": read(folder / "proposals.json"),
            "checked": read(folder / "checked_hyperparameters.json"),
            "decision": read(folder / f"tuning_decision_demo_round{number}.json"),
            "manifest": manifest,
            "record": {name: value for name, value in record.items() if name not in ("closed_at", "costs")},
            "references": {path.parent.name: sha256(path) for path in folder.glob("candidates/*/hyper*.json")},
            "before": sha256(folder / "reference_before.json"),
            "summaries": sorted(path.name for path in folder.glob("*_summary.json")),
        }
    best = read(study / "best_overall.json")
    return {
        "rounds": rounds,
        "incumbent": read(study / "incumbent.json"),
        "best": {name: best[name] for name in ("round", "candidate", "key", "mean", "values", "source")},
        "table": lines(study / "trials_summary.csv"),
        "reference": sha256(study / "hyperparameter_reference.json"),
        "history": {path.name: sha256(path) for path in (study / "history").iterdir()},
        "written": [
            (entry["sha256"], entry["round"], entry["version"], entry["source"])
            for entry in map(json.loads, lines(study / "journal.jsonl"))
            if entry["event"] == "reference"
        ],
        "trained": sorted(lines(root / "trained.log")),
    }


def processes_of(root: Path) -> list[str]:
    """Command lines of living processes that name this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(root) in words:
                found.append(words)
    return found


def check(root: Path, unharmed: Path) -> None:
    """The study ended as the unharmed one did, and left nothing behind."""
    assert picture(root) == picture(unharmed)
    trained = lines(root / "trained.log")
    assert len(trained) == len(set(trained)) == ROUNDS * CANDIDATES
    store = Store.open(root / "demo")
    assert [event.seq for event in store.journal.events] == list(range(1, len(store.journal) + 1))
    names = [entry.name for entry in store.journal.of(Submitted)]
    assert len(names) == len(set(names)) == ROUNDS * 2, "one array of rows and one of evaluations a round"
    assert [entry.round for entry in store.journal.of(RoundClosed)] == list(range(1, ROUNDS + 1))
    assert store.open_folder() is None and len(store.closed()) == ROUNDS
    for paths in store.closed():
        done = {path.stem[3:]: read(path)["status"] for path in paths.steps.iterdir()}
        assert set(done) == set(STEPS) and set(done.values()) <= {"done", "skipped"}, done
    left = [path for path in (root / "demo").rglob("*") if path.name.endswith((".tmp", ".probe", ".new"))]
    left += [root / "demo" / "lease.json"] if (root / "demo" / "lease.json").exists() else []
    assert left == []
    wait_for(lambda: not processes_of(root), 10)


CHAINS = {
    **{
        f"{when} each step of round {number}": (rf"{when} round_{number}/steps/.*=.*",)
        for when in ("before", "after")
        for number in (1, 2)
    },
    "before each journal line": (r"before journal.jsonl .*",),
    "after each journal line": (r"after journal.jsonl .*",),
    "around round.json": (r".* round_\d/round\.json",),
    "around the tables": (r".* (incumbent.json|best_overall.json|trials_summary.csv) .*",),
    "around each candidate's reference": (r".* round_\d/candidates/.*\.json",),
    "around the scripts": (r".* round_\d/.*\.sh", r".* round_\d/manifest\.json"),
    "around the new folders": (r".*/",),
}
#: One kill a study: a kill that is followed by another one of the same step may hide what it did.
ALONE = (
    r"before history/hyperparameter_reference_round_1\.json .*",
    r"after history/hyperparameter_reference_round_1\.json .*",
    r"before hyperparameter_reference\.json \(round 2\)",
    r"after hyperparameter_reference\.json \(round 2\)",
    r"before journal\.jsonl \(round 2\): reference",
    r"after journal\.jsonl \(round 2\): reference",
    r"before round_2/tuning_decision.*",
    r"after round_2/tuning_decision.*",
)


def passed(unharmed: Path, *patterns: str) -> list[str]:
    """The boundaries of the unharmed run that fit a pattern, in order, each once."""
    found = dict.fromkeys(lines(unharmed / "labels.txt"))
    chosen = [label for label in found if any(re.fullmatch(pattern, label) for pattern in patterns)]
    assert chosen, f"no boundary is called {patterns}"
    return chosen


def assert_killed(killed: Sequence[str], plan: Sequence[str]) -> None:
    """Each label of the plan killed, but for waiting and its reasons: a call that finds the trials finished already
    never waits."""
    assert set(killed) <= set(plan)
    missed = set(plan) - set(killed)
    assert all(label.endswith("=waiting") or "pending.json" in label for label in missed), missed


@pytest.mark.parametrize("name", CHAINS)
def test_killed_again_and_again(name: str, runner: Runner, unharmed: Path, tmp_path: Path) -> None:
    plan = passed(unharmed, *CHAINS[name])
    assert_killed(runner.study(tmp_path, plan), plan)
    check(tmp_path, unharmed)


@pytest.mark.parametrize("pattern", ALONE)
def test_killed_while_the_studys_reference_is_rewritten(
    pattern: str, runner: Runner, unharmed: Path, tmp_path: Path
) -> None:
    plan = passed(unharmed, pattern)
    assert runner.study(tmp_path, plan) == plan
    check(tmp_path, unharmed)


def test_killed_while_the_study_is_made(runner: Runner, unharmed: Path, tmp_path: Path) -> None:
    plan = passed(unharmed, r".* draft.*", r".* settings\.json .*", r".* journal\.jsonl \(round 0\): settings")
    assert set(runner.study(tmp_path, plan)) == set(plan)
    check(tmp_path, unharmed)
    # A study appears by one rename; the drafts of killed calls stay hidden and are nobody's study.
    assert [path.name for path in tmp_path.iterdir() if path.is_dir() and not path.name.startswith(".")] == ["demo"]


def confirmed(root: Path) -> dict[str, Any]:
    """What a confirmation found, without times."""
    study = root / "demo"
    (folder,) = study.glob("confirm_2_*")
    record = {name: value for name, value in read(folder / "round.json").items() if name != "closed_at"}
    trained = lines(root / "trained.log")
    assert len(trained) == len(set(trained)) == ROUNDS * CANDIDATES + 2 * len(record["seeds"])
    assert {path.stem[3:] for path in (folder / "steps").iterdir()} == {"choose", *STEPS[4:]}
    return {"record": record, "incumbent": read(study / "incumbent.json"), "trained": sorted(trained)}


def test_killed_in_the_confirmation(runner: Runner, tmp_path: Path) -> None:
    unharmed, harmed = tmp_path / "unharmed", tmp_path / "harmed"
    runner.study(unharmed, [], confirm="final")
    plan = passed(unharmed, r".* confirm_2/(?!orchestrator).*", r".* journal\.jsonl \(round 2\): confirm.*")
    assert_killed(runner.study(harmed, plan, confirm="final"), plan)
    assert confirmed(harmed) == confirmed(unharmed)


def thinned(root: Path) -> dict[str, Any]:
    """What a study with rungs measured, without the times that stand in folders' names."""
    text = json.dumps(picture(root) | {"rungs": {f.name: read(f / "round.json")["promoted"] for f in rungs_of(root)}})
    assert all({path.stem[3:] for path in (f / "steps").iterdir()} >= {"choose", *STEPS[4:7]} for f in rungs_of(root))
    found: dict[str, Any] = json.loads(re.sub(r"(rung\d_\d)_\d{8}_\d{6}", r"\1", text.replace(str(root), "")))
    # Trials of shorter trainings are in trained.log with the epochs they went from and to.
    assert len(found["trained"]) == len(set(found["trained"]))
    return found


def rungs_of(root: Path) -> list[Path]:
    return sorted((root / "demo").glob("rung*"))


def test_killed_in_the_rungs(runner: Runner, tmp_path: Path) -> None:
    unharmed, harmed = tmp_path / "unharmed", tmp_path / "harmed"
    runner.study(unharmed, [], rungs=3)
    assert len(rungs_of(unharmed)) == ROUNDS * 2
    plan = passed(unharmed, r"after rung\d_\d/(?!orchestrator).*", r"after journal\.jsonl .*rung.*")
    plan += passed(unharmed, r".* round_\d/steps/.*apply.*")
    assert_killed(runner.study(harmed, plan, rungs=3), plan)
    assert thinned(harmed) == thinned(unharmed)


# -- while tasks run -------------------------------------------------------------------------------------------


def begin_slow(lab: Lab) -> list[str]:
    """A study of trials that take a second, and the command line that runs its first round."""
    store = begin(lab.options())
    raw = read(store.paths.reference)
    raw["parameters"]["mode"]["active_value"] = "slow"
    store.paths.reference.write_text(json.dumps(raw))
    command = [sys.executable, "-m", "agent", "tune", "--task", "demo", "--output-dir", str(lab.root), "--auto-train"]
    return [*command, "--launcher", "local", "--confirm", "never", "--candidates", "2", "--parallel", "1"]


def start(command: Sequence[str]) -> subprocess.Popen[str]:
    root = Path(__file__).parents[3]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=root)


def finish(lab: Lab) -> list[str]:
    """The same call to its end; how each candidate ended."""
    lab.tune(candidates=2, parallel=1, max_iterations=1)
    return [str(observation.outcome) for observation in Study(lab.root / "demo").history]


def queue_of(lab: Lab) -> Path:
    """The folder of the round's first array of rows."""
    return next((lab.root / "demo").glob("round_1_*/launch/*-train-1-*"))


def test_a_killed_queue_loses_no_row(lab: Lab) -> None:
    command = begin_slow(lab)
    process = start(command)
    wait_for(lambda: len(lab.trained) == 1)
    process.kill()
    process.communicate()
    kill(read(queue_of(lab) / "pid.json")["queue"]["pid"])
    assert finish(lab) == ["ok", "ok"]
    # The row that was running begins once more, the one that waited begins once; neither result is made twice.
    assert sorted(lab.trained) == ["1 c00 0 0", "1 c00 0 0", "1 c01 0 0"]
    results = sorted(path.parent.name for path in (lab.root / "demo").glob("round_1_*/trials/*/*/result.json"))
    assert results == ["attempt_2", "attempt_2"]


def test_a_killed_orchestrator_is_followed_by_one_that_adopts_the_queue(lab: Lab) -> None:
    process = start(begin_slow(lab))
    wait_for(lambda: len(lab.trained) == 1)
    process.kill()
    process.communicate()
    assert finish(lab) == ["ok", "ok"]
    assert sorted(lab.trained) == ["1 c00 0 0", "1 c01 0 0"]
    assert [entry.kind for entry in lab.store().journal.of(Submitted)] == ["train", "eval"]


def test_a_second_call_is_refused_and_changes_nothing(lab: Lab) -> None:
    command = begin_slow(lab)
    first = start(command)
    wait_for(lambda: list((lab.root / "demo").glob("round_1_*/steps/07_collect.json")))
    before = (lab.root / "demo" / "journal.jsonl").read_bytes(), (lab.root / "demo" / "settings.json").read_bytes()
    with pytest.raises(StudyBusy, match=f"process {first.pid} on"):
        lab.tune(candidates=5)
    second = start(command)
    said, _ = second.communicate(timeout=30)
    assert second.returncode == 2 and "is working on this study" in said and "Traceback" not in said
    assert before == ((lab.root / "demo/journal.jsonl").read_bytes(), (lab.root / "demo/settings.json").read_bytes())
    assert first.wait(timeout=60) == 0
    first.communicate()
    assert sorted(lab.trained) == ["1 c00 0 0", "1 c01 0 0"]


def test_ctrl_c_stops_local_tasks_and_the_same_command_goes_on(lab: Lab) -> None:
    command = begin_slow(lab)
    first = start(command)
    wait_for(lambda: len(lab.trained) == 1)
    first.send_signal(signal.SIGINT)
    said, _ = first.communicate(timeout=30)
    assert first.returncode == 130 and "stopping" in said and "Traceback" not in said
    wait_for(lambda: not processes_of(lab.root))
    assert lab.trained == ["1 c00 0 0"]
    second = start(command)
    said, _ = second.communicate(timeout=60)
    assert second.returncode == 0, said
    assert [str(observation.outcome) for observation in Study(lab.root / "demo").history] == ["ok", "ok"]
    assert sorted(lab.trained) == ["1 c00 0 0", "1 c00 0 0", "1 c01 0 0"]


@pytest.mark.skipif(os.environ.get("ROUNDTABLE_SWEEP") != "1", reason="minutes: set ROUNDTABLE_SWEEP=1")
def test_killed_at_every_single_change_on_disk(runner: Runner, unharmed: Path, tmp_path: Path) -> None:
    wrong, killed = {}, 0
    plan = passed(unharmed, ".*")
    for place, label in enumerate(plan):
        root = tmp_path / str(place)
        try:
            killed += len(runner.study(root, [label]))
            check(root, unharmed)
        except AssertionError as error:
            wrong[label] = str(error)[:300]
    sys.stderr.write(f"{len(plan)} boundaries, {killed} kills, {len(wrong)} wrong\n")
    assert wrong == {}
