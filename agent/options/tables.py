"""All classes of options, in the order in which --help and the tables of the documentation show them."""

from __future__ import annotations

from agent.options import commands, study
from agent.options.option import EVERY, Option, options_of

CLASSES: tuple[type, ...] = (
    commands.Everywhere,
    commands.Replay,
    commands.ReferenceCheck,
    commands.ReferenceDiff,
    commands.ReferenceRestore,
    commands.Trainers,
    commands.OpenStudy,
    study.NewStudy,
    commands.AskTell,
    commands.Drawing,
    commands.Examined,
    study.Place,
    commands.Controller,
    commands.ControllerJob,
    study.Frozen,
    study.ThisCall,
    study.Driving,
    study.Rounds,
    study.Mode,
    study.Start,
    study.Resources,
    study.Files,
    study.Provider,
    study.Models,
    study.Agents,
    commands.TuneScreen,
    commands.OpenRound,
    commands.Retry,
    commands.Cancel,
    commands.Tick,
    commands.Stop,
    commands.Status,
    commands.Training,
    commands.Json,
    commands.Verbose,
)


def all_options() -> list[Option]:
    """Every option of Roundtable."""
    return [option for cls in CLASSES for option in options_of(cls).values()]


def options_for(command: str) -> list[Option]:
    """The options that a command shows, or an action of one, such as "reference check"."""
    everywhere = EVERY if " " not in command else None
    return [option for option in all_options() if command in option.commands or option.commands == everywhere]
