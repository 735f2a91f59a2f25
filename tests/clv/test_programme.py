import json

import numpy as np
import pandas as pd
import pytest

from loyalty_research.clv import (
    BetaGeoNBD,
    GammaGamma,
    ModifiedBetaGeoNBD,
    ParetoNBD,
    customer_lifetime_value,
    customer_segments,
    members_lost,
    split_value,
    value_at_churn,
)
from loyalty_research.errors import ArgumentError, ContractError, DesignError

OPTIONS = {"horizon": 52, "annual_discount_rate": 0.1, "currency": "EUR"}


@pytest.fixture(scope="module")
def people(draw_bg):
    frame = draw_bg(600, 12, coin=1)
    frame.index = pd.Index([f"c{i:03d}" for i in range(600)], name="customer_id")
    frame.attrs["observation_end"] = "2024-12-31"
    return frame


@pytest.fixture(scope="module")
def value(people):
    model = ModifiedBetaGeoNBD(penalizer=0.001).fit(people)
    return customer_lifetime_value(model, GammaGamma().fit(people), people, **OPTIONS)


@pytest.fixture(scope="module")
def memberships(people):
    spells = [
        (c, "2024-01-01", None, "gold" if i < 60 else "silver") for i, c in enumerate(people.index[:200])
    ]
    spells += [(c, "2024-01-01", "2024-11-30", "silver") for c in people.index[200:240]]
    spells += [(c, "2023-01-01", "2023-06-30", "silver") for c in people.index[240:300]]
    spells += [("c000", "2022-01-01", "2022-12-31", "silver")]  # left once and came back
    spells += [(people.index[599], "2025-02-01", None, "gold")]  # joins after the last day
    table = pd.DataFrame(spells, columns=["customer_id", "valid_from", "valid_to", "tier"])
    return table.assign(**{c: pd.to_datetime(table[c]) for c in ("valid_from", "valid_to")})


def test_membership_is_that_of_the_last_day(people, memberships):
    labels = customer_segments(people, by="membership", memberships=memberships)
    assert labels.value_counts().to_dict() == {"never a member": 300, "member": 200, "former member": 100}
    assert labels["c000"] == "member"
    assert labels["c599"] == "never a member"
    assert labels["c205"] == "former member"
    tiers = customer_segments(people, by="tier", memberships=memberships)
    assert tiers.value_counts().to_dict() == {"not a member": 400, "silver": 140, "gold": 60}
    assert tiers.cat.categories.tolist() == ["gold", "silver", "not a member"]


def test_the_end_of_a_spell_is_the_first_day_without_it(people):
    ends = pd.DataFrame(
        {
            "customer_id": ["c000", "c001"],
            "valid_from": pd.to_datetime(["2024-12-31", "2024-01-01"]),
            "valid_to": pd.to_datetime(["2025-01-01", "2024-12-31"]),
        }
    )
    labels = customer_segments(people, by="membership", memberships=ends)
    assert labels["c000"] == "member"
    assert labels["c001"] == "former member"


def test_value_is_split_by_membership_or_the_reason_is_given(value, people, memberships):
    found, why = split_value(value, "membership", memberships=memberships)
    assert why == ""
    assert [name for name, _, _ in found.segments] == ["member", "former member", "never a member"]
    assert sum(total.value for _, total, _ in found.segments) == pytest.approx(value.total.value)
    nothing, why = split_value(value, "tier", memberships=memberships.drop(columns="tier"))
    assert nothing is None
    assert why == "Value is not split by tier: the memberships table has no tiers."
    with pytest.raises(ContractError, match="no valid_from in 1 row"):
        customer_segments(people, by="tier", memberships=memberships.assign(valid_from=pd.NaT).head(1))
    with pytest.raises(ContractError, match="needs customer_id and valid_from"):
        customer_segments(people, by="membership", memberships=pd.DataFrame({"who": [1]}))
    bare = people.copy()
    bare.attrs.pop("observation_end")
    with pytest.raises(ArgumentError, match="observation_end"):
        customer_segments(bare, by="membership", memberships=memberships)


@pytest.mark.parametrize("kind", [BetaGeoNBD, ParetoNBD])
def test_what_is_lost_is_what_the_silent_would_have_bought(people, kind):
    model, spend = kind(penalizer=0.001).fit(people), GammaGamma().fit(people)
    found = customer_lifetime_value(model, spend, people, **OPTIONS)
    split = value_at_churn(found)
    alive = found.customers["probability_alive"]
    plain = found.customers["expected_value"]
    band = pd.cut(alive, [-1, 0.2, 0.5, 0.8, 2], right=False)
    table = split.table()
    for (_, rows), record in zip(plain.groupby(band, observed=True), table.to_dict("records"), strict=True):
        if record["customers"] is None or np.isnan(record["customers"]):
            continue
        assert record["customers"] == len(rows)
        assert record["probability_alive"] == pytest.approx(alive[rows.index].mean())
        assert record["expected"] == pytest.approx(rows.sum())
        assert record["stayed"] == pytest.approx((rows / alive[rows.index]).sum(), rel=1e-9)
        assert record["lost"] == pytest.approx(record["stayed"] - record["expected"], abs=1e-9)
    json.dumps(split.to_dict(), allow_nan=False)
    assert "is lost" in split.verdict()


def test_own_groups_and_small_ones(value, people):
    label = pd.Series(
        np.where(np.arange(600) < 3, "few", np.where(np.arange(600) < 300, "a", "b")), people.index
    )
    found = value_at_churn(value, groups=label)
    assert [g[0] for g in found.groups] == ["b"]
    assert found.names == ("a", "b", "few")
    assert found.table()["customers"].isna().tolist() == [True, False, True]
    assert len(found.plot().get_yticklabels()) == 1
    for bands in ((), (0.8, 0.2), (0, 0.5), (1.2,)):
        with pytest.raises(ArgumentError, match="bands must be increasing shares"):
            value_at_churn(value, bands=bands)


def test_members_lost_are_those_who_left_lately(value, people, memberships):
    found = members_lost(value, memberships, days=365, acquisition_cost=12.5)
    gone = people.index[200:240]
    each, alive = value.expected_value[gone], value.customers.loc[gone, "probability_alive"]
    assert (found.gone, found.members) == (40, 200)
    assert found.remaining.value == pytest.approx(each.sum())
    assert found.lost.value == pytest.approx((each / alive - each).sum())
    assert found.lost.low < found.lost.value < found.lost.high
    assert found.replacement == 500
    assert found.verdict().endswith("Winning as many new customers costs 500.00 EUR.")
    assert "upper bound" in found.verdict()
    assert found.to_frame()["metric"].tolist()[-1] == "cost of replacing them"
    assert members_lost(value, memberships, days=1000).gone == 100
    with pytest.raises(DesignError, match="fewer than 5 members who bought left in the last 20 days"):
        members_lost(value, memberships, days=20)
    with pytest.raises(ContractError, match="there is no memberships table"):
        members_lost(value, None)
    with pytest.raises(ArgumentError, match="days must be"):
        members_lost(value, memberships, days=0)
    with pytest.raises(ArgumentError, match="acquisition_cost must be"):
        members_lost(value, memberships, acquisition_cost=-1)
