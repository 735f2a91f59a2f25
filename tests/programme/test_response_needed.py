"""The response that breaks even: closed forms, ends of the range, an interval that covers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from loyalty_research.errors import ArgumentError
from loyalty_research.mechanisms import mechanism
from loyalty_research.programme import Scenario, compare_mechanisms, extra_orders_to_break_even

FIVE = mechanism("points", points_per_unit=100, reward_points=1, reward_value=0.0005)
NONE = Scenario(mechanism=mechanism("none"))


@pytest.mark.parametrize("join", [1.0, 0.3])
@pytest.mark.parametrize("redeemed", [1.0, 0.5])
def test_what_every_order_earns_breaks_even_at_its_closed_form(join, redeemed):
    scenario = Scenario(mechanism=FIVE, join_share=join, redeemed=redeemed)
    found = extra_orders_to_break_even(scenario, seeds=12, margin=0.3, customers=400)
    truth = FIVE.break_even(margin=0.3, redeemed=redeemed).value
    half = (found.high - found.low) / 2
    assert abs(found.value - truth) < 2 * half + 0.002
    assert half < 0.05


def test_the_gain_is_nothing_at_the_response_found():
    card = Scenario(mechanism=mechanism("stamp-card", stamps=6, reward_value=20), join_share=0.5)
    shop = {"seeds": 6, "margin": 0.3, "customers": 300}
    found = extra_orders_to_break_even(card, **shop)
    at = compare_mechanisms([NONE, card.with_value("rate_effect", found.value)], **shop)
    lost = compare_mechanisms([NONE, card], **shop).difference("stamp-card").value
    assert abs(at.difference("stamp-card").value) < 0.02 * abs(lost)


def test_ends_of_the_range_are_said():
    shop = {"seeds": 3, "margin": 0.3, "customers": 200}
    free = Scenario(mechanism=mechanism("points", reward_points=50, reward_value=0), join_share=0.5)
    assert extra_orders_to_break_even(free, **shop).value == 0
    dear = mechanism("points", points_per_unit=100, reward_points=1, reward_value=0.004)
    hopeless = extra_orders_to_break_even(Scenario(mechanism=dear, join_share=0.5), **shop)
    assert math.isinf(hopeless.value)
    assert math.isnan(hopeless.low)


def test_the_interval_covers():
    hits = []
    for i in range(40):
        found = extra_orders_to_break_even(
            Scenario(mechanism=FIVE, join_share=0.5),
            seeds=range(100 * i, 100 * i + 6),
            margin=0.3,
            customers=60,
        )
        hits.append(found.low <= 0.2 <= found.high)
    assert np.mean(hits) >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / 40)


def test_what_nobody_joins_cannot_pay():
    with pytest.raises(ArgumentError, match="nobody joins"):
        extra_orders_to_break_even(Scenario(mechanism=FIVE))
    with pytest.raises(ArgumentError, match="with a programme"):
        extra_orders_to_break_even(NONE)
