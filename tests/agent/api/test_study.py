"""The Python face: what doc/api.md says works, on a real study."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from agent.api import Study, TuneOptions, tune
from agent.errors import InvalidStudy, UsageError

ROOT = Path(__file__).parents[3]
PROGRAM = ROOT / "tests" / "programs" / "curve.yaml"


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder in which every Python block of doc/api.md was run, and the names that they left."""
    folder = tmp_path_factory.mktemp("api")
    text = PROGRAM.read_text().replace("curve.sh", str(PROGRAM.with_suffix(".sh")))
    (folder / "trainer.yaml").write_text(text)
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "doc" / "api.md").read_text(), re.M | re.S)
    assert len(blocks) >= 5
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in blocks:
            exec(compile(block, "doc/api.md", "exec"), names)
    return folder, names


def test_the_documented_blocks_run(documented: tuple[Path, dict[str, Any]]) -> None:
    folder, names = documented
    assert names["best"].best and names["best"].verdict == "leading"
    assert names["state"].best.key == names["best"].key and names["state"].ended is None
    assert len(list((folder / "runs" / "demo").glob("round_*"))) == 2


def test_a_trial_has_its_curve_and_its_best_model(documented: tuple[Path, dict[str, Any]]) -> None:
    (trial,) = Study(documented[0] / "runs" / "demo").run(1).trials
    assert [row["epoch"] for row in trial.epochs] == [1, 2, 3]
    assert trial.learning_curve("val_loss") == [(1.0, 0.5), (3.0, 0.25)]
    assert trial.best_model is not None and trial.best_model.read_text() == "weights\n"
    with pytest.raises(UsageError, match=r"val_acc: no such column in metrics_epoch\.csv; it has epoch, val_loss"):
        trial.learning_curve("val_acc")


def test_a_run_that_is_none_is_answered_with_those_there_are(documented: tuple[Path, dict[str, Any]]) -> None:
    study = Study(documented[0] / "runs" / "demo")
    with pytest.raises(UsageError, match="no run c07 of round 2: round 2 has c00, c01"):
        study.run(2, "c07")
    with pytest.raises(UsageError, match="no run c00 of round 9: 2 rounds are closed"):
        study.run(9)


def test_a_snapshot_that_was_changed_is_not_passed_off_as_the_one_trained_with(
    documented: tuple[Path, dict[str, Any]],
) -> None:
    run = Study(documented[0] / "runs" / "demo").run(1, "c01")
    text = run.reference_path.read_text()
    run.reference_path.write_text(text.replace('"round": 1', '"round": 2'))
    try:
        with pytest.raises(InvalidStudy, match="changed since it was trained with"):
            assert run.reference
    finally:
        run.reference_path.write_text(text)


def test_the_state_of_a_study_that_a_person_scores_by_hand(tmp_path: Path) -> None:
    options = TuneOptions(task="demo", trainer=str(PROGRAM), output_dir=tmp_path)
    tune(options)
    state = Study(tmp_path / "demo").state
    assert (state.closed, state.open, state.finished, state.best) == (0, 1, False, None)
    summary = tmp_path / "val_summary.json"
    summary.write_text(json.dumps({"score": 0.5}))
    tune(TuneOptions(task="demo", output_dir=tmp_path, val_summary=summary))
    best = Study(tmp_path / "demo").state.best
    assert best is not None and best.value == 0.5 and best.best_model is None
