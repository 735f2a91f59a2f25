import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme.incentives import incentive_bias, missing_at_random
from loyalty_research.stats.proportions import difference_in_proportions

ARMS = {"treated": "reward", "control": "none"}


def mailing(rng, n=800, *, lift=0.2, effect=0.0):
    """Answering and score both depend on tenure; the reward makes newer customers answer."""
    tenure = rng.integers(0, 4, n)
    drawn = np.arange(n) % 2 == 0
    answers = rng.random(n) < 0.15 + 0.1 * tenure + lift * drawn * (tenure < 2)
    score = 5 + tenure + effect * drawn + rng.normal(0, 1, n)
    return pd.DataFrame(
        {
            "arm": np.where(drawn, "reward", "none"),
            "score": np.where(answers, score, np.nan),
            "tenure": tenure,
        }
    )


def test_answers_are_compared_as_drawn_and_costs_are_per_extra_answer():
    invited = mailing(np.random.default_rng(1))
    found = incentive_bias(invited, reward_cost=2.0, currency="EUR", ratio=1.0, **ARMS)
    rate = invited["score"].notna().groupby(invited["arm"]).agg(["sum", "size"])
    peer = difference_in_proportions(*rate.loc["reward"].tolist(), *rate.loc["none"].tolist())
    assert found.response == peer
    share = rate["sum"] / rate["size"]
    cost = 2.0 * share["reward"] / (share["reward"] - share["none"])
    assert found.cost_per_extra.value == pytest.approx(cost)
    assert found.cost_per_extra.low < cost < found.cost_per_extra.high
    paid = invited.assign(cost=2.0 * (invited["score"].notna() & (invited["arm"] == "reward")))
    assert incentive_bias(paid, reward_cost="cost", currency="EUR", **ARMS).cost_per_extra.value == (
        pytest.approx(cost)
    )


def test_a_reward_that_changes_no_mind_still_moves_the_mean_and_the_bounds_say_so():
    found = incentive_bias(mailing(np.random.default_rng(2), 8000), covariates=["tenure"], **ARMS)
    assert found.gap.high < 0  # newer customers answer and score lower
    assert found.same_people.low < 0 < found.same_people.high
    assert found.whom.low < found.gap.value < found.whom.high
    assert found.under_mar.low < 0 < found.under_mar.high
    frame = found.to_frame().set_index("estimand")
    assert np.isnan(frame.loc["by whom the reward makes answer, bounds", "estimate"])
    assert "not the same people" in found.verdict()
    assert "Do not compare" in found.verdict()


def test_without_a_clear_change_nothing_is_claimed():
    found = incentive_bias(mailing(np.random.default_rng(3), 300, lift=0.0), **ARMS)
    assert found.verdict().startswith("Whether the reward changed how many answer cannot be told")
    assert np.isnan(found.to_frame()["low"].iloc[4])
    assert np.isfinite(found.to_frame()["bound_low"].iloc[4])
    assert found.under_mar is None
    assert found.cost_per_extra is None


def test_regression_is_that_of_r(oracle):
    case = oracle("regression_under_missing_at_random")
    given, truth = case["inputs"], case["expected"]
    x = np.array([*given["x1"], *given["x0"], *given["unanswered"]], dtype=float)
    y = np.array([*given["y1"], *given["y0"], *[np.nan] * 6], dtype=float)
    own = np.array([True] * 8 + [False] * 6 + [True] * 3 + [False] * 3)
    found = missing_at_random(np.column_stack([np.ones(20), x]), y, own, ~own, names=("x",), level=0.95)
    assert found.value == pytest.approx(truth["value"], abs=case["tolerance"])
    from scipy import stats

    half = stats.t.ppf(0.975, truth["dof"]) * truth["standard_error"]
    assert found.high - found.value == pytest.approx(half, rel=1e-7)


def test_categories_are_the_same_as_their_indicators():
    invited = mailing(np.random.default_rng(4))
    as_text = invited.assign(tenure=invited["tenure"].map({0: "new", 1: "new", 2: "old", 3: "old"}))
    as_number = invited.assign(tenure=(invited["tenure"] > 1).astype(int))
    one = incentive_bias(as_text, covariates=["tenure"], **ARMS).under_mar
    two = incentive_bias(as_number, covariates=["tenure"], **ARMS).under_mar
    assert (one.value, one.low) == pytest.approx((two.value, two.low))


def coverage(replicates, seed):
    rng = np.random.default_rng(seed)
    mar = cost = 0
    for _ in range(replicates):
        found = incentive_bias(mailing(rng, 2400, effect=0.4), covariates=["tenure"], reward_cost=1.0, **ARMS)
        mar += found.under_mar.low <= 0.4 <= found.under_mar.high
        # (0.30 + 0.2 / 2) answer with the reward, 0.30 without
        cost += found.cost_per_extra.low <= 0.4 / 0.1 <= found.cost_per_extra.high
    return mar / replicates, cost / replicates


def test_effect_under_missing_at_random_and_cost_are_covered():
    for found in coverage(200, 5):
        assert found == pytest.approx(0.95, abs=3 * np.sqrt(0.05 * 0.95 / 200))


@pytest.mark.slow
def test_effect_under_missing_at_random_and_cost_cover(published):
    names = (
        "incentive bias: effect on the score under missing at random",
        "incentive bias: cost per extra answer",
    )
    shares = coverage(2000, 6)
    published(zip(names, shares, strict=True), 2000)
    for found in shares:
        assert found == pytest.approx(0.95, abs=3 * np.sqrt(0.05 * 0.95 / 2000))


def test_fewer_answers_with_the_reward_are_said():
    invited = mailing(np.random.default_rng(7))
    turned = invited.assign(arm=invited["arm"].map({"reward": "none", "none": "reward"}))
    found = incentive_bias(turned, reward_cost=1.0, **ARMS)
    assert any(c.status == "warning" and "Fewer answered" in c.detail for c in found.checks)
    assert np.isnan(found.cost_per_extra.value)


def test_a_broken_draw_gets_no_verdict():
    invited = mailing(np.random.default_rng(8))
    assert "No verdict" in incentive_bias(invited, ratio=3.0, **ARMS).verdict()


@pytest.mark.parametrize(
    ("change", "options", "error", "words"),
    [
        ({"score": 11.0}, {"scale": (0, 10)}, ContractError, "outside 0 to 10"),
        ({"score": np.nan}, {}, DesignError, "fewer than two answers"),
        ({"score": "good"}, {}, ContractError, "no number"),
        ({"arm": "reward"}, {}, DesignError, "not measurable"),
        ({"arm": None}, {}, ContractError, "arm is null"),
        ({"tenure": np.nan}, {"covariates": ["tenure"]}, ContractError, "tenure is missing"),
        ({"tenure": 1}, {"covariates": ["tenure"]}, DesignError, "do not carry tenure"),
        ({}, {"covariates": ["age"]}, ContractError, "lacks the column age"),
        ({}, {"covariates": "tenure"}, ArgumentError, "list of columns"),
        ({}, {"reward_cost": 0.0}, ArgumentError, "above 0"),
        ({}, {"scale": (10, 0)}, ArgumentError, "lowest and the highest"),
    ],
)
def test_bad_input_is_refused(change, options, error, words):
    invited = mailing(np.random.default_rng(9)).assign(**change)
    with pytest.raises(error, match=words):
        incentive_bias(invited, **ARMS, **options)
