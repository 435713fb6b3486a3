"""Parsing and dispatch. Only argparse is imported until a command runs: --help must stay quick on a login node."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from agent.cli.streams import open_closed_descriptors, tolerant

#: Exit codes: 0 done, 1 an internal error, 2 a RoundtableError, 3 results are missing, 130 interrupted.
INTERRUPTED = 130
#: What was asked for was done, and its output could not be written.
OUTPUT_LOST = 2

COMMANDS = {
    "init": "begin a study and write its reference for editing",
    "tune": "tune in rounds: collect, propose, render, and (with --auto-train) submit and wait",
    "tick": "do one idempotent step of a study, for cron and controllers",
    "start": "have a study driven while nobody watches: by a SLURM job, cron, or this process",
    "stop": "have what drives a study end; running trials go on",
    "submit": "hand a round that was rendered for a person to the study's launcher",
    "collect": "take in the open round's results and close it, without opening another one",
    "retry": "start missing, cancelled or failed rows of the open round again",
    "cancel": "stop the open round's tasks, or some of them, also while another process works on the study",
    "status": "show a study: rounds, candidates, states, values, best",
    "costs": "show what language models cost a study",
    "replay": "do the agents' steps of a round again from the recorded exchanges, offline",
    "propose": "say what to try next for any program, from a space and a history in JSON",
    "graph": "draw the workflow of a round: Mermaid, SVG or PNG",
    "reference": "check, compare and restore hyperparameter references",
    "doctor": "check this machine and its cluster against a study or a profile, and say what to change",
    "train": "train once by hand, outside a study",
    "trainers": "list the trainers, their tasks and parameters",
}


def run(arguments: Sequence[str]) -> int:
    """Parse and run; every RoundtableError becomes one message and its exit code."""
    open_closed_descriptors()
    with tolerant() as out:
        try:
            code = _run(arguments)
        except SystemExit as ended:  # argparse, after --help and errors
            code = ended.code if isinstance(ended.code, int) else 0
        out.flush()
        if out.trouble and code == 0:
            # What was done is done and on disk; but whoever called has not read it.
            sys.stderr.write(f"roundtable: error: standard output: {out.trouble}; what was to be read is lost\n")
            return OUTPUT_LOST
        return code


def _run(arguments: Sequence[str]) -> int:
    wanted = next((argument for argument in arguments if not argument.startswith("-")), None)
    parsed = parser(wanted or "").parse_args(arguments)

    from agent.errors import RoundtableError

    shown = _switched_by_variables(parsed)
    try:
        command = importlib.import_module(f"agent.cli.{parsed.command}")
        code: int = command.run(parsed)
        return code
    except RoundtableError as error:
        if getattr(parsed, "debug", False):
            raise
        if shown:
            import traceback

            traceback.print_exc()
        sys.stderr.write(f"roundtable {parsed.command}: error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        # A file that may not be read, a disk that is gone: as every failure, one line with the file's name.
        if getattr(parsed, "debug", False) or error.filename is None:
            raise
        sys.stderr.write(f"roundtable {parsed.command}: error: {error.filename}: {error.strerror}{_remedy(error)}\n")
        return RoundtableError.exit_code


def _remedy(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "; its owner can allow it, or choose another --output-dir or --study"
    return ""


def _switched_by_variables(parsed: argparse.Namespace) -> bool:
    """VERBOSE and DEBUG, in the environment or in .env, turn --verbose on; --quiet and --verbose come before them.

    Whether DEBUG does: then an error's traceback is shown too, and the exit code stays.
    """
    if not hasattr(parsed, "verbose") or parsed.verbose or getattr(parsed, "quiet", False):
        return False
    dotenv = None
    if os.path.exists(".env"):
        from pathlib import Path

        from agent.errors import UsageError
        from agent.llm.keys import read_dotenv

        try:
            dotenv = read_dotenv(Path.cwd())
        except UsageError:
            pass  # told where a key is looked for; nobody asked for this one
    on = {}
    for name in ("VERBOSE", "DEBUG"):
        value = (os.environ.get(name) or (dotenv or {}).get(name) or "").strip()
        if not value or value.casefold() in ("0", "false", "no", "off"):
            continue
        place = "the environment" if os.environ.get(name) else ".env"
        if value.casefold() in ("1", "true", "yes", "on"):
            on[name] = place
            sys.stderr.write(f"roundtable {parsed.command}: {name} in {place}: as with --verbose\n")
        else:
            sys.stderr.write(f"roundtable {parsed.command}: {name} in {place}: is neither true nor false, not used\n")
    parsed.verbose = bool(on)
    return "DEBUG" in on


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """All commands with all their options; `only`: the options of that one, which is all that a call needs."""
    top = _Parser(
        prog="roundtable",
        description="Tunes training jobs in rounds: on a SLURM cluster, a workstation or a laptop.",
        epilog="Everything a study knows is plain files in runs/<study>/; runs/README.md explains each.",
    )
    top.add_argument("--version", action=_Version, help="show the version and exit")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if only in (None, name):
            # Not for the list of commands alone: the table of all options is a tenth of its CPU time.
            from agent.cli.options import add_options

            add_options(command, name)
    return top


class _Parser(argparse.ArgumentParser):
    """Also of every command: subparsers are made of the same class."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse, but a misspelled name is answered with the nearest that is known, whatever else is missing."""
        words = list(args or ())
        command = next((word for word in words if not word.startswith("-")), "")
        chosen = self._command(command)
        if chosen is None and command:
            near = _nearest(command, COMMANDS)
            self.error(f"there is no command {command!r}{near or '; choose from ' + ', '.join(COMMANDS)}")
        target = chosen or self
        known = sorted(_options_of(target))
        for word in words[: words.index("--")] if "--" in words else words:
            name = word.partition("=")[0]
            if name.startswith("--") and not any(option.startswith(name) for option in known):
                target.error(f"unknown option {name}{_nearest(name.replace('_', '-'), known)}")
        found, rest = self.parse_known_args(words, namespace)
        if rest:
            what = f"{rest[0]!r}: values follow their option, and texts with spaces stand in quotes"
            target.error(f"unknown option {rest[0]}" if rest[0].startswith("-") else f"unexpected argument {what}")
        return found

    def _command(self, name: str) -> argparse.ArgumentParser | None:
        """The parser of a command."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                chosen: argparse.ArgumentParser | None = action.choices.get(name)
                return chosen
        return None

    def error(self, message: str) -> NoReturn:
        """One line: the usage of `tune` alone would be 25 above it."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def _options_of(parser: argparse.ArgumentParser) -> set[str]:
    """The long options of a command and of its actions."""
    found = {option for option in parser._option_string_actions if option.startswith("--")}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found = found.union(*map(_options_of, action.choices.values()))
    return found


def _nearest(name: str, known: Iterable[str]) -> str:
    """A question after the nearest known name, or nothing where none is near."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"; did you mean {close[0]}?" if close else ""


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *rest: object) -> None:
        from importlib.metadata import version

        sys.stdout.write(f"roundtable {version('roundtable')}\n")
        parser.exit()
