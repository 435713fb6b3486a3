"""Every path of a study. A round's own files build on the layout that its tasks know (trainers.layout)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from agent.errors import UsageError
from trainers.layout import REFERENCE_NAME, RoundFiles

TASK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NUMBERED = re.compile(r"((?:task|dataset)\d+)(?:_.*)?", re.IGNORECASE)
_ROUND_FOLDER = re.compile(r"(?P<kind>round|confirm|stop|rung[1-9])_(?P<number>[1-9]\d{0,5})_(?P<stamp>\d{8}_\d{6})")


def check_name(name: str, *, what: str) -> str:
    """A task's or study's name as it may appear in file names and scripts. Raises UsageError."""
    if not TASK_NAME.fullmatch(name):
        raise UsageError(
            f"{what} {name!r}: use letters, digits, '.', '_' and '-' only (at most 100, the first a letter or "
            "digit); the name becomes part of file and job names"
        )
    return name


def slug(task: str) -> str:
    """The short form of a task's name for file names: Task601_TotalSegmentatorV1 gives task601."""
    check_name(task, what="--task")
    numbered = _NUMBERED.fullmatch(task)
    return (numbered.group(1) if numbered else task).lower()


@dataclass(frozen=True)
class RoundFolder:
    """A round's (or a confirmation's) folder name, taken apart; "stop": of a round that was ended by its plan,
    "rungK": of the short trainings that thin out a round's candidates."""

    kind: str
    number: int
    stamp: str
    path: Path

    @classmethod
    def parse(cls, path: Path) -> RoundFolder | None:
        match = _ROUND_FOLDER.fullmatch(path.name)
        if match is None:
            return None
        return cls(match["kind"], int(match["number"]), match["stamp"], path)


@dataclass(frozen=True)
class RoundPaths(RoundFiles):
    """What the orchestrator adds to a round's folder."""

    slug: str
    number: int

    @property
    def label(self) -> str:
        """What messages call it."""
        kind = self.root.name.partition("_")[0]
        if kind == "confirm":
            return f"confirmation after round {self.number}"
        return f"round {self.number} rung {kind[-1]}" if kind.startswith("rung") else f"round {self.number}"

    @property
    def log(self) -> Path:
        return self.root / "orchestrator.log"

    @property
    def steps(self) -> Path:
        return self.root / "steps"

    @property
    def analysis(self) -> Path:
        """The diagnosis that this round's proposals started from."""
        return self.root / "analysis.json"

    @property
    def reading(self) -> Path:
        """The analyst's reading of the round before; each trial's own part lies beside its analysis.json."""
        return self.root / "analysis_llm.txt"

    @property
    def research(self) -> Path:
        return self.root / "research.json"

    @property
    def transcript(self) -> Path:
        """The panel's discussion."""
        return self.root / "panel_transcript.txt"

    @property
    def calls(self) -> Path:
        """Every exchange with a language model: NNN_<role>.json."""
        return self.root / "calls"

    @property
    def llm_costs(self) -> Path:
        """What the calls of this round cost, in time, tokens and dollars: apart from the decision, which has none."""
        return self.root / "llm_costs.json"

    @property
    def before(self) -> Path:
        """The study's reference as it stood when this round's proposals were made."""
        return self.root / "reference_before.json"

    @property
    def proposals(self) -> Path:
        return self.root / "proposals.json"

    @property
    def autotuner_input(self) -> Path:
        return self.root / "step1_hp_autotuning_input.txt"

    @property
    def autotuner_response(self) -> Path:
        return self.root / "step1_hp_autotuning_response.txt"

    @property
    def checker_input(self) -> Path:
        return self.root / "step2_hp_checker_input.txt"

    @property
    def checker_response(self) -> Path:
        return self.root / "step2_hp_checker_response.txt"

    @property
    def checked(self) -> Path:
        return self.root / "checked_hyperparameters.json"

    @property
    def decision(self) -> Path:
        return self.root / f"tuning_decision_{self.slug}_round{self.number}.json"

    @property
    def trainer_file(self) -> Path:
        """A brought trainer's frozen description, copied so that the round stands on its own."""
        return self.root / "trainer.json"

    def script(self, kind: str) -> Path:
        """The body of a job of this kind: "train", "eval", or "prepare" where the trainer prepares data that all
        trials share. Beside it, with the suffix .slurm, stands the array script that runs it."""
        return self.root / f"{kind}_{self.slug}_round{self.number}.sh"

    @property
    def pending(self) -> Path:
        """Why rows were pending when the scheduler was last asked."""
        return self.root / "pending.json"

    @property
    def closed(self) -> Path:
        """round.json: written last; its presence closes the round."""
        return self.root / "round.json"

    @property
    def over(self) -> bool:
        """Whether it is closed and its last step's record says so."""
        return self.closed.exists() and any(self.steps.glob("*_assess.json"))


@dataclass(frozen=True)
class StudyPaths:
    """The files of a study, in runs/<study>/."""

    root: Path
    slug: str

    @property
    def study(self) -> Path:
        return self.root / "study.yaml"

    @property
    def trainer_file(self) -> Path:
        return self.root / "trainer.json"

    @property
    def settings(self) -> Path:
        """How the study is driven now (launcher, candidates a round, ...); may change per call."""
        return self.root / "settings.json"

    @property
    def warm_start(self) -> Path:
        """What earlier studies gave this one to begin with (--warm-start)."""
        return self.root / "warm_start.json"

    @property
    def profile(self) -> Path:
        """A copy of the last profile given, so that later calls and ticks use it too."""
        return self.root / "profile.yaml"

    @property
    def policy(self) -> Path:
        """A copy of the last retry policy given; without it the shipped one counts."""
        return self.root / "policy.yaml"

    @property
    def rules(self) -> Path:
        """A copy of the last table of acceptance rules given; without it the shipped one counts."""
        return self.root / "acceptance.yaml"

    @property
    def rules_python(self) -> Path:
        """A copy of a person's own rule of acceptance, where that was given last."""
        return self.root / "acceptance.py"

    @property
    def reference(self) -> Path:
        return self.root / REFERENCE_NAME

    @property
    def history(self) -> Path:
        return self.root / "history"

    @property
    def incumbent(self) -> Path:
        return self.root / "incumbent.json"

    @property
    def aliases(self) -> Path:
        """Alias -> real name: what language models are told instead."""
        return self.root / "aliases.json"

    @property
    def journal(self) -> Path:
        return self.root / "journal.jsonl"

    @property
    def lease(self) -> Path:
        return self.root / "lease.json"

    @property
    def requests(self) -> Path:
        """What people asked for while another process held the lease."""
        return self.root / "requests"

    @property
    def scheduler_memory(self) -> Path:
        """Since when the scheduler has not known a task: kept so that deadlines run across processes."""
        return self.root / "scheduler.json"

    @property
    def controller(self) -> Path:
        """Which controller drives the study unattended, and when it looked last and looks next."""
        return self.root / "controller.json"

    @property
    def controller_script(self) -> Path:
        return self.root / "controller.slurm"

    @property
    def controller_log(self) -> Path:
        return self.root / "controller.log"

    @property
    def stop(self) -> Path:
        """The kill switch: while it is there, no controller begins a look."""
        return self.root / "stop.json"

    @property
    def trials_csv(self) -> Path:
        return self.root / "trials_summary.csv"

    @property
    def best(self) -> Path:
        return self.root / "best_overall.json"

    @property
    def pareto(self) -> Path:
        return self.root / "pareto.json"

    def folders(self, kind: str = "round") -> list[RoundFolder]:
        """All folders of a kind, by number and then time; reruns of a round stand beside it."""
        try:
            entries = list(self.root.iterdir())
        except FileNotFoundError:
            return []
        parsed = [folder for folder in map(RoundFolder.parse, entries) if folder and folder.kind == kind]
        return sorted(parsed, key=lambda folder: (folder.number, folder.stamp))

    def newest(self, kind: str = "round") -> list[RoundFolder]:
        """One folder for each number: the newest. What it replaced stays on disk and is not read any more."""
        return list({folder.number: folder for folder in self.folders(kind)}.values())

    def round(self, folder: RoundFolder) -> RoundPaths:
        return RoundPaths(folder.path, self.slug, folder.number)
