"""The task entry: identity, claims, outcomes, evaluation. A tiny trainer stands in for the training itself."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from trainers import evaluate, job, registry
from trainers.claim import Owner, boot_id, claim_attempt, process_start, this_owner
from trainers.contract import (
    BadConfig,
    Control,
    Interrupted,
    OutOfMemory,
    TrainerError,
    TrialResult,
    TrialSpec,
)
from trainers.files import write_atomic
from trainers.layout import RoundFiles
from trainers.manifest import Manifest, ManifestProblem, Row, file_sha256, load_manifest, read_values
from trainers.results import read_row


class TinyTrainer:
    """Scores lr * (fold + 1) + seed; special values of lr stand for each way of failing."""

    FAILURES: Mapping[float, Exception] = {
        0.1: BadConfig("loss is nan at epoch 2"),
        0.2: OutOfMemory("batch 32 does not fit"),
        0.3: RuntimeError("a bug"),
        0.4: Interrupted("stopped at epoch 1"),
    }

    def __init__(self) -> None:
        self.specs: list[TrialSpec] = []

    def train(self, spec: TrialSpec, control: Control) -> TrialResult:
        self.specs.append(spec)
        control.report(1, {"val_accuracy": 0.5})
        lr = spec.values["lr"]
        assert isinstance(lr, float)
        if lr in self.FAILURES:
            if isinstance(self.FAILURES[lr], Interrupted):
                control.stop.request(signal.SIGTERM)
            raise self.FAILURES[lr]
        score = lr * (spec.fold + 1) + spec.seed
        return TrialResult(
            metrics={"val_accuracy": score},
            directions={"val_accuracy": "maximize"},
            samples=10,
            per_class={"0": {"accuracy": score}, "1": {"accuracy": None}},
        )

    def test(self, spec: TrialSpec, control: Control) -> TrialResult:
        return TrialResult(metrics={"test_accuracy": 0.25}, directions={"test_accuracy": "maximize"})


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> TinyTrainer:
    trainer = TinyTrainer()
    monkeypatch.setattr(registry, "trainer_module", lambda name: trainer)
    return trainer


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """The task entry installs handlers; give the test process its own back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def make_round(root: Path, *, lrs: tuple[float, ...] = (0.5,), folds: int = 2, **changes: Any) -> RoundFiles:
    """A round's folder with a reference for each lr and a manifest of lrs x folds."""
    files = RoundFiles(root)
    shas = {}
    for position, lr in enumerate(lrs):
        name = f"c{position:02d}"
        files.candidate(name).mkdir(parents=True)
        reference = {"parameters": {"lr": {"type": "float", "default": 0.9, "active_value": lr}}}
        files.reference(name).write_text(json.dumps(reference))
        shas[name] = file_sha256(files.reference(name))
    places = [(name, fold) for name in shas for fold in range(folds)]
    fields: dict[str, Any] = {
        "study": "s",
        "task": "digits",
        "trainer": "resnet9",
        "round": 1,
        "objective": "val_accuracy",
        "direction": "maximize",
        "folds": folds,
        "epochs": 2,
        "data": {},
        "cpus": 1,
        "gpus": 0,
        "candidates": shas,
        "rows": tuple(Row(row=i, candidate=name, fold=fold, seed=0) for i, (name, fold) in enumerate(places)),
    }
    files.manifest.write_text(Manifest(**(fields | changes)).to_text())
    return files


def test_a_row_leaves_its_result_and_progress(tmp_path: Path, tiny: TinyTrainer) -> None:
    files = make_round(tmp_path)
    assert job.main(["train", "--round-dir", str(tmp_path), "--row", "1"]) == 0
    manifest = load_manifest(files.manifest)
    result = read_row(files, manifest, manifest.rows[1])
    assert result is not None and result.outcome == "ok" and result.metrics == {"val_accuracy": 1.0}
    attempt = files.attempt("c00", 1, 0, 1)
    assert json.loads(attempt.exit.read_text())["rc"] == 0
    assert json.loads(attempt.progress.read_text())["epoch"] == 1
    assert tiny.specs[0].values == {"lr": 0.5} and tiny.specs[0].folds == 2 and tiny.specs[0].epochs == 2
    assert os.environ["NNUNET_HP_REF"] == str(files.reference("c00"))


@pytest.mark.parametrize(
    ("lr", "outcome", "message"),
    [(0.1, "bad_config", "loss is nan"), (0.2, "gpu_oom", "does not fit"), (0.3, "crashed", "a bug")],
)
def test_failures_are_outcomes_without_a_score(
    tmp_path: Path, tiny: TinyTrainer, lr: float, outcome: str, message: str
) -> None:
    files = make_round(tmp_path, lrs=(lr,))
    assert job.main(["train", "--round-dir", str(tmp_path), "--row", "0"]) == job.FAILED
    manifest = load_manifest(files.manifest)
    result = read_row(files, manifest, manifest.rows[0])
    assert result is not None and result.outcome == outcome and message in result.message and not result.metrics


def test_a_full_disk_while_it_trains_is_no_outcome_of_the_settings(
    tmp_path: Path, tiny: TinyTrainer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(spec: Any, control: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(spec.out / "checkpoint_last.pt"))

    files = make_round(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(tiny, "train", full)
        assert job.main(["train", "--round-dir", str(tmp_path), "--row", "0"]) == job.FAILED
    attempt = files.attempt("c00", 0, 0, 1)
    marker = json.loads(attempt.exit.read_text())
    assert not attempt.result.exists() and marker["outcome"] == "disk" and "checkpoint_last.pt" in marker["message"]
    assert "the disk refused: [Errno 28] No space left on device" in capsys.readouterr().err
    assert job.main(["train", "--round-dir", str(tmp_path), "--row", "0"]) == job.DONE
    assert tiny.specs[-1].attempt == 2 and tiny.specs[-1].previous == attempt.root


def test_an_interrupted_row_leaves_no_result_and_is_resumed(tmp_path: Path, tiny: TinyTrainer) -> None:
    files = make_round(tmp_path, lrs=(0.4,))
    assert job.main(["train", "--round-dir", str(tmp_path), "--row", "0"]) == 128 + signal.SIGTERM
    attempt = files.attempt("c00", 0, 0, 1)
    assert not attempt.result.exists() and json.loads(attempt.exit.read_text())["outcome"] == "interrupted"
    job.main(["train", "--round-dir", str(tmp_path), "--row", "0"])
    assert tiny.specs[1].attempt == 2 and tiny.specs[1].previous == attempt.root


def test_a_training_gives_way_to_a_newer_attempt_at_its_row(
    tmp_path: Path, tiny: TinyTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its node was given up for dead, the row was started again elsewhere, and yet it trains."""
    files = make_round(tmp_path)
    seen: list[bool] = []

    def train(spec: TrialSpec, control: Control) -> TrialResult:
        seen.append(control.stop.requested)
        other = Owner(task="slurm:9_0", restart=0, host="elsewhere", pid=1, started=1, boot="b")
        assert claim_attempt(files, load_manifest(files.manifest).rows[0], 2, other).attempt == 2
        seen.append(control.stop.requested)
        monkeypatch.setattr(control.stop, "_next_look", 0.0)
        seen.append(control.stop.requested)
        raise Interrupted("saved at epoch 1")

    monkeypatch.setattr(tiny, "train", train)
    assert job.main(["train", "--round-dir", str(tmp_path), "--row", "0", "--attempt", "1"]) == 128
    assert seen == [False, False, True]
    attempt = files.attempt("c00", 0, 0, 1)
    marker = json.loads(attempt.exit.read_text())
    assert marker["outcome"] == "interrupted" and marker["message"].startswith(
        "a newer attempt at this row has begun"
    )
    assert not attempt.result.exists()


def test_a_changed_reference_is_refused_by_the_task(tmp_path: Path, tiny: TinyTrainer) -> None:
    files = make_round(tmp_path)
    files.reference("c00").write_text(files.reference("c00").read_text().replace("0.5", "0.6"))
    assert job.main(["train", "--round-dir", str(tmp_path), "--row", "0"]) == job.REFUSED
    assert not tiny.specs
    marker = json.loads(files.attempt("c00", 0, 0, 1).exit.read_text())
    assert marker["outcome"] == "refused" and "changed since the round was rendered" in marker["message"]


def test_a_finished_row_is_not_trained_again(tmp_path: Path, tiny: TinyTrainer) -> None:
    make_round(tmp_path)
    for attempt in ("next", "next", "1", "2"):
        assert job.main(["train", "--round-dir", str(tmp_path), "--row", "0", "--attempt", attempt]) == 0
    assert len(tiny.specs) == 1


def test_many_processes_racing_for_one_row_train_it_once(tmp_path: Path) -> None:
    files = make_round(tmp_path)
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from trainers.claim import claim_attempt, this_owner
        from trainers.layout import RoundFiles
        from trainers.manifest import load_manifest
        files = RoundFiles(Path(sys.argv[1]))
        sys.stdin.readline()
        claim = claim_attempt(files, load_manifest(files.manifest).rows[0], 1, this_owner({}))
        print(claim.attempt is not None)
        """
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(files.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    assert sum(racer.communicate()[0].strip() == "True" for racer in racers) == 1


def test_a_requeued_slurm_task_goes_on_in_its_own_folder(tmp_path: Path) -> None:
    files = make_round(tmp_path)
    row = load_manifest(files.manifest).rows[0]
    first = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0"}
    assert claim_attempt(files, row, 1, this_owner(first)).attempt == 1
    assert claim_attempt(files, row, 1, this_owner(first)).attempt is None
    again = claim_attempt(files, row, 1, this_owner(first | {"SLURM_RESTART_COUNT": "1"}))
    assert again.attempt == 1 and again.resumed
    other = claim_attempt(files, row, 1, this_owner(first | {"SLURM_ARRAY_JOB_ID": "8", "SLURM_RESTART_COUNT": "1"}))
    assert other.attempt is None and "slurm:7_0" in other.reason


def test_a_requeued_task_finds_its_attempt_where_no_number_was_given(tmp_path: Path) -> None:
    """Lines run by hand say `next`; the first run was killed on another machine and left no exit marker."""
    files = make_round(tmp_path)
    row = load_manifest(files.manifest).rows[0]
    there = Owner(task="slurm:7_0", restart=0, host="elsewhere", pid=1, started=1, boot="b")
    assert claim_attempt(files, row, None, there).attempt == 1
    again = this_owner({"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0", "SLURM_RESTART_COUNT": "2"})
    claim = claim_attempt(files, row, None, again)
    assert claim.attempt == 1 and claim.resumed
    assert claim_attempt(files, row, None, again).attempt is None


def test_a_requeued_task_drops_its_first_runs_exit_marker_and_goes_on_from_what_was_saved(
    tmp_path: Path, tiny: TinyTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = make_round(tmp_path, lrs=(0.4,))
    train = ["train", "--round-dir", str(tmp_path), "--row", "0", "--attempt"]
    first, second = (files.attempt("c00", 0, 0, number) for number in (1, 2))
    job.main([*train, "1"])
    first.checkpoint_last.touch()
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    marked: list[bool] = []
    wrapped = tiny.train
    monkeypatch.setattr(tiny, "train", lambda s, c: (marked.append(second.exit.exists()), wrapped(s, c))[1])
    for restart in ("0", "1", "2"):
        monkeypatch.setenv("SLURM_RESTART_COUNT", restart)
        if restart == "2":
            second.checkpoint_last.touch()
        assert job.main([*train, "2"]) == 128 + signal.SIGTERM
    assert marked == [False] * 3 and second.exit.exists()
    # The first requeue came before anything was saved in its own folder.
    assert [spec.previous for spec in tiny.specs[1:]] == [first.root, first.root, second.root]
    assert tiny.specs[-1].earlier == (first.root,) and {spec.out for spec in tiny.specs[1:]} == {second.root}


def test_next_waits_for_a_running_attempt_and_passes_a_dead_one(tmp_path: Path) -> None:
    files = make_round(tmp_path)
    row = load_manifest(files.manifest).rows[0]
    assert claim_attempt(files, row, None, this_owner({})).attempt == 1
    assert "is running" in claim_attempt(files, row, None, this_owner({})).reason
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = process_start(child.pid)
    assert started is not None
    gone = Owner(task="t", restart=0, host=os.uname().nodename, pid=child.pid, started=started, boot=boot_id())
    assert gone.alive()
    child.communicate()
    assert not gone.alive()
    folder = files.attempt("c00", 0, 0, 1)
    folder.claim.unlink()
    assert claim_attempt(files, row, 1, gone).attempt == 1
    assert claim_attempt(files, row, None, this_owner({})).attempt == 2
    assert "out of date" in claim_attempt(files, row, 1, this_owner({})).reason


def test_another_machines_claim_is_not_guessed_about(tmp_path: Path) -> None:
    files = make_round(tmp_path)
    row = load_manifest(files.manifest).rows[0]
    claim_attempt(files, row, 1, Owner(task="slurm:5_0", restart=0, host="elsewhere", pid=1, started=1, boot="b"))
    claim = claim_attempt(files, row, None, this_owner({}))
    assert claim.attempt is None and "give the number of the new attempt: 2" in claim.reason
    assert claim_attempt(files, row, 2, this_owner({})).attempt == 2


def test_evaluation_folds_what_is_there_and_counts_what_is_not(tmp_path: Path, tiny: TinyTrainer) -> None:
    files = make_round(tmp_path, lrs=(0.5, 0.1), use_test=True)
    for row in range(3):
        job.main(["train", "--round-dir", str(tmp_path), "--row", str(row)])
    for position in (0, 1):
        assert job.main(["eval", "--round-dir", str(tmp_path), "--candidate-index", str(position)]) == 0
    first = json.loads(files.candidate_summary("c00", "val").read_text())
    assert first["metrics"]["val_accuracy"] == {
        "value": 0.75,
        "direction": "maximize",
        "std": pytest.approx(0.5 / 2**0.5),
        "n": 2,
    }
    assert first["outcomes"] == {"ok": 2} and first["per_class"] == {"0": {"accuracy": 0.75}, "1": {"accuracy": None}}
    assert json.loads(files.val_summary.read_text()) == first
    second = json.loads(files.candidate_summary("c01", "val").read_text())
    assert second["metrics"] == {} and second["outcomes"] == {"bad_config": 1, "no_result": 1}
    tested = json.loads(files.candidate_summary("c00", "test").read_text())
    assert tested["metrics"]["test_accuracy"]["value"] == 0.25 and files.test_summary.exists()


def test_one_evaluation_covers_every_candidate_and_may_be_repeated(
    tmp_path: Path, tiny: TinyTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = make_round(tmp_path, lrs=(0.5, 0.6, 0.7))
    for row in range(6):
        job.main(["train", "--round-dir", str(tmp_path), "--row", str(row)])
    each = ["eval", "--round-dir", str(tmp_path), "--candidate-index"]
    assert [job.main([*each, str(position)]) for position in range(3)] == [0, 0, 0]
    paths = [files.val_summary, *(files.candidate_summary(f"c0{number}", "val") for number in range(3))]
    texts = [path.read_text() for path in paths]

    written: list[Path] = []

    def killed(path: Path, data: str) -> None:
        if path == paths[2]:
            raise KeyboardInterrupt
        write_atomic(path, data)
        written.append(path)

    for path in paths:
        path.unlink()
    together = ["eval", "--round-dir", str(tmp_path)]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(evaluate, "write_atomic", killed)
        job.main(together)
    first = [path.stat().st_mtime_ns for path in paths[:2]]
    assert job.main(together) == 0
    assert [path.read_text() for path in paths] == texts
    assert [path.stat().st_mtime_ns for path in paths[:2]] == first, "what was there already is not written again"


def test_what_is_wrong_with_one_candidate_keeps_no_other_back(
    tmp_path: Path, tiny: TinyTrainer, capsys: pytest.CaptureFixture[str]
) -> None:
    files = make_round(tmp_path, lrs=(0.5, 0.6, 0.7, 0.8), folds=1, use_test=True)
    for row in range(4):
        job.main(["train", "--round-dir", str(tmp_path), "--row", str(row)])
    # A reference that somebody edited, a result that is no JSON, and a folder where the summary should be.
    files.reference("c00").write_text("{}")
    files.attempt("c01", 0, 0, 1).result.write_text("{")
    files.candidate_summary("c02", "val").mkdir()
    assert job.main(["eval", "--round-dir", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "c00: not evaluated" in said and "2 of 4 candidates are not evaluated: c00, c02" in said
    broken = json.loads(files.candidate_summary("c01", "val").read_text())
    assert broken["outcomes"] == {"corrupt_result": 1}
    for split in ("val", "test"):
        assert json.loads(files.candidate_summary("c03", split).read_text())["outcomes"] == {"ok": 1}


def test_a_persons_own_summary_outlives_the_evaluation_of_the_others(tmp_path: Path, tiny: TinyTrainer) -> None:
    files = make_round(tmp_path, lrs=(0.5, 0.6), folds=1)
    job.main(["train", "--round-dir", str(tmp_path), "--row", "0"])
    theirs = files.candidate_summary("c01", "val")
    theirs.write_text('{"val_accuracy": 0.75}')
    assert job.main(["eval", "--round-dir", str(tmp_path)]) == 0
    assert theirs.read_text() == '{"val_accuracy": 0.75}'
    assert json.loads(files.candidate_summary("c00", "val").read_text())["outcomes"] == {"ok": 1}
    # One that an evaluation left is brought up to date, also where results have gone since.
    files.attempt("c00", 0, 0, 1).result.unlink()
    assert job.main(["eval", "--round-dir", str(tmp_path)]) == 0
    assert json.loads(files.candidate_summary("c00", "val").read_text())["outcomes"] == {"no_result": 1}


def test_a_manifest_of_a_version_without_the_word_has_an_array_of_evaluations(tmp_path: Path) -> None:
    files = make_round(tmp_path, lrs=(0.5, 0.6, 0.7))
    assert load_manifest(files.manifest).evaluation_items([1, 2]) == [0]
    raw = json.loads(files.manifest.read_text())
    del raw["evaluation"]
    files.manifest.write_text(json.dumps(raw))
    old = load_manifest(files.manifest)
    assert (old.evaluation_items(), old.evaluation_items([1, 2])) == ([0, 1, 2], [1, 2])
    files.manifest.write_text(json.dumps(raw | {"evaluation": "queue"}))
    with pytest.raises(ManifestProblem, match="must be job or array"):
        load_manifest(files.manifest)


def test_a_result_of_another_row_is_corrupt_not_believed(tmp_path: Path, tiny: TinyTrainer) -> None:
    files = make_round(tmp_path)
    job.main(["train", "--round-dir", str(tmp_path), "--row", "0"])
    stranger = files.attempt("c00", 1, 0, 1)
    stranger.root.mkdir(parents=True)
    stranger.result.write_text(files.attempt("c00", 0, 0, 1).result.read_text())
    manifest = load_manifest(files.manifest)
    result = read_row(files, manifest, manifest.rows[1])
    assert result is not None and result.outcome == "corrupt_result" and "row is 0" in result.message


@pytest.mark.parametrize("text", ["", "{", '{"outcome": "ok"}', '{"outcome": NaN}', "[]"])
def test_a_broken_result_is_corrupt(tmp_path: Path, text: str) -> None:
    files = make_round(tmp_path)
    folder = files.attempt("c00", 0, 0, 1)
    folder.root.mkdir(parents=True)
    folder.result.write_text(text)
    manifest = load_manifest(files.manifest)
    result = read_row(files, manifest, manifest.rows[0])
    assert result is not None and result.outcome == "corrupt_result"


def test_the_manifest_survives_its_own_text(tmp_path: Path) -> None:
    files = make_round(tmp_path, lrs=(0.5, 0.6), folds=3)
    manifest = load_manifest(files.manifest)
    assert manifest.to_text() == files.manifest.read_text()
    assert [row.row for row in manifest.of_candidate("c01")] == [3, 4, 5]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda raw: raw.pop("rows"), "rows"),
        (lambda raw: raw["rows"][0].update(row=4), "rows[0].row"),
        (lambda raw: raw["rows"][1].update(candidate="c07"), "rows[1].candidate"),
        (lambda raw: raw["rows"][1].update(fold=0), "stands twice"),
        (lambda raw: raw["rows"][1].update(fold=9), "rows[1].fold"),
        (lambda raw: raw["rows"][1].update(seed=-1), "rows[1]"),
        (lambda raw: raw.update(schema_version=2), "schema_version"),
        (lambda raw: raw["objective"].update(direction="up"), "objective.direction"),
        (lambda raw: raw["candidates"].update(c00="abc"), "candidates.c00"),
        (lambda raw: raw["resources"].update(cpus="2"), "resources.cpus"),
    ],
)
def test_a_broken_manifest_is_named(tmp_path: Path, change: Any, named: str) -> None:
    files = make_round(tmp_path)
    raw = json.loads(files.manifest.read_text())
    change(raw)
    files.manifest.write_text(json.dumps(raw))
    with pytest.raises(ManifestProblem) as caught:
        load_manifest(files.manifest)
    assert named in str(caught.value) and str(files.manifest) in str(caught.value)


def test_a_truncated_manifest_is_refused_with_its_place(tmp_path: Path) -> None:
    files = make_round(tmp_path)
    files.manifest.write_text(files.manifest.read_text()[:100])
    assert job.main(["train", "--round-dir", str(tmp_path), "--row", "0"]) == job.REFUSED
    with pytest.raises(ManifestProblem, match="line"):
        load_manifest(files.manifest)


def test_values_need_a_plain_value(tmp_path: Path) -> None:
    path = tmp_path / "reference.json"
    path.write_text('{"parameters": {"lr": {"default": null}}}')
    with pytest.raises(ManifestProblem, match=r"parameters\.lr"):
        read_values(path, sha256=None)


def test_probe_names_what_is_missing() -> None:
    command = [sys.executable, "-m", "trainers.job", "probe", "--trainer", "x", "json", "no_such_module_here"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == job.REFUSED
    answer = json.loads(done.stdout)
    assert "json" in answer["found"] and "no_such_module_here" in answer["missing"][0]


def test_the_registry_names_its_trainers() -> None:
    with pytest.raises(Exception, match="resnet9"):
        registry.trainer_module("resnet8")


def test_the_task_entry_needs_the_standard_library_only() -> None:
    modules = "trainers.job, trainers.train_row, trainers.evaluate, trainers.prepare, trainers.by_hand"
    script = f"import sys, {modules}; print(sorted(m for m in sys.modules if 'torch' in m or 'numpy' in m))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_programs_row_loads_no_module_that_it_does_not_use() -> None:
    unused = "argparse difflib trainers.evaluate trainers.fit trainers.prepare trainers.registry trainers.visible"
    unused += " trainers.by_hand trainers.command.yamltext"
    script = "import sys, trainers.job, trainers.train_row, trainers.command.run; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, check=True)
    assert set(unused.split()).isdisjoint(done.stdout.split())


class Preparer:
    """Stands where a trainer's preparation does: notes what it is asked, and fails where it is told to."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.asked: list[dict[str, Any]] = []

    def prepare_data(self, task: str, data: Any, values: list[Any], **more: Any) -> bool:
        self.asked.append({"task": task, "values": values, **more})
        if self.error is not None:
            if isinstance(self.error, Interrupted):
                more["stop"].request(signal.SIGTERM)
            raise self.error
        return True


def prepare(files: RoundFiles, preparer: Preparer, monkeypatch: pytest.MonkeyPatch) -> tuple[int, dict[str, Any]]:
    monkeypatch.setattr(registry, "preparer", lambda name, brought: preparer)
    code = job.main(["prepare", "--round-dir", str(files.root), "--cpus", "3"])
    return code, json.loads(files.prepared.read_text())


def test_a_preparation_is_told_what_all_candidates_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preparer = Preparer()
    code, record = prepare(make_round(tmp_path, lrs=(0.5, 0.6)), preparer, monkeypatch)
    assert code == 0 and record["outcome"] == "ok"
    (asked,) = preparer.asked
    assert asked["values"] == [{"lr": 0.5}, {"lr": 0.6}] and asked["folds"] == 2 and asked["cpus"] == 3


@pytest.mark.parametrize(
    ("error", "code", "outcome", "message"),
    [
        (TrainerError("a label is missing"), 1, "failed", "TrainerError: a label is missing"),
        (RuntimeError("a bug"), 1, "failed", "RuntimeError: a bug"),
        (Interrupted("stopped while waiting"), 143, "interrupted", "stopped while waiting"),
    ],
)
def test_rows_do_not_begin_after_a_preparation_that_failed(
    tmp_path: Path,
    tiny: TinyTrainer,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    outcome: str,
    message: str,
) -> None:
    files = make_round(tmp_path)
    found = prepare(files, Preparer(error), monkeypatch)
    assert found[0] == code and (found[1]["outcome"], found[1]["message"]) == (outcome, message)
    assert job.main(["train", "--round-dir", str(tmp_path), "--row", "0"]) == 1
    result = json.loads(files.attempt("c00", 0, 0, 1).result.read_text())
    assert result["outcome"] == "crashed" and tiny.specs == []
    assert f"the data was not prepared: {message}" in result["error"]["message"]
    # A person has mended the cause by the time of a retry.
    assert job.main(["train", "--round-dir", str(tmp_path), "--row", "0", "--attempt", "2"]) == 0


def test_a_preparation_that_was_killed_is_not_taken_for_none(tmp_path: Path, tiny: TinyTrainer) -> None:
    files = make_round(tmp_path)
    files.prepared.write_text('{"outcome": "began", "message": ""}')
    assert job.main(["train", "--round-dir", str(tmp_path), "--row", "0"]) == 1
    result = json.loads(files.attempt("c00", 0, 0, 1).result.read_text())
    assert "it began and left no end" in result["error"]["message"] and tiny.specs == []


def test_a_trainer_without_a_preparation_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_round(tmp_path)
    assert job.main(["prepare", "--round-dir", str(tmp_path)]) == 2
    assert "trainer = resnet9: has nothing to prepare" in capsys.readouterr().err
