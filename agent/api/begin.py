"""Beginning a study, and opening one with options that fit it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from agent.api.options import TuneOptions
from agent.catalogue import Found, find_trainer, frozen_trainer, tuned
from agent.datacheck import check_content, check_data, check_task, with_absolute_path
from agent.errors import UsageError
from agent.fitting import Setting, as_begun, fitted, noted
from agent.objectives import check_objectives
from agent.options.option import options_of
from agent.options.study import Frozen
from agent.reference import parse_reference
from agent.store.disk import Disk, read_text
from agent.store.paths import check_name, slug
from agent.store.store import Store
from agent.store.study import Settings, StudyConfig
from trainers.contract import Value
from trainers.files import parse_json_object


def study_root(options: TuneOptions) -> Path:
    """Where the study of these options lives. Raises UsageError for a name that cannot be one."""
    short = slug(options.task)
    name = check_name(options.study, what="--study") if options.study else short
    return Path(options.output_dir).absolute() / name


def begin(
    options: TuneOptions, *, disk: Disk | None = None, say: Callable[[str], object] = lambda line: None
) -> Store:
    """Make a new study's folder: frozen configuration and reference. Raises UsageError, and writes nothing then.

    say: told what the person should know of the data.
    """
    root = study_root(options)
    if options.trainer is None:
        raise UsageError("--trainer is needed to begin a study: a name (see `roundtable trainers`) or a .yaml path")
    found = find_trainer(options.trainer)
    preset = found.task(options.task)
    _check_test(options, found)
    check_task(found.trainer, options.task, options.data, brought=found.brought)
    check_data(found.trainer, options.data)
    reference = found.reference(options.task, options.hp_ref)
    if options.tune_names:
        reference = tuned(reference, options.tune_names)
    folds, count = _folds(options, found)
    told = check_content(found.trainer, options.task, options.data, reference.values(), folds=count)
    epochs = options.epochs or (preset.epochs if preset else found.trainer.default_epochs)
    about = Setting(
        trainer=found.trainer,
        task=options.task,
        data=with_absolute_path(options.data, found.trainer),
        folds=count,
        epochs=epochs,
        description=found.frozen,
    )
    reference = fitted(reference, about, file=str(options.hp_ref or f"{found.trainer.name}'s reference"))
    config = StudyConfig(
        study=root.name,
        task=options.task,
        slug=slug(options.task),
        trainer=found.trainer.name,
        trainer_sha256=found.frozen_sha256,
        metric=reference.objective.metric,
        direction=reference.objective.direction,
        folds=folds,
        fold_count=count,
        seeds=options.seeds or found.trainer.seeds or (options.seed or 0,),
        seed=options.seed or 0,
        epochs=epochs,
        data=with_absolute_path(options.data, found.trainer),
    )
    check_objectives(config.objective, options.also or (), options.limits or ())
    if options.rungs is not None:
        from agent.orchestrator.closing.rungs import halving_of

        asked = Settings(rungs=options.rungs, eta=options.eta or Settings.eta)
        halving_of(asked, config, found.trainer, reference)
    warm = None
    if options.warm_start:
        from agent.api.warm import warm_start

        warm = warm_start(options.warm_start, reference, config)
    for line in (*told, *noted(reference)):
        say(line)
    text = reference.to_text()
    return Store.create(root, config, reference=text, trainer_file=found.frozen, warm_start=warm, disk=disk)


def _check_test(options: TuneOptions, found: Found) -> None:
    if options.use_test and not found.trainer.has_test:
        raise UsageError(f"--use-test-data: the trainer {found.trainer.name} has no test evaluation")


def _folds(options: TuneOptions, found: Found) -> tuple[tuple[int, ...], int]:
    """The folds to train and how many there are: 0-4 means five. A single fold 0 is one held-out split."""
    folds = options.folds if options.folds is not None else found.trainer.folds
    return folds, max(folds) + 1


def open_study(
    options: TuneOptions, *, disk: Disk | None = None, say: Callable[[str], object] = lambda line: None
) -> tuple[Store, bool]:
    """The study of these options, begun now if it is new (then True). Refuses options that contradict a study."""
    root = study_root(options)
    if not root.exists():
        return begin(options, disk=disk, say=say), True
    store = Store.open(root, disk=disk)
    config = store.config
    given: dict[str, tuple[object, object]] = {"--task": (options.task, config.task)}
    for name, option in options_of(Frozen).items():
        if hasattr(config, name):
            given[option.flags[0]] = (getattr(options, name), getattr(config, name))
    given["--data"] = (_data(options, store), dict(config.data))
    if options.trainer is not None:
        found = find_trainer(options.trainer)
        given["--trainer"] = (found.trainer.name, config.trainer)
        if found.trainer.name == config.trainer and found.frozen_sha256 != config.trainer_sha256:
            raise UsageError(
                f"{options.trainer}: differs from the description that the study froze ({store.paths.trainer_file}); "
                "begin another --study with it, or leave --trainer out"
            )
    for name, (asked, frozen) in given.items():
        if asked is not None and asked != frozen:
            raise UsageError(
                f"{name} {asked} does not fit the study {root} (frozen: {frozen}); "
                "leave it out, or begin another --study"
            )
    _check_test(options, trainer_of(store))
    if options.hp_ref is not None:
        _check_hp_ref(store, options.hp_ref)
    if options.warm_start:
        from agent.api.warm import check_warm_start

        check_warm_start(store, options.warm_start)
    if options.tune_names:
        raise UsageError(f'--tune is for new studies; edit {store.paths.reference} instead ("tune": true)')
    return store, False


def _data(options: TuneOptions, store: Store) -> dict[str, Value] | None:
    """What was asked for, made whole as when the study began; None where nothing was."""
    if not options.data:
        return None
    return with_absolute_path(options.data, None if store.config.trainer_sha256 else trainer_of(store).trainer)


def _check_hp_ref(store: Store, path: Path) -> None:
    """The same call again is fine; another file would silently replace what the rounds have learnt."""
    begun = find_begun_reference(store)
    given = trainer_of(store).reference(store.config.task, path)
    first = parse_reference(parse_json_object(begun, name="reference"), file="reference")
    if as_begun(given, first).raw != first.raw:
        raise UsageError(
            f"--hp-ref {path}: the study {store.paths.root} has begun with another reference; edit "
            f"{store.paths.reference}, or begin another --study"
        )


def find_begun_reference(store: Store) -> str:
    """The text of the reference that the study began with: round 1's, or the present one before round 1."""
    closed = [folder for folder in store.paths.folders() if folder.number == 1]
    for folder in closed:
        before = store.paths.round(folder).before
        if before.exists():
            return read_text(before)
    return read_text(store.paths.reference)


def trainer_of(store: Store) -> Found:
    """The study's trainer. Raises InvalidTrainer, InvalidPlugin, InvalidStudy (code that others could have named)."""
    return frozen_trainer(store.config.trainer, frozen_text(store), folder=store.paths.root)


def frozen_text(store: Store) -> str | None:
    return read_text(store.paths.trainer_file) if store.config.trainer_sha256 else None
