"""What a step is given and what it gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.acceptance import Rules
from agent.launch.base import Launcher, TaskStatus
from agent.launch.lint import check_syntax
from agent.launch.profile import Profile
from agent.llm.base import LLM
from agent.llm.prices import PriceTable
from agent.llm.trace import Tracer
from agent.policy import Policy
from agent.propose.base import Proposer
from agent.reference import Reference
from agent.store.paths import RoundPaths
from agent.store.steps import Status, Steps
from agent.store.store import Store
from agent.store.study import Settings
from trainers.registry import RegisteredTrainer

#: Steps whose calls to language models are traced.
TRACED = ("analyse", "propose", "check")


@dataclass(frozen=True, kw_only=True)
class Models:
    """The language models of a study, as they were wired for this call."""

    of: Callable[[str], LLM]
    """The model that plays a role. Raises UsageError where it cannot be set up (no key, no SDK)."""
    prices: PriceTable
    tracer: Tracer
    prompts: Sequence[Path]
    """Folders of prompt files, a person's own first."""
    max_cost: float | None = None
    """US dollars over the whole study."""
    max_tokens: int | None = None
    max_output_tokens: int | None = None
    """Of one answer; None: what the role asks for."""
    searches: bool = False
    """Whether there is a researcher."""
    redact: Callable[[str], str] = str
    """Replaces every known key in a text; what is written down passes it."""
    offline: bool = False
    """Only recorded exchanges: a replay."""
    answer_formats: Mapping[str, str] = field(default_factory=dict)
    """How structure was last asked for at each endpoint; grows as calls are made."""


@dataclass(frozen=True, kw_only=True)
class Tools:
    """The outside world, passed in. The launcher is made on first use: rendering needs no SLURM."""

    proposer: Proposer
    """The algorithm, which every study has; Bayesian where no plug-in is chosen."""
    models: Models | None = None
    """None with --provider none."""
    launcher: Callable[[], Launcher]
    trainer: RegisteredTrainer
    profile: Profile
    policy: Policy
    rules: Rules
    """Of acceptance."""
    python: Path
    """The training environment's python."""
    import_root: Path | None
    """Folder that tasks add to PYTHONPATH to find `trainers`; None where the environment has it installed."""
    check_fit: Callable[[Reference], None]
    """Raises InvalidReference where a person's edit asks for more than the trainer and its data can do."""
    check_environment: Callable[[], None]
    """Raises TrainingEnvironmentError; called once before the first submission."""
    say: Callable[[str], None]
    """One line for the person."""
    detail: Callable[[str], None]
    """One line that only --verbose shows."""
    check_script: Callable[[Path], None] = check_syntax
    """Has bash parse a rendered script. Raises InvalidScript."""
    secrets: Collection[str] = ()
    """Variables that a person named for keys: scripts unset them."""

    def close(self) -> None:
        """Send the traces that wait, for a limited time."""
        if self.models is not None:
            self.models.tracer.close()


@dataclass(frozen=True, kw_only=True)
class Given:
    """Summaries that a person gave in this call instead of results on disk."""

    val_summary: Path | None = None
    test_summary: Path | None = None


class Stage(ABC):
    """What is trained in one folder and closed as one: which steps it takes, and what it may do to its study.

    It knows no folder; `Work` joins it with one. The kinds of stage are in orchestrator/stages.py.
    """

    kind: str
    """As in the folder's name and in records: "round", "confirm", or "rungK" with K from 1."""
    steps: Mapping[str, Step]
    """In order; each leaves its files, then its record, before the next begins."""
    counted: bool = False
    """Whether it counts towards a study's number of rounds."""
    tested: bool = True
    """Whether models run on test data where the study uses such."""
    parent: Stage | None = None
    """What it is a part of."""

    def waits_before(self, work: Work, step: str) -> RoundPaths | None:
        """The folder of a stage that has to close before this step; None where nothing has to."""
        return None

    @abstractmethod
    def learnt(self, work: Work) -> bool:
        """Whether what has closed says anything of any settings."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One stage being worked on."""

    store: Store
    settings: Settings
    tools: Tools
    paths: RoundPaths
    stage: Stage
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
    def steps(self) -> Steps:
        """The records of this stage's steps."""
        return self.store.steps(self.paths, tuple(self.stage.steps))

    @property
    def number(self) -> int:
        return self.paths.number

    @property
    def label(self) -> str:
        """What messages call it."""
        return self.paths.label

    def traced(self, step: str) -> AbstractContextManager[object]:
        """A span around a step in which agents may speak; the others, which are looked at again and again, have none.

        Phoenix shows spans of one session.id together.
        """
        if self.tools.models is None or step not in TRACED:
            return nullcontext()
        study = self.store.config.study
        place = {"roundtable.study": study, "roundtable.round": self.number, "session.id": f"{study} {self.label}"}
        return self.tools.models.tracer.span(f"step {step}", "chain", place)

    def seed(self) -> int:
        """The proposers' seed of this round: fixed by study and round, so that a redone step repeats itself."""
        return self.store.config.seed * 1_000_003 + self.number


@dataclass(frozen=True, kw_only=True)
class Around:
    """How a task stands that trains no row."""

    kind: str
    """"prepare" or "eval"."""
    job_id: str
    status: TaskStatus
    cluster: str | None = None


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
    commands: Sequence[str] | None = None
    """Lines that a person runs for what is missing; None: those of the whole round."""
    progress: Mapping[int, TaskStatus] = field(default_factory=dict)
    """A waiting round: how its unfinished rows stand."""
    around: Sequence[Around] = ()
    """A waiting round: how its preparation and its evaluation stand."""


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


Step = Callable[[Work], StepResult]
