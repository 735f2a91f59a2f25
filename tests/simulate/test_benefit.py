import pytest

import loyalty_research as lr
from loyalty_research.mechanisms import NonMonetary


def test_a_benefit_costs_what_its_rules_say_and_keeps_members():
    rules = NonMonetary(benefit="a note", member_cost=6, order_cost=0.5)
    made = lr.simulate("non-monetary", customers=4000, seed=2, mechanism=rules)
    lines = made.frame("transactions").merge(made.frame("memberships"), on="customer_id")
    mine = lines[lines["transacted_at"] >= lines["valid_from"]]
    buyers = mine["customer_id"].nunique()
    assert made.truth["benefit_cost"] == pytest.approx(0.5 * len(mine) + 6 * buyers, rel=0.01)
    assert made.truth["att_active"] > 0.03
    assert made.truth["rate_effect"] == 0
    costs = made.frame("costs").set_index("cost_id")
    assert costs.loc["benefit", "amount"] == 0.5
    assert costs.loc["benefit", "unit"] == "per_member_month"


def test_months_of_membership_are_those_of_the_spells():
    made = lr.simulate("non-monetary", customers=2000, seed=3)
    spells = made.frame("memberships")
    end = spells["valid_to"].fillna(
        made.frame("memberships")["valid_from"]
        .max()
        .normalize()
        .replace(year=2024, month=12, day=31, hour=23)
    )
    days = (end - spells["valid_from"]).dt.total_seconds().sum() / 86400
    assert made.truth["member_months"] == pytest.approx(days / (365.25 / 12), rel=1e-3)
