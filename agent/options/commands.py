"""Options of single commands beside those that begin and drive a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from agent import names
from agent.options.kinds import (
    COUNT,
    DATA,
    FLAG,
    FROM_0,
    MINUTES,
    NUMBERS,
    PATH,
    SECONDS,
    TEXT,
    WATCH,
    WORD,
    Choice,
)
from agent.options.option import EVERY, declared, option
from agent.options.study import GO_ON, LAUNCHER, OUTPUT, PROPOSER, ROUND_COMMANDS, WHERE

if TYPE_CHECKING:
    from pathlib import Path

    from trainers.contract import Value


@declared(commands=EVERY)
class Everywhere:
    """Of every command."""

    debug: bool = option(FLAG, "show a traceback instead of one line on errors", default=False)


@declared(commands=(*GO_ON, "reference history", "reference restore"))
class OpenStudy:
    """The study that a command goes on with, or shows."""

    study: str = option(TEXT, "name of a study, or its folder", metavar="NAME|DIR")


@declared(group=OUTPUT, commands=("tune",))
class TuneScreen:
    """What a call of `tune` shows."""

    dry_run: bool = option(FLAG, "show what would be submitted next, and change nothing", default=False, group=WHERE)
    quiet: bool = option(FLAG, "show no progress, only results and errors", default=False)


@declared(group=OUTPUT, commands=("tune", "tick", *ROUND_COMMANDS))
class Verbose:
    """What is shown of the log."""

    verbose: bool = option(
        FLAG, "show every line of orchestrator.log on the terminal too", default=False, variables=("VERBOSE", "DEBUG")
    )


@declared(commands=("start",))
class Controller:
    """What drives a study while nobody watches."""

    controller: str = option(
        Choice(names.CONTROLLERS),
        "slurm: a small CPU job that submits its successor; cron: print the line to install; foreground: this "
        "process",
    )
    every_minutes: int | None = option(
        MINUTES, "cron: time between ticks", default=None, unless="10m", flags=("--every",), metavar="10m"
    )


@declared(commands=("start",))
class ControllerJob:
    """What a controller job calls itself with; shown to nobody."""

    generation: int | None = option(COUNT, "", default=None)


@declared(commands=("stop",))
class Stop:
    """How soon what drives a study ends."""

    now: bool = option(FLAG, "cancel the controller's job too, instead of asking it to end", default=False)


@declared(commands=("tick",))
class Tick:
    """Who called a tick."""

    unattended: bool = option(FLAG, "for cron: do nothing after `roundtable stop`, and date each line", default=False)


@declared(commands=(*ROUND_COMMANDS, "cancel"))
class OpenRound:
    """The round that a person takes in hand."""

    round: int | None = option(COUNT, "number of the open round; any other is refused", default=None, metavar="N")


@declared(commands=("retry",))
class Retry:
    """Rows that are started again."""

    rows: tuple[int, ...] | None = option(
        NUMBERS, "rows to start again", default=None, unless="all without a result", metavar="0-3,7"
    )
    failed: bool = option(FLAG, "also start rows again whose result is no score, such as crashed", default=False)


@declared(commands=("cancel",))
class Cancel:
    """Tasks that are stopped."""

    rows: tuple[int, ...] | None = option(
        NUMBERS, "rows to cancel", default=None, unless="the whole round", metavar="0-3,7"
    )
    yes: bool = option(FLAG, "do not ask before", default=False)


@declared(commands=("status",))
class Status:
    """How a study is shown."""

    watch: float | None = option(
        WATCH,
        "show it again and again, every 10 seconds if no number is given: in place on a terminal, elsewhere "
        "whenever it changed",
        default=None,
        metavar="SECONDS",
    )
    round: int | None = option(COUNT, "show only this round, with every trial", default=None, metavar="N")


@declared(commands=("status", "costs", "doctor"))
class Json:
    """For programs."""

    json: bool = option(FLAG, "print the same as JSON", default=False)


@declared(commands=("replay",))
class Replay:
    """The round that is replayed."""

    round: Path = option(PATH, "folder of a decided round", flags=("round",), metavar="runs/STUDY/round_N_...")
    run_rules: bool = option(
        FLAG,
        "also run the study's acceptance.py, which is code that a person wrote, to give its verdicts again",
        default=False,
    )


@declared(commands=("propose",))
class AskTell:
    """What is to be tried next, outside a study."""

    space: Path = option(PATH, "space in JSON: parameters and goal (doc/propose.md)", metavar="SPACE.json")
    history: Path | None = option(
        PATH, "trials so far in JSON", default=None, unless="none was made", metavar="HISTORY.json"
    )
    count: int = option(COUNT, "configurations to propose", default=1, flags=("-k", "--count"), metavar="K")
    seed: int = option(FROM_0, "seed of all chance: the same call gives the same answer", default=0, metavar="S")


@declared(commands=("graph",))
class Drawing:
    """What is drawn."""

    study: str | None = option(TEXT, "study whose settings are drawn", default=None, metavar="NAME|DIR")
    proposer: str | None = option(
        PROPOSER, "proposer whose rounds are drawn", default=None, unless="the study's, else hybrid"
    )
    output: Path | None = option(
        PATH,
        "picture to write: .svg, .png (extra graph) or .mmd",
        default=None,
        unless="Mermaid on standard output",
        metavar="FILE",
    )


@declared(commands=("reference check",))
class ReferenceCheck:
    """A reference that is checked."""

    path: Path = option(PATH, "reference to check", flags=("path",))
    trainer: str | None = option(
        TEXT,
        "trainer that the reference is checked against",
        default=None,
        unless="the one that it names",
        metavar="NAME|YAML",
    )


@declared(commands=("reference diff",))
class ReferenceDiff:
    """References that are compared."""

    old: Path = option(PATH, "reference to compare from", flags=("old",))
    new: Path = option(PATH, "reference to compare with", flags=("new",))


@declared(commands=("reference restore",))
class ReferenceRestore:
    """An archived reference."""

    version: str = option(
        TEXT,
        "round_2, round_2_v2, or just 2; last: the one that Roundtable wrote last",
        flags=("version",),
        metavar="VERSION",
    )


@declared(commands=("train",))
class Training:
    """One training outside a study."""

    trainer: str = option(TEXT, "trainer to run", metavar="NAME|YAML")
    task: str = option(TEXT, "data set or problem to train on", metavar="T")
    hp_ref: Path | None = option(
        PATH, "hyperparameter reference to train with", default=None, unless="the shipped one", metavar="PATH"
    )
    out: Path = option(PATH, "folder for the results", metavar="DIR")
    fold: int = option(FROM_0, "fold to train", default=0, metavar="F")
    fold_count: int = option(COUNT, "number of folds that the data is split into", default=1, metavar="N")
    seed: int = option(FROM_0, "seed of the training", default=0, metavar="S")
    epochs: int | None = option(
        COUNT, "epochs to train", default=None, unless="the task's or the trainer's", metavar="N"
    )
    data: Mapping[str, Value] = option(
        DATA, "what this training must know of the data", default={}, metavar="KEY=VALUE"
    )
    profile: Path | None = option(PATH, "cluster profile whose python trains", default=None, metavar="YAML")
    gpus: int | None = option(
        FROM_0, "number of GPUs the trainer may use", default=None, unless="1 if there is any", metavar="N"
    )


@declared(commands=("doctor",))
class Examined:
    """What is examined."""

    study: Path | None = option(
        TEXT, "study whose profile, launcher, trainer and models are checked", default=None, metavar="NAME|DIR"
    )
    profile: Path | None = option(
        PATH, "profile to check, in place of the study's or without a study", default=None, metavar="YAML"
    )
    trainer: str | None = option(
        WORD, "trainer whose imports are tried, without --study", default=None, metavar="NAME|YAML"
    )
    launcher: str | None = option(
        LAUNCHER,
        "launcher to check",
        default=None,
        unless="the study's, else submitit where sbatch exists, else local",
    )
    submit: bool = option(FLAG, "run one tiny job and tell what a compute node sees", default=False)
    wait_s: float = option(
        SECONDS, "most seconds to wait for that job", default=300.0, flags=("--wait",), metavar="S"
    )


@declared(commands=("trainers",))
class Trainers:
    """What is listed."""

    name: str | None = option(
        TEXT, "trainer whose parameters are shown", default=None, flags=("name",), metavar="NAME|YAML"
    )
