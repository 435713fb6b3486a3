"""What each command imports, and that the login node, which has no torch, can import all of `agent`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.api import TuneOptions
from agent.api.begin import begin
from tests.nnunet_files import write_dataset
from trainers.registry import TRAINERS

ROOT = Path(__file__).parents[1]
NOOP = ROOT / "tests" / "programs" / "noop.yaml"
SHIPPED = ROOT / "doc" / "hyperparameter_reference" / "resnet9.json"

#: Needed by training alone. No command of `agent` may import any of it, whatever it does.
TRAINING = {"torch", "torchvision", "sklearn", "matplotlib", "scipy", "pandas", "nnunetv2"}
#: Each is 8 ms to a second of CPU time, where bare Python is 10 ms.
HEAVY = {
    "rich",
    "yaml",
    "jinja2",
    "numpy",
    "optuna",
    "submitit",
    "sqlalchemy",
    "asyncio",
    "multiprocessing",
    "pydantic",
    "jsonschema",
    "anthropic",
    "openai",
    "httpx",
    "dotenv",
    "opentelemetry",
    "PIL",
    "vl_convert",
}
#: The standard library's own weight, which --help has no use for.
STANDARD = {"dataclasses", "inspect", "pathlib", "json", "socket", "subprocess", "threading", "tempfile", "urllib"}

#: Runs the command as the console script does, then writes the names of the modules that it added to an interpreter
#: that has shown one argparse help, whatever that takes in this version of Python.
PROBE = """
import sys, argparse
target, *arguments = sys.argv[1:]
argparse.ArgumentParser().format_help()
before = set(sys.modules)
from agent.__main__ import main
try:
    code = main(arguments)
except SystemExit as ended:
    code = ended.code
with open(target, "w") as stream:
    print(code or 0, *sorted(set(sys.modules) - before), sep="\\n", file=stream)
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study before its first round."""
    folder = tmp_path_factory.mktemp("studies")
    options = TuneOptions(task="demo", trainer=str(NOOP), output_dir=folder, data={"log": str(folder / "log")})
    return begin(options).paths.root


@pytest.fixture
def loaded(tmp_path: Path) -> Any:
    """Run a command in a process of its own; the modules that it brought."""

    def run(*arguments: str, code: int = 0) -> set[str]:
        target = tmp_path / "modules.txt"
        # Without its own start hook: coverage would import what it needs itself.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
        done = subprocess.run(
            [sys.executable, "-c", PROBE, str(target), *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        found, *modules = target.read_text(encoding="utf-8").splitlines()
        assert found == str(code), done.stderr
        return set(modules)

    return run


@pytest.mark.parametrize("arguments", [(), ("tune",), ("status",), ("costs",), ("graph",), ("reference", "check")])
def test_help_needs_argparse_alone(loaded: Any, arguments: tuple[str, ...]) -> None:
    modules = loaded(*arguments, "--help")
    assert "agent.cli.main" in modules
    assert modules & (TRAINING | HEAVY | STANDARD) == set()
    ours = {name for name in modules if name.partition(".")[0] in ("agent", "trainers")}
    options = {"commands", "kinds", "option", "readers", "study", "tables"}
    lists = {"agent.model_roles", "agent.names"}
    table = {"agent.cli.options", "agent.options", *lists, *(f"agent.options.{name}" for name in options)}
    assert ours - table == {"agent", "agent.__main__", "agent.cli", "agent.cli.main", "agent.cli.streams"}
    assert ours & table == (table if arguments else set())


def test_a_wrong_option_of_tune_costs_no_more_than_help(loaded: Any) -> None:
    modules = loaded("tune", "--task", "demo", "--max-rounds", "0", code=2)
    assert modules & (TRAINING | HEAVY) == set()
    assert "agent.api" not in modules


def test_status_brings_rich_and_yaml_only(loaded: Any, study: Path) -> None:
    modules = loaded("status", "--study", str(study))
    assert modules & (TRAINING | HEAVY) == {"rich", "yaml"}
    rooms = {
        "acceptance",
        "budget",
        "cli",
        "errors",
        "launch",
        "model_roles",
        "names",
        "objectives",
        "options",
        "ownership",
        "pasteable",
        "planning",
        "plugins",
        "proposers",
        "records",
        "reference",
        "report",
        "store",
    }
    assert _rooms(modules) == rooms


def test_status_as_json_does_without_rich(loaded: Any, study: Path) -> None:
    assert loaded("status", "--json", "--study", str(study)) & (TRAINING | HEAVY) == {"yaml"}


def test_the_workflow_and_the_costs_are_shown_without_any_sdk(loaded: Any, study: Path) -> None:
    assert loaded("graph", "--proposer", "panel") & (TRAINING | HEAVY) == set()
    assert loaded("costs", "--study", str(study)) & (TRAINING | HEAVY) == {"yaml"}


def test_a_provider_brings_no_sdk_before_it_is_asked(loaded: Any, tmp_path: Path) -> None:
    """Only the chosen one's, and only where a call is made: round 1 makes none."""
    arguments = ("tune", "--task", "demo", "--trainer", str(NOOP), "--output-dir", str(tmp_path / "runs"))
    data = ("--launcher", "local", "--data", f"log={tmp_path / 'log'}")
    modules = loaded(*arguments, *data, "--provider", "ollama", "--model", "m")
    assert modules & {"anthropic", "openai", "httpx", "pydantic", "opentelemetry", "jsonschema"} == set()


def test_trainers_are_listed_from_the_registry(loaded: Any) -> None:
    modules = loaded("trainers")
    assert modules & (TRAINING | HEAVY) == set()
    assert _rooms(modules) == {"cli", "errors", "model_roles", "names", "options"}
    for name in TRAINERS:
        assert loaded("trainers", name) & (TRAINING | HEAVY) == set()
    assert loaded("trainers", str(NOOP)) & (TRAINING | HEAVY) == {"yaml"}


def test_reference_commands_need_no_study(loaded: Any, study: Path) -> None:
    for arguments in (("check", str(SHIPPED)), ("diff", str(SHIPPED), str(SHIPPED))):
        modules = loaded("reference", *arguments)
        assert modules & (TRAINING | HEAVY | {"socket", "subprocess"}) == set()
        assert _rooms(modules) - {"fitting"} == {"cli", "errors", "model_roles", "names", "options", "reference"}
    assert loaded("reference", "history", "--study", str(study)) & (TRAINING | HEAVY) == {"yaml"}


def test_beginning_a_study_proposes_and_renders_nothing(loaded: Any, tmp_path: Path) -> None:
    arguments = ("init", "--task", "demo", "--trainer", str(NOOP), "--output-dir", str(tmp_path / "runs"))
    assert loaded(*arguments, "--data", f"log={tmp_path / 'log'}") & (TRAINING | HEAVY) == {"yaml"}


def test_a_segmentation_study_begins_and_renders_without_nnunet(loaded: Any, tmp_path: Path) -> None:
    """Finding the data set and asking whether it is prepared are the trainer's own code, on the login node."""
    write_dataset(tmp_path / "raw", name="Dataset601_Tiny")
    arguments = ("tune", "--task", "Task601_Tiny", "--trainer", "nnunet", "--output-dir", str(tmp_path / "runs"))
    folders = ("--data", f"raw={tmp_path / 'raw'}", "--data", f"preprocessed={tmp_path / 'preprocessed'}")
    modules = loaded(*arguments, "--slurm", "--launcher", "local", *folders)
    assert modules & TRAINING == set() and "numpy" not in modules and "jinja2" in modules


def test_a_round_by_hand_needs_no_rich_no_submitit_and_no_optimiser(loaded: Any, tmp_path: Path) -> None:
    """One candidate is the default configuration: nothing is proposed, nothing submitted, only scripts rendered."""
    arguments = ("tune", "--task", "demo", "--trainer", str(NOOP), "--output-dir", str(tmp_path / "runs"))
    modules = loaded(*arguments, "--launcher", "local", "--data", f"log={tmp_path / 'log'}")
    assert modules & TRAINING == set()
    assert modules & {"rich", "optuna", "numpy", "submitit", "sqlalchemy"} == set()
    assert "jinja2" in modules


LOGIN_NODE = """
import importlib, json, pkgutil, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

blocked = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Absent())
import agent
names = [module.name for module in pkgutil.walk_packages(agent.__path__, "agent.")]
for name in names:
    if not (name.startswith("agent.propose.bayes.") and "numpy" in blocked):
        importlib.import_module(name)
json.dump([names, sorted(blocked & set(sys.modules))], sys.stdout)
"""


def _walk(blocked: set[str]) -> tuple[list[str], list[str]]:
    argv = [sys.executable, "-c", LOGIN_NODE, ",".join(sorted(blocked))]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    names, present = json.loads(done.stdout)
    return names, present


def test_every_module_of_agent_imports_without_the_training_libraries() -> None:
    names, present = _walk(TRAINING)
    assert present == []
    files = [path for path in (ROOT / "agent").rglob("*.py") if "_data" not in path.parts]
    expected = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files}
    assert set(names) == expected - {"agent"}


def test_heavy_libraries_are_imported_where_they_are_used() -> None:
    """Every module of agent imports with none of them there: each import of one stands inside a function.

    The Gaussian process alone has numpy at the top of its modules, which are imported where it is used: it is
    mathematics on arrays from end to end.
    """
    heavy = TRAINING | HEAVY - {"asyncio", "multiprocessing"}
    assert _walk(heavy)[1] == []
    assert _walk(heavy - {"numpy"})[1] == []


def _rooms(modules: set[str]) -> set[str]:
    """The rooms of agent that were entered."""
    return {name.split(".")[1] for name in modules if name.startswith("agent.")} - {"__main__"}
