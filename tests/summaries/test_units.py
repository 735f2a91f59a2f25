import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty_research import summaries
from loyalty_research.errors import ArgumentError, ContractError, DesignError

START = dt.date(2023, 12, 20)
PEOPLE = ["ann", "bob", "cyd", "dee", "eve"]


def stamp(day):
    return pd.Timestamp(START + dt.timedelta(days=day))


def sums(rows, is_sale, who, begin, end):
    mine = [r for r in rows if is_sale(r) and r[0] == who and begin <= r[1] < end]
    return sum(r[3] for r in mine) / 100, len(mine)


@settings(deadline=None, max_examples=15, derandomize=True)
@given(data=st.data())
def test_units_equal_a_plain_reference_on_every_engine(data, native, to_frame, random_rows, is_sale):
    rows = data.draw(random_rows.filter(lambda rs: any(map(is_sale, rs))))
    window, pre = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    zero = {who: data.draw(st.integers(0, 120)) for who in PEOPLE}
    spells = data.draw(
        st.dictionaries(
            st.sampled_from(PEOPLE), st.tuples(st.integers(-5, 150), st.integers(1, 90) | st.none())
        )
    )
    last, first = max(r[1] for r in rows), min(r[1] for r in rows)
    whole = {w for w, z in zero.items() if z + window - 1 <= last}
    kept = sorted(w for w in whole if z_ok(zero[w], pre, first))
    tables = {
        "transactions": to_frame(rows),
        "assignments": pd.DataFrame(
            {
                "experiment_id": "e",
                "customer_id": PEOPLE,
                "arm": ["invited", "control", "invited", "control", "control"],
                "assigned_at": [stamp(zero[w]) + pd.Timedelta(hours=13) for w in PEOPLE],
                "strata": list("nsnsn"),
            }
        ),
        "memberships": pd.DataFrame(
            {
                "customer_id": pd.Series(list(spells), dtype=object),
                "valid_from": pd.Series([stamp(b) for b, _ in spells.values()], dtype="datetime64[us]"),
                "valid_to": pd.Series(
                    [pd.NaT if e is None else stamp(b + e) for b, e in spells.values()],
                    dtype="datetime64[us]",
                ),
            }
        ),
        "customers": pd.DataFrame({"customer_id": PEOPLE[::-1], "age": [50.0, 40, 30, 20, 10], "name": "x"}),
    }
    for move in native.values():
        moved = {name: move(table) for name, table in tables.items()}
        if not kept:
            with pytest.raises(DesignError, match="nobody is observed from"):
                summaries.units(moved, window_days=window, pre_days=pre)
            continue
        got = summaries.units(moved, window_days=window, pre_days=pre).set_index("unit_id")
        assert list(got.index) == kept
        for who, row in got.iterrows():
            z = zero[who]
            assert (row["spend"], row["orders"]) == pytest.approx(sums(rows, is_sale, who, z, z + window))
            assert (row["pre_spend"], row["pre_orders"]) == pytest.approx(
                sums(rows, is_sale, who, z - pre, z)
            )
            begin, length = spells.get(who, (10**6, None))
            days = range(begin, begin + (10**4 if length is None else length))
            assert row["was_member"] == (z - 1 in days)
            assert row["is_member"] == any(d in days for d in range(z, z + window))
            assert row["age"] == 10.0 * (1 + PEOPLE.index(who))
            assert row["assigned_date"] == stamp(z)
        assert "name" not in got
        dropped = got.attrs["dropped"]
        assert dropped["customers not observed for the whole outcome window"] == len(PEOPLE) - len(whole)
        assert dropped["customers whose pre-period begins before the data"] == len(whole) - len(kept)


def z_ok(zero, pre, first):
    return zero - pre >= first


@pytest.fixture
def tables():
    return {
        "transactions": pd.DataFrame(
            {
                "customer_id": ["ann", "bob", "ann"],
                "amount": [1.0, 2.0, 3.0],
                "transacted_date": [stamp(0), stamp(1), stamp(200)],
            }
        ),
        "assignments": pd.DataFrame(
            {
                "experiment_id": ["a", "b"],
                "customer_id": ["ann", "bob"],
                "arm": ["x", "y"],
                "assigned_date": [stamp(100), stamp(100)],
            }
        ),
    }


def test_units_are_kept_when_the_data_just_reach(tables):
    def count(window, pre):
        got = summaries.units(tables, window_days=window, pre_days=pre, experiment="a")
        return len(got), list(got.attrs["dropped"].values())[:2]

    # ann is assigned on day 100 of data that run from day 0 to day 200
    assert count(101, 100) == (1, [0, 0])
    for window, pre in ((102, 100), (101, 101)):
        with pytest.raises(DesignError, match="nobody is observed from"):
            count(window, pre)
    with pytest.raises(DesignError, match="nobody is observed"):
        summaries.units(tables, window_days=101, pre_days=100, experiment="a", as_of=stamp(199))


@pytest.mark.parametrize(
    ("begin", "end", "was", "is_"),
    [
        (50, 100, True, False),
        (50, 101, True, True),
        (99, None, True, True),
        (100, None, False, True),
        (129, None, False, True),
        (130, None, False, False),
    ],
)
def test_membership_counts_from_its_first_day_to_the_day_before_its_end(tables, begin, end, was, is_):
    spell = {
        "customer_id": ["ann"],
        "valid_from": [stamp(begin)],
        "valid_to": [stamp(end) if end else pd.NaT],
    }
    memberships = pd.DataFrame(spell).astype({"valid_to": "datetime64[us]"})
    row = summaries.units(tables | {"memberships": memberships}, window_days=30, experiment="a").iloc[0]
    assert (row["was_member"], row["is_member"]) == (was, is_)


def test_units_ask_for_one_experiment(tables):
    with pytest.raises(ArgumentError, match="several experiments; name one of a, b"):
        summaries.units(tables, window_days=30)
    with pytest.raises(ArgumentError, match="no experiment 'c'"):
        summaries.units(tables, window_days=30, experiment="c")
    got = summaries.units(tables, window_days=30, experiment="b")
    assert got["unit_id"].tolist() == ["bob"]
    assert got.attrs["experiment"] == "b"


def test_units_refuse_a_customer_in_two_arms(tables):
    twice = pd.concat([tables["assignments"]] * 2).assign(experiment_id="a", arm=["x", "y", "y", "x"])
    with pytest.raises(ContractError, match="name a customer twice at 2 rows \\(first at positions 2, 3\\)"):
        summaries.units(tables | {"assignments": twice}, window_days=30)


def test_units_refuse_blanks_missing_tables_and_mixed_engines(tables, engines):
    blank = tables["assignments"].assign(experiment_id="a", assigned_date=[stamp(1), pd.NaT])
    with pytest.raises(ContractError, match="lack a customer, arm or date at 1 row \\(at position 1\\)"):
        summaries.units(tables | {"assignments": blank}, window_days=30)
    with pytest.raises(ContractError, match="units need the table transactions; there is assignments"):
        summaries.units({"assignments": tables["assignments"]}, window_days=30)
    with pytest.raises(ContractError, match="load both with the same engine"):
        summaries.units(
            tables | {"assignments": engines["polars"](tables["assignments"])}, window_days=30, experiment="a"
        )
    numbered = tables["assignments"].assign(customer_id=[1, 2])
    with pytest.raises(ContractError, match="customer_id is String in transactions and Int64 in assignments"):
        summaries.units(tables | {"assignments": numbered}, window_days=30, experiment="a")


@settings(deadline=None, max_examples=15, derandomize=True)
@given(data=st.data())
def test_campaign_units_equal_a_plain_reference_on_every_engine(data, native, to_frame, random_rows, is_sale):
    base = [("ann", 0, 3, 100, "sale"), ("bob", 1, 3, 200, "sale"), ("cyd", 130, 3, 300, "sale")]
    rows = base + data.draw(random_rows)
    zero, window, pre = (
        data.draw(st.integers(41, 90)),
        data.draw(st.integers(1, 40)),
        data.draw(st.integers(1, 41)),
    )
    events = data.draw(
        st.lists(
            st.tuples(
                st.sampled_from(PEOPLE),
                st.sampled_from(["spring", "other"]),
                st.integers(0, 60),
                st.sampled_from(["sent", "redeem"]),
            )
        )
    )
    sent = [
        ("ann", "spring", zero, "sent"),
        *((w, c, d + (zero if c == "spring" else 30), e) for w, c, d, e in events),
    ]
    sent = [e for e in sent if not (e[0] == "bob" and e[1] == "spring")]
    contacts = pd.DataFrame(
        {
            "customer_id": [e[0] for e in sent],
            "campaign_id": [e[1] for e in sent],
            "event": [e[3] for e in sent],
            "sent_at": [stamp(e[2]) for e in sent],
        }
    )
    targeted = {e[0] for e in sent if e[1] == "spring"}
    visits = {}
    for row in rows:
        if is_sale(row) and row[1] < zero:
            visits.setdefault(row[0], []).append(row[1])
    for move in native.values():
        got = summaries.campaign_units(
            move(contacts), move(to_frame(rows)), campaign_id="spring", window_days=window, pre_days=pre
        ).set_index("unit_id")
        assert list(got.index) == sorted(visits)
        for who, row in got.iterrows():
            assert row["arm"] == ("targeted" if who in targeted else "not targeted")
            assert (row["spend"], row["orders"]) == pytest.approx(
                sums(rows, is_sale, who, zero, zero + window)
            )
            assert (row["pre_spend"], row["pre_orders"]) == pytest.approx(
                sums(rows, is_sale, who, zero - pre, zero)
            )
            assert row["pre_recency"] == zero - max(visits[who])
            assert row["pre_tenure"] == zero - min(visits[who])
            assert row["pre_contacts"] == sum(
                e[0] == who and e[1] == "other" and zero - pre <= e[2] < zero for e in sent
            )
            assert row["redeemed"] == any(
                e[0] == who and e[1] == "spring" and e[3] == "redeem" and zero <= e[2] < zero + window
                for e in sent
            )
        assert got.attrs["index_date"] == stamp(zero).date().isoformat()
        left = got.attrs["dropped"]["targeted customers without a purchase before the index date"]
        assert left == len(targeted - set(visits))


def test_campaign_windows_must_lie_inside_the_data(tables):
    contacts = pd.DataFrame({"customer_id": ["ann"], "campaign_id": ["c"], "sent_date": [stamp(100)]})
    lines = tables["transactions"]

    def run(**options):
        return summaries.campaign_units(contacts, lines, campaign_id="c", **options)

    assert len(run(window_days=101, pre_days=100)) == 2
    with pytest.raises(DesignError, match="begins before the data do \\(2023-12-20\\); at most 100 days"):
        run(window_days=10, pre_days=101)
    with pytest.raises(DesignError, match=r"reaches past the last day observed .*; at most 101 days"):
        run(window_days=102, pre_days=10)
    with pytest.raises(ArgumentError, match="no campaign 'd'; there is c"):
        summaries.campaign_units(contacts, lines, campaign_id="d", window_days=3)
    with pytest.raises(DesignError, match="was not targeted"):
        summaries.campaign_units(
            contacts, lines[lines["customer_id"] == "ann"], campaign_id="c", window_days=3, pre_days=20
        )


def test_a_placebo_date_moves_the_windows_and_keeps_the_arms():
    rng = np.random.default_rng(5)
    count = 400
    lines = pd.DataFrame(
        {
            "customer_id": rng.integers(0, 50, count),
            "amount": 1.0,
            "transacted_date": [stamp(int(d)) for d in rng.integers(0, 200, count)],
        }
    )
    contacts = pd.DataFrame({"customer_id": np.arange(25), "campaign_id": "c", "sent_date": stamp(150)})
    real = summaries.campaign_units(contacts, lines, campaign_id="c", window_days=30, pre_days=30)
    placebo = summaries.campaign_units(
        contacts, lines, campaign_id="c", window_days=30, pre_days=30, index_date=stamp(120)
    )
    both = real.merge(placebo, on="unit_id", suffixes=("", "_placebo"))
    assert (both["pre_spend"] == both["spend_placebo"]).all()
    assert (both["arm"] == both["arm_placebo"]).all()
