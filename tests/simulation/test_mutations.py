"""The simulation can fail: a few mutations are noticed here, all by `python -m tests.simulation.mutations`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.mutations import MUTATIONS, Moved, Mutation, applied, function_of, hunt, table

#: Caught within the first studies; the others take minutes.
QUICK = (
    "no intent before sbatch",
    "a submission is made again although it is recorded",
    "a summary counts although a result came later",
    "hours are refunded at every look",
)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_each_mutation_changes_a_line_of_the_product_and_takes_it_back(mutation: Mutation) -> None:
    function = function_of(mutation.where)
    before = function.__code__
    with applied(mutation):
        assert function.__code__ is not before
    assert function.__code__ is before


def test_a_line_that_moved_is_told() -> None:
    gone = Mutation(name="gone", where="trainers.files:to_json", old="a line that is not there", new="")
    with pytest.raises(Moved, match="0 times in"), applied(gone):
        pass


def test_there_are_enough_of_them_and_each_has_a_name() -> None:
    assert len(MUTATIONS) >= 20 and len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)


@pytest.mark.parametrize("name", QUICK)
def test_the_simulation_notices(name: str, home: Path) -> None:
    mutation = next(one for one in MUTATIONS if one.name == name)
    caught = hunt(mutation, home, most=40)
    assert caught.ended is not None and name in table([caught])
