"""Which checkpoints remain of a training that ended well."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainers.contract import TrainerError
from trainers.layout import AttemptFiles
from trainers.registry import TRAINERS
from trainers.saving import EVERY, KEEP, Saving

BEST, LAST = "checkpoint_best.pt", "checkpoint_last.pt"


@pytest.mark.parametrize(("keep", "left"), [("both", {BEST, LAST}), ("best", {BEST}), ("last", {LAST})])
def test_what_is_kept(keep: str, left: set[str], tmp_path: Path) -> None:
    for name in (BEST, LAST):
        (tmp_path / name).touch()
    removed = Saving.read({KEEP: keep}).prune(AttemptFiles(tmp_path), ())
    assert {path.name for path in tmp_path.iterdir()} == left and {*removed} == {BEST, LAST} - left


@pytest.mark.parametrize("keep", ["best", "last"])
def test_nnunet_keeps_the_weights_that_it_measured(keep: str, tmp_path: Path) -> None:
    fold = tmp_path / "nnUNet_results" / "Dataset001_A" / "model" / "fold_0"
    fold.mkdir(parents=True)
    for name in ("checkpoint_best.pth", "checkpoint_final.pth"):
        (fold / name).touch()
    (tmp_path / LAST).symlink_to(fold / "checkpoint_final.pth")
    Saving.read({KEEP: keep}).prune(AttemptFiles(tmp_path), TRAINERS["nnunet"].spare_checkpoints)
    assert [path.name for path in fold.iterdir()] == ["checkpoint_final.pth"] and (tmp_path / LAST).exists()


def test_a_training_without_a_best_checkpoint_loses_none(tmp_path: Path) -> None:
    (tmp_path / LAST).touch()
    assert Saving.read({KEEP: "best"}).prune(AttemptFiles(tmp_path), ()) == []
    assert (tmp_path / LAST).exists()


@pytest.mark.parametrize("environment", [{EVERY: "0"}, {EVERY: "x"}, {EVERY: "-1"}, {KEEP: "none"}])
def test_a_value_that_no_profile_gives_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(TrainerError, match=next(iter(environment))):
        Saving.read(environment)
    assert Saving.read({}) == Saving(every=1, keep="both")
