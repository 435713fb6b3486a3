"""The record of a checked trainer description, and its frozen JSON form. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainers.files import to_json

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number of the summary. path: keys (and list indices) that lead to it; empty: it is found by its name."""

    direction: str
    path: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EpochFile:
    """A per-epoch CSV inside the attempt's folder. columns: standard name -> the program's name."""

    file: str
    columns: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class TestProgram:
    """How a finished attempt is evaluated on the test set."""

    __test__ = False  # pytest collects classes named Test...

    command: tuple[str, ...]
    summary: str


@dataclass(frozen=True, kw_only=True)
class Description:
    """A checked trainer description; what each field means stands in description.KEYS."""

    name: str
    description: str
    command: tuple[str, ...]
    working_directory: Path
    """Absolute."""
    environment: Mapping[str, str]
    parameters: Mapping[str, Mapping[str, Any]]
    """In the format of a hyperparameter reference."""
    constraints: tuple[Mapping[str, str], ...]
    pass_values: tuple[str, ...]
    objective: str
    metrics: Mapping[str, Metric]
    """The objective first."""
    summary: str
    metrics_epoch: EpochFile | None
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    """Empty: the study's own."""
    epochs: int | None
    cpus: int
    gpus: int
    oom_exit_codes: tuple[int, ...]
    oom_output: tuple[str, ...]
    bad_config_exit_codes: tuple[int, ...]
    stop_grace_s: float
    test: TestProgram | None
    probe: tuple[str, ...]
    tasks: tuple[str, ...]
    """Empty: any."""

    def to_json(self) -> str:
        """The frozen form: the same keys as the YAML, with every default spelled out."""
        objective = self.metrics[self.objective]
        frozen = {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "description": self.description or None,
            "command": self.command,
            "working_directory": str(self.working_directory),
            "environment": self.environment,
            "parameters": self.parameters,
            "constraints": self.constraints,
            "pass_values": self.pass_values,
            "objective": {"metric": self.objective, **_metric_json(objective)},
            "metrics": {name: _metric_json(m) for name, m in self.metrics.items() if name != self.objective},
            "summary": self.summary,
            "metrics_epoch": asdict(self.metrics_epoch) if self.metrics_epoch else None,
            "folds": self.folds,
            "seeds": self.seeds or None,
            "epochs": self.epochs,
            "resources": {"cpus": self.cpus, "gpus": self.gpus},
            "out_of_memory": {"exit_codes": self.oom_exit_codes or None, "output_contains": self.oom_output or None},
            "bad_config": {"exit_codes": self.bad_config_exit_codes or None},
            "stop_grace_s": self.stop_grace_s,
            "test": asdict(self.test) if self.test else None,
            "probe": self.probe or None,
            "tasks": self.tasks or None,
        }
        return to_json(frozen)


def _metric_json(metric: Metric) -> dict[str, Any]:
    return {"direction": metric.direction, "path": metric.path or None}
