"""`roundtable train` and the checks of `--task` and `--data`: refused before anything is written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.__main__ import main
from agent.api import by_hand
from agent.api.by_hand import ByHand, train_by_hand
from agent.catalogue import find_trainer
from agent.datacheck import check_data, check_task, with_absolute_path
from agent.errors import UsageError
from trainers.contract import Value
from trainers.registry import TRAINERS, TaskPreset

NOOP = Path(__file__).parents[2] / "programs" / "noop.yaml"
RESNET9 = TRAINERS["resnet9"]


def wanted(root: Path, **changes: Any) -> ByHand:
    fields = {"trainer": str(NOOP), "task": "demo", "out": root / "out", "data": {"log": str(root / "log")}}
    return ByHand(**(fields | changes))


def reference(root: Path, mode: str) -> Path:
    """noop's reference with the mode that decides how the program ends."""
    raw = find_trainer(str(NOOP)).reference("demo").raw
    raw["parameters"]["mode"]["active_value"] = mode
    path = root / f"{mode}.json"
    path.write_text(json.dumps(raw))
    return path


def test_training_ends_with_objective_and_folder_on_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    call = ["train", "--trainer", str(NOOP), "--task", "demo", "--out", str(out), "--data", f"log={tmp_path}/log"]
    assert main(call) == 0
    score = json.loads((out / "result.json").read_text())["metrics"]["score"]
    assert capsys.readouterr().out == f"score {score:.6g} in {out}\n"
    before = (out / "result.json").read_bytes()
    assert main(call) == 2
    assert "never overwritten" in capsys.readouterr().err
    assert (out / "result.json").read_bytes() == before


def test_a_failed_result_is_replaced_and_said(tmp_path: Path) -> None:
    said: list[str] = []
    bad = wanted(tmp_path, hp_ref=reference(tmp_path, "bad"))
    assert train_by_hand(bad, say=said.append) == 1
    assert len(said) == 1 and said[0].startswith("training failed (bad_config): ")
    (tmp_path / "out" / "claim.json").write_text("{}")
    said.clear()
    assert train_by_hand(wanted(tmp_path), say=said.append) == 0
    assert "replacing the result of a training that failed (bad_config)" in said[0]
    assert said[1].startswith("score ")
    assert json.loads((tmp_path / "out" / "result.json").read_text())["outcome"] == "ok"
    assert not (tmp_path / "out" / "claim.json").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"outcome": "wonderful"}', '{"outcome": ["ok"]}', "{}"])
def test_a_result_that_cannot_be_judged_stays(text: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "result.json").write_text(text)
    with pytest.raises(UsageError, match=r"result\.json"):
        train_by_hand(wanted(tmp_path), say=pytest.fail)
    assert (tmp_path / "out" / "result.json").read_text() == text
    assert len(list((tmp_path / "out").iterdir())) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpus": 2}, r"--gpus 2: this machine has 1 .*give 0 to 1"),
        ({"gpus": -1}, r"--gpus -1: .*give 0 to 1"),
        ({"fold": 1}, r"--fold 1: must be below --fold-count 1"),
        ({"fold": -1}, r"--fold -1"),
        ({"data": {}}, r"--data log=\.\.\. is needed: the command uses \{data\.log\}"),
        ({"trainer": "resnet9", "task": "digits"}, r"--data log=.*: resnet9 has no such key"),
        ({"trainer": "resnet9", "task": "flowers", "data": {}}, r"add --data path=FILE_OR_FOLDER"),
    ],
)
def test_nothing_is_written_when_refused(
    changes: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_hand, "local_gpus", lambda: ("0",))
    with pytest.raises(UsageError, match=message):
        train_by_hand(wanted(tmp_path, **changes), say=pytest.fail)
    assert list(tmp_path.iterdir()) == []


def test_more_gpus_than_the_trainer_uses_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_hand, "local_gpus", lambda: ("2", "3"))
    asked = wanted(tmp_path, trainer="resnet9", task="digits", data={}, gpus=2)
    with pytest.raises(UsageError, match=r"--gpus 2: resnet9 trains on 1 GPU.*give --gpus 1"):
        train_by_hand(asked, say=pytest.fail)


def test_a_process_that_dies_without_a_result_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -9 $$\n")
    python.chmod(0o755)
    monkeypatch.setattr(by_hand, "training_python", lambda profile: python)
    said: list[str] = []
    assert train_by_hand(wanted(tmp_path), say=said.append) == 1
    assert said == [f"training failed: its process ended by signal 9 and left no result in {tmp_path / 'out'}"]


@pytest.mark.parametrize(
    ("data", "messages"),
    [
        ({"limt": 5}, ["--data limt=5: resnet9 has no such key", "limit: use only the first", "(a whole number)"]),
        ({"download": "no"}, ["--data download=no: must be true or false"]),
        ({"download": 1}, ["must be true or false"]),
        ({"limit": True}, ["--data limit=true: must be a whole number"]),
        ({"limit": 1.5}, ["must be a whole number"]),
        ({"val_fraction": "half"}, ["--data val_fraction=half: must be a number"]),
        ({"val_fraction": math.inf}, ["must be a number"]),
        ({"path": "no/such/folder"}, ["--data path=no/such/folder: does not exist"]),
        ({"path": "x" * 5000}, ["does not exist"]),
        ({"path": ""}, ["must be a path"]),
        ({"path": 2024}, ["read as a number; write ./2024"]),
        ({"limit": "x", "size": "y"}, ["limit=x", "size=y"]),
    ],
)
def test_data_that_the_trainer_would_refuse(data: Mapping[str, Value], messages: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        check_data(RESNET9, data)
    for message in messages:
        assert message in str(error.value)


def test_data_that_fits(tmp_path: Path) -> None:
    check_data(RESNET9, {"path": str(tmp_path), "limit": 100, "val_fraction": 0.2, "download": False})
    check_data(RESNET9, {"val_fraction": 1})
    check_data(find_trainer(str(NOOP)).trainer, {"log": "new", "anything": 1})


def test_a_brought_trainer_needs_what_its_command_and_environment_use(tmp_path: Path) -> None:
    text = NOOP.read_text().replace('"{data.log}"', '"{data.log}", "{data.b}"')
    (tmp_path / "noop.sh").write_bytes((NOOP.parent / "noop.sh").read_bytes())
    (tmp_path / "two.yaml").write_text(text + 'environment: {DATA: "{data.a}/x"}\n')
    assert find_trainer(str(tmp_path / "two.yaml")).trainer.needs_data == ("a", "b", "log")


def test_a_task_needs_data_unless_the_trainer_has_it() -> None:
    check_task(RESNET9, "digits", {}, brought=False)
    check_task(RESNET9, "flowers", {"path": "x"}, brought=False)
    check_task(RESNET9, "flowers", {}, brought=True)
    with pytest.raises(UsageError, match=r"'flowers' is not one that resnet9 has \(digits, cifar10\)"):
        check_task(RESNET9, "flowers", {}, brought=False)
    fed = replace(RESNET9, tasks={"own": TaskPreset(description="", epochs=1, needs_path=True)})
    with pytest.raises(UsageError, match="task 'own' of resnet9 needs --data path="):
        check_task(fed, "own", {}, brought=False)


def test_a_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert with_absolute_path({"path": "x.npz", "limit": 3}) == {"path": str(tmp_path / "x.npz"), "limit": 3}
    assert with_absolute_path({"limit": 3}) == {"limit": 3}


def test_the_registry_knows_the_keys_that_resnet9_reads() -> None:
    from trainers.resnet9 import options as data

    assert RESNET9.data_keys is not None
    kinds = {"path": str, "text": str, "int": int, "float": float, "bool": bool}
    assert {name: kinds[key.kind] for name, key in RESNET9.data_keys.items()} == data._TYPES
    assert set(RESNET9.data_keys) == {key for keys in data.KEYS.values() for key in keys}
