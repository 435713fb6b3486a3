"""Runs one study of the no-op trainer and kills itself with SIGKILL where it is told to, again and again, to its end.

    python -m tests.agent.orchestrator.crash_run \\
        <<< '{"root": "/tmp/x", "plan": ["LABEL"], "confirm": "never", "rungs": 1}'

Each call is a forked process of its own, so that only the first pays for the imports. A label names one change on
disk, such as "after round_1/steps/05_render.json=done"; each is a kill once. ROOT/labels.txt lists every boundary
that was passed, ROOT/killed.txt those that killed.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from agent.api import TuneOptions, run, tune
from agent.store.disk import Disk

NOOP = Path(__file__).parents[2] / "programs" / "noop.yaml"
ROUNDS, CANDIDATES = 2, 2


def options(root: Path, confirm: str, rungs: int) -> TuneOptions:
    """The same call every time, with its target as a total."""
    return TuneOptions(
        task="demo",
        trainer=str(NOOP if rungs == 1 else NOOP.with_name("epochs.yaml")),
        output_dir=root,
        auto_train=True,
        launcher="local",
        confirm=confirm,
        candidates=CANDIDATES if rungs == 1 else 5,
        rungs=rungs,
        eta=2,
        max_iterations=ROUNDS,
        data={"log": str(root / "trained.log")},
    )


class Killer(Disk):
    """A disk whose boundaries carry what is written, and kill where the plan says so."""

    def __init__(self, root: Path, plan: Sequence[str]) -> None:
        super().__init__(boundary=self._passed)
        self.__dict__ |= {"root": root, "plan": plan, "subject": ""}

    def write(self, path: Path, text: str, *, private: bool = False) -> None:
        match = re.search(r'"status": "(\w+)"', text) if path.parent.name == "steps" else None
        self.__dict__["subject"] = self._place(path) + (f"={match[1]}" if match else "")
        super().write(path, text, private=private)

    def make_folder(self, path: Path, *, private: bool = False) -> None:
        self.__dict__["subject"] = self._place(path) + "/"
        super().make_folder(path, private=private)

    def append(self, path: Path, line: str) -> None:
        what = " ".join(line.split()[1:4])
        if path.name == "journal.jsonl":
            entry = json.loads(line)
            what = " ".join(str(entry[name]) for name in ("event", "kind") if name in entry)
        self.__dict__["subject"] = f"{self._place(path)}: {what}"
        super().append(path, line)

    def _place(self, path: Path) -> str:
        """The path without what differs from run to run; a file of the whole study with the newest round's number."""
        root: Path = self.__dict__["root"]
        place = re.sub(r"^\.demo\.\w+\.new", "draft", str(path.relative_to(root)))
        place = re.sub(r"((?:round|confirm|rung\d)_\d+)_\d{8}_\d{6}", r"\1", place).removeprefix("demo/")
        newest = max((int(folder.name.split("_")[1]) for folder in root.glob("demo/round_*")), default=0)
        return place if place.startswith(("draft", "round_", "confirm_", "rung")) else f"{place} (round {newest})"

    def _passed(self, name: str) -> None:
        root, when = self.__dict__["root"], name.split()[0]
        label = name if name.startswith("before forgetting") else f"{when} {self.__dict__['subject']}"
        with open(root / "labels.txt", "a") as passed:
            passed.write(label + "\n")
        killed = root / "killed.txt"
        before = killed.read_text().splitlines() if killed.exists() else []
        if label in self.__dict__["plan"] and label not in before:
            with open(killed, "a") as file:
                file.write(label + "\n")
            os.kill(os.getpid(), signal.SIGKILL)


def attempt(root: Path, plan: Sequence[str], confirm: str, rungs: int) -> int:
    """One call in a process of its own; its wait status as an exit code (negative: the signal)."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        tune(options(root, confirm, rungs), disk=Killer(root, plan))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def main(root: Path, plan: Sequence[str], confirm: str, rungs: int) -> int:
    """Call until no kill is left; the exit code of the last call."""
    run.LOCAL_LOOK_S = 0.05
    code = -signal.SIGKILL
    while code == -signal.SIGKILL:
        code = attempt(root, plan, confirm, rungs)
    return code


if __name__ == "__main__":
    # Once, before the forks.
    import optuna  # noqa: F401

    import agent.orchestrator  # noqa: F401

    # Each line on stdin is one study, as above; the answer is its last exit code.
    for line in sys.stdin:
        job = json.loads(line)
        sys.stdout.write(f"{main(Path(job['root']), job['plan'], job['confirm'], job['rungs'])}\n")
        sys.stdout.flush()
