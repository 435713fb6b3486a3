"""Student's t and Fisher's F against published tables (NIST/SEMATECH handbook, 1.3.6.7.2 and .3)."""

from __future__ import annotations

import pytest

from agent.acceptance.student import f_sf, incomplete_beta, normal_sf, t_quantile, t_sf


@pytest.mark.parametrize(
    ("alpha", "df", "expected"),
    [
        (0.05, 1, 6.314),
        (0.05, 3, 2.353),
        (0.025, 10, 2.228),
        (0.01, 24, 2.492),
        (0.001, 5, 5.893),
        (0.10, 60, 1.296),
        (0.05, 1e7, 1.645),
    ],
)
def test_quantiles_of_t(alpha: float, df: float, expected: float) -> None:
    assert t_quantile(alpha, df) == pytest.approx(expected, abs=6e-4)
    assert t_sf(t_quantile(alpha, df), df) == pytest.approx(alpha, rel=1e-8)


@pytest.mark.parametrize(
    ("f", "df1", "df2", "alpha"),
    [(161.448, 1, 1, 0.05), (4.066, 3, 8, 0.05), (5.205, 4, 13, 0.01), (2.978, 10, 10, 0.05)],
)
def test_tails_of_f(f: float, df1: int, df2: int, alpha: float) -> None:
    assert f_sf(f, df1, df2) == pytest.approx(alpha, rel=2e-3)


def test_t_and_f_agree_and_have_their_symmetries() -> None:
    for t, df in ((0.3, 4), (2.5, 9), (7.0, 30)):
        assert f_sf(t * t, 1, df) == pytest.approx(2 * t_sf(t, df), rel=1e-10)
        assert t_sf(-t, df) == pytest.approx(1 - t_sf(t, df))
    assert incomplete_beta(0.3, 2, 5) == pytest.approx(1 - incomplete_beta(0.7, 5, 2))
    assert (incomplete_beta(0, 2, 3), incomplete_beta(1, 2, 3), f_sf(0, 2, 2)) == (0, 1, 1)
    assert normal_sf(1.644854) == pytest.approx(0.05, rel=1e-6)


@pytest.mark.parametrize("alpha", [0, -0.1, 0.6, float("nan")])
def test_no_quantile_beyond_the_upper_half(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        t_quantile(alpha, 3)
