"""Draws over the ranges of all assumptions: the distribution asked for, and what certainty leaves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from loyalty_research.errors import ArgumentError
from loyalty_research.mechanisms import mechanism
from loyalty_research.programme import Scenario, assumption_odds
from loyalty_research.programme.assumption_odds import triangular

FIVE = mechanism("points", points_per_unit=100, reward_points=1, reward_value=0.0005)
MEMBERS = Scenario(mechanism=FIVE, join_share=0.5, rate_effect=0.2)


def test_draws_are_triangular():
    luck = np.linspace(0, 1, 11)
    truth = stats.triang.ppf(luck, 0.25, loc=2, scale=4)
    assert triangular(luck, 2, 3, 6) == pytest.approx(truth)
    assert triangular(luck, 2, 1, 6) == pytest.approx(stats.triang.ppf(luck, 0, loc=2, scale=4))
    assert triangular(luck, 2, 9, 6) == pytest.approx(stats.triang.ppf(luck, 1, loc=2, scale=4))


def test_a_gain_beyond_doubt_pays_in_every_draw_and_a_loss_in_none():
    shop = {"draws": 20, "customers": 150, "margin": 0.3}
    much = assumption_odds(MEMBERS, swings={"rate_effect": (0.8, 1.2)}, **shop)
    little = assumption_odds(MEMBERS, swings={"rate_effect": (-0.1, 0.0)}, **shop)
    assert (much.pays.value, little.pays.value) == (1, 0)
    assert much.gain.low > 0 > little.gain.high
    assert "pays in 100% of draws" in much.verdict()
    assert much.to_frame()["metric"].tolist() == ["pays", "profit"]


def test_half_of_the_draws_pay_where_the_middle_breaks_even():
    # with rewards of 5% and a margin of 30%, 20% more orders break even
    found = assumption_odds(MEMBERS, swings={"rate_effect": (0.0, 0.4)}, draws=200, customers=400, margin=0.3)
    assert abs(found.pays.value - 0.5) < 4 * np.sqrt(0.25 / 200)
    slope = np.corrcoef(found.draws["gain"], found.draws["rate_effect"])[0, 1]
    assert slope > 0.6


def test_the_same_seed_gives_an_assumption_the_same_luck_for_every_mechanism():
    shop = {"draws": 20, "customers": 60, "seed": 7}
    card = Scenario(mechanism=mechanism("stamp-card", stamps=8, reward_value=9), join_share=0.5)
    one, other = (assumption_odds(s, **shop).draws for s in (MEMBERS, card))
    for name in ("margin", "join_share"):
        pd.testing.assert_series_equal(one[name], other[name])
    assert "reward_value" in one
    pd.testing.assert_frame_equal(one, assumption_odds(MEMBERS, **shop).draws)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"draws": 5}, "draws"),
        ({"seed": -1}, "seed"),
        ({"margin": 2}, "margin"),
        ({"swings": {"luck": (0, 1)}}, "swings must name"),
        ({"population": {"r": 0}}, "r must be"),
    ],
)
def test_unusable_options_are_refused(options, said):
    with pytest.raises(ArgumentError, match=said):
        assumption_odds(MEMBERS, **options)
    with pytest.raises(ArgumentError, match="with a programme"):
        assumption_odds(Scenario(mechanism=mechanism("none")))
