"""train() and test() of a trainer that a person brought as YAML. Standard library only.

The program runs in its own session with its output in program.log; see `trainers.command.program`.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.command.description import from_json
from trainers.command.findings import DescriptionProblem
from trainers.command.outcome import SummaryBroken, SummaryMissing, read_outcome
from trainers.command.placeholders import as_text, fill
from trainers.command.program import Ended, ProgramFailed, last_lines, of_the_person, run_program
from trainers.command.record import Description, Metric
from trainers.contract import (
    BadConfig,
    Control,
    Interrupted,
    OutOfMemory,
    TrainerError,
    TrialResult,
    TrialSpec,
)

if TYPE_CHECKING:
    from trainers.command.epochs import EpochLog

__all__ = ["ProgramFailed", "SummaryBroken", "SummaryMissing", "test", "train"]

LOG_NAME = "program.log"


def train(spec: TrialSpec, control: Control) -> TrialResult:
    """Run the program on one row and read its summary.

    Raises BadConfig (a listed exit code, an undefined objective), OutOfMemory (a listed sign of it), Interrupted
    (told to stop), ProgramFailed, SummaryMissing, SummaryBroken, OSError (a full disk), or TrainerError for a broken
    description.
    """
    description = _description(spec)
    summary = spec.out / description.summary
    epochs = _epochs(description, spec, control)
    _run(description, description.command, spec, control, summary, epochs)
    notes: dict[str, object] = {}
    if epochs and (problem := epochs.keep()):
        notes["metrics_epoch"] = problem
    return read_outcome(summary, objective=spec.objective, metrics=_metrics(description, spec), notes=notes)


def test(spec: TrialSpec, control: Control) -> TrialResult:
    """Run the description's test command on a finished attempt. Raises as `train` does."""
    description = _description(spec)
    if description.test is None:
        raise TrainerError(f"{spec.trainer} has no test command; add test: {{command, summary}} to its description")
    summary = spec.out / description.test.summary
    _run(description, description.test.command, spec, control, summary, None)
    return read_outcome(summary, objective=spec.objective, metrics=_metrics(description, spec), notes={})


test.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it where it is imported


def _epochs(description: Description, spec: TrialSpec, control: Control) -> EpochLog | None:
    if not description.metrics_epoch:
        return None
    from trainers.command.epochs import EpochLog

    return EpochLog(description.metrics_epoch, spec.out, control.report)


def _description(spec: TrialSpec) -> Description:
    if spec.trainer_file is None:
        raise TrainerError(f"{spec.trainer} needs its description (trainer_file), and the row names none")
    try:
        return from_json(spec.trainer_file.read_text(encoding="utf-8"), name=str(spec.trainer_file))
    except (OSError, UnicodeDecodeError) as error:
        raise TrainerError(f"{spec.trainer_file}: cannot be read: {error}") from None
    except DescriptionProblem as error:
        raise TrainerError(str(error)) from None


def _metrics(description: Description, spec: TrialSpec) -> dict[str, Metric]:
    """What to look for in the summary. The study's objective and direction go before the description's."""
    known = description.metrics.get(spec.objective)
    objective = Metric(direction=spec.direction, path=known.path if known else ())
    return {**description.metrics, spec.objective: objective}


def _run(
    description: Description,
    template: Sequence[str],
    spec: TrialSpec,
    control: Control,
    summary: Path,
    epochs: EpochLog | None,
) -> None:
    """Run a command to a good end, or raise what its end means."""
    if control.stop.requested:
        raise Interrupted("stopped before the program was started")
    facts = _facts(description, spec, summary)
    try:
        command = [fill(text, facts) for text in template]
        environment = _environment(description, spec, facts)
    except KeyError as error:
        raise TrainerError(f"the command needs {{{error.args[0]}}}; {_remedy(error.args[0])}") from None
    summary.parent.mkdir(parents=True, exist_ok=True)
    # A summary that an earlier run of this attempt left behind must not pass for this run's.
    summary.unlink(missing_ok=True)
    ended = run_program(
        command,
        folder=description.working_directory,
        environment=environment,
        log=spec.out / LOG_NAME,
        stop=control.stop,
        grace_s=description.stop_grace_s,
        watch=epochs.poll if epochs else lambda: None,
    )
    _judge(description, ended, spec.out / LOG_NAME)


#: How programs word it that there was no room for what they wrote.
NO_ROOM = tuple(os.strerror(code).encode() for code in (errno.ENOSPC, errno.EDQUOT))


def _judge(description: Description, ended: Ended, log: Path) -> None:
    """Raise what a program's end means, OSError where the disk was full; return where it ended well."""
    if ended.stopped:
        # Also with exit code 0: what it wrote then may be the summary of half a training.
        raise Interrupted(f"told to stop; the program ended with exit code {ended.code}")
    if ended.code == 0:
        return
    message = f"{_code(ended.code)}; the end of {log}:\n{last_lines(ended.output) or '(no output)'}"
    if ended.code in description.oom_exit_codes or any(
        text.encode() in ended.output for text in description.oom_output
    ):
        raise OutOfMemory(message)
    if ended.code in description.bad_config_exit_codes:
        raise BadConfig(message)
    # Its words may be missing: the log is on the same disk.
    if any(text in ended.output for text in NO_ROOM) or os.statvfs(log.parent).f_bavail == 0:
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {message}", str(log.parent))
    raise ProgramFailed(message)


def _code(code: int) -> str:
    hints = {126: " (found, but not executable)", 127: " (a command was not found)"}
    hints[137] = " (SIGKILL: often the machine ran out of memory)"
    return f"the program ended with exit code {code}{hints.get(code, '')}"


def _facts(description: Description, spec: TrialSpec, summary: Path) -> dict[str, str]:
    """What placeholders stand for: parameters, the run, data.<key>."""
    absent = [name for name in description.parameters if name not in spec.values]
    if absent:
        raise TrainerError(f"{spec.reference} has no parameter {', '.join(absent)}, which {spec.trainer} needs")
    foreign = [name for name in spec.values if name not in description.parameters]
    if foreign and "reference" not in description.pass_values:
        remedy = f"describe it in the YAML, or remove it: {spec.trainer} never sees it"
        raise TrainerError(f"{spec.reference} has the parameter {', '.join(foreign)}; {remedy}")
    epochs = spec.epochs or description.epochs
    parameters = {name: as_text(spec.values[name]) for name in description.parameters}
    nulls = [name for name, text in parameters.items() if "\0" in text]
    if nulls:
        raise BadConfig(f"{', '.join(nulls)}: a null byte cannot be handed to a program")
    run = {
        "fold": str(spec.fold),
        "folds": str(spec.folds),
        "seed": str(spec.seed),
        "epochs": "" if epochs is None else str(epochs),
        "task": spec.task,
        "candidate": spec.candidate,
        "round": str(spec.round),
        "attempt": str(spec.attempt),
        "out": str(spec.out.absolute()),
        "summary": str(summary.absolute()),
        "reference": str(spec.reference.absolute()),
        "previous": str(spec.previous.absolute()) if spec.previous else "",
        "cpus": str(spec.cpus),
        "gpus": str(spec.gpus),
        "python": sys.executable,
    }
    data = {f"data.{key}": as_text(value) for key, value in spec.data.items()}
    return {**data, **parameters, **run}


def _environment(description: Description, spec: TrialSpec, facts: Mapping[str, str]) -> dict[str, str]:
    """The task's own environment, less Roundtable's folder and foreign RT_ variables, with the description's and the
    run's."""
    found = {name: value for name, value in of_the_person(os.environ).items() if not name.startswith("RT_")}
    found |= {name: fill(text, facts) for name, text in description.environment.items()}
    if "environment" in description.pass_values:
        found |= {f"RT_{name.upper()}": facts[name] for name in description.parameters}
    found |= {f"RT_{name.upper()}": facts[name] for name in RUN_VARIABLES}
    found["RT_RESUME_FROM"] = facts["previous"]
    found["ROUNDTABLE_HP_REF"] = facts["reference"]
    return found


RUN_VARIABLES = (
    *("fold", "folds", "seed", "epochs", "task", "candidate", "round", "attempt", "out", "summary", "reference"),
    *("cpus", "gpus"),
)
"""What every program finds in RT_<NAME>, whichever way its parameters come."""


def _remedy(name: str) -> str:
    key = name.removeprefix("data.")
    return f"give --data {key}=VALUE" if name != key else "the description and the row do not fit together"
