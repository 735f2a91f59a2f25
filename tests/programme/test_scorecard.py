"""The scorecard against its single measures, and its changes against simulated customers."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import loyalty_research as lr
from loyalty_research.programme import (
    active_membership_rate,
    customer_satisfaction,
    customer_tenure,
    net_promoter_score,
    period_revenue,
    purchase_frequency,
    retention_rate,
    return_on_investment,
    revenue_retention,
    scorecard,
    spend_by_age,
)
from loyalty_research.programme._scorecard_measures import MEASURES
from loyalty_research.programme._scorecard_revenue import top_influence
from loyalty_research.programme._scorecard_sheet import Sheet
from loyalty_research.programme._windows import change, purchase_days

START = pd.Timestamp("2023-01-01")
DAY = dt.date(2023, 12, 26)  # day 359
BEFORE = dt.date(2023, 9, 27)  # 90 days earlier


def shopping(rng, customers=300, days=360):
    """Return purchases of customers whose habits never change."""
    rate = rng.gamma(1.0, 0.02, customers)
    orders = rng.poisson(rate * days)
    n = int(orders.sum())
    return pd.DataFrame(
        {
            "customer_id": np.repeat([f"c{i}" for i in range(customers)], orders),
            "transacted_at": START + pd.to_timedelta(rng.integers(0, days, n), "D"),
            "amount": rng.gamma(2.0, 10.0, n).round(2) + 0.01,
        }
    )


def surveys(rng, customers=300):
    frames = [
        pd.DataFrame(
            {
                "customer_id": [f"c{i}" for i in range(customers)],
                "answered_at": START + pd.Timedelta(days=day),
                "instrument": name,
                "value": rng.integers(low, high + 1, customers),
                "scale_min": low,
                "scale_max": high,
            }
        )
        for day in (200, 300)
        for name, low, high in (("NPS", 0, 10), ("csat", 1, 5), ("ces", 1, 7))
    ]
    return pd.concat(frames, ignore_index=True).assign(response_id=lambda f: [f"r{i}" for i in f.index])


@pytest.fixture(scope="module")
def source():
    rng = np.random.default_rng(1)
    lines = shopping(rng)
    lines = lines.assign(transaction_id=[f"t{i}" for i in lines.index], currency="EUR")
    who = [f"c{i}" for i in range(0, 300, 2)]
    members = pd.DataFrame({"customer_id": who, "valid_from": START, "valid_to": pd.NaT})
    own = lines[lines["customer_id"].isin(who)].reset_index(drop=True)
    ledger = pd.DataFrame(
        {
            "entry_id": [f"e{i}" for i in own.index],
            "customer_id": own["customer_id"],
            "occurred_at": own["transacted_at"],
            "points": 1,
            "type": "earn",
        }
    )
    return lr.Dataset.from_frames(
        "made up",
        {"transactions": lines, "memberships": members, "points_ledger": ledger, "surveys": surveys(rng)},
        description="Made-up customers.",
        kind="simulated",
        currency="EUR",
        as_of=DAY,
    )


@pytest.fixture(scope="module")
def card(source):
    return scorecard(
        source,
        as_of=DAY,
        compare_to=BEFORE,
        window=90,
        resamples=200,
        effort_direction="lower is easier",
        targets={"retention": 0.05, "satisfaction": 0.99, "top_share": 0.99, "effort": 1.0},
    )


def test_every_line_is_its_own_measure(source, card):
    lines, answers = source.frame("transactions"), source.frame("surveys")
    last = answers[answers["answered_date"] > "2023-09-27"]
    frame = period_revenue(lines, window=90, as_of=DAY)
    kept = revenue_retention(frame, seed=1, resamples=200)
    peers = {
        "retention": retention_rate(lines, window=90, as_of=DAY).rolling,
        "gross_revenue_retention": kept.gross,
        "net_revenue_retention": kept.net,
        "purchase_frequency": purchase_frequency(lines, window=90, as_of=DAY).rate,
        "tenure": customer_tenure(lines, window=90, as_of=DAY).mean,
        "spend_by_age": spend_by_age(lines, window=45, as_of=DAY).all_customers,
        "active_membership": active_membership_rate(
            source.frame("memberships"), source.frame("points_ledger"), as_of=DAY
        ).rate,
        "net_promoter_score": net_promoter_score(last.loc[last["instrument"] == "NPS", "value"]).score,
        "satisfaction": customer_satisfaction(last.loc[last["instrument"] == "csat", "value"]).share,
    }
    for key, peer in peers.items():
        line = card.line(key)
        assert (line.estimate.value, line.estimate.n) == pytest.approx((peer.value, peer.n)), key
        assert (line.estimate.low, line.estimate.high) == pytest.approx((peer.low, peer.high)), key


def test_the_frame_has_every_measure_once_and_says_why_not(card):
    frame = card.to_frame()
    assert frame["metric"].tolist() == [*MEASURES, "return_on_investment"]
    assert (frame["denominator"] != "").tolist() == frame["estimate"].notna().tolist()
    row = frame.set_index("metric").loc["return_on_investment"]
    assert row["status"] == "not measurable"
    assert row["reason"].startswith("not measurable because no comparison with a holdout")
    assert np.isnan(row["estimate"])
    assert row["n"] == 0
    assert len(card.table()) == len(frame)


def test_a_status_is_settled_by_the_interval(card):
    status = {line.key: line.status for line in card.lines}
    assert status["retention"] == "met"
    assert status["satisfaction"] == "missed"
    assert status["top_share"] == "met"  # at most
    assert status["effort"] == "missed"  # lower is easier, so at most
    assert status["net_promoter_score"] == "no target"
    assert "Target met: Retention" in card.verdict()


def test_a_target_inside_the_interval_is_not_settled(source, card):
    value = card.line("retention").estimate.value
    again = scorecard(source, as_of=DAY, window=90, resamples=100, targets={"retention": value})
    assert again.line("retention").status == "not settled"
    assert again.line("retention").change is None


def test_changes_are_differences_and_unknown_ones_say_why(source, card):
    earlier = scorecard(source, as_of=BEFORE, window=90, resamples=100)
    for key in ("retention", "net_revenue_retention", "active_membership", "net_promoter_score"):
        line = card.line(key)
        assert line.change.value == pytest.approx(line.estimate.value - earlier.line(key).estimate.value)
        assert line.change.low < line.change.value < line.change.high
    long = scorecard(source, as_of=DAY, compare_to=BEFORE, window=150, resamples=100).line("retention")
    assert long.estimate is not None
    assert long.change is None
    assert long.reason.startswith("change not measurable because rolling retention needs 300 days")


def test_lacking_tables_and_few_customers_are_told():
    lines = pd.DataFrame(
        {
            "transaction_id": [f"t{i}" for i in range(8)],
            "customer_id": ["a", "b", "c", "d"] * 2,
            "transacted_at": START + pd.to_timedelta(np.repeat([0, 15], 4), "D"),
            "amount": 5.0,
            "currency": "EUR",
        }
    )
    small = lr.Dataset.from_frames("small", {"transactions": lines}, description="Made up.", kind="simulated")
    found = scorecard(small, as_of="2023-01-20", window=10, repeat_window=5, resamples=100)
    assert "fewer than 5 customers" in found.line("retention").reason
    assert "no memberships" in found.line("active_membership").reason
    assert "no surveys" in found.line("satisfaction").reason
    assert all(line.status == "not measurable" for line in found.lines)


def test_a_return_that_was_measured_is_a_line(source):
    units = pd.DataFrame({"arm": ["in", "out"] * 100, "spend": np.random.default_rng(2).gamma(2, 10, 200)})
    roi = return_on_investment(units, treated="in", control="out", outcome="spend", margin_rate=0.3, cost=5.0)
    line = scorecard(source, as_of=DAY, window=90, resamples=100, returns=roi).line("return_on_investment")
    assert line.estimate == roi.roi
    assert "100 of them held out" in line.denominator


def test_mixed_scales_and_wrong_options_are_errors(source):
    answers = source.frame("surveys")
    mixed = answers.assign(
        value=answers["value"].clip(lower=1),
        scale_min=np.where(answers.index % 7 == 0, 1, answers["scale_min"]),
    )
    tables = {"surveys": mixed.drop(columns="answered_date")}
    bad = lr.Dataset.from_frames("mixed", tables, description="Made up.", kind="simulated")
    with pytest.raises(lr.ContractError, match="different scales") as caught:
        scorecard(bad, as_of=DAY)
    named = int(str(caught.value).split("positions ")[1].split(",")[0])
    first = mixed[(mixed["instrument"] == "NPS") & (mixed["answered_at"] > "2023-09-01")]
    # the scale of the first answer counts; positions are rows of the table
    assert first.loc[named, "scale_min"] != first["scale_min"].iloc[0]
    with pytest.raises(lr.ArgumentError, match="targets names loyalty"):
        scorecard(source, as_of=DAY, targets={"loyalty": 1})
    with pytest.raises(lr.ArgumentError, match="compare_to must be before"):
        scorecard(source, as_of=DAY, compare_to=DAY)


def test_the_pull_of_each_customer_adds_up_to_the_variance_of_resampling():
    rng = np.random.default_rng(3)
    made = rng.gamma(1.0, 10.0, 600)
    pull = top_influence(range(600), made, made, 0.2)
    drawn = []
    for _ in range(800):
        again = np.sort(rng.choice(made, 600))
        drawn.append(again[480:].sum() / again.sum())
    assert np.sqrt((pull**2).sum()) == pytest.approx(np.std(drawn), rel=0.1)


CHANGING = (
    "retention",
    "gross_revenue_retention",
    "net_revenue_retention",
    "purchase_frequency",
    "top_share",
    "top_share_later",
)


def changes(rng):
    """Return whether the interval of each change of unchanging customers holds 0."""
    record = purchase_days(shopping(rng, customers=250), DAY)
    sheet = Sheet(
        SimpleNamespace(),
        record=record,
        answers=None,
        window=90,
        repeat_window=60,
        activity_window=90,
        effort_direction=None,
        seed=1,
        resamples=100,
        level=0.95,
    )
    held = []
    for key in CHANGING:
        measure = MEASURES[key][1]
        now, then = measure(sheet, DAY.toordinal()), measure(sheet, BEFORE.toordinal())
        moved = change(now.estimate, then.estimate, now.moved, then.moved)
        held.append(moved.low <= 0 <= moved.high)
    return held


def test_changes_of_unchanging_customers_cover_nothing():
    rng = np.random.default_rng(4)
    hits = np.mean([changes(rng) for _ in range(30)], axis=0)
    assert np.all(hits > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 30))


@pytest.mark.slow
def test_changes_of_unchanging_customers_cover_nothing_at_length(published):
    rng = np.random.default_rng(5)
    hits = np.mean([changes(rng) for _ in range(500)], axis=0)
    published(zip([f"change where nothing changes: {key}" for key in CHANGING], hits, strict=True), 500)
    assert hits == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 500))


def test_spend_after_is_of_each_customers_own_window(source):
    record = purchase_days(source.frame("transactions"), DAY)
    sheet = Sheet(
        source,
        record=record,
        answers=None,
        window=90,
        repeat_window=60,
        activity_window=90,
        effort_direction=None,
        seed=1,
        resamples=100,
        level=0.95,
    )
    lines = source.frame("transactions")
    until = DAY.toordinal()
    who = ["c3", "c200", "nobody", "c7", "c9"]
    starts = pd.Series([until - 200, until - 100, until - 100, until - 30, record.begin - 1], index=who)
    found = sheet.spend_after(starts, 60, until)
    assert found.index.tolist() == who
    for name in who[:2]:
        since = pd.Timestamp(dt.date.fromordinal(int(starts[name])))
        inside = lines["transacted_date"].between(since, since + pd.Timedelta(days=59))
        assert found[name] == pytest.approx(
            lines.loc[inside & (lines["customer_id"] == name), "amount"].sum()
        )
    assert found["nobody"] == 0
    assert found[["c7", "c9"]].isna().all()
    assert sheet.spend_after(starts, 31, until).notna()["c7"]


def test_an_unknown_option_is_refused(source):
    with pytest.raises(lr.errors.ArgumentError, match="options names wish"):
        scorecard(source, as_of=DAY, options={"wish": 1})


def newcomers():
    """Customers who buy for 1 a day: some all along, some from the middle of the earlier window on."""
    frames = [
        pd.DataFrame({"customer_id": f"{kind}{i}", "day": np.arange(since, 300)})
        for kind, since in (("old", 0), ("new", 150))
        for i in range(10)
    ]
    lines = pd.concat(frames, ignore_index=True)
    lines = lines.assign(
        transacted_at=START + pd.to_timedelta(lines["day"], "D"),
        amount=1.0,
        transaction_id=[f"t{i}" for i in lines.index],
        currency="EUR",
    )
    end = (START + pd.Timedelta(days=299)).date()
    tables = {"transactions": lines.drop(columns="day")}
    return lr.Dataset.from_frames("n", tables, description="Made up.", kind="simulated", as_of=end), end


def test_newcomers_do_not_look_like_growth():
    source, end = newcomers()
    plain = scorecard(source, as_of=end, window=100, resamples=100)
    assert plain.line("net_revenue_retention").estimate.value == pytest.approx(2000 / 1500)
    fair = scorecard(source, as_of=end, window=100, resamples=100, established=True)
    line = fair.line("net_revenue_retention")
    assert (line.estimate.value, line.estimate.n) == (1.0, 10)
    assert "first seen before" in line.denominator
    assert fair.line("top_share").estimate.n == 20
    lines = source.frame("transactions")
    assert len(period_revenue(lines, window=100, as_of=end, established=True)) == 10


def test_a_record_that_does_not_reach_back_names_no_established_customers():
    source, end = newcomers()
    card = scorecard(source, as_of=end, window=150, resamples=100, established=True)
    for key in ("gross_revenue_retention", "net_revenue_retention", "top_share_later"):
        assert card.line(key).estimate is None
        assert "revenue of established customers needs 376 days" in card.line(key).reason
    assert card.line("top_share").estimate is not None


def test_a_day_that_is_not_observed_is_refused(source):
    with pytest.raises(lr.ArgumentError, match="lies after 2023-12-26, the last day"):
        scorecard(source, as_of=DAY + dt.timedelta(days=1))
    with pytest.raises(lr.ArgumentError, match="got DataFrame"):
        scorecard(source.frame("transactions"), as_of=DAY)
    with pytest.raises(lr.ArgumentError, match="resamples must be"):
        scorecard(source, as_of=DAY, resamples=3)


@pytest.mark.parametrize("change_to", [{"customer_id": None}, {"amount": -1.0}])
def test_purchases_of_nobody_are_not_measurable(source, change_to):
    tables = {
        "transactions": source.frame("transactions").assign(**change_to),
        "surveys": source.frame("surveys"),
    }
    bare = lr.Dataset.from_frames("b", tables, description="Made up.", kind="user", as_of=DAY)
    card = scorecard(bare, as_of=DAY, window=90)
    assert "no purchase of an identified customer" in card.line("retention").reason
    assert card.line("satisfaction").estimate is not None


def test_the_top_share_needs_one_window_only(source):
    card = scorecard(source, as_of=DAY, window=300, resamples=100)
    assert card.line("top_share").estimate is not None
    assert "needs 600 days" in card.line("top_share_later").reason


def test_some_measures_are_those_of_the_whole_card(source, card):
    some = scorecard(source, as_of=DAY, window=90, resamples=200, measures=["top_share", "retention"])
    assert [line.key for line in some.lines] == ["retention", "top_share"]
    for line in some.lines:
        assert line.estimate == card.line(line.key).estimate
    with pytest.raises(lr.ArgumentError, match="measures names loyalty"):
        scorecard(source, as_of=DAY, measures=["loyalty"])
    with pytest.raises(lr.ArgumentError, match="must be a list"):
        scorecard(source, as_of=DAY, measures="retention")
