"""What a task runs, whichever launcher started it.

    python -m trainers.job prepare --round-dir DIR   (once, before the rows; only trainers that share prepared data)
    python -m trainers.job train --round-dir DIR --row N [--attempt A|next]
    python -m trainers.job eval  --round-dir DIR [--candidate-index P]   (all candidates, or the one at a position)
    python -m trainers.job run   --plan FILE          (once, outside a study: `roundtable train` writes the plan)
    python -m trainers.job probe --trainer X MODULE ...

`train` reads its row, claims it, trains, and writes result.json and exit.json whatever happens. Standard library
only until the trainer's module is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from trainers.disk import refuses
from trainers.exits import DONE, FAILED, REFUSED, say
from trainers.layout import RoundFiles
from trainers.manifest import ManifestProblem

if TYPE_CHECKING:
    import argparse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one task; the return value is the process's exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    options = _from_script(given) or _parser().parse_args(given)
    try:
        # Each imported where it is run: a row of milliseconds pays for each module.
        if options.command == "train":
            from trainers.train_row import train_row

            wanted = None if options.attempt == "next" else int(options.attempt)
            return train_row(RoundFiles(options.round_dir.resolve()), options.row, wanted)
        if options.command == "prepare":
            from trainers.prepare import prepare

            return prepare(RoundFiles(options.round_dir.resolve()), options.cpus)
        if options.command == "eval":
            from trainers.evaluate import evaluate, evaluate_all

            files = RoundFiles(options.round_dir.resolve())
            return (
                evaluate_all(files) if options.candidate_index is None else evaluate(files, options.candidate_index)
            )
        if options.command == "run":
            from trainers.by_hand import run_by_hand

            return run_by_hand(options.plan)
        return probe(options.trainer, options.module, code=options.code)
    except ManifestProblem as error:
        say(str(error))
        return REFUSED
    except OSError as error:
        if not refuses(error):
            raise
        say(f"{error.filename}: {error.strerror}: nothing more could be written; free some space and start it again")
        return FAILED


def probe(trainer: str, modules: Sequence[str], *, code: bool = False) -> int:
    """Import what a trainer needs and print the versions as JSON; exit 2 names what is missing.

    code: also the trainer's own module, which is not Roundtable's.
    """
    import importlib
    import json

    found, missing = {}, []
    for name in modules:
        try:
            module = importlib.import_module(name)
        except Exception as error:
            missing.append(f"{name}: {type(error).__name__}: {error}")
        else:
            found[name] = str(getattr(module, "__version__", ""))
    if code:
        from trainers.registry import trainer_module

        try:
            trainer_module(trainer)
        except Exception as error:
            missing.append(f"{trainer}: {type(error).__name__}: {error}")
    sys.stdout.write(json.dumps({"python": sys.version.split()[0], "found": found, "missing": missing}) + "\n")
    return REFUSED if missing else DONE


def _from_script(arguments: Sequence[str]) -> SimpleNamespace | None:
    """The options of a row as the rendered scripts give them; None for all else, which argparse reads or refuses.

    A task lives for milliseconds beyond its training, and importing argparse is a fifth of them.
    """
    match list(arguments):
        case ["train", "--round-dir", folder, "--row", row, "--attempt", attempt] if row.isdecimal():
            if attempt == "next" or (attempt.isdecimal() and int(attempt) >= 1):
                return SimpleNamespace(command="train", round_dir=Path(folder), row=int(row), attempt=attempt)
    return None


def _parser() -> argparse.ArgumentParser:
    import argparse

    parser = argparse.ArgumentParser(prog="python -m trainers.job")
    commands = parser.add_subparsers(dest="command", required=True)
    preparation = commands.add_parser("prepare", help="prepare the data that a round's trials share")
    preparation.add_argument("--round-dir", type=Path, required=True)
    preparation.add_argument("--cpus", type=int, default=1)
    train = commands.add_parser("train", help="train one row of a round's manifest")
    train.add_argument("--round-dir", type=Path, required=True)
    train.add_argument("--row", type=int, required=True)
    train.add_argument("--attempt", default="next", type=_attempt)
    evaluation = commands.add_parser("eval", help="fold candidates' rows into their summaries")
    evaluation.add_argument("--round-dir", type=Path, required=True)
    evaluation.add_argument("--candidate-index", type=int, help="only the candidate at this position (default: all)")
    by_hand = commands.add_parser("run", help="train once from a plan file (roundtable train writes it)")
    by_hand.add_argument("--plan", type=Path, required=True)
    check = commands.add_parser("probe", help="check that a trainer's modules can be imported")
    check.add_argument("--trainer", required=True)
    check.add_argument("--code", action="store_true", help="also the trainer's own code")
    check.add_argument("module", nargs="*")
    return parser


def _attempt(text: str) -> str:
    import argparse

    if text != "next" and not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number from 1, or next")
    return text


if __name__ == "__main__":
    sys.exit(main())
