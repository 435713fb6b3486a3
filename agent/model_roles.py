"""The roles that language models play: each said here, once.

A new role is an entry here and a module in agent.roles. The options `--ROLE-model`, the keys that are checked,
`doctor`, the drawing and the limits of answers are made from these entries. Imports nothing of ours: `--help` lists
the roles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Switches(NamedTuple):
    """What a study with language models has chosen, as far as it says who may speak."""

    proposes: str | None
    """Which role proposes (ProposerEntry.speaks); None: the algorithm alone."""
    planned: bool
    """Whether each round has a step type."""
    plans: bool
    """Whether that is the proposer's own way, whatever a person chose."""
    analyst: bool
    searches: bool
    """Whether there is a search provider."""
    critique: bool
    judge: bool
    """Whether the rules of acceptance leave small gains to a judge."""


class ModelRole(NamedTuple):
    """One role."""

    name: str
    """As options, recorded exchanges and journals have it."""
    title: str
    does: str
    """In a few words, for people."""
    prompts: tuple[str, ...]
    """Files of templates/prompts, without .j2."""
    step: str
    """The step of a round in which it speaks."""
    may_change: str
    """What becomes of its answer."""
    speaks: Callable[[Switches], bool]
    """Whether a study may ask it."""
    tokens: int = 8192
    """The longest answer that is asked for, in tokens; reasoning models count their thinking in."""
    tokens_each: int = 0
    searches: bool = False
    """Whether it needs a search of the web: the search provider answers for it."""
    key_group: str | None = None
    """The keys of a provider that has several may be one for each of these: GEN_A, GEN_B, RES, SUP, EXEC."""
    model_variable: str | None = None
    """An environment variable with its model's name, as other tools have it."""
    without: str = ""
    """How a study does without it, where no option turns it off."""

    @property
    def option(self) -> str:
        """The option that names its model."""
        return f"--{self.name.replace('_', '-')}-model"

    def answer_tokens(self, count: int = 0) -> int:
        """The longest answer that is asked for. count: candidates that it is to hold."""
        return min(self.tokens + self.tokens_each * count, MOST_TOKENS)


MOST_TOKENS = 16_384

ANALYST = ModelRole(
    name="analyst",
    title="Analyst",
    does="reads the newest curves",
    prompts=("analyst",),
    step="analyse",
    may_change="words that other roles read: its reading and keywords",
    speaks=lambda study: study.analyst,
    key_group="EXEC",
)
RESEARCHER = ModelRole(
    name="researcher",
    title="Researcher",
    does="looks for remedies, with sources",
    prompts=("researcher",),
    step="analyse",
    may_change="words that other roles read: remedies with their sources",
    speaks=lambda study: study.searches,
    tokens=4096,
    searches=True,
    key_group="RES",
)
AUTOTUNER = ModelRole(
    name="autotuner",
    title="Autotuner",
    does="changes, each with a reason",
    prompts=("autotuner", "repair"),
    step="propose",
    may_change="the settings of candidates, within the space; and once more where they were refused",
    speaks=lambda study: study.proposes == "autotuner" and not study.planned,
    tokens=4096,
    tokens_each=1024,
    key_group="SUP",
)
PLANNER = ModelRole(
    name="planner",
    title="Planner",
    does="small, medium, radical or stop",
    prompts=("planner", "repair"),
    step="propose",
    may_change="the round's step, the settings of candidates within it, and whether the study ends",
    speaks=lambda study: study.planned or study.plans,
    # It answers the question of the autotuner.
    tokens=AUTOTUNER.tokens,
    tokens_each=AUTOTUNER.tokens_each,
    key_group="SUP",
    model_variable="PLANNER_MODEL",
)
CONSULTANT_A = ModelRole(
    name="consultant_a",
    title="Consultant A",
    does="argues",
    prompts=("consultant",),
    step="propose",
    may_change="nothing: the supervisor hears it",
    speaks=lambda study: study.proposes == "panel",
    tokens=4096,
    key_group="GEN_A",
)
CONSULTANT_B = CONSULTANT_A._replace(name="consultant_b", title="Consultant B", key_group="GEN_B")
SUPERVISOR = ModelRole(
    name="supervisor",
    title="Supervisor",
    does="merges them within bounds",
    prompts=("supervisor", "repair"),
    step="propose",
    may_change="the settings of candidates, within the space",
    speaks=lambda study: study.proposes == "panel",
    # It answers the question of the autotuner.
    tokens=AUTOTUNER.tokens,
    tokens_each=AUTOTUNER.tokens_each,
    key_group="SUP",
)
CHECKER = ModelRole(
    name="checker",
    title="Critique",
    does="blocks only with a finding",
    prompts=("checker",),
    step="check",
    may_change="whether a model's candidate is trained",
    # What an algorithm made gives no reasons to look at.
    speaks=lambda study: study.critique and study.proposes is not None,
    key_group="EXEC",
)
JUDGE = ModelRole(
    name="judge",
    title="Judge",
    does="decides on small real gains",
    prompts=("judge",),
    step="assess",
    may_change="whether a gain that is real and small is accepted",
    # Whoever proposed.
    speaks=lambda study: study.judge,
    tokens=4096,
    key_group="EXEC",
    model_variable="EVALUATOR_MODEL",
    without="have the rules decide alone: `judge: false` in a file for --rules",
)

#: In the order in which they are listed to a person.
ROLES = {
    role.name: role
    for role in (
        ANALYST,
        RESEARCHER,
        AUTOTUNER,
        PLANNER,
        CONSULTANT_A,
        CONSULTANT_B,
        SUPERVISOR,
        CHECKER,
        JUDGE,
    )
}


def may_speak(study: Switches) -> tuple[str, ...]:
    """The names of the roles that a study with language models may ask, in the order of ROLES."""
    return tuple(role.name for role in ROLES.values() if role.speaks(study))
