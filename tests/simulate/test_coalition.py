import numpy as np
import pandas as pd
import pytest

import loyalty_research as lr
from loyalty_research.mechanisms import Coalition
from loyalty_research.simulate._coalition import CoalitionScheme, CoalitionTruth, first_in_first_out


@pytest.fixture(scope="module")
def pool():
    return lr.simulate("coalition", customers=3000, seed=2)


def test_points_are_earned_and_used_at_partners(pool):
    rules = CoalitionScheme.default_rules(CoalitionTruth())
    lines = pool.frame("transactions").merge(pool.frame("memberships"), on="customer_id")
    mine = lines[lines["transacted_at"] >= lines["valid_from"]]
    found = rules.earn(mine[["customer_id", "transacted_at", "amount", "partner_id"]])
    ledger = pool.frame("points_ledger").sort_values("entry_id")
    earned = ledger[ledger["type"] == "earn"]
    by = found["earned"].groupby(mine["partner_id"]).sum()
    pd.testing.assert_series_equal(
        earned.groupby("partner_id")["points"].sum(), by, check_names=False, rtol=1e-9
    )
    assert (ledger.groupby("customer_id")["points"].cumsum() > -1e-6).all()
    assert set(pool.frame("transactions")["partner_id"]) == {"grocer", "fuel", "pharmacy"}


def test_flows_and_clearing_add_up(pool):
    truth, ledger = pool.truth, pool.frame("points_ledger")
    flows = pd.DataFrame(truth["flows"]).T
    used = -ledger[ledger["type"] == "redeem"].groupby("partner_id")["points"].sum()
    pd.testing.assert_series_equal(flows.sum(), used.reindex(flows.columns), check_names=False, rtol=1e-9)
    assert sum(truth["clearing"].values()) == pytest.approx(0, abs=1e-6)
    issued = ledger[ledger["type"] == "earn"].groupby("partner_id")["points"].sum()
    settled = issued * -0.009 + used * 0.01
    for name, value in settled.items():
        assert truth["clearing"][name] == pytest.approx(value)
    assert (flows.to_numpy() > 0).all()


def test_customers_keep_to_the_partner_they_prefer():
    orders = lr.simulate("coalition", customers=4000, seed=3, home_share=1.0).frame("transactions")
    assert (orders.groupby("customer_id")["partner_id"].unique().map(len) == 1).all()
    orders = lr.simulate("coalition", customers=4000, seed=3, home_share=0.7).frame("transactions")
    many = orders.groupby("customer_id")["partner_id"].agg(lambda p: p.value_counts(normalize=True).iloc[0])
    size = orders.groupby("customer_id").size()
    assert np.average(many[size > 40], weights=size[size > 40]) == pytest.approx(0.7, abs=0.02)


def test_the_rebate_is_its_closed_form(pool):
    rules = CoalitionScheme.default_rules(CoalitionTruth())
    spend = pool.truth["member_spend"]
    worth = pool.truth["points_given"] * 0.01 / sum(spend.values())
    assert worth == pytest.approx(rules.expected_rebate(spend), rel=1e-6)


def test_the_oldest_points_are_used_first():
    customer = np.array([0, 0, 0, 1, 1])
    earned, used = np.array([10.0, 20.0, 5.0, 7.0, 1.0]), np.array([0.0, 0.0, 15.0, 0.0, 7.0])
    place = np.array([0, 1, 1, 0, 1])
    flows = first_in_first_out(customer, earned, used, place, 2)
    # 10 from place 0 and 5 from place 1, used at 1; then 7 of another customer from 0, used at 1
    assert flows.tolist() == [[0.0, 17.0], [0.0, 5.0]]


def test_other_partners_can_be_named():
    rules = Coalition(partners={"a": 1, "b": 3}, point_value=0.02, issue_price=0.01)
    made = lr.simulate("coalition", customers=300, seed=1, mechanism=rules, reward_points=200)
    assert set(made.frame("transactions")["partner_id"]) == {"a", "b"}
    assert set(made.truth["flows"]) == {"a", "b"}
