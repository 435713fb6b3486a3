"""What stands before the agents in one round: the same for every role, so that one record of it explains them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.acceptance import Incumbent
from agent.records import CandidateResult, Objective, Proposal
from agent.reference import Reference
from trainers.contract import Value


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """One thing that the researcher found. Untrusted text."""

    text: str
    sources: tuple[str, ...] = ()
    """Addresses of the pages that it rests on."""


@dataclass(frozen=True, kw_only=True)
class Situation:
    """The history up to this round. Validation values only, unless `test` was asked for."""

    reference: Reference
    history: Sequence[CandidateResult]
    objective: Objective
    screened: Sequence[CandidateResult] = ()
    """What rungs sorted out, each value of a share of the epochs."""
    findings: Sequence[Mapping[str, Any]] = ()
    """Of `diagnosis.analyse_round`: {name, evidence, text}."""
    trials: Sequence[Mapping[str, Any]] = ()
    """The newest round's trials: {trial, candidate, flags: [{name, evidence, text}], trends: {...}}."""
    incumbent: Incumbent | None = None
    base: Mapping[str, Value] = field(default_factory=dict)
    """The settings that changes are made to: the incumbent's, as far as today's reference has them."""
    base_name: str = "the reference as it stands"
    suggestion: Proposal | None = None
    """What the Bayesian proposer would train next."""
    taken: Mapping[str, str] = field(default_factory=dict)
    """Key of each configuration that was measured, or is proposed in this round already -> where."""
    remaining: Mapping[str, Any] = field(default_factory=dict)
    """What is left: rounds, candidates a round, dollars, tokens; shown as it is."""
    reading: str = ""
    """The analyst's text."""
    remedies: Sequence[Remedy] = ()
    test: Mapping[str, float] | None = None
    """Test values by "round N cNN", only with --agents-see-test."""


@dataclass(frozen=True, kw_only=True)
class Suggested:
    """What a model proposes, well-formed but not yet held against the rules."""

    proposals: Sequence[Proposal]
    """Values may still be out of range, repeated or in conflict; nothing was altered."""
    diagnosis: str
    prompt: str
    """The decisive exchange as it was sent: step1_hp_autotuning_input.txt."""
    response: str
    """The answer as it came: step1_hp_autotuning_response.txt."""
    repaired: bool = False
    """Whether the one repair turn has been used."""
    repaired_for: Sequence[str] = ()
    """What that turn was for: what was wrong with the answer, or with which candidates; a line each."""
    transcript: str = ""
    """The panel's discussion, as panel_transcript.txt has it."""
