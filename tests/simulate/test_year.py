"""A year under a programme: nested responses, their spread, partners of a coalition."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from loyalty_research.simulate import PopulationTruth, programme_year

SHOP = {"population": PopulationTruth(), "customers": 1500}


def year(**options):
    return programme_year(**SHOP, **{"seed": 1, "join_share": 0.5, **options})


def test_a_larger_response_keeps_the_orders_of_a_smaller_one():
    small, large, drop = (year(rate_effect=effect).member_orders for effect in (0.1, 1.4, -0.3))
    base = year().member_orders

    def within(part, whole):
        return len(part.merge(whole)) == len(part)

    assert within(base, small)
    assert within(small, large)
    assert within(drop, base)


@pytest.mark.parametrize("cv", [0.0, 1.0])
def test_the_mean_response_is_the_one_asked_for(cv):
    gains = []
    for seed in range(40):
        orders = [
            len(year(seed=seed, selection=0.0, rate_effect=effect, response_cv=cv).member_orders)
            for effect in (0.0, 0.5)
        ]
        gains.append(orders[1] / orders[0] - 1)
    error = np.std(gains, ddof=1) / np.sqrt(40)
    assert abs(np.mean(gains) - 0.5) < 4 * error
    assert error < 0.02


def test_members_who_differ_gain_unlike_amounts():
    def spread(cv):
        with_, without = (
            year(rate_effect=effect, response_cv=cv).member_orders["customer_id"].value_counts()
            for effect in (0.8, 0.0)
        )
        many = without[without > 15].index
        return (with_[many] / without[many]).std()

    assert spread(1.5) > 2 * spread(0.0)


def test_order_values_of_members_rise_and_never_fall_below_a_cent():
    plain, dear, gone = (year(spend_effect=effect).member_orders["amount"] for effect in (0.0, 0.2, -1.0))
    assert dear.to_numpy() == pytest.approx(1.2 * plain.to_numpy(), abs=0.011)
    assert (gone == 0.01).all()


def test_partners_sell_to_members_in_proportion_and_change_nothing_here():
    alone = year()
    pool = year(home="grocer", partners={"fuel": 0.5, "bank": 2.0})
    assert pool.spend == alone.spend
    here = pool.member_orders.query("partner_id == 'grocer'").drop(columns="partner_id")
    pd.testing.assert_frame_equal(here.reset_index(drop=True), alone.member_orders)
    counts = pool.member_orders["partner_id"].value_counts()
    assert counts["fuel"] / counts["grocer"] == pytest.approx(0.5, rel=0.1)
    assert counts["bank"] / counts["grocer"] == pytest.approx(2.0, rel=0.1)
    assert set(pool.member_orders["customer_id"]) >= set(alone.member_orders["customer_id"])


def test_only_those_named_may_join():
    some = range(0, 1500, 3)
    seen = year(among=some)
    assert set(seen.member_orders["customer_id"]) <= set(some)
    everyone = year()
    inside = everyone.member_orders["customer_id"].isin(some)
    pd.testing.assert_frame_equal(seen.member_orders, everyone.member_orders[inside].reset_index(drop=True))
    assert year(among=[]).members == 0


def test_heavier_buyers_join_where_joining_follows_engagement():
    def per_member(selection):
        seen = year(selection=selection)
        return len(seen.member_orders) / seen.members

    assert per_member(1.5) > 1.3 * per_member(0.0)
