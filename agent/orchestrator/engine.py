"""The resume rule: the next step is the first without a final record; a changed input is never passed over."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agent.errors import InputChanged
from agent.orchestrator import assess, collect, confirm, decide, prepare, submit
from agent.orchestrator.context import Given, Report, StepResult, Tools, Work
from agent.store.paths import RoundPaths
from agent.store.steps import Status, StepRecord, Steps
from agent.store.store import Store
from agent.store.study import Settings

Step = Callable[[Work], StepResult]

#: Each step leaves its files, then its record, before the next begins.
ROUND: Mapping[str, Step] = {
    "analyse": decide.analyse,
    "propose": decide.propose,
    "check": decide.check,
    "apply": prepare.apply,
    "render": prepare.render,
    "submit": submit.submit,
    "collect": collect.collect,
    "assess": assess.assess,
}
CONFIRM: Mapping[str, Step] = {
    "choose": confirm.choose,
    "render": prepare.render,
    "submit": submit.submit,
    "collect": collect.collect,
    "assess": confirm.assess,
}


def tick(store: Store, tools: Tools, *, given: Given | None = None, force: int | None = None) -> Report:
    """Do as much as can be done now. The caller holds the lease.

    Raises RoundtableError; whatever was done by then is recorded and is not done again.
    """
    given = given or Given()
    settings = store.settings()
    opened = closed = 0
    while True:
        work, new = _next_work(store, settings, tools, given, force)
        if work is None:
            return Report(state="finished", round=None, opened=opened, closed=closed)
        force = None
        opened += new and work.kind == "round"
        waiting = _advance(work)
        if waiting is not None:
            return _report(work, waiting, opened, closed)
        closed += work.kind == "round"
        # What a person gave was for the round that waited for it, not for the next.
        given = Given()


def _next_work(
    store: Store, settings: Settings, tools: Tools, given: Given, force: int | None
) -> tuple[Work | None, bool]:
    """The open round, or a new one if the target allows, or the confirmation of the winner; and whether it is new."""

    def work(paths: RoundPaths, kind: str) -> Work:
        rerun = kind == "round" and paths.number < store.next_number() - 1
        return Work(store=store, settings=settings, tools=tools, paths=paths, kind=kind, rerun=rerun, given=given)

    if force is not None:
        return work(_force(store, force), "round"), True
    if (paths := store.open_folder()) is not None:
        return work(paths, "round"), False
    if (number := store.next_number()) <= settings.target_round:
        # A reference that a person broke is refused before the round leaves anything on disk.
        store.versions.current()
        return work(store.begin(number), "round"), True
    if (paths := store.open_folder("confirm")) is not None:
        return work(paths, "confirm"), False
    if confirm.wanted(store, settings):
        return work(store.begin(store.next_number() - 1, "confirm"), "confirm"), True
    return None, False


def _force(store: Store, number: int) -> RoundPaths:
    """A fresh folder for a round that was run before. An open round that already has tasks is not thrown away."""
    if not 1 <= number < store.next_number():
        there = f"rounds 1 to {store.next_number() - 1} exist" if store.next_number() > 1 else "there is no round yet"
        raise InputChanged(f"--force-round {number}: {there}")
    paths = store.open_folder()
    if paths is not None and (paths.number != number or submit.begun(store, paths)):
        raise InputChanged(
            f"--force-round {number}: round {paths.number} ({paths.root.name}) is still open; finish it first"
        )
    store.journal.append("forced", round=number)
    return store.begin(number)


def _advance(work: Work) -> StepResult | None:
    """Run the steps of a round that have no final record. Returns the result of a step that waits, else None."""
    steps = work.store.steps(work.paths, tuple(table := _table(work)))
    _check_inputs(work, steps, table)
    for name, step in table.items():
        record = steps.read(name)
        if record is not None and record.final:
            continue
        result = step(work)
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
            return result
        work.log(f"step {name} {result.status.value}")
    return None


def _table(work: Work) -> Mapping[str, Step]:
    return ROUND if work.kind == "round" else CONFIRM


def _check_inputs(work: Work, steps: Steps, table: Mapping[str, Step]) -> None:
    """Files that finished steps read must still be those files.

    Before anything was submitted, the steps from there on are done again; after that the change is refused by name.
    """
    if submit.begun(work.store, work.paths):
        record = steps.read("submit")
        changed = steps.changed(record.inputs) if record is not None else []
        if changed:
            raise InputChanged(
                f"{work.store.paths.root / changed[0]}: changed after round {work.number} was submitted; put it back "
                f"as it was, or run the round again with --force-round {work.number}"
            )
        return
    order = list(table)
    applied = steps.read("apply") if "apply" in table else None
    for name in order:
        record = steps.read(name)
        if record is None or not record.final:
            continue
        # Once applied, the study's reference is our own output: whether it was edited since is asked of the journal.
        changed = steps.changed(record.inputs) if not (name == "propose" and applied is not None) else []
        if name == "propose" and applied is not None and not work.rerun and work.store.versions.edited():
            changed = [work.store.paths.reference.name]
        if changed:
            work.say(f"round {work.number}: {', '.join(changed)} changed; doing the round again from {name}")
            steps.forget(order[order.index(name) :])
            return


def _report(work: Work, waiting: StepResult, opened: int, closed: int) -> Report:
    manual = not work.settings.auto_train and not submit.begun(work.store, work.paths, by_hand=False)
    rendered = work.store.steps(work.paths, tuple(_table(work))).read("render")
    return Report(
        state="manual" if manual else "waiting",
        round=work.paths,
        opened=opened,
        closed=closed,
        message=waiting.message,
        missing=waiting.missing,
        progress=waiting.progress,
        commands=rendered.details["commands"] if manual and rendered is not None else (),
    )
