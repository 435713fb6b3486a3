"""The noise floor: hand-computed tables, degrees of freedom, what pairing takes out, and outliers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable

import numpy
import pytest

from agent.acceptance import Noise, estimate
from agent.acceptance.noise import far_above

Table = dict[Hashable, dict[Hashable, float]]


def table(rows: list[list[float | None]]) -> Table:
    """One candidate a row, one (fold, seed) a column; None is a lost row."""
    return {name: {(cell, 0): v for cell, v in enumerate(row) if v is not None} for name, row in enumerate(rows)}


def test_two_candidates_by_hand() -> None:
    # Gains 1, 3, 2: their variance is 1, half of it is the noise's, with n - 1 degrees of freedom.
    found = estimate(table([[10, 20, 30], [11, 23, 32]]))
    assert found is not None
    assert (found.variance, found.df) == (pytest.approx(0.5), 2)
    assert found.of_gain(3) == pytest.approx(math.sqrt(1 / 3))


def test_what_folds_and_candidates_do_is_no_noise() -> None:
    exact = table([[1.0, 5.0, 9.0], [2.0, 6.0, 10.0], [0.5, 4.5, 8.5]])
    found = estimate(exact)
    assert found is not None
    assert (found.variance, found.df) == (0.0, 4)


def test_lost_rows_are_the_least_squares_fit() -> None:
    rows: list[list[float | None]] = [[1.0, 2.5, None], [2.0, 2.9, 4.4], [None, 3.1, 5.0], [0.4, 1.7, 3.3]]
    found = estimate(table(rows))
    values = [(c, f, v) for c, row in enumerate(rows) for f, v in enumerate(row) if v is not None]
    design = numpy.zeros((len(values), 7))
    for place, (c, f, _) in enumerate(values):
        design[place, [c, 4 + f]] = 1
    _, (squares,), rank, _ = numpy.linalg.lstsq(design[:, :-1], numpy.array([v for *_, v in values]), rcond=None)
    assert found is not None
    assert found.df == len(values) - rank
    assert found.variance == pytest.approx(squares / found.df, rel=1e-8)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [[1.0]],
        [[1.0], [2.0], [3.0]],
        [[1.0, 2.0, 3.0]],
        [[1.0, None], [None, 2.0]],
        [[1.0, 2.0, None], [None, 2.0, None]],
    ],
)
def test_without_a_degree_of_freedom_there_is_no_estimate(rows: list[list[float | None]]) -> None:
    assert estimate(table(rows)) is None


def test_parts_of_the_table_that_share_nothing_are_pooled() -> None:
    one, two = [[1.0, 2.0], [1.5, 2.2]], [[5.0, 7.0], [5.5, 7.9]]
    apart: Table = {**table(one), **{f"late{n}": {(c, 9): v for c, v in enumerate(r)} for n, r in enumerate(two)}}
    first, second, both = estimate(table(one)), estimate(table(two)), estimate(apart)
    assert first is not None and second is not None and both is not None
    assert (first.df, second.df, both.df) == (1, 1, 2)
    assert both.variance == pytest.approx((first.variance + second.variance) / 2)


def test_confirmations_and_replicates_count() -> None:
    gains = [0.1, 0.3, 0.2]
    found = estimate({}, gains=[gains, [0.5]], replicates=[[1.0, 1.2], [2.0]])
    assert found is not None
    assert found.df == 2 + 1
    assert found.variance == pytest.approx((2 * statistics.variance(gains) / 2 + statistics.variance([1.0, 1.2])) / 3)


def test_the_estimate_is_unbiased() -> None:
    rng = numpy.random.default_rng(3)
    found = []
    for _ in range(300):
        rows = rng.normal(0, 0.5, (4, 5)) + rng.normal(0, 9, (1, 5)) + rng.normal(0, 9, (4, 1))
        noise = estimate(table(rows.tolist()))
        assert noise is not None
        found.append(noise.variance)
    assert statistics.fmean(found) == pytest.approx(0.25, rel=0.1)


def test_an_outlier_is_left_out_and_named() -> None:
    rng = numpy.random.default_rng(1)
    rows = (rng.normal(0, 0.01, (8, 5)) + 0.9).tolist()
    rows[3] = [0.1, 0.9, 0.2, 0.8, 0.5]  # diverged in some folds
    calm = estimate(table([row for place, row in enumerate(rows) if place != 3]))
    found = estimate(table(rows))
    assert calm is not None and found is not None
    assert found.left_out == (3,)
    assert (found.variance, found.df) == (pytest.approx(calm.variance), calm.df)


def test_pure_noise_has_hardly_an_outlier() -> None:
    rng = numpy.random.default_rng(2)
    found = [estimate(table(rng.normal(0, 1, (6, 4)).tolist())) for _ in range(400)]
    assert sum(bool(noise.left_out) for noise in found if noise is not None) <= 4


def test_far_above() -> None:
    assert far_above(100, 4, 1, 20) and not far_above(3, 4, 1, 20) and not far_above(1, 4, 1, 20)
    assert far_above(1e-9, 3, 0.0, 8), "beside a deterministic study any spread is another one"
    assert not far_above(5, 0, 1, 20)


@pytest.mark.parametrize(("variance", "df"), [(1.0, 0), (-1.0, 3), (math.nan, 3), (math.inf, 3)])
def test_what_is_no_noise(variance: float, df: int) -> None:
    with pytest.raises(ValueError, match="noise"):
        Noise(variance=variance, df=df)
