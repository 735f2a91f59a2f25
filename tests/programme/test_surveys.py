"""Survey measures against published arithmetic, invariances and simulated answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import loyalty_research as lr
from loyalty_research.programme import (
    customer_effort_score,
    customer_satisfaction,
    net_promoter_score,
)


def wave(promoters, passives, detractors):
    return [10] * promoters + [7] * passives + [6] * detractors


def test_the_score_and_its_interval_are_those_of_the_oracle(oracle):
    case = oracle("survey_metrics_nps_csat_ces")
    given, expected = case["inputs"]["nps_ci"], case["expected"]["nps_ci"]
    found = net_promoter_score(wave(given["promoters"], given["passives"], given["detractors"]))
    assert found.score.value == pytest.approx(expected["nps"], abs=1e-8)
    assert found.standard_error == pytest.approx(expected["se"], abs=1e-8)
    assert [found.score.low, found.score.high] == pytest.approx(expected["ci95"], abs=1e-8)
    later = net_promoter_score(wave(*given["wave2"]))
    assert later.score.value == pytest.approx(expected["wave2_nps"], abs=1e-8)
    change = later.change_from(found)
    half = 1.959963984540054 * expected["diff_se"]
    assert (change.low, change.high) == pytest.approx((15 - half, 15 + half), abs=1e-8)
    assert change.p_value == pytest.approx(expected["p"], abs=1e-8)


def test_even_answers_score_differently_on_the_two_scales(oracle):
    expected = oracle("survey_metrics_nps_csat_ces")["expected"]["nps_ci"]
    assert net_promoter_score(range(11)).score.value == pytest.approx(expected["uniform_0_10"])
    assert net_promoter_score(range(1, 11), scale=(1, 10)).score.value == pytest.approx(
        expected["uniform_1_10"]
    )


def test_satisfaction_and_effort_are_those_of_the_oracle(oracle):
    case = oracle("survey_metrics_nps_csat_ces")
    given, expected = case["inputs"]["csat_ces"], case["expected"]["csat_ces"]
    share = customer_satisfaction([4] * given["csat_top2"] + [3] * (given["n"] - given["csat_top2"])).share
    assert share.value == pytest.approx(expected["csat"])
    assert [share.low, share.high] == pytest.approx(expected["wilson_ci95"], abs=1e-8)
    answers = np.repeat(np.arange(1, 8), given["ces_counts_1_to_7"])
    effort = customer_effort_score(answers, direction="higher is easier")
    assert effort.mean.value == pytest.approx(expected["ces_mean"])
    assert [effort.mean.low, effort.mean.high] == pytest.approx(expected["ces_t_ci95"], abs=1e-8)
    assert effort.easy.value == pytest.approx(expected["ces_share_5plus"])
    turned = customer_effort_score(8 - answers, direction="lower is easier")
    assert turned.easy.value == pytest.approx(expected["ces_share_5plus"])


def test_weights_of_one_change_nothing_and_weights_undo_a_known_selection():
    answers = wave(90, 60, 50)
    plain, ones = net_promoter_score(answers), net_promoter_score(answers, weights=np.full(200, 3.0))
    assert (plain.score.low, plain.score.high) == pytest.approx((ones.score.low, ones.score.high))
    # promoters answer twice as often; weights of one half give the score of everybody
    weighted = net_promoter_score(wave(80, 30, 30), weights=[0.5] * 80 + [1.0] * 60)
    assert weighted.score.value == pytest.approx(10.0)
    assert weighted.promoters.value == pytest.approx(0.4)


def test_the_interval_covers_the_score_of_the_population():
    rng = np.random.default_rng(5)
    shares, truth = [0.45, 0.3, 0.25], 20.0
    hits = 0
    for promoters, passives, detractors in rng.multinomial(150, shares, size=600):
        score = net_promoter_score(wave(promoters, passives, detractors)).score
        hits += score.low <= truth <= score.high
    assert hits / 600 == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / 600))


@pytest.mark.slow
def test_weighted_scores_cover_the_population_at_length(published):
    rng = np.random.default_rng(6)
    hits, runs = 0, 2000
    for _ in range(runs):
        sides = rng.choice([10, 7, 3], p=[0.5, 0.2, 0.3], size=600)
        chance = np.where(sides == 10, 0.6, 0.3)  # promoters answer more readily
        there = rng.random(600) < chance
        score = net_promoter_score(sides[there], weights=1 / chance[there]).score
        hits += score.low <= 20.0 <= score.high
    published({"net promoter score, weighted for who answers": hits / runs}, runs)
    assert hits / runs == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / runs))


@pytest.mark.slow
def test_plain_scores_cover_at_length(published):
    rng = np.random.default_rng(7)
    chance, runs = np.array([0.05, 0.1, 0.2, 0.35, 0.3]), 2000
    effort = np.array([0.05, 0.05, 0.1, 0.15, 0.25, 0.25, 0.15])
    hits = np.zeros(3)
    for _ in range(runs):
        promoters, passives, detractors = rng.multinomial(150, [0.5, 0.2, 0.3])
        score = net_promoter_score(wave(promoters, passives, detractors)).score
        satisfied = customer_satisfaction(rng.choice(5, 150, p=chance) + 1)
        easy = customer_effort_score(rng.choice(7, 150, p=effort) + 1, direction="higher is easier")
        found = ((score, 20.0), (satisfied.share, 0.65), (easy.mean, effort @ np.arange(1, 8)))
        hits += [e.low <= truth <= e.high for e, truth in found]
    names = ("net promoter score", "customer satisfaction", "customer effort")
    published(zip(names, hits / runs, strict=True), runs)
    assert hits / runs == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / runs))


def test_answers_off_the_scale_are_refused_with_count_and_positions():
    with pytest.raises(lr.ContractError, match=r"off the scale 0 to 10.*2 rows \(first at positions 1, 3\)"):
        net_promoter_score([9, 11, 4, -1])
    with pytest.raises(lr.ContractError, match="off the scale 1 to 10"):
        net_promoter_score([9, 0], scale=(1, 10))
    with pytest.raises(lr.ContractError, match="off the scale 1 to 5"):
        customer_satisfaction([4.5, 5])
    with pytest.raises(lr.ContractError, match="missing or no number at 1 row"):
        net_promoter_score([9, None])
    with pytest.raises(lr.ContractError, match="no answers"):
        net_promoter_score([])


def test_mixed_scales_and_second_answers_are_refused():
    frame = pd.DataFrame(
        {
            "customer_id": ["a", "b", "c"],
            "value": [9, 8, 1],
            "scale_min": [0, 0, 1],
            "scale_max": [10, 10, 10],
        }
    )
    with pytest.raises(lr.ContractError, match=r"scale_min is not 0 at 1 row \(at position 2\)"):
        net_promoter_score(frame)
    twice = frame.assign(customer_id=["a", "b", "a"], scale_min=0)
    with pytest.raises(lr.ContractError, match="more than once") as caught:
        net_promoter_score(twice)
    assert "position 2" in str(caught.value)
    assert net_promoter_score(frame.iloc[:2]).score.n == 2
    with pytest.raises(lr.ContractError, match="cannot be compared"):
        net_promoter_score([1, 9], scale=(1, 10)).change_from(net_promoter_score([1, 9]))


@pytest.mark.parametrize("scale", [(1, 5), (0, 5), (0, 100)])
def test_the_score_is_taken_on_its_own_scales_only(scale):
    with pytest.raises(lr.ArgumentError, match="scale must be"):
        net_promoter_score([3, 4], scale=scale)


def test_wrong_options_are_refused():
    with pytest.raises(lr.ArgumentError, match="direction must be"):
        customer_effort_score([1, 2], direction="up")
    with pytest.raises(lr.ArgumentError, match="3 weights for 2 answers"):
        net_promoter_score([1, 2], weights=[1, 1, 1])
    with pytest.raises(lr.ArgumentError, match="weights must be above 0"):
        net_promoter_score([1, 2], weights=[1, 0])
    with pytest.raises(lr.ArgumentError, match="invited counts"):
        net_promoter_score([1, 2], invited=1)
    with pytest.raises(lr.ArgumentError, match="at least 4 answers"):
        customer_satisfaction([1, 2], scale=(1, 3))


def test_silence_is_spoken_of():
    unknown = net_promoter_score(wave(90, 60, 50)).checks[0]
    assert unknown.status == "not measurable"
    half = net_promoter_score(wave(90, 60, 50), invited=400).checks[0]
    # the other half all detractors, or all promoters
    assert "50.0%" in half.detail
    assert "−40.0 and 60.0" in half.detail


def test_answers_that_are_all_alike_have_no_interval():
    found = net_promoter_score([10] * 40)
    assert found.score.value == 100
    assert np.isnan(found.score.low)
    assert any(c.name == "Spread of the answers" for c in found.checks)
    assert "no interval" in found.verdict()


def test_limits_of_few_answers_stop_at_the_ends_of_the_score():
    # 19 promoters and a detractor: the plain normal limits are 70.9 and 109.1 points
    found = net_promoter_score(wave(19, 0, 1)).score
    assert found.high == 100.0
    assert found.low == pytest.approx(90 - 1.959964 * 100 * (0.19 / 20) ** 0.5, abs=1e-4)
