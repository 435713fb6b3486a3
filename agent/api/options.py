"""The options of one call, documented once: --help and the guides use the same words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trainers.contract import Value


@dataclass(frozen=True, kw_only=True)
class TuneOptions:
    """One call of tune. Fields set to None keep what the study has, or take the default when it is new."""

    task: str
    """Data set or problem, e.g. "digits"; part of file and job names."""
    trainer: str | None = None
    """A shipped trainer's name, or the path of a trainer's YAML. Needed when the study is new."""
    study: str | None = None
    """Name of the study's folder; the task's slug when not given."""
    output_dir: Path = Path("runs")
    hp_ref: Path | None = None
    """A reference to begin the study with; copied, the original is never written."""
    max_rounds: int | None = None
    """Rounds in this call; 1 when neither this nor max_iterations is given."""
    max_iterations: int | None = None
    """Rounds in all: the study ends with this round's number."""
    candidates: int | None = None
    folds: tuple[int, ...] | None = None
    seeds: tuple[int, ...] | None = None
    epochs: int | None = None
    seed: int | None = None
    data: Mapping[str, Value] = field(default_factory=dict)
    slurm: bool = False
    auto_train: bool = False
    launcher: str | None = None
    profile: Path | None = None
    parallel: int | None = None
    gpus: tuple[str, ...] | None = None
    provider: str | None = None
    use_test: bool | None = None
    val_summary: Path | None = None
    test_summary: Path | None = None
    force_round: int | None = None
    confirm: str | None = None
    confirm_seeds: int | None = None
    poll_s: float | None = None
    tune_names: tuple[str, ...] | None = None
    """Documented parameters that are not tuned by default and shall be ("all": every one). New studies only."""
