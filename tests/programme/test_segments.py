import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.programme.segments import (
    age_bands,
    banded,
    loyalty_segments,
    persons_and_organisations,
    promoter_groups,
    purchase_cycles,
    rfm_segments,
)


def orders(**days):
    """Customers' purchase days, each of 10."""
    rows = [(c, pd.Timestamp(d)) for c, dates in days.items() for d in dates]
    return pd.DataFrame(rows, columns=["customer_id", "transacted_at"]).assign(amount=10.0)


def test_every_value_is_in_exactly_one_band_and_edges_belong_above():
    values = pd.Series(np.linspace(0, 100, 401))
    found = banded(values, [0, 15, 22, 50])
    for low, high, label in (
        (0, 15, "[0, 15)"),
        (15, 22, "[15, 22)"),
        (22, 50, "[22, 50)"),
        (50, 101, "[50, ∞)"),
    ):
        assert (found == label).equals((values >= low) & (values < high))


@pytest.mark.parametrize("edges", [[], [0, 0], [5, 1], [0, float("inf")]])
def test_edges_must_ascend(edges):
    with pytest.raises(ArgumentError, match="ascend"):
        banded(pd.Series([1.0]), edges)


def test_a_value_below_the_first_edge_is_no_silent_gap():
    with pytest.raises(ContractError, match="below the first edge 5 at 1 row"):
        banded(pd.Series([1.0, 6.0]), [5, 10])


def test_rfm_counts_days_up_to_the_day_and_in_the_window():
    table = orders(a=["2024-01-01 09:00", "2024-01-01 17:00", "2024-02-01", "2024-04-01"], b=["2023-01-01"])
    edges = {"recency_edges": [0, 31], "frequency_edges": [1, 2, 3], "monetary_edges": [0, 12]}
    found = rfm_segments(table, as_of="2024-03-02", **edges)
    assert found.loc["a", ["recency", "frequency", "monetary_value"]].tolist() == [30, 2, 15.0]
    assert found.loc["a", ["recency_band", "frequency_band", "monetary_band"]].tolist() == [
        "[0, 31)",
        "[2, 3)",
        "[12, ∞)",
    ]
    assert found.loc["b", "recency_band"] == "[31, ∞)"
    assert rfm_segments(table, as_of="2024-03-02", window_days=365, **edges).index.tolist() == ["a"]


def test_loyalty_rules_give_everybody_one_segment_and_show_overlap():
    table = orders(
        loyal=["2024-01-01", "2024-02-01", "2024-03-01"],
        once=["2024-03-01"],
        lapsed=["2022-01-01", "2022-02-01", "2022-03-01"],
        now_and_then=["2024-01-01", "2024-03-01"],
        angry=["2024-01-01", "2024-02-01", "2024-03-02"],
    )
    people = pd.DataFrame({"customer_id": ["loyal", "once", "lapsed", "now_and_then", "angry", "none"]})
    found = loyalty_segments(
        table, people, as_of="2024-03-31", loyal_purchases=3, active_days=90, negative=["angry"]
    )
    assert found["segment"].to_dict() == {
        "loyal": "loyal",
        "once": "one-time",
        "lapsed": "lapsed",
        "now_and_then": "occasional",
        "angry": "negative",
        "none": "potential",
    }
    assert found.loc["angry", ["loyal", "negative"]].all()
    # half-open: a last purchase exactly active_days ago is no longer recent
    edge = loyalty_segments(table, people, as_of="2024-03-31", loyal_purchases=3, active_days=30)
    assert edge.loc["loyal", "segment"] == "lapsed"
    with pytest.raises(ContractError, match="no row of customers"):
        loyalty_segments(table, people.iloc[1:], as_of="2024-03-31", loyal_purchases=3, active_days=90)


def test_age_counts_completed_years_also_on_leap_days():
    people = pd.DataFrame(
        {
            "customer_id": list("abcd"),
            "birth_date": pd.to_datetime(["2009-03-01", "2009-02-28", "2008-02-29", None]),
        }
    )
    found = age_bands(people, as_of="2024-02-28")
    assert found.tolist() == ["[0, 15)", "[15, 22)", "[15, 22)", "not known"]
    # born on 29 February 2008: 14 years old on 28 February 2023, 15 on 1 March
    assert age_bands(people.iloc[[2]], as_of="2023-02-28").tolist() == ["[0, 15)"]
    assert age_bands(people.iloc[[2]], as_of="2023-03-01").tolist() == ["[15, 22)"]
    with pytest.raises(ContractError, match="after as_of"):
        age_bands(people, as_of="2009-01-01")
    with pytest.raises(ContractError, match="neither birth_date nor age"):
        age_bands(people[["customer_id"]], as_of="2024-01-01")


def test_cycles_split_at_the_median_gap():
    table = orders(a=["2024-01-01", "2024-01-31"], b=["2024-01-01", "2024-01-30"], c=["2024-01-01"])
    found = purchase_cycles(table, as_of="2024-03-31", edge_days=30)
    assert found.to_dict() == {"a": "long", "b": "short", "c": "not known"}


def test_promoters_by_the_latest_answer_on_one_scale():
    answers = pd.DataFrame(
        {
            "customer_id": list("aabcd"),
            "value": [3, 9, 8, 6, 10],
            "answered_at": pd.to_datetime(
                ["2024-01-01", "2024-02-01", "2024-01-01", "2024-01-01", "2025-01-01"]
            ),
        }
    )
    found = promoter_groups(answers, as_of="2024-12-31")
    assert found.to_dict() == {"a": "promoter", "b": "passive", "c": "detractor"}
    with pytest.raises(ContractError, match="scale_min is not 0"):
        promoter_groups(answers.assign(scale_min=1, scale_max=10), as_of="2024-12-31")
    with pytest.raises(ContractError, match="whole number from 0 to 10"):
        promoter_groups(answers.assign(value=11), as_of="2024-12-31")


def test_legal_form_keeps_the_unknown_apart():
    people = pd.DataFrame({"customer_id": list("ab"), "is_organisation": [True, None]})
    assert persons_and_organisations(people).tolist() == ["organisation", "not known"]
    with pytest.raises(ContractError, match="repeats"):
        persons_and_organisations(pd.concat([people, people]))
