"""Doing the agents' steps of a round again from what is on disk: the same decision, byte for byte, and no call.

The round's inputs are copied into a folder aside; nothing in the study is touched. What may differ from run to run
(times, durations, costs) is in other files than the decision.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import UsageError
from agent.orchestrator import check, decide, diagnose, prepare
from agent.orchestrator.context import Tools, Work
from agent.store.disk import Disk, read_text
from agent.store.paths import RoundFolder, RoundPaths
from agent.store.store import Store
from agent.store.study import Settings
from trainers.files import read_json_object

#: Checkpoints, plots and logs: nothing that a decision is made of is as large.
MOST_BYTES = 2**20
_LEFT_OUT = ("logs", "launch", "*.pt", "*.png", "*.tmp")
MakeTools = Callable[[Store, Settings], Tools]


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What a replay gave."""

    number: int
    recorded: str
    """The decision file's text as the study has it."""
    again: str
    """The same file as it came out now."""
    calls: int
    """Recorded exchanges of the round."""

    @property
    def identical(self) -> bool:
        return self.recorded == self.again

    def differences(self) -> list[str]:
        """Unified diff lines; empty where both are the same."""
        import difflib

        old, new = self.recorded.splitlines(), self.again.splitlines()
        return list(difflib.unified_diff(old, new, "recorded", "replayed", lineterm="", n=1))


def replay(store: Store, paths: RoundPaths, make_tools: MakeTools, scratch: Path) -> Replayed:
    """Do analyse, propose, check and apply of a decided round again, in `scratch`, an empty folder.

    Raises UsageError where the round was not decided yet, ReplayMismatch where its prompts are no longer the recorded
    ones.
    """
    if not (paths.decision.exists() and paths.proposals.exists() and paths.before.exists()):
        raise UsageError(f"{paths.root}: has no decision to replay ({paths.decision.name}); finish the round first")
    proposed: Any = read_json_object(paths.proposals)
    root = scratch / store.paths.root.name
    _copy_study(store, paths, root, proposed)
    copy = Store.open(root, disk=Disk(), clock=store.clock)
    settings = _settings(proposed, paths)
    folder = RoundFolder("round", paths.number, "99991231_235959", root / f"round_{paths.number}_99991231_235959")
    again = copy.paths.round(folder)
    again.root.mkdir()
    if paths.calls.is_dir():
        shutil.copytree(paths.calls, again.calls)
    if paths.analysis.exists():
        # Done again as well; what was left to spend when the round began is taken from it.
        shutil.copyfile(paths.analysis, again.analysis)
    work = Work(
        store=copy, settings=settings, tools=make_tools(copy, settings), paths=again, kind="round", rerun=True
    )
    for step in (diagnose.analyse, decide.propose, check.check, prepare.apply):
        step(work)
    calls = len(list(paths.calls.glob("*.json"))) if paths.calls.is_dir() else 0
    return Replayed(
        number=paths.number, recorded=read_text(paths.decision), again=read_text(again.decision), calls=calls
    )


def _settings(proposed: Mapping[str, Any], paths: RoundPaths) -> Settings:
    """How the study was driven when the round was decided."""
    try:
        raw = dict(proposed["settings"])
        return Settings(**(raw | {"gpus": tuple(raw["gpus"])}))
    except (KeyError, TypeError) as error:
        raise UsageError(
            f"{paths.proposals}: settings: cannot be used ({error}); another version wrote it"
        ) from error


def _copy_study(store: Store, paths: RoundPaths, root: Path, proposed: Mapping[str, Any]) -> None:
    """What the round was decided from: the study's frozen files, the closed rounds before it, its own beginning."""
    disk = Disk()
    disk.make_folder(root)
    for path in (store.paths.study, store.paths.trainer_file, store.paths.journal):
        if path.exists():
            shutil.copyfile(path, root / path.name)
    shutil.copyfile(paths.before, root / store.paths.reference.name)
    for name, path in (("incumbent", store.paths.incumbent), ("aliases", store.paths.aliases)):
        if proposed.get(name) is not None:
            disk.write_json(root / path.name, proposed[name])
    for closed in store.closed(below=paths.number):
        shutil.copytree(closed.root, root / closed.root.name, ignore=_large)
    own = root / paths.root.name
    own.mkdir()
    for path in (paths.before, paths.proposals):
        shutil.copyfile(path, own / path.name)


def _large(folder: str, names: list[str]) -> set[str]:
    skipped = shutil.ignore_patterns(*_LEFT_OUT)(folder, names)
    files = (Path(folder) / name for name in names)
    return set(skipped) | {path.name for path in files if path.is_file() and path.stat().st_size > MOST_BYTES}
