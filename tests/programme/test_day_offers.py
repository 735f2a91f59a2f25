import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.programme.day_offers import offer_days

DATES = ["2024-03-13", "2024-05-15", "2024-07-17", "2024-09-18", "2024-11-13"]
OPTIONS = {"dates": DATES, "as_of": "2024-12-31", "margin": 1.0}


def shop(seed, *, lift=60.0, pulled=0.0):
    """A year of daily sales with strong weekdays; an offer day takes ``pulled`` from the six days after."""
    rng = np.random.default_rng(seed)
    days = pd.date_range("2024-01-01", "2024-12-31")
    sales = 200 + 100 * (days.dayofweek >= 5) + rng.normal(0, 20, len(days))
    for date in pd.to_datetime(DATES):
        at = (days == date).argmax()
        sales[at] += lift
        sales[at + 1 : at + 7] -= pulled / 6
    return pd.DataFrame(
        {"customer_id": "a", "transacted_at": days + pd.Timedelta(hours=12), "amount": np.asarray(sales)}
    )


def test_the_effect_is_covered_whatever_the_weekday():
    hits = {"on_day": 0, "net": 0}
    for seed in range(150):
        found = offer_days(shop(seed, pulled=60.0), **OPTIONS)
        hits["on_day"] += found.on_day.low <= 60 <= found.on_day.high
        hits["net"] += found.net.low <= 0 <= found.net.high
    for count in hits.values():
        assert count / 150 > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 150)


def test_days_are_counted_in_local_time():
    days = pd.date_range("2024-04-01", "2024-06-30")
    orders = pd.DataFrame(
        {"customer_id": "a", "transacted_at": days + pd.Timedelta(hours=10), "amount": 10.0}
    )
    # 23:30 UTC on 14 May is 01:30 on 15 May in Madrid
    late = pd.DataFrame(
        {"customer_id": ["a"], "transacted_at": [pd.Timestamp("2024-05-14 23:30")], "amount": [9.0]}
    )
    both = pd.concat([orders, late])
    options = {"dates": ["2024-05-15"], "as_of": "2024-06-30", "margin": 1.0}
    assert offer_days(both, timezone="Europe/Madrid", **options).on_day.value == 9.0
    assert offer_days(both, **options).on_day.value == 0.0


def test_other_offer_days_are_no_yardstick():
    days = pd.date_range("2024-04-01", "2024-06-30")
    orders = pd.DataFrame({"customer_id": "a", "transacted_at": days, "amount": 10.0})
    offers = ["2024-05-08", "2024-05-15", "2024-05-22"]
    orders.loc[days.isin(pd.to_datetime(offers)), "amount"] = 30.0
    found = offer_days(orders, dates=offers, as_of="2024-06-30", margin=1.0, after_days=0)
    assert found.by_date["on_day"].tolist() == [20.0, 20.0, 20.0]


def test_two_days_give_no_interval():
    found = offer_days(shop(1), **OPTIONS | {"dates": DATES[:2]})
    assert np.isnan(found.net.low)
    assert "too few days" in found.verdict()
    assert "whatever else fell on those days" in found.verdict()


def test_bad_dates_are_refused():
    with pytest.raises(DesignError, match="outside the data"):
        offer_days(shop(1), **OPTIONS | {"dates": ["2024-12-30"]})
    with pytest.raises(DesignError, match="free of offers"):
        offer_days(shop(1), **OPTIONS | {"dates": pd.date_range("2024-03-01", "2024-06-30", freq="D")})
    with pytest.raises(ArgumentError, match="no offer day"):
        offer_days(shop(1), **OPTIONS | {"dates": []})
    with pytest.raises(ArgumentError, match="IANA"):
        offer_days(shop(1), timezone="Nowhere", **OPTIONS)


def test_waiting_for_an_announced_day_shows_before_it_and_counts():
    days = pd.date_range("2024-04-01", "2024-06-30")
    orders = pd.DataFrame({"customer_id": "a", "transacted_at": days, "amount": 100.0})
    orders.loc[days == "2024-05-15", "amount"] = 170.0
    orders.loc[days.isin(pd.to_datetime(["2024-05-13", "2024-05-14"])), "amount"] = 80.0
    orders.loc[days == "2024-05-17", "amount"] = 90.0
    found = offer_days(orders, dates=["2024-05-15"], as_of="2024-06-30", margin=1.0)
    assert (found.before.value, found.on_day.value, found.after.value) == (-40.0, 70.0, -10.0)
    assert found.net.value == 20.0
    assert found.to_frame()["group"].tolist() == ["3 days before", "on the day", "6 days after", "together"]
    blind = offer_days(orders, dates=["2024-05-15"], as_of="2024-06-30", margin=1.0, before_days=0)
    assert blind.before is None
    # the days that waited serve as a yardstick too, so the gain looks larger still
    assert blind.net.value == 65.0
    with pytest.raises(DesignError, match="outside the data"):
        offer_days(orders, dates=["2024-04-02"], as_of="2024-06-30", margin=1.0)
