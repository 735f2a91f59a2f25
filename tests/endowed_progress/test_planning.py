import math

import numpy as np
import pytest
from scipy import stats

from loyalty_research.endowed_progress import plan
from loyalty_research.endowed_progress.planning import exaggeration
from loyalty_research.errors import ArgumentError

CARWASH = {"baseline": 28 / 150, "uplift": 23 / 150}


def test_carwash_plan_to_the_oracle(oracle):
    want = oracle("carwash_sample_size_power")["expected"]
    assert plan(**CARWASH).cards == math.ceil(want["n_per_arm_80_pooled"]) == 129
    assert plan(**CARWASH, power=0.9).cards == math.ceil(want["n_per_arm_90_pooled"]) == 172
    half = plan(**CARWASH).winners_curse().set_index("share").loc[0.5]
    assert (half["cards_80"], half["cards_90"]) == (465, 622)
    assert math.ceil(want["n_half_effect_80"]) == 465
    assert plan(**CARWASH, method="exact-z").cards == want["n_exact_ztest_80"]


def test_power_at_the_planned_size_is_the_planned_power():
    made = plan(**CARWASH)
    curve = made.power_curve(cards=[129, 150])
    full = curve[curve["share"] == 1.0].set_index("cards")["power"]
    assert full[129] == pytest.approx(0.8, abs=0.005)
    assert full[150] == pytest.approx(0.857990, abs=1e-6)


def test_clusters_multiply_the_cards():
    alone, in_days = plan(**CARWASH), plan(**CARWASH, cluster_size=11, icc=0.05)
    assert in_days.design_effect == pytest.approx(1.5)
    assert in_days.cards == math.ceil(128.33607196 * 1.5)
    assert "193" in in_days.verdict()
    assert in_days.winners_curse().loc[0, "power"] == pytest.approx(
        alone.winners_curse().loc[0, "power"], abs=0.01
    )


def test_exaggeration_equals_a_simulation():
    p1, p2, n = 0.24, 0.20, 600
    rng = np.random.default_rng(4)
    found = rng.binomial(n, p1, 400_000) / n - rng.binomial(n, p2, 400_000) / n
    se = math.sqrt((p1 * (1 - p1) + p2 * (1 - p2)) / n)
    significant = np.abs(found) > stats.norm.isf(0.025) * se
    assert exaggeration(p1, p2, cards=n) == pytest.approx(
        np.abs(found[significant]).mean() / (p1 - p2), rel=0.01
    )
    assert exaggeration(0.34, 0.19, cards=10_000) == pytest.approx(1, abs=1e-6)


def test_a_decrease_can_be_planned_for():
    assert plan(baseline=0.3, uplift=-0.1).cards == plan(baseline=0.2, uplift=0.1).cards


def test_verdict_and_frame():
    made = plan(**CARWASH)
    assert "129 cards per arm" in made.verdict()
    assert "465 per arm" in made.verdict()
    frame = made.to_frame()
    assert frame["estimate"].tolist() == [129, 465, 172, 622]
    assert made.plot().get_xlabel() == "cards per arm"


def test_plans_that_cannot_be():
    for bad in (
        {"baseline": 0, "uplift": 0.1},
        {"baseline": 0.5, "uplift": 0.5},
        {"baseline": 0.5, "uplift": 0},
        {"baseline": 0.5, "uplift": 0.1, "power": 1.2},
        {"baseline": 0.5, "uplift": 0.1, "level": 95},
        {"baseline": 0.5, "uplift": 0.1, "cluster_size": 0},
        {"baseline": 0.5, "uplift": 0.1, "cluster_size": 10, "icc": 2},
        {"baseline": 0.5, "uplift": 0.1, "icc": 0.1},
        {"baseline": 0.5, "uplift": 0.1, "method": "t"},
    ):
        with pytest.raises(ArgumentError):
            plan(**bad)
