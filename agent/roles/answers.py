"""What models answer, as objects: one class for each role's answer, read once from the JSON that its schema allowed.

Nothing is mended here: a number out of range or a name that is none stays for the checker and the repair turn.
"""

from __future__ import annotations

from typing import Any

from agent.store.codec import Record


class Change(Record):
    """A parameter that is to differ from the base."""

    parameter: str
    value: Any
    reason: str


class SuggestedCandidate(Record):
    """Settings that a model proposes, as changes of the base."""

    changes: tuple[Change, ...]
    expected_effect: str
    confidence: float
    """That this beats the incumbent."""


class Suggestion(Record):
    """The autotuner's answer, and the supervisor's."""

    diagnosis: str
    candidates: tuple[SuggestedCandidate, ...]


class PlannedStep(Record):
    """The planner's answer."""

    step: str
    plan: str
    reason: str
    candidates: tuple[SuggestedCandidate, ...]
    """None with the step stop. Parameters may be called group.name."""


class TrialReading(Record):
    """What the analyst says of one trial."""

    trial: str
    reading: str
    keywords: tuple[str, ...]


class RoundReading(Record):
    """The analyst's answer."""

    overall: str
    trials: tuple[TrialReading, ...]
    keywords: tuple[str, ...]


class CheckerVerdict(Record):
    """What the checker says of one candidate."""

    candidate: str
    verdict: str
    """"ok" or "block"."""
    finding: str
    parameter: str
    """The one at fault, or "none"."""


class CheckerVerdicts(Record):
    """The checker's answer."""

    verdicts: tuple[CheckerVerdict, ...]


class JudgeVerdict(Record):
    """What the judge says of one candidate."""

    candidate: str
    verdict: str
    """"accept" or "keep"."""
    reason: str


class JudgeVerdicts(Record):
    """The judge's answer."""

    verdicts: tuple[JudgeVerdict, ...]
