"""Each option is said once: the command line, the records, the settings' file and the documents hold to the table."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import functools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import names
from agent.api.by_hand import ByHand
from agent.api.control import StartOptions
from agent.api.doctor_case import DoctorOptions
from agent.api.options import TuneOptions
from agent.cli.main import COMMANDS, parser
from agent.errors import UsageError
from agent.llm import variables
from agent.options.markdown import filled
from agent.options.option import FROZEN, STUDY, options_of
from agent.options.study import LAUNCHER, StudyOptions
from agent.options.tables import all_options, options_for
from agent.store.study import Settings, StudyConfig

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted((ROOT / "doc").glob("*.md"))

#: What `tune` works out of its options; no option has these names.
WORKED_OUT = {"llm", "target_round", "adopt_after_s", "result_grace_s"}


def parsers(command: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """A command's parser, and those of its actions."""
    commands = next(each for each in parser(command)._actions if isinstance(each, argparse._SubParsersAction))
    chosen = commands.choices[command]
    yield command, chosen
    for action in chosen._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from ((f"{command} {name}", each) for name, each in action.choices.items())


@functools.cache
def sources() -> list[tuple[Path, ast.AST]]:
    """Every module of agent/."""
    paths = [path for path in sorted((ROOT / "agent").rglob("*.py")) if "_data" not in path.parts]
    return [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in paths]


@pytest.mark.parametrize("record", [TuneOptions, StartOptions, DoctorOptions, ByHand, Settings])
def test_every_field_of_a_record_is_an_option(record: type) -> None:
    fields = {field.name: field for field in dataclasses.fields(record)}
    options = options_of(record)
    assert set(fields) - set(options) == (WORKED_OUT if record is Settings else set())
    for name, option in options.items():
        assert fields[name].metadata["option"] is option
        # Made from the one declaration, not from another one of the same name.
        assert option in all_options()


def test_a_call_leaves_to_the_study_what_it_does_not_say_and_settings_have_it_all() -> None:
    call, settings = TuneOptions(task="digits"), Settings()
    for name, option in options_of(StudyOptions).items():
        assert getattr(call, name) is None
        assert getattr(settings, name) == option.default
        assert option.scope == STUDY


def test_what_is_frozen_is_an_option_or_worked_out_of_one() -> None:
    frozen = {option.name for option in all_options() if option.scope == FROZEN}
    told = {field.name for field in dataclasses.fields(StudyConfig)}
    assert told - frozen - {"study", "task", "trainer"} == {
        "slug",
        "trainer_sha256",
        "metric",
        "direction",
        "fold_count",
    }


def test_the_settings_file_gives_back_every_kind_of_value() -> None:
    settings = Settings(
        gpus=("0", "1"), also=("seconds:minimize",), prompts=Path("/prompts"), llm={"provider": "none"}
    )
    written = json.dumps(settings.plain())
    assert Settings.from_plain(json.loads(written)) == settings
    assert set(json.loads(written)) == {field.name for field in dataclasses.fields(Settings)}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_is_an_option_of_the_table(command: str) -> None:
    for name, made in parsers(command):
        shown = {flag for option in options_for(name) for flag in option.flags}
        actions = [each for each in made._actions if not isinstance(each, argparse._SubParsersAction)]
        flags = {flag for each in actions for flag in (each.option_strings or [each.dest])}
        assert flags - {"-h", "--help"} - {f"--no-{flag[2:]}" for flag in shown} == shown


def test_arguments_are_added_in_one_place() -> None:
    """Programs that are started on a node have arguments of their own (agent.launch.doctor.trial)."""
    calls = [
        (path.relative_to(ROOT).as_posix(), ast.unparse(node.args[0]))
        for path, tree in sources()
        if path.parent.name == "cli"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument"
    ]
    assert {call for call in calls if call[0] != "agent/cli/options.py"} == {("agent/cli/main.py", "'--version'")}


def test_no_help_text_stands_twice() -> None:
    texts = [
        node.value
        for _, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    helps = [option.help for option in all_options() if option.help]
    assert len(set(helps)) == len(helps)
    # Shorter ones are plain words, such as "fold to train".
    for told in (text for text in helps if len(text) > 25):
        assert sum(told in text for text in texts) == 1, told


@pytest.mark.parametrize("listed", [name for name in vars(names) if name.isupper()])
def test_no_list_of_names_stands_twice(listed: str) -> None:
    every = set(getattr(names, listed))
    found = [
        path.relative_to(ROOT).as_posix()
        for path, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, (ast.Tuple, ast.List, ast.Set))
        and every <= {each.value for each in node.elts if isinstance(each, ast.Constant)}
    ]
    assert found == ["agent/names.py"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_tables_of_options_in_documents_are_as_the_code_has_them(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text == filled(text), f"python -m agent.options {path.relative_to(ROOT)}"


def test_every_option_stands_in_the_tables() -> None:
    text = (ROOT / "doc" / "options.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    for option in all_options():
        if option.help and option.name != "role_models":
            flag = option.flags[0] if option.flags else option.name
            word = option.metavar if option.flags and not flag.startswith("-") and option.metavar else flag
            assert any(str(word).replace("|", r"\|") in row for row in rows), option.name
    assert "--ROLE-model" in text


def test_a_section_about_no_option_is_refused() -> None:
    with pytest.raises(ValueError, match="no option stands under cooking"):
        filled("<!-- options under: cooking -->\n<!-- end of options -->")
    with pytest.raises(ValueError, match="--rungs --cook"):
        filled("<!-- options: --rungs --cook -->\n<!-- end of options -->")


def test_names_of_plug_ins_may_be_chosen_and_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.plugins.names_of", lambda kind: ("htcondor",) if kind == "launchers" else ())
    assert LAUNCHER.chosen("htcondor") == "htcondor"
    assert TuneOptions(task="digits", launcher="htcondor").launcher == "htcondor"
    with pytest.raises(argparse.ArgumentTypeError, match=r"invalid choice: 'pbs' \(choose from .*, 'htcondor'\)"):
        LAUNCHER.chosen("pbs")
    with pytest.raises(UsageError, match="launcher = 'pbs': must be one of submitit, sbatch, local, htcondor"):
        TuneOptions(task="digits", launcher="pbs")


def test_variables_of_the_environment_are_those_that_are_looked_at() -> None:
    said = {name for option in options_of(TuneOptions).values() for name in option.variables}
    assert said == {*variables.ADDRESSES.values(), *variables.MODELS.values(), variables.SEARCH}
