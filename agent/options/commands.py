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

    debug: bool = option(kind=FLAG, default=False, help="show a traceback instead of one line on errors")


@declared(commands=(*GO_ON, "reference history", "reference restore"))
class OpenStudy:
    """The study that a command goes on with, or shows."""

    study: str = option(kind=TEXT, metavar="NAME|DIR", help="name of a study, or its folder")


@declared(group=OUTPUT, commands=("tune",))
class TuneScreen:
    """What a call of `tune` shows."""

    dry_run: bool = option(
        kind=FLAG, default=False, group=WHERE, help="show what would be submitted next, and change nothing"
    )
    quiet: bool = option(kind=FLAG, default=False, help="show no progress, only results and errors")


@declared(group=OUTPUT, commands=("tune", "tick", *ROUND_COMMANDS))
class Verbose:
    """What is shown of the log."""

    verbose: bool = option(
        kind=FLAG,
        default=False,
        variables=("VERBOSE", "DEBUG"),
        help="show every line of orchestrator.log on the terminal too",
    )


@declared(commands=("start",))
class Controller:
    """What drives a study while nobody watches."""

    controller: str = option(
        kind=Choice(names.CONTROLLERS),
        help="slurm: a small CPU job that submits its successor; cron: print the line to install; foreground: this "
        "process",
    )
    every_minutes: int | None = option(
        kind=MINUTES, default=None, flags=("--every",), metavar="10m", unless="10m", help="cron: time between ticks"
    )


@declared(commands=("start",))
class ControllerJob:
    """What a controller job calls itself with; shown to nobody."""

    generation: int | None = option(kind=COUNT, default=None, help="")


@declared(commands=("stop",))
class Stop:
    """How soon what drives a study ends."""

    now: bool = option(kind=FLAG, default=False, help="cancel the controller's job too, instead of asking it to end")


@declared(commands=("tick",))
class Tick:
    """Who called a tick."""

    unattended: bool = option(
        kind=FLAG, default=False, help="for cron: do nothing after `roundtable stop`, and date each line"
    )


@declared(commands=(*ROUND_COMMANDS, "cancel"))
class OpenRound:
    """The round that a person takes in hand."""

    round: int | None = option(
        kind=COUNT, default=None, metavar="N", help="number of the open round; any other is refused"
    )


@declared(commands=("retry",))
class Retry:
    """Rows that are started again."""

    rows: tuple[int, ...] | None = option(
        kind=NUMBERS, default=None, metavar="0-3,7", unless="all without a result", help="rows to start again"
    )
    failed: bool = option(
        kind=FLAG, default=False, help="also start rows again whose result is no score, such as crashed"
    )


@declared(commands=("cancel",))
class Cancel:
    """Tasks that are stopped."""

    rows: tuple[int, ...] | None = option(
        kind=NUMBERS, default=None, metavar="0-3,7", unless="the whole round", help="rows to cancel"
    )
    yes: bool = option(kind=FLAG, default=False, help="do not ask before")


@declared(commands=("status",))
class Status:
    """How a study is shown."""

    watch: float | None = option(
        kind=WATCH,
        default=None,
        metavar="SECONDS",
        help="show it again and again, every 10 seconds if no number is given: in place on a terminal, elsewhere "
        "whenever it changed",
    )
    round: int | None = option(kind=COUNT, default=None, metavar="N", help="show only this round, with every trial")


@declared(commands=("status", "costs", "doctor"))
class Json:
    """For programs."""

    json: bool = option(kind=FLAG, default=False, help="print the same as JSON")


@declared(commands=("replay",))
class Replay:
    """The round that is replayed."""

    round: Path = option(
        kind=PATH, flags=("round",), metavar="runs/STUDY/round_N_...", help="folder of a decided round"
    )
    run_rules: bool = option(
        kind=FLAG,
        default=False,
        help="also run the study's acceptance.py, which is code that a person wrote, to give its verdicts again",
    )


@declared(commands=("graph",))
class Drawing:
    """What is drawn."""

    study: str | None = option(kind=TEXT, default=None, metavar="NAME|DIR", help="study whose settings are drawn")
    proposer: str | None = option(
        kind=PROPOSER,
        default=None,
        unless="the study's, else hybrid",
        help="proposer whose rounds are drawn",
    )
    output: Path | None = option(
        kind=PATH,
        default=None,
        metavar="FILE",
        unless="Mermaid on standard output",
        help="picture to write: .svg, .png (extra graph) or .mmd",
    )


@declared(commands=("reference check",))
class ReferenceCheck:
    """A reference that is checked."""

    path: Path = option(kind=PATH, flags=("path",), help="reference to check")
    trainer: str | None = option(
        kind=TEXT,
        default=None,
        metavar="NAME|YAML",
        unless="the one that it names",
        help="trainer that the reference is checked against",
    )


@declared(commands=("reference diff",))
class ReferenceDiff:
    """References that are compared."""

    old: Path = option(kind=PATH, flags=("old",), help="reference to compare from")
    new: Path = option(kind=PATH, flags=("new",), help="reference to compare with")


@declared(commands=("reference restore",))
class ReferenceRestore:
    """An archived reference."""

    version: str = option(
        kind=TEXT,
        flags=("version",),
        metavar="VERSION",
        help="round_2, round_2_v2, or just 2; last: the one that Roundtable wrote last",
    )


@declared(commands=("train",))
class Training:
    """One training outside a study."""

    trainer: str = option(kind=TEXT, metavar="NAME|YAML", help="trainer to run")
    task: str = option(kind=TEXT, metavar="T", help="data set or problem to train on")
    hp_ref: Path | None = option(
        kind=PATH,
        default=None,
        metavar="PATH",
        unless="the shipped one",
        help="hyperparameter reference to train with",
    )
    out: Path = option(kind=PATH, metavar="DIR", help="folder for the results")
    fold: int = option(kind=FROM_0, default=0, metavar="F", help="fold to train")
    fold_count: int = option(kind=COUNT, default=1, metavar="N", help="number of folds that the data is split into")
    seed: int = option(kind=FROM_0, default=0, metavar="S", help="seed of the training")
    epochs: int | None = option(
        kind=COUNT, default=None, metavar="N", unless="the task's or the trainer's", help="epochs to train"
    )
    data: Mapping[str, Value] = option(
        kind=DATA, default={}, metavar="KEY=VALUE", help="what this training must know of the data"
    )
    profile: Path | None = option(kind=PATH, default=None, metavar="YAML", help="cluster profile whose python trains")
    gpus: int | None = option(
        kind=FROM_0, default=None, metavar="N", unless="1 if there is any", help="number of GPUs the trainer may use"
    )


@declared(commands=("doctor",))
class Examined:
    """What is examined."""

    study: Path | None = option(
        kind=TEXT,
        default=None,
        metavar="NAME|DIR",
        help="study whose profile, launcher, trainer and models are checked",
    )
    profile: Path | None = option(
        kind=PATH, default=None, metavar="YAML", help="profile to check, in place of the study's or without a study"
    )
    trainer: str | None = option(
        kind=WORD, default=None, metavar="NAME|YAML", help="trainer whose imports are tried, without --study"
    )
    launcher: str | None = option(
        kind=LAUNCHER,
        default=None,
        unless="the study's, else submitit where sbatch exists, else local",
        help="launcher to check",
    )
    submit: bool = option(kind=FLAG, default=False, help="run one tiny job and tell what a compute node sees")
    wait_s: float = option(
        kind=SECONDS, default=300.0, flags=("--wait",), metavar="S", help="most seconds to wait for that job"
    )


@declared(commands=("trainers",))
class Trainers:
    """What is listed."""

    name: str | None = option(
        kind=TEXT, default=None, flags=("name",), metavar="NAME|YAML", help="trainer whose parameters are shown"
    )
