"""Found by reading the orchestrator as an adversary: each test failed once, or guards what nearly did."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.api import Study, tick_once, tune
from agent.errors import (
    InputChanged,
    LaunchError,
    MissingResults,
    NothingLearnt,
    RoundtableError,
    StudyBusy,
    UsageError,
)
from agent.launch.local import LocalLauncher
from agent.orchestrator.training import render
from agent.policy import load_policy
from agent.records import Outcome
from agent.reference import parse
from agent.resources import shipped_policy
from agent.store import lease
from agent.store.disk import Disk
from agent.store.events import Resumed, Submitted, SummaryGiven
from tests.agent.launch.render_cases import a_manifest
from tests.agent.orchestrator.conftest import NOOP, Lab, kill
from tests.agent.orchestrator.test_rounds import edit, round_folder, run_printed
from trainers import job
from trainers.contract import TrialResult
from trainers.layout import RoundFiles
from trainers.manifest import Manifest, Row, load_manifest
from trainers.results import earlier_attempts, read_row


class Patience:
    """A `watch` that gives up: a call that waits for nothing must fail a test, not hang it."""

    def __init__(self, looks: int) -> None:
        self.left = looks

    def __call__(self, store: object, report: Any) -> None:
        self.left -= 1
        assert self.left > 0, f"waited in vain: {report.message or report.missing}"


def tuned(lab: Lab, **changes: Any) -> Any:
    return tune(lab.options(**changes), say=lab.lines.append, watch=Patience(60))


def change(path: Path, how: Callable[[Any], None]) -> None:
    raw = json.loads(path.read_text())
    how(raw)
    path.write_text(json.dumps(raw, indent=2))


# -- the reference and its archive -----------------------------------------------------------------------------


def test_an_edit_of_ranges_alone_keeps_the_version_that_was_trained(lab: Lab) -> None:
    lab.tune(max_rounds=2)
    reference = lab.root / "demo" / "hyperparameter_reference.json"
    trained = reference.read_bytes()
    change(reference, lambda raw: raw["parameters"]["x"].update(high=0.99))
    edited = reference.read_bytes()
    lab.tune()
    history = lab.root / "demo" / "history"
    assert (history / "hyperparameter_reference_round_2.json").read_bytes() == trained
    assert (history / "hyperparameter_reference_round_3.json").read_bytes() == edited


def test_an_edit_after_the_newest_round_was_run_again_keeps_both_runs_versions(lab: Lab) -> None:
    lab.tune(max_rounds=2)
    reference = lab.root / "demo" / "hyperparameter_reference.json"
    first = reference.read_bytes()
    edit(reference, "x", 0.875)
    lab.tune(force_round=2, max_iterations=2)
    kept = [path.read_bytes() for path in (lab.root / "demo" / "history").iterdir()]
    assert first in kept and Study(lab.root / "demo").history[-1].source == "person"


def test_an_edited_candidate_of_an_unsubmitted_round_is_written_again(lab: Lab) -> None:
    lab.tune(auto_train=False)
    path = round_folder(lab, 1) / "candidates/c00/hyperparameter_reference.json"
    good = path.read_bytes()
    edit(path, "x", 0.25)
    assert lab.tune(auto_train=False).state == "rendered"
    assert path.read_bytes() == good and lab.said("candidates/c00/hyperparameter_reference.json changed")


def test_a_reference_in_another_encoding_is_one_clear_error(lab: Lab) -> None:
    lab.tune()
    reference = lab.root / "demo" / "hyperparameter_reference.json"
    good = reference.read_bytes()
    reference.write_bytes(good.replace(b"Where", "Wo für".encode("latin-1")))
    with pytest.raises(RoundtableError, match="not UTF-8"):
        lab.tune()
    reference.write_bytes(good)
    assert lab.tune().closed == 1


# -- forced rounds ---------------------------------------------------------------------------------------------


def test_a_forced_round_is_all_that_its_call_runs(lab: Lab) -> None:
    lab.tune(max_rounds=2)
    lab.tune(force_round=1)
    names = sorted(path.name.split("_")[1] for path in (lab.root / "demo").glob("round_*"))
    assert names == ["1", "1", "2"]


def test_the_incumbent_of_a_round_that_was_run_again_with_fewer_candidates(lab: Lab) -> None:
    lab.tune(max_rounds=1, candidates=3)
    best = Study(lab.root / "demo").best
    assert best is not None and best["candidate"] != "c00"
    lab.tune(force_round=1, max_iterations=1, candidates=1)
    best = Study(lab.root / "demo").best
    assert best is not None and best["candidate"] == "c00"


def test_the_remedy_for_a_changed_submitted_round_works(lab: Lab) -> None:
    outcome = lab.tune(auto_train=False)
    run_printed([line for line in outcome.commands if "train_" in line])
    edit(round_folder(lab, 1) / "candidates/c00/hyperparameter_reference.json", "x", 0.25)
    with pytest.raises(InputChanged, match="--force-round 1"):
        lab.tune()
    tuned(lab, force_round=1, max_iterations=1)
    assert [o.values["x"] for o in Study(lab.root / "demo").history] == [0.5]


def test_a_round_with_running_tasks_is_not_thrown_away(lab: Lab) -> None:
    store = begin_slow(lab)
    with pytest.raises(KeyboardInterrupt):
        tune(lab.options(), watch=interrupt_when(lambda: len(lab.trained) == 1))
    # Even while its tasks are only being asked to stop.
    try:
        tuned(lab, force_round=1, max_iterations=1)
    except InputChanged as error:
        assert "still" in str(error)
    assert store.paths.root.exists()


# -- from the manual flow to --auto-train, and settings that change ---------------------------------------------


def test_a_round_rendered_for_a_person_is_submitted_when_asked(lab: Lab) -> None:
    lab.tune(auto_train=False)
    assert tuned(lab, max_iterations=1).closed == 1
    assert lab.trained == ["1 c00 0 0"]


def test_rows_that_a_person_began_are_left_to_the_person(lab: Lab) -> None:
    outcome = lab.tune(auto_train=False, candidates=2)
    row = next(line for line in outcome.commands if "train_" in line)
    run_printed([row.split(";")[0] if "for " not in row else f"bash {round_folder(lab, 1)}/train_demo_round1.sh 0"])
    with pytest.raises(MissingResults, match="c01_f0_s0"):
        tuned(lab, max_iterations=1)
    assert lab.trained == ["1 c00 0 0"]


def test_another_profile_renders_an_unsubmitted_round_again(lab: Lab, tmp_path: Path) -> None:
    lab.tune(auto_train=False, slurm=True)
    script = round_folder(lab, 1) / "train_demo_round1.slurm"
    assert "--partition=fast" not in script.read_text()
    profile = tmp_path / "profile.yaml"
    profile.write_text("partition: fast\n")
    assert lab.tune(auto_train=False, slurm=True, profile=profile).state == "rendered"
    assert "--partition=fast" in script.read_text()


def test_a_refused_submission_is_made_again_after_the_cause_is_mended(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: LocalLauncher, batch: object) -> None:
        raise LaunchError("refused: no such partition")

    with monkeypatch.context() as patch:
        patch.setattr(LocalLauncher, "submit", refuse)
        for _ in range(2):
            with pytest.raises(LaunchError, match="no such partition"):
                lab.tune(max_iterations=1)
    reference = lab.root / "demo" / "hyperparameter_reference.json"
    edit(reference, "x", 0.25)
    # Nothing was submitted, so an edit still counts.
    assert tuned(lab, max_iterations=1).closed == 1
    assert Study(lab.root / "demo").history[0].values["x"] == 0.25


# -- results that cannot be trusted ----------------------------------------------------------------------------


def odd_result(kind: str) -> Any:
    """What a brought trainer may return or do."""
    directions = {"score": "maximize"}
    if kind == "exit":
        raise SystemExit(0)
    if kind == "nan per class":
        return TrialResult(metrics={"score": 1.0}, directions=directions, per_class={"a": {"dice": float("nan")}})
    if kind == "no json":
        return TrialResult(metrics={"score": 1.0}, directions=directions, notes={"path": Path("x")})
    return None


@pytest.mark.parametrize("kind", ["exit", "nan per class", "no json", "none"])
def test_whatever_a_trainer_returns_leaves_a_result(lab: Lab, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    lab.tune(auto_train=False)

    monkeypatch.setattr("trainers.command.run.train", lambda spec, control: odd_result(kind))
    folder = round_folder(lab, 1)
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)}
    code = job.main(["train", "--round-dir", str(folder), "--row", "0"])
    for number, handler in kept.items():
        signal.signal(number, handler)
    manifest = load_manifest(folder / "manifest.json")
    result = read_row(RoundFiles(folder), manifest, manifest.rows[0])
    assert code == job.FAILED and result is not None and result.outcome == "crashed" and result.message


@pytest.mark.parametrize(
    "text",
    ['{"outcome": "ok"', "[]", '{"outcome": NaN}', '{"outcome": "ok", "outcome": "ok"}', "\x00" * 50],
)
def test_a_corrupt_result_is_an_outcome(lab: Lab, text: str) -> None:
    outcome = lab.tune(auto_train=False)
    run_printed([line for line in outcome.commands if "train_" in line])
    next(round_folder(lab, 1).glob("trials/*/*/result.json")).write_text(text)
    run_printed([line for line in outcome.commands if "eval_" in line])
    with pytest.raises(NothingLearnt, match="1 corrupt_result"):
        lab.tune(auto_train=False)
    assert [str(o.outcome) for o in Study(lab.root / "demo").history] == ["corrupt_result"]


def _error_as_text(raw: Any) -> None:
    raw["error"] = "text"


def _costs_as_text(raw: Any) -> None:
    raw["costs"] = {"wall_seconds": "long"}


def _class_as_text(raw: Any) -> None:
    raw["per_class"] = {"a": {"dice": "good"}}


def _direction_missing(raw: Any) -> None:
    raw["metrics"]["other"] = 1.0


@pytest.mark.parametrize("how", [_error_as_text, _costs_as_text, _class_as_text, _direction_missing])
def test_a_result_of_the_wrong_shape_is_corrupt(lab: Lab, how: Callable[[Any], None]) -> None:
    outcome = lab.tune(auto_train=False)
    run_printed([line for line in outcome.commands if "train_" in line])
    change(next(round_folder(lab, 1).glob("trials/*/*/result.json")), how)
    run_printed([line for line in outcome.commands if "eval_" in line])
    with pytest.raises(NothingLearnt, match="1 corrupt_result"):
        lab.tune(auto_train=False)
    assert [str(o.outcome) for o in Study(lab.root / "demo").history] == ["corrupt_result"]


@pytest.mark.parametrize("name", ["incumbent.json", "round_1_*/round.json"])
@pytest.mark.parametrize("text", ["{", "{}", '{"candidates": [{}]}', '{"candidates": 1}'])
def test_a_broken_file_of_the_study_is_named(lab: Lab, name: str, text: str) -> None:
    lab.tune()
    (path,) = (lab.root / "demo").glob(name)
    path.write_text(text)
    with pytest.raises(RoundtableError, match=path.name):
        tuned(lab, candidates=2)


@pytest.mark.parametrize("name", ["proposals.json", "manifest.json", "reference_before.json"])
def test_a_broken_file_of_the_open_round_is_named(lab: Lab, name: str) -> None:
    lab.tune(auto_train=False)
    (round_folder(lab, 1) / name).write_text("{")
    with pytest.raises(RoundtableError, match=name):
        tuned(lab, auto_train=False)


def test_a_broken_decision_of_an_unsubmitted_round_is_made_again(lab: Lab) -> None:
    outcome = lab.tune(auto_train=False)
    path = round_folder(lab, 1) / "tuning_decision_demo_round1.json"
    good = path.read_text()
    path.write_text("{")
    assert lab.tune(auto_train=False).state == "rendered"
    assert path.read_text() == good
    run_printed(list(outcome.commands))
    assert lab.tune(auto_train=False).closed == 1


# -- summaries -------------------------------------------------------------------------------------------------

OWN: dict[str, Any] = {
    "objective": "score",
    "metrics": {"score": {"value": 0.5, "direction": "maximize", "n": 1}},
    "per_fold": [{"row": 0, "fold": 0, "seed": 0, "attempt": 1, "outcome": "ok", "metrics": {"score": 0.5}}],
    "outcomes": {"ok": 1},
}


@pytest.mark.parametrize(
    "more",
    [{}, {"per_fold": []}, {"per_fold": [{"fold": 0}]}, {"per_fold": [{"metrics": 3}]}, {"costs": {"gpu": "much"}}],
    ids=str,
)
def test_a_given_summary_is_taken_or_refused_but_never_sticks(lab: Lab, tmp_path: Path, more: Any) -> None:
    lab.tune(auto_train=False)
    given = tmp_path / "given.json"
    given.write_text(json.dumps(OWN | more))
    try:
        lab.tune(auto_train=False, val_summary=given)
    except UsageError as error:
        assert "given.json" in str(error)
        given.write_text(json.dumps({"score": 0.5}))
        lab.tune(auto_train=False, val_summary=given)
    assert [o.value for o in Study(lab.root / "demo").history] == [0.5]


def test_a_summary_for_each_candidate_by_hand(lab: Lab) -> None:
    lab.tune(auto_train=False, candidates=2)
    for number, name in enumerate(("c00", "c01")):
        with pytest.raises(MissingResults):
            lab.tune(auto_train=False, candidates=2)
        (round_folder(lab, 1) / "candidates" / name / "val_summary.json").write_text(f'{{"score": 0.{number + 1}}}')
    lab.tune(auto_train=False, candidates=2)
    assert [o.value for o in Study(lab.root / "demo").history] == [0.1, 0.2]
    given = [entry for entry in lab.store().journal.of(SummaryGiven) if entry.source == "person"]
    assert len(given) == 2


class Killed(BaseException):
    """Ends a call at a boundary."""


@pytest.mark.parametrize("split", ["val", "test"])
def test_killed_while_a_given_summary_is_taken_in(lab: Lab, tmp_path: Path, split: str) -> None:
    lab.tune(auto_train=False)
    folder = round_folder(lab, 1)
    (folder / "val_summary.json").write_text('{"score": 0.5}')
    (tmp_path / "test.json").write_text('{"score": 0.25}')

    def boundary(name: str) -> None:
        if name == f"after {split}_summary.json":
            raise Killed

    with pytest.raises(Killed):
        tune(lab.options(auto_train=False, test_summary=tmp_path / "test.json"), disk=Disk(boundary=boundary))
    lab.tune(auto_train=False)
    assert [o.value for o in Study(lab.root / "demo").history] == [0.5]


def noop_with_test(folder: Path) -> Path:
    """The no-op trainer with a test evaluation."""
    test = 'test:\n  command: ["sh", "score.sh", "{out}"]\n  summary: test.json\n'
    (folder / "noop.sh").write_text((NOOP.parent / "noop.sh").read_text())
    (folder / "score.sh").write_text("""echo '{"score": 0.25}' >"$1/test.json"\n""")
    path = folder / "tested.yaml"
    path.write_text(NOOP.read_text() + test)
    return path


def test_a_stale_test_summary_is_made_again(lab: Lab, tmp_path: Path) -> None:
    trainer = str(noop_with_test(tmp_path))
    outcome = lab.tune(trainer=trainer, auto_train=False, use_test=True)
    run_printed(list(outcome.commands))
    folder = round_folder(lab, 1)
    # An evaluation that was killed between its two files leaves a test summary of an earlier look.
    change(folder / "candidates/c00/test_summary.json", lambda raw: raw["per_fold"][0].update(attempt=None))
    with pytest.raises(MissingResults, match="test_summary"):
        lab.tune(trainer=trainer, auto_train=False)
    run_printed([line for line in outcome.commands if "eval_" in line])
    assert lab.tune(trainer=trainer, auto_train=False).closed == 1


def test_a_round_that_an_earlier_version_rendered_keeps_its_array_of_evaluations(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its scripts take a candidate's position, and its manifest does not say that they do."""

    def boundary(name: str) -> None:
        if name.startswith("after") and name.endswith("_render.json"):
            raise Killed

    build = render.build_manifest
    text = Manifest.to_text
    with monkeypatch.context() as earlier, pytest.raises(Killed):
        earlier.setattr(render, "build_manifest", lambda work: replace(build(work), evaluation="array"))
        earlier.setattr(Manifest, "to_text", lambda self: text(self).replace(' "evaluation": "array",\n', ""))
        tune(lab.options(candidates=2), disk=Disk(boundary=boundary))
    assert "evaluation" not in json.loads((round_folder(lab, 1) / "manifest.json").read_text())
    assert tuned(lab, candidates=2).closed == 1
    items = [entry.items for entry in lab.store().journal.of(Submitted) if entry.kind == "eval"]
    assert items and all(found == (0, 1) for found in items)
    assert tuned(lab, candidates=2, max_rounds=2).closed == 2
    newest = [entry.items for entry in lab.store().journal.of(Submitted) if entry.kind == "eval"][len(items) :]
    assert newest and all(found == (0,) for found in newest)


def test_the_rounds_own_summary_is_c00s(lab: Lab) -> None:
    outcome = lab.tune(auto_train=False, candidates=2)
    run_printed(list(outcome.commands))
    folder = round_folder(lab, 1)
    # An evaluation that was killed between the two files.
    (folder / "val_summary.json").unlink()
    lab.tune(auto_train=False, candidates=2)
    assert (folder / "val_summary.json").read_bytes() == (folder / "candidates/c00/val_summary.json").read_bytes()


# -- names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["with space", "qu'ote\"s", "$(touch pwned)", "semi;colon&", "-dash", "ünï"])
def test_a_folder_of_any_name_works(tmp_path: Path, folder: str) -> None:
    root = tmp_path / folder
    root.mkdir()
    lab = Lab(root, [])
    assert tuned(lab, candidates=2, max_iterations=1).closed == 1
    assert sorted(lab.trained) == ["1 c00 0 0", "1 c01 0 0"]
    assert not list(tmp_path.rglob("pwned")) and not Path("pwned").exists()


# -- interruption ----------------------------------------------------------------------------------------------


def begin_slow(lab: Lab) -> Any:
    """A study whose trials take a second."""
    from agent.api.begin import begin

    store = begin(lab.options())
    edit(store.paths.reference, "mode", "slow")
    return store


def interrupt_when(condition: Callable[[], bool]) -> Callable[[object, object], None]:
    """A `watch` that is Ctrl-C."""

    def watch(store: object, report: object) -> None:
        if condition():
            raise KeyboardInterrupt

    return watch


def test_ctrl_c_loses_no_row_however_often(lab: Lab) -> None:
    begin_slow(lab)
    for _ in range(4):
        before = len(lab.trained)
        with pytest.raises(KeyboardInterrupt):
            tune(
                lab.options(candidates=2, parallel=1, max_iterations=1),
                watch=interrupt_when(lambda before=before: len(lab.trained) > before),
            )
    tuned(lab, candidates=2, parallel=1, max_iterations=1)
    assert [str(o.outcome) for o in Study(lab.root / "demo").history] == ["ok", "ok"]


def test_a_queue_that_dies_every_time_ends_with_the_attempts(lab: Lab) -> None:
    begin_slow(lab)

    def watch(store: Any, report: Any) -> None:
        for path in store.paths.root.glob("round_*/launch/*train*/pid.json"):
            if not (path.parent / "done.json").exists():
                try:
                    kill(json.loads(path.read_text())["queue"]["pid"])
                except ProcessLookupError:
                    pass

    with pytest.raises(NothingLearnt, match="1 lost"):
        tune(lab.options(max_iterations=1), watch=watch)
    assert [str(o.outcome) for o in Study(lab.root / "demo").history] == ["lost"]
    submitted = [e for e in lab.store().journal.of(Submitted) if e.kind == "train"]
    assert len(submitted) == 1 + load_policy(shipped_policy()).rules[Outcome.LOST].limit


# -- two at once -----------------------------------------------------------------------------------------------


def test_a_round_stays_with_the_launcher_that_has_its_tasks(lab: Lab) -> None:
    begin_slow(lab)
    with pytest.raises(KeyboardInterrupt):
        tune(lab.options(max_iterations=1), watch=interrupt_when(lambda: len(lab.trained) == 1))
    change(lab.root / "demo" / "settings.json", lambda raw: raw.update(launcher="sbatch"))
    with pytest.raises(UsageError, match="submitted with local"):
        tick_once(lab.store())


def test_a_process_that_lost_its_lease_writes_nothing(lab: Lab) -> None:
    lab.tune()
    suspended, other = lab.store(), lab.store()
    other.journal.append(Resumed(by="me"))
    with pytest.raises(StudyBusy, match="call again"):
        suspended.journal.append(Resumed(by="me"))
    lab.store().journal.append(Resumed(by="me"))


def test_the_lease_of_who_took_over_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lease.json"
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.01)
    theirs = json.dumps({"host": "elsewhere", "pid": 1, "heartbeat": 0.0})
    with lease.held(path):
        path.write_text(theirs)
        time.sleep(0.2)
    assert path.read_text() == theirs


# -- resuming a row --------------------------------------------------------------------------------------------


def test_a_checkpoint_survives_an_attempt_that_never_saved_one(tmp_path: Path) -> None:
    files = RoundFiles(tmp_path)
    row = Row(row=0, candidate="c00", fold=0, seed=0)
    first, second = (files.attempt("c00", 0, 0, number) for number in (1, 2))
    for folder in (first, second):
        folder.root.mkdir(parents=True)
    manifest = a_manifest(candidates=1, folds=1)
    assert earlier_attempts(files, manifest, row, 1) == ()
    assert earlier_attempts(files, manifest, row, 3) == (second.root, first.root)
    first.checkpoint_last.touch()
    assert earlier_attempts(files, manifest, row, 3) == (first.root, second.root)


def test_a_round_of_many_candidates_reads_none_of_their_references_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each was written, read, written and read once more: 19 s of CPU time for 2,000 candidates."""
    read: list[str] = []
    examine = parse._examine

    def counted(raw: object, file: str) -> Any:
        read.append(file)
        return examine(raw, file)

    monkeypatch.setattr(parse, "_examine", counted)
    lab.tune(auto_train=False, candidates=2)
    few = len(read)
    tune(lab.options(task="other", study="other", auto_train=False, candidates=30), say=lab.lines.append)
    assert len(read) == 2 * few
