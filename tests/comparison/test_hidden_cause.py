"""A cause that was never measured: estimators stay biased, and the sensitivity figures say how strong it is."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.comparison import (
    augmented_ipw,
    e_value,
    entropy_balancing,
    inverse_probability_weighting,
    matching,
    overlap_weighting,
    robustness_value,
)

pytestmark = pytest.mark.slow

REPS = 500
ESTIMATORS = {
    "augmented inverse weights": augmented_ipw,
    "overlap weights": overlap_weighting,
    "inverse weights": inverse_probability_weighting,
    "entropy balancing": lambda df, **given: entropy_balancing(df, **given, estimand="ATE"),
    "matching": lambda df, **given: matching(df, **given, estimand="ATE", matches=4),
}
# who likes the shop joins more often (by 1.4 on the log odds) and comes back with 45% in place of 15%
LIKES, PULL, RARE, OFTEN = 0.4, 1.4, 0.15, 0.45


def chance(past, likes):
    return 1 / (1 + np.exp(0.8 - 0.6 * past - PULL * likes))


def shop(rng, n=1000):
    """Joining does nothing; liking the shop, seldom on record, moves joining, spend and coming back."""
    past, likes = rng.normal(size=n), (rng.random(n) < LIKES).astype(float)
    member = (rng.random(n) < chance(past, likes)).astype(int)
    spend = 20 + 2 * past + 3 * likes + rng.normal(0, 2, n)
    came = (rng.random(n) < np.where(likes == 1, OFTEN, RARE)).astype(int)
    return pd.DataFrame({"member": member, "past": past, "likes": likes, "spend": spend, "came": came})


def residual(y, *columns):
    x = np.column_stack([np.ones(len(y)), *columns])
    return y - x @ np.linalg.lstsq(x, y, rcond=None)[0]


def partial_share(y, x, *columns):
    """Share of what the columns leave of y that x explains."""
    return float(np.corrcoef(residual(y, *columns), residual(x, *columns))[0, 1] ** 2)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_what_is_left_when_the_cause_is_hidden(told, covers, name):
    """No estimator mends it: each is off alike, surely so; with the cause on record each is right."""
    rng = np.random.default_rng(61)
    given = {"outcome": "spend", "treatment": "member"}
    hidden, seen, held = [], [], {"hidden": 0, "seen": 0}
    for _ in range(REPS):
        frame = shop(rng)
        for kept, columns, found in (("hidden", ["past"], hidden), ("seen", ["past", "likes"], seen)):
            e = ESTIMATORS[name](frame, covariates=columns, **given).estimate
            found.append(e.value)
            held[kept] += e.low <= 0 <= e.high
    assert np.mean(hidden) > 0.7
    assert held["hidden"] < 0.05 * REPS
    assert abs(np.mean(seen)) < 4 * np.std(seen) / np.sqrt(REPS)
    assert covers(held["seen"], REPS) or name == "matching"
    told(
        f"{name}: spend",
        "0.00",
        f"{np.mean(hidden):.2f}",
        f"{held['hidden'] / REPS:.1%}",
        f"{round(np.mean(seen), 2) + 0.0:.2f}",
        f"{held['seen'] / REPS:.1%}",
    )


def test_the_robustness_value_is_as_strong_as_the_cause(told):
    """Where joining does nothing, a cause must reach the robustness value, and the hidden one does."""
    rng = np.random.default_rng(67)
    values, joining, spending = [], [], []
    for _ in range(REPS):
        frame = shop(rng, 4000)
        y, t, past, likes = (frame[c].to_numpy(float) for c in ("spend", "member", "past", "likes"))
        left, moved = residual(y, past), residual(t, past)
        slope = left @ moved / (moved @ moved)
        dof = len(y) - 3
        error = np.sqrt(np.sum((left - slope * moved) ** 2) / dof / (moved @ moved))
        values.append(robustness_value(slope / error, degrees_of_freedom=dof))
        joining.append(partial_share(t, likes, past))
        spending.append(partial_share(y, likes, past, t))
        # the bound is exact but for the little that chance leaves of the effect
        assert values[-1] < max(joining[-1], spending[-1])
    strength = np.sqrt(np.mean(spending) * np.mean(joining) / (1 - np.mean(joining)))
    r = np.mean(values)
    assert strength == pytest.approx(r / np.sqrt(1 - r), rel=0.05)
    told(
        "robustness value of spend, and shares the hidden cause explains",
        *(f"{np.mean(v):.1%}" for v in (values, joining, spending)),
    )


def test_the_e_value_is_within_reach_of_the_cause(told):
    """The hidden cause's risk ratios reach the E-value, and their joint bound the ratio that was seen."""
    rng = np.random.default_rng(71)
    ratios, values = [], []
    for _ in range(REPS):
        found = augmented_ipw(shop(rng, 4000), outcome="came", treatment="member", covariates=["past"])
        ratios.append(found.mean_treated / found.mean_control)
        values.append(e_value(ratios[-1]))
    past = np.linspace(-4, 4, 801)
    one, zero = chance(past, 1.0), chance(past, 0.0)
    share = LIKES * one + (1 - LIKES) * zero
    imbalance = float(np.max(one / share * (1 - share) / (1 - one)))
    effect = OFTEN / RARE
    bound = imbalance * effect / (imbalance + effect - 1)
    assert 1.1 < np.mean(ratios) < bound
    assert np.mean(values) < max(imbalance, effect)
    told(
        "E-value of coming back, and the hidden cause's risk ratios",
        f"{np.mean(values):.2f}",
        f"{imbalance:.2f}",
        f"{effect:.2f}",
        f"{np.mean(ratios):.2f}",
        f"{bound:.2f}",
    )
