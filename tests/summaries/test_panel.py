"""Every customer in every period: a plain reference, and a known effect found again."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty_research import summaries
from loyalty_research.comparison import Comparison, Mean, difference_in_differences
from loyalty_research.errors import ArgumentError, ContractError, DesignError

START = dt.date(2023, 12, 20)
COLUMNS = {"unit": "customer_id", "period": "period", "first_treated": "first_treated"}


def begins(day, period):
    """First day of the period a date falls in."""
    if period == "W":
        return day - dt.timedelta(days=day.weekday())
    return day.replace(day=1, month=day.month if period == "M" else 3 * ((day.month - 1) // 3) + 1)


def following(day, period):
    return begins(day + dt.timedelta(days={"W": 7, "M": 32, "Q": 93}[period]), period)


@settings(deadline=None, max_examples=20, derandomize=True)
@given(data=st.data())
def test_every_cell_equals_a_plain_reference_on_every_engine(data, native, to_frame, random_rows, is_sale):
    rows = data.draw(random_rows.filter(lambda rs: any(map(is_sale, rs))))
    period = data.draw(st.sampled_from(["W", "M"]))
    how = data.draw(st.sampled_from(["leave out", "keep"]))
    who = data.draw(st.lists(st.sampled_from(["ann", "bob", "cyd", "eve"]), min_size=1, max_size=6))
    bought = {r[0]: r[1] for r in rows}
    # some start on a day they bought
    offsets = [
        bought[name] if name in bought and data.draw(st.booleans()) else data.draw(st.integers(-30, 140))
        for name in who
    ]
    as_of = START + dt.timedelta(days=data.draw(st.integers(90, 130)))
    sales = [(r[0], START + dt.timedelta(days=r[1]), r[3] / 100) for r in rows if is_sale(r)]
    sales = [s for s in sales if s[1] <= as_of]
    starts = pd.DataFrame(
        {"customer_id": who, "valid_from": [pd.Timestamp(START + dt.timedelta(days=o)) for o in offsets]}
    )
    begun = {}
    for name, offset in zip(who, offsets, strict=True):
        begun[name] = min(begun.get(name, 10**6), offset)
    opening = following(START + dt.timedelta(days=min(r[1] for r in rows)), period)
    periods = []
    while following(opening, period) - dt.timedelta(days=1) <= as_of:
        periods.append(opening)
        opening = following(opening, period)
    known = sorted({name for name, day, _ in sales if periods and day < periods[0]})
    for move in native.values():

        def run(move=move):
            return summaries.panel(
                move(to_frame(rows)), move(starts), period=period, as_of=as_of, start_day=how
            )

        if not sales or as_of < START + dt.timedelta(days=min(r[1] for r in rows)):
            with pytest.raises((ArgumentError, ContractError)):
                run()
            continue
        if len(periods) < 2 or not known:
            with pytest.raises(DesignError):
                run()
            continue
        got = run()
        assert got[["customer_id", "period"]].apply(tuple, axis=1).tolist() == [
            (name, pd.Timestamp(day)) for name in known for day in periods
        ]
        for row in got.itertuples():
            day = START + dt.timedelta(days=begun.get(row.customer_id, 10**5))
            mine = [
                amount
                for name, bought, amount in sales
                if name == row.customer_id
                and begins(bought, period) == row.period.date()
                and (how == "keep" or bought != day)
            ]
            assert (row.spend, row.orders) == (pytest.approx(sum(mine)), len(mine))
            if day > as_of:
                assert pd.isna(row.first_treated)
            else:
                assert row.first_treated.date() == begins(day, period)
        everybody = {s[0] for s in sales}
        left_out = [
            s
            for s in sales
            if how != "keep"
            and s[0] in known
            and periods[0] <= s[1] < opening
            and s[1] == START + dt.timedelta(days=begun.get(s[0], 10**5))
        ]
        assert got.attrs["dropped"]["purchase rows on the day of the start"] == len(left_out)
        dropped = got.attrs["dropped"]
        assert dropped["customers without a purchase before the first period"] == len(everybody) - len(known)
        assert dropped["customers who started and have no purchase in the data"] == sum(
            name not in everybody and START + dt.timedelta(days=o) <= as_of for name, o in begun.items()
        )


def months(n=400, *, seed=0, effect=3.0):
    """Customers at their own rates through 12 months; who buys more starts sooner, on the first of a month.

    After the start every purchase is worth ``effect`` more. Also returns the effect a treated month that is
    expected, over starters in the panel.
    """
    rng = np.random.default_rng(seed)
    first = pd.date_range("2023-01-01", periods=13, freq="MS")
    days = (first[-1] - first[0]).days
    month = (pd.date_range(first[0], periods=days).month - 1).to_numpy()
    rate = rng.gamma(4.0, 1 / 40, n)
    start = np.where(rng.random(n) < 0.3 + 3 * rate, rng.choice([4, 6, 8, 10], n) - (rate > 0.1), 99)
    came = rng.random((n, days)) < rate[:, None]
    after = month >= start[:, None]
    worth = rng.gamma(4.0, 5.0, (n, days)) + effect * after
    who, when = np.nonzero(came)
    lines = pd.DataFrame(
        {
            "customer_id": who,
            "transacted_date": first[0] + pd.to_timedelta(when, unit="D"),
            "amount": worth[who, when],
        }
    )
    starters = np.flatnonzero(start < 12)
    starts = pd.DataFrame({"customer_id": starters, "started_date": first[start[starters]]})
    there = came[:, month == 0].any(axis=1) & (start < 12)
    truth = (effect * rate[there, None] * after[there]).sum() / (12 - start[there]).sum()
    return lines, starts, truth


def study(lines, starts, **options):
    return difference_in_differences(
        summaries.panel(lines, starts, **options), outcome="spend", seed=1, **COLUMNS
    )


def covered(replicates, **world):
    held, away = 0, []
    for seed in range(replicates):
        lines, starts, truth = months(seed=seed, **world)
        found = study(lines, starts, start_day="keep").overall  # no purchase brings these starts about
        held += found.low <= truth <= found.high
        away.append(found.value - truth)
    return held / replicates, np.mean(away), np.std(away) / replicates**0.5


def test_a_known_effect_is_found_again():
    share, away, error = covered(30)
    assert abs(away) < 3.5 * error
    assert share >= 0.8


@pytest.mark.slow
def test_coverage_of_a_known_effect():
    """500 replicates of 400 customers over 11 months, starters richer than the others."""
    share, away, error = covered(500)
    assert abs(share - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 500)
    assert abs(away) < 3.5 * error


def test_it_goes_straight_into_a_comparison():
    lines, starts, _ = months(effect=6.0)
    panel = summaries.panel(lines, starts)
    plan = Comparison(
        [Mean("spend"), Mean("orders", role="secondary")],
        design="panel",
        assignment="first_treated",
        unit="customer_id",
        period="period",
    )
    found = plan.analyse(panel)
    assert found.estimate(metric="spend").low > 0
    orders = found.estimate(metric="orders")
    assert orders.low < 0 < orders.high
    assert not any(found.dropped.values())
    assert sum(found.sizes.values()) == panel.attrs["customers"] == panel["customer_id"].nunique()


def test_the_purchase_at_which_somebody_starts_is_no_effect(shop_at_the_till):
    kept, left = (study(*shop_at_the_till, start_day=how) for how in ("keep", "leave out"))
    # nothing before the start tells that the rise is made of the purchases at which people joined
    assert kept.effect[kept.lead == 0][0] > 10
    assert kept.overall.low > 0
    assert kept.checks[0].status == "passed"
    assert abs(left.effect[left.lead == 0][0]) < 2.5
    assert left.overall.low < 0 < left.overall.high
    assert left.checks[0].status == "passed"


@pytest.fixture
def shop_at_the_till():
    """Customers with constant rates who join at a purchase; joining does nothing."""
    rng = np.random.default_rng(3)
    came = rng.random((2500, 365)) < rng.gamma(2.0, 1 / 40, 2500)[:, None]
    yes = came & (rng.random(came.shape) < 0.05)
    who, when = np.nonzero(came)
    joined = np.flatnonzero(yes.any(axis=1))
    day = pd.Timestamp("2023-01-01") + pd.to_timedelta(np.arange(365), unit="D")
    lines = pd.DataFrame({"customer_id": who, "transacted_date": day[when], "amount": 20.0})
    return lines, pd.DataFrame({"customer_id": joined, "valid_from": day[yes.argmax(axis=1)[joined]]})


def test_a_cohort_too_small_to_vary_is_no_sure_evidence():
    lines, starts, _ = months(300)
    alone = starts["customer_id"].isin(starts["customer_id"].iloc[:4])
    few = starts.assign(started_date=starts["started_date"].where(~alone, pd.Timestamp("2023-03-01")))
    found, without = (
        study(lines[~lines["customer_id"].isin(out)], few) for out in ([], few["customer_id"][alone])
    )
    assert found.dropped["units of cohorts of fewer than 5"] > 0
    assert (found.overall.value, found.overall.low) == (without.overall.value, without.overall.low)
    assert found.checks[0].p_value == without.checks[0].p_value


def test_the_periods_asked_for():
    lines, starts, _ = months(60)
    options = {"first": "2023-04-17", "last": dt.date(2023, 9, 30), "period": "Q", "start_day": "keep"}
    got = summaries.panel(lines, starts, **options)
    assert got["period"].unique().tolist() == [pd.Timestamp("2023-04-01"), pd.Timestamp("2023-07-01")]
    early = lines[lines["transacted_date"] < "2023-04-01"]["customer_id"]
    assert got["customer_id"].unique().tolist() == sorted(early.unique())
    assert got.attrs["periods"] == 2
    first_half = lines["transacted_date"].between("2023-04-01", "2023-09-30") & lines["customer_id"].isin(
        early
    )
    assert got["spend"].sum() == pytest.approx(lines["amount"][first_half].sum())


@pytest.mark.parametrize(
    ("change", "options", "error", "said"),
    [
        ({}, {"start_day": "drop"}, ArgumentError, "start_day is"),
        ({}, {"period": "Y"}, ArgumentError, "period must be one of"),
        ({}, {"last": "2024-02-01"}, ArgumentError, "is not over by the last day observed"),
        ({}, {"as_of": "2023-12-30", "last": "2023-12-01"}, ArgumentError, "is not over"),
        ({}, {"first": "2023-01-15"}, DesignError, "nobody bought before 2023-01-01"),
        ({}, {"first": "2023-12-15", "as_of": "2023-12-31"}, DesignError, "there are 1 whole periods"),
        ({}, {"first": "2023-09-15", "last": "2023-05-01"}, DesignError, "there are 0 whole periods"),
        ({"started_date": pd.NaT}, {}, ContractError, "starts lack a customer or started_date"),
        ({"started_date": "soon"}, {}, ContractError, "not a date"),
        ({"customer_id": "x"}, {}, ContractError, "customer_id is"),
    ],
)
def test_bad_input_is_refused(change, options, error, said):
    lines, starts, _ = months(40)
    if change.get("started_date") is pd.NaT:
        starts["started_date"] = starts["started_date"].where(starts.index != 1)
    else:
        starts = starts.assign(**change)
    with pytest.raises(error, match=said):
        summaries.panel(lines, starts, **options)


def test_a_table_without_a_start_is_refused():
    lines, starts, _ = months(40)
    with pytest.raises(ContractError, match="starts lacks the column valid_from"):
        summaries.panel(lines, starts.drop(columns="started_date"))
