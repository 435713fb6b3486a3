"""Everything Roundtable can refuse or lose, and what each costs.

RoundtableError                     one clear line for the person; exit code 2 unless said otherwise
├── UsageError                      wrong input; nothing was written, nothing was started
│   ├── InvalidReference            a hyperparameter reference with problems (all of them listed)
│   ├── InvalidSummary              a val/test summary that cannot be trusted
│   ├── InvalidManifest             a round's manifest that does not hold together
│   ├── InvalidStudy                study.yaml, journal or step record broken, or changed after round 1
│   ├── InvalidProfile              a cluster profile with problems
│   ├── InvalidPolicy               a retry policy with problems
│   ├── InvalidRules                rules of acceptance with problems, or a person's own rule that failed
│   ├── InvalidPlugin               an installed plug-in that cannot be used; commands without it go on
│   ├── InvalidTrainer              an unknown trainer, or a trainer description with problems
│   └── InvalidScript               a rendered script that failed its lint: a bug or a hostile value
├── StudyBusy                       another process holds the study's lease
├── StudyMoved                      the study's folder was moved or copied while a round of it is in a queue
├── ClockWentBack                   this machine's clock is behind the study's journal
├── StorageError                    the disk refused a write (full, read-only, quota); what stood before stands
├── TrainingEnvironmentError        the training environment cannot be built or cannot import what the trainer needs
├── LaunchError                     costs a submission: the scheduler refused or could not be asked
│   ├── SubmissionRefused           the scheduler answered, and takes no such job
│   ├── SchedulerUnavailable        try again later; nothing is known to have been submitted
│   │   └── SubmitLimit             the cluster takes no more jobs now; for certain nothing was submitted
│   └── AmbiguousSubmission         may have been submitted; looked up by name before any second try
├── BudgetExceeded              a submission could exceed a cap on hours; nothing was submitted, the round stays open
├── RoundCancelled                  a person cancelled the open round; it waits until they say how to go on
├── StudyPaused                     submissions or starts failed again and again; nothing is submitted until --resume
├── NothingLearnt               nothing was measured in a round and nothing learnt: the study stops with the cause
│   └── TrialsCrashed               every trial of it crashed
├── ProposalError                   costs a round's proposals: the space has no further valid candidate
├── StudyEnds                       no error: a planner or the patience ends the study before a round; exit code 0
├── LLMError                        costs one call to a language model; the round goes on without it and says so
│   ├── LLMUnavailable              network, time-out, rate limit, overload; own retries are used up, or it cools down
│   ├── LLMRejected                 the endpoint refuses the key, the model or the request; asking again is no use
│   ├── LLMRefusal                  the model declined to answer
│   ├── LLMUnusable                 an answer that is empty, cut off, no JSON, or not what was asked for
│   └── LLMCapReached               the call could exceed --max-llm-cost or --max-llm-tokens; it was not made
├── ReplayMismatch                  a replayed round asks what no recorded exchange answers
├── InputChanged                    a file that a running round depends on was changed
└── MissingResults                  exit code 3: a manual round whose results are not there yet
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self


class RoundtableError(Exception):
    """Base of every error shown to a person as one message with a remedy."""

    exit_code = 2


class UsageError(RoundtableError):
    """Wrong input. Raised before anything is written."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing wrong with a file.

    file: the file as the person named it. where: the parameter, field or line. value: what stood there, as text.
    message: what is wrong and what is allowed.
    """

    file: str
    where: str
    value: str
    message: str

    def __str__(self) -> str:
        shown = f" = {self.value}" if self.value else ""
        return f"{self.file}: {self.where}{shown}: {self.message}"


class ProblemsError(UsageError):
    """A file with one or more problems, all listed in one go."""

    def __init__(self, problems: Sequence[Problem], remedy: str = "") -> None:
        if not problems:
            raise ValueError("a ProblemsError needs at least one problem")
        self.problems, self.remedy = tuple(problems), remedy
        lines = [str(problem) for problem in problems]
        super().__init__("\n".join(lines + ([remedy] if remedy else [])))

    @classmethod
    def at(cls, file: str | Path, message: str, *, where: str = "file", value: str = "") -> Self:
        """With this one problem."""
        return cls([Problem(file=str(file), where=where, value=value, message=message)])

    @classmethod
    def of(cls, file: str | Path, found: Iterable[tuple[str, str, str]]) -> Self:
        """With all of a file's problems: (where, value, message) of each."""
        return cls([Problem(file=str(file), where=where, value=v, message=text) for where, v, text in found])


class InvalidReference(ProblemsError):
    """A hyperparameter reference that may not be used."""


class InvalidSummary(ProblemsError):
    """A validation or test summary that cannot be trusted."""


class InvalidManifest(ProblemsError):
    """A manifest that does not describe a round."""


class InvalidStudy(ProblemsError):
    """A study's own files do not hold together, or do not fit this call."""


class InvalidProfile(ProblemsError):
    """A cluster profile that may not be used."""


class InvalidPolicy(ProblemsError):
    """A retry policy that may not be used."""


class InvalidRules(ProblemsError):
    """Rules of acceptance that may not be used, or a person's own rule that failed: the round stays open."""


class InvalidPlugin(UsageError):
    """A plug-in that cannot be used; the message names its distribution, its entry point and a remedy."""


class InvalidTrainer(ProblemsError):
    """An unknown trainer or task, or a trainer description that may not be used."""


class InvalidScript(ProblemsError):
    """A rendered script that failed its lint."""


class StudyBusy(RoundtableError):
    """Another process works on this study."""


class StudyMoved(RoundtableError):
    """The study was moved or copied while tasks of an open round belong to the folder where it was."""


class ClockWentBack(RoundtableError):
    """The clock reads earlier than the journal's last entry."""


class StorageError(RoundtableError):
    """The disk refused; the message names the path and the reason."""


class TrainingEnvironmentError(RoundtableError):
    """The python that trains is missing or lacks a module. remedy: how to get it; "" where nobody knows."""

    def __init__(self, said: str, *, remedy: str = "") -> None:
        self.said, self.remedy = said, remedy
        super().__init__(f"{said}; {remedy}" if remedy else said)


class LaunchError(RoundtableError):
    """A submission, query or cancellation failed."""


class SubmissionRefused(LaunchError):
    """The scheduler answered that it takes no such job.

    remedy: what to change, where that is known. no_node: no node offers what is asked for, or none that does is in
    use. too_much: less (another node, memory, time) might be taken. for_good: no waiting makes another answer.
    """

    def __init__(
        self, message: str, *, remedy: str = "", no_node: bool = False, too_much: bool = False, for_good: bool = False
    ) -> None:
        self.remedy, self.no_node, self.too_much, self.for_good = remedy, no_node, too_much, for_good
        super().__init__(message)


class SchedulerUnavailable(LaunchError):
    """The scheduler did not answer; asking again later is safe."""


class SubmitLimit(SchedulerUnavailable):
    """The cluster takes no more jobs now; it will when some have ended.

    own: the limit is on this person's, account's or QOS's jobs, so fewer rows may fit at once. Otherwise the whole
    queue is full, and sbatch has waited two minutes for room already.
    """

    def __init__(self, message: str, *, own: bool = True) -> None:
        self.own = own
        super().__init__(message)


class AmbiguousSubmission(LaunchError):
    """The scheduler may or may not have accepted the job; `name` is how to find out."""

    def __init__(self, message: str, *, name: str) -> None:
        self.name = name
        super().__init__(message)


class BudgetExceeded(RoundtableError):
    """What comes next could take more than the study may. It goes on from there with a higher cap."""


class RoundCancelled(RoundtableError):
    """A person cancelled the open round: it waits for their `retry` or `collect`."""


class StudyPaused(RoundtableError):
    """The circuit breaker is open: what runs is collected, but nothing is submitted until a person resumes."""


class NothingLearnt(RoundtableError):
    """A round closed without a value and without a word about its settings: lost, killed, never begun."""


class TrialsCrashed(NothingLearnt):
    """Every trial of a round ended in a crash, which says nothing about its settings."""


class ProposalError(RoundtableError):
    """No further valid, untried candidate could be proposed."""


class StudyEnds(RoundtableError):
    """The study is over as a result: its planner said stop, or its patience is used up. Caught by the engine.

    by: "model" or "rules".
    """

    def __init__(self, message: str, *, by: str) -> None:
        self.by = by
        super().__init__(message)


class LLMError(RoundtableError):
    """A call to a language model gave nothing usable.

    reply: what had arrived by then (agent.llm.base.Reply), so that tokens that were paid for are counted.
    attempts: every try of this call (agent.llm.base.Attempt).
    transcript: of a panel whose supervisor failed, what had been said by then.
    """

    transcript: str = ""

    def __init__(self, message: str, *, reply: Any = None, attempts: Sequence[Any] = ()) -> None:
        self.reply = reply
        self.attempts = tuple(attempts)
        super().__init__(message)


class LLMUnavailable(LLMError):
    """The endpoint could not be reached or is overloaded; another time it may answer."""


class LLMRejected(LLMError):
    """The endpoint refuses this key, model or request, and will do so again.

    status: HTTP status, None where the SDK refused before sending.
    """

    def __init__(self, message: str, *, status: int | None = None, reply: Any = None, attempts: Any = ()) -> None:
        self.status = status
        super().__init__(message, reply=reply, attempts=attempts)


class LLMRefusal(LLMError):
    """The model declined. Benign training questions are sometimes hit by safety filters."""


class LLMUnusable(LLMError):
    """The answer cannot be used. problems: what is wrong with it, a line each, fit for a repair turn."""

    def __init__(self, problems: Sequence[str], *, reply: Any = None, attempts: Sequence[Any] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problems), reply=reply, attempts=attempts)


class LLMCapReached(LLMError):
    """The next call could break a cap on cost or tokens."""


class ReplayMismatch(RoundtableError):
    """A replay asks something that no recorded exchange answers. No LLMError: the round must not go on without it."""


class InputChanged(RoundtableError):
    """A file that a submitted round depends on no longer is what it was."""


class MissingResults(RoundtableError):
    """Rows of a manual round have no result yet."""

    exit_code = 3
