"""A study whose trainer is a person's own Python file: trained, shown without running it, and refused where others
could have named the code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.api import Study, TuneOptions, tune
from agent.catalogue import find_trainer
from agent.cli.main import run
from agent.errors import InvalidPlugin, InvalidStudy, InvalidTrainer

CODE = """
import os
from pathlib import Path
from beside_it import WORTH
from trainers.contract import TrialResult
from trainers.registry import RegisteredTrainer, TaskPreset

Path(__file__).with_name("imported").write_text(str(os.getpid()))
TRAINER = RegisteredTrainer(
    name="mine",
    description="a parabola",
    tasks={"demo": TaskPreset(description="none", epochs=1)},
    reference={
        "objective": {"metric": "score", "direction": "maximize"},
        "parameters": {"x": {"type": "float", "low": 0.0, "high": 1.0, "default": 0.5, "description": "where"}},
    },
)

def train(spec, control):
    return TrialResult(metrics={"score": WORTH - spec.values["x"] ** 2}, directions={"score": "maximize"})
"""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """The trainer's file, in a folder that no path names."""
    before, modules = list(sys.path), set(sys.modules)
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "beside_it.py").write_text("WORTH = 2.0\n")
    (folder / "my_trainer.py").write_text(CODE)
    yield folder / "my_trainer.py"
    sys.path[:] = before
    for name in set(sys.modules) - modules:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def options(file: Path, **changes: object) -> TuneOptions:
    fields: dict[str, object] = {
        "task": "demo",
        "trainer": f"{file}:TRAINER",
        "output_dir": file.parent.parent / "runs",
        "auto_train": True,
        "launcher": "local",
        "confirm": "never",
        "max_rounds": 1,
    }
    return TuneOptions(**(fields | changes))  # type: ignore[arg-type]


def forget(file: Path) -> None:
    """As in a new process."""
    for name in [name for name in sys.modules if name.startswith("my_trainer_")]:
        del sys.modules[name]
    (file.parent / "imported").unlink()


def test_a_relative_path_is_the_trainer_of_its_study_from_everywhere(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    tune(options(file, trainer="my_trainer.py:TRAINER"))
    monkeypatch.chdir("/")
    tune(options(file, trainer=None))
    root = file.parent.parent / "runs" / "demo"
    first, _ = Study(root).history
    assert (str(first.outcome), first.value) == ("ok", 1.75)
    manifests = [json.loads(path.read_text()) for path in root.glob("round_*/manifest.json")]
    assert {each["trainer"] for each in manifests} == {f"{file}:TRAINER"}


def test_looking_at_its_study_does_not_run_the_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tune(options(file))
    forget(file)
    assert run(["status", "--study", str(file.parent.parent / "runs" / "demo")]) == 0
    assert "1.75" in capsys.readouterr().out
    assert not (file.parent / "imported").exists()


def test_a_folder_that_others_may_write_to_names_no_code(file: Path) -> None:
    tune(options(file))
    forget(file)
    root = file.parent.parent / "runs" / "demo"
    os.chmod(root, 0o777)
    for trainer in (None, f"{file}:TRAINER"):
        with pytest.raises(InvalidStudy, match=r"is code, and of the folder .* everybody may write to it; it is not"):
            tune(options(file, trainer=trainer))
        if trainer is None:
            assert not (file.parent / "imported").exists()
    os.chmod(root, 0o700)
    tune(options(file))


def test_a_look_at_a_study_that_somebody_sent_runs_no_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tune(options(file, max_rounds=2))
    forget(file)
    root = file.parent.parent / "runs" / "demo"
    second = sorted(root.glob("round_*"))[1]
    for look in (
        ["replay", str(second)],
        ["doctor", "--study", str(root)],
        ["reference", "history", "--study", str(root)],
    ):
        assert run(look) in (0, 1), capsys.readouterr().err
        assert not (file.parent / "imported").exists(), look
    os.chmod(root, 0o777)
    assert run(["tune", "--task", "demo", "--output-dir", str(root.parent), "--auto-train", "--dry-run"]) == 2
    assert "is code" in capsys.readouterr().err and not (file.parent / "imported").exists()


def test_a_file_that_fails_is_named(file: Path) -> None:
    file.write_text("import torch_of_another_planet\n")
    with pytest.raises(InvalidPlugin, match=r"my_trainer\.py:TRAINER: cannot be imported: ModuleNotFoundError"):
        tune(options(file))
    assert not (file.parent.parent / "runs").exists()


def test_an_unknown_name_says_what_may_be_given() -> None:
    with pytest.raises(
        InvalidTrainer, match=r"nnunet, resnet9, informer.*\.yaml, or package\.module:NAME or FILE\.py"
    ):
        find_trainer("resnet99")
