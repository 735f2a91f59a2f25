import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme._own_dates import Windows, own_events
from loyalty_research.programme.personal_dates import personal_date_offer

DAY = pd.Timedelta(days=1)
FIRST = pd.Timestamp("2022-01-01")
DAYS = 1096  # three years to the end of 2024
OPTIONS = {"kind": "birthday", "as_of": "2024-12-31", "margin": 1.0, "start": "2023-01-01"}


def world(seed, customers=250, *, waited=0.0, during=0.0, pulled=0.0, only=None):
    """Customers buy at their own rate, more before Christmas, and shift orders around their birthday.

    ``waited`` of margin is missing before the date, ``pulled`` after it; ``during`` comes on top.
    """
    rng = np.random.default_rng(seed)
    ids = np.array([f"c{i:04}" for i in range(customers)])
    births = pd.Timestamp("1981-01-01") + pd.to_timedelta(rng.integers(0, 365, customers), unit="D")
    count = rng.poisson(rng.gamma(2, 6, customers) * 3)
    who = np.repeat(np.arange(customers), count)
    day = rng.integers(0, DAYS, len(who))
    season = np.where((FIRST + pd.to_timedelta(day, unit="D")).month == 12, 2.0, 1.0)
    orders = pd.DataFrame(
        {
            "customer_id": ids[who],
            "transacted_at": FIRST + pd.to_timedelta(day, unit="D"),
            "amount": 10 * season,
        }
    )
    extra = []
    for year in (2023, 2024):
        own = pd.DatetimeIndex([b.replace(year=year) for b in births])
        for shift, amount in ((-3, -waited), (3, during), (20, -pulled)):
            gift = np.full(customers, amount) * rng.gamma(4, 0.25, customers)
            extra.append(
                pd.DataFrame({"customer_id": ids, "transacted_at": own + shift * DAY, "amount": gift})
            )
    dates = pd.DataFrame({"customer_id": ids, "date": births})
    every = pd.concat([orders, *extra])
    if only is not None:
        moved = pd.concat(extra)
        every = pd.concat([orders, moved[moved["customer_id"].isin(ids[only(customers)])]])
    return every, dates


def test_waiting_and_pulling_forward_show_and_cancel():
    found = personal_date_offer(*world(1, 1500, waited=4.0, during=10.0, pulled=6.0), **OPTIONS)
    for estimate, truth in (
        (found.before, -4.0),
        (found.during, 10.0),
        (found.after, -6.0),
        (found.net, 0.0),
    ):
        assert estimate.low < truth < estimate.high
    assert found.before.high < 0
    assert found.after.high < 0
    assert "moved from the days around" in found.verdict()
    assert "only a holdout" in found.verdict()
    assert not found.failed_gates


def coverage(replicates, seed):
    hits = np.zeros(4)
    for i in range(replicates):
        found = personal_date_offer(*world(seed + i, 150, during=8.0, pulled=3.0), **OPTIONS)
        truths = (0.0, 8.0, -3.0, 5.0)
        hits += [
            e.low <= t <= e.high
            for e, t in zip((found.before, found.during, found.after, found.net), truths, strict=True)
        ]
    return hits / replicates


def test_differences_are_covered():
    assert coverage(100, 100) == pytest.approx(0.95, abs=3.2 * np.sqrt(0.05 * 0.95 / 100))


@pytest.mark.slow
def test_differences_cover(published):
    share = coverage(2000, 10_000)
    what = ("before", "during", "after", "net")
    published(zip([f"offer on a customer's own date: {w}" for w in what], share, strict=True), 2000)
    assert share == pytest.approx(0.95, abs=3.5 * np.sqrt(0.05 * 0.95 / 2000))


def test_a_season_that_all_share_is_no_effect_of_the_date():
    # half are born in December, when everybody buys twice as much
    orders, dates = world(3, 800)
    rng = np.random.default_rng(3)
    winter = dates["date"].dt.dayofyear.to_numpy() < 183
    born = np.where(winter, rng.integers(335, 365, 800), rng.integers(60, 250, 800))
    dates["date"] = pd.Timestamp("1981-01-01") + pd.to_timedelta(born, unit="D")
    found = personal_date_offer(orders, dates, **OPTIONS)
    assert found.net.low < 0 < found.net.high
    assert not found.failed_gates


def test_a_holdout_is_compared_around_its_own_dates():
    def every_second(n):
        return np.arange(n) % 2 == 0

    orders, dates = world(4, 2000, waited=2.0, during=9.0, only=every_second)
    dates["arm"] = np.where(every_second(2000), "gift", "none")
    found = personal_date_offer(orders, dates, treated="gift", control="none", ratio=1.0, **OPTIONS)
    assert found.held_out
    assert found.during.low < 9.0 < found.during.high
    assert found.before.low < -2.0 < found.before.high
    assert found.net.low < 7.0 < found.net.high
    assert found.verdict().startswith("Against customers held out")
    assert [c.status for c in found.checks if c.name == "Sample ratio"] == ["passed"]
    swapped = personal_date_offer(orders, dates, treated="none", control="gift", **OPTIONS)
    assert swapped.net.value == pytest.approx(-found.net.value)
    with pytest.raises(DesignError, match="not measurable"):
        personal_date_offer(orders, dates.assign(arm="gift"), treated="gift", control="none", **OPTIONS)


def test_arms_that_differed_all_along_get_no_verdict():
    orders, dates = world(5, 1500)
    dates["arm"] = np.where(np.arange(1500) % 2 == 0, "gift", "none")
    rich = orders["customer_id"].isin(dates.loc[dates["arm"] == "gift", "customer_id"])
    uneven = orders.assign(amount=orders["amount"] * np.where(rich, 1.6, 1.0))
    assert (
        "No verdict"
        in personal_date_offer(uneven, dates, treated="gift", control="none", **OPTIONS).verdict()
    )


def test_29_february_has_a_day_in_every_year():
    for rule, day in (("before", "2023-02-28"), ("after", "2023-03-01")):
        found = own_events(np.array([2, 2]), np.array([29, 28]), range(2023, 2025), leap_day=rule)
        assert found.astype("datetime64[D]").astype(str).tolist() == [
            [day, "2024-02-29"],
            ["2023-02-28", "2024-02-28"],
        ]
    every = own_events(np.arange(1, 13), np.full(12, 31), range(2023, 2024), leap_day="before")
    assert every[1, 0] < every[2, 0]
    orders, dates = world(6, 100)
    dates.loc[0, "date"] = pd.Timestamp("1984-02-29")
    found = personal_date_offer(orders, dates, leap_day="after", **OPTIONS)
    assert any("1 March" in c.detail and "1 customer's" in c.detail for c in found.checks)


def test_days_are_those_of_the_place():
    orders, dates = world(7, 120)
    local = orders.assign(
        transacted_at=(orders["transacted_at"] + pd.Timedelta(hours=23, minutes=30))
        .dt.tz_localize("America/New_York")
        .dt.tz_convert("UTC")
        .dt.tz_localize(None)
    )
    there = personal_date_offer(local, dates, timezone="America/New_York", **OPTIONS)
    plain = personal_date_offer(orders, dates, **OPTIONS)
    assert there.during == plain.during
    assert personal_date_offer(local, dates, timezone="UTC", **OPTIONS).during != plain.during


def test_an_anniversary_starts_after_the_first_year_and_nobody_is_seen_before_the_first_purchase():
    rng = np.random.default_rng(8)
    customers = 400
    ids = np.array([f"c{i}" for i in range(customers)])
    begun = FIRST + pd.to_timedelta(rng.integers(0, 365, customers), unit="D")
    rows = [
        pd.DataFrame(
            {
                "customer_id": c,
                "transacted_at": [b, *(b + pd.to_timedelta(np.sort(rng.integers(1, 730, 12)), unit="D"))],
                "amount": 10.0,
            }
        )
        for c, b in zip(ids, begun, strict=True)
    ]
    orders = pd.concat(rows)
    orders = orders[orders["transacted_at"] <= "2024-12-31"]
    dates = pd.DataFrame({"customer_id": ids, "date": begun})
    options = {**OPTIONS, "kind": "anniversary", "start": None, "as_of": "2023-12-31"}
    found = personal_date_offer(orders, dates, **options)
    # the purchase that made the date would be a huge 'effect' on the day; it is not in any window
    assert found.during.low < 0 < found.during.high
    # later purchases cannot change what is known by the end of 2023
    future = pd.DataFrame({"customer_id": ids, "transacted_at": pd.Timestamp("2024-06-01"), "amount": 999.0})
    assert personal_date_offer(pd.concat([orders, future]), dates, **options).net == found.net
    assert "every year" in found.verdict()


def test_customers_who_stopped_buying_still_count():
    orders, dates = world(9, 200)
    silent = pd.DataFrame({"customer_id": [f"s{i}" for i in range(200)], "date": dates["date"]})
    both = personal_date_offer(orders, pd.concat([dates, silent], ignore_index=True), **OPTIONS)
    assert both.customers == 400


def test_the_whole_is_the_sum_of_its_weeks_and_windows():
    found = personal_date_offer(*world(10, during=5.0), **OPTIONS)
    assert found.net.value == pytest.approx(found.before.value + found.during.value + found.after.value)
    assert found.by_week["week"].tolist() == list(range(-2, 6))
    assert found.by_week["estimate"].sum() == pytest.approx(found.net.value)
    assert Windows(0, 14, 14, 28).shifts().tolist() == [0, -56, -112, -168, 56, 112, 168]


def test_made_up_dates_of_birth_are_noticed():
    orders, dates = world(11, 200)
    dates.loc[:30, "date"] = pd.Timestamp("1970-01-01")
    found = personal_date_offer(orders, dates, **OPTIONS)
    assert any(c.name == "Dates of birth" and c.status == "warning" for c in found.checks)


def test_the_picture_shades_the_offer():
    found = personal_date_offer(*world(12), **OPTIONS)
    axes = found.plot()
    assert axes.get_xlabel() == "weeks from the date"
    assert len(axes.patches) == 1


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"kind": "wedding"}, ArgumentError, "birthday or anniversary"),
        ({"window": (14, 0)}, ArgumentError, "window is"),
        ({"before_days": 90}, ArgumentError, "shorten them"),
        ({"leap_day": "never"}, ArgumentError, "leap_day"),
        ({"treated": "gift"}, ArgumentError, "go together"),
        ({"timezone": "Mars/Olympus"}, ArgumentError, "IANA"),
        ({"date": "birth"}, ContractError, "lacks the column birth"),
        ({"known_from": "since"}, ContractError, "lacks the column since"),
        ({"as_of": "2021-01-01"}, DesignError, "no order"),
        ({"as_of": "2023-01-20"}, DesignError, "watch for longer"),
    ],
)
def test_bad_options_are_refused(options, error, words):
    with pytest.raises(error, match=words):
        personal_date_offer(*world(13, 60), **OPTIONS | options)


def test_bad_tables_are_refused():
    orders, dates = world(14, 60)
    with pytest.raises(ContractError, match="repeats"):
        personal_date_offer(orders, pd.concat([dates, dates]), **OPTIONS)
    with pytest.raises(ContractError, match="no date"):
        personal_date_offer(orders, dates.assign(date="soon"), **OPTIONS)
    with pytest.raises(DesignError, match="empty for every"):
        personal_date_offer(orders, dates.assign(date=pd.NaT), **OPTIONS)
    same = dates.assign(date=pd.Timestamp("1980-06-01"))
    with pytest.raises(DesignError, match="nobody shows what is usual"):
        personal_date_offer(orders, same, **OPTIONS)
