"""Planning and preprocessing once for all trials, and the split into folds that all of them share.

What is there and whole is not done again, whoever made it (nnUNetv2_plan_and_preprocess does as well). nnU-Net is
imported only where something is missing.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from trainers.contract import DataProblem, Interrupted, StopFlag, Value
from trainers.files import FileProblem, create_exclusive, open_in_place, read_json_object, to_json
from trainers.nnunet.config import Config
from trainers.nnunet.plans import IDENTIFIERS
from trainers.nnunet.raw import cases, refuse_files
from trainers.nnunet.splits import refuse_splits
from trainers.nnunet.where import VARIABLES, Dataset, locate
from trainers.nnunet.workers import bound, planning, pools_for

FOLDS = 5
"""As stock nnU-Net; its seed is 12345."""
_PLANNERS = {"default": "ExperimentPlanner", "resenc_m": "nnUNetPlannerResEncM", "resenc_l": "nnUNetPlannerResEncL"}
_SAME = ("labels", "channel_names", "file_ending", "regions_class_order")
"""Parts of dataset.json whose change makes preprocessed data stale."""

Want = tuple[str, str]
"""Values of the hyperparameters plans and configuration."""


def prepare_data(
    task: str,
    data: Mapping[str, Value],
    values: Collection[Mapping[str, Value]],
    *,
    folds: int,
    cpus: int,
    stop: StopFlag,
) -> bool:
    """Plan and preprocess for candidates with these hyperparameters; True where there was anything to do.

    Raises DataProblem, BadConfig, TrainerError, Interrupted, OSError.
    """
    wants = _wants(values)
    dataset = locate(task, data, os.environ)
    enter(dataset)
    pools = bound(cpus, gpu=False)
    return ensure(dataset, wants, folds=folds, cpus=pools, stop=stop, say=say)


def prepared(task: str, data: Mapping[str, Value], values: Collection[Mapping[str, Value]]) -> bool:
    """Whether prepare_data would find nothing to do, as far as this machine sees the data. Raises TrainerError."""
    dataset = locate(task, data, os.environ)
    return dataset.splits_file.exists() and not missing(dataset, _wants(values))


def _wants(values: Collection[Mapping[str, Value]]) -> set[Want]:
    configs = [Config.from_values(value) for value in values]
    return {(config.plans, config.configuration) for config in configs}


def enter(dataset: Dataset) -> None:
    """nnU-Net reads its folders from the environment, each time it needs them."""
    os.environ[VARIABLES["preprocessed"]] = str(dataset.preprocessed_root)
    if dataset.raw_root is not None:
        os.environ[VARIABLES["raw"]] = str(dataset.raw_root)


def say(text: str) -> None:
    """A line of the task's log."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def ensure(
    dataset: Dataset, wants: Collection[Want], *, folds: int, cpus: int, stop: StopFlag, say: Callable[[str], None]
) -> bool:
    """Plan and preprocess what is missing, one task at a time; True where there was anything to do.

    folds: the study's; the split has as many, and at least nnU-Net's five where there are cases for them.

    Raises DataProblem (broken, missing or stale data), Interrupted while it waits for another task, OSError.
    """
    if not missing(dataset, wants) and dataset.splits_file.exists():
        refuse_splits(dataset, folds)
        return False
    dataset.preprocessed_root.mkdir(parents=True, exist_ok=True)
    with _alone(dataset.preprocessed_root / f".{dataset.name}.lock", stop, say):
        for plans, configuration in missing(dataset, wants):
            say(f"{dataset.name}: planning and preprocessing {configuration} for {IDENTIFIERS[plans]}")
            _make(dataset, plans, configuration, cpus)
        _write_splits(dataset, folds)
    refuse_splits(dataset, folds)
    return True


def missing(dataset: Dataset, wants: Collection[Want]) -> list[Want]:
    """What of it is not there or not whole. Raises DataProblem for what is there but stale or broken."""
    return [want for want in sorted(set(wants)) if not _whole(dataset, *want)]


def read_plans(dataset: Dataset, plans: str) -> dict[str, Any] | None:
    """nnU-Net's plans, None where they are not made yet. Raises DataProblem: unreadable, or of another data set."""
    path = dataset.plans_file(IDENTIFIERS[plans])
    if not path.exists():
        return None
    try:
        found: Any = read_json_object(path)
    except FileProblem as error:
        raise DataProblem(f"{error}; delete this plans file, it is made anew") from error
    if found.get("dataset_name") != dataset.name or not isinstance(found.get("configurations"), dict):
        raise DataProblem(
            f"{path}: dataset_name is {found.get('dataset_name')!r}, but this is the folder of {dataset.name}: stale "
            "or copied plans; delete them, they are made anew"
        )
    return dict(found)


def _whole(dataset: Dataset, plans: str, configuration: str) -> bool:
    found = read_plans(dataset, plans)
    if found is None:
        return False
    _refuse_stale(dataset)
    entry = found["configurations"].get(configuration)
    if not isinstance(entry, dict) or "data_identifier" not in entry:
        return True  # this data has no such configuration: the trainer refuses it with what there is
    folder = dataset.preprocessed / entry["data_identifier"]
    if _mark(folder).exists() or not folder.is_dir():
        return False
    there = {path.name for path in folder.iterdir()}
    stored = {name.removesuffix(end) for name in there for end in (".b2nd", ".npz", ".npy") if name.endswith(end)}
    return all(f"{case}.pkl" in there and case in stored for case in cases(dataset))


def _mark(folder: Path) -> Path:
    """Stands while a folder is being filled: a killed preprocessing is not taken for a finished one."""
    return folder.with_name(f".{folder.name}.unfinished")


def _refuse_stale(dataset: Dataset) -> None:
    """Raise DataProblem where the preprocessed data was made from another state of the raw data."""
    if dataset.raw is None or not (dataset.preprocessed / "dataset.json").exists():
        return
    now = dataset.description()
    try:
        then = read_json_object(dataset.preprocessed / "dataset.json")
    except FileProblem as error:
        raise DataProblem(str(error)) from error
    for key in _SAME:
        if now.get(key) != then.get(key):
            raise DataProblem(
                f"{dataset.preprocessed}: stale: {key} in dataset.json was {then.get(key)!r} when it was "
                f"preprocessed, and is {now.get(key)!r} in {dataset.raw}; remove that folder, it is made anew"
            )


def _make(dataset: Dataset, plans: str, configuration: str, cpus: int) -> None:
    if dataset.raw is None:
        raise DataProblem(
            f"{dataset.preprocessed}: {configuration} for {IDENTIFIERS[plans]} is not preprocessed, and there is "
            f"no raw data to do it from: give --data raw=FOLDER (nnUNet_raw) that holds {dataset.name}"
        )
    refuse_files(dataset.raw, dataset.description())
    # Heavy, and needed only here.
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
    from nnunetv2.experiment_planning.experiment_planners.residual_unets import residual_encoder_unet_planners

    with _explained(dataset), pools_for(cpus), planning(cpus):
        if not dataset.plans_file(IDENTIFIERS[plans]).exists():
            first = not (dataset.preprocessed / "dataset_fingerprint.json").exists()
            api.extract_fingerprint_dataset(
                dataset.number,
                num_processes=cpus,
                check_dataset_integrity=first,
                clean=False,
                verbose=False,
                show_progress_bar=False,
            )
            named = getattr(residual_encoder_unet_planners, _PLANNERS[plans], ExperimentPlanner)
            api.plan_experiment_dataset(dataset.number, named)
        found = read_plans(dataset, plans) or {}
        entry = found["configurations"].get(configuration)
        if entry is None:
            return
        mark = _mark(dataset.preprocessed / entry["data_identifier"])
        os.close(open_in_place(mark, os.O_WRONLY))
        api.preprocess_dataset(dataset.number, IDENTIFIERS[plans], (configuration,), (cpus,), show_progress_bar=False)
        mark.unlink()


@contextlib.contextmanager
def _explained(dataset: Dataset) -> Iterator[None]:
    """What nnU-Net says goes to stderr; where it fails, its own words about cases come with the error."""
    heard = io.StringIO()
    try:
        with contextlib.redirect_stdout(_Both(heard)):
            yield
    except (AssertionError, RuntimeError, ValueError, FileNotFoundError, KeyError) as error:
        said = [line.strip() for line in heard.getvalue().splitlines() if line.startswith(("Error", "Unexpected"))]
        words = " ".join(" ".join([*said[:5], str(error)]).split())
        raise DataProblem(f"{dataset.raw}: nnU-Net cannot use this data: {words[:1500]}") from error


class _Both(io.TextIOBase):
    """Writes to stderr and to a memory."""

    def __init__(self, memory: io.StringIO) -> None:
        self.memory = memory

    def write(self, text: str) -> int:
        self.memory.write(text)
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


@contextlib.contextmanager
def _alone(path: Path, stop: StopFlag, say: Callable[[str], None]) -> Iterator[None]:
    """Hold an exclusive lock, which the kernel frees however this process ends."""
    with open(path, "a", encoding="utf-8", opener=open_in_place) as stream:
        waiting = False
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waiting:
                    say(f"another task prepares this data ({path}); waiting for it")
                waiting = True
            if stop.requested:
                raise Interrupted("stopped while another task prepared the data")
            time.sleep(1.0)
        yield


def _write_splits(dataset: Dataset, folds: int) -> None:
    """splits_final.json, before any training: folds that begin at once would each write it. Never overwritten."""
    if dataset.splits_file.exists():
        return
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    names = cases(dataset)
    if len(names) < 2:
        raise DataProblem(f"{dataset.name}: {len(names)} training case; folds need at least 2")
    splits = generate_crossval_split(names, seed=12345, n_splits=min(len(names), max(FOLDS, folds)))
    plain = [{part: [str(name) for name in fold[part]] for part in ("train", "val")} for fold in splits]
    create_exclusive(dataset.splits_file, to_json(plain))
