"""Student's t against scipy's."""

import pytest
from scipy import stats

from tfcli.compare.student import quantile, two_sided


@pytest.mark.parametrize("freedom", [1, 2, 5.5, 29, 1000, 1e6])
@pytest.mark.parametrize("t", [0.0, 0.01, 1.0, -2.3, 8.0, 60.0, float("inf")])
def test_the_chance_of_both_tails_is_scipys(t: float, freedom: float) -> None:
    assert two_sided(t, freedom) == pytest.approx(2 * stats.t.sf(abs(t), freedom), rel=1e-7)


@pytest.mark.parametrize("freedom", [1, 3, 29, 1e5])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.975, 0.9999])
def test_quantiles_are_scipys(share: float, freedom: float) -> None:
    assert quantile(share, freedom) == pytest.approx(stats.t.ppf(share, freedom), abs=1e-8)


def test_a_share_below_a_half_is_refused() -> None:
    with pytest.raises(ValueError, match="share"):
        quantile(0.3, 5)
