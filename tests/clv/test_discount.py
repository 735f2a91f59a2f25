import math

import numpy as np
import pytest

from loyalty_research.clv._discount import YEAR, discounting
from loyalty_research.errors import ArgumentError

OPTIONS = {
    "annual_discount_rate": 0.1,
    "horizon": 52,
    "convention": "continuous",
    "periods_per_year": 12,
    "unit": "W",
}


def test_a_year_is_52_weeks_or_365_and_a_quarter_days():
    assert YEAR == {"W": 52.0, "D": 365.25}
    assert discounting(**OPTIONS).decay == pytest.approx(math.log(1.1) / 52, rel=1e-14)
    assert discounting(**{**OPTIONS, "unit": "D"}).decay == pytest.approx(math.log(1.1) / 365.25, rel=1e-14)


def test_periods_end_at_the_horizon():
    whole = discounting(**{**OPTIONS, "convention": "end-of-period"})
    assert len(whole.factors) == 12
    assert whole.edges[-1] == 52
    np.testing.assert_allclose(whole.factors, 1.1 ** (-np.arange(1, 13) / 12))
    cut = discounting(**{**OPTIONS, "convention": "end-of-period", "horizon": 60, "periods_per_year": 1})
    assert cut.edges == (0, 52, 60)
    np.testing.assert_allclose(cut.factors, [1.1**-1, 1.1 ** (-60 / 52)])
    short = discounting(**{**OPTIONS, "convention": "end-of-period", "horizon": 1})
    assert short.edges == (0, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"annual_discount_rate": -0.01}, "annual_discount_rate must be"),
        ({"annual_discount_rate": math.nan}, "annual_discount_rate must be"),
        ({"horizon": -1}, "horizon must be"),
        ({"horizon": math.nan}, "horizon must be"),
        ({"horizon": None, "annual_discount_rate": 0}, "give a horizon="),
        ({"horizon": math.inf, "annual_discount_rate": 0}, "give a horizon="),
        ({"horizon": None, "convention": "end-of-period"}, "needs a horizon="),
        ({"convention": "monthly"}, "continuous, end-of-period"),
        ({"convention": "end-of-period", "periods_per_year": 0}, "periods_per_year"),
        ({"unit": None}, "unit='W' or unit='D'"),
    ],
)
def test_bad_options_are_refused(change, said):
    with pytest.raises(ArgumentError, match=said):
        discounting(**{**OPTIONS, **change})
