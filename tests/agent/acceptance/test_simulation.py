"""What the rule catches and misses, in simulated studies judged by the product's own functions.

Seeded, 20 s in all; benchmarks/acceptance.py is the long version, doc/acceptance.md has its table.
"""

from __future__ import annotations

import pytest

from benchmarks.acceptance import false_acceptances, power


def test_no_true_gain_one_candidate_a_round() -> None:
    """K=1, n=5, 20 rounds, 150 studies: 3,000 rounds."""
    found = false_acceptances(k=1, n=5, rounds=20, studies=150, seed=11)
    assert found.a_round < 0.05 and found.first < 0.10
    assert 0.4 < found.greedy < 0.6
    assert found.a_study < 0.4


def test_no_true_gain_four_candidates_a_round() -> None:
    """K=4, n=7, 20 rounds, 40 studies: 800 rounds."""
    found = false_acceptances(k=4, n=7, rounds=20, studies=40, seed=12)
    assert found.a_round < 0.05
    assert found.a_study < 0.4
    assert found.greedy > 0.65, "greedy acceptance takes noise in about four rounds of five"


@pytest.mark.parametrize(("k", "n", "before"), [(1, 6, 0), (1, 5, 1), (1, 5, 4), (4, 7, 0), (4, 7, 2)])
def test_two_noise_units_are_accepted_at_the_recommended_n(k: int, n: int, before: int) -> None:
    """`before`: rounds between the default's own and the one looked at; 600 studies each."""
    assert power(k=k, n=n, gain=2.0, before=before, studies=600, seed=13) >= 0.80


def test_half_a_noise_unit_is_hardly_ever_accepted() -> None:
    assert power(k=4, n=7, gain=0.5, before=0, studies=200, seed=14) < 0.15


def test_without_the_correction_the_best_of_four_is_accepted_too_often() -> None:
    """The same rounds with and without it: what the correction is for."""
    from agent.acceptance import Rules

    with_it, without = (
        false_acceptances(k=4, n=7, rounds=1, studies=600, seed=15, rules=Rules(correction=name))
        for name in ("sidak", "none")
    )
    assert with_it.first < 0.06 < 0.08 < without.first
