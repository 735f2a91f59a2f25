"""Tiers, paid and unpaid memberships, coalitions: by hand, against simulation, and their audits."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.mechanisms import Coalition, NonMonetary, NoProgramme, PaidMembership, Tiers

TIERS = {"names": ("base", "silver", "gold"), "lines": (0, 100, 250), "multipliers": (1, 1.5, 2)}


def table(dates, amounts, customer="a", **columns):
    return pd.DataFrame(
        {"customer_id": customer, "transacted_at": pd.to_datetime(dates), "amount": amounts} | columns
    )


# --- tiers -------------------------------------------------------------------------------------


def test_tiers_by_hand():
    tiers = Tiers(**TIERS, point_value=0.01)
    data = table(
        ["2023-01-01", "2023-06-01", "2023-12-31", "2024-01-01", "2024-12-31", "2025-01-01", "2025-05-01"],
        [100.0, 149.0, 1.0, 10.0, 20.0, 40.0, 40.0],
    )
    held = ["base", "silver", "silver", "gold", "gold", "base", "base"]
    assert tiers.tiers_held(data).tolist() == held  # 2024 gave 30 points: 2025 begins at the base
    earned = tiers.earn(data)
    assert earned["earned"].tolist() == [100, 223.5, 1.5, 20, 40, 40, 40]
    assert earned["value"].to_numpy() == pytest.approx(earned["earned"] / 100)


def test_tiers_say_what_rises_with_them():
    rising = Tiers(names=("base", "gold"), lines=(0, 1000), multipliers=(1, 1.5))
    assert rising.sentence() == (
        "Customers earn 1 point per 1 spent as base; from 1,000 points in a year as gold 1.5 times."
    )
    level = Tiers(names=("green", "gold"), lines=(0, 300), points_per_unit=2)
    assert level.sentence() == (
        "Customers earn 2 points per 1 spent as green, and as much in every tier: gold from 300 points in a year."
    )


def test_a_year_without_orders_ends_a_tier():
    tiers = Tiers(**TIERS, point_value=0.01)
    data = table(["2022-05-01", "2024-01-01"], [300.0, 10.0])
    assert tiers.tiers_held(data).tolist() == ["base", "base"]
    two = pd.concat([data.assign(customer_id="b"), table(["2023-02-01"], [5.0])], ignore_index=True)
    assert tiers.tiers_held(two).tolist() == ["base"] * 3


def test_flat_multipliers_give_one_rebate():
    tiers = Tiers(names=("a", "b"), lines=(0, 50), points_per_unit=3, point_value=0.01)
    for timing in ("held", "reached"):
        assert tiers.expected_rebate(mean_spend=80, cv=0.7, timing=timing) == pytest.approx(0.03)
    assert sum(tiers.mix(mean_spend=80, cv=0.7).values()) == pytest.approx(1)


@pytest.mark.parametrize("cv", [0.6, 1.4])
def test_the_rebate_of_tiers_is_simulated(cv):
    rng = np.random.default_rng(21)
    tiers = Tiers(**TIERS, point_value=0.01)
    n, pieces = 1500, 40
    spend = rng.gamma(1 / cv**2, 150 * cv**2, n)
    who = np.repeat(np.arange(n), pieces)
    day = np.tile(np.arange(pieces) * 9, n).astype("timedelta64[D]")

    def year(start):
        return table(np.datetime64(start, "us") + day, spend[who] / pieces, who)

    both = pd.concat([year("2023-01-01"), year("2024-01-01")], ignore_index=True)
    earned = tiers.earn(both)["value"].to_numpy()
    mean_value = earned.reshape(2, n, pieces).sum(axis=2)
    for row, timing in ((0, "reached"), (1, "held")):
        truth = tiers.expected_rebate(mean_spend=150, cv=cv, timing=timing) * 150
        error = mean_value[row].std() / math.sqrt(n)
        # an order that crosses a line earns at the tier before it: a small loss in the first year
        loss = 0.01 * 0.5 * 150 / pieces if timing == "reached" else 0
        assert truth - loss - 4.5 * error < mean_value[row].mean() < truth + 4.5 * error
    mix = tiers.mix(mean_spend=150, cv=cv)
    share = (tiers.tier_at(spend) == "silver").mean()
    assert abs(share - mix["silver"]) < 4.5 * math.sqrt(mix["silver"] * (1 - mix["silver"]) / n)


def test_time_to_a_tier_counts_spending_and_not_points():
    one = Tiers(names=("green", "gold"), lines=(0, 300), points_per_unit=2)
    two = Tiers(names=("green", "gold"), lines=(0, 150), points_per_unit=1)
    pace = {"orders_per_day": 0.3, "mean_order": 5.0}
    assert one.days_to_tier("gold", **pace) == pytest.approx((1 + 150 / 5) / 0.3)
    assert one.days_to_tier("gold", **pace) == two.days_to_tier("gold", **pace)
    assert one.reach_probability("gold", **pace) == two.reach_probability("gold", **pace)
    assert one.reach_probability("green", **pace) == 1
    with pytest.raises(ArgumentError, match="no tier 'platinum'"):
        one.spend_to("platinum")
    with pytest.raises(ArgumentError, match="timing"):
        Tiers(**TIERS, point_value=1).expected_rebate(mean_spend=9, timing="then")


def test_tiers_pay_for_themselves_at_their_break_even():
    tiers = Tiers(**TIERS, point_value=0.02, point_cost=0.01)
    cost = tiers.expected_rebate(mean_spend=150) / 2
    rise = tiers.break_even(margin=0.2, mean_spend=150).value
    assert (1 + rise) * (0.2 - cost) == pytest.approx(0.2)


def test_totals_piled_up_at_a_line_are_seen():
    tiers = Tiers(names=("green", "gold"), lines=(0, 300), points_per_unit=2)
    rng = np.random.default_rng(22)
    spend = rng.gamma(4, 35, 4000)
    pushed = np.where((spend > 138) & (spend < 150) & (rng.random(4000) < 0.5), 151.0, spend)
    who = np.arange(4000)

    def seen(amounts):
        return tiers.audit(table(np.repeat("2024-03-01", 4000), amounts, who)).checks[-1]

    assert seen(pushed).status == "warning"
    plain = [seen(rng.gamma(4, 35, 4000)).status for _ in range(40)]
    assert plain.count("warning") <= 5  # 1 in 40 is nominal
    assert seen(spend * 100).status == "not measurable"


# --- paid --------------------------------------------------------------------------------------


def test_paid_membership_by_hand():
    plan = PaidMembership(fee=20, order_saving=3, discount=0.1, order_cost=2)
    earned = plan.earn(table(["2023-01-01", "2023-12-31", "2024-01-01", "2024-03-01"], [50.0] * 4))
    assert earned["value"].tolist() == [-12, 8, -12, 8]  # the fee falls due again after 365 days
    assert earned["cost"].tolist() == [-18, 2, -18, 2]
    assert plan.fees(table(["2023-01-01", "2023-12-31", "2024-01-01"], [50.0] * 3)) == 40


def test_the_fee_pays_from_the_orders_named():
    plan = PaidMembership(fee=20, order_saving=3, discount=0.1)
    n = plan.orders_to_pay_off(mean_order=50)
    assert n == 2.5
    assert plan.expected_rebate(orders=n, mean_order=50) == pytest.approx(0)
    assert plan.expected_rebate(orders=2, mean_order=50) < 0 < plan.expected_rebate(orders=3, mean_order=50)
    assert PaidMembership(fee=20).orders_to_pay_off(mean_order=50) == math.inf


def test_extra_orders_of_members_restore_the_profit():
    plan = PaidMembership(fee=20, order_saving=3, order_cost=2)
    extra = plan.break_even(margin=6, orders=15, mean_order=40).value
    assert 20 + (15 + extra) * (6 - 2) == pytest.approx(15 * 6)
    assert plan.break_even(margin=6, orders=10, mean_order=40).value == 0
    hopeless = plan.break_even(margin=2, orders=15, mean_order=40)
    assert hopeless.value == math.inf
    assert "no number of orders" in hopeless.verdict()


def test_whom_the_fee_pays_is_counted():
    plan = PaidMembership(fee=10, order_saving=3)
    who = np.repeat(np.arange(50), np.where(np.arange(50) < 20, 4, 2))
    audit = plan.audit(table(np.repeat("2024-03-01", len(who)), np.full(len(who), 9.0), who))
    assert audit["customers whose savings exceed the fee"].value == 20 / 50
    assert audit["fees"].value == 500
    dear = plan.cost(table(np.repeat("2024-03-01", len(who)), np.full(len(who), 9.0), who))
    # 20 save 12 and 30 save 6, for 10 each
    assert dear["value to customers"].value == 20 * 2 - 30 * 4
    assert "customers would pay 80.00 more in fees than they save" in dear.verdict()
    assert "40.0% of customers would gain" in dear.verdict()


# --- coalition ---------------------------------------------------------------------------------

POOL = Coalition(partners={"x": 1, "y": 2, "z": 0.5}, point_value=0.01, issue_price=0.008)


def test_coalition_by_hand():
    data = table(np.repeat("2024-03-01", 3), [100.0, 50.0, 40.0], ["a", "a", "b"], partner_id=["x", "y", "z"])
    earned = POOL.earn(data)
    assert earned["earned"].tolist() == [100, 100, 20]
    assert earned["value"].sum() == pytest.approx(2.2)
    assert POOL.expected_rebate({"x": 100, "y": 50, "z": 40}) == pytest.approx(2.2 / 190)
    assert POOL.audit(data)["customers of two partners or more"].value == 0.5


def test_clearing_balances_whatever_is_used_where():
    rng = np.random.default_rng(31)
    names = np.array(["x", "y", "z"])
    used = pd.DataFrame(
        {
            "earned_at": rng.choice(names, 500),
            "used_at": rng.choice(names, 500),
            "points": rng.integers(0, 200, 500),
        }
    )
    account = POOL.clearing({"x": 9000, "z": 500}, used)
    assert account["balance"].sum() == pytest.approx(0)
    assert POOL.flows(used).to_numpy().sum() == used["points"].sum()
    flow = used[(used["earned_at"] == "x") & (used["used_at"] == "z")]["points"].sum()
    assert POOL.flows(used).loc["x", "z"] == flow


def test_the_pool_breaks_even_at_the_redemption_named():
    share = POOL.redemption_to_break_even()
    used = pd.DataFrame({"earned_at": ["x"], "used_at": ["y"], "points": [1000 * share]})
    assert POOL.clearing({"x": 1000}, used).loc["pool", "balance"] == pytest.approx(0)
    rise = POOL.break_even(margin=0.1, partner="y").value
    assert (1 + rise) * (0.1 - 2 * 0.008) == pytest.approx(0.1)


def test_strange_partners_are_named():
    data = table(["2024-03-01"] * 2, [1.0, 1.0], partner_id=["x", "w"])
    with pytest.raises(ContractError, match=r"holds w, .* position 1\b"):
        POOL.earn(data)
    with pytest.raises(ContractError, match="lacks partner_id"):
        POOL.earn(data.drop(columns="partner_id"))
    with pytest.raises(ArgumentError, match="no partner"):
        POOL.expected_rebate({"w": 3})
    with pytest.raises(ArgumentError, match="no partner 'w'"):
        POOL.break_even(margin=0.1, partner="w")
    used = pd.DataFrame({"earned_at": ["x", "w"], "used_at": ["x", "x"], "points": [1, 1]})
    with pytest.raises(ContractError, match=r"earned_at .* position 1\b"):
        POOL.flows(used)
    with pytest.raises(ContractError, match="negative"):
        POOL.flows(used.assign(earned_at="x", points=[1, -1]))
    with pytest.raises(ContractError, match="lacks points"):
        POOL.flows(used.drop(columns="points"))


# --- without money's worth ---------------------------------------------------------------------


def test_a_benefit_costs_members_and_orders():
    gift = NonMonetary(benefit="a mug", member_cost=5, order_cost=0.5)
    earned = gift.earn(table(["2023-01-01", "2023-06-01", "2024-01-01"], [9.0] * 3))
    assert earned["cost"].tolist() == [5.5, 0.5, 5.5]
    assert (earned["value"] == 0).all()
    extra = gift.break_even(margin=4, orders=6).value
    assert (6 + extra) * (4 - 0.5) - 5 == pytest.approx(6 * 4)
    assert gift.break_even(margin=0.5, orders=6).value == math.inf
    assert gift.audit().checks[0].status == "not measurable"


def test_no_programme_costs_nothing():
    none = NoProgramme()
    data = table(["2023-01-01"] * 3, [9.0] * 3, ["a", "b", "c"])
    assert (none.earn(data) == 0).all(axis=None)
    assert none.cost(data)["effective rebate"].value == 0
    assert none.break_even(margin=3).value == 0
