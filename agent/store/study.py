"""What a study is (study.yaml, frozen at its start) and how it is driven now (settings.json, may change per call)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Never

from agent.errors import InvalidStudy
from agent.options.option import full_record, options_of
from agent.options.study import Mode, StudyOptions
from agent.proposers import proposer_entry
from agent.records import Objective
from trainers.contract import Value
from trainers.files import FileProblem, newer_version, read_bounded, read_json_object
from trainers.yaml_file import dump_yaml, parse_yaml

SCHEMA_VERSION = 1
SIZE_LIMIT = 2**20
"""Bytes of study.yaml that are read."""


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """What must not change while rounds are compared with each other.

    task, trainer, folds, seeds, seed, epochs and data are what the options of these names came to (agent.options).
    """

    study: str
    task: str
    slug: str
    trainer: str
    trainer_sha256: str | None
    """sha256 of trainer.json for a trainer brought as YAML; None for a built-in one."""
    metric: str
    direction: str
    folds: tuple[int, ...]
    fold_count: int
    """How many folds the data is split into; 1 is one held-out validation split."""
    seeds: tuple[int, ...]
    seed: int
    epochs: int | None
    data: Mapping[str, Value] = field(default_factory=dict)

    @property
    def objective(self) -> Objective:
        return Objective(metric=self.metric, direction=self.direction)

    @property
    def shipped(self) -> bool:
        """Whether a trainer that ships measures it, so that the scale of its metrics is known."""
        from trainers.registry import TRAINERS

        return self.trainer_sha256 is None and self.trainer in TRAINERS

    def to_text(self) -> str:
        """study.yaml's text."""
        fields = dataclasses.asdict(self)
        fields |= {"folds": list(self.folds), "seeds": list(self.seeds), "data": dict(self.data)}
        head = "# Frozen when the study began: a change would compare unlike rounds. Start another --study instead.\n"
        return head + dump_yaml({"schema_version": SCHEMA_VERSION, **fields})


def load_study(path: Path) -> StudyConfig:
    """Read study.yaml. Raises InvalidStudy with every problem."""
    try:
        return _study(read_bounded(path, SIZE_LIMIT), path)
    except FileProblem as error:
        raise InvalidStudy.at(path, str(error)) from error


@functools.lru_cache(maxsize=8)
def _study(text: str, path: Path) -> StudyConfig:
    """A study's configuration from its file's text: a process that looks again and again reads the same one.

    Raises InvalidStudy, FileProblem.
    """
    raw: Any = parse_yaml(text, name=str(path))
    if newer := newer_version(raw, SCHEMA_VERSION):
        raise InvalidStudy.at(path, newer)
    names = {f.name for f in dataclasses.fields(StudyConfig)}
    known = f"unknown; known: {', '.join(sorted(names))}"
    found = [(name, "", "is missing") for name in sorted(names - raw.keys())]
    found += [(name, repr(raw[name]), known) for name in sorted(raw.keys() - names - {"schema_version"})]
    for name in ("folds", "seeds"):
        if name in raw and not _whole_list(raw[name]):
            found.append((name, repr(raw[name]), "must be a list of whole numbers from 0"))
    if "direction" in raw and raw["direction"] not in ("minimize", "maximize"):
        found.append(("direction", repr(raw["direction"]), "must be minimize or maximize"))
    if found:
        raise InvalidStudy.of(path, found)
    fields = {name: raw[name] for name in names} | {"folds": tuple(raw["folds"]), "seeds": tuple(raw["seeds"])}
    return StudyConfig(**fields)


def _whole_list(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(v) is int and v >= 0 for v in value)


@full_record
class Settings(Mode, StudyOptions[Never]):
    """How the study is driven; the last call's values, journaled with each call."""

    llm: Mapping[str, Any] = field(default_factory=dict)
    """Models, endpoints, caps and search, as agent.llm.config holds them. Never a key."""
    target_round: int = 1
    """The round after which ticks stop opening new ones."""
    adopt_after_s: float = 300.0
    """How long an ambiguous submission is looked up before it counts as not made."""
    result_grace_s: float = 30.0
    """How long after a scheduled task is gone its result may still appear on a shared filesystem."""

    @property
    def planned(self) -> bool:
        """Whether each round has a step type."""
        return proposer_entry(self.proposer).planned(self.planner)

    def plain(self) -> dict[str, Any]:
        """As settings.json holds them: JSON types, so that what is written equals what is read back."""
        kinds = {name: option.kind for name, option in options_of(Settings).items()}
        fields = dataclasses.asdict(self)
        ordered = dict.fromkeys((*_ORDER, *fields))
        return {name: kinds[name].plain(fields[name]) if name in kinds else fields[name] for name in ordered}

    @classmethod
    def from_plain(cls, raw: Mapping[str, Any]) -> Settings:
        """The settings that `plain` gave. Raises TypeError for a name that is unknown."""
        kinds = {name: option.kind for name, option in options_of(cls).items()}
        values: dict[str, Any] = {
            name: kinds[name].normal(each) if name in kinds else each for name, each in raw.items()
        }
        return cls(**values)


#: The keys of settings.json in the order that files and journals have had; later ones stand behind them.
_ORDER = (
    *("candidates", "auto_train", "rungs", "eta", "rung_folds", "slurm", "launcher", "parallel", "gpus"),
    *("provider", "llm", "proposer", "llm_share", "llm_warmup", "planner", "escalate_after", "patience"),
    *("consult_turns", "analyst", "critique", "anonymize", "agents_see_test", "prompts", "use_test", "confirm"),
    *("confirm_seeds", "requeue_on_timeout", "replicates", "also", "limits", "max_gpu_hours", "max_cpu_hours"),
    *("max_hours", "target_round", "adopt_after_s", "result_grace_s", "poll_s"),
)

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
        return Settings.from_plain(raw)
    except (FileProblem, KeyError, TypeError) as error:
        message = f"cannot be used ({error}); remove it: the journal holds the last call's settings, which count then"
        raise InvalidStudy.at(path, message) from error
