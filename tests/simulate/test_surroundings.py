import numpy as np
import pandas as pd
import pytest

import loyalty_research as lr


@pytest.fixture(scope="module")
def shop():
    return lr.simulate("points", customers=12_000, seed=2)


def net_promoters(values):
    """Score in points and its standard error."""
    side = 100.0 * (values >= 9) - 100.0 * (values <= 6)
    return side.mean(), side.std() / np.sqrt(len(side))


def wave(shop, number):
    truth = shop.truth["survey_waves"][number]
    rows = shop.frame("surveys")
    return truth, rows[rows["invited_date"] == truth["day"]]


def test_answers_are_those_of_who_answers_and_not_of_all(shop):
    for number in (0, 1):
        truth, rows = wave(shop, number)
        assert rows["customer_id"].nunique() == truth["answered"] < truth["invited"]
        score, error = net_promoters(rows.loc[rows["instrument"] == "nps", "value"])
        assert score == pytest.approx(truth["nps_responders"])
        assert score - 2 * error > truth["nps_all"]  # the satisfied answer more often
        csat = rows.loc[rows["instrument"] == "csat", "value"]
        assert (csat >= 4).mean() == pytest.approx(truth["csat_responders"])
        assert truth["csat_responders"] > truth["csat_all"]
        assert truth["share_of_wallet_responders"] > truth["share_of_wallet_all"]
    assert (rows["answered_at"] > rows["invited_at"]).all()


def test_where_satisfaction_does_not_matter_those_who_answer_are_like_all():
    made = lr.simulate("points", customers=5000, seed=3, answer_satisfaction=0.0, survey_share=1.0)
    truth, rows = wave(made, 1)
    score, error = net_promoters(rows.loc[rows["instrument"] == "nps", "value"])
    assert abs(score - truth["nps_all"]) < 4 * error
    assert truth["answered"] / truth["invited"] == pytest.approx(0.25, abs=0.03)


def test_stated_and_measured_share_of_wallet_agree(shop):
    truth, rows = wave(shop, 1)
    table = rows[rows["instrument"] == "share_of_wallet"].pivot_table(
        index="customer_id", columns="item", values="value"
    )
    orders = shop.frame("transactions")
    last = pd.Timestamp(truth["day"])
    inside = orders[
        (orders["transacted_date"] < last) & (orders["transacted_date"] >= last - pd.Timedelta(days=365))
    ]
    own = inside.groupby("customer_id")["amount"].sum().reindex(table.index).dropna()
    table = table.loc[own.index]
    np.testing.assert_allclose(own, table["category_spend"] * table["share"] / 100, atol=0.01)


def test_cases_are_on_time_as_the_truth_says(shop):
    cases = shop.frame("tickets")
    share = shop.truth["on_time_share"]
    assert cases["closed_at"].isna().sum() == shop.truth["cases_open"]
    known = cases[cases["closed_at"].notna()]
    assert known["on_time"].notna().all()
    assert cases.loc[cases["closed_at"].isna(), "on_time"].isna().all()
    # long before the end all cases are closed
    early = known[known["opened_date"] < "2024-10-01"]["on_time"].astype(bool)
    assert early.mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / len(early)))
    assert known["in_full"].astype(bool).mean() == pytest.approx(0.9, abs=0.02)
    assert (known["closed_at"] >= known["opened_at"]).all()


def test_referrals_bring_the_customers_of_that_channel(shop):
    rows, people = shop.frame("referrals"), shop.frame("customers").set_index("customer_id")
    came = rows.dropna(subset="referred_id")
    assert len(came) == shop.truth["referred_customers"]
    assert not came["referred_id"].duplicated().any()
    assert (people.loc[came["referred_id"], "acquisition_channel"] == "referral").all()
    born = people["acquired_at"]
    assert (came["referred_at"].to_numpy() <= born[came["referred_id"]].to_numpy()).all()
    assert (came["referred_at"].to_numpy() >= born[came["referrer_id"]].to_numpy()).all()
    wanted = (people["acquisition_channel"] == "referral").sum()
    assert 0.95 * wanted < len(came) <= wanted


def test_carts_are_abandoned_as_the_truth_says(shop):
    carts, orders = shop.frame("carts"), shop.frame("transactions").set_index("transaction_id")
    done = carts.dropna(subset="ordered_at")
    assert (carts["ordered_at"].isna() == carts["transaction_id"].isna()).all()
    lines = orders.loc[done["transaction_id"]]
    assert (lines["customer_id"].to_numpy() == done["customer_id"].to_numpy()).all()
    assert (lines["transacted_at"].to_numpy() == done["ordered_at"].to_numpy()).all()
    assert (lines["amount"].to_numpy() == done["amount"].to_numpy()).all()
    assert (done["opened_at"] < done["ordered_at"]).all()
    share = carts["ordered_at"].isna().mean()
    assert share == shop.truth["carts_abandoned_share"]
    assert share == pytest.approx(0.7, abs=0.02)
