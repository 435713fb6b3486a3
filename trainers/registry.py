"""Trainers by name: those that ship with Roundtable, those of plug-ins, and a person's own by its module or file.

Standard library only; the code that trains is imported only where it trains.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from trainers.contract import TrainerError, Value

if TYPE_CHECKING:
    from trainers.fit import Fit


@dataclass(frozen=True, kw_only=True)
class TaskPreset:
    """What a trainer knows about a data set it can name."""

    description: str
    values: Mapping[str, Value] = field(default_factory=dict)
    """Starting values for this data set that differ from the shipped defaults; they become active values."""
    epochs: int | None
    needs_path: bool = False
    """Whether `--data path=...` must be given."""


@dataclass(frozen=True, kw_only=True)
class DataKey:
    """One key of `--data` that a trainer reads."""

    kind: Literal["path", "text", "int", "float", "bool"]
    description: str
    fixed: bool = False
    """Whether its texts come from a fixed set or grammar, so that they name nothing of the person's."""
    variable: str | None = None
    """Environment variable that gives it where the person does not."""
    made: bool = False
    """Whether a path may not be there yet, because the trainer makes it."""


@dataclass(frozen=True, kw_only=True)
class RegisteredTrainer:
    """One trainer: where its code is and what a study needs to know before it runs."""

    name: str
    description: str
    module: str = ""
    """Module with train() and, where has_test, test(); imported only in the training process. Empty: the module in
    which this entry stands (of a plug-in)."""
    requires: tuple[str, ...] = ()
    """Modules that the training environment must be able to import."""
    extra: str | None = None
    """The install extra of Roundtable that brings them."""
    tasks: Mapping[str, TaskPreset] = field(default_factory=dict)
    open_tasks: bool = True
    """Whether tasks beyond `tasks` are allowed (a person's own data)."""
    default_epochs: int | None = None
    reference: Mapping[str, Any] | None = None
    """The hyperparameter reference that its studies begin with (doc/reference.md): objective, parameters and, where
    there are any, constraints. None: it ships as doc/hyperparameter_reference/NAME.json."""
    epochs_parameter: str | None = None
    """Hyperparameter that says for how many epochs it trains where the study does not."""
    folds: tuple[int, ...] = (0,)
    """Fold indices trained when the person names none."""
    seeds: tuple[int, ...] = ()
    """Training seeds when the person names none; empty: the study's own seed."""
    cpus: int = 1
    """CPU cores a trial asks for when the profile does not say."""
    gpus: int = 0
    """GPUs a trial asks for when the profile does not say."""
    uses_gpu: bool = False
    """Whether it trains on a GPU where it gets one: a local study then hands out the machine's by itself."""
    most_gpus: int | None = None
    """GPUs that one trial can use at most; None: as many as it is given."""
    probe: tuple[str, ...] = ()
    """A command that must succeed in the training environment, beside the imports."""
    has_test: bool = False
    template: str = "generic"
    """Folder of templates/slurm whose scripts start its tasks."""
    data_keys: Mapping[str, DataKey] | None = None
    """Every key of `--data` that means something to it; None: any key is accepted."""
    data_check: str | None = None
    """Module without heavy imports whose check(task, data, values, folds=...) refuses data before a study begins, and
    returns what a person should know of it, sentence by sentence (None: nothing)."""
    fit: str | None = None
    """Module without heavy imports whose fit(space, ...) says which parameters and choices of a reference stand with
    this trainer and this data (trainers/fit.py)."""
    metrics: Mapping[str, str] = field(default_factory=dict)
    """Metric -> minimize or maximize, each of which may be the objective; empty: whatever its summary holds."""
    naive: tuple[str, ...] = ()
    """Forecasts that need no training, whose error on the model's own windows is its metric METRIC_NAME."""
    needs_data: tuple[str, ...] = ()
    """Keys of `--data` without which it cannot start: the {data.KEY} that its command and environment use."""
    spare_checkpoints: tuple[str, ...] = ()
    """Patterns of checkpoints in an attempt's folder, beside best and last, that nothing reads after the training."""
    preparer: str | None = None
    """Module with prepare_data(), work on the data that all trials share and that is done once before they begin, and
    prepared(), whether it is done already. Standard library only, as far as prepared() needs it."""
    accumulator: str | None = None
    """Module with accumulate(): folds the validation rows of a candidate together where their mean would be wrong.
    Standard library only."""


_RESNET9 = RegisteredTrainer(
    name="resnet9",
    description="ResNet-9 image classifier (CIFAR-10, digits, npz files, image folders)",
    module="trainers.resnet9.train",
    requires=("torch", "torchvision", "sklearn", "matplotlib", "numpy"),
    extra="train",
    tasks={
        "digits": TaskPreset(
            description="scikit-learn's 1,797 real 8x8 digits, no download",
            values={"width": 0.125, "train_batch_size": 64},
            epochs=8,
        ),
        "cifar10": TaskPreset(description="CIFAR-10 through torchvision's download", epochs=24),
    },
    open_tasks=True,
    default_epochs=24,
    uses_gpu=True,
    most_gpus=1,
    has_test=True,
    template="resnet9",
    data_keys={
        "path": DataKey(
            kind="path", description=".npz file or folder of train/<class>/ images; for cifar10 where its files are"
        ),
        "val_fraction": DataKey(kind="float", description="part of each class held out where there is one split"),
        "split_seed": DataKey(kind="int", description="seed of the validation split"),
        "limit": DataKey(kind="int", description="use only the first so many training images"),
        "download": DataKey(kind="bool", description="whether CIFAR-10 may be downloaded"),
        "mirror": DataKey(kind="bool", description="whether a mirrored image keeps its class (npz and folders)"),
        "size": DataKey(kind="int", description="side in pixels to which a folder's images are resized"),
        "workers": DataKey(kind="int", description="threads that decode a folder's images"),
        "val_folder": DataKey(kind="bool", description="whether a folder val beside train validates (true)"),
        "intensity": DataKey(
            kind="text", fixed=True, description="LOW,HIGH: values of images beyond 8 bits that become 0 and 255"
        ),
        "background": DataKey(
            kind="text", fixed=True, description="what shows through transparent pixels: grey, white or black"
        ),
        "frames": DataKey(
            kind="text", fixed=True, description="one: several frames in a file are refused; first: the first is read"
        ),
    },
    data_check="trainers.resnet9.precheck",
    fit="trainers.resnet9.fit",
    metrics={"val_accuracy": "maximize", "val_loss": "minimize", "val_f1": "maximize"},
)

_INFORMER = RegisteredTrainer(
    name="informer",
    description="Informer, a forecaster of long stretches of time series (ETT, any CSV with a date column)",
    module="trainers.informer.train",
    requires=("torch", "matplotlib", "numpy"),
    extra="train",
    tasks={
        name: TaskPreset(description=f"Electricity Transformer data, {step}", epochs=6, needs_path=True)
        for name, step in (
            ("etth1", "station 1, hourly"),
            ("etth2", "station 2, hourly"),
            ("ettm1", "station 1, every 15 minutes"),
            ("ettm2", "station 2, every 15 minutes"),
        )
    },
    open_tasks=True,
    default_epochs=6,
    uses_gpu=True,
    most_gpus=1,
    has_test=True,
    template="informer",
    data_keys={
        "path": DataKey(
            kind="path", description="CSV file with a date column; for ETT also the folder that holds it"
        ),
        "date": DataKey(kind="text", description="name of the column of dates (date)"),
        "target": DataKey(kind="text", description="column to forecast with features S and MS (the last one)"),
        "features": DataKey(
            kind="text", fixed=True, description="M: all columns forecast all; S: target itself; MS: all the target"
        ),
        "columns": DataKey(kind="text", description="columns to read, separated by commas (all)"),
        "pred_len": DataKey(kind="int", description="time steps to forecast (24)"),
        "freq": DataKey(kind="text", fixed=True, description="step between rows, such as 15min, 1h, 1d, 1mo (found)"),
        "fill": DataKey(
            kind="text", fixed=True, description="what closes gaps: none, previous or interpolate (none: refused)"
        ),
        "sep": DataKey(
            kind="text", fixed=True, description="what separates cells: comma, semicolon, tab, pipe or space (comma)"
        ),
        "decimal": DataKey(kind="text", fixed=True, description="decimal separator: point or comma (point)"),
        "thousands": DataKey(
            kind="text", fixed=True, description="thousands separator: none, comma, point, space or apostrophe (none)"
        ),
        "missing": DataKey(kind="text", description="further cells without a value, separated by commas, e.g. -9999"),
        "date_format": DataKey(
            kind="text", fixed=True, description="dates as strptime has them, unix or unix_ms (ISO 8601)"
        ),
        "timezone": DataKey(
            kind="text", description="zone of dates without an offset, e.g. Europe/Berlin (clocks never change)"
        ),
        "season": DataKey(kind="int", description="period of the seasonal-naive forecast in steps (from freq)"),
        "split": DataKey(kind="text", fixed=True, description="ett: 12, 4, 4 months; ratio: by the fractions"),
        "val_fraction": DataKey(kind="float", description="part of the rows that validates, with split=ratio (0.1)"),
        "test_fraction": DataKey(
            kind="float", description="last part of the rows, tested on, with split=ratio (0.2)"
        ),
        "download": DataKey(kind="bool", description="whether a missing ETT file may be downloaded (false)"),
    },
    data_check="trainers.informer.precheck",
    fit="trainers.informer.fit",
    metrics={"val_mse": "minimize", "val_mae": "minimize", "val_loss": "minimize"},
    naive=("repeat_last", "seasonal_naive", "nlinear"),
)

_NNUNET = RegisteredTrainer(
    name="nnunet",
    description="nnU-Net v2 for medical segmentation; its defaults are exactly stock nnU-Net",
    module="trainers.nnunet.train",
    requires=("torch", "nnunetv2"),
    extra="nnunet",
    tasks={},
    open_tasks=True,
    default_epochs=None,
    epochs_parameter="num_epochs",
    folds=(0, 1, 2, 3, 4),
    cpus=8,
    uses_gpu=True,
    most_gpus=1,
    has_test=True,
    template="nnunet",
    data_keys={
        "raw": DataKey(kind="path", variable="nnUNet_raw", description="folder of DatasetNNN_Name folders"),
        "preprocessed": DataKey(
            kind="path", variable="nnUNet_preprocessed", made=True, description="folder of preprocessed data"
        ),
        "dataset": DataKey(kind="text", description="number or name of the data set; by default the task's name"),
    },
    spare_checkpoints=("nnUNet_results/*/*/fold_*/checkpoint_best.pth",),
    preparer="trainers.nnunet.prepare",
    accumulator="trainers.nnunet.accumulate",
    data_check="trainers.nnunet.precheck",
    fit="trainers.nnunet.fit",
    metrics={"Dice": "maximize", "IoU": "maximize"},
)

#: Runs programs that a person brought as YAML; such a trainer has its own name, but always this code.
COMMAND_MODULE = "trainers.command.run"

TRAINERS: Mapping[str, RegisteredTrainer] = {trainer.name: trainer for trainer in (_NNUNET, _RESNET9, _INFORMER)}


def registered(name: str) -> RegisteredTrainer | None:
    """The trainer with this name, or at this place; None where there is none.

    name: of one that ships or of a plug-in; or "package.module:NAME" or "FILE.py:NAME", where a RegisteredTrainer of
    that variable stands. The place is then the trainer's name in the study.

    Raises PluginProblem for one that cannot be used.
    """
    if name in TRAINERS:
        return TRAINERS[name]
    from trainers.plugins import entry_at, find, target_of

    if is_place(name):
        return _completed(entry_at(name, RegisteredTrainer), name, target_of(name).partition(":")[0])
    found = find("trainers", name, RegisteredTrainer)
    return None if found is None else _completed(found.entry, name, found.plugin.target.partition(":")[0])


def is_place(name: str) -> bool:
    """Whether a trainer's name says where its code is: to look it up then runs that code."""
    return ":" in name


def is_foreign(trainer: RegisteredTrainer) -> bool:
    """Whether its code is Python of somebody else, which the training environment has to have as well.

    Not said of one that was not looked up and so has no module: its code is to be left alone.
    """
    return trainer.module != "" and not trainer.module.startswith("trainers.")


def _completed(entry: RegisteredTrainer, name: str, module: str) -> RegisteredTrainer:
    return replace(entry, name=name, module=entry.module or module)


def trainer_names() -> tuple[str, ...]:
    """Every trainer that has a name: the shipped ones, then those of plug-ins, whether or not they can be used."""
    from trainers.plugins import names_of

    return (*TRAINERS, *(name for name in names_of("trainers") if name not in TRAINERS))


def usable(name: str) -> RegisteredTrainer:
    """The trainer with this name. Raises TrainerError naming those there are, and for one that cannot be used."""
    found = registered(name)
    if found is None:
        raise TrainerError(f"unknown trainer {name!r}; there are: {', '.join(trainer_names())}")
    return found


def personal_data(trainer: str, data: Mapping[str, Value]) -> dict[str, Value]:
    """The options of `--data` whose texts may name what a person keeps private; all of a trainer that was brought."""
    keys = (TRAINERS[trainer].data_keys if trainer in TRAINERS else None) or {}
    return {key: value for key, value in data.items() if key not in keys or not keys[key].fixed}


def data_checker(trainer: RegisteredTrainer) -> Callable[..., Sequence[str] | None] | None:
    """The check(task, data, values, folds=...) of a trainer that looks into its data, which raises DataProblem."""
    if trainer.data_check is None:
        return None
    check: Callable[..., Sequence[str] | None] = importlib.import_module(trainer.data_check).check
    return check


def fitter(trainer: RegisteredTrainer) -> Callable[..., Fit] | None:
    """The fit(space, ...) of a trainer that knows what it can do; None where it takes whatever it is given."""
    if trainer.fit is None:
        return None
    asked: Callable[..., Fit] = importlib.import_module(trainer.fit).fit
    return asked


def trainer_module(name: str) -> Any:
    """Import a trainer's module (heavy: torch and the like). Raises TrainerError naming those there are."""
    return importlib.import_module(usable(name).module)


def accumulator(name: str) -> Any:
    """A trainer's accumulate(), or None where the mean over the rows is what counts. Raises TrainerError."""
    module = usable(name).accumulator
    return importlib.import_module(module).accumulate if module else None


def preparer(name: str, *, brought: bool = False) -> Any:
    """The module that prepares a trainer's data, or None where nothing is to be prepared."""
    module = None if brought else usable(name).preparer
    return importlib.import_module(module) if module else None
