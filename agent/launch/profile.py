"""Cluster profiles: what the jobs of a study ask of a cluster and how its training environment is set up.

A profile is one YAML file (doc/profiles.md). Everything wrong with it is listed in one go, and what Roundtable
manages itself (job names, arrays, logs, dependencies) is refused with the reason.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from agent.errors import InvalidProfile
from agent.launch.base import SlurmSettings
from agent.launch.options import MEMORY, PER_GPU
from agent.launch.profile_checks import gres_gpus, megabytes, problems_of, time_in_seconds
from trainers.files import FileProblem
from trainers.saving import EVERY, KEEP

Kind = Literal["prepare", "train", "eval"]

#: How often a task requeues itself at its time limit. SLURM holds a job at its sixth run (MAX_BATCH_REQUEUE is 5);
#: what needs more runs than these is retried by the policy, as a new attempt that resumes.
REQUEUES = 4

#: Most that folding a round's results together asks for. Measured with ten classes a row: 10,000 rows take 3 s of CPU
#: time and 26 MB, 100,000 rows 37 s and 70 MB.
FOLDING_MEM, FOLDING_TIME = "2G", "01:00:00"

#: Options of `extra` that are there for the training alone: whole nodes, licences of what it runs, a shortest time.
_TRAINING_ONLY = frozenset(("exclusive", "licenses", "mincpus", "time-min", "tres-per-task"))


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one task asks for. None leaves it to the cluster (under `eval`: to the training's value)."""

    partition: str | None = None
    """sbatch --partition."""
    account: str | None = None
    """sbatch --account: who is charged."""
    qos: str | None = None
    """sbatch --qos."""
    gpus: int | None = None
    """GPUs a task, as --gres=gpu:N; 0 or nothing for none. Not together with `gres`."""
    gres: str | None = None
    """sbatch --gres as it stands, where the kind of GPU matters: "gpu:a100:1"."""
    cpus: int | None = None
    """CPU cores a task (--cpus-per-task); 1 when not given."""
    mem: str | None = None
    """Memory a node: "16G", or a number of megabytes; "0" is all of the node's."""
    time: str | None = None
    """Time limit: "HH:MM:SS", "D-HH:MM:SS" or a number of minutes."""
    constraint: str | None = None
    """sbatch --constraint: features a node must have."""
    exclude: str | None = None
    """Nodes not to use."""
    nodelist: str | None = None
    """Nodes to use."""
    max_parallel: int | None = None
    """At most so many tasks of an array at a time (the %N of --array)."""
    extra: Mapping[str, str | int | float | bool] | None = None
    """Further long sbatch options and their values; `true` for an option without a value."""

    def __post_init__(self) -> None:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        raw = {k: str(v) if isinstance(v, Path) else v for k, v in values.items() if not isinstance(v, Resources)}
        found = problems_of(raw, given=set())
        if found:
            raise InvalidProfile.of("profile", found)

    @property
    def cpu_count(self) -> int:
        """CPU cores a task gets."""
        return self.cpus or 1

    @property
    def gpu_count(self) -> int:
        """GPUs a task gets, from `gpus` or counted in `gres`."""
        return gres_gpus(self.gres) if self.gres else self.gpus or 0

    @property
    def time_seconds(self) -> int | None:
        """The time limit in seconds; None when the cluster's default applies."""
        return None if self.time is None else time_in_seconds(self.time)


@dataclass(frozen=True, kw_only=True)
class Profile(Resources):
    """One cluster as Roundtable uses it. Raises InvalidProfile with every problem when a value is not allowed."""

    name: str = "default"
    """What messages call it; the file's name without its ending when not given."""
    cluster: str | None = None
    """sbatch --clusters: which of the clusters that one SLURM drives. All of a study's jobs go there."""
    setup: tuple[str, ...] = ()
    """Shell lines run first in every task, as they stand, e.g. "module load cuda/12.4". .bashrc is not read."""
    python: Path | None = None
    """Python of the training environment, absolute or from ~/; nothing: the python that runs roundtable."""
    build: bool = False
    """Build that environment before submission when it is missing."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables exported after `setup`, with literal values: nothing in them is expanded."""
    eval: Resources = field(default_factory=Resources)
    """What the evaluation asks for where it differs from the training."""
    prepare: Resources = field(default_factory=Resources)
    """What the preparation of data asks for where it differs from the training; no GPU unless it says so."""
    controller: Resources = field(default_factory=Resources)
    """What a controller job (`roundtable start`) asks for: one CPU, no GPU; partition, account, qos as above if not
    given here."""
    save_every: int | None = None
    """Epochs between the checkpoints that a training goes on from; 1 when not given."""
    keep_checkpoints: str | None = None
    """Which checkpoints remain once a training has ended well: both (when not given), best or last."""
    signal_seconds: int = 60
    """A training task is warned by USR2 so many seconds before its time limit, to save a checkpoint; 0: never."""
    requeue_on_timeout: bool = False
    """Warned before its time limit, a training task saves a checkpoint and requeues itself (doc/requeue.md)."""
    max_mem: str | None = None
    """Most memory that a retry may ask for."""
    max_time: str | None = None
    """Longest time limit that a retry may ask for."""
    max_array_size: int | None = None
    """Most tasks an array may have, where the site allows fewer than the scheduler's MaxArraySize tells."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_part("prepare", self.prepare)
        self._check_part("eval", self.eval)

    def _check_part(self, kind: Kind, own: Resources) -> None:
        """What a part overrides must fit what it inherits."""
        if self.resources(kind, inference=True).gpu_count == 0 and (found := per_gpu(own)):
            message = "the job asks for no GPU: take it out, or give it `gpus`; memory is `mem`"
            where = f"{kind}.extra.{found[0]}"
            raise InvalidProfile.at("profile", message, where=where)

    def resources(self, kind: Kind, *, inference: bool = False) -> Resources:
        """What a task of this kind asks for.

        inference: of an evaluation that runs models on test data, which asks for what the training asks for; one that
        only folds results together needs next to nothing.
        """
        names = [f.name for f in fields(Resources)]
        train = Resources(**{name: getattr(self, name) for name in names})
        if kind == "train":
            return train
        own = self.eval if kind == "eval" else self.prepare
        changed = {name: getattr(own, name) for name in names if getattr(own, name) is not None}
        if kind == "prepare" or "gpus" in changed or "gres" in changed:
            changed = {"gpus": None, "gres": None} | changed
        # A job has one of mem, mem-per-cpu and mem-per-gpu: the part's own takes the training's place.
        if own.mem is not None or any(name in MEMORY for name in own.extra or {}):
            changed = {"mem": None} | changed
        base = _for_folding(train) if kind == "eval" and not inference else train
        wanted = replace(base, extra=None, **{k: v for k, v in changed.items() if k != "extra"})
        dropped = {*(PER_GPU if wanted.gpu_count == 0 else ())}
        dropped |= {*(MEMORY if own.mem is not None and own.extra is None else ())}
        extra = base.extra if own.extra is None else own.extra
        return replace(wanted, extra={k: v for k, v in (extra or {}).items() if k not in dropped} or None)

    def variables(self, kind: Kind) -> dict[str, str]:
        """What a task's script exports: `env`, and of a training how its checkpoints are written and kept."""
        saving = {EVERY: self.save_every, KEEP: self.keep_checkpoints} if kind == "train" else {}
        return {**self.env, **{name: str(value) for name, value in saving.items() if value is not None}}

    def settings(self, kind: Kind, *, inference: bool = False) -> SlurmSettings:
        """The sbatch options of one array, without what each submission adds: name, range, log, dependency.

        inference: as `resources` has it.
        """
        wanted = self.resources(kind, inference=inference)
        gres = f"gpu:{wanted.gpus}" if wanted.gpus else wanted.gres
        options: list[tuple[str, str | int | None]] = [
            ("clusters", self.cluster),
            ("partition", wanted.partition),
            ("account", wanted.account),
            ("qos", wanted.qos),
            ("nodes", 1),
            ("ntasks", 1),
            ("cpus-per-task", wanted.cpu_count),
            ("gres", gres),
            ("mem", wanted.mem),
            ("time", wanted.time),
            ("constraint", wanted.constraint),
            ("exclude", wanted.exclude),
            ("nodelist", wanted.nodelist),
        ]
        found: list[tuple[str, str | None]] = [(name, str(value)) for name, value in options if value is not None]
        found += [(k, None if value is True else str(value)) for k, value in (wanted.extra or {}).items()]
        # One owner of retries: a requeue by slurm beside a retry by Roundtable would train a row twice. Where tasks
        # requeue themselves, slurm may as well: to Roundtable such a row has not ended.
        found += [("requeue" if kind == "train" and self.requeue_on_timeout else "no-requeue", None)]
        found += [("open-mode", "append")]
        if kind == "train" and self.signal_seconds:
            # B: with a body that ends in exec reaches the trainer itself [measured: without B: nobody gets it].
            # USR2, because NCCL takes USR1. The evaluation has no checkpoint to save and would only die earlier.
            found.append(("signal", f"B:USR2@{self.signal_seconds}"))
        return SlurmSettings(directives=tuple(found))


def _for_folding(train: Resources) -> Resources:
    """What is asked for to fold the results of a round together: one CPU, no GPU, and of memory and time at most
    FOLDING_MEM and FOLDING_TIME. Memory and time that the profile does not name stay the cluster's own."""
    seconds = train.time_seconds
    extra = {
        name: value
        for name, value in (train.extra or {}).items()
        if name not in _TRAINING_ONLY and "gpu" not in name.split("-")
    }
    return replace(
        train,
        gpus=None,
        gres=None,
        cpus=1,
        mem=FOLDING_MEM if train.mem and not 0 < megabytes(train.mem) <= megabytes(FOLDING_MEM) else train.mem,
        time=FOLDING_TIME if seconds and seconds > time_in_seconds(FOLDING_TIME) else train.time,
        max_parallel=None,
        extra=extra or None,
    )


def per_gpu(wanted: Resources) -> list[str]:
    """The options that it has for each GPU; sbatch refuses mem-per-gpu for a job without one [measured on 22.05]."""
    return [name for name in wanted.extra or {} if name in PER_GPU]


def default_profile() -> Profile:
    """The profile when none is given: one core, no GPU, everything else as the cluster has it."""
    return Profile()


def load_profile(path: Path) -> Profile:
    """Read a profile. Raises InvalidProfile with every problem it has."""
    from trainers.yaml_file import read_yaml

    try:
        raw = read_yaml(path, written=True)
    except FileProblem as error:
        raise InvalidProfile.at(path, error.reason) from error
    found = problems_of(raw, given=set(raw))
    own = raw.get("controller")
    if found:
        raise InvalidProfile.of(path, found)
    values = {
        name: _convert(name, value) for name, value in raw.items() if name not in ("prepare", "eval", "controller")
    }
    over = {
        part: Resources(**{name: _convert(name, value) for name, value in (raw.get(part) or {}).items()})
        for part in ("prepare", "eval")
    }
    controller = Resources(**{name: _convert(name, value) for name, value in (own or {}).items()})
    try:
        return Profile(**{"name": path.stem, **values, **over, "controller": controller})
    except InvalidProfile as error:
        raise InvalidProfile([replace(problem, file=str(path)) for problem in error.problems]) from error


def _convert(name: str, value: Any) -> Any:
    if name == "python":
        return Path(os.path.expanduser(value))
    if name == "setup":
        return tuple(value)
    if name == "env":
        return {key: str(getattr(item, "written", item)) for key, item in value.items()}
    if name == "extra":
        return {key: getattr(item, "written", item) for key, item in value.items()}
    # A whole number where text is meant (account: 1234, time: 90); one that prints otherwise than it was written has
    # been refused.
    return str(getattr(value, "written", value)) if name in _TEXT and isinstance(value, int | float) else value


_TEXT = frozenset(
    (
        "name",
        "cluster",
        "partition",
        "account",
        "qos",
        "gres",
        "mem",
        "time",
        "constraint",
        "exclude",
        "nodelist",
        "max_mem",
    )
) | {"max_time"}
