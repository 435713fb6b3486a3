"""The entries that --proposer chooses from, and the algorithms behind them."""

from __future__ import annotations

import pytest

from agent import names
from agent.errors import InvalidPlugin, UsageError
from agent.propose import select
from agent.propose.bayes.proposer import GaussianProcessProposer
from agent.propose.optuna_tpe import TPEProposer
from agent.propose.select import make_proposer
from agent.proposers import SHIPPED, ProposerEntry, proposer_entry
from agent.records import Objective, Proposal
from agent.reference import Reference, parse_reference


def test_the_command_line_lists_those_there_are() -> None:
    assert tuple(SHIPPED) == names.PROPOSERS


def test_a_typo_is_answered_with_every_name() -> None:
    with pytest.raises(UsageError, match="proposer 'bayess': must be one of bayes, gp, llm, panel, hybrid, planner"):
        proposer_entry("bayess")


def test_who_speaks_decides_the_source() -> None:
    sources = {name: entry.source(wish) for name, entry in SHIPPED.items() if entry.asks for wish in (False,)}
    assert sources == {"llm": "llm", "panel": "panel", "hybrid": "llm", "planner": "planner"}
    assert SHIPPED["hybrid"].source(True) == "planner"
    assert not SHIPPED["llm"].planned(True)  # --planner is the hybrid's


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_one_has_an_algorithm_that_needs_no_model(name: str) -> None:
    assert isinstance(make_proposer(name), GaussianProcessProposer if name == "gp" else TPEProposer)


class Wild:
    """An algorithm that returns, or raises, what a test has put there."""

    gives: object = None

    def propose(self, *args: object, **named: object) -> object:
        if isinstance(self.gives, Exception):
            raise self.gives
        return self.gives


def unmade() -> None:
    raise OSError("no licence")


@pytest.fixture
def space() -> Reference:
    parameter = {"type": "float", "low": 0.0, "high": 1.0, "default": 0.5, "description": "x"}
    raw = {"schema_version": 1, "trainer": "t", "task": "t", "parameters": {"x": parameter}}
    return parse_reference(raw | {"objective": {"metric": "score", "direction": "maximize"}}, file="space")


def proposal(x: float) -> Proposal:
    return Proposal(values={"x": x}, source="mine", reason="a test")


@pytest.mark.parametrize(
    ("gives", "message"),
    [
        (KeyError("x"), r"the proposer mine \(.*:Wild\) failed: KeyError: 'x'; mend it, or choose another"),
        (None, "returned NoneType, not a list of proposals"),
        ([{"x": 1.0}], "returned list, not a list of proposals"),
        ([], "returned 0 proposals where 1 to 1 were asked for"),
        ([proposal(0.1), proposal(0.2)], "returned 2 proposals where 1 to 1"),
    ],
)
def test_what_somebody_elses_algorithm_does_wrong_names_it(
    gives: object, message: str, space: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = ProposerEntry(name="mine", algorithm=f"{__name__}:Wild")
    monkeypatch.setattr(select, "proposer_entry", lambda name: entry)
    monkeypatch.setattr(Wild, "gives", gives)
    made = make_proposer("mine")
    objective = Objective(metric="score", direction="maximize")
    with pytest.raises(InvalidPlugin, match=message):
        made.propose(space, [], 1, objective=objective, seed=0, taken=frozenset())


def test_an_algorithm_that_cannot_be_made_names_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = ProposerEntry(name="mine", algorithm=f"{__name__}:unmade")
    monkeypatch.setattr(select, "proposer_entry", lambda name: entry)
    with pytest.raises(InvalidPlugin, match=r"the proposer mine .* cannot be made: OSError: no licence"):
        make_proposer("mine")
