"""The scorecard's page: established customers, those held out, and the sayings."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

import loyalty_research as lr
from loyalty_research.data import Dataset
from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme import named_numbers, scorecard_options, scorecard_study
from loyalty_research.programme._scorecard_sources import holdout_units, pooled_retention


def steady(customers=40, *, late=20):
    """Return customers who spend 10 every ten days of a year; some of them begin half-way."""
    days = pd.date_range("2023-01-01", "2023-12-31", freq="10D")
    rows = []
    for i in range(customers):
        since = pd.Timestamp("2023-01-01") if i >= late else pd.Timestamp("2023-08-15")
        rows += [(f"t{i}-{k}", f"c{i}", day, 10.0) for k, day in enumerate(days) if day >= since]
    return pd.DataFrame(rows, columns=["transaction_id", "customer_id", "transacted_at", "amount"]).assign(
        currency="EUR"
    )


def made(lines, **tables):
    return Dataset.from_frames(
        "made",
        {"transactions": lines, **tables},
        description="Made up for a test.",
        kind="simulated",
        as_of=dt.date(2023, 12, 31),
    )


@pytest.fixture(scope="module")
def cdnow():
    return scorecard_study(lr.open_dataset("cdnow-sample"), annual_discount_rates=[0.0, 0.1])


def test_customers_who_came_midway_do_not_pass_for_growth():
    """Everybody spends the same every ten days: the revenue kept is all of it, not more."""
    study = scorecard_study(made(steady()), window=90)
    assert study.newcomers == 20
    assert study.revenue.net.value == pytest.approx(1.0)
    assert study.card.line("net_revenue_retention").estimate.value == pytest.approx(1.0)
    assert study.note.startswith("Without a change: Repeat purchase: there are none")
    said = next(f for f in study.findings() if f.id == "net-revenue-retention")
    assert "20 customers gained within the earlier window are left out" in said.headline


def test_a_record_of_two_windows_only_is_a_caution():
    study = scorecard_study(made(steady(late=0)), window=182)
    assert study.newcomers is None
    said = next(f for f in study.findings() if f.id == "net-revenue-retention")
    assert said.status == "caution"
    assert "flatters" in said.headline


def test_the_window_is_the_longest_of_which_three_fit(cdnow):
    assert cdnow.window == 180  # 546 days
    with pytest.raises(DesignError, match="too short"):
        scorecard_study(made(steady().query("transacted_at >= '2023-12-01'")))


def test_the_formula_of_the_claim_on_profit(cdnow):
    said, table = cdnow.profit()
    kept = cdnow.retention.rolling.value
    rate = 1.1 ** (180 / 365) - 1
    assert table.iloc[1, 1] == pytest.approx((1 - kept) / (1 - kept - 0.05) - 1)
    assert table.iloc[1, 2] == pytest.approx((1 + rate - kept) / (1 + rate - kept - 0.05) - 1)
    assert "says nothing of what the rise costs" in said


def test_no_rise_beyond_all_customers():
    said, table = scorecard_study(made(steady(200, late=0)), window=90).profit()
    assert table is None
    assert "would pass 100%" in said


def test_a_fifth_and_four_fifths_in_and_after_the_window(cdnow):
    inside, after = cdnow.pareto()
    assert cdnow.concentration.later.value < cdnow.concentration.top.value
    assert "picked by: less than the saying's 80%" in inside
    assert "after it: less than the saying's 80%" in after


def test_costs_of_winning_and_keeping(cdnow):
    said, table = cdnow.cost_of_winning()
    assert "not measurable" in said
    even = cdnow.ages.new_to_kept.value
    assert table["estimate"].tolist() == pytest.approx([1 / even, 2 / even, 5 / even, 10 / even])
    known = scorecard_study(lr.open_dataset("cdnow-sample"), acquisition_cost=21.0, keeping_cost=7.0)
    assert "winning costs 3.0 times keeping" in known.cost_of_winning()[0]
    with pytest.raises(ArgumentError, match="go together"):
        scorecard_study(lr.open_dataset("cdnow-sample"), acquisition_cost=21.0)


def test_costs_that_the_scorecard_measures_are_taken():
    """Ten were won for 40 in the last 90 days, and ten came back for 20."""
    days = {f"old{i}": ["2023-06-01", "2023-07-20", "2023-11-01"] for i in range(10)}
    days |= {f"new{i}": ["2023-11-15"] for i in range(10)}
    rows = [(who, pd.Timestamp(day), 10.0) for who, each in days.items() for day in each]
    lines = pd.DataFrame(rows, columns=["customer_id", "transacted_at", "amount"])
    lines = lines.assign(currency="EUR", transaction_id=[str(i) for i in range(len(lines))])
    costs = pd.DataFrame(
        {
            "cost_id": ["a", "g"],
            "campaign_id": ["advert", "gift"],
            "unit": "fixed",
            "amount": [40.0, 20.0],
            "currency": "EUR",
            "valid_from": pd.Timestamp("2023-11-10"),
            "valid_to": pd.Timestamp("2023-11-20"),
        }
    )
    source = made(lines, costs=costs)
    options = scorecard_options(purposes=["advert=acquisition", "gift = retention"])
    study = scorecard_study(source, window=90, options=options)
    assert study.costs == (4.0, 2.0)
    assert "winning costs 2.0 times keeping" in study.cost_of_winning()[0]
    assert scorecard_study(source, window=90).costs is None
    assert scorecard_study(source, window=90, acquisition_cost=6.0, keeping_cost=2.0).costs == (6.0, 2.0)


def test_what_is_missing_has_a_reason(cdnow):
    missing = cdnow.unmeasured()
    of = {m: r for names, r in missing.itertuples(index=False) for m in names.split("; ")}
    assert "no margin" in of["Return on investment"]
    assert of["Net promoter score"].startswith("the data have no surveys")
    assert not set(of) & set(cdnow.measures()["measure"])
    assert len(of) + len(cdnow.measures()) >= len(cdnow.card.lines)
    assert [f.id for f in cdnow.findings()] == [
        "retention",
        "net-revenue-retention",
        "repeat-purchase",
        "concentration",
    ]


def test_measures_of_one_reason_are_one_row(cdnow):
    missing = cdnow.unmeasured()
    assert missing["reason"].is_unique
    surveys = missing[missing["reason"].str.contains("surveys with instrument")]
    assert {"Net promoter score", "Customer satisfaction"} <= set(surveys["measure"].iloc[0].split("; "))


def test_figures_and_changes_stand_with_their_limits(cdnow):
    table = cdnow.measures().set_index("measure")
    line = cdnow.card.line("retention")
    assert table.loc["Retention", "estimate"].startswith(f"{line.estimate.format()} (")
    assert " points (" in table.loc["Retention", "change"]
    assert "95% intervals, and its change since 1998-01-01" in cdnow.caption
    assert set(cdnow.headings) == set(cdnow.measures().columns)
    # a unit is said once
    lost = table.loc["Value per lost customer", "estimate"]
    assert lost.count("USD") == 1
    assert lost.startswith(f"{cdnow.card.line('customer_loss_value').estimate.format()} (")


def test_measures_with_a_target_come_first():
    study = scorecard_study(lr.open_dataset("cdnow-sample"), targets={"top_share": 0.5})
    assert study.measures()["status"].iloc[0] in ("met", "missed", "not settled")
    assert (study.measures()["status"].iloc[1:] == "no target").all()


def test_data_without_transactions_give_reasons_and_no_figure():
    study = scorecard_study(lr.open_dataset("carwash"))
    assert study.measures().empty
    assert study.as_of is None
    assert "not dated" in study.estimand
    (found,) = study.findings()
    assert (found.id, found.status, found.estimate) == ("nothing-to-measure", "suppressed", None)
    assert "no transactions" in found.headline
    assert list(study.bridge()) == list(study.cohorts()) == list(study.rests()) == []
    assert all(said.startswith("Not measurable") for said in (*study.pareto(), study.profit()[0]))


def test_surveys_alone_are_measured():
    answers = pd.DataFrame(
        {
            "response_id": [str(i) for i in range(60)],
            "customer_id": [f"c{i}" for i in range(60)],
            "answered_at": pd.Timestamp("2023-12-01"),
            "instrument": "nps",
            "value": [10.0] * 40 + [2.0] * 20,
            "scale_min": 0.0,
            "scale_max": 10.0,
        }
    )
    only = Dataset.from_frames(
        "asked", {"surveys": answers}, description="Made up for a test.", kind="simulated"
    )
    study = scorecard_study(only)
    assert study.as_of == dt.date(2023, 12, 1)
    assert study.measures()["measure"].tolist() == ["Net promoter score"]


def test_pictures_say_what_they_show(cdnow):
    for drawn, alt, caption in (*cdnow.bridge(), *cdnow.cohorts(), *cdnow.rests()):
        assert lr.display.figure(drawn, alt=alt, caption=caption).html.count("<img") == 1
        assert any(c.isdigit() for c in alt)


def test_pooled_retention_hides_small_cells():
    cells = pd.DataFrame(
        {
            "cohort": list("aaaabbb"),
            "period": [0, 1, 2, 3, 0, 1, 2],
            "customers": [10, 10, 10, 10, 3, 3, 3],
            "active": [10, 6, 4, 0, 3, 2, 0],
        }
    )
    shown = pooled_retention(cells)
    assert shown["period"].tolist() == [1, 3]
    assert shown["retention"].tolist() == pytest.approx([8 / 13, 0.0])


# --- the return ----------------------------------------------------------------------------------


def held_out(price="per_redemption"):
    lines = pd.DataFrame(
        {
            "transaction_id": list("123456"),
            "customer_id": list("aabbca"),
            "transacted_at": pd.to_datetime(
                ["2023-01-05", "2023-01-10", "2023-01-06", "2023-02-20", "2023-01-07", "2022-12-30"]
            ),
            "amount": [10.0, 5.0, 20.0, 99.0, 30.0, 77.0],
            "currency": "EUR",
        }
    )
    drawn = pd.DataFrame(
        {
            "experiment_id": "x",
            "customer_id": list("abcd"),
            "arm": ["invited", "invited", "control", "control"],
            "assigned_at": pd.Timestamp("2023-01-05"),
        }
    )
    ledger = pd.DataFrame(
        {
            "entry_id": list("1234"),
            "customer_id": list("aaab"),
            "occurred_at": pd.to_datetime(["2023-01-05", "2023-01-12", "2023-03-01", "2023-01-08"]),
            "points": [100.0, -50.0, -50.0, 10.0],
            "type": ["earn", "redeem", "redeem", "earn"],
        }
    )
    costs = pd.DataFrame(
        {"cost_id": ["r"], "reward_id": ["v"], "unit": [price], "amount": [5.0], "currency": ["EUR"]}
    )
    return made(lines, assignments=drawn, points_ledger=ledger, costs=costs)


def test_spend_and_cost_count_in_the_same_days():
    units = holdout_units(held_out(), 30)
    assert units["arm"].tolist() == ["invited", "invited", "control", "control"]
    assert units["spend"].tolist() == [15.0, 20.0, 30.0, 0.0]
    assert units["cost"].tolist() == [5.0, 0.0, 0.0, 0.0]


def test_prices_without_events_and_windows_not_over_are_refused():
    with pytest.raises(DesignError, match="per_contact"):
        holdout_units(held_out("per_contact"), 30)
    with pytest.raises(DesignError, match="are not over"):
        holdout_units(held_out(), 365)
    with pytest.raises(DesignError, match="no table assignments"):
        holdout_units(made(steady()), 30)


def test_the_return_is_near_the_truth_of_the_simulation():
    """The invitation's true effect on spend in 180 days is known; cost is counted, not estimated."""
    source = lr.open_dataset("programme")
    study = scorecard_study(source, window=180, margin=0.4, targets={"active_membership": 0.5})
    margin = study.returns.margin
    assert margin.low <= 0.4 * source.truth["itt"] <= margin.high
    assert study.findings()[0].id == "return"
    assert study.card.line("active_membership").status == "met"
    assert np.isclose(study.returns.roi.value, margin.value / study.returns.cost.value - 1)


def test_targets_and_currencies_are_read_strictly():
    assert named_numbers([]) == {}
    for wrong in (["retention"], ["retention=high"], ["retention=0.5", "retention=0.6"]):
        with pytest.raises(ArgumentError):
            named_numbers(wrong)
    assert scorecard_options() == {}
    for pairs in (["invitation"], ["a=acquisition", "a=retention"], ["=retention"]):
        with pytest.raises(ArgumentError, match="advert=acquisition"):
            scorecard_options(purposes=pairs)
    lines = steady().assign(currency=lambda f: np.where(f.index % 2 == 0, "EUR", "USD"))
    with pytest.raises(ContractError, match="currenc"):
        scorecard_study(made(lines))
