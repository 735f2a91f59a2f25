import json

import numpy as np
import pandas as pd
import pytest

from loyalty_research.endowed_progress import (
    CardExperiment,
    DesignCard,
    head_start_doses,
    illusory_head_start,
    plan,
    reason_by_currency,
)
from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.stats.contrasts import trend_test
from loyalty_research.stats.proportions import difference_in_proportions

DOSES = {"0 given": (28, 150), "1 given": (36, 140), "2 given": (45, 155), "3 given": (51, 150)}
CELLS = ("no reason, stamps", "no reason, points", "reason, stamps", "reason, points")


def test_doses_ask_for_the_same_effort():
    design = head_start_doses(paid=8, given=(0, 1, 2, 3))
    assert {r - g for r, g in design.stamps.values()} == {8}
    (trend,) = design.contrasts
    assert sum(trend.weights.values()) == pytest.approx(0)
    assert len(head_start_doses(pairwise=True).contrasts) == 4


def test_illusory_and_real_differ_in_the_frame_alone():
    stamps = illusory_head_start(paid=8, given=2).stamps
    assert stamps == {"plain": (10, 0), "real": (8, 0), "illusory": (10, 2)}


def test_a_planned_pair_is_the_plan_of_two_arms():
    three = illusory_head_start().plan(rates={"plain": 0.19, "real": 0.19, "illusory": 0.34})
    pair = plan(baseline=0.19, uplift=0.15, level=1 - 0.05 / 3)
    assert three.cards == pair.cards
    assert three.sizes == (pair.cards, None, pair.cards)
    assert "illusory less" in three.verdict()
    assert three.power_of(three.design.contrasts[0]) == pytest.approx(0.8, abs=0.003)


def test_a_factorial_tests_main_effects_with_half_the_cards_of_the_interaction():
    design = reason_by_currency()
    assert design.arms == CELLS
    rates = dict(zip(CELLS, (0.2, 0.2, 0.2, 0.4), strict=True))
    made = design.plan(rates=rates, cluster_size=10, icc=0.05, horizon_days=90, cards_per_day=40)
    by_name = dict(zip((c.name for c in design.contrasts), made.sizes, strict=True))
    # the interaction's effect is twice a main effect's and its variance four times as large
    assert by_name["interaction"] == by_name["reason against no reason"]
    assert made.design_effect == pytest.approx(1.45)
    assert made.duration_days == -(-4 * made.cards // 40) + 90
    frame = made.to_frame()
    assert frame["effect"].tolist() == pytest.approx([0.1, 0.1, 0.2])
    assert made.plot().get_xlabel() == "cards per arm"


def test_planned_power_is_met_by_drawn_experiments():
    design = head_start_doses()
    rates = dict(zip(design.arms, (0.2, 0.23, 0.26, 0.29), strict=True))
    made = design.plan(rates=rates)
    rng, found = np.random.default_rng(11), 0
    for x in rng.binomial(made.cards, list(rates.values()), (600, 4)):
        counts = dict(zip(design.arms, ((int(k), made.cards) for k in x), strict=True))
        result = CardExperiment.from_counts(counts, control="0 given").contrasts(design)
        found += result.established("trend per stamp given")
    assert found / 600 == pytest.approx(0.8, abs=0.05)


def test_a_trend_is_answered_by_its_test():
    x = CardExperiment.from_counts(DOSES, control="0 given", stamps=head_start_doses().stamps)
    result = x.contrasts(head_start_doses(pairwise=True))
    slope = result["trend per stamp given"]
    _, p = trend_test(*zip(*DOSES.values(), strict=True), [0, 1, 2, 3])
    assert slope.p_value == pytest.approx(p)
    assert slope.low > 0
    pair = difference_in_proportions(51, 150, 28, 150)
    assert result["3 given less 0 given"].low == pytest.approx(pair.low)
    # the smallest p-value of four is multiplied by four
    assert min(result.p_adjusted) == pytest.approx(4 * min(p, pair.p_value))
    assert "established" in result.verdict()
    assert result.dose_frame()["given"].tolist() == [0, 1, 2, 3]
    assert result.plot_doses().get_xlabel() == "stamps given"
    assert len(result.plot().get_yticklabels()) == 4
    json.dumps(result.to_dict(), allow_nan=False)


def test_a_factorial_is_answered_cell_by_cell():
    counts = dict(zip(CELLS, ((20, 100), (30, 100), (25, 100), (55, 100)), strict=True))
    result = CardExperiment.from_counts(counts, control=CELLS[0]).contrasts(reason_by_currency())
    assert result["reason against no reason"].value == pytest.approx(0.15)
    assert result["points against stamps"].value == pytest.approx(0.2)
    assert result["interaction"].value == pytest.approx(0.2)
    # twice the main effects' scale, so twice their width
    assert result["interaction"].high - result["interaction"].low == pytest.approx(
        2 * (result["points against stamps"].high - result["points against stamps"].low), rel=0.02
    )


def test_three_arms_are_told_apart_by_their_own_names():
    design = illusory_head_start().renamed({"plain": "A", "real": "B", "illusory": "C"})
    counts = {"A": (22, 150), "B": (28, 150), "C": (51, 150)}
    result = CardExperiment.from_counts(counts, control="A").contrasts(design)
    assert [c.name for c in result.contrasts] == [c.name for c in illusory_head_start().contrasts]
    assert result.established("illusory less real")
    assert not result.established("real less plain")
    assert "compatible with no effect" in result.verdict()
    with pytest.raises(ArgumentError, match="no contrast"):
        result["none"]
    with pytest.raises(ArgumentError, match="no contrast"):
        result.established("none")


def test_clusters_widen_every_contrast(simulated):
    events = simulated(81, per_arm=300, cluster_sd=1.0, cluster_size=20)
    # a third arm, of the same clusters as half of the plain one
    third = (events["arm"] == "control") & (events["cluster_id"] % 2 == 0)
    events = events.assign(arm=events["arm"].where(~third, "other"))
    asked = {
        "head start": {"endowed": 1, "control": -0.5, "other": -0.5},
        "nothing": {"other": 1, "control": -1},
    }
    ratio = {"control": 1, "other": 1, "endowed": 2}
    single, in_days = (
        CardExperiment(events, as_of="2024-12-31", control="control", cluster=c, ratio=ratio).contrasts(asked)
        for c in (None, "cluster_id")
    )
    for name in asked:
        assert in_days[name].value == pytest.approx(single[name].value)
        assert in_days[name].high - in_days[name].low > single[name].high - single[name].low
        assert "cluster-robust" in in_days[name].method
    # two arms of whole clusters give what completion gives
    two = {"pair": {"endowed": 1, "control": -1}}
    x = CardExperiment(events, as_of="2024-12-31", control="control", cluster="cluster_id", ratio=ratio)
    want, got = x.completion()["endowed"].difference, x.contrasts(two)["pair"]
    assert (got.low, got.high) == pytest.approx((want.low, want.high))


def test_registered_contrasts_are_the_default():
    design = head_start_doses()
    made = design.plan(rates=dict(zip(design.arms, (0.2, 0.25, 0.3, 0.35), strict=True)), horizon_days=90)
    card = DesignCard.from_json(made.card(registered_on="2026-03-01").to_json())
    units = pd.DataFrame({"arm": np.repeat(design.arms, 150), "completed": np.tile([0, 0, 1], 200)})
    x = CardExperiment.from_units(units, control="0 given", registered=card)
    result = x.contrasts()
    assert [c.name for c in result.contrasts] == ["trend per stamp given"]
    assert "Cochran-Armitage" in result.estimates[0].method
    assert "completion rates planned for" in repr(card)
    with pytest.raises(ArgumentError, match="none were registered"):
        CardExperiment.from_units(units, control="0 given").contrasts()


def test_designs_that_cannot_be():
    for given in ((0, 1), (0, 1, 1), (0, -1, 2)):
        with pytest.raises(ArgumentError):
            head_start_doses(given=given)
    with pytest.raises(ArgumentError, match="exceed"):
        reason_by_currency(required=2, given=2)
    for bad in ({"reasons": ("a", "a")}, {"currencies": "ab"}, {"currencies": ("a", "b", "c")}):
        with pytest.raises(ArgumentError, match="two different levels"):
            reason_by_currency(**bad)
    with pytest.raises(ArgumentError):
        illusory_head_start(given=0)
    design = illusory_head_start()
    with pytest.raises(ArgumentError, match="rates must name"):
        design.plan(rates={"plain": 0.2})
    with pytest.raises(ArgumentError, match="every contrast is zero"):
        design.plan(rates=dict.fromkeys(design.arms, 0.2))
    with pytest.raises(ArgumentError, match="rate of real"):
        design.plan(rates={"plain": 0.2, "real": 1.2, "illusory": 0.3})
    with pytest.raises(ArgumentError, match="horizon_days"):
        design.plan(rates={"plain": 0.2, "real": 0.2, "illusory": 0.3}).card()
    with pytest.raises(ArgumentError, match="no arm gold"):
        design.renamed({"gold": "x"})
    with pytest.raises(ArgumentError, match="one name"):
        design.renamed({"plain": "real"})


def test_contrasts_that_cannot_be():
    x = CardExperiment.from_counts(DOSES, control="0 given")
    with pytest.raises(DesignError, match="arms the data lack: gold"):
        x.contrasts({"q": {"gold": 1, "0 given": -1}})
    with pytest.raises(ArgumentError, match="sum to"):
        x.contrasts({"q": {"1 given": 1}})
    with pytest.raises(ArgumentError, match="not all zero"):
        x.contrasts({"q": {"1 given": 0}})
    with pytest.raises(ArgumentError, match="at least one"):
        x.contrasts({})
    for bad in (5, [("q", {"1 given": 1})], {"q": {"1 given": "a"}}, {"q": 1}):
        with pytest.raises(ArgumentError, match="weights by arm"):
            x.contrasts(bad)
    with pytest.raises(DesignError, match="stamps given are not known"):
        x.contrasts(head_start_doses()).plot_doses()
