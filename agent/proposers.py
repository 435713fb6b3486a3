"""Who may propose what is trained next: the entries that `--proposer` chooses from.

Imports no proposer: the command line, the settings, the drawing, the checks of keys and `doctor` all read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.errors import UsageError
from agent.plugins import all_names, find_entry


@dataclass(frozen=True, kw_only=True)
class ProposerEntry:
    """One way of filling a round's places from round 2 on.

    Each has an algorithm (agent.propose.base.Proposer), which needs no language model. A role of the models may speak
    before it; what that one leaves open, or fails to give, comes from the algorithm.
    """

    name: str
    title: str = "Bayesian optimisation"
    """What the algorithm is called, for people."""
    algorithm: str = "agent.propose.optuna_tpe:TPEProposer"
    """Where the algorithm is made: "package.module:CALLABLE", called without arguments when a round needs it."""
    speaks: str | None = None
    """Which of the models' roles proposes: "autotuner", "panel" or "planner"; None: no language model is asked."""
    needs_models: bool = False
    """Whether it cannot be chosen without a language model."""
    shares: bool = False
    """Whether the model fills a share of the places (--llm-share) and the algorithm the others."""
    plans: bool = False
    """Whether every round has a step type (small, medium, radical), by the planner's rules or its model."""
    may_plan: bool = False
    """Whether a planner may be asked for (--planner), who then speaks in the autotuner's place."""
    unchosen: bool = False
    """Whether it is what a study has as long as nobody chose one: it gives way when a language model is given."""

    @property
    def asks(self) -> bool:
        """Whether a language model proposes where there is one."""
        return self.speaks is not None

    def planned(self, wish: bool) -> bool:
        """Whether rounds have a step type. wish: the study's --planner."""
        return self.plans or (self.may_plan and wish)

    def source(self, wish: bool) -> str:
        """The source that a model's proposals are recorded with. wish: the study's --planner."""
        if self.planned(wish):
            return "planner"
        return "panel" if self.speaks == "panel" else "llm"


BAYES = ProposerEntry(name="bayes", unchosen=True)
AUTOTUNER = ProposerEntry(name="llm", speaks="autotuner", needs_models=True)

#: In the order in which they are listed to a person.
SHIPPED: Mapping[str, ProposerEntry] = {
    entry.name: entry
    for entry in (
        BAYES,
        ProposerEntry(
            name="gp",
            title="A Gaussian process",
            algorithm="agent.propose.bayes.proposer:GaussianProcessProposer",
        ),
        AUTOTUNER,
        ProposerEntry(name="panel", speaks="panel", needs_models=True),
        ProposerEntry(name="hybrid", speaks="autotuner", needs_models=True, shares=True, may_plan=True),
        ProposerEntry(name="planner", speaks="planner", plans=True),
    )
}


def proposer_entry(name: str) -> ProposerEntry:
    """The entry with this name. Raises UsageError naming all, InvalidPlugin for a broken plug-in."""
    entry = find_entry("proposers", name, SHIPPED, ProposerEntry)
    if entry is None:
        raise UsageError(f"proposer {name!r}: must be one of {', '.join(proposer_names())}")
    return entry


def proposer_names() -> tuple[str, ...]:
    """Every name that --proposer takes, those of plug-ins last."""
    return all_names("proposers", SHIPPED)
