"""One configuration of a study as an object: its settings, what it gave, and the files of its trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.acceptance import Incumbent
from agent.errors import InvalidStudy, Problem, UsageError
from agent.planning import Plan
from agent.records import CandidateResult, TrialRecord
from agent.reference import Reference, parse_reference
from agent.store.disk import read_text
from agent.store.paths import RoundPaths
from agent.store.record import RoundRecord
from agent.store.versions import sha256
from trainers.contract import Value
from trainers.files import parse_json_object
from trainers.layout import AttemptFiles


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One fold and seed of a run."""

    fold: int
    seed: int
    attempt: int | None
    """The attempt that counts, None where none began."""
    outcome: str
    metrics: Mapping[str, float]
    """Validation metrics; empty without a result."""
    folder: Path | None
    """Of that attempt: checkpoints, plots, logs."""

    @property
    def epochs(self) -> Sequence[Mapping[str, float]]:
        """metrics_epoch.csv: one mapping column -> number an epoch; empty where the trainer writes none.

        Raises InvalidStudy for a file that cannot be read.
        """
        if self.folder is None:
            return ()
        from agent.diagnosis.epochs import read_epochs

        path = AttemptFiles(self.folder).metrics
        table = read_epochs(path)
        if table.problems:
            found = [Problem(file=str(path), where="file", value="", message=text) for text in table.problems]
            raise InvalidStudy(found)
        return table.rows

    def learning_curve(self, column: str) -> list[tuple[float, float]]:
        """(epoch, value) of one column of `epochs`, where the epoch has a number there; epochs count from 1 where the
        file does not number them. Raises UsageError listing the columns."""
        rows = self.epochs
        columns = sorted({name for row in rows for name in row})
        if rows and column not in columns:
            raise UsageError(f"{column}: no such column in metrics_epoch.csv; it has {', '.join(columns)}")
        return [
            (row.get("epoch", float(position)), row[column])
            for position, row in enumerate(rows, 1)
            if column in row and row[column] == row[column]
        ]

    @property
    def best_model(self) -> Path | None:
        """checkpoint_best.pt; None where the trainer keeps none."""
        if self.folder is None:
            return None
        path = AttemptFiles(self.folder).checkpoint_best
        return path if path.is_file() else None

    @property
    def plots(self) -> list[Path]:
        """Pictures that the trainer drew, such as loss.png."""
        return sorted(self.folder.glob("*.png")) if self.folder is not None else []


@dataclass(frozen=True, kw_only=True)
class Run:
    """One candidate of a closed round, over its folds and seeds."""

    round: int
    candidate: str
    source: str
    """Who proposed it."""
    key: str
    """The same for the same settings."""
    values: Mapping[str, Value]
    """The settings that took effect."""
    outcome: str
    value: float | None
    """Mean of the objective over its trials; None without any."""
    std: float | None
    n: int
    rows: int
    metrics: Mapping[str, float]
    costs: Mapping[str, float]
    verdict: str | None
    """What its round said of it; of the best, its standing now: leading, accepted or confirmed."""
    best: bool
    """Whether it is the study's best so far."""
    plan: Plan | None
    """The plan of its round."""
    paths: RoundPaths = field(repr=False)
    result: CandidateResult = field(repr=False)
    """All that round.json tells of it."""

    @classmethod
    def of(cls, paths: RoundPaths, record: RoundRecord, result: CandidateResult, held: Incumbent | None) -> Run:
        """A candidate of a closed round. held: the study's best so far."""
        best = held is not None and held.place == result.place
        return cls(
            round=result.round,
            candidate=result.candidate,
            source=result.source,
            key=result.key,
            values=result.values,
            outcome=result.outcome.value,
            value=result.value,
            std=result.std,
            n=result.n,
            rows=result.rows,
            metrics=result.metrics,
            costs=result.costs,
            verdict=held.verdict if held is not None and best else record.verdict(result.candidate),
            best=best,
            plan=record.plan,
            paths=paths,
            result=result,
        )

    @property
    def reference_path(self) -> Path:
        return self.paths.reference(self.candidate)

    @property
    def reference(self) -> Reference:
        """The very file that its trials were given. Raises InvalidStudy where it was changed since."""
        text = read_text(self.reference_path)
        if sha256(text) != self.result.sha256:
            raise InvalidStudy.at(self.reference_path, "changed since it was trained with; restore the file")
        return parse_reference(parse_json_object(text, name=str(self.reference_path)), file=str(self.reference_path))

    @property
    def trials(self) -> list[Trial]:
        """Its folds and seeds, in order; none where a person gave the round's summary by hand."""
        return [self._trial(trial, *trial.cell) for trial in self.result.trials if trial.cell is not None]

    def _trial(self, trial: TrialRecord, fold: int, seed: int) -> Trial:
        attempt = trial.attempt
        folder = self.paths.attempt(self.candidate, fold, seed, attempt).root if attempt is not None else None
        return Trial(
            fold=fold, seed=seed, attempt=attempt, outcome=trial.outcome, metrics=trial.metrics, folder=folder
        )

    @property
    def best_model(self) -> Path | None:
        """checkpoint_best.pt of its first trial that has one; `trials` has those of the others."""
        return next((path for trial in self.trials if (path := trial.best_model) is not None), None)
