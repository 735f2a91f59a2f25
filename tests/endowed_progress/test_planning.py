import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from loyalty_research.endowed_progress import CardExperiment, plan
from loyalty_research.endowed_progress.planning import exaggeration
from loyalty_research.endowed_progress.preview import calibrate
from loyalty_research.errors import ArgumentError
from loyalty_research.simulate import simulate

CARWASH = {"baseline": 28 / 150, "uplift": 23 / 150}


def test_carwash_plan_to_the_oracle(oracle):
    want = oracle("carwash_sample_size_power")["expected"]
    assert plan(**CARWASH).cards == math.ceil(want["n_per_arm_80_pooled"]) == 129
    assert plan(**CARWASH, power=0.9).cards == math.ceil(want["n_per_arm_90_pooled"]) == 172
    half = plan(**CARWASH).winners_curse().set_index("share").loc[0.5]
    assert (half["cards_80"], half["cards_90"]) == (465, 622)
    assert math.ceil(want["n_half_effect_80"]) == 465
    assert plan(**CARWASH, method="exact-z").cards == want["n_exact_ztest_80"]
    exact = plan(**CARWASH, method="exact-fisher")
    assert exact.winners_curse()["cards_80"].tolist()[:1] == [want["n_exact_fisher_80"]] == [exact.cards]
    # what-ifs take the formula, and say so
    assert exact.to_frame()["method"].tolist() == ["exact-fisher", "pooled-z", "pooled-z", "pooled-z"]


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


TIMED = {**CARWASH, "required": 10, "given": 2, "horizon_days": 273}


def test_looks_multiply_the_cards_by_their_inflation():
    alone, often = plan(**CARWASH), plan(**CARWASH, looks=5, spending="pocock")
    # Pocock-type spending costs about as much as Pocock's constant bounds, 1.229 at 80% power
    assert often.cards / alone.cards == pytest.approx(1.229, abs=0.02)
    assert often.power_curve(cards=[often.cards])["power"].iloc[0] == pytest.approx(0.8, abs=0.006)
    assert often.winners_curse().loc[0, "exaggeration"] > alone.winners_curse().loc[0, "exaggeration"]
    schedule = often.schedule()
    assert schedule["stop_none"].iloc[-1] == pytest.approx(0.05, abs=1e-6)
    assert schedule["stop_effect"].iloc[-1] == pytest.approx(0.8, abs=0.006)
    assert schedule["cards"].iloc[-1] == 2 * often.cards
    assert schedule["day"].isna().all()
    assert often.looks == 5
    assert "5 looks cost" in often.verdict()
    assert "error over the looks" in {c.name for c in often.checks}


def test_days_follow_from_cards_a_day():
    made = plan(**TIMED, cards_per_day=10, looks=2)
    assert made.enrolment_days == math.ceil(2 * made.cards / 10)
    assert made.duration_days == made.enrolment_days + 273
    assert made.schedule()["day"].tolist() == [math.ceil(made.cards / 10) + 273, made.duration_days]
    assert plan(**TIMED).duration_days is None
    assert plan(**CARWASH, cards_per_day=10).duration_days is None


def test_costs_are_rewards_and_cards():
    made = plan(**CARWASH, reward_cost=8, card_cost=0.5, currency="EUR")
    costs = made.costs().set_index("arm")
    assert costs.loc["control", "total"] == pytest.approx(129 * (28 / 150 * 8 + 0.5))
    assert costs.loc["head start", "rewards"] == pytest.approx(129 * 51 / 150)
    frame = made.to_frame()
    assert (frame["metric"] == "expected cost").sum() == 2
    with pytest.raises(ArgumentError, match="reward_cost"):
        plan(**CARWASH).costs()


def test_the_planned_cards_detect_the_planned_increase(oracle):
    made = plan(**CARWASH)
    assert made.detectable() == pytest.approx(CARWASH["uplift"], abs=0.001)
    want = oracle("carwash_sample_size_power")["expected"]
    at_150 = dataclasses.replace(made, cards=150)
    assert at_150.detectable() == pytest.approx(want["mde_at_150_80"], abs=1e-6)
    assert at_150.detectable(power=0.9) == pytest.approx(want["mde_at_150_90"], abs=1e-6)


def test_preview_comes_out_as_planned():
    made = plan(**TIMED, looks=2)
    seen = made.preview(seed=5, replicates=60)
    assert seen.replicates == 60
    assert set(seen.stopped_at) == {1, 2}
    assert "60 such experiments would find one" in seen.verdict()
    again = made.preview(seed=5, replicates=60)
    assert (again.estimates == seen.estimates).all()
    # within three Monte Carlo errors of 60 experiments
    assert seen.power.value == pytest.approx(0.8, abs=0.155)
    assert seen.estimates.mean() == pytest.approx(CARWASH["uplift"], abs=0.025)
    example = CardExperiment.from_preview(seen)
    assert example.completion(by_day=273).rates[0].n == pytest.approx(made.cards, abs=40)
    assert seen.plot().get_ylabel() == "experiments"


@pytest.mark.slow
def test_previews_have_the_planned_power_and_error():
    """1,500 experiments each: two looks, single cards and clusters, with the effect and without."""
    for extra in ({}, {"cluster_size": 10, "icc": 0.03}):
        made = plan(**{**TIMED, "horizon_days": 90}, looks=2, **extra)
        for effect, want in ((1.0, 0.8), (0.0, 0.05)):
            found = np.concatenate(
                [made.preview(seed=s, replicates=100, effect=effect).found for s in range(15)]
            )
            # the planning formula for clusters is a normal approximation, so a point is left to it
            assert found.mean() == pytest.approx(want, abs=3 * math.sqrt(want * (1 - want) / 1500) + 0.01)


def test_preview_without_an_effect_finds_one_rarely():
    made = plan(**{**TIMED, "horizon_days": 90}, looks=3, cluster_size=10, icc=0.03)
    seen = made.preview(seed=6, replicates=50, effect=0)
    assert seen.truth == 0
    assert seen.power.value <= 0.16
    assert abs(seen.estimates.mean()) < 0.025


def test_simulated_clusters_are_as_alike_as_planned():
    made = plan(**TIMED, cluster_size=20, icc=0.08)
    truth = calibrate(made, effect=0)
    data = simulate("stamp-card", customers=24_000, seed=8, clusters=1200, assign_by="cluster", **truth)
    assert data.truth["completion_control"] == pytest.approx(28 / 150, abs=1e-6)
    events = data.frame("card_events")
    people = events.drop_duplicates("customer_id")
    full = events.loc[events["event"] == "completed", "customer_id"]
    done = people["customer_id"].isin(full).to_numpy(dtype=float)
    size = people.groupby("cluster_id")["arm"].size().to_numpy()
    mean = pd.Series(done).groupby(people["cluster_id"].to_numpy()).mean().to_numpy()
    k, n = len(size), size.sum()
    within = sum(size * mean * (1 - mean)) / (n - k)
    between = sum(size * (mean - done.mean()) ** 2) / (k - 1)
    typical = (n - sum(size**2) / n) / (k - 1)
    assert (between - within) / (between + (typical - 1) * within) == pytest.approx(0.08, abs=0.016)


def test_previews_that_cannot_be():
    with pytest.raises(ArgumentError, match="horizon_days"):
        plan(**CARWASH).preview(seed=1)
    for bad in ({"effect": 2}, {"effect": math.nan}, {"replicates": 1}, {"replicates": 2.5}):
        with pytest.raises(ArgumentError):
            plan(**TIMED).preview(seed=1, **bad)
    with pytest.raises(ArgumentError, match="10,000 clusters"):
        plan(**TIMED, cluster_size=3, icc=0.01).preview(seed=1, replicates=500)
    with pytest.raises(ArgumentError, match="400,000 at most"):
        plan(**{**TIMED, "uplift": 0.001}).preview(seed=1)
    assert "400,000 at most" in plan(**{**TIMED, "uplift": 0.001}).attempt_preview(seed=1).verdict()
    with pytest.raises(ArgumentError, match="more likeness"):
        plan(**TIMED, cluster_size=3, icc=0.9).preview(seed=1)
    with pytest.raises(ArgumentError, match="90 weeks"):
        plan(**{**TIMED, "horizon_days": 900}).preview(seed=1)
    with pytest.raises(ArgumentError, match="no weekly visit rate"):
        plan(**{**TIMED, "horizon_days": 14}).preview(seed=1)


def test_plans_that_cannot_be():
    for bad in (
        {"baseline": 0.5, "uplift": 0.1, "required": 10},
        {"baseline": 0.5, "uplift": 0.1, "required": 2, "given": 2},
        {"baseline": 0.5, "uplift": 0.1, "required": 10, "given": 0},
        {"baseline": 0.5, "uplift": 0.1, "required": 10.5, "given": 2},
        {"baseline": 0.5, "uplift": 0.1, "horizon_days": 0},
        {"baseline": 0.5, "uplift": 0.1, "cards_per_day": 0},
        {"baseline": 0.5, "uplift": 0.1, "reward_cost": -1},
        {"baseline": 0.5, "uplift": 0.1, "card_cost": math.nan},
        {"baseline": 0.5, "uplift": 0.1, "looks": 0},
        {"baseline": 0.5, "uplift": 0.1, "looks": [0.2, 0.8]},
        {"baseline": 0.5, "uplift": 0.1, "spending": "fixed"},
        {"baseline": 0.5, "uplift": math.nan},
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
