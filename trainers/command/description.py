"""The description of a trainer that a person brings: one YAML file, checked whole before anything runs.

`load_description` reads the YAML on the login node. A study keeps the frozen form, JSON in which every default is
spelled out (`to_json`), and tasks read that (`from_json`) with the standard library alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from trainers.command.findings import TEXT_NEEDED, DescriptionProblem, Findings, Section, shown
from trainers.command.placeholders import RUN, STARTUP, code_arguments, names_in, problems_in, split_strings
from trainers.command.record import SCHEMA_VERSION, Description, EpochFile, Metric, TestProgram
from trainers.command.space import NAME, read_constraints, read_parameters
from trainers.files import FileProblem, parse_json_object
from trainers.layout import REFERENCE_NAME

if TYPE_CHECKING:
    from trainers.registry import RegisteredTrainer

DIRECTIONS = ("minimize", "maximize")
WAYS = ("arguments", "environment", "reference")
TRAINER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
#: Files of an attempt's folder that Roundtable writes itself.
TAKEN_FILES = (
    *("claim.json", "result.json", "exit.json", "progress.json", "analysis.json", "metrics_epoch.csv"),
    *("program.log", "train.log", REFERENCE_NAME),
)

KEYS = {
    "name": "Name of the trainer: letters, digits, _ and -. Required.",
    "description": "What it trains, for people and agents.",
    "command": "The program and its arguments, a list; no shell reads it. Required.",
    "working_directory": "Where the program starts, relative to the YAML's folder, which is the default.",
    "environment": "Further environment variables, name: text; placeholders are replaced.",
    "parameters": "What may be varied: name -> type, default, low and high or choices, ... Required.",
    "constraints": "Rules across parameters: expressions that must be true, such as width % heads == 0.",
    "pass_values": "How parameters reach the program: arguments, environment, reference (one or a list). Required.",
    "objective": "The metric to tune for: metric, direction (minimize, maximize), path (where it stands). Required.",
    "metrics": "Further metrics worth keeping: name -> direction, path.",
    "summary": "The JSON file that the program writes, inside {out}; the default is summary.json.",
    "metrics_epoch": "A CSV that the program writes, one line per epoch: file, columns (our name: its name).",
    "folds": 'Folds to train, a list or "0-4"; the default is [0].',
    "seeds": "Seeds to train with, a list or a range; the default is that of `roundtable tune`.",
    "epochs": "The training budget handed over as {epochs}.",
    "resources": "cpus and gpus of one trial; the default is 1 and 0.",
    "out_of_memory": "How the program shows it: exit_codes, output_contains (texts in its output).",
    "bad_config": "How it refuses settings or reports divergence: exit_codes.",
    "stop_grace_s": "Seconds between SIGTERM and SIGKILL when a trial is stopped; the default is 30.",
    "test": "How the finished model is tested: command, summary.",
    "probe": "A command that exits 0 where the program can run; tried before anything is submitted.",
    "tasks": "Names of the tasks it knows; without this key any task is accepted.",
}
"""Every key of a description with its meaning: the one text behind messages and documents."""


def load_description(path: Path) -> Description:
    """Read and check a YAML description. Raises DescriptionProblem with every problem found."""
    # What is frozen was read from such a file: the tasks that read it again need neither of the two.
    from trainers.command.yamltext import read_yaml
    from trainers.registry import TRAINERS

    findings = Findings(str(path))
    raw = read_yaml(path, findings)
    folder = path.absolute().parent
    description = _examine(raw, folder, findings)
    if (name := description.name) in TRAINERS:
        findings.add("name", name, f"is a trainer that ships with Roundtable ({', '.join(TRAINERS)}); choose another")
    if isinstance(raw.get("working_directory", ""), str):
        for where, value, message in _missing_files(raw, description):
            findings.add(where, value, message)
    findings.done()
    return description


def from_json(text: str, *, name: str) -> Description:
    """Read the frozen form again; `name` is what messages call the file. Raises DescriptionProblem."""
    try:
        raw = parse_json_object(text, name=name)
    except FileProblem as error:
        raise DescriptionProblem(name, [("file", "", error.reason)]) from None
    findings = Findings(name)
    version = raw.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        findings.add("schema_version", version, f"this Roundtable reads version {SCHEMA_VERSION}")
    description = _examine(raw, Path("/"), findings)
    findings.done()
    return description


def registered(description: Description) -> RegisteredTrainer:
    """What a study needs to know of the trainer before it runs.

    `probe` is as the person wrote it, {python} included; `python -m trainers.command.probe` runs it and checks more.
    """
    from trainers.registry import COMMAND_MODULE, RegisteredTrainer, TaskPreset

    texts = (*description.command, *description.environment.values())
    used = set().union(*(names_in(text) for text in texts))
    return RegisteredTrainer(
        name=description.name,
        description=description.description,
        module=COMMAND_MODULE,
        requires=(),
        extra=None,
        tasks={
            task: TaskPreset(description=f"a task of {description.name}", epochs=description.epochs)
            for task in description.tasks
        },
        open_tasks=not description.tasks,
        default_epochs=description.epochs,
        folds=description.folds,
        seeds=description.seeds,
        cpus=description.cpus,
        gpus=description.gpus,
        probe=description.probe,
        has_test=description.test is not None,
        template="command",
        fit="trainers.command.fit",
        needs_data=tuple(sorted(name.removeprefix("data.") for name in used if name.startswith("data."))),
    )


def reference(description: Description, task: str) -> dict[str, Any]:
    """The raw hyperparameter reference that a study of this trainer begins with."""
    objective = description.metrics[description.objective]
    return {
        "schema_version": 1,
        "trainer": description.name,
        "task": task,
        "round": 1,
        "version": 1,
        "parent_sha256": None,
        "source": "shipped",
        "objective": {"metric": description.objective, "direction": objective.direction},
        "changes": [],
        "parameters": {name: dict(parameter) for name, parameter in description.parameters.items()},
        "constraints": [dict(constraint) for constraint in description.constraints],
    }


def _examine(raw: Mapping[str, Any], folder: Path, findings: Findings) -> Description:
    """The description as far as it can be read; every problem is noted in `findings`."""
    top = Section(raw, "", KEYS, findings)
    top.missing("name", "command", "objective", "pass_values")
    parameters = read_parameters(top)
    ways = _ways(top, parameters)
    name, metrics = _metrics(top)
    resources = top.section("resources", ("cpus", "gpus"))
    memory = top.section("out_of_memory", ("exit_codes", "output_contains"))
    refused = top.section("bad_config", ("exit_codes",))
    codes = {section.where: section.wholes("exit_codes", low=1, high=255) for section in (memory, refused)}
    if both := set(codes[memory.where]) & set(codes[refused.where]):
        refused.add("exit_codes", sorted(both), "also stands in out_of_memory; an exit code has one meaning")
    known = (*(parameters if "arguments" in ways else ()), *RUN)
    found = Description(
        name=_name(top),
        description=top.text("description"),
        command=_command(top, "command", known),
        working_directory=folder / top.text("working_directory", "."),
        environment=_environment(top, known),
        parameters=parameters,
        constraints=read_constraints(top, parameters),
        pass_values=ways,
        objective=name,
        metrics=metrics,
        summary=_inside(top, "summary", "summary.json"),
        metrics_epoch=_epoch_file(top),
        folds=top.wholes("folds", high=9999) or (0,),
        seeds=top.wholes("seeds"),
        epochs=top.whole("epochs", low=1),
        cpus=resources.whole("cpus", low=1) or 1,
        gpus=resources.whole("gpus") or 0,
        oom_exit_codes=codes[memory.where],
        oom_output=memory.texts("output_contains"),
        bad_config_exit_codes=codes[refused.where],
        stop_grace_s=top.number("stop_grace_s", 30.0),
        test=_test_program(top, known),
        probe=_command(top, "probe", ("python",)),
        tasks=top.texts("tasks"),
    )
    _check_use(top, found)
    return found


def _name(top: Section) -> str:
    name = top.text("name")
    if name and not TRAINER_NAME.fullmatch(name):
        top.add("name", name, "must be 1 to 64 letters, digits, _ and -, and begin with a letter")
    return name


def _ways(top: Section, parameters: Mapping[str, object]) -> tuple[str, ...]:
    raw = top.raw.get("pass_values")
    ways = [raw] if isinstance(raw, str) else raw if isinstance(raw, list) and raw else []
    if raw is not None and (not ways or not all(isinstance(way, str) and way in WAYS for way in ways)):
        top.add("pass_values", raw, f"must be one or more of {', '.join(WAYS)}")
        return WAYS
    upper: dict[str, str] = {}
    for name in parameters if "environment" in ways else ():
        if (other := upper.setdefault(name.upper(), name)) != name:
            top.add(f"parameters.{name}", "", f"would share the variable RT_{name.upper()} with {other}; rename one")
    return tuple(ways) or WAYS


def _metrics(top: Section) -> tuple[str, dict[str, Metric]]:
    """The objective's name, and it and all further metrics."""
    section = top.section("objective", ("metric", "direction", "path"))
    name = ""
    found: dict[str, Metric] = {}
    if top.has("objective"):
        section.missing("metric", "direction")
        name = section.text("metric")
        found[name] = _metric(section)
    for other, value in top.mapping("metrics").items():
        where = f"{top.path('metrics')}.{other}"
        if not isinstance(value, dict):
            top.findings.add(where, value, "must be a mapping with direction and, where needed, path")
        elif other == name:
            top.findings.add(where, "", "is the objective; describe it there alone")
        else:
            further = Section(value, where, ("direction", "path"), top.findings)
            further.missing("direction")
            found[other] = _metric(further)
    return name, found


def _metric(section: Section) -> Metric:
    direction = section.one_of("direction", DIRECTIONS) if section.has("direction") else ""
    raw = section.raw.get("path")
    path = tuple(raw.split(".")) if isinstance(raw, str) else section.texts("path")
    if "" in path:
        section.add("path", raw, "must be keys joined by dots, such as foreground_mean.Dice, or a list of keys")
    return Metric(direction=direction, path=path)


def _command(section: Section, key: str, known: tuple[str, ...]) -> tuple[str, ...]:
    raw = section.raw.get(key)
    if isinstance(raw, str):
        text = "must be a list of arguments, because no shell reads it: [python, train.py]"
        section.add(key, raw, f'{text}; for shell syntax ["bash", "-c", "..."]')
        return ()
    command = section.texts(key, blank=True)
    if command and not command[0].strip():
        section.findings.add(f"{section.path(key)}[0]", command[0], "must name the program")
    code, split = code_arguments(command), split_strings(command)
    for position, text in enumerate(command):
        where = f"{section.path(key)}[{position}]"
        for problem in problems_in(text, known):
            section.findings.add(where, text, problem)
        if position in split:
            message = "env cuts this into words as a shell does, values too: write the words one by one in the list"
            section.findings.add(where, text, message)
        elif position in code and names_in(text):
            remedy = (
                'use variables such as "$RT_SEED", or pass it behind the script: ["bash", "-c", "... $1", "bash", '
            )
            message = f"a placeholder here would be read as code (shell code, or a program's); {remedy}" + '"{seed}"]'
            section.findings.add(where, text, message)
    return command


def _environment(top: Section, known: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in top.mapping("environment").items():
        where = f"{top.path('environment')}.{name}"
        if not NAME.fullmatch(name):
            top.findings.add(
                where, "", "a variable has ASCII letters, digits and underscores and begins with no digit"
            )
        elif name.startswith("RT_") or name.endswith("_HP_REF"):
            top.findings.add(where, "", "variables named RT_... and ..._HP_REF are set by Roundtable")
        elif not isinstance(value, str) or "\0" in value:
            top.findings.add(where, value, TEXT_NEEDED)
        elif name in STARTUP and names_in(value):
            top.findings.add(
                where, value, "shells and interpreters take code from this variable: no placeholder here"
            )
        else:
            found[name] = value
            for problem in problems_in(value, known):
                top.findings.add(where, value, problem)
    return found


def _inside(section: Section, key: str, default: str) -> str:
    """A path relative to the attempt's folder that stays in it and is none of Roundtable's own files."""
    text = section.text(key, default)
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.parts or "{" in text:
        section.add(
            key, text, "must be a path inside the attempt's folder, such as summary.json or output/score.json"
        )
    elif str(path) in TAKEN_FILES and not (key == "file" and str(path) == "metrics_epoch.csv"):
        section.add(key, text, f"is a file that Roundtable writes; choose another (not {', '.join(TAKEN_FILES)})")
    return str(path)


def _epoch_file(top: Section) -> EpochFile | None:
    if not top.has("metrics_epoch"):
        return None
    section = top.section("metrics_epoch", ("file", "columns"))
    section.missing("file")
    columns = section.mapping("columns")
    for name, column in columns.items():
        if not NAME.fullmatch(name) or not isinstance(column, str) or not column:
            section.add(f"columns.{name}", column, "must be our_name: their_name, such as train_loss: loss")
    names = [str(column) for column in columns.values()]
    if len(set(names)) < len(names):
        section.add("columns", columns, "uses one column twice")
    return EpochFile(file=_inside(section, "file", "metrics_epoch.csv"), columns=columns)


def _test_program(top: Section, known: tuple[str, ...]) -> TestProgram | None:
    if not top.has("test"):
        return None
    section = top.section("test", ("command", "summary"))
    section.missing("command", "summary")
    summary = _inside(section, "summary", "test.json")
    if section.has("summary") and summary == str(PurePosixPath(top.text("summary", "summary.json"))):
        section.add("summary", summary, "is where training writes its own; choose another")
    return TestProgram(command=_command(section, "command", known), summary=summary)


def _check_use(top: Section, found: Description) -> None:
    """Note parameters that never reach the program, and an {epochs} without a budget."""
    test = found.test.command if found.test else ()
    used: set[str] = set().union(*(names_in(text) for text in (*found.command, *found.environment.values())))
    if found.pass_values == ("arguments",):
        for name in found.parameters:
            if name not in used:
                text = f"never reaches the program: put {{{name}}} into command, or add environment to pass_values"
                top.add(f"parameters.{name}", "", text)
    if "epochs" in used.union(*(names_in(text) for text in test)) and found.epochs is None:
        top.add("epochs", "", "missing; the command uses {epochs}")


def _missing_files(raw: Mapping[str, Any], found: Description) -> Iterator[tuple[str, object, str]]:
    """Relative paths of the description that lead nowhere. Absolute ones may exist on compute nodes alone."""
    folder = found.working_directory
    if not Path(str(raw.get("working_directory") or ".")).is_absolute() and not folder.is_dir():
        yield "working_directory", str(folder), "no such folder"
        return
    commands = {
        "command": found.command,
        "probe": found.probe,
        "test.command": found.test.command if found.test else (),
    }
    for key, command in commands.items():
        program = command[0] if command else ""
        if "/" not in program or program.startswith("/") or names_in(program) or not folder.is_dir():
            continue
        path = folder / program
        if not path.is_file():
            yield f"{key}[0]", program, f"no such file in {folder}"
        elif not path.stat().st_mode & 0o111:
            remedy = f'chmod +x it, or name its interpreter: ["bash", {shown(program)}]'
            yield f"{key}[0]", program, f"is not executable; {remedy}"
