"""Day zeros of members and non-members: a plain reference, and no difference where joining does nothing."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from loyalty_research import summaries
from loyalty_research.comparison import Comparison, Mean
from loyalty_research.errors import ArgumentError, ContractError, DesignError

START = pd.Timestamp("2023-01-01")
WINDOW, PRE = 60, 60
BEFORE = ["pre_spend", "pre_orders", "pre_recency", "pre_tenure"]


def shop(n=600, days=420, *, seed=1, effect=0.0, by_habit=0.25, per_visit=0.03):
    """Customers who buy at their own rates and are asked to join at the till.

    Who bought more in the last 60 days says yes more often (``by_habit``, a log odds an order).
    After joining every purchase is worth ``effect`` more.
    """
    rng = np.random.default_rng(seed)
    rate = rng.gamma(2.0, 1 / 40, n)
    came = rng.random((n, days)) < rate[:, None]
    spend = came * rng.gamma(4.0, 5.0, (n, days))
    recent = np.cumsum(came, axis=1)
    recent[:, PRE:] -= recent[:, :-PRE].copy()
    recent = np.hstack([np.zeros((n, 1)), recent[:, :-1]])
    odds = per_visit / (1 - per_visit) * np.exp(by_habit * recent)
    yes = came & (rng.random((n, days)) < odds / (1 + odds))
    joined = np.where(yes.any(axis=1), yes.argmax(axis=1), days * 10)
    spend += effect * (came & (np.arange(days) > joined[:, None]))
    who, when = np.nonzero(came)
    lines = pd.DataFrame(
        {
            "customer_id": who,
            "transacted_date": START + pd.to_timedelta(when, unit="D"),
            "amount": spend[who, when],
        }
    )
    members = np.flatnonzero(joined < days)
    spells = pd.DataFrame(
        {"customer_id": members, "valid_from": START + pd.to_timedelta(joined[members], unit="D")}
    )
    return lines, spells


def day_of(dates):
    return (pd.to_datetime(dates) - START).dt.days.to_numpy()


def test_every_row_equals_a_plain_reference():
    lines, spells = shop(200)
    got = summaries.member_units(lines, spells, window_days=WINDOW, pre_days=PRE, seed=4)
    when, joined = (
        day_of(lines["transacted_date"]),
        dict(zip(spells["customer_id"], day_of(spells["valid_from"]), strict=True)),
    )
    assert got["unit_id"].is_monotonic_increasing
    assert got["unit_id"].is_unique
    assert got["arm"].value_counts().to_dict() == {"member": len(got) // 2, "non-member": len(got) // 2}
    for row, zero in zip(got.itertuples(), day_of(got["index_date"]), strict=True):
        mine = (lines["customer_id"] == row.unit_id).to_numpy()
        after, before = (
            mine & (when > zero) & (when <= zero + WINDOW),
            mine & (when < zero) & (when >= zero - PRE),
        )
        assert row.spend == pytest.approx(lines["amount"][after].sum())
        assert row.pre_spend == pytest.approx(lines["amount"][before].sum())
        assert (row.orders, row.pre_orders) == (after.sum(), before.sum())
        assert row.pre_recency == zero - when[mine & (when < zero)].max()
        assert row.pre_tenure == zero - when[mine].min()
        own = joined.get(row.unit_id, 10**6)
        assert own == zero if row.arm == "member" else own > zero
        assert row.joined_later == (row.arm == "non-member" and own <= zero + WINDOW)
    # the same day, and both bought on it or both did not
    visits = set(zip(lines["customer_id"], when, strict=True))
    days = day_of(got["index_date"])
    bought = [visit in visits for visit in zip(got["unit_id"], days, strict=True)]
    cells = pd.crosstab([days, bought], got["arm"])
    assert (cells["member"] == cells["non-member"]).all()
    assert sum(bought) > 0


def test_every_customer_is_in_the_table_or_counted():
    lines, spells = shop(300, seed=2)
    stranger = pd.DataFrame({"customer_id": [10**6], "valid_from": [START + pd.Timedelta(days=200)]})
    spells = pd.concat([spells, stranger, spells.head(3).assign(valid_from=START + pd.Timedelta(days=419))])
    everybody = set(lines["customer_id"]) | set(spells["customer_id"])
    for options in ({}, {"later_joiners": "leave out"}, {"controls": 2}, {"same_day": False}):
        got = summaries.member_units(lines, spells, window_days=WINDOW, pre_days=PRE, **options)
        dropped = got.attrs["dropped"]
        assert len(got) + sum(v for k, v in dropped.items() if "rows" not in k) == len(everybody)
        assert dropped["members without a purchase before they joined"] >= 1
    left = summaries.member_units(lines, spells, window_days=WINDOW, pre_days=PRE, later_joiners="leave out")
    kept = summaries.member_units(lines, spells, window_days=WINDOW, pre_days=PRE)
    ahead = left.attrs["dropped"]["non-members who joined within their window, left out by looking ahead"]
    assert ahead == kept["joined_later"].sum() > 0
    pd.testing.assert_frame_equal(left, kept[~kept["joined_later"]].reset_index(drop=True))
    non = kept.loc[kept["arm"] == "non-member", "unit_id"]
    assert kept.attrs["drawn_before_joining"] == non.isin(spells["customer_id"]).sum() > 0


def test_what_comes_later_changes_nobody_s_day_zero():
    lines, spells = shop(300, seed=3)
    cut = START + pd.Timedelta(days=300)
    options = {"window_days": WINDOW, "pre_days": PRE, "seed": 5}
    whole = summaries.member_units(lines, spells, **options)
    for later in (
        summaries.member_units(lines, spells, as_of=cut.date(), **options),
        summaries.member_units(
            lines, spells[spells["valid_from"] <= cut - pd.Timedelta(days=WINDOW)], **options
        ),
    ):
        early = whole[whole["index_date"] <= cut - pd.Timedelta(days=WINDOW)].drop(columns="joined_later")
        same = later[later["index_date"] <= cut - pd.Timedelta(days=WINDOW)].drop(columns="joined_later")
        pd.testing.assert_frame_equal(early.reset_index(drop=True), same.reset_index(drop=True))


def test_engines_and_order_of_rows_give_the_same(engines):
    lines, spells = shop(150, seed=6)
    options = {"window_days": WINDOW, "pre_days": PRE, "seed": 1}
    names = lines["customer_id"].map("c{:03d}".format), spells["customer_id"].map("c{:03d}".format)
    lines, spells = lines.assign(customer_id=names[0]), spells.assign(customer_id=names[1])
    want = summaries.member_units(lines, spells, **options)
    assert len(want) > 40
    for move in engines.values():
        got = summaries.member_units(
            move(lines.sample(frac=1, random_state=0)), move(spells.sample(frac=1, random_state=1)), **options
        )
        pd.testing.assert_frame_equal(got, want, check_dtype=False)
        assert got.attrs == want.attrs
    other = summaries.member_units(lines, spells, **{**options, "seed": 2})
    assert not other["unit_id"].equals(want["unit_id"])


def test_the_purchase_at_which_somebody_joins_is_in_neither_period():
    lines = pd.DataFrame(
        {
            "customer_id": list("ababab"),
            "transacted_date": START + pd.to_timedelta([0, 0, 30, 30, 60, 61], unit="D"),
            "amount": [1.0, 2.0, 100.0, 200.0, 4.0, 8.0],
        }
    )
    spells = pd.DataFrame({"customer_id": ["a"], "valid_from": [START + pd.Timedelta(days=30, hours=9)]})
    got = summaries.member_units(lines, spells, window_days=30, pre_days=30)
    assert got[["spend", "pre_spend"]].to_numpy().tolist() == [[4.0, 1.0], [0.0, 2.0]]
    for window, pre in ((32, 30), (31, 31)):
        with pytest.raises(DesignError, match="none of 1 members joined with"):
            summaries.member_units(lines, spells, window_days=window, pre_days=pre)
    # only who bought on day 30 may stand beside somebody who joined at the till that day
    apart = lines[~((lines["customer_id"] == "b") & (lines["amount"] == 200))]
    with pytest.raises(DesignError, match="same_day=False"):
        summaries.member_units(apart, spells, window_days=30, pre_days=30)
    assert len(summaries.member_units(apart, spells, window_days=30, pre_days=30, same_day=False)) == 2


@pytest.mark.parametrize(
    ("spells", "options", "error", "said"),
    [
        ({"customer_id": [1, None]}, {}, ContractError, "lack a customer or valid_from at 1 row"),
        ({"valid_from": [pd.Timestamp("2023-05-01"), pd.NaT]}, {}, ContractError, "position 1"),
        ({"customer_id": ["a", "b"]}, {}, ContractError, "customer_id is"),
        ({}, {"controls": 0}, ArgumentError, "controls"),
        ({}, {"later_joiners": "censor"}, ArgumentError, "later_joiners"),
        ({}, {"window_days": 0}, ArgumentError, "window_days"),
        ({}, {"as_of": dt.date(2023, 3, 1)}, DesignError, "nobody joined by"),
        ({}, {"pre_days": 400}, DesignError, "none of 2 members"),
    ],
)
def test_bad_input_is_refused(spells, options, error, said):
    lines, _ = shop(20)
    table = pd.DataFrame(
        {"customer_id": [1, 2], "valid_from": pd.to_datetime(["2023-05-01", "2023-05-02"])} | spells
    )
    if "customer_id" in spells and None in spells["customer_id"]:
        lines, table = lines.astype({"customer_id": float}), table.astype({"customer_id": float})
    with pytest.raises(error, match=said):
        summaries.member_units(lines, table, **{"window_days": 30, "pre_days": 30} | options)


def ever_members(lines, spells):
    """The comparison everybody draws: members on any day of one fixed window, and the others."""
    zero = 180
    when = day_of(lines["transacted_date"])

    def per_customer(mask, column="amount"):
        return lines[mask].groupby("customer_id")[column]

    before = (when < zero) & (when >= zero - PRE)
    past = per_customer(when < zero, "transacted_date")
    frame = pd.DataFrame({"last": day_of(past.max()), "first": day_of(past.min())}, index=past.max().index)
    frame["spend"] = (
        per_customer((when >= zero) & (when < zero + WINDOW)).sum().reindex(frame.index).fillna(0)
    )
    frame["pre_spend"] = per_customer(before).sum().reindex(frame.index).fillna(0)
    frame["pre_orders"] = per_customer(before).size().reindex(frame.index).fillna(0)
    frame["pre_recency"], frame["pre_tenure"] = zero - frame["last"], zero - frame["first"]
    ever = spells["customer_id"][day_of(spells["valid_from"]) < zero + WINDOW]
    return frame.assign(arm=np.where(frame.index.isin(ever), "member", "non-member"))


def compared(table):
    plan = Comparison(
        Mean("spend"), design="observational", assignment="arm", control="non-member", covariates=BEFORE
    )
    found = plan.analyse(table)
    return [r.estimate for r in found.rows if r.estimand in ("ATE", "ATO")]


def replicate(replicates, n, **world):
    """Return covered shares, mean estimates and their Monte Carlo errors, naive first."""
    out = []
    for seed in range(replicates):
        lines, spells = shop(n, seed=100 + seed, **world)
        matched = summaries.member_units(lines, spells, window_days=WINDOW, pre_days=PRE, seed=seed)
        out.append(
            [
                (e.value, e.low <= 0 <= e.high)
                for e in (compared(ever_members(lines, spells))[0], *compared(matched)[:2])
            ]
        )
    values = np.array(out, dtype=float)
    return (
        values[..., 1].mean(axis=0),
        values[..., 0].mean(axis=0),
        values[..., 0].std(axis=0) / replicates**0.5,
    )


def test_where_joining_does_nothing_matched_day_zeros_find_nothing():
    covered, mean, error = replicate(20, 800)
    assert covered[0] == 0
    assert mean[0] > 15
    assert (np.abs(mean[1:]) < 3.5 * error[1:] + 0.1 * mean[0]).all()
    assert (covered[1:] >= 0.75).all()


def test_rules_that_know_the_future_or_who_came_that_day_find_what_is_not_there():
    """A null world: active customers join sooner, and they join at the till."""
    values = []
    for seed in range(15):
        lines, spells = shop(800, seed=500 + seed)
        values.append(
            [
                compared(
                    summaries.member_units(
                        lines, spells, window_days=WINDOW, pre_days=PRE, seed=seed, **options
                    )
                )[0].value
                for options in ({"later_joiners": "leave out"}, {"same_day": False})
            ]
        )
    mean, error = np.mean(values, axis=0), np.std(values, axis=0) / len(values) ** 0.5
    assert (mean > 3 * error).all()


def test_an_effect_is_found_less_what_later_joiners_took_with_them():
    lines, spells = shop(4000, seed=7, effect=10.0)
    found = summaries.member_units(lines, spells, window_days=WINDOW, pre_days=PRE)
    # what the purchases of members in the window were worth more, less the same among non-members who joined
    arms = found.groupby("arm")
    gain = 10.0 * arms["orders"].mean()["member"]
    assert gain > 25
    at_most = compared(found)[0]
    assert 0.6 * gain < at_most.value < gain + (at_most.high - at_most.low) / 2
    assert at_most.low > 0


@pytest.mark.slow
def test_coverage_where_joining_does_nothing():
    """400 replicates of 1,000 customers who join over 14 months, more willingly after many orders."""
    replicates = 400
    covered, mean, _ = replicate(replicates, 1000)
    assert covered[0] < 0.01
    assert (np.abs(covered[1:] - 0.95) < 3 * np.sqrt(0.95 * 0.05 / replicates)).all()
    assert (np.abs(mean[1:]) < 0.06 * mean[0]).all()
