"""Doing the agents' steps of a round again from what is on disk: the same decision, byte for byte, and no call.

The round's inputs are copied into a folder aside; nothing in the study is touched. What may differ from run to run
(times, durations, costs) is in other files than the decision.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.acceptance import Judgement
from agent.errors import InvalidStudy, Problem, StudyEnds, UsageError
from agent.orchestrator.closing.accept import accept
from agent.orchestrator.deciding import check, diagnose, propose
from agent.orchestrator.deciding.calls import ASK_AGAIN, exchanges
from agent.orchestrator.engine import named_problems
from agent.orchestrator.stages import Round
from agent.orchestrator.training import render
from agent.orchestrator.work import StepResult, Tools, Work
from agent.store.decision import Proposals
from agent.store.disk import Disk, read_text
from agent.store.paths import RoundFolder, RoundPaths
from agent.store.record import Acceptance, RoundRecord
from agent.store.store import Store
from agent.store.study import Settings
from trainers.files import read_json_object

#: Checkpoints, plots and logs: nothing that a decision is made of is as large.
MOST_BYTES = 2**20
#: The steps that are done again, and the file of each that says under which settings it was done.
_STEPS: Sequence[tuple[Callable[[Work], StepResult], Callable[[RoundPaths], Path]]] = (
    (diagnose.analyse, lambda paths: paths.analysis),
    (propose.propose, lambda paths: paths.proposals),
    (check.check, lambda paths: paths.checked),
    (render.apply, lambda paths: paths.checked),
)
#: Of the round that is done again: later than every other.
_STAMP = "99991231_235959"
_LEFT_OUT = ("logs", "launch", "*.pt", "*.png", "*.tmp")
MakeTools = Callable[[Store, Settings], Tools]


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What a replay gave."""

    number: int
    recorded: str
    """The decision file's text as the study has it; where a judge spoke, the round's verdicts behind it."""
    again: str
    """The same file as it came out now."""
    calls: int
    """Recorded exchanges of the round."""
    unjudged: str = ""
    """The code that gave the round's verdicts and was not run; empty where there is none."""

    @property
    def identical(self) -> bool:
        return self.recorded == self.again

    def differences(self) -> list[str]:
        """Unified diff lines; empty where both are the same."""
        import difflib

        old, new = self.recorded.splitlines(), self.again.splitlines()
        return list(difflib.unified_diff(old, new, "recorded", "replayed", lineterm="", n=1))


def replay(store: Store, paths: RoundPaths, make_tools: MakeTools, scratch: Path, *, judges: bool = True) -> Replayed:
    """Do analyse, propose, check and apply of a decided round again, in `scratch`, an empty folder; and where a judge
    spoke at its end, the verdicts, unless `judges` says that the tools' rules are not those that gave them.

    Raises UsageError where the round was not decided yet or a file of it cannot be read, ReplayMismatch where its
    prompts are no longer the recorded ones.
    """
    try:
        with named_problems():
            return _replay(store, paths, make_tools, scratch, judges)
    except InvalidStudy as error:
        raise InvalidStudy([_at_home(problem, store, paths, scratch) for problem in error.problems]) from error


def _at_home(problem: Problem, store: Store, paths: RoundPaths, scratch: Path) -> Problem:
    """The problem with the study's own file in place of its copy, and what helps here: nobody can be asked again."""
    copied = scratch / store.paths.root.name
    again = copied / f"round_{paths.number}_{_STAMP}"
    file = problem.file.replace(str(again), str(paths.root)).replace(str(copied), str(store.paths.root))
    return replace(problem, file=file, message=problem.message.replace(ASK_AGAIN, "restore the file"))


def _replay(store: Store, paths: RoundPaths, make_tools: MakeTools, scratch: Path, judges: bool) -> Replayed:
    if not (paths.decision.exists() and paths.proposals.exists() and paths.before.exists()):
        raise UsageError(f"{paths.root}: has no decision to replay ({paths.decision.name}); finish the round first")
    proposed = store.proposals(paths)
    root = scratch / store.paths.root.name
    _copy_study(store, paths, root, proposed)
    copy = Store.open(root, disk=Disk(), clock=store.clock)
    folder = RoundFolder("round", paths.number, _STAMP, root / f"round_{paths.number}_{_STAMP}")
    again = copy.paths.round(folder)
    again.root.mkdir()
    _copy_rungs(store, paths, copy, again)
    if paths.calls.is_dir():
        shutil.copytree(paths.calls, again.calls)
    if paths.analysis.exists():
        # Done again as well; what was left to spend when the round began is taken from it.
        shutil.copyfile(paths.analysis, again.analysis)
    for step, left in _STEPS:
        # Each step under its own settings: a call that was killed within a round may be followed by one with others.
        settings = _settings(left(paths) if left(paths).exists() else paths.proposals)
        tools = make_tools(copy, settings)
        try:
            step(Work(store=copy, settings=settings, tools=tools, paths=again, stage=Round(), rerun=True))
        except StudyEnds:  # its decision is written
            break
    made = exchanges(paths.calls) if paths.calls.is_dir() else []
    recorded, now = read_text(paths.decision), read_text(again.decision)
    spoke = paths.closed.exists() and any(record["step"] == "assess" for record in made)
    unjudged = store.paths.rules_python.name if spoke and not judges else ""
    if spoke and judges:
        # Limits may have changed since the round was decided: those of its end count.
        closed = store.round_record(paths)
        settings = replace(_settings(paths.checked), limits=tuple(closed.limits))
        work = Work(
            store=copy, settings=settings, tools=make_tools(copy, settings), paths=again, stage=Round(), rerun=True
        )
        recorded, now = recorded + _verdicts(closed), now + _judged_again(work, closed)
    return Replayed(number=paths.number, recorded=recorded, again=now, calls=len(made), unjudged=unjudged)


def _verdicts(record: RoundRecord) -> str:
    """A closed round's verdicts as text."""
    return _text(record.acceptance, record.judgements)


def _judged_again(work: Work, record: RoundRecord) -> str:
    """The same from the rows that were measured and the judge's recorded words."""
    found = accept(work, record.candidates, replayed=True)
    return _text(found.record(work.tools.rules), found.judgements(work.number))


def _text(acceptance: Acceptance | None, judgements: Mapping[str, Judgement]) -> str:
    judged = {name: {"verdict": one.verdict, "judgement": one.to_json()} for name, one in judgements.items()}
    whole = {"acceptance": acceptance.to_json() if acceptance is not None else None, "candidates": judged}
    return json.dumps(whole, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def _settings(path: Path) -> Settings:
    """How the study was driven when a step left this file. Raises UsageError."""
    try:
        raw: Any = dict(read_json_object(path)["settings"])  # type: ignore[call-overload]
        return Settings.from_plain(raw)
    except (KeyError, TypeError) as error:
        raise UsageError(f"{path}: settings: cannot be used ({error}); another version wrote it") from error


def _copy_study(store: Store, paths: RoundPaths, root: Path, proposed: Proposals) -> None:
    """What the round was decided from: the study's frozen files, the closed rounds before it, its own beginning."""
    disk = Disk()
    disk.make_folder(root)
    files = (store.paths.study, store.paths.trainer_file, store.paths.warm_start, store.paths.journal)
    for path in (*files, store.paths.rules):
        if path.exists():
            shutil.copyfile(path, root / path.name)
    shutil.copyfile(paths.before, root / store.paths.reference.name)
    for content, path in ((proposed.incumbent, store.paths.incumbent), (proposed.aliases, store.paths.aliases)):
        if content is not None:
            disk.write_json(root / path.name, content)
    for closed in store.closed(below=paths.number):
        shutil.copytree(closed.root, root / closed.root.name, ignore=_large)
    for folder in store.paths.folders("confirm"):
        if folder.number < paths.number and store.paths.round(folder).closed.exists():
            (root / folder.path.name).mkdir()
            shutil.copyfile(store.paths.round(folder).closed, root / folder.path.name / "round.json")
    own = root / paths.root.name
    own.mkdir()
    for path in (paths.before, paths.proposals):
        shutil.copyfile(path, own / path.name)


def _copy_rungs(store: Store, paths: RoundPaths, copy: Store, again: RoundPaths) -> None:
    """What the round's rungs measured, as rungs of the round that is decided again."""
    for begun in store.rungs(paths):
        rung = store.folder(begun.folder)
        if rung.over:
            shutil.copytree(rung.root, copy.paths.root / rung.root.name, ignore=_large)
            copy.journal.append(begun.changed(of=again.root.name))


def _large(folder: str, names: list[str]) -> set[str]:
    skipped = shutil.ignore_patterns(*_LEFT_OUT)(folder, names)
    # round.json of a study with thousands of candidates is large too.
    files = (Path(folder) / name for name in names if not name.endswith(".json"))
    return set(skipped) | {path.name for path in files if path.is_file() and path.stat().st_size > MOST_BYTES}
