"""The proposers without a model."""

from __future__ import annotations

import math
import statistics

import pytest

from agent.errors import ProposalError
from agent.propose.baseline import DefaultProposer, RandomProposer
from agent.records import Objective
from agent.reference import config_key
from tests.cases.proposer_case import ProposerCase, make_reference, space

OBJECTIVE = Objective(metric="score", direction="maximize")


class TestRandom(ProposerCase):
    @pytest.fixture
    def proposer(self) -> RandomProposer:
        return RandomProposer()


class TestDefault(ProposerCase):
    fills = False
    depends_on_seed = False

    @pytest.fixture
    def proposer(self) -> DefaultProposer:
        return DefaultProposer()


def test_the_default_is_told_from_a_persons_settings() -> None:
    entry = {"type": "int", "low": 1, "high": 9, "default": 2}
    plain = make_reference({"a": entry, "b": entry})
    edited = make_reference({"a": {**entry, "active_value": 7}, "b": {**entry, "active_value": 2}})

    def propose(reference, **how):
        call = DefaultProposer(**how).propose
        return call(reference, [], 1, objective=OBJECTIVE, seed=0, taken=frozenset())[0]

    assert propose(plain).source == "default"
    assert "defaults of all 2" in propose(plain).reason
    assert propose(edited).source == "person"
    assert propose(edited).values == {"a": 7, "b": 2}
    assert "a = 7 (default 2)" in propose(edited).reason
    assert propose(edited, source="default").source == "default"


def test_the_default_is_not_proposed_twice() -> None:
    reference = space("mixed")
    with pytest.raises(ProposalError, match="already tried"):
        DefaultProposer().propose(
            reference, [], 1, objective=OBJECTIVE, seed=0, taken=frozenset({config_key(reference)})
        )


def draws(entry: dict[str, object], count: int = 2000) -> list[float]:
    reference = make_reference({"x": entry, "y": {"type": "float", "low": 0, "high": 1, "default": 0}})
    proposals = RandomProposer().propose(reference, [], count, objective=OBJECTIVE, seed=3, taken=frozenset())
    return [float(proposal.values["x"]) for proposal in proposals]


def test_logarithmic_draws_are_even_over_the_decades() -> None:
    values = draws({"type": "float", "low": 1e-4, "high": 1.0, "log": True, "default": 0.1})
    per_decade = [sum(10.0**-k <= v < 10.0 ** (1 - k) for v in values) / len(values) for k in (1, 2, 3, 4)]
    assert per_decade == pytest.approx([0.25] * 4, abs=0.04)


def test_logarithmic_integers_reach_both_ends() -> None:
    values = draws({"type": "int", "low": 1, "high": 64, "log": True, "default": 8})
    assert (min(values), max(values)) == (1, 64)
    assert statistics.mean(map(math.log2, values)) == pytest.approx(2.5, abs=0.4)


def test_grids_are_drawn_evenly() -> None:
    values = draws({"type": "float", "low": 0.1, "high": 0.75, "step": 0.2, "default": 0.1})
    shares = {value: values.count(value) / len(values) for value in set(values)}
    assert sorted(shares) == [0.1, 0.3, 0.5, 0.7]
    assert list(shares.values()) == pytest.approx([0.25] * 4, abs=0.04)


def test_the_last_grid_point_is_not_beyond_the_range() -> None:
    """In floats 23 steps of 141.53... end above 3255.25."""
    values = draws({"type": "float", "low": 0.0, "high": 3255.25, "step": 141.5326086956522, "default": 0.0})
    assert max(values) == 3255.25
    assert len(set(values)) == 24
