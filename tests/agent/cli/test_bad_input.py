"""Wrong input: one clear error with the remedy, exit code 2, and nothing written or lost."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.__main__ import main

NOOP = Path(__file__).parents[2] / "programs" / "noop.yaml"


def snapshot(root: Path) -> dict[str, str]:
    """Every file's sha256; lease.lock is empty and may come and go."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "lease.lock"
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with one closed round, made once and copied for each test."""
    root = tmp_path_factory.mktemp("finished")
    assert main(call(root, "--auto-train", "--launcher", "local", "--quiet")) == 0
    return root


@pytest.fixture
def runs(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "runs")
    return tmp_path / "runs"


def call(root: Path, *options: str, task: str = "demo", trainer: str = str(NOOP)) -> list[str]:
    log = ["--data", f"log={root}/../trained.log"] if "--data" not in options else []
    return ["tune", "--task", task, "--trainer", trainer, "--output-dir", str(root), *log, *options]


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """Run a command that must fail as a usage error; its message."""
    capsys.readouterr()
    try:
        code = main(arguments)
    except SystemExit as error:  # argparse's own
        code = error.code if isinstance(error.code, int) else 1
    assert code == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message and message.strip()
    return message


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--trainer", "resnet8"], ["resnet8", "resnet9"]),
        (["--trainer", "nothing.yaml"], ["nothing.yaml", "No such file"]),
        (["--trainer", "resnet9", "--task", "flowers"], ["flowers", "digits", "cifar10", "--data path"]),
        (["--task", "a/b"], ["a/b", "letters, digits"]),
        (["--task", "a b"], ["letters, digits"]),
        (["--task", "it's"], ["letters, digits"]),
        (["--task", "$(touch x)"], ["letters, digits"]),
        (["--task", "a\nb"], ["letters, digits"]),
        (["--task", "übung"], ["letters, digits"]),
        (["--study", "../out"], ["--study", "letters, digits"]),
        (["--max-rounds", "0"], ["--max-rounds", "whole number from 1"]),
        (["--candidates", "-3"], ["--candidates"]),
        (["--folds", "4-0"], ["--folds", "0-4"]),
        (["--seeds", "1,1"], ["--seeds", "twice"]),
        (["--launcher", "pbs"], ["--launcher", "submitit", "sbatch", "local"]),
        (["--provider", "claude"], ["provider", "'claude'", "none, anthropic"]),
        (["--provider", "anthropic"], ["role analyst", "no API key", "ANTHROPIC_API_KEY"]),
        (["--provider", "ollama"], ["ollama", "--model"]),
        (["--provider", "custom", "--model", "m"], ["--base-url"]),
        (["--provider", "scripted"], ["scripted needs a FILE"]),
        (["--provider", "scripted", "nowhere.yaml"], ["nowhere.yaml", "no such file"]),
        (["--provider", "anthropic", "x"], ["anthropic x", "one name"]),
        (["--proposer", "llm"], ["--proposer llm", "--provider"]),
        (["--proposer", "hybrid", "--provider", "none"], ["--provider none", "only bayes"]),
        (["--llm-config", "nowhere.yaml"], ["nowhere.yaml"]),
        (["--llm-share", "0"], ["--llm-share", "above 0"]),
        (["--checker-model", ""], ["--checker-model", "empty"]),
        (["--prompts", "nowhere"], ["nowhere", "no such folder"]),
        (["--tune", "speed"], ["speed", "x", "mode"]),
        (["--data", "path"], ["KEY=VALUE"]),
        (["--data", "a=1", "--data", "a=2"], ["twice"]),
        (["--hp-ref", "nowhere.json"], ["nowhere.json", "no such file"]),
        (["--profile", "nowhere.yaml"], ["nowhere.yaml", "no such file"]),
        (["--val-summary", "nowhere.json"], ["nowhere.json", "no such file"]),
        (["--force-round", "2"], ["--force-round 2", "no study"]),
        (["--use-test-data"], ["--use-test-data", "no test evaluation"]),
        (["--max-raunds", "2"], ["--max-raunds"]),
    ],
)
def test_a_new_study_is_not_begun_on_wrong_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], named: list[str]
) -> None:
    root = tmp_path / "runs"
    message = refused(capsys, [*call(root), *arguments])
    for text in named:
        assert text in message
    assert not root.exists() or not list(root.iterdir())


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("partition: [", ["profile.yaml", "line"]),
        ("partition: main\npartition: gpu\n", ["partition", "twice"]),
        ("partitoin: main\n", ["partitoin", "partition"]),
        ("gpus: 1\ngres: gpu:1\n", ["gres"]),
        ("extra: {array: 0-3}\n", ["array"]),
        ("time: soon\n", ["time", "soon"]),
        ('partition: "a\\nb"\n', ["partition"]),
    ],
)
def test_a_broken_profile_is_refused_before_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, named: list[str]
) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text(text)
    message = refused(capsys, call(tmp_path / "runs", "--profile", str(path)))
    for part in named:
        assert part in message
    assert not (tmp_path / "runs").exists()


def test_a_missing_sbatch_names_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    message = refused(capsys, call(tmp_path / "runs", "--auto-train", "--launcher", "sbatch"))
    assert "sbatch" in message and "--launcher local" in message
    assert not (tmp_path / "runs").exists()


def _reference(root: Path) -> Path:
    return root / "demo" / "hyperparameter_reference.json"


def _truncate(root: Path) -> None:
    path = _reference(root)
    path.write_text(path.read_text()[:200])


def _change(**fields: object) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        raw = json.loads(_reference(root).read_text())
        raw["parameters"]["x"].update(fields)
        _reference(root).write_text(json.dumps(raw))

    return change


def _edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        path = root / "demo" / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (_truncate, ["demo/hyperparameter_reference.json", "line"]),
        (_change(active_value=7.0), ["parameters.x.active_value", "from 0"]),
        (_change(low=2.0), ["parameters.x"]),
        (_change(low=1.0, high=1.0), ["parameters.x"]),
        (_change(type="flaot"), ["parameters.x.type", "float"]),
        (_edit("hyperparameter_reference.json", '"x"', '"x": {}, "x"'), ["x", "twice"]),
        (_edit("hyperparameter_reference.json", "maximize", "minimize"), ["objective.direction", "'maximize'"]),
        (_edit("study.yaml", "seed: 0", "seed: 1"), ["study.yaml", "changed since the study began"]),
        (_edit("study.yaml", "task: demo", "task: demo\ntask: demo"), ["study.yaml", "twice"]),
        (_edit("trainer.json", "parabola", "line"), ["trainer.json", "changed since the study began"]),
        (_edit("journal.jsonl", '"seq": 2', '"seq": 9'), ["journal.jsonl", "line 2"]),
        (_edit("settings.json", '"candidates"', '"candidats"'), ["settings.json"]),
    ],
)
def test_a_broken_study_is_named_and_left_as_it_is(
    runs: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], None], named: list[str]
) -> None:
    spoil(runs)
    before = snapshot(runs)
    message = refused(capsys, ["tune", "--task", "demo", "--output-dir", str(runs), "--auto-train"])
    for text in named:
        assert text in message
    after = snapshot(runs)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    # The call itself may be journaled and a round begun; nothing that stood is lost.
    assert all(name in after for name in before)
    assert not {name for name in changed if name in before} - {"demo/journal.jsonl", "demo/settings.json"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["status", "--study", "other"], ["other", "demo"]),
        (["status", "--study", "demo", "--round", "9"], ["--round 9", "1"]),
        (["status", "--study", "a b"], ["letters, digits"]),
        (["tick", "--study", "nothing"], ["no study", "demo"]),
        (["reference", "restore", "--study", "demo", "5"], ["5"]),
        (["reference", "check", "nowhere.json"], ["nowhere.json"]),
        (["trainers", "resnet8"], ["resnet9"]),
        (["explode"], ["tune", "status"]),
    ],
)
def test_other_commands_name_what_there_is(
    runs: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], named: list[str]
) -> None:
    before = snapshot(runs)
    where = [] if arguments[0] in ("explode", "trainers") or "check" in arguments else ["--output-dir", str(runs)]
    message = refused(capsys, [*arguments, *where])
    for text in named:
        assert text in message
    assert snapshot(runs) == before


def test_training_by_hand_refuses_before_it_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = ["train", "--trainer", str(NOOP), "--task", "demo", "--out", str(tmp_path / "out")]
    assert "--fold" in refused(capsys, [*base, "--fold", "1"])
    assert not (tmp_path / "out").exists()
    assert main([*base, "--data", f"log={tmp_path}/log"]) == 0
    assert json.loads((tmp_path / "out" / "result.json").read_text())["outcome"] == "ok"
    assert "never overwritten" in refused(capsys, base)


def test_a_clock_that_went_back_is_named(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = runs / "demo" / "journal.jsonl"
    lines = path.read_text().splitlines()
    last = json.loads(lines[-1])
    last["at"] = "2999-01-01T00:00:00+00:00"
    path.write_text("\n".join([*lines[:-1], json.dumps(last)]) + "\n")
    before = snapshot(runs)
    message = refused(capsys, ["tune", "--task", "demo", "--output-dir", str(runs), "--auto-train"])
    assert "2999" in message and "set the clock right" in message
    assert snapshot(runs) == before
