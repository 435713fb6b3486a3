"""TPE: the contract, and that it really models the history."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import replace

import pytest

from agent.propose.optuna_tpe import STARTUP, TPEProposer
from agent.records import CandidateResult, Objective, Outcome, Proposal
from agent.reference import Reference
from tests.cases.proposer_case import ProposerCase, make_reference, observe, space

MINIMIZE = Objective(metric="loss", direction="minimize")
MAXIMIZE = Objective(metric="score", direction="maximize")
SQUARE = make_reference(
    {
        "x": {"type": "float", "low": -5.0, "high": 5.0, "default": 4.0},
        "y": {"type": "float", "low": 1e-4, "high": 1.0, "log": True, "default": 0.9},
    }
)


class TestTPE(ProposerCase):
    @pytest.fixture
    def proposer(self) -> TPEProposer:
        return TPEProposer()


def propose(
    reference: Reference,
    history: list[CandidateResult],
    count: int = 4,
    *,
    seed: int = 1,
    objective: Objective = MINIMIZE,
) -> list[Proposal]:
    taken = frozenset(observation.key for observation in history)
    return TPEProposer().propose(reference, history, count, objective=objective, seed=seed, taken=taken)


def scattered(count: int) -> list[dict[str, float]]:
    rng = random.Random(5)
    return [{"x": rng.uniform(-5, 5), "y": 10 ** rng.uniform(-4, 0)} for _ in range(count)]


def bowl(values: dict[str, float]) -> float:
    """0 at x = 1, y = 0.01."""
    return (values["x"] - 1) ** 2 / 25 + (math.log10(values["y"]) + 2) ** 2 / 4


@pytest.mark.parametrize("sign", [1, -1])
def test_it_looks_where_it_was_good(sign: int) -> None:
    history = [observe(SQUARE, values, sign * bowl(values)) for values in scattered(30)]
    objective = MINIMIZE if sign == 1 else MAXIMIZE
    proposals = [p for seed in range(5) for p in propose(SQUARE, history, seed=seed, objective=objective)]
    assert {proposal.source for proposal in proposals} == {"optuna_tpe"}
    proposed = statistics.median(bowl(dict(p.values)) for p in proposals)
    assert proposed < statistics.median(bowl(values) for values in scattered(200)) / 3


def test_it_stays_away_from_settings_that_failed() -> None:
    history = [
        observe(SQUARE, values, None if values["x"] > 0 else bowl(values), candidate=f"c{position:02d}")
        for position, values in enumerate(scattered(40))
    ]
    proposals = [p for seed in range(10) for p in propose(SQUARE, history, seed=seed)]
    assert sum(p.values["x"] > 0.5 for p in proposals) < len(proposals) / 5


def test_what_rungs_gave_up_is_worse_than_all_that_was_trained_in_full() -> None:
    """Values of few epochs are better here than those of full trainings: as numbers they must not be compared."""
    full = [observe(SQUARE, {"x": 3.0 + i / 100, "y": 0.5}, 1.0 + i / 100) for i in range(3)]
    short = [
        replace(observe(SQUARE, values, bowl(values) / 1000), fidelity=1 / 9, candidate=f"rung 1 c{i:02d}")
        for i, values in enumerate(scattered(27))
    ]
    proposals = [p for seed in range(10) for p in propose(SQUARE, [*full, *short], seed=seed)]
    assert {p.source for p in proposals} == {"optuna_tpe"}
    assert proposals[0].details["n_screened"] == 27 and "27 given up in rungs" in proposals[0].reason
    assert "best so far loss 1 in" in proposals[0].reason
    near = sum(abs(p.values["x"] - 3) < 2 for p in proposals)
    assert near > len(proposals) / 2, near


def test_the_start_is_random_and_says_so() -> None:
    history = [observe(SQUARE, values, bowl(values)) for values in scattered(STARTUP - 1)]
    proposals = propose(SQUARE, history)
    assert {proposal.source for proposal in proposals} == {"random_startup"}
    assert proposals[1].reason == ("random start-up draw 2 of 4: TPE begins with 4 scored trials, and 3 are there")
    assert proposals[0].details == {"n_scored": 3, "n_failed": 0, "seed": 1}


def test_only_scored_trials_end_the_start() -> None:
    failures = [observe(SQUARE, values, None) for values in scattered(10)]
    assert {proposal.source for proposal in propose(SQUARE, failures)} == {"random_startup"}


def test_the_reason_tells_the_numbers() -> None:
    history = [
        observe(SQUARE, values, 1.5 + k, number=k, candidate="c01") for k, values in enumerate(scattered(6), 1)
    ]
    history.append(observe(SQUARE, {"x": 0.0, "y": 0.5}, None, outcome=Outcome.LOST))
    proposal = propose(SQUARE, history)[0]
    assert proposal.reason == "TPE over 6 scored trials, 1 failed; best so far loss 2.5 in round 1 c01"
    assert proposal.details["n_failed"] == 1


def test_observations_outside_todays_ranges_are_counted() -> None:
    narrow = make_reference(
        {
            "x": {"type": "float", "low": -1.0, "high": 1.0, "default": 0.0},
            "y": {"type": "float", "low": 1e-4, "high": 1.0, "log": True, "default": 0.9},
        }
    )
    values = scattered(30)
    inside = sum(-1 <= entry["x"] <= 1 for entry in values)
    proposals = propose(narrow, [observe(SQUARE, entry, bowl(entry)) for entry in values])
    assert proposals[0].details["n_scored"] == inside
    assert proposals[0].details["n_outside"] == 30 - inside


def test_a_random_fill_is_never_called_tpe() -> None:
    reference = space("tiny")
    standing = [{"depth": 1}, {"depth": 2}, {"depth": 1, "scale": 0.0}, {"depth": 2, "scale": 1.0}]
    history = [observe(reference, values, float(k)) for k, values in enumerate(standing)]
    proposals = propose(reference, history, 5)
    assert len(proposals) == 5
    for proposal in proposals:
        assert proposal.source in ("optuna_tpe", "random_fill")
        assert proposal.reason.startswith("TPE over" if proposal.source == "optuna_tpe" else "random draw, because")


def test_a_batch_spreads_out() -> None:
    history = [observe(SQUARE, values, bowl(values)) for values in scattered(30)]
    xs = sorted(float(p.values["x"]) for p in propose(SQUARE, history, 8))
    assert xs[-1] - xs[0] > 0.5


def test_conditional_parameters_are_learned_in_their_branch() -> None:
    """With sgd the best momentum is 0.9; adam is bad whatever beta2 is."""
    reference = space("conditional")
    rng = random.Random(1)
    history = []
    for _ in range(30):
        momentum = round(rng.uniform(0, 0.99), 3)
        values = {"optimizer": "sgd", "momentum": momentum}
        history.append(observe(reference, values, 1 - abs(momentum - 0.9)))
        beta2 = round(rng.uniform(0.9, 0.999), 4)
        history.append(observe(reference, {"optimizer": "adam", "beta2": beta2}, 0.1))
    proposals = [p for seed in range(8) for p in propose(reference, history, seed=seed, objective=MAXIMIZE)]
    sgd = [float(p.values["momentum"]) for p in proposals if p.values["optimizer"] == "sgd"]
    assert len(sgd) > len(proposals) / 2
    assert statistics.median(abs(momentum - 0.9) for momentum in sgd) < 0.2


def test_optunas_own_settings_are_left_as_they_were() -> None:
    import optuna

    before = optuna.logging.get_verbosity()
    propose(SQUARE, [observe(SQUARE, values, bowl(values)) for values in scattered(6)])
    assert optuna.logging.get_verbosity() == before


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    import subprocess
    import sys

    code = "import sys, agent.propose.optuna_tpe, agent.diagnosis, agent.roles.checker, agent.acceptance\n"
    code += "print([m for m in ('optuna', 'numpy', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
