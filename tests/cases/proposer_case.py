"""What every proposer must keep, on spaces of every shape. A proposer joins with a subclass and one fixture."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import Any

import pytest

from agent.errors import ProposalError
from agent.propose.base import Proposer
from agent.records import CandidateResult, Objective, Outcome, Proposal
from agent.reference import Reference, canonical, check_values, config_key, parse_reference

Raw = dict[str, Any]

SPACES: dict[str, Raw] = {
    "mixed": {
        "lr": {"type": "float", "low": 1e-5, "high": 0.1, "log": True, "default": 1e-3},
        "dropout": {"type": "float", "low": 0.0, "high": 0.5, "default": 0.1},
        "layers": {"type": "int", "low": 1, "high": 8, "default": 2},
        "norm": {"type": "categorical", "choices": ["batch", "layer", "none"], "default": "batch"},
        "mixup": {"type": "bool", "default": False},
        "epochs": {"type": "int", "low": 1, "high": 100, "default": 5, "tune": False},
    },
    "conditional": {
        "momentum": {"type": "float", "low": 0.0, "high": 0.99, "default": 0.9, "condition": "optimizer == 'sgd'"},
        "optimizer": {"type": "categorical", "choices": ["adam", "sgd"], "default": "adam"},
        "nesterov": {"type": "bool", "default": True, "condition": "momentum > 0.2"},
        "beta2": {"type": "float", "low": 0.9, "high": 0.999, "default": 0.99, "condition": "optimizer == 'adam'"},
    },
    "constrained": {
        "d_model": {"type": "int", "low": 8, "high": 128, "step": 8, "default": 32},
        "n_heads": {"type": "int", "low": 1, "high": 16, "default": 4},
        "low": {"type": "float", "low": 0.0, "high": 1.0, "default": 0.1},
        "high": {"type": "float", "low": 0.0, "high": 1.0, "default": 0.9},
    },
    "numbers": {
        "width": {"type": "int", "low": 1, "high": 4096, "log": True, "default": 64},
        "batch": {"type": "int", "low": 32, "high": 500, "step": 32, "default": 128},
        "smoothing": {"type": "float", "low": 0.1, "high": 0.75, "step": 0.1, "default": 0.1},
        "thirds": {"type": "float", "low": 0.0, "high": 3255.25, "step": 141.5326086956522, "default": 0.0},
        "tiny": {"type": "float", "low": 1e-12, "high": 1e-9, "log": True, "default": 1e-10},
        "vast": {"type": "float", "low": -1e15, "high": 1e15, "default": 0.0},
    },
    "choices": {
        "batch_size": {"type": "categorical", "choices": [32, 64, 128, 256], "default": 64},
        "odd": {"type": "categorical", "choices": [1, True, "1", 0.5, False, 0], "default": 1},
        "only": {"type": "categorical", "choices": ["one"], "default": "one"},
        "seed_word": {"type": "categorical", "choices": [f"word {k}" for k in range(500)], "default": "word 0"},
    },
    "tiny": {
        "depth": {"type": "int", "low": 1, "high": 3, "default": 1},
        "bias": {"type": "bool", "default": True},
        "scale": {"type": "float", "low": 0.0, "high": 1.0, "step": 0.5, "default": 0.5, "condition": "bias"},
    },
}
CONSTRAINTS = {
    "constrained": [
        {"expression": "d_model % n_heads == 0", "message": "heads must divide the model's width"},
        {"expression": "low < high", "message": "low must be below high"},
    ],
    "tiny": [{"expression": "depth < 3 or not bias", "message": "deep ones have no bias"}],
}
TINY_SIZE = 9
"""depth 1 and 2 with 3 scales or no bias, depth 3 without bias."""


def make_reference(parameters: Raw, constraints: list[Raw] | None = None) -> Reference:
    raw = {
        "schema_version": 1,
        "trainer": "t",
        "objective": {"metric": "score", "direction": "maximize"},
        "parameters": {name: {"description": name, **entry} for name, entry in parameters.items()},
        "constraints": constraints or [],
    }
    return parse_reference(raw, file="case")


def space(name: str) -> Reference:
    return make_reference(SPACES[name], CONSTRAINTS.get(name))


def observe(
    reference: Reference,
    values: Raw,
    value: float | None,
    *,
    number: int = 1,
    candidate: str = "c00",
    outcome: Outcome | None = None,
) -> CandidateResult:
    failed = value is None
    return CandidateResult(
        round=number,
        candidate=candidate,
        values=canonical(reference, values),
        key=config_key(reference, values),
        outcome=outcome or (Outcome.BAD_CONFIG if failed else Outcome.OK),
        value=value,
        n=0 if failed else 1,
        source="test",
        message="loss is nan" if failed else "",
    )


def study(reference: Reference, proposals: Iterable[Proposal], *, fail_every: int = 0) -> list[CandidateResult]:
    """A history of these proposals with made-up scores, every fail_every-th a failure."""
    rng = random.Random(0)
    return [
        observe(
            reference,
            dict(proposal.values),
            None if fail_every and position % fail_every == 0 else rng.random(),
            number=1 + position // 4,
            candidate=f"c{position % 4:02d}",
        )
        for position, proposal in enumerate(proposals)
    ]


class ProposerCase:
    """Subclass, and give a fixture `proposer`."""

    fills = True
    """False for a proposer that has only one proposal to make."""
    depends_on_seed = True

    MAXIMIZE = Objective(metric="score", direction="maximize")
    MINIMIZE = Objective(metric="score", direction="minimize")

    @pytest.fixture
    def proposer(self) -> Proposer:
        raise NotImplementedError

    def ask(
        self,
        proposer: Proposer,
        reference: Reference,
        history: list[CandidateResult],
        count: int = 4,
        *,
        seed: int = 1,
        taken: frozenset[str] | None = None,
        objective: Objective = MAXIMIZE,
    ) -> list[Proposal]:
        """Propose, and hold the answer against what is always promised."""
        if taken is None:
            taken = frozenset(observation.key for observation in history)
        proposals = proposer.propose(reference, history, count, objective=objective, seed=seed, taken=taken)
        self.check(reference, proposals, count, taken)
        return proposals

    def check(self, reference: Reference, proposals: list[Proposal], count: int, taken: frozenset[str]) -> None:
        keys = [config_key(reference, proposal.values) for proposal in proposals]
        assert 1 <= len(proposals) <= count
        assert len(set(keys)) == len(keys)
        assert not set(keys) & taken
        for proposal in proposals:
            assert check_values(reference, proposal.values, complete=True) == []
            effective = canonical(reference, proposal.values)
            tunable = {name: effective[name] for name in reference.tunable() if name in effective}
            assert dict(proposal.values) == tunable
            for name, value in proposal.values.items():
                self.check_type(reference, name, value)
            assert json.loads(json.dumps(dict(proposal.values))) == dict(proposal.values)
            json.dumps(dict(proposal.details), allow_nan=False)
            assert "\n" not in proposal.reason
        if len(proposals) < count:
            assert all(f"found {len(proposals)}" in str(p.details["shortfall"]) for p in proposals)

    def check_type(self, reference: Reference, name: str, value: object) -> None:
        parameter = reference.parameters[name]
        if parameter.type == "categorical":
            assert any(value == choice and type(value) is type(choice) for choice in parameter.choices)
        else:
            assert type(value) is {"float": float, "int": int, "bool": bool}[parameter.type]

    def grow(
        self, proposer: Proposer, reference: Reference, rounds: int, *, fail_every: int = 0, count: int = 4
    ) -> list[CandidateResult]:
        """A study of some rounds in which the proposer itself chose everything."""
        made: list[Proposal] = []
        for number in range(rounds):
            history = study(reference, made, fail_every=fail_every)
            try:
                made += self.ask(proposer, reference, history, count, seed=number)
            except ProposalError:
                break
        return study(reference, made, fail_every=fail_every)

    @pytest.mark.parametrize("name", SPACES)
    def test_proposes_from_no_history(self, proposer: Proposer, name: str) -> None:
        proposals = self.ask(proposer, space(name), [])
        assert len(proposals) == (4 if self.fills else 1)

    @pytest.mark.parametrize("name", SPACES)
    @pytest.mark.parametrize("direction", ["maximize", "minimize"])
    def test_proposes_over_rounds(self, proposer: Proposer, name: str, direction: str) -> None:
        reference = space(name)
        history = self.grow(proposer, reference, 4)
        assert len(history) == (min(16, TINY_SIZE if name == "tiny" else 16) if self.fills else 1)
        if name != "tiny" and self.fills:
            objective = Objective(metric="score", direction=direction)
            assert len(self.ask(proposer, reference, history, 3, objective=objective)) == 3

    @pytest.mark.parametrize("name", ["mixed", "conditional"])
    @pytest.mark.parametrize("fail_every", [1, 2])
    def test_learns_around_failures(self, proposer: Proposer, name: str, fail_every: int) -> None:
        history = self.grow(proposer, space(name), 4, fail_every=fail_every)
        assert any(observation.value is None for observation in history)

    def test_infrastructure_failures_say_nothing(self, proposer: Proposer) -> None:
        reference = space("mixed")
        history = self.grow(proposer, reference, 3)
        lost = [
            observe(reference, {"lr": 0.01, "layers": layers}, None, outcome=Outcome.LOST) for layers in range(1, 8)
        ]
        taken = frozenset(o.key for o in [*history, *lost])
        if self.fills:
            with_lost = self.ask(proposer, reference, [*history, *lost], taken=taken)
            without = self.ask(proposer, reference, history, taken=taken)
            assert [p.values for p in with_lost] == [p.values for p in without]

    @pytest.mark.parametrize("name", SPACES)
    def test_the_same_call_gives_the_same_answer(self, proposer: Proposer, name: str) -> None:
        reference = space(name)
        history = self.grow(proposer, reference, 2, count=3) if self.fills else []
        assert self.ask(proposer, reference, history, 3) == self.ask(proposer, reference, history, 3)

    def test_the_seed_matters(self, proposer: Proposer) -> None:
        reference = space("mixed")
        history = self.grow(proposer, reference, 2) if self.fills else []
        answers = [self.ask(proposer, reference, history, seed=seed) for seed in (1, 2, 2**80)]
        different = {json.dumps([dict(p.values) for p in answer]) for answer in answers}
        assert len(different) == (3 if self.depends_on_seed else 1)

    def test_arguments_stay_as_they_were(self, proposer: Proposer) -> None:
        reference = space("mixed")
        history = self.grow(proposer, reference, 2)
        text, before = reference.to_text(), list(history)
        self.ask(proposer, reference, history, taken=frozenset())
        assert (reference.to_text(), history) == (text, before)

    def test_ambient_randomness_is_left_alone(self, proposer: Proposer) -> None:
        random.seed(7)
        expected = random.random()
        random.seed(7)
        self.ask(proposer, space("mixed"), [])
        assert random.random() == expected

    def test_a_tiny_space_is_used_up_exactly(self, proposer: Proposer) -> None:
        reference = space("tiny")
        history = self.grow(proposer, reference, 10)
        keys = {observation.key for observation in history}
        assert len(keys) == len(history) == (TINY_SIZE if self.fills else 1)
        with pytest.raises(ProposalError) as caught:
            proposer.propose(reference, history, 4, objective=self.MAXIMIZE, seed=1, taken=frozenset(keys))
        if self.fills:
            assert f"asked for 4 untried settings, found 0: the space holds {TINY_SIZE} valid" in str(caught.value)

    def test_the_last_free_settings_are_found(self, proposer: Proposer) -> None:
        if not self.fills:
            pytest.skip("has one proposal to make")
        reference = make_reference({"k": {"type": "int", "low": 1, "high": 10_000, "default": 1}})
        free = {17, 5000}
        taken = frozenset(config_key(reference, {"k": k}) for k in range(1, 10_001) if k not in free)
        history = [observe(reference, {"k": k}, float(k)) for k in (1, 2, 3, 4, 6)]
        proposals = self.ask(proposer, reference, history, taken=taken)
        assert {proposal.values["k"] for proposal in proposals} == free

    def test_impossible_constraints_are_said(self, proposer: Proposer) -> None:
        if not self.fills:
            pytest.skip("proposes what stands, which is valid")
        reference = make_reference(
            {"x": {"type": "float", "low": 0, "high": 1, "default": 0.5}},
            [{"expression": "x == 0.5", "message": "only the half"}],
        )
        with pytest.raises(ProposalError, match=r"found 0: 20,000 random draws"):
            self.ask(proposer, reference, [], taken=frozenset({config_key(reference)}))

    def test_a_narrowed_range_is_kept_to(self, proposer: Proposer) -> None:
        history = self.grow(proposer, space("mixed"), 4)
        narrow = {**SPACES["mixed"], "lr": {"type": "float", "low": 1e-3, "high": 2e-3, "log": True, "default": 1e-3}}
        narrow["norm"] = {"type": "categorical", "choices": ["batch", "new"], "default": "batch"}
        narrow["added"] = {"type": "bool", "default": False}
        del narrow["dropout"]
        assert self.ask(proposer, make_reference(narrow), history, taken=frozenset())

    def test_a_parameter_added_by_a_person_is_proposed(self, proposer: Proposer) -> None:
        history = self.grow(proposer, space("mixed"), 4)
        wider = {**SPACES["mixed"], "added": {"type": "float", "low": 0, "high": 1, "default": 0.0}}
        proposals = self.ask(proposer, make_reference(wider), history)
        assert all("added" in proposal.values for proposal in proposals)

    def test_equal_scores_are_fine(self, proposer: Proposer) -> None:
        reference = space("mixed")
        history = [observe(reference, {"layers": layers}, 0.5) for layers in range(1, 9)]
        assert self.ask(proposer, reference, history, taken=frozenset())

    def test_a_space_with_nothing_to_tune_has_one_setting(self, proposer: Proposer) -> None:
        fixed = make_reference({"x": {"type": "bool", "default": True, "tune": False}})
        assert [dict(p.values) for p in self.ask(proposer, fixed, [], 2)] == [{}]

    def test_no_count_is_refused(self, proposer: Proposer) -> None:
        with pytest.raises(ValueError, match="at least one"):
            proposer.propose(space("mixed"), [], 0, objective=self.MAXIMIZE, seed=1, taken=frozenset())
