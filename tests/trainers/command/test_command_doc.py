"""doc/add-a-trainer.md and doc/examples: every example is run, every table is complete."""

from __future__ import annotations

import dataclasses
import json
import re
import textwrap
from pathlib import Path

import pytest

from agent.reference import parse_reference
from trainers.command.description import KEYS, load_description, reference
from trainers.command.placeholders import RUN
from trainers.command.run import test, train
from trainers.contract import BadConfig, Interrupted, TrialSpec
from trainers.registry import RegisteredTrainer, TaskPreset

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "doc" / "add-a-trainer.md").read_text(encoding="utf-8")
EXAMPLES = sorted((ROOT / "doc" / "examples").glob("*/trainer.yaml"))


def blocks(language: str) -> list[str]:
    pattern = rf"^( *)```{language}\n(.*?)^ *```$"
    return [textwrap.dedent(match[2]) for match in re.finditer(pattern, PAGE, re.MULTILINE | re.DOTALL)]


def test_the_page_has_the_examples_that_are_run_here():
    assert (len(blocks("yaml")), len(blocks("python")), len(blocks("json"))) == (1, 2, 1)
    assert [path.parent.name for path in EXAMPLES] == ["shell", "sklearn"]


def test_the_tables_name_every_key_and_placeholder():
    assert [key for key in KEYS if f"| `{key}` |" not in PAGE] == []
    assert [name for name in RUN if f"`{{{name}}}`" not in PAGE] == []
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == list(KEYS)
    required = [key for key, meaning in KEYS.items() if meaning.endswith("Required.")]
    assert re.findall(r"^\| `(\w+)` \|.*\*\*Required\.\*\*", PAGE, re.MULTILINE) == required


def test_yaml_blocks(bench):
    for text in blocks("yaml"):
        path = bench.folder / "trainer.yaml"
        path.write_text(text)
        parse_reference(reference(load_description(path), "task"), file="reference")


def test_the_smallest_description_runs(bench):
    """The first example of the page, with a program that does what the page says."""
    path = bench.folder / "trainer.yaml"
    path.write_text(blocks("yaml")[0].replace("python, train.py", '"{python}", train.py'))
    (bench.folder / "train.py").write_text(
        "import argparse, json\n"
        "parser = argparse.ArgumentParser()\n"
        "for name, kind in [('lr', float), ('layers', int), ('seed', int), ('out', str)]:\n"
        "    parser.add_argument('--' + name, type=kind)\n"
        "o = parser.parse_args()\n"
        "json.dump({'accuracy': o.lr * o.layers}, open(o.out, 'w'))\n"
    )
    assert train(bench.spec(path), bench.control).metrics == {"accuracy": 0.002}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_examples_have_a_valid_reference(path):
    parse_reference(reference(load_description(path), "task"), file=str(path))


def test_the_shell_example(bench):
    path = ROOT / "doc" / "examples" / "shell" / "trainer.yaml"

    def loss(name: str, **values: float) -> float:
        spec = bench.spec(path, values=values, out=bench.root / name, epochs=20)
        result = train(spec, bench.control)
        assert result.epochs_run == 20
        assert (spec.out / "metrics_epoch.csv").read_text().startswith("epoch,val_loss\n1,")
        return result.metrics["loss"]

    default = loss("default")
    assert loss("again") == default
    assert len(bench.progress) == 40
    assert loss("tuned", learning_rate=0.03) < default / 2
    with pytest.raises(BadConfig, match="diverged in epoch"):
        loss("diverged", learning_rate=1.0)


@pytest.mark.train
def test_the_sklearn_example(bench):
    pytest.importorskip("sklearn")
    path = ROOT / "doc" / "examples" / "sklearn" / "trainer.yaml"
    spec = bench.spec(path)
    result = train(spec, bench.control)
    assert result.metrics["accuracy"] > 0.8
    assert set(result.metrics) == {"accuracy", "macro_f1"}
    assert result.samples == 91
    assert set(result.per_class) == {"malignant", "benign"}
    assert test(spec, bench.control).samples == 114


@pytest.mark.train
def test_the_python_example(bench):
    pytest.importorskip("sklearn")
    # The second block belongs into trainers/registry.py, where these two names are defined.
    module: dict[str, object] = {
        "__name__": "trainers.linear.train",
        "RegisteredTrainer": RegisteredTrainer,
        "TaskPreset": TaskPreset,
    }
    for text in blocks("python"):
        exec(compile(text, "add-a-trainer.md", "exec", dont_inherit=True), module)
    raw = json.loads(blocks("json")[0])
    parsed = parse_reference(raw, file="linear.json")
    assert [field.name for field in dataclasses.fields(module["Config"])] == list(parsed.parameters)
    registered = module["LINEAR"]
    assert isinstance(registered, RegisteredTrainer)
    assert (registered.name, parsed.trainer) == ("linear", "linear")

    def spec(name: str, **fields: object) -> TrialSpec:
        made = bench.spec(bench.write(), out=bench.root / name, objective="val_mse", direction="minimize", **fields)
        return dataclasses.replace(made, values={**parsed.values(), **fields.get("values", {})}, trainer_file=None)

    result = module["train"](spec("whole", epochs=4), bench.control)
    assert result.metrics["val_mse"] < 0.7  # 1 is the variance of the target
    assert [epoch for epoch, _ in bench.progress] == [1, 2, 3, 4]

    bench.stop.request(15)
    first = spec("first", epochs=4)
    with pytest.raises(Interrupted):
        module["train"](first, bench.control)
    bench.stop.signal = None
    bench.progress.clear()
    resumed = module["train"](spec("second", epochs=4, previous=first.out), bench.control)
    assert [epoch for epoch, _ in bench.progress] == [2, 3, 4]
    assert resumed.epochs_run == 4
    with pytest.raises(BadConfig):
        module["train"](spec("diverged", values={"learning_rate": 1.0}), bench.control)
