"""Mechanisms as lines: presets, kinds, several values, words, assumptions, and mistakes."""

from __future__ import annotations

import pytest

from loyalty_research.errors import ArgumentError
from loyalty_research.mechanisms import mechanism, preset
from loyalty_research.programme import assumed_scenario, read_scenario


def test_presets_and_kinds_are_read_with_their_figures():
    assert read_scenario("boloco-card reward_value=7").mechanism == preset("boloco-card", reward_value=7)
    tiers = read_scenario("tiers names=base/gold lines=0/300 multipliers=1/1.5 point_value=0.01")
    assert tiers.mechanism == mechanism(
        "tiers", names=("base", "gold"), lines=(0, 300), multipliers=(1, 1.5), point_value=0.01
    )
    note = read_scenario("non-monetary benefit=a-handwritten-note member_cost=2 name=note")
    assert note.mechanism.benefit == "a handwritten note"
    assert note.label == "note"
    loaded = read_scenario("points reward_points=50 reward_value=5 stored=load:25/bonus:0.1")
    assert loaded.mechanism.stored.bonus == 0.1


def test_assumptions_in_the_line_win_over_conventions():
    plain = read_scenario("boloco-card reward_value=7", population={"alpha": 50})
    assert plain.rate_effect == assumed_scenario(plain.mechanism, population={"alpha": 50}).rate_effect
    told = read_scenario("boloco-card reward_value=7 rate_effect=0.25 redeemed=0.6")
    assert (told.rate_effect, told.redeemed, told.join_share) == (0.25, 0.6, plain.join_share)
    assert plain.assumed
    assert not told.assumed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is written as"),
        (5, "is written as"),
        ("lottery", "no mechanism 'lottery'"),
        ("points 50", "'50' in 'points 50' is no figure"),
        ("points reward_points=", "is no figure"),
        ("points reward_points=fifty", "reward_points must be a number"),
        ("points reward_points=50 luck=1", "no rule luck"),
        ("boloco-card", "reward_value"),
        ("flying-club point_value=0.01", "lines"),
        ("boloco-card reward_value=7 join_share=3", "join_share"),
    ],
)
def test_mistakes_are_named(text, said):
    with pytest.raises(ArgumentError, match=said):
        read_scenario(text)
