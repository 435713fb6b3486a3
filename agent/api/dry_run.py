"""`tune --dry-run`: what the next round would submit, asked of SLURM and held against the caps; nothing is changed.

The next round is prepared in a copy of the study, by the same steps, and thrown away with it. No language model is
asked: stand-ins from the Bayesian proposer ask for the same hours.
"""

from __future__ import annotations

import dataclasses
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.api.begin import begin, open_study, study_root, trainer_of
from agent.api.options import TuneOptions
from agent.api.run import check_call, take_files
from agent.api.wiring import settings_for, study_rules, tools_for
from agent.errors import (
    LaunchError,
    ProblemsError,
    SchedulerUnavailable,
    StorageError,
    StudyBusy,
    SubmitLimit,
    UsageError,
)
from agent.launch.catalogue import capabilities_of
from agent.proposers import BAYES
from agent.store.disk import read_text, storage
from agent.store.place import place
from agent.store.store import Store

if TYPE_CHECKING:
    from agent.launch.base import Batch
    from agent.orchestrator.work import Work
    from agent.store.study import Settings
    from trainers.manifest import Manifest

#: Checkpoints and predictions: nothing that a round is prepared from is as large.
MOST_BYTES = 2**20
_LEFT_OUT = ("logs", "launch", "calls", "*.pt", "*.png", "*.tmp", "lease.*", "aliases.json", ".*")


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """What a dry run found."""

    lines: tuple[str, ...]
    refusals: tuple[str, ...]
    """Why the submission would be refused, by SLURM or by a cap; empty where nothing stands against it."""


def dry_run(options: TuneOptions) -> DryRun:
    """Prepare the next round in a copy and say what submitting it would mean. Raises RoundtableError."""
    from agent.launch.select import default_launcher
    from agent.orchestrator.moved import check_there

    launcher = options.launcher
    # Whether SLURM answers is one of the things that this call is to find out.
    check_call(dataclasses.replace(options, auto_train=False))
    with tempfile.TemporaryDirectory(prefix="roundtable-dry-run-") as folder:
        scratch = dataclasses.replace(options, output_dir=Path(folder))
        told: list[str] = []
        if study_root(options).exists():
            real = Store.open(study_root(options))
            check_there(real, force=options.force_round)
            # The copy would be this person's own whoever wrote the original.
            trainer_of(real)
            _copy(study_root(options), study_root(scratch))
            store, _ = open_study(scratch)
            # What is prepared here is thrown away; the copy is no place where anything is submitted from.
            place(store, copied=False)
        else:
            store = begin(scratch, say=told.append)
        found = _Findings(told, real=study_root(options), copy=store.paths.root)
        try:
            _prepare(store, scratch, launcher or default_launcher(), found)
        except ProblemsError as error:
            raise found.of_the_study(error) from error
        return DryRun(lines=tuple(found.lines), refusals=tuple(found.refusals))


class _Findings:
    """Lines for the person, with the study's own folder in place of the copy's."""

    def __init__(self, told: Sequence[str], *, real: Path, copy: Path) -> None:
        self.real = real
        self._real, self._copy = str(real), str(copy)
        self.lines: list[str] = list(told)
        self.refusals: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line.replace(self._copy, self._real))

    def of_the_study(self, error: ProblemsError) -> ProblemsError:
        """The same problems with the study's own files in place of the copy's."""
        named = [
            dataclasses.replace(problem, file=problem.file.replace(self._copy, self._real))
            for problem in error.problems
        ]
        return type(error)(named, error.remedy)

    def refuse(self, line: str) -> None:
        self.refusals.append(line.replace(self._copy, self._real))


def _prepare(store: Store, options: TuneOptions, launcher: str, found: _Findings) -> None:
    """Open (or go on with) the next round in the copy up to its scripts, then look at its submission."""
    from agent.orchestrator import tick
    from agent.orchestrator.stages import stage_of
    from agent.orchestrator.training.submissions import begun
    from agent.orchestrator.work import Given, Work

    open_now = store.at_work()
    if open_now is not None and begun(store, open_now[0]) and options.force_round is None:
        name = open_now[0].root.name
        found.say(f"{name} has been submitted and is not over: nothing new would be submitted now")
        return
    take_files(store, options)
    asked = settings_for(store, options, launcher)
    _check_models(store, asked, found)
    settings = dataclasses.replace(
        asked,
        auto_train=False,
        slurm=capabilities_of(asked.launcher).array_scripts,
        provider="none",
        llm={},
        proposer=BAYES.name,
        # One round is looked at, however many this call would run.
        target_round=min(asked.target_round, store.next_number()),
    )
    store.put_settings(settings)
    rules = None
    if options.rules is None and found.real.exists():
        # Those of the study itself: the copy would be this person's own whoever wrote the original.
        rules = study_rules(Store.open(found.real))
    tools = tools_for(store, settings, _unheard, _unheard, rules=rules)
    given = Given(val_summary=options.val_summary, test_summary=options.test_summary)
    report = tick(store, tools, given=given, force=options.force_round)
    if report.round is None:
        found.say(report.message or "no further round would be opened")
        return
    stage = stage_of(report.round.root.name.partition("_")[0])
    _look(Work(store=store, settings=settings, tools=tools, paths=report.round, stage=stage), found)


def _check_models(store: Store, settings: Settings, found: _Findings) -> None:
    """Whether every model that the round may ask could be asked: keys, addresses, scripts, prices. None is."""
    from agent.api.models import models_for

    try:
        models = models_for(store, settings, _unheard)
    except UsageError as error:
        found.refuse(str(error))
        return
    if models is not None:
        models.tracer.close()


def _unheard(line: str) -> None:
    """What the copy's steps say would be news of a round that does not exist."""


def _look(work: Work, found: _Findings) -> None:
    """Arrays, worst case, and the scheduler's answer."""
    from agent.orchestrator.training.hours import caps_of, request_of, requests_of, worst_case
    from agent.orchestrator.training.submit import batches, evaluation_of, settings_of
    from agent.orchestrator.training.test_only import one_each
    from trainers.manifest import load_manifest

    manifest = load_manifest(work.paths.manifest)
    rows, candidates = len(manifest.rows), len(manifest.candidates)
    asked: Sequence[Batch] = ()
    trouble = ""
    try:
        train = batches(work, "train", range(rows), attempt=1, settings=settings_of(work, manifest, "train"))
        evaluations = batches(
            work,
            "eval",
            manifest.evaluation_items(),
            attempt=1,
            settings=settings_of(work, manifest, "eval"),
        )
        asked = [*_preparation(work, manifest), *train, *evaluations]
        arrays = f" in {_arrays(len(train))}, then {_evaluations(manifest, len(evaluations))}"
        requests = requests_of(train, evaluated=evaluation_of(work, manifest))
    except (LaunchError, UsageError) as error:
        trouble, arrays = str(error), f", then {_evaluations(manifest, None)}"
        requests = [request_of(rows, settings_of(work, manifest, "train")), evaluation_of(work, manifest)]
    found.say(f"{work.label}: {candidates} candidates, {rows} rows{arrays} ({work.settings.launcher})")
    ledger, caps = work.store.ledger(), caps_of(work.settings)
    found.say(f"{work.label}: {worst_case(ledger, requests, caps)}")
    if reason := ledger.refusal(requests, caps):
        found.refuse(f"{work.label} would not be submitted: {reason}")
    if trouble:
        found.refuse(f"SLURM could not be asked: {trouble}")
    scripts = one_each(asked)
    for batch in asked:
        _ask(work, manifest, batch, found, test=batch in scripts)


def _preparation(work: Work, manifest: Manifest) -> Sequence[Batch]:
    from agent.launch.render import prepares
    from agent.orchestrator.training.submit import batches, settings_of

    if not prepares(manifest):
        return []
    return batches(work, "prepare", [0], attempt=1, settings=settings_of(work, manifest, "prepare"))


def _evaluations(manifest: Manifest, arrays: int | None) -> str:
    """arrays: None where they are not known."""
    tasks = len(manifest.evaluation_items())
    if manifest.evaluation == "job":
        return "one job that evaluates them all"
    return f"{tasks} evaluations" + ("" if arrays is None else f" in {_arrays(arrays)}")


def _arrays(count: int) -> str:
    return "1 array" if count == 1 else f"{count} arrays"


def _ask(work: Work, manifest: Manifest, batch: Batch, found: _Findings, *, test: bool) -> None:
    """test: whether it is the first array of its script."""
    from agent.launch.select import submission_command
    from agent.orchestrator.training.test_only import for_good, refusal_of

    answer: str | None = ""
    try:
        answer = work.tools.launcher().test_only(batch) if test else answer
    except SubmitLimit as error:
        answer = f"{error} (the submission waits for that)"
    except SchedulerUnavailable as error:
        found.refuse(f"{batch.name}: {error}")
        return
    except LaunchError as error:
        if for_good(work, manifest, batch, error):
            found.refuse(f"{batch.name}: {refusal_of(batch, error)}")
            return
        answer = f"{error}; whether a submission would wait or be refused, only trying it tells"
    if answer is None:
        if batch.kind == "train":
            found.say("nothing to ask: this machine starts the tasks itself, as soon as a worker is free")
        return
    if (command := submission_command(work.settings.launcher, batch)) is not None:
        found.say(f"$ {shlex.join(command)}")
    if test:
        found.say(f"sbatch --test-only on {batch.array_script.name}: {answer}")


def _copy(real: Path, copy: Path) -> None:
    """The study without what tasks left in bulk. Raises StudyBusy where another process wrote meanwhile."""
    journal = real / "journal.jsonl"
    before = read_text(journal)
    with storage(real):
        try:
            shutil.copytree(real, copy, symlinks=True, ignore=_large)
        except shutil.Error as error:
            raise StorageError(f"{real}: cannot be copied aside: {error}") from error
    if read_text(journal) != before or read_text(copy / journal.name) != before:
        raise StudyBusy(f"{real}: another process wrote to it meanwhile; call again")


def _large(folder: str, names: list[str]) -> set[str]:
    skipped = shutil.ignore_patterns(*_LEFT_OUT)(folder, names)
    # The study's own files may be large in a long study, and are needed.
    files = (Path(folder) / name for name in names if not name.endswith((".json", ".jsonl", ".yaml", ".csv")))
    return set(skipped) | {path.name for path in files if path.is_file() and path.stat().st_size > MOST_BYTES}
