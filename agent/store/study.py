"""What a study is (study.yaml, frozen at its start) and how it is driven now (settings.json, may change per call)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.errors import InvalidStudy, Problem
from agent.records import Objective
from trainers.contract import Value
from trainers.files import FileProblem, newer_version, read_json_object
from trainers.yaml_file import dump_yaml, read_yaml

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """What must not change while rounds are compared with each other."""

    study: str
    task: str
    slug: str
    trainer: str
    trainer_sha256: str | None
    """sha256 of trainer.json for a trainer brought as YAML; None for a built-in one."""
    metric: str
    direction: str
    folds: tuple[int, ...]
    """Fold indices that every candidate trains."""
    fold_count: int
    """How many folds the data is split into; 1 is one held-out validation split."""
    seeds: tuple[int, ...]
    """Training seeds that every candidate trains each fold with."""
    seed: int
    """Seed of the proposers."""
    epochs: int | None
    data: Mapping[str, Value] = field(default_factory=dict)

    @property
    def objective(self) -> Objective:
        return Objective(metric=self.metric, direction=self.direction)

    @property
    def shipped(self) -> bool:
        """Whether a trainer that ships measures it, so that the scale of its metrics is known."""
        return self.trainer_sha256 is None

    def to_text(self) -> str:
        """study.yaml's text."""
        fields = dataclasses.asdict(self)
        fields |= {"folds": list(self.folds), "seeds": list(self.seeds), "data": dict(self.data)}
        head = "# Frozen when the study began: a change would compare unlike rounds. Start another --study instead.\n"
        return head + dump_yaml({"schema_version": SCHEMA_VERSION, **fields})


def load_study(path: Path) -> StudyConfig:
    """Read study.yaml. Raises InvalidStudy with every problem."""
    try:
        raw: Any = read_yaml(path)
    except FileProblem as error:
        raise InvalidStudy([Problem(file=str(path), where="file", value="", message=str(error))]) from error
    if newer := newer_version(raw, SCHEMA_VERSION):
        raise InvalidStudy([Problem(file=str(path), where="file", value="", message=newer)])
    names = {f.name for f in dataclasses.fields(StudyConfig)}
    known = f"unknown; known: {', '.join(sorted(names))}"
    found = [(name, "", "is missing") for name in sorted(names - raw.keys())]
    found += [(name, repr(raw[name]), known) for name in sorted(raw.keys() - names - {"schema_version"})]
    for name in ("folds", "seeds"):
        if name in raw and not _whole_list(raw[name]):
            found.append((name, repr(raw[name]), "must be a list of whole numbers from 0"))
    if "direction" in raw and raw["direction"] not in ("minimize", "maximize"):
        found.append(("direction", repr(raw["direction"]), "must be minimize or maximize"))
    problems = [Problem(file=str(path), where=where, value=value, message=text) for where, value, text in found]
    if problems:
        raise InvalidStudy(problems)
    fields = {name: raw[name] for name in names} | {"folds": tuple(raw["folds"]), "seeds": tuple(raw["seeds"])}
    return StudyConfig(**fields)


def _whole_list(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(v) is int and v >= 0 for v in value)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the study is driven; the last call's values, journaled with each call."""

    candidates: int = 1
    """Candidates per round, all trained in one array."""
    auto_train: bool = False
    """Submit and wait, instead of rendering for a person to submit."""
    rungs: int = 1
    """How often a round's candidates are trained, each time fewer of them for longer; 1: once, in full."""
    eta: int = 3
    """Of a rung one candidate in so many goes on, to so many times as many epochs."""
    rung_folds: int = 1
    """Folds that rungs before the full training use."""
    slurm: bool = False
    """Render the array scripts too, and tell the person the sbatch lines."""
    launcher: str = "local"
    parallel: int | None = None
    """The array's throttle (%N), and the local launcher's number of workers."""
    gpus: tuple[str, ...] = ()
    """GPUs that the local launcher hands out, by CUDA's names."""
    provider: str = "none"
    """Who answers for the agents' models; "none": Bayesian proposals and rules only."""
    llm: Mapping[str, Any] = field(default_factory=dict)
    """Models, endpoints, caps and search, as agent.llm.config holds them. Never a key."""
    proposer: str = "bayes"
    """Who proposes from round 2 on: bayes, llm, panel, hybrid or planner."""
    llm_share: float = 0.3
    """Of a hybrid study's candidates: how many a language model proposes."""
    llm_warmup: int = 4
    """Scored candidates before a hybrid study asks a language model."""
    planner: bool = False
    """Whether a planner chooses how far each round of a hybrid study goes; the proposer "planner" always does."""
    escalate_after: int = 2
    """Rounds without an accepted gain before the planner's rules take a deeper step."""
    patience: int | None = None
    """Rounds in a row without an accepted gain after which the study ends."""
    consult_turns: int = 2
    """How often each of the panel's consultants speaks."""
    analyst: bool = True
    """Whether a language model reads the newest round's curves."""
    critique: bool = True
    """Whether a language model looks at a model's proposals after the rules did."""
    anonymize: bool = True
    """Whether names of data, model, task, classes, paths, user and hosts are replaced in what is sent."""
    agents_see_test: bool = False
    """Whether test values are shown to agents. The report then says so."""
    prompts: str | None = None
    """Folder of a person's own prompt files."""
    use_test: bool = False
    confirm: str = "final"
    """"final": train the best and the default again at fresh seeds when the last round is closed; "round": also each
    round's winner and what it took the place of; "never"."""
    confirm_seeds: int = 3
    requeue_on_timeout: bool | None = None
    """Whether training tasks requeue themselves at their time limit; None: as the profile says."""
    replicates: int | None = None
    """Train the incumbent once more at so many fresh seeds, for the noise alone; None: nothing is spent on that."""
    also: tuple[str, ...] = ()
    """Further objectives, "seconds:minimize": with the study's own they span the Pareto front."""
    limits: tuple[str, ...] = ()
    """Bounds that whatever leads must keep, "seconds<=600"."""
    max_gpu_hours: float | None = None
    """The most GPU-hours that the study may take; what could exceed it is not submitted."""
    max_cpu_hours: float | None = None
    max_hours: float | None = None
    """No round is opened later than this many hours after the study's first submission."""
    target_round: int = 1
    """The round after which ticks stop opening new ones."""
    adopt_after_s: float = 300.0
    """How long an ambiguous submission is looked up before it counts as not made."""
    result_grace_s: float = 30.0
    """How long after a scheduled task is gone its result may still appear on a shared filesystem."""
    poll_s: float = 60.0
    """Least time between two questions to the scheduler."""

    @property
    def planned(self) -> bool:
        """Whether each round has a step type."""
        return self.proposer == "planner" or (self.proposer == "hybrid" and self.planner)

    def plain(self) -> dict[str, Any]:
        """As settings.json holds them: JSON types, so that what is written equals what is read back."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self).items()}


#: Keys of earlier versions, and what holds their place now.
RETIRED: Mapping[str, str] = {"max_attempts": "policy.yaml (tune --policy) says how often a row is started"}


def retired_keys(path: Path) -> list[str]:
    """Lines for a person about what settings.json still says and nothing reads. Raises FileProblem."""
    there = read_json_object(path)
    return [f"{path}: {name} is not used any more: {why}" for name, why in RETIRED.items() if name in there]


def load_settings(path: Path, journaled: Mapping[str, Any] | None = None) -> Settings:
    """Read settings.json; where it is gone, from the journal's last entry of them. Raises InvalidStudy."""
    try:
        there = read_json_object(path) if journaled is None or path.exists() else journaled
        raw: Any = {name: value for name, value in there.items() if name not in (*RETIRED, "seq", "at", "event")}
        lists = {name: tuple(raw[name]) for name in ("gpus", "also", "limits") if name in raw}
        return Settings(**(raw | {"gpus": tuple(raw["gpus"])} | lists))
    except (FileProblem, KeyError, TypeError) as error:
        message = f"cannot be used ({error}); remove it: the journal holds the last call's settings, which count then"
        raise InvalidStudy([Problem(file=str(path), where="file", value="", message=message)]) from error
