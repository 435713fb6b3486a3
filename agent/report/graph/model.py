"""Steps, agents and arrows of a round, as a study's settings make them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from agent.model_roles import (
    ANALYST,
    AUTOTUNER,
    CHECKER,
    CONSULTANT_A,
    CONSULTANT_B,
    JUDGE,
    PLANNER,
    RESEARCHER,
    SUPERVISOR,
    ModelRole,
    Switches,
    may_speak,
)
from agent.proposers import ProposerEntry, proposer_entry
from agent.store.study import Settings

KINDS = {"rules": "rules", "model": "language model", "bayes": "Bayesian optimisation", "machine": "machines"}
"""Who works in a node -> what the legend calls it."""


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """What of a study's settings changes the drawing. Raises UsageError on a proposer that does not exist.

    share, warmup and turns are `llm_share`, `llm_warmup` and `consult_turns` of Settings; the rest is named as there.
    """

    proposer: str = "hybrid"
    models: bool | None = None
    """Whether there are language models; without them the planner goes by rules. None: unless Bayesian optimisation
    proposes alone."""
    planned: bool = False
    """Whether a hybrid study has a planner in the autotuner's place."""
    candidates: int = Settings.candidates
    rungs: int = Settings.rungs
    eta: int = Settings.eta
    share: float = Settings.llm_share
    warmup: int = Settings.llm_warmup
    turns: int = Settings.consult_turns
    analyst: bool = Settings.analyst
    researcher: bool = True
    critique: bool = Settings.critique
    judge: bool = True
    """Whether the rules of acceptance leave small gains to a judge."""
    auto_train: bool = True
    confirm: bool = True
    confirm_seeds: int = Settings.confirm_seeds
    rows: int | None = None
    """Folds times seeds of a candidate, where a study says so."""
    title: str = "A round of Roundtable"

    def __post_init__(self) -> None:
        proposer_entry(self.proposer)

    @property
    def entry(self) -> ProposerEntry:
        return proposer_entry(self.proposer)

    @property
    def asks_models(self) -> bool:
        return self.entry.asks if self.models is None else self.models

    @property
    def roles(self) -> Sequence[str]:
        """The roles that may be asked."""
        if not self.asks_models:
            return ()
        return may_speak(
            Switches(
                proposes=self.entry.speaks,
                planned=self.entry.planned(self.planned),
                plans=self.entry.plans,
                analyst=self.analyst,
                searches=self.researcher,
                critique=self.critique,
                judge=self.judge,
            )
        )


@dataclass(frozen=True, kw_only=True)
class Node:
    """One agent, or one thing that works in a step."""

    id: str
    name: str
    does: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Edge:
    """An arrow between nodes of one step, or between steps."""

    source: str
    target: str
    label: str = ""
    style: str = "plain"
    """plain, failure (dashed: only when something went wrong) or both (an arrow at each end)."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step of a round. rows: its nodes from top to bottom, some side by side."""

    id: str
    name: str
    does: str
    kind: str = "rules"
    rows: Sequence[Sequence[Node]] = ()
    edges: Sequence[Edge] = ()


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A round as a ring: `decide` from left to right, `run` below from right to left; `end` after the last round."""

    title: str
    subtitle: str
    decide: Sequence[Step]
    run: Sequence[Step]
    end: Sequence[Step]
    edges: Sequence[Edge] = field(default_factory=tuple)
    notes: Sequence[str] = ()

    @property
    def steps(self) -> Sequence[Step]:
        return (*self.decide, *self.run, *self.end)

    @property
    def nodes(self) -> Iterator[Node]:
        return (node for step in self.steps for row in step.rows for node in row)

    @property
    def kinds(self) -> list[str]:
        """The kinds that occur, in the order of KINDS."""
        used = {node.kind for node in self.nodes} | {step.kind for step in self.steps}
        return [kind for kind in KINDS if kind in used]


def workflow_graph(workflow: Workflow) -> Graph:
    """The drawing's content."""
    decide = (_analyse(workflow), _propose(workflow), _check(workflow), _apply(workflow))
    run = (_RENDER, _submit(workflow), _train(workflow), _COLLECT, _assess(workflow))
    end = (_confirm(workflow), _RESULT) if workflow.confirm else (_RESULT,)
    ring = [*(step.id for step in (*decide, *run))]
    edges = [Edge(source=one, target=other) for one, other in pairwise(ring)]
    edges.append(Edge(source="assess", target="analyse", label="next round"))
    last = ["assess", *(step.id for step in end)]
    edges += [
        Edge(source=one, target=other, label="after the last round" if one == "assess" else "")
        for one, other in pairwise(last)
    ]
    return Graph(
        title=workflow.title,
        subtitle=_subtitle(workflow),
        decide=decide,
        run=run,
        end=end,
        edges=edges,
        notes=_notes(workflow),
    )


def _subtitle(workflow: Workflow) -> str:
    return f"{_who(workflow)}; {_many(workflow.candidates, 'candidate')} a round"


def _who(workflow: Workflow) -> str:
    entry = workflow.entry
    if not entry.asks:
        models = ", language models read and judge" if workflow.roles else ", no language model is asked"
        return f"{entry.title} proposes{models}"
    if entry.shares:
        return f"{entry.title} and a language model ({workflow.share:.0%}) propose"
    if entry.plans:
        return "A planner chooses how far each round goes"
    return "Two consultants discuss, a supervisor decides" if entry.speaks == "panel" else "A language model proposes"


def _notes(workflow: Workflow) -> list[str]:
    notes = ["Round 1 trains the default settings first; no language model proposes in it."]
    notes.append("A person may edit the reference between rounds; the edit is then trained first.")
    if workflow.asks_models:
        notes.append("A model that fails never stops a round: the record says who proposed instead, and why.")
    return notes


def _analyse(workflow: Workflow) -> Step:
    nodes = [Node(id="heuristics", name="Heuristics", does="flags and trends of every curve", kind="rules")]
    edges = []
    for role, gets in ((ANALYST, "evidence"), (RESEARCHER, "keywords")):
        if role.name in workflow.roles:
            edges.append(Edge(source=nodes[-1].id, target=role.name, label=gets))
            nodes.append(_speaks(role))
    return Step(id="analyse", name="analyse", does="What do the results say?", rows=[[n] for n in nodes], edges=edges)


def _speaks(role: ModelRole, does: str = "", *, id: str = "", kind: str = "model") -> Node:
    """A role. does: where there is more to say than the role's own words."""
    return Node(id=id or role.name, name=role.title, does=does or role.does, kind=kind)


def _propose(workflow: Workflow) -> Step:
    entry = workflow.entry
    if not entry.asks:
        does = "all candidates"
    elif entry.shares:
        does = f"{1 - workflow.share:.0%} of the candidates"
    else:
        does = "steps in for a model" if workflow.asks_models else "within the step"
    shipped = entry.title == ProposerEntry.title
    bayes = Node(id="bayes", name="Bayesian proposer" if shipped else entry.title, does=does, kind="bayes")
    rows: list[list[Node]] = []
    edges: list[Edge] = []
    if entry.speaks == "panel":
        one, other = _speaks(CONSULTANT_A), _speaks(CONSULTANT_B)
        rows += [[one, other], [_speaks(SUPERVISOR)]]
        edges.append(Edge(source=one.id, target=other.id, label=_many(workflow.turns, "turn"), style="both"))
        edges += [Edge(source=node.id, target=SUPERVISOR.name) for node in (one, other)]
    elif entry.plans or PLANNER.name in workflow.roles:
        rows.append([_speaks(PLANNER, kind="model" if workflow.asks_models else "rules")])
    elif entry.speaks == AUTOTUNER.name:
        does = f"{workflow.share:.0%}, once {workflow.warmup} are scored" if entry.shares else ""
        rows.append([_speaks(AUTOTUNER, does)])
    rows.append([bayes])
    if entry.plans and not workflow.asks_models:
        edges.append(Edge(source=PLANNER.name, target="bayes", label="step"))
    if workflow.asks_models and len(rows) > 1:
        model = rows[-2][0].id
        edges.append(Edge(source="bayes", target=model, label="suggestion"))
        edges.append(Edge(source=model, target="bayes", label="fails", style="failure"))
    return Step(id="propose", name="propose", does="What to train next?", rows=rows, edges=edges)


def _check(workflow: Workflow) -> Step:
    rules = Node(id="rules", name="Rules", does="type, range, constraint, duplicate", kind="rules")
    if not (workflow.asks_models and workflow.entry.asks):
        return Step(id="check", name="check", does="May it be trained?", rows=[[rules]])
    nodes, edges = [rules], []
    if CHECKER.name in workflow.roles:
        nodes.append(_speaks(CHECKER, id="critique"))
        edges.append(Edge(source="rules", target="critique", label="valid"))
        edges.append(Edge(source="critique", target="repair", label="finding", style="failure"))
    nodes.append(Node(id="repair", name="Repair turn", does="sees every error, answers again", kind="model"))
    edges.append(Edge(source="rules", target="repair", label="errors", style="failure"))
    edges.append(Edge(source="repair", target="rules", label="once"))
    nodes.append(Node(id="fallback", name="Fallback", does="Bayesian instead, on record", kind="bayes"))
    edges.append(Edge(source="repair", target="fallback", label="still refused", style="failure"))
    return Step(id="check", name="check", does="May it be trained?", rows=[[node] for node in nodes], edges=edges)


_APPLY = Step(
    id="apply",
    name="apply",
    does="What is put on record?",
    rows=[
        [Node(id="archive", name="Archive", does="the old reference is kept", kind="rules")],
        [Node(id="rewrite", name="Rewrite", does="the first candidate's values", kind="rules")],
        [Node(id="references", name="Candidates", does="one reference for each", kind="rules")],
    ],
    edges=[Edge(source="archive", target="rewrite"), Edge(source="rewrite", target="references")],
)


def _apply(workflow: Workflow) -> Step:
    """With rungs, what thins the candidates out before they get their files."""
    if workflow.rungs == 1:
        return _APPLY
    does = f"few epochs on few folds first, up to {_many(workflow.rungs - 1, 'time')}; one in {workflow.eta} goes on"
    thin = Node(id="rungs", name="Rungs", does=does, kind="machine")
    return replace(_APPLY, rows=[[thin], *_APPLY.rows], edges=[Edge(source="rungs", target="archive"), *_APPLY.edges])


_RENDER = Step(id="render", name="render", does="Array scripts and a manifest of every trial")
_COLLECT = Step(id="collect", name="collect", does="Results and causes of failure; lost trials run again")
_RESULT = Step(id="result", name="result", does="The best settings, and how sure")


def _assess(workflow: Workflow) -> Step:
    does = "Rank above the noise, name the incumbent, close the round"
    if JUDGE.name not in workflow.roles:
        return Step(id="assess", name="assess", does=does)
    return Step(id="assess", name="assess", does=does, rows=[[_speaks(JUDGE)]])


def _submit(workflow: Workflow) -> Step:
    does = "Every trial, exactly once" if workflow.auto_train else "Printed for a person to submit"
    return Step(id="submit", name="submit", does=does, kind="machine")


def _train(workflow: Workflow) -> Step:
    best = "the best of " if workflow.rungs > 1 else ""
    each = "" if workflow.rows is None else f" x {_many(workflow.rows, 'trial')}"
    return Step(
        id="train",
        name="train",
        does=f"{best}{_many(workflow.candidates, 'candidate')}{each} in one array",
        kind="machine",
    )


def _confirm(workflow: Workflow) -> Step:
    seeds = _many(workflow.confirm_seeds, "fresh seed")
    return Step(id="confirm", name="confirm", does=f"The best and the default again at {seeds}", kind="machine")


def _many(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
