"""What a step is given and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.launch.base import Launcher, TaskStatus
from agent.launch.profile import Profile
from agent.propose.base import Proposer
from agent.store.paths import RoundPaths
from agent.store.steps import Status
from agent.store.store import Store
from agent.store.study import Settings
from trainers.registry import RegisteredTrainer


@dataclass(frozen=True, kw_only=True)
class Tools:
    """The outside world, passed in. The launcher is made on first use: rendering needs no SLURM."""

    proposer: Proposer
    launcher: Callable[[], Launcher]
    trainer: RegisteredTrainer
    profile: Profile
    python: Path
    """The training environment's python."""
    import_root: Path | None
    """Folder that tasks add to PYTHONPATH to find `trainers`; None where the environment has it installed."""
    check_environment: Callable[[], None]
    """Raises TrainingEnvironmentError; called once before the first submission."""
    say: Callable[[str], None]
    """One line for the person."""
    detail: Callable[[str], None]
    """One line that only --verbose shows."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """Summaries that a person gave in this call instead of results on disk."""

    val_summary: Path | None = None
    test_summary: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Work:
    """One round being worked on."""

    store: Store
    settings: Settings
    tools: Tools
    paths: RoundPaths
    kind: str
    """"round" or "confirm"."""
    rerun: bool = False
    """A forced rerun of a round that is not the newest: it never moves the study's reference."""
    given: Given = field(default_factory=Given)

    def log(self, line: str) -> None:
        """One line in the round's orchestrator.log, shown with --verbose."""
        stamp = self.store.clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        self.store.disk.append(self.paths.log, f"{stamp} {line}")
        self.tools.detail(line)

    def say(self, line: str) -> None:
        """One line for the person, and in orchestrator.log."""
        stamp = self.store.clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        self.store.disk.append(self.paths.log, f"{stamp} {line}")
        self.tools.say(line)

    @property
    def number(self) -> int:
        return self.paths.number

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"round {self.number}" if self.kind == "round" else f"confirmation after round {self.number}"

    def seed(self) -> int:
        """The proposers' seed of this round: fixed by study and round, so that a redone step repeats itself."""
        return self.store.config.seed * 1_000_003 + self.number


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """How a step ended; the engine writes it down after the step's own files."""

    status: Status = Status.DONE
    inputs: Sequence[Path] = ()
    outputs: Sequence[Path] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""
    """Why it waits or was skipped, for a person."""
    missing: Sequence[str] = ()
    """A waiting round: the rows without a result."""
    progress: Mapping[int, TaskStatus] = field(default_factory=dict)
    """A waiting round: how its unfinished rows stand."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a tick leaves to say."""

    state: str
    """"waiting" (tasks run), "manual" (a person submits), "rendered" (manual, fresh), or "finished"."""
    round: RoundPaths | None
    opened: int = 0
    closed: int = 0
    rendered: bool = False
    """Whether scripts were written (again) just now, so that a person has not seen them yet."""
    message: str = ""
    missing: Sequence[str] = ()
    progress: Mapping[int, TaskStatus] = field(default_factory=dict)
    commands: Sequence[str] = ()
    """Lines for a person to run, in the manual flow."""
