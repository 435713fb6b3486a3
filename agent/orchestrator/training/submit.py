"""Handing a round to its launcher exactly once: intent, submission, record; and adopting what was in doubt."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

from agent.budget import Request
from agent.errors import AmbiguousSubmission, LaunchError, SchedulerUnavailable, SubmitLimit, UsageError
from agent.launch.base import Batch, SlurmSettings, Submission
from agent.launch.catalogue import capabilities_of
from agent.launch.profile import Kind, Profile
from agent.launch.render import prepares
from agent.launch.states import chunks
from agent.orchestrator.training import circuit_breaker, hours, test_only
from agent.orchestrator.training.submissions import KINDS, begun, marks, submission_of, submissions
from agent.orchestrator.work import StepResult, Work
from agent.store.codec import UNSAID
from agent.store.events import Deferred, Intent, NotFound, Refused, Submitted
from agent.store.paths import RoundPaths
from agent.store.place import roots
from agent.store.steps import Status
from agent.store.store import Store
from agent.store.study import Settings
from trainers.contract import TrainerError
from trainers.manifest import Manifest, load_manifest, read_values
from trainers.registry import preparer

DEFERRED_MOST_S = 300.0
"""The longest pause before a cluster that takes not even one more row is asked again."""


class NotYet(Exception):
    """A batch could not be handed over now; the next tick tries again. Never leaves this package."""


def submit(work: Work) -> StepResult:
    """Submit all rows and, behind them, the evaluation; or, without --auto-train, tell the person the lines."""
    manifest = load_manifest(work.paths.manifest)
    inputs = [work.paths.manifest, *(work.paths.reference(name) for name in manifest.candidates)]
    if not work.settings.auto_train:
        return StepResult(
            status=Status.SKIPPED,
            inputs=inputs,
            details={"why": "no --auto-train: a person submits"},
            message=f"{work.label} is rendered in {work.paths.root}",
        )
    try:
        work.tools.check_environment()
        prepared = _prepared(work, manifest)
        _test(work, manifest, prepared=prepared)
        before = [] if prepared else start(work, manifest, "prepare", [0], attempt=1)
        train = start(work, manifest, "train", range(len(manifest.rows)), attempt=1, after=before)
        start(work, manifest, "eval", manifest.evaluation_items(), attempt=1, after=train)
    except SchedulerUnavailable as error:
        # Asked for its limits, before anything was handed over.
        return StepResult(status=Status.WAITING, inputs=inputs, message=f"the scheduler does not answer: {error}")
    except NotYet as reason:
        return StepResult(status=Status.WAITING, inputs=inputs, message=str(reason))
    return StepResult(
        inputs=inputs,
        details={"launcher": work.tools.launcher().name, "jobs": [s.job_id for s in train]},
        message=f"{work.label}: {len(manifest.rows)} rows submitted ({train[0].launcher} {train[0].job_id})",
    )


def _test(work: Work, manifest: Manifest, *, prepared: bool) -> None:
    """Ask SLURM about every script before the first is submitted.

    Raises LaunchError where it refuses one, SchedulerUnavailable, NotYet.
    """
    if begun(work.store, work.paths, by_hand=False):
        return
    circuit_breaker.check(work.store)
    _check_deferred(work)
    kinds: dict[Kind, Sequence[int]] = {} if prepared else {"prepare": [0]}
    kinds |= {"train": range(len(manifest.rows)), "eval": manifest.evaluation_items()}
    asked: list[Batch] = []
    for kind, items in kinds.items():
        asked += batches(work, kind, items, attempt=1, settings=settings_of(work, manifest, kind))
    test_only.check(work, manifest, asked)


def _prepared(work: Work, manifest: Manifest) -> bool:
    """Whether the data that all trials share is ready, or the trainer has none to prepare.

    A preparation that was submitted before this process was killed counts as open: the training waits behind it.
    """
    if not prepares(manifest):
        return True
    values = [read_values(work.paths.reference(name), sha256=sha) for name, sha in manifest.candidates.items()]
    try:
        return bool(preparer(manifest.trainer).prepared(manifest.task, manifest.data, values))
    except TrainerError as error:
        # The preparation says it again, in its own log; the data may only be missing on this machine.
        work.log(f"{work.label}: the data is not ready: {error}")
        return False


def start(
    work: Work,
    manifest: Manifest,
    kind: Kind,
    items: Sequence[int],
    *,
    attempt: int,
    after: Sequence[Submission] = (),
    settings: SlurmSettings | None = None,
    first: int = 0,
) -> list[Submission]:
    """Submit items in as many arrays as the cluster's limits need. Each exactly once, whatever was killed.

    settings: instead of the profile's (`settings_of`). first: number of the first array, where one attempt has
    several groups.

    Raises NotYet when the scheduler cannot be asked or has not answered for certain, LaunchError when it refuses,
    BudgetExceeded before anything is submitted that could exceed a cap, StudyPaused while the breaker is open.
    """
    circuit_breaker.check(work.store)
    _check_deferred(work)
    settings = settings or settings_of(work, manifest, kind)
    while True:
        made = batches(work, kind, items, attempt=attempt, after=after, settings=settings, first=first)
        # The evaluation follows by itself: what cannot be evaluated any more must not be trained.
        hours.admit(work, made, evaluated=evaluation_of(work, manifest) if kind == "train" else None)
        try:
            return [_once(work, batch) for batch in made]
        except SubmitLimit as error:
            # Fewer rows may fit at once. A full queue has cost sbatch two minutes already: at the next look.
            if not error.own or _deferred(work)[-1].rows == 1:
                raise NotYet(f"{work.label}: {error}") from error


def settings_of(work: Work, manifest: Manifest, kind: Kind) -> SlurmSettings:
    """What the profile asks for a kind of task of this round."""
    return work.tools.profile.settings(kind, inference=manifest.evaluation == "array")


def evaluation_of(work: Work, manifest: Manifest, positions: Sequence[int] | None = None) -> Request:
    """What the evaluation of the candidates at these positions (None: all) holds, and for how long at most."""
    return hours.request_of(len(manifest.evaluation_items(positions)), settings_of(work, manifest, "eval"))


def batches(
    work: Work,
    kind: Kind,
    items: Sequence[int],
    *,
    attempt: int,
    settings: SlurmSettings,
    after: Sequence[Submission] = (),
    first: int = 0,
) -> list[Batch]:
    """Items as the arrays that they are submitted in. Raises SchedulerUnavailable.

    What was handed over or is in doubt keeps the items of its intent, whatever the limits are by now; only the others
    are split anew.
    """
    profile = work.tools.profile
    parts = _handed_over(work, kind, attempt, first)
    taken = {item for part in parts for item in part}
    limits = [limit for limit in (profile.max_array_size, _room(work)) if limit is not None]
    rest = [item for item in items if item not in taken]
    parts += chunks(rest, work.tools.launcher().largest_index(), max_tasks=min(limits, default=None))
    parallel = work.settings.parallel or profile.max_parallel
    return [
        Batch(
            name=_job_name(work, kind, attempt, first + place),
            kind=kind,
            round_dir=work.paths.root,
            script=work.paths.script(kind),
            array_script=work.paths.script(kind).with_suffix(".slurm"),
            items=part,
            attempt=attempt,
            parallel=_share(parallel, place, len(parts)),
            after=tuple(after),
            settings=settings,
        )
        for place, part in enumerate(parts)
    ]


def _handed_over(work: Work, kind: str, attempt: int, first: int) -> list[tuple[int, ...]]:
    """The items of the arrays, from number `first` on, that the journal knows as submitted or in doubt."""
    known = marks(work.store, work.paths)
    parts: list[tuple[int, ...]] = []
    while isinstance(mark := known.get(_job_name(work, kind, attempt, first + len(parts))), Intent | Submitted):
        if not mark.items:  # an intent of a version that did not say them
            break
        parts.append(mark.items)
    return parts


def _share(parallel: int | None, place: int, arrays: int) -> int | None:
    """The throttle of one of several arrays: together they keep to `parallel`, as far as each needs one task."""
    if parallel is None:
        return None
    return max(1, parallel // arrays + (place < parallel % arrays))


def _room(work: Work) -> int | None:
    """Most rows of the next array where the cluster takes no more jobs: half of what it last refused, and twice what
    it has taken since; None where it has refused nothing of this round."""
    room: int | None = None
    for event in work.store.journal.of(Deferred, Submitted, folder=work.paths.root.name):
        if isinstance(event, Deferred):
            room = max(1, event.rows // 2)
        elif room is not None:
            room = 2 * len(event.items)
    return room


def _deferred(work: Work) -> list[Deferred]:
    """What the cluster did not take of this round since it took something last."""
    found: list[Deferred] = []
    for event in work.store.journal.of(Deferred, Submitted, folder=work.paths.root.name):
        found = [*found, event] if isinstance(event, Deferred) else []
    return found


def _check_deferred(work: Work) -> None:
    """Raises NotYet while a cluster that took not even one row is left alone: each time for twice as long."""
    refused = [one for one in _deferred(work) if one.rows == 1]
    if refused:
        pause = min(work.settings.poll_s * 2 ** min(len(refused) - 1, 16), DEFERRED_MOST_S)
        if work.store.clock() < refused[-1].at + timedelta(seconds=pause):
            raise NotYet(f"{work.label}: {refused[-1].message}")


def _once(work: Work, batch: Batch) -> Submission:
    """The submission of this batch: journaled already, found under its name, or made now."""
    journal, launcher, folder = work.store.journal, work.tools.launcher(), work.paths.root.name
    last = marks(work.store, work.paths).get(batch.name)
    if isinstance(last, Submitted):
        return submission_of(last, study=work.store.paths.root)
    try:
        if isinstance(last, Intent):
            if (found := launcher.find(batch)) is not None:
                return _record(work, batch, found, adopted=True)
            certain = launcher.capabilities.certain_find
            if not certain and work.store.clock() < (until := _looked_up_until(work, last)):
                raise NotYet(f"{batch.name}: submitted or not is unknown; looking it up until {until:%H:%M:%S} UTC")
        asked = hours.declared(batch)
        journal.append(
            Intent(
                name=batch.name,
                kind=batch.kind,
                folder=folder,
                rows=len(batch.items),
                items=batch.items,
                cluster=work.tools.profile.cluster,
                limit_s=asked.limit_s,
                runs=asked.runs,
                gpus=asked.gpus,
                cpus=asked.cpus,
            )
        )
        return _record(work, batch, launcher.submit(batch), adopted=False)
    except AmbiguousSubmission as error:
        raise NotYet(f"{error}; looking it up under its name before any second try") from error
    except SubmitLimit as error:
        # For certain nothing runs, and nothing is wrong either.
        journal.append(Deferred(name=batch.name, folder=folder, rows=len(batch.items), message=str(error)))
        raise
    except SchedulerUnavailable as error:
        raise NotYet(f"{error}; trying again later") from error
    except LaunchError as error:
        # For certain nothing runs: the round counts as not begun, so that its cause can be mended.
        journal.append(Refused(name=batch.name, folder=folder, message=str(error)[:500]))
        circuit_breaker.trip(work.store)
        raise


def _looked_up_until(work: Work, intent: Intent) -> datetime:
    """When a submission in doubt counts as not made.

    The wait begins with the first answer that does not know it, not with the intent: after an outage longer than the
    wait, the scheduler may answer questions before it has taken what was sent to it meanwhile.
    """
    journal = work.store.journal
    answers = journal.of(NotFound, folder=intent.folder)
    first = next((one for one in answers if one.name == intent.name and one.seq > intent.seq), None)
    first = first or journal.append(NotFound(name=intent.name, folder=intent.folder))
    return first.at + timedelta(seconds=work.settings.adopt_after_s)


def _record(work: Work, batch: Batch, made: Submission, *, adopted: bool) -> Submission:
    hours.charge(work, batch)
    work.store.journal.append(
        Submitted(
            name=made.name,
            folder=work.paths.root.name,
            kind=batch.kind,
            attempt=batch.attempt,
            launcher=made.launcher,
            job_id=made.job_id,
            items=made.items,
            tasks=made.tasks,
            cluster=made.cluster,
            submitted_at=made.submitted_at,
            adopted=adopted,
        )
    )
    return made


def check_launcher(store: Store, paths: RoundPaths, settings: Settings) -> None:
    """A round stays with the launcher that has its tasks: another one would take them for gone and start them again.

    Those that hand over to one system (submitit and sbatch to SLURM) may be exchanged. Raises UsageError.
    """
    system = capabilities_of(settings.launcher).system
    used = {made.launcher for kind in KINDS for _, made in submissions(store, paths, kind)}
    others = sorted(name for name in used if capabilities_of(name).system != system)
    if others:
        raise UsageError(
            f"--launcher {settings.launcher}: round {paths.number} was submitted with {others[0]}; finish it with "
            f"--launcher {others[0]}"
        )


def check_cluster(store: Store, paths: RoundPaths, profile: Profile) -> None:
    """A round stays on the cluster that has its jobs: on another one they would be missed and started again.

    Raises UsageError.
    """
    names = {name for name, mark in marks(store, paths).items() if isinstance(mark, Intent | Submitted)}
    intents = [intent for intent in store.journal.of(Intent, folder=paths.root.name) if intent.name in names]
    # Journals of earlier versions do not say it of an intent.
    used = {intent.cluster for intent in intents if intent.cluster is not UNSAID} - {profile.cluster}
    for cluster in sorted(used, key=str):
        has = f"cluster {cluster}" if cluster else "the cluster of slurm.conf"
        ask = f"with `cluster: {cluster}`" if cluster else "without `cluster`"
        now = f"names {profile.cluster}" if profile.cluster else "names none"
        raise UsageError(
            f"{paths.label} has jobs on {has}, and the profile {now}: give a profile (--profile) {ask} until the "
            "round is closed"
        )


def _job_name(work: Work, kind: str, attempt: int, chunk: int) -> str:
    """Unique per study folder, round folder, attempt and chunk, the same after a restart: it finds the job again.

    Where the study was moved, the name that the journal has, made from an earlier folder, stays.
    """
    head = f"rt-{work.store.config.slug[:40]}-{work.stage.kind[0]}{work.number}-{kind}-{attempt}-{chunk}"
    tags = (f"{root}/{work.paths.root.name}|{kind}|{attempt}|{chunk}" for root in roots(work.store))
    names = [f"{head}-{hashlib.sha256(text.encode()).hexdigest()[:10]}" for text in tags]
    known = marks(work.store, work.paths) if len(names) > 1 else {}
    return next((name for name in names if name in known), names[0])
