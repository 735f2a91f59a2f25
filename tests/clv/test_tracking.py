import datetime as dt
import math

import numpy as np
import pandas as pd
import pytest

from loyalty_research import summaries
from loyalty_research.clv import BetaGeoNBD, last_period, tracking
from loyalty_research.errors import ArgumentError

SPLIT = {"calibration_end": "1997-09-30", "observation_end": "1998-06-30"}


@pytest.fixture(scope="module")
def model(sample):
    return BetaGeoNBD().fit(sample)


@pytest.fixture(scope="module")
def tracked(model, sample_orders):
    return tracking(model, sample_orders, **SPLIT)


def test_actual_purchases_are_those_of_the_summary(tracked, sample):
    weeks = tracked.periods
    assert weeks.loc[~weeks["is_holdout"], "actual"].sum() == sample["frequency"].sum()
    assert tracked.actual == sample["frequency_holdout"].sum()
    assert weeks["end"][~weeks["is_holdout"]].iloc[-1] == pd.Timestamp("1997-09-30")
    assert weeks["end"].diff().dropna().eq(pd.Timedelta(days=7)).all()
    assert weeks["is_holdout"].sum() == 39
    np.testing.assert_array_equal(weeks["actual"].cumsum(), weeks["actual_cumulative"])
    np.testing.assert_allclose(weeks["expected"].cumsum(), weeks["expected_cumulative"])


def test_expected_purchases_are_sums_over_birth_dates(tracked, model, sample):
    # the last period ends on the last day observed, so every customer's age there is T + 39 weeks
    ages = sample["T"].to_numpy()
    whole = model.expected_purchases(ages + 39).sum()
    assert tracked.periods["end"].iloc[-1] == pd.Timestamp("1998-06-30")
    assert tracked.periods["expected_cumulative"].iloc[-1] == pytest.approx(whole)
    assert tracked.expected == pytest.approx(whole - model.expected_purchases(ages).sum())
    assert whole == pytest.approx(tracked.periods["actual_cumulative"].iloc[-1], rel=0.05)


def test_bias_has_its_ratio_interval(tracked):
    assert tracked.bias.value == pytest.approx(tracked.expected / tracked.actual - 1)
    assert tracked.bias.low < tracked.bias.value < tracked.bias.high
    assert abs(tracked.calibration_bias.value) < 0.02
    frame = tracked.to_frame().set_index("metric")
    assert frame.loc["actual holdout purchases", "estimate"] == tracked.actual
    assert f"{tracked.actual:,} happened" in tracked.verdict()


def test_daily_and_plain_orders_give_the_same(tracked, model, sample_orders):
    again = tracking(model, summaries.daily(sample_orders), **SPLIT)
    pd.testing.assert_frame_equal(again.periods, tracked.periods)


def test_days_as_the_unit_give_the_same(tracked, sample_orders):
    by_day = summaries.purchases(sample_orders, unit="D", **SPLIT)
    again = tracking(BetaGeoNBD().fit(by_day), sample_orders, **SPLIT)
    np.testing.assert_allclose(again.periods["expected"], tracked.periods["expected"], rtol=1e-5)


def _orders(rows):
    return pd.DataFrame(
        {
            "customer_id": [name for name, _ in rows],
            "transacted_date": pd.to_datetime([day for _, day in rows]),
            "amount": 10.0,
        }
    )


def test_customers_born_in_the_holdout_are_left_out_and_counted(model):
    orders = _orders(
        [
            ("a", "2024-01-01"),
            ("a", "2024-01-20"),
            ("a", "2024-02-10"),
            ("b", "2024-02-05"),
            ("b", "2024-02-20"),
        ]
    )
    found = tracking(model, orders, calibration_end="2024-01-31", observation_end="2024-02-28")
    assert found.actual == 1
    assert found.bias.n == 1
    assert found.checks[0].detail.startswith("1 left out")
    assert last_period(orders, calibration_end="2024-01-31", observation_end="2024-02-28").to_dict() == {
        "a": 1.0
    }


def test_nobody_back_in_the_holdout_is_said(model):
    orders = _orders([("a", "2024-01-01"), ("b", "2024-01-02"), ("b", "2024-01-09")])
    found = tracking(model, orders, calibration_end=dt.date(2024, 1, 31), observation_end="2024-03-31")
    assert math.isnan(found.bias.value)
    assert found.verdict().startswith("Nobody bought again")


def test_last_period_counts_a_stretch_as_long_as_the_holdout(sample_orders, sample):
    found = last_period(sample_orders, calibration_end="1997-09-30", observation_end="1997-10-28")
    days = summaries.daily(sample_orders)
    inside = days["transacted_date"].between("1997-09-03", "1997-09-30")
    first = days.groupby("customer_id")["transacted_date"].transform("min")
    plain = days[inside & (days["transacted_date"] > first)].groupby("customer_id").size()
    assert found.index.equals(sample.index)
    assert found[found > 0].astype(int).to_dict() == plain.to_dict()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"calibration_end": "1998-06-30"}, "the holdout must come after calibration"),
        ({"calibration_end": "1998-07-30", "observation_end": "1998-06-30"}, "must come after calibration"),
        ({"calibration_end": "1996-01-01"}, "nobody bought by calibration_end 1996-01-01"),
        ({"calibration_end": "soon"}, "calibration_end must be a date"),
        ({"period_days": 0}, "period_days"),
        ({"level": 2}, "level must lie"),
    ],
)
def test_bad_options_are_refused(model, sample_orders, change, said):
    with pytest.raises(ArgumentError, match=said):
        tracking(model, sample_orders, **{**SPLIT, **change})


def test_dates_need_a_unit(sample, sample_orders):
    bare = sample.copy()
    bare.attrs.clear()
    with pytest.raises(ArgumentError, match="need the model's time unit"):
        tracking(BetaGeoNBD().fit(bare), sample_orders, **SPLIT)
