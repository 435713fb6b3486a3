"""What every launcher must do. A subclass supplies the fixtures `launcher` and, where needed, `settings`.

Rows here are small bash scripts that note what they were told. They write to `notes`, a folder beside the round, so
that a test sees whether something ran without asking the launcher.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from agent.errors import SchedulerUnavailable
from agent.launch.base import Batch, Launcher, SlurmSettings, State, Submission, TaskStatus
from agent.launch.catalogue import capabilities_of
from agent.launch.logs import log_file
from agent.launch.states import chunks

T = TypeVar("T")

#: Notes item, attempt, working directory and chosen variables; then does what do_<item>.sh beside it says.
BODY = r"""#!/usr/bin/env bash
notes={notes}
printf '%s' "$$" > "$notes/begin_$1_$2_$RANDOM"
env -0 > "$notes/env_$1"
pwd > "$notes/cwd_$1"
echo "hello from $1"
printf 'not UTF-8: \377\n' >&2
if [[ -e "$notes/do_$1.sh" ]]; then source "$notes/do_$1.sh"; fi
touch "$notes/end_$1"
"""

ARRAY = r"""#!/usr/bin/env bash
#SBATCH --cpus-per-task=1
export SLURM_EXPORT_ENV=ALL
exec bash {body} $(( ${{1:-0}} + SLURM_ARRAY_TASK_ID )) "${{2:-next}}"
"""

HOSTILE = {
    "SBATCH_TIMELIMIT": "0:01",
    "SLURM_CPU_BIND": "verbose,mask_cpu:0x1",
    "SLURM_JOB_ID": "999999",
    "SLURM_NTASKS": "17",
    "SQUEUE_FORMAT": "%A",
    "SACCT_FORMAT": "JobID",
    "VIRTUAL_ENV": "/nowhere/venv",
    "CONDA_PREFIX": "/nowhere/conda",
}


class Round:
    """A round's folder with a body, and where its rows leave notes."""

    def __init__(self, root: Path, settings: SlurmSettings) -> None:
        self.root = root
        self.notes = root.parent / "notes"
        self.settings = settings
        root.mkdir(parents=True)
        self.notes.mkdir()
        body, array = root / "train_x_round1.sh", root / "train_x_round1.slurm"
        body.write_text(BODY.format(notes=_quote(self.notes)), encoding="utf-8")
        array.write_text(ARRAY.format(body=_quote(body)), encoding="utf-8")

    def batch(self, name: str, items: Sequence[int], *, parallel: int | None = None, **more: object) -> Batch:
        batch = Batch(
            name=f"{name}-{time.time_ns():x}",
            kind="train",
            round_dir=self.root,
            script=self.root / "train_x_round1.sh",
            array_script=self.root / "train_x_round1.slurm",
            items=tuple(items),
            parallel=parallel,
            settings=self.settings,
        )
        return replace(batch, **more)  # type: ignore[arg-type]

    def do(self, item: int, commands: str) -> None:
        (self.notes / f"do_{item}.sh").write_text(commands)

    def begun(self) -> list[tuple[int, str]]:
        """(item, attempt) of every start, sorted; a row started twice stands there twice."""
        names = (path.name.split("_") for path in self.notes.glob("begin_*"))
        return sorted((int(item), attempt) for _, item, attempt, _ in names)

    def ended(self) -> list[int]:
        return sorted(int(path.name.split("_")[1]) for path in self.notes.glob("end_*"))

    def environment(self, item: int) -> dict[str, str]:
        pairs = (self.notes / f"env_{item}").read_text(errors="replace").split("\0")
        return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def _quote(path: Path) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"


class LauncherCase:
    """The conformance tests."""

    #: Longest wait for something that takes a second.
    patience_s = 60.0
    #: Part of a path that this launcher must cope with.
    awkward = "runs with space, ünï©ode & 100%"

    @pytest.fixture
    def launcher(self) -> Launcher:
        raise NotImplementedError("a subclass supplies the launcher")

    @pytest.fixture
    def another(self, launcher: Launcher) -> Launcher:
        """A second object, as a later process would make it."""
        raise NotImplementedError("a subclass supplies a second launcher")

    @pytest.fixture
    def settings(self) -> SlurmSettings:
        return SlurmSettings()

    @pytest.fixture
    def round(self, tmp_path: Path, settings: SlurmSettings) -> Round:
        return Round(tmp_path / self.awkward / "round_1", settings)

    @pytest.fixture(autouse=True)
    def tidy(self, launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Cancels at the end of a test whatever it submitted."""
        submitted: list[Submission] = []
        submit = launcher.submit

        def noting(batch: Batch) -> Submission:
            submitted.append(submit(batch))
            return submitted[-1]

        monkeypatch.setattr(launcher, "submit", noting, raising=False)
        yield
        if submitted:
            launcher.cancel(submitted)
            self.wait_gone(launcher, *submitted)

    # --- waiting ---

    def wait(self, condition: Callable[[], T], what: str) -> T:
        deadline = time.monotonic() + self.patience_s
        while not (value := condition()):
            assert time.monotonic() < deadline, f"not within {self.patience_s} s: {what}"
            time.sleep(0.05)
        return value

    def wait_gone(self, launcher: Launcher, *submissions: Submission) -> Mapping[tuple[str, int], TaskStatus]:
        seen: dict[tuple[str, int], TaskStatus] = {}

        def gone() -> bool:
            try:
                seen.update(launcher.poll(submissions))
            except SchedulerUnavailable:
                return False
            return all(status.state is State.GONE for status in seen.values())

        self.wait(gone, f"all tasks gone; {seen}")
        return seen

    # --- the tests ---

    def test_it_says_what_the_catalogue_says_of_its_name(self, launcher: Launcher) -> None:
        assert launcher.capabilities == capabilities_of(launcher.name)

    def test_each_row_runs_once_with_its_item_attempt_and_folder(self, launcher: Launcher, round: Round) -> None:
        batch = round.batch("once", [0, 1, 4], attempt=3)
        submission = launcher.submit(batch)
        assert (submission.name, submission.items, submission.launcher) == (batch.name, (0, 1, 4), launcher.name)
        seen = self.wait_gone(launcher, submission)
        assert round.begun() == [(0, "3"), (1, "3"), (4, "3")]
        assert round.ended() == [0, 1, 4]
        assert set(seen) == {(batch.name, 0), (batch.name, 1), (batch.name, 4)}
        assert {status.raw for status in seen.values()} == {"COMPLETED"}
        for item in batch.items:
            assert (round.notes / f"cwd_{item}").read_text().strip() == str(round.root)
            said = log_file(round.root, submission, item).read_bytes()
            assert b"hello from %d" % item in said and b"not UTF-8: \xff" in said

    def test_a_single_row(self, launcher: Launcher, round: Round) -> None:
        submission = launcher.submit(round.batch("single", [2]))
        self.wait_gone(launcher, submission)
        assert round.begun() == [(2, "1")]
        assert log_file(round.root, submission, 2).exists()

    def test_throttle(self, launcher: Launcher, round: Round) -> None:
        for item in range(5):
            # Each counts who is running with it; a slot file lives from start to end.
            round.do(
                item,
                'touch "$notes/slot_$1"; ls "$notes" | grep -c slot_ > "$notes/width_$1"; sleep 0.4\n'
                'rm "$notes/slot_$1"',
            )
        submission = launcher.submit(round.batch("throttle", range(5), parallel=2))
        self.wait_gone(launcher, submission)
        widths = [int((round.notes / f"width_{item}").read_text()) for item in range(5)]
        assert max(widths) == 2

    def test_a_failing_row_is_gone_and_costs_only_itself(self, launcher: Launcher, round: Round) -> None:
        round.do(1, "exit 7")
        submission = launcher.submit(round.batch("fail", [0, 1, 2], parallel=1))
        seen = self.wait_gone(launcher, submission)
        assert round.ended() == [0, 2]
        assert [seen[submission.name, item].raw for item in range(3)] == ["COMPLETED", "FAILED", "COMPLETED"]

    def test_chained_work_starts_when_all_before_is_gone(self, launcher: Launcher, round: Round) -> None:
        round.do(0, "sleep 1")
        round.do(1, "exit 3")
        first = launcher.submit(round.batch("first", [0]))
        second = launcher.submit(round.batch("second", [1]))
        round.do(9, 'ls "$notes" | grep end_ > "$notes/before"')
        last = launcher.submit(round.batch("last", [9], kind="eval", after=(first, second)))
        self.wait_gone(launcher, first, second, last)
        assert (round.notes / "before").read_text().split() == ["end_0"]
        assert round.ended() == [0, 9]

    def test_found_by_name_also_from_another_process(
        self, launcher: Launcher, another: Launcher, round: Round
    ) -> None:
        batch = round.batch("find", [0, 3])
        assert launcher.find(batch) is None
        submission = launcher.submit(batch)
        for finder in (launcher, another):
            found = finder.find(batch)
            assert found is not None
            assert replace(found, submitted_at=0) == replace(submission, submitted_at=0)
            assert abs(found.submitted_at - submission.submitted_at) < 60
        self.wait_gone(another, submission)
        assert another.find(batch) is not None
        assert launcher.find(round.batch("unknown", [0])) is None

    def test_submitted_survives_journalling(self, launcher: Launcher, round: Round) -> None:
        submission = launcher.submit(round.batch("journal", [0]))
        raw = json.loads(json.dumps({**submission.__dict__}))
        again = Submission(**{**raw, "items": tuple(raw["items"]), "tasks": tuple(raw["tasks"])})
        assert again == submission

    def test_cancel_stops_running_and_pending(self, launcher: Launcher, round: Round) -> None:
        for item in (0, 1):
            # The trainer saves on SIGTERM; here it notes that it could.
            round.do(
                item,
                'trap \'touch "$notes/saved_$1"; exit 0\' TERM; touch "$notes/ready_$1"\n'
                "for _ in $(seq 600); do sleep 0.1; done",
            )
        submission = launcher.submit(round.batch("cancel", [0, 1], parallel=1))
        self.wait(lambda: (round.notes / "ready_0").exists(), "row 0 running")
        self.wait(lambda: launcher.poll([submission])[submission.name, 0].state is State.RUNNING, "seen running")
        launcher.cancel([submission])
        self.wait_gone(launcher, submission)
        assert (round.notes / "saved_0").exists()
        assert round.begun() == [(0, "1")]
        assert round.ended() == []
        launcher.cancel([submission])  # again: harmless

    def test_retry_keeps_the_original_indices(self, launcher: Launcher, round: Round) -> None:
        first = launcher.submit(round.batch("try", range(4)))
        self.wait_gone(launcher, first)
        retry = launcher.submit(round.batch("retry", [1, 3], attempt=2))
        self.wait_gone(launcher, first, retry)
        assert round.begun() == [(0, "1"), (1, "1"), (1, "2"), (2, "1"), (3, "1"), (3, "2")]

    def test_a_hostile_environment_does_not_leak(
        self, launcher: Launcher, round: Round, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in HOSTILE.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("ROUNDTABLE_TEST_KEPT", "yes, this")
        submission = launcher.submit(round.batch("hostile", [0, 1]))
        self.wait_gone(launcher, submission)
        inside = round.environment(0)
        assert {name: inside[name] for name, value in HOSTILE.items() if inside.get(name) == value} == {}
        assert inside["ROUNDTABLE_TEST_KEPT"] == "yes, this"
        assert inside.get("LC_ALL") != "C"

    def test_large_items_go_in_chunks(self, launcher: Launcher, round: Round) -> None:
        largest = launcher.largest_index()
        beyond = 5000 if largest is None else largest + 5
        parts = chunks((1, beyond, beyond + 1), largest)
        submissions = [launcher.submit(round.batch("chunk", part)) for part in parts]
        seen = self.wait_gone(launcher, *submissions)
        assert {item for _, item in seen} == {1, beyond, beyond + 1}
        assert [item for item, _ in round.begun()] == [1, beyond, beyond + 1]
