"""The resume rule: the next step is the first without a final record; a changed input is never passed over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from agent.errors import (
    BudgetExceeded,
    InputChanged,
    InvalidManifest,
    InvalidStudy,
    ProposalError,
    StudyEnds,
)
from agent.orchestrator import changed_inputs, moved
from agent.orchestrator.closing import fresh_seeds, nothing_learnt
from agent.orchestrator.deciding import plan
from agent.orchestrator.stages import stage_of
from agent.orchestrator.training import (
    asked_retry,
    cancel,
    circuit_breaker,
    hours,
    pending_reasons,
    render,
    submit,
)
from agent.orchestrator.training.submissions import active, begun
from agent.orchestrator.work import Given, Report, StepResult, Tools, Work
from agent.store.events import Confirmed, RoundClosed, RoundForced
from agent.store.paths import RoundFolder, RoundPaths
from agent.store.place import vanished
from agent.store.steps import Status, StepRecord
from agent.store.store import Store
from agent.store.study import Settings
from trainers.files import FileProblem
from trainers.manifest import ManifestProblem


def tick(
    store: Store, tools: Tools, *, given: Given | None = None, force: int | None = None, only_open: bool = False
) -> Report:
    """Do as much as can be done now. The caller holds the lease. only_open: go on with the open round, open no other.

    Raises RoundtableError; whatever was done by then is recorded and is not done again.
    """
    settings = store.settings()
    if only_open:
        settings = replace(settings, target_round=store.next_number() - 1, confirm="never", replicates=None)
    with named_problems():
        return _tick(store, tools, settings, given or Given(), force)


@contextmanager
def named_problems() -> Iterator[None]:
    """Files that tasks and steps share are read without knowing `agent`; here their problems become ours."""
    try:
        yield
    except ManifestProblem as error:
        raise InvalidManifest.of(error.file, error.problems) from error
    except FileProblem as error:
        raise InvalidStudy.at(error.file, error.reason) from error


def _tick(store: Store, tools: Tools, settings: Settings, given: Given, force: int | None) -> Report:
    check_place(store, tools, settings, force)
    cancel.obey(store, tools)
    opened = closed = 0
    while True:
        hours.settle(store, tools)
        work, new = _next_work(store, settings, tools, given, force)
        if work is None:
            more = store.next_number() <= settings.target_round or fresh_seeds.wanted(store, settings)
            if over := hours.time_is_up(store, settings) if more else "":
                tools.say(over)
            return Report(state="finished", round=None, opened=opened, closed=closed, message=over)
        force = None
        cancel.check_halted(work)
        try:
            waiting, ran = advance(work)
        except ProposalError as error:
            if not _ends_the_study(work):
                raise
            tools.say(f"{error}; the study ends here")
            settings = replace(settings, target_round=work.number - 1)
            store.discard(work.paths)
            continue
        except StudyEnds as ended:
            settings = plan.end(work, ended)
            continue
        opened += new and work.stage.counted
        if waiting is not None:
            # What the question about its rows told of earlier rounds' hours.
            hours.settle(store, tools)
            return report(work, waiting, opened, closed, rendered="render" in ran)
        if not work.paths.closed.exists():
            continue
        closed += work.stage.counted
        nothing_learnt.stop_if_nothing_learnt(work)
        if work.stage.parent is not None:
            continue
        # What a person gave was for the round that waited for it, not for the next.
        given = Given()


def _ends_the_study(work: Work) -> bool:
    """Whether a round without a single proposal follows closed ones: the space is used up, and that is a result."""
    fresh = work.stage.counted and not work.rerun
    return fresh and bool(work.store.closed()) and work.steps.read("propose") is None


def check_place(store: Store, tools: Tools, settings: Settings, force: int | None = None) -> None:
    """Refuse, or follow, a study whose folder was moved or copied, and miss round folders that are gone."""

    def rendered_again(paths: RoundPaths, kind: str) -> bool:
        work = work_on(store, settings, tools, paths, kind)
        steps = work.steps
        record = steps.read("render")
        if record is None:
            return False
        made = render.render_again(work, slurm=bool(record.details["slurm"]))
        outputs = steps.hashes(made.outputs)
        steps.write(replace(record, outputs=outputs, details={**record.details, **made.details}), at=store.clock())
        return True

    moved.check(store, tools, rendered_again, force=force)


def _next_work(
    store: Store, settings: Settings, tools: Tools, given: Given, force: int | None
) -> tuple[Work | None, bool]:
    """The open round, or what is to be trained at fresh seeds first, or a new round if the target allows, or the
    confirmation of the winner; and whether it is new."""

    def work(paths: RoundPaths, kind: str) -> Work:
        return work_on(store, settings, tools, paths, kind, given)

    if force is not None:
        if over := hours.time_is_up(store, settings):
            raise BudgetExceeded(over)
        _check_force(store, tools, settings, force)
        store.journal.append(RoundForced(round=force))
        return work(store.begin(force), "round"), True
    if (unrecorded := _unrecorded(store)) is not None:
        return work(*unrecorded), False
    if (open_now := store.at_work()) is not None:
        return work(*open_now), False
    moved.check_there(store)
    circuit_breaker.check_cause(store)
    over = hours.time_is_up(store, settings)
    number = store.next_number()
    if not over and fresh_seeds.before_next_round(store, settings) is not None:
        return work(store.begin(number - 1, "confirm"), "confirm"), True
    if number <= settings.target_round and not over:
        # A reference that a person broke is refused before the round leaves anything on disk.
        store.versions.current()
        return work(store.begin(number), "round"), True
    if not over and fresh_seeds.after_last_round(store, settings) is not None:
        return work(store.begin(number - 1, "confirm"), "confirm"), True
    return None, False


def work_on(
    store: Store, settings: Settings, tools: Tools, paths: RoundPaths, kind: str, given: Given | None = None
) -> Work:
    """A round as the steps are given it. One that Roundtable began to submit goes on so, whatever this call says."""
    stage = stage_of(kind)
    rerun = stage.counted and paths.number < store.next_number() - 1
    if begun(store, paths, by_hand=False):
        settings = replace(settings, auto_train=True)
    return Work(
        store=store,
        settings=settings,
        tools=tools,
        paths=paths,
        stage=stage,
        rerun=rerun,
        given=given or Given(),
    )


def _unrecorded(store: Store) -> tuple[RoundPaths, str] | None:
    """The round (or confirmation) closed last, if a kill came between its round.json and its last step's record."""
    last = store.journal.last(RoundClosed, Confirmed)
    folder = RoundFolder.parse(store.paths.root / last.folder) if last is not None else None
    if folder is None or not (paths := store.paths.round(folder)).closed.exists():
        return None
    steps = store.steps(paths, tuple(stage_of(folder.kind).steps))
    return (paths, folder.kind) if steps.read("assess") is None else None


def _check_force(store: Store, tools: Tools, settings: Settings, number: int) -> None:
    """Whether a round may be run again. An open round whose tasks may still do something is not thrown away."""
    if not 1 <= number < store.next_number():
        there = f"rounds 1 to {store.next_number() - 1} exist" if store.next_number() > 1 else "there is no round yet"
        raise InputChanged(f"--force-round {number}: {there}")
    for folder in vanished(store):
        lost = store.paths.round(folder)
        if folder.number == number and active(store, lost, tools):
            jobs = " ".join(moved.jobs_of(store, folder)) or "end its local queue"
            raise InputChanged(f"--force-round {number}: {folder.path} is gone, but its tasks run: scancel {jobs}")
    paths = store.open_folder()
    if paths is None:
        return
    name = f"--force-round {number}: round {paths.number} ({paths.root.name})"
    if paths.number != number:
        if begun(store, paths) or store.rungs(paths):
            raise InputChanged(f"{name} is still open and has begun; finish it first, or force that one")
        # It was opened and waits untouched until the other round is closed again; then it is decided anew.
        return
    submit.check_launcher(store, paths, settings)
    at_work = store.at_work(only=number)
    target = at_work[0] if at_work is not None else paths
    if not moved.not_ours(store, target) and active(store, target, tools):
        raise InputChanged(f"{name} still has tasks in the queue; wait for them, or cancel them")


def advance(work: Work) -> tuple[StepResult | None, set[str]]:
    """Run the steps of a round that have no final record.

    Returns the result of a step that waits, or None at the round's end or where a rung comes first, and the names of
    the steps that were run.
    """
    ran: set[str] = set()
    steps, table = work.steps, work.stage.steps
    submit.check_launcher(work.store, work.paths, work.settings)
    submit.check_cluster(work.store, work.paths, work.tools.profile)
    changed_inputs.check(work, steps, tuple(table))
    if (waiting := asked_retry.on_their_way(work)) is not None:
        pending_reasons.note(work, waiting.progress)
        return waiting, ran
    for name, step in table.items():
        record = steps.read(name)
        if record is not None and record.final:
            continue
        if work.stage.waits_before(work, name) is not None:
            return None, ran
        with work.traced(name):
            result = step(work)
        ran.add(name)
        details = {**result.details, "message": result.message}
        steps.write(
            StepRecord(
                step=name,
                status=result.status,
                inputs=steps.hashes(result.inputs),
                outputs=steps.hashes(result.outputs),
                details=details,
            ),
            at=work.store.clock(),
        )
        # A waiting step is looked at again and again; its message is news only once.
        news = record is None or record.details.get("message") != result.message
        if result.message and news:
            work.say(result.message)
        if result.status is Status.WAITING:
            if name == "collect":
                pending_reasons.note(work, result.progress, result.around)
            return result, ran
        work.log(f"step {name} {result.status.value}")
    return None, ran


def report(work: Work, waiting: StepResult, opened: int, closed: int, *, rendered: bool) -> Report:
    steps = work.steps
    scripts, submitted = steps.read("render"), steps.read("submit")
    manual = submitted is not None and submitted.status is Status.SKIPPED
    commands = scripts.details["commands"] if scripts is not None else ()
    if waiting.commands is not None:
        commands = waiting.commands
    return Report(
        state="manual" if manual else "waiting",
        round=work.paths,
        opened=opened,
        closed=closed,
        rendered=rendered,
        message=waiting.message,
        missing=waiting.missing,
        progress=waiting.progress,
        commands=commands if manual else (),
    )
