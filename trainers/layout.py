"""The one place that names the files of a round. Resuming is re-reading this folder.

Standard library only; the orchestrator's own paths build on `RoundFiles`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

REFERENCE_NAME = "hyperparameter_reference.json"


def candidate_name(position: int) -> str:
    """c00, c01, ... c100: the name of the candidate at a position of its round."""
    return f"c{position:02d}"


def trial_name(candidate: str, fold: int, seed: int) -> str:
    """The folder name of one trial: candidate, fold and seed."""
    return f"{candidate}_f{fold}_s{seed}"


@dataclass(frozen=True)
class AttemptFiles:
    """The files of one attempt at one row, all written by its task (analysis files by the orchestrator)."""

    root: Path

    @property
    def claim(self) -> Path:
        """Who runs this attempt; created exclusively, so exactly one task has it."""
        return self.root / "claim.json"

    @property
    def result(self) -> Path:
        """The row's outcome; written once, last."""
        return self.root / "result.json"

    @property
    def exit(self) -> Path:
        """Exit marker: return code and reason, also when there is no result (a signal)."""
        return self.root / "exit.json"

    @property
    def summary(self) -> Path:
        return self.root / "summary.json"

    @property
    def metrics(self) -> Path:
        """One line per epoch."""
        return self.root / "metrics_epoch.csv"

    @property
    def progress(self) -> Path:
        """The last finished epoch, for whoever watches."""
        return self.root / "progress.json"

    @property
    def analysis(self) -> Path:
        return self.root / "analysis.json"

    @property
    def reading(self) -> Path:
        """What a language model read from this trial's curves."""
        return self.root / "analysis_llm.txt"

    @property
    def checkpoint_best(self) -> Path:
        return self.root / "checkpoint_best.pt"

    @property
    def checkpoint_last(self) -> Path:
        return self.root / "checkpoint_last.pt"


@dataclass(frozen=True)
class RoundFiles:
    """The files of a round that its tasks read or write."""

    root: Path

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.json"

    @property
    def logs(self) -> Path:
        """Where schedulers put the output of tasks; made before submission (slurm: a missing one fails the job)."""
        return self.root / "logs"

    @property
    def prepared(self) -> Path:
        """How the preparation of the data ended; only where the trainer has one."""
        return self.root / "prepared.json"

    @property
    def val_summary(self) -> Path:
        return self.root / "val_summary.json"

    @property
    def test_summary(self) -> Path:
        return self.root / "test_summary.json"

    def candidate(self, name: str) -> Path:
        return self.root.joinpath("candidates", name)

    def reference(self, candidate: str) -> Path:
        return self.root.joinpath("candidates", candidate, REFERENCE_NAME)

    def candidate_summary(self, candidate: str, split: str) -> Path:
        """split: "val" or "test"."""
        return self.candidate(candidate) / f"{split}_summary.json"

    def trial(self, candidate: str, fold: int, seed: int) -> Path:
        return self.root / "trials" / trial_name(candidate, fold, seed)

    def attempt(self, candidate: str, fold: int, seed: int, attempt: int) -> AttemptFiles:
        return AttemptFiles(self.trial(candidate, fold, seed) / f"attempt_{attempt}")

    def trials_begun(self) -> set[str]:
        """Names of the trials of which there is a folder; some of them may hold no attempt."""
        try:
            return set(os.listdir(self.root / "trials"))
        except FileNotFoundError:
            return set()

    def attempts(self, candidate: str, fold: int, seed: int) -> list[int]:
        """Numbers of the attempts begun so far, ascending; empty when none."""
        # As text: rounds of 10,000 rows are listed at each look, and joining paths would take most of it.
        try:
            names = os.listdir(f"{self.root}/trials/{trial_name(candidate, fold, seed)}")
        except FileNotFoundError:
            return []
        return sorted(int(name[8:]) for name in names if re.fullmatch(r"attempt_[1-9]\d*", name))
