"""Hours: the worst case before each submission, the charge behind it, the refund when accounting knows better.

The sums are the pure ledger's (agent.budget); the journal is its only memory, so that a kill anywhere loses nothing:
a charge is made once for each name, before its submission is recorded, and what was submitted before a kill is
adopted and passes here again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from agent.budget import RESOURCES, Caps, Ledger, Request, describe, duration, refund, standing, worst_of
from agent.errors import BudgetExceeded, LaunchError, UsageError
from agent.launch.base import Batch, SlurmSettings
from agent.launch.catalogue import capabilities_of
from agent.launch.profile import REQUEUES
from agent.launch.profile_checks import gres_gpus
from agent.launch.states import parse_minutes
from agent.orchestrator.training.submissions import MARKS, submission_of
from agent.orchestrator.work import Tools, Work
from agent.store.events import (
    Charged,
    Confirmed,
    Intent,
    OverBudget,
    Refunded,
    Refused,
    RoundClosed,
    RoundForced,
    SettingsGiven,
    Submitted,
)
from agent.store.paths import RoundFolder
from agent.store.store import Store
from agent.store.study import Settings
from trainers.files import FileProblem, read_json_object
from trainers.manifest import ManifestProblem, load_manifest

#: Accounting that does not know a row so long after its round was over is asked again only before a submission.
ASK_FOR = timedelta(hours=1)


def request_of(tasks: int, settings: SlurmSettings) -> Request:
    """What so many tasks of these settings hold, and for how long at most.

    SLURM rounds a time limit up to whole minutes, and so does the worst case.
    """
    given = dict(settings.directives)
    minutes = parse_minutes(given.get("time") or "")
    return Request(
        tasks=tasks,
        limit_s=minutes * 60 if minutes else None,
        gpus=gres_gpus(given.get("gres") or ""),
        cpus=int(given.get("cpus-per-task") or 1),
        runs=1 + REQUEUES if "requeue" in given else 1,
    )


def caps_of(settings: Settings) -> Caps:
    return Caps(gpu=settings.max_gpu_hours, cpu=settings.max_cpu_hours)


# -- before a submission --------------------------------------------------------------------------------------------


def admit(work: Work, batches: Sequence[Batch], *, evaluated: Request | None) -> None:
    """Say what these batches may take at most, and refuse them before anything is submitted if a cap could break.

    evaluated: the evaluation that follows; it is part of the worst case. Batches that are charged already (a call
    that was cut off) are passed over. Raises BudgetExceeded.
    """
    store = work.store
    charged = store.ledger().charges
    new = [batch for batch in batches if batch.name not in charged]
    if not new:
        return
    settle(store, work.tools, before=work)
    ledger = store.ledger()
    requests = requests_of(new, evaluated=evaluated)
    if reason := ledger.refusal(requests, caps_of(work.settings)):
        refused = f"{work.label} is not submitted: {reason}; the round stays open"
        last = store.journal.last(OverBudget, Charged, SettingsGiven)
        # Told on every look, but journaled once: cron looks every ten minutes.
        if not isinstance(last, OverBudget) or last.message != refused:
            store.journal.append(OverBudget(folder=work.paths.root.name, message=refused))
        raise BudgetExceeded(refused)
    if (
        (new[0].kind == "train" or not new[0].after)
        and new[0].kind != "prepare"
        and len(new) == len(batches)
        and not _seen(store, new)
    ):
        _announce(work, ledger, requests)


def requests_of(batches: Sequence[Batch], *, evaluated: Request | None) -> list[Request]:
    """The batches, those with the same demands together, and the evaluation that follows them."""
    alike: dict[SlurmSettings, int] = {}
    for batch in batches:
        alike[batch.settings] = alike.get(batch.settings, 0) + len(batch.items)
    found = [request_of(tasks, settings) for settings, tasks in alike.items()]
    return found + ([evaluated] if evaluated else [])


def _seen(store: Store, batches: Sequence[Batch]) -> bool:
    """Whether one of them may be on its way from an earlier look, which has said what it takes."""
    names = {batch.name for batch in batches}
    marks = {mark.name: mark for mark in store.journal.of(*MARKS) if mark.name in names}
    return any(not isinstance(mark, Refused) for mark in marks.values())


def _announce(work: Work, ledger: Ledger, requests: Sequence[Request]) -> None:
    line = worst_case(ledger, requests, caps_of(work.settings))
    limited = all(worst_of(requests, resource) is not None for resource in RESOURCES)
    if limited:
        work.say(f"{work.label}: {line}")
    elif all(charged.request.limit_s is not None for charged in ledger.charges.values()):
        # Once a study; a laptop's tasks have no scheduler to stop them, so there it is no news at all.
        hint = "set `time` in the cluster profile to know it, and to cap it with --max-gpu-hours or --max-cpu-hours"
        tell = work.say if work.tools.launcher().capabilities.time_limits else work.log
        tell(f"{work.label}: {line}; {hint}")


def worst_case(ledger: Ledger, requests: Sequence[Request], caps: Caps) -> str:
    """GPU-hours where GPUs are asked for, else CPU-hours; and whatever has a cap."""
    main = "gpu" if any(request.gpus for request in requests) else "cpu"
    parts = []
    for resource in RESOURCES:
        cap = caps.of(resource)
        if resource == main or cap is not None:
            now = ledger.balance(resource)
            state = f"; {standing(now, cap)}" if cap is not None or now.total else ""
            parts.append(f"{describe(requests, resource)}{state}")
    return "; ".join(parts)


# -- behind it ------------------------------------------------------------------------------------------------------


def declared(batch: Batch) -> Request:
    """What goes with the intent: the demands as they are submitted, whatever a later call's profile says."""
    return request_of(len(batch.items), batch.settings)


def charge(work: Work, batch: Batch) -> None:
    """Charge a submission that was made (or found) with the most it may take, once."""
    journal = work.store.journal
    folder = work.paths.root.name
    if any(charged.name == batch.name for charged in journal.of(Charged, folder=folder)):
        return
    intents = [intent for intent in journal.of(Intent, folder=folder) if intent.name == batch.name]
    # What was said with the intent holds.
    request = _asked(intents[-1], len(batch.items)) if intents else None
    request = request or declared(batch)
    journal.append(
        Charged(
            name=batch.name,
            folder=folder,
            kind=batch.kind,
            items=batch.items,
            rows=request.tasks,
            limit_s=request.limit_s,
            runs=request.runs,
            gpus=request.gpus,
            cpus=request.cpus,
            gpu_hours=_rounded(request.worst("gpu")),
            cpu_hours=_rounded(request.worst("cpu")),
        )
    )


def _asked(intent: Intent, tasks: int) -> Request | None:
    """What an intent asks for; None in journals of versions that did not say it."""
    if intent.gpus is None or intent.cpus is None:
        return None
    return Request(tasks=tasks, limit_s=intent.limit_s, runs=intent.runs, gpus=intent.gpus, cpus=intent.cpus)


def _rounded(hours: float | None) -> float | None:
    return None if hours is None else round(hours, 9)


# -- when the rows have ended ---------------------------------------------------------------------------------------


def settle(store: Store, tools: Tools, *, before: Work | None = None, however_late: bool = False) -> None:
    """Refund what the ended rows did not take, from accounting; rows that it does not know keep their charge.

    Of rounds that are over; before: and of this one, which is about to submit again, so that nothing of it runs.
    however_late: also where accounting was given up on. A scheduler that does not answer is asked again another time.
    """
    ledger = store.ledger()
    missing = ledger.unaccounted()
    if not missing:
        return
    late = however_late or before is not None
    going = store.going()
    mine = [one for one in store.journal.of(Submitted) if one.name in missing]
    over = [one for one in mine if _ended(store, one, before, late, going)]
    if not over:
        return
    try:
        launcher = tools.launcher()
        # Local queues and SLURM do not know each other's tasks.
        system = launcher.capabilities.system
        over = [one for one in over if capabilities_of(one.launcher).system == system]
        # Of an open round the scheduler is asked in the same look.
        made = [submission_of(one, study=store.paths.root) for one in over]
        found = launcher.elapsed(made, ask=late or not going)
        held = launcher.held(made)
    except (LaunchError, UsageError) as error:
        tools.detail(f"hours are not accounted for now: {error}")
        return
    for one in over:
        name = one.name
        seconds = {item: _seconds(store, one, item, found) for item in missing[name]}
        known = {item: round(value, 3) for item, value in seconds.items() if value is not None}
        if known:
            allocated = {
                item: {resource: round(value, 3) for resource, value in held[name, item].items()}
                for item in known
                if (name, item) in held
            }
            back = refund(ledger.charges[name], known, allocated)
            store.journal.append(
                Refunded(
                    folder=one.folder,
                    name=name,
                    seconds=back.seconds,
                    held=back.held or None,
                    gpu_hours=back.gpu_hours,
                    cpu_hours=back.cpu_hours,
                )
            )


def _ended(store: Store, made: Submitted, before: Work | None, late: bool, going: Collection[str]) -> bool:
    """Whether a submission's rows are over, and accounting may still come to know them (late: or is asked anyway).

    going: names of the folders that are open.
    """
    folder = RoundFolder.parse(store.paths.root / made.folder)
    if folder is None:
        return False
    if before is not None and before.paths.root.name == made.folder:
        return True
    if made.folder in going:
        return False
    ends = (end.at for end in store.journal.of(RoundClosed, Confirmed, RoundForced) if end.seq > made.seq)
    return late or store.clock() - next(ends, made.at) < ASK_FOR


def _seconds(store: Store, made: Submitted, item: int, found: Mapping[tuple[str, int], float]) -> float | None:
    known = found.get((made.name, item))
    if known is not None or capabilities_of(made.launcher).accounting:
        return known
    return _by_its_files(store, made, item)


def _by_its_files(store: Store, made: Submitted, item: int) -> float | None:
    """A row that nobody accounts for any more, its local queue being lost: from its claim to its exit marker, by the
    task's own clock."""
    folder = RoundFolder.parse(store.paths.root / made.folder)
    if folder is None or made.kind != "train":
        return None
    paths = store.paths.round(folder)
    try:
        row = load_manifest(paths.manifest).rows[item]
        files = paths.attempt(row.candidate, row.fold, row.seed, made.attempt)
        begun, ended = (_time(read_json_object(path)) for path in (files.claim, files.exit))
    except (FileProblem, ManifestProblem, IndexError, KeyError, TypeError, ValueError):
        return None
    return max(0.0, (ended - begun).total_seconds())


def _time(record: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(record["at"])


# -- the study's time -----------------------------------------------------------------------------------------------


def time_is_up(store: Store, settings: Settings) -> str:
    """Why no further round is opened, or an empty text: --max-hours since the study's first submission are over."""
    first = next(store.journal.of(Submitted), None)
    if settings.max_hours is None or first is None:
        return ""
    passed = store.clock() - first.at
    if passed < timedelta(hours=settings.max_hours):
        return ""
    return (
        f"no new round: --max-hours {settings.max_hours:g} since the study's first submission are over "
        f"({duration(60 * round(passed.total_seconds() / 60))} have passed); give more to go on"
    )
