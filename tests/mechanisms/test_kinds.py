"""What all mechanisms share: the factory, presets, reading of tables, cost."""

from __future__ import annotations

import dataclasses
import html

import numpy as np
import pandas as pd
import polars as pl
import pytest

import loyalty_research as lr
from loyalty_research import programme
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.mechanisms import KINDS, PRESETS, mechanism, preset

EXAMPLES = {
    "points": {"reward_points": 50, "reward_value": 6, "welcome_points": 10, "expiry_days": 40},
    "tiers": {
        "names": ("a", "b"),
        "lines": (0, 100),
        "multipliers": (1, 2),
        "point_value": 0.02,
    },
    "paid": {"fee": 30, "order_saving": 4, "discount": 0.05},
    "coalition": {"partners": {"x": 1, "y": 2}, "point_value": 0.01, "issue_price": 0.009},
    "sweepstakes": {"win_probability": 0.25, "orders_per_play": 3, "prize_value": 8},
    "non-monetary": {"benefit": "early access", "member_cost": 2, "order_cost": 0.5},
    "stamp-card": {"stamps": 6, "given": 2, "reward_value": 9, "expiry_days": 60},
    "none": {},
}
BREAK_EVEN = {
    "tiers": {"mean_spend": 100},
    "paid": {"orders": 12, "mean_order": 20},
    "coalition": {"partner": "x"},
}


def orders(customers=60, rows=900, seed=1):
    rng = np.random.default_rng(seed)
    days = rng.integers(0, 700, rows)
    return pd.DataFrame(
        {
            "customer_id": rng.integers(0, customers, rows).astype(str),
            "transacted_at": np.datetime64("2023-01-01", "us") + np.sort(days).astype("timedelta64[D]"),
            "amount": np.round(rng.gamma(2, 10, rows), 2),
            "partner_id": rng.choice(["x", "y"], rows),
        }
    )


def found_fees(rules, table):
    return rules.audit(table)["fees"].value if rules.kind == "paid" else 0.0


def every_kind():
    return [pytest.param(mechanism(kind, **EXAMPLES[kind]), id=kind) for kind in KINDS]


def test_every_kind_of_the_design_is_there():
    assert set(KINDS) == set(EXAMPLES)
    assert programme.mechanism is lr.mechanisms.mechanism is mechanism


@pytest.mark.parametrize("rules", every_kind())
def test_rules_are_frozen_explain_themselves_and_round_trip(rules):
    assert rules.sentence().rstrip()[-1] == "."
    assert mechanism(rules.kind, **rules.rules()) == rules
    with pytest.raises(dataclasses.FrozenInstanceError):
        rules.source = "mine"


@pytest.mark.parametrize("rules", every_kind())
def test_rules_print_as_a_sentence_and_show_their_figures_and_source(rules):
    told = dataclasses.replace(rules, source="a leaflet <of ours>")
    assert str(told) == told.sentence()
    page = told._repr_html_()
    assert html.escape(told.sentence(), quote=False) in page or html.escape(told.sentence()) in page
    if rules.kind != "none":
        assert "a leaflet &lt;of ours&gt;" in page
    assert "None" not in page


@pytest.mark.parametrize("rules", every_kind())
def test_earning_does_not_depend_on_the_order_of_rows_or_the_engine(rules):
    table = orders().drop_duplicates(["customer_id", "transacted_at"])
    earned = rules.earn(table)
    assert list(earned.columns) == ["earned", "value", "cost"]
    assert earned.index.equals(table.index)
    shuffled = table.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(rules.earn(shuffled).loc[table.index], earned)
    polars = rules.earn(pl.from_pandas(table.reset_index(drop=True)))
    np.testing.assert_allclose(polars, earned.to_numpy())


@pytest.mark.parametrize("rules", every_kind())
def test_earning_of_one_customer_leaves_the_others_alone(rules):
    table = orders()
    some = table["customer_id"].isin(["1", "2", "3"])
    pd.testing.assert_frame_equal(rules.earn(table)[some], rules.earn(table[some]))


@pytest.mark.parametrize("rules", every_kind())
def test_refunds_and_anonymous_rows_earn_nothing(rules):
    table = orders()
    spoilt = table.copy()
    spoilt.loc[:9, "customer_id"] = None
    spoilt.loc[10:14, "amount"] *= -1
    earned = rules.earn(spoilt)
    assert (earned.iloc[:15] == 0).all(axis=None)
    pd.testing.assert_frame_equal(earned.iloc[15:], rules.earn(table.iloc[15:]))
    check = [c for c in rules.cost(spoilt).checks if c.status == "warning"]
    assert len(check) == 1
    assert "10 without a customer, 5 refunds" in check[0].detail


@pytest.mark.parametrize("rules", every_kind())
def test_cost_adds_up_and_prints(rules):
    table = orders()
    earned, found = rules.earn(table), rules.cost(table)
    assert found["value to customers"].value == pytest.approx(earned["value"].sum())
    assert found["effective rebate"].value == pytest.approx(earned["value"].sum() / table["amount"].sum())
    assert found["cost per unit of spend"].value == pytest.approx(
        earned["cost"].sum() / table["amount"].sum()
    )
    none, half = (rules.cost(table, redeemed=share)["cost"].value for share in (0.0, 0.5))
    assert half == pytest.approx((none + found["cost"].value) / 2)
    assert none == pytest.approx(-found_fees(rules, table))  # fees are paid whatever is redeemed
    assert repr(found).startswith(f"MechanismCost: {found.verdict()}\n")
    assert {"effective rebate", "customers rewarded"} <= set(found.to_frame()["metric"])


@pytest.mark.parametrize("rules", every_kind())
def test_audit_and_break_even_speak(rules):
    table = orders()
    for audit in (rules.audit(), rules.audit(table)):
        assert audit.verdict()
        audit.to_dict()
        audit._repr_html_()
    margin = 0.3 if rules.kind in ("points", "tiers", "coalition") else 10
    found = rules.break_even(margin=margin, **BREAK_EVEN.get(rules.kind, {}))
    assert found.value >= 0
    assert found.verdict()


def test_the_rebate_interval_covers():
    rules = mechanism("points", reward_points=50, reward_value=6)
    # one order each: E[floor(S / 50)] of exponential spend is 1 / (exp(50 / 40) - 1)
    truth = 6 / np.expm1(50 / 40) / 40
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(300):
        table = pd.DataFrame(
            {
                "customer_id": np.arange(300),
                "transacted_at": pd.Timestamp("2024-01-01"),
                "amount": rng.exponential(40, 300),
            }
        )
        found = rules.cost(table)["effective rebate"]
        hits += found.low <= truth <= found.high
    assert 0.90 <= hits / 300 <= 0.985  # 95%, four Monte Carlo errors below


@pytest.mark.parametrize("name", PRESETS)
def test_presets_carry_their_source(name):
    added = {"lines": (0, 400, 1000)} if name == "flying-club" else {}
    rules = preset(name, **added)
    assert rules.source.startswith(PRESETS[name].source)
    assert rules.sentence()


def test_presets_are_the_figures_of_their_cases():
    assert preset("boloco-card", reward_value=7).headline_rebate() == pytest.approx(0.14)
    assert preset("starbucks-2015").spend_to("Gold") == 150
    assert preset("flying-club", lines=(0, 4, 10)).factors == (1, 1.5, 2)
    assert preset("amazon-prime", order_saving=6).orders_to_pay_off(mean_order=30) == 16.5
    eight, ten = preset("car-wash-8"), preset("car-wash-10-with-2")
    assert (eight.paid_visits, ten.paid_visits) == (8, 8)
    assert preset("fourteen-points").audit().checks[0].status == "warning"


def test_cases_are_listed_with_what_they_ask_for():
    table = programme.presets().set_index("name")
    assert list(table.index) == list(PRESETS)
    assert table.loc["starbucks-2015", "figures"] == "names Green/Gold, lines 0/300, points_per_unit 2"
    assert table.loc["flying-club", "asks"] == "lines"
    assert table["source"].str.len().min() > 20
    with pytest.raises(ArgumentError, match="no case"):
        preset(["boloco-card"])


def test_what_a_source_leaves_out_is_asked_for():
    with pytest.raises(ArgumentError, match="lines"):
        preset("flying-club")
    with pytest.raises(ArgumentError, match="reward_value"):
        preset("boloco-card").headline_rebate()
    with pytest.raises(ArgumentError, match="point_value"):
        preset("starbucks-2015").cost(orders())
    assert "reward_value" in preset("boloco-card", reward_value=7).source


@pytest.mark.parametrize(
    ("kind", "rules", "said"),
    [
        ("lottery", {}, "no mechanism 'lottery'"),
        ("points", {"reward_point": 5}, "no rule reward_point"),
        ("points", {}, "needs reward_points"),
        ("points", {"reward_points": 0}, "reward_points"),
        ("points", {"reward_points": 5, "reward_value": -1}, "reward_value"),
        ("points", {"reward_points": 5, "expiry_days": 1.5}, "expiry_days"),
        ("points", {"reward_points": 5, "stored": 25}, "stored"),
        ("points", {"reward_points": 5, "stored": {"lode": 25}}, "stored needs load"),
        (["points"], {}, "no mechanism"),
        ("points", {"reward_points": True}, "reward_points"),
        ("tiers", {"names": ("a", "b"), "lines": (0, 0)}, "overlap"),
        ("tiers", {"names": ("a", "b"), "lines": (10, 20)}, "overlap"),
        ("tiers", {"names": ("a", "a"), "lines": (0, 20)}, "different tiers"),
        ("tiers", {"names": ("a", "b"), "lines": (0, 20, 30)}, "one of each"),
        ("tiers", {"names": "ab", "lines": (0, 20)}, "names"),
        ("paid", {"fee": 0}, "fee"),
        ("paid", {"fee": 9, "discount": 1}, "discount"),
        ("coalition", {"partners": {"x": 1}, "point_value": 1, "issue_price": 1}, "two or more"),
        ("sweepstakes", {"win_probability": 0}, "nobody wins"),
        ("sweepstakes", {"win_probability": 1.2}, "fraction"),
        ("non-monetary", {"benefit": " "}, "benefit"),
        ("stamp-card", {"stamps": 8, "given": 8}, "full at the start"),
        ("stamp-card", {"stamps": 8.5}, "stamps"),
    ],
)
def test_bad_rules_are_named(kind, rules, said):
    with pytest.raises(ArgumentError, match=said):
        mechanism(kind, **rules)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop(columns="amount"), "lacks amount"),
        (lambda t: t.drop(columns="transacted_at"), "lacks transacted_at"),
        (lambda t: t.assign(amount="much"), "no numbers"),
        (lambda t: t.assign(amount=t["amount"].where(t.index != 4)), r"position 4\b"),
        (lambda t: t.assign(transacted_at=t["transacted_at"].where(t.index != 7)), r"position 7\b"),
        (lambda t: t.assign(transacted_at="soon"), "no ISO dates"),
        (lambda t: t.assign(transacted_at=t["transacted_at"].dt.tz_localize("UTC")), "naive"),
        (lambda t: t.assign(currency=np.where(t.index < 5, "EUR", "USD")), "EUR, USD"),
        (lambda t: t.assign(customer_id=None), "no sale"),
        (lambda t: t.to_numpy(), "frame"),
    ],
)
def test_bad_tables_are_named(change, said):
    rules = mechanism("points", reward_points=50, reward_value=6)
    with pytest.raises(ContractError, match=said):
        rules.earn(change(orders()))


def test_sales_for_nothing_have_no_rebate():
    rules = mechanism("points", reward_points=50, reward_value=6)
    with pytest.raises(ContractError, match="no spend"):
        rules.cost(orders().assign(amount=0.0))
