"""Cost of gaining and of keeping a customer: units by hand, purposes declared, and coverage."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme import acquisition_and_retention_cost
from loyalty_research.programme._period_costs import MONTH
from loyalty_research.programme._windows import purchase_days
from loyalty_research.programme.acquisition_cost import period_spending, read_costs

AS_OF = "2024-03-30"  # the last window is 1 to 30 March, the one before 31 January to 29 February


def shopping(kept=20, lost=10, new=12):
    """Return purchases of customers who stayed (k), left (l) and came (n)."""
    rows = [("first", "2024-01-30")]
    rows += [(f"k{i}", day) for i in range(kept) for day in ("2024-02-10", "2024-03-10")]
    rows += [(f"l{i}", "2024-02-10") for i in range(lost)]
    rows += [(f"n{i}", "2024-03-20") for i in range(new)]
    frame = pd.DataFrame(rows, columns=["customer_id", "transacted_date"])
    return frame.assign(transacted_date=pd.to_datetime(frame["transacted_date"]), amount=10.0)


def rates(*rows):
    """Return costs of (column, item, unit, amount, valid_from, valid_to)."""
    made = []
    for column, item, unit, amount, since, until in rows:
        made.append({column: item, "unit": unit, "amount": amount, "valid_from": since, "valid_to": until})
    frame = pd.DataFrame(made).assign(cost_id=range(len(made)), currency="EUR")
    return frame.assign(**{c: pd.to_datetime(frame[c]) for c in ("valid_from", "valid_to")})


FIXED = (
    ("campaign_id", "advert", "fixed", 600.0, "2024-03-01", "2024-03-31"),
    ("tier", "gold", "fixed", 120.0, "2024-01-31", "2024-03-31"),
)
PURPOSES = {"advert": "acquisition", "gold": "retention"}


def measured(costs, lines=None, purposes=PURPOSES, **tables):
    lines = shopping() if lines is None else lines
    return acquisition_and_retention_cost(
        costs, lines, purposes=purposes, window=30, as_of=AS_OF, currency="EUR", **tables
    )


def test_fixed_costs_are_spread_over_their_days():
    found = measured(rates(*FIXED))
    assert (found.new_customers, found.retained) == (12, 20)
    assert found.acquisition_spend == pytest.approx(600.0)
    assert found.retention_spend == pytest.approx(60.0)  # 30 of 60 days
    assert found.per_new.value == pytest.approx(50.0)
    assert found.per_retained.value == pytest.approx(3.0)
    assert found.ratio.value == pytest.approx(50 / 3)
    # nothing but counts is chance: twelve that came like Poisson, 20 of 30 who stayed
    assert np.log(found.per_new.high / found.per_new.value) == pytest.approx(1.96 / np.sqrt(12), rel=1e-3)
    assert np.log(found.per_retained.high / 3) == pytest.approx(1.96 * np.sqrt((1 - 2 / 3) / 20), rel=1e-3)


def test_units_are_counted_where_they_happen_and_while_the_rate_holds():
    contacts = pd.DataFrame(
        {
            "customer_id": ["n0", "n1", "n1", "p1", "n2", "k1", "k2"],
            "campaign_id": ["mail"] * 6 + ["other"],
            "event": ["sent", "sent", "open", "sent", "sent", "redeem", "sent"],
            "sent_at": pd.to_datetime(
                [
                    "2024-03-02 10:00",
                    "2024-03-15",
                    "2024-03-15",
                    "2024-03-14",
                    "2024-02-29 23:00",
                    "2024-03-09",
                    "2024-03-09",
                ],
                format="mixed",
            ),
        }
    )
    members = pd.DataFrame(
        {
            "customer_id": ["k1", "k2", "k3"],
            "tier": ["gold", "gold", "blue"],
            "valid_from": pd.to_datetime(["2023-01-01", "2024-03-11", "2023-01-01"]),
            "valid_to": pd.to_datetime([None, "2024-03-21", None]),
        }
    )
    ledger = pd.DataFrame(
        {
            "customer_id": ["k1", "k1", "k2"],
            "type": ["redeem", "earn", "redeem"],
            "occurred_at": pd.to_datetime(["2024-03-05", "2024-03-05", "2024-02-05"]),
        }
    )
    invited = pd.DataFrame(
        {
            "referrer_id": ["k1", "k2"],
            "referred_id": ["n1", "n2"],
            "reward_id": ["friend", None],
            "referred_at": pd.to_datetime(["2024-03-05", "2024-03-06"]),
        }
    )
    costs = rates(
        ("campaign_id", "mail", "per_contact", 2.0, None, "2024-03-15"),
        ("campaign_id", "mail", "per_contact", 3.0, "2024-03-15", None),
        ("campaign_id", "mail", "per_redemption", 7.0, None, None),
        ("tier", "gold", "per_member_month", 1.5, None, None),
        ("reward_id", "voucher", "per_redemption", 5.0, None, None),
        ("reward_id", "friend", "per_redemption", 11.0, None, None),
    )
    kinds = {"mail": "acquisition", "gold": "retention", "voucher": "retention", "friend": "acquisition"}
    tables = {"contacts": contacts, "memberships": members, "points_ledger": ledger, "referrals": invited}
    record = purchase_days(shopping(), AS_OF)
    lines = period_spending(record, read_costs(costs), kinds, tables, 30).lines
    assert [line.quantity for line in lines] == pytest.approx([2, 1, 1, 40 / MONTH, 1, 1])
    assert [line.spend for line in lines] == pytest.approx([4.0, 3.0, 7.0, 60 / MONTH, 5.0, 11.0])
    found = measured(costs, purposes=kinds, **tables)
    assert found.acquisition_spend == pytest.approx(25.0)
    assert found.retention_spend == pytest.approx(60 / MONTH + 5)
    # each line rests on a handful of customers
    assert found.lines["spend"].isna().all()
    polars = measured(
        pl.from_pandas(costs), purposes=kinds, **{name: pl.from_pandas(t) for name, t in tables.items()}
    )
    assert polars.ratio == found.ratio


def test_a_cost_without_a_purpose_is_an_error_that_names_it():
    costs = rates(*FIXED, ("campaign_id", "leaflet", "fixed", 1.0, "2024-03-01", "2024-03-02"))
    with pytest.raises(ArgumentError, match="does not say whether leaflet is for acquisition or retention"):
        measured(costs)
    long_ago = rates(*FIXED, ("campaign_id", "leaflet", "fixed", 1.0, "2020-03-01", "2020-03-02"))
    assert measured(long_ago).ratio.value == pytest.approx(50 / 3)
    with pytest.raises(ArgumentError, match="purposes names adverts, which costs does not"):
        measured(rates(*FIXED), purposes=PURPOSES | {"adverts": "acquisition"})
    with pytest.raises(ArgumentError, match="advert: growth"):
        measured(rates(*FIXED), purposes=PURPOSES | {"advert": "growth"})


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("campaign_id", "x", "per_click", 1.0, None, None), "no unit that is known at 1 row .at position 2"),
        (("campaign_id", "x", "per_contact", -1.0, None, None), "no amount of 0 or more"),
        (("campaign_id", None, "per_contact", 1.0, None, None), "exactly one campaign, tier or reward"),
        (("campaign_id", "x", "per_contact", 1.0, "2024-03-02", "2024-03-02"), "end before they begin"),
        (("campaign_id", "x", "fixed", 1.0, "2024-03-02", None), "without valid_from and valid_to"),
    ],
)
def test_rates_that_cannot_be_told_are_errors(row, said):
    with pytest.raises(ContractError, match=said):
        measured(rates(*FIXED, row))


def test_several_currencies_are_an_error():
    costs = rates(*FIXED).assign(currency=["EUR", "USD"])
    with pytest.raises(ContractError, match=r"several currencies \(EUR, USD\)"):
        measured(costs)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("campaign_id", "mail", "per_contact", 1.0, None, None), "no table contacts"),
        (("tier", "gold", "per_member_month", 1.0, None, None), "no table memberships"),
        (
            ("reward_id", "voucher", "per_redemption", 1.0, None, None),
            "neither referrals nor a points_ledger",
        ),
        (("tier", "gold", "per_contact", 1.0, None, None), "not counted that way"),
    ],
)
def test_what_a_rate_counts_must_be_there(row, said):
    with pytest.raises(DesignError, match=said):
        measured(rates(row), purposes={row[1]: "retention"})


def test_a_ledger_that_does_not_name_rewards_prices_one_only():
    ledger = pd.DataFrame(
        {"customer_id": ["k1"], "type": ["redeem"], "occurred_at": [pd.Timestamp("2024-03-05")]}
    )
    costs = rates(
        ("reward_id", "cup", "per_redemption", 1.0, None, None),
        ("reward_id", "bag", "per_redemption", 2.0, None, None),
    )
    kinds = {"cup": "retention", "bag": "retention"}
    with pytest.raises(DesignError, match="does not say which reward"):
        measured(costs, purposes=kinds, points_ledger=ledger)
    named = measured(costs, purposes=kinds, points_ledger=ledger.assign(reward_id="bag"))
    assert named.retention_spend == 2.0
    assert np.isnan(named.per_new.value)
    assert np.isnan(named.ratio.value)
    assert "do not measure" in named.claim_verdict()


def test_nothing_spent_and_few_customers_give_no_figure():
    with pytest.raises(DesignError, match="nothing that was spent"):
        measured(
            rates(("campaign_id", "advert", "fixed", 0.0, "2024-03-01", "2024-03-31")),
            purposes={"advert": "acquisition"},
        )
    few = measured(rates(*FIXED), shopping(new=4))
    assert np.isnan(few.per_new.value)
    assert few.per_retained.value == pytest.approx(3.0)


def test_the_claim_is_asked_of_the_data_with_its_denominators():
    lines = shopping(kept=400, lost=100, new=300)
    for amount, word in (
        (90.0, "does not hold"),
        (1680.0, "agree with"),
        (9000.0, "more than"),
        (1200.0, "do not decide"),
    ):
        costs = rates(
            ("campaign_id", "advert", "fixed", amount, "2024-03-01", "2024-03-31"), *FIXED[1:]
        ).assign(amount=[amount, 600.0])
        said = measured(costs, lines).claim_verdict()
        assert word in said
        assert "rarely comparable" in said


def test_overlapping_rates_are_added_up_and_told():
    double = ("campaign_id", "mail", "per_contact", 1.0, None, None)
    contacts = pd.DataFrame(
        {
            "customer_id": [f"n{i}" for i in range(10)],
            "campaign_id": "mail",
            "event": "sent",
            "sent_at": pd.Timestamp("2024-03-02"),
        }
    )
    found = measured(rates(double, double), purposes={"mail": "acquisition"}, contacts=contacts)
    assert found.acquisition_spend == 20.0
    assert found.checks[-1].status == "warning"


def rewarded(rng, base=300, new=80):
    """Return purchases and rewards: some who stay take one, those who come bring different costs."""
    stays = rng.random(base) < 0.7
    came = rng.poisson(new)
    rows = [("first", "2024-01-30")]
    rows += [(f"k{i}", "2024-02-10") for i in range(base)]
    rows += [(f"k{i}", "2024-03-10") for i in np.flatnonzero(stays)]
    rows += [(f"n{i}", "2024-03-20") for i in range(came)]
    lines = pd.DataFrame(rows, columns=["customer_id", "transacted_date"])
    lines = lines.assign(transacted_date=pd.to_datetime(lines["transacted_date"]), amount=10.0)
    takes = rng.poisson(np.where(stays, 1.5, 0.5))
    gets = 1 + rng.poisson(1.0, came)
    who = [f"k{i}" for i in np.repeat(np.arange(base), takes)] + [
        f"n{i}" for i in np.repeat(np.arange(came), gets)
    ]
    ledger = pd.DataFrame({"customer_id": who, "type": "redeem", "occurred_at": pd.Timestamp("2024-03-20")})
    return lines, ledger.assign(reward_id=["stay"] * int(takes.sum()) + ["come"] * int(gets.sum()))


REWARDS = (
    ("reward_id", "stay", "per_redemption", 4.0, None, None),
    ("reward_id", "come", "per_redemption", 9.0, None, None),
    ("campaign_id", "advert", "fixed", 400.0, "2024-03-01", "2024-03-31"),
)
FOR = {"stay": "retention", "come": "acquisition", "advert": "acquisition"}


def simulated(replicates, seed=3):
    rng = np.random.default_rng(seed)
    costs = rates(*REWARDS)
    keep = 4.0 * (0.7 * 1.5 + 0.3 * 0.5) / 0.7
    gain = 9.0 * 2.0 + 400 / 80
    truth, held = (gain, keep, gain / keep), np.zeros(3)
    for _ in range(replicates):
        lines, ledger = rewarded(rng)
        found = measured(costs, lines, FOR, points_ledger=ledger)
        for j, e in enumerate((found.per_new, found.per_retained, found.ratio)):
            held[j] += e.low <= truth[j] <= e.high
    return held / replicates


def test_intervals_cover_the_truth():
    assert (simulated(60) > 0.86).all()


@pytest.mark.slow
def test_intervals_cover_the_truth_at_length(published):
    share = simulated(2000)
    published(
        zip(
            ("cost per new customer", "cost per retained customer", "cost of a new over a retained customer"),
            share,
            strict=True,
        ),
        2000,
    )
    assert (np.abs(share - 0.95) < 0.02).all(), share


def test_limits_are_those_of_resampling_customers():
    """Those of the window before are drawn again in the same number, the others each a Poisson number of times."""
    rng = np.random.default_rng(4)
    lines, ledger = rewarded(rng)
    tables = {"points_ledger": ledger}
    spent = period_spending(purchase_days(lines, AS_OF), read_costs(rates(*REWARDS)), FOR, tables, 30)
    found = measured(rates(*REWARDS), lines, FOR, **tables)
    base = np.flatnonzero(spent.base)
    drawn = []
    for _ in range(1000):
        weight = rng.poisson(1.0, len(spent.base)).astype(float)
        weight[base] = np.bincount(rng.integers(0, base.size, base.size), minlength=base.size)
        gain = (spent.fixed["acquisition"] + weight @ spent.spend["acquisition"]) / (weight @ spent.new)
        keep = (weight @ spent.spend["retention"]) / (weight @ spent.retained)
        drawn.append(np.log(gain / keep))
    assert np.log(found.ratio.high / found.ratio.value) / 1.96 == pytest.approx(np.std(drawn), rel=0.1)
