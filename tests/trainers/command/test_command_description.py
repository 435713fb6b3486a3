"""Trainer descriptions: what is accepted, what is refused, and that everything wrong is named in one go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.reference import parse_reference
from trainers.command.description import KEYS, from_json, load_description, reference, registered
from trainers.command.findings import DescriptionProblem

ROOT = Path(__file__).resolve().parents[3]

FULL = """
name: full-example
description: Everything a description can say
command:
  - "{python}"
  - train.py
  - --lr={learning_rate}
  - --opt={optimizer}
  - --width={width}
  - --nesterov={nesterov}
  - --epochs={epochs}
  - --data={data.path}
  - '{{"json": true}}'
working_directory: .
environment: {OMP_NUM_THREADS: "{cpus}"}
pass_values: [arguments, environment, reference]
epochs: 12
folds: 0-4
seeds: [1, 2]
parameters:
  learning_rate: {type: float, low: 1e-5, high: 1, log: true, default: 1e-3, unit: 1/step, group: optimizer}
  optimizer: {type: categorical, choices: [sgd, adam, "no", off], default: sgd, description: Update rule}
  width: {type: int, low: 8, high: 64, step: 8, default: 16, impact: medium}
  nesterov: {type: bool, default: false, condition: optimizer == 'sgd', tune: false}
constraints:
  - width * learning_rate < 10
  - {expression: width >= 8, message: too narrow}
objective: {metric: dice, direction: maximize, path: foreground_mean.Dice}
metrics:
  loss: {direction: minimize, path: [scores, "0", val.loss]}
summary: output/score.json
metrics_epoch: {file: log.csv, columns: {epoch: step, val_loss: loss}}
resources: {cpus: 4, gpus: 2}
out_of_memory: {exit_codes: [77], output_contains: ["CUDA out of memory"]}
bad_config: {exit_codes: [3, 4]}
stop_grace_s: 2.5
test: {command: ["{python}", test.py, "{out}"], summary: test.json}
probe: ["{python}", -c, import json]
tasks: [first, second]
"""


def problems(path: Path) -> list[tuple[str, str, str]]:
    with pytest.raises(DescriptionProblem) as caught:
        load_description(path)
    assert caught.value.file == str(path)
    assert all(str(path) in line for line in str(caught.value).splitlines())
    return caught.value.problems


def refused(bench, changes=None, **keys) -> str:
    """The one problem of a minimal description with these keys, as `where: message`."""
    found = problems(bench.write(changes, **keys))
    assert len(found) == 1, found
    where, _, message = found[0]
    return f"{where}: {message}"


def test_a_full_description(tmp_path):
    path = tmp_path / "full.yaml"
    path.write_text(FULL)
    found = load_description(path)
    assert set(KEYS) == set(json.loads(found.to_json())) - {"schema_version"}
    assert found.folds == (0, 1, 2, 3, 4)
    assert found.seeds == (1, 2)
    assert found.working_directory == tmp_path
    assert found.parameters["learning_rate"]["low"] == 1e-5  # PyYAML's own resolver reads "1e-5" as a text
    assert found.parameters["optimizer"]["choices"] == ["sgd", "adam", "no", "off"]
    assert found.metrics["loss"].path == ("scores", "0", "val.loss")
    assert found.command[-1] == '{{"json": true}}'
    assert from_json(found.to_json(), name="trainer.json") == found


def test_the_reference_of_a_description_is_a_valid_reference(tmp_path):
    path = tmp_path / "full.yaml"
    path.write_text(FULL)
    raw = reference(load_description(path), "first")
    parsed = parse_reference(raw, file="reference")
    assert (parsed.trainer, parsed.task, parsed.round, parsed.source) == ("full-example", "first", 1, "shipped")
    assert (parsed.objective.metric, parsed.objective.direction) == ("dice", "maximize")
    assert parsed.values() == {"learning_rate": 1e-3, "optimizer": "sgd", "width": 16, "nesterov": False}
    assert parsed.tunable() == ("learning_rate", "optimizer", "width")
    assert [c.message for c in parsed.constraints] == ["needs width * learning_rate < 10", "too narrow"]


def test_what_a_study_is_told(tmp_path, load):
    path = tmp_path / "full.yaml"
    path.write_text(FULL)
    trainer = registered(load_description(path))
    assert (trainer.name, trainer.module) == ("full-example", "trainers.command.run")
    assert (list(trainer.tasks), trainer.open_tasks) == (["first", "second"], False)
    assert (trainer.default_epochs, trainer.folds, trainer.has_test) == (12, (0, 1, 2, 3, 4), True)
    assert (trainer.seeds, trainer.cpus, trainer.gpus) == ((1, 2), 4, 2)
    assert trainer.probe == ("{python}", "-c", "import json")
    minimal = registered(load())
    assert (minimal.open_tasks, minimal.folds, minimal.has_test) == (True, (0,), False)


def test_short_parameters_get_a_description_and_floats(load):
    found = load(parameters={"drop_out": {"type": "float", "low": 0, "high": 1, "default": 0}})
    parameter = found.parameters["drop_out"]
    assert parameter["description"] == "drop out"
    assert [type(parameter[key]) for key in ("low", "high", "default")] == [float] * 3


def test_every_problem_is_listed_in_one_go(bench):
    found = problems(
        bench.write(
            name="has space",
            command="python train.py",
            pass_values="stdin",
            parameters={"x": {"type": "float", "low": 2, "high": 1, "default": 3}, "2y": {"type": "real"}},
            objective={"metric": "score", "direction": "up"},
            folds="4-0",
            colour="red",
        )
    )
    assert {where for where, _, _ in found} == {
        *("name", "command", "pass_values", "parameters.x.low", "parameters.2y", "parameters.2y.type"),
        *("objective.direction", "folds", "colour"),
    }


def test_unknown_keys_are_answered_with_the_valid_ones(bench):
    message = refused(bench, sumary="x.json")
    assert message.startswith("sumary: unknown key; did you mean summary?")
    assert "pass_values" in message
    assert "valid keys: file, columns" in refused(bench, metrics_epoch={"file": "a.csv", "colums": {}})
    assert "valid keys: metric, direction, path" in refused(
        bench, objective={"metric": "score", "direction": "maximize", "goal": 1}
    )


def test_a_key_of_another_type_is_unknown_to_a_parameter(bench):
    message = refused(bench, parameters={"x": {"type": "bool", "default": True, "low": 0}})
    assert message.startswith("parameters.x.low: unknown key")
    assert "active_value" not in refused(
        bench, parameters={"x": {"type": "int", "low": 0, "high": 3, "default": 1, "activ": 2}}
    )


@pytest.mark.parametrize("key", ["name", "command", "objective", "pass_values", "parameters"])
def test_required_keys(bench, key):
    assert refused(bench, {key: None}).startswith(f"{key}: missing")


@pytest.mark.parametrize(
    ("parameter", "place"),
    [
        ({"type": "float", "low": 1, "high": 1, "default": 1}, "low"),
        ({"type": "float", "low": 0, "high": 1, "log": True, "default": 1}, "low"),
        ({"type": "float", "low": 0, "high": 1, "default": 2}, "default"),
        ({"type": "float", "low": "0", "high": 1, "default": 1}, "low"),
        ({"type": "float", "low": 0, "high": 1}, "default"),
        ({"type": "int", "low": 0, "high": 8, "default": 1.5}, "default"),
        ({"type": "int", "low": 0, "high": 8, "default": True}, "default"),
        ({"type": "int", "low": 0, "high": 8, "step": 3, "default": 4}, "default"),
        ({"type": "int", "low": 0, "high": 8, "step": 0, "default": 4}, "step"),
        ({"type": "int", "low": 1, "high": 8, "step": 1, "log": True, "default": 4}, "step"),
        ({"type": "categorical", "choices": ["a", "b"], "default": "c"}, "default"),
        ({"type": "categorical", "choices": ["a", "a"], "default": "a"}, "choices[1]"),
        ({"type": "categorical", "choices": [1, True], "default": 2}, "default"),
        ({"type": "categorical", "choices": [["a"]], "default": "a"}, "choices[0]"),
        ({"type": "categorical", "choices": [], "default": "a"}, "choices"),
        ({"type": "bool", "default": 1}, "default"),
        ({"type": "bool", "default": True, "condition": "z > 1"}, "condition"),
        ({"type": "bool", "default": True, "condition": "x >"}, "condition"),
        ({"type": "bool", "default": True, "impact": "huge"}, "impact"),
        ({"type": "bool", "default": True, "tune": "yes"}, "tune"),
    ],
)
def test_parameters_that_are_refused(bench, parameter, place):
    found = problems(bench.write(parameters={"x": parameter}))
    assert f"parameters.x.{place}" in {where for where, _, _ in found}


@pytest.mark.parametrize("name", ["fold", "Seed", "out", "data.path", "résumé", "a b", "1x", "lambda", "RESUME_FROM"])
def test_parameter_names_that_are_refused(bench, name):
    assert refused(bench, parameters={name: {"type": "bool", "default": True}}).startswith("parameters.")


def test_two_parameters_may_not_share_a_variable(bench):
    pair = {name: {"type": "bool", "default": True} for name in ("lr", "LR")}
    assert "RT_LR" in refused(bench, parameters=pair)


@pytest.mark.parametrize(
    ("keys", "place", "words"),
    [
        ({"command": "python train.py"}, "command", '["bash", "-c", "..."]'),
        ({"command": []}, "command", "list"),
        ({"command": ["a", 5]}, "command[1]", "quote"),
        ({"command": ["a", {"lr": None}]}, "command[1]", "quote"),
        ({"command": ["a", "{y}"]}, "command[1]", "valid: fold, folds, seed"),
        ({"command": ["a", "{x}"]}, "command[1]", "unknown placeholder"),  # pass_values is environment alone
        ({"command": ["a", "{fold.__class__}"]}, "command[1]", "unknown placeholder"),
        ({"command": ["a", "{fold!r}"]}, "command[1]", "unknown placeholder"),
        ({"command": ["a", "{}"]}, "command[1]", "unknown placeholder"),
        ({"command": ["a", "{fold"]}, "command[1]", "single {"),
        ({"command": ["a", "fold}"]}, "command[1]", "single }"),
        ({"command": ["bash", "-c", "echo {seed}"]}, "command[2]", "shell code"),
        ({"command": ["srun", "/bin/sh", "-euc", "echo {out}"]}, "command[3]", "shell code"),
        ({"command": ["bash", "-lc", "--", "echo {seed}"]}, "command[3]", "read as code"),
        ({"command": ["{python}", "-c", "print({seed})"]}, "command[2]", "read as code"),
        ({"command": ["env", "-S", "bash -c 'train'"]}, "command[1]", "one by one"),
        ({"command": ["env", "--split-string=train {seed}"]}, "command[1]", "one by one"),
        ({"environment": {"BASH_ENV": "{data.path}"}}, "environment.BASH_ENV", "take code"),
        ({"command": ["./absent.sh"]}, "command[0]", "no such file"),
        ({"command": ["./trainer.yaml"]}, "command[0]", "not executable"),
        ({"command": ["a", "{epochs}"]}, "epochs", "missing"),
        ({"working_directory": "absent"}, "working_directory", "no such folder"),
        ({"environment": {"A-B": "1"}}, "environment.A-B", "letters"),
        ({"environment": {"RT_X": "1"}}, "environment.RT_X", "Roundtable"),
        ({"environment": {"A": 1}}, "environment.A", "quote"),
        ({"environment": {"A": "{nothing}"}}, "environment.A", "valid: fold"),
        ({"pass_values": ["arguments"]}, "parameters.x", "never reaches"),
        ({"summary": "/tmp/summary.json"}, "summary", "inside"),
        ({"summary": "../summary.json"}, "summary", "inside"),
        ({"summary": "result.json"}, "summary", "writes"),
        ({"folds": [0, 0]}, "folds", "twice"),
        ({"folds": [-1]}, "folds", "whole numbers"),
        ({"folds": "0-999999"}, "folds", "whole numbers"),
        ({"folds": []}, "folds", "whole numbers"),
        ({"seeds": ["1"]}, "seeds", "whole numbers"),
        ({"epochs": 0}, "epochs", "from 1"),
        ({"epochs": 2.5}, "epochs", "from 1"),
        ({"resources": {"cpus": 0}}, "resources.cpus", "from 1"),
        ({"resources": [1]}, "resources", "mapping"),
        ({"out_of_memory": {"exit_codes": [0]}}, "out_of_memory.exit_codes", "1 to 255"),
        ({"out_of_memory": {"exit_codes": [3]}, "bad_config": {"exit_codes": [3]}}, "bad_config.exit_codes", "one"),
        ({"out_of_memory": {"output_contains": [""]}}, "out_of_memory.output_contains[0]", "text"),
        ({"stop_grace_s": -1}, "stop_grace_s", "from 0"),
        ({"constraints": "x < 1"}, "constraints", "list"),
        ({"constraints": ["y < 1"]}, "constraints[0].expression", "parameters: x"),
        ({"constraints": [{"message": "m"}]}, "constraints[0].expression", "missing"),
        ({"metrics": {"score": {"direction": "minimize"}}}, "metrics.score", "objective"),
        ({"metrics": {"loss": "minimize"}}, "metrics.loss", "mapping"),
        ({"objective": {"metric": "a", "direction": "maximize", "path": "a..b"}}, "objective.path", "dots"),
        ({"test": {"command": ["true"]}}, "test.summary", "missing"),
        ({"test": {"command": ["true"], "summary": "summary.json"}}, "test.summary", "training"),
        ({"metrics_epoch": {"file": "a.csv", "columns": {"a": "c", "b": "c"}}}, "metrics_epoch.columns", "twice"),
        ({"probe": ["a", "{seed}"]}, "probe[1]", "valid: python"),
        ({"name": "resnet9"}, "name", "ships"),
        ({"name": "../x"}, "name", "letters"),
        ({"tasks": "digits"}, "tasks", "list"),
    ],
)
def test_what_is_refused_and_where(bench, keys, place, words):
    message = refused(bench, keys)
    assert message.startswith(f"{place}: ")
    assert words in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "is empty"),
        (b"- a\n- b\n", "expected keys with values"),
        (b"name: a\nname: b\n", "line 2 = 'name': this key stands twice"),
        (b"parameters:\n  x: {type: bool, default: true, default: false}\n", "line 2 = 'default': this key stands"),
        (b"name: !!python/object/apply:os.system ['touch hacked']\n", "line 1 column 7"),
        (b"a: &a [1]\nb: *a\n", "anchors"),
        (b"name: [a, b\n", "not usable YAML"),
        (b"name: a\n---\nname: b\n", "single document"),
        (b"command: [a, --x={x}]\n", "need quotes"),
        (b"name: \xff\n", "not UTF-8 at byte 6"),
        (b"name: a\x07b\n", "not usable YAML"),
        (b"1: x\n", "a key must be a text"),
        (b"x: !!binary aGVsbG8=\n", "is a bytes"),
        (b"x: " + b"9" * 5000 + b"\n", "not usable YAML"),
        (b"x: 1e999\n", "must be finite"),
        (b'x: "\\ud83d\\ude00"\n', "surrogate"),
        (b'"\\ud83d": x\n', "a key must be a text"),
        (b"x: " + b"[" * 1200 + b"]" * 1200, "deep"),
        (b"x: " + b"[" * 30 + b"]" * 30, "deep"),
        (b"#" * 300_000, "300000 bytes, more than the 262144 that are read"),
    ],
)
def test_files_that_are_refused(tmp_path, text, words):
    path = tmp_path / "trainer.yaml"
    path.write_bytes(text)
    problems(path)
    with pytest.raises(DescriptionProblem, match=words.replace("[", r"\[").replace("(", r"\(")):
        load_description(path)
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_cannot_be_read(tmp_path):
    assert "No such file" in problems(tmp_path / "absent.yaml")[0][2]
    assert "Is a directory" in problems(tmp_path)[0][2]
    os.mkfifo(tmp_path / "pipe.yaml")
    assert "regular file" in problems(tmp_path / "pipe.yaml")[0][2], "nobody waits for what is written to it"


def test_a_broken_frozen_description_is_refused(bench):
    frozen = json.loads(load_description(bench.write()).to_json())
    for changes, place in [({"schema_version": 2}, "schema_version"), ({"folds": "x"}, "folds"), ({"new": 1}, "new")]:
        with pytest.raises(DescriptionProblem) as caught:
            from_json(json.dumps(frozen | changes), name="trainer.json")
        assert [where for where, _, _ in caught.value.problems] == [place]
    with pytest.raises(DescriptionProblem, match=r"trainer.json: file: line 1"):
        from_json(json.dumps(frozen)[:-20], name="trainer.json")


def test_tasks_need_the_standard_library_alone(bench):
    """What a task imports, without site-packages: -I -S has neither PyYAML nor torch."""
    bench.root.joinpath("trainer.json").write_text(load_description(bench.write()).to_json())
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import trainers.command.run, trainers.command.probe
from trainers.command.description import from_json
print(from_json(open({str(bench.root / "trainer.json")!r}).read(), name="x").name)
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "demo\n", "")
