"""Successive halving: budgets, and who goes on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.halving import Entrant, Halving, promoted
from agent.records import Objective

UP, DOWN = Objective(metric="score", direction="maximize"), Objective(metric="loss", direction="minimize")


@pytest.mark.parametrize(
    ("rungs", "eta", "epochs", "budgets"),
    [(1, 3, 9, (9,)), (3, 3, 9, (1, 3, 9)), (2, 4, 50, (13, 50)), (4, 2, 1000, (125, 250, 500, 1000))],
)
def test_each_rung_trains_eta_times_as_long(rungs: int, eta: int, epochs: int, budgets: tuple[int, ...]) -> None:
    assert Halving(rungs=rungs, eta=eta, epochs=epochs).budgets == budgets


def test_rungs_that_would_not_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="--rungs 4 with --eta 3 would train for 1, 1, 2, 6 epochs: each rung"):
        Halving(rungs=4, eta=3, epochs=6)


def entrants(*values: float | None, seeded: tuple[int, ...] = ()) -> list[Entrant]:
    return [Entrant(name=f"c{i:02d}", value=value, seeded=i in seeded) for i, value in enumerate(values)]


@pytest.mark.parametrize(
    ("given_", "objective", "eta", "kept"),
    [
        (entrants(1, 5, 3, 4, 2, 0), UP, 3, ["c01", "c03"]),
        (entrants(1, 5, 3, 4, 2, 0), DOWN, 3, ["c00", "c05"]),
        # The default goes on beside the best one in eta of the others, not in its place.
        (entrants(0, 5, 3, 4, seeded=(0,)), UP, 3, ["c00", "c01"]),
        # What failed never goes on, the default no more than others.
        (entrants(None, 5, None, 4, seeded=(0,)), UP, 2, ["c01"]),
        (entrants(None, None, 3, None, None, None), UP, 2, ["c02"]),
        (entrants(None, None), UP, 2, []),
        # Ties go to the earlier one.
        (entrants(2, 2, 2), UP, 3, ["c00"]),
        (entrants(7), UP, 3, ["c00"]),
    ],
)
def test_who_goes_on(given_: list[Entrant], objective: Objective, eta: int, kept: list[str]) -> None:
    assert promoted(given_, objective, eta) == kept


@given(
    st.lists(st.none() | st.floats(-1e6, 1e6), min_size=1, max_size=40),
    st.integers(2, 5),
    st.sampled_from([UP, DOWN]),
)
def test_nobody_who_stays_is_better_than_one_who_goes_on(
    values: list[float | None], eta: int, objective: Objective
) -> None:
    kept = promoted(entrants(*values), objective, eta)
    scored = {e.name: e.value for e in entrants(*values) if e.value is not None}
    assert len(kept) == min(len(scored), max(1, len(values) // eta))
    for name in kept:
        for other in scored.keys() - set(kept):
            assert not objective.better(scored[other], scored[name])
