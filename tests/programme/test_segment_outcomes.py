"""What segments did next: against sums by hand, with what is hidden, and limits that cover."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ContractError, DesignError
from loyalty_research.programme.segment_outcomes import segment_outcomes, variance_explained

START = pd.Timestamp("2024-01-01")


def lines(rows):
    """Return transactions from (customer, day, amount)."""
    frame = pd.DataFrame(rows, columns=["customer_id", "day", "amount"])
    return frame.assign(transacted_date=START + pd.to_timedelta(frame.pop("day"), unit="D"))


def shop():
    """Ten loyal customers buy twice afterwards, ten of twenty lapsed ones once, six newcomers once."""
    rows = [(f"l{i}", day, 10.0) for i in range(10) for day in (1, 25, 32, 40)]
    rows += [(f"p{i}", 5, 20.0) for i in range(20)]
    rows += [(f"p{i}", 33, 10.0) for i in range(10)]
    rows += [(f"n{i}", 35, 5.0) for i in range(6)] + [("n0", 61, 99.0)]
    names = [f"l{i}" for i in range(10)] + [f"p{i}" for i in range(20)]
    return lines(rows), pd.Series(["loyal"] * 10 + ["lapsed"] * 20, index=names)


def test_sums_by_hand():
    orders, labels = shop()
    found = segment_outcomes(labels, orders, after="2024-01-31", days=30, currency="EUR")
    loyal, lapsed = found.later["loyal"], found.later["lapsed"]
    assert (loyal.bought.value, lapsed.bought.value) == (1.0, 0.5)
    assert (loyal.purchases.value, lapsed.purchases.value) == (2.0, 0.5)
    assert lapsed.revenue.value == 5.0
    assert lapsed.revenue.unit == "EUR"
    assert loyal.share.value == pytest.approx(200 / 330)
    assert found.newcomers.value == pytest.approx(30 / 330)
    # both days of the 30 before count: days 1 and 25 for the loyal, day 5 for the others
    assert loyal.share_before.value == pytest.approx(200 / 600)
    assert found.wrong_still.value == 0.0
    assert found.wrong_gone.value == 0.5
    assert found.customers == {"lapsed": 20, "loyal": 10}


def test_the_day_itself_is_known_and_the_next_is_not():
    orders, labels = shop()
    found = segment_outcomes(labels, orders, after="2024-02-02", days=28)
    # the purchases of day 32 are on 2 February
    assert found.later["loyal"].purchases.value == 1.0


def test_predictions_are_set_beside_what_was_made():
    orders, labels = shop()
    expected = pd.Series(np.where(labels == "loyal", 4.0, 0.5), index=labels.index)
    found = segment_outcomes(labels, orders, after="2024-01-31", days=30, expected=expected)
    assert found.later["loyal"].against_expected.value == 0.5
    assert found.later["lapsed"].against_expected.value == pytest.approx(1.0)
    assert found.later["lapsed"].against_expected.low < 1 < found.later["lapsed"].against_expected.high


def test_few_buyers_are_hidden_with_what_reveals_them():
    orders, labels = shop()
    few = orders[~(orders["customer_id"].isin([f"p{i}" for i in range(3, 10)]) & (orders["amount"] == 10.0))]
    found = segment_outcomes(labels, few, after="2024-01-31", days=30)
    assert found.customers == {"lapsed": None, "loyal": None}
    assert all(np.isnan(one.share.value) for one in found.later.values())
    assert found.wrong_gone.method.startswith("hidden")
    assert "No segment of loyal" in found.claim_verdict()


def test_the_claim_is_held_against_the_days_after():
    orders, labels = shop()
    found = segment_outcomes(labels, orders, after="2024-01-31", days=30)
    assert "brought 33.3% of revenue" in found.claim_verdict()
    assert "less than 90%" in found.claim_verdict(share=0.9)
    assert "more than 20%" in found.claim_verdict(share=0.2)
    assert "do not decide about 60%" in found.claim_verdict(share=0.6)


def test_days_that_are_not_over_are_refused():
    orders, labels = shop()
    with pytest.raises(DesignError, match="are not over"):
        segment_outcomes(labels, orders, after="2024-02-10", days=30)
    with pytest.raises(DesignError, match="no purchase up to"):
        segment_outcomes(labels, orders, after="2023-12-01", days=30)
    with pytest.raises(ContractError, match="twice"):
        segment_outcomes(pd.concat([labels, labels]), orders, after="2024-01-31", days=30)


def test_variance_explained_is_that_of_the_linear_model():
    rng = np.random.default_rng(3)
    group = rng.integers(0, 3, 200)
    y = group * 0.5 + rng.normal(size=200)
    dummies = np.eye(3)[group]
    fitted = dummies @ np.linalg.lstsq(dummies, y, rcond=None)[0]
    found = variance_explained(y, group)
    assert found.value == pytest.approx(((fitted - y.mean()) ** 2).sum() / ((y - y.mean()) ** 2).sum())
    assert variance_explained(group.astype(float), group).value == pytest.approx(1.0)
    with pytest.raises(DesignError):
        variance_explained(y, np.zeros(200, dtype=int))


RATES = np.array([0.2, 0.8, 3.0])
MIX = np.array([0.5, 0.3, 0.2])


def truths():
    """Return the variance explained, and the last group's share of revenue, of endless customers."""
    # counts are Poisson given a gamma rate of shape 2, spend per purchase 10 on average
    mean = MIX @ RATES
    between = MIX @ (RATES - mean) ** 2
    within = MIX @ (RATES + RATES**2 / 2)
    return between / (between + within), MIX[2] * RATES[2] / mean


def coverage(replicates, seed, customers=800):
    rng = np.random.default_rng(seed)
    explained, share = truths()
    hits = []
    for _ in range(replicates):
        group = rng.choice(3, customers, p=MIX)
        count = rng.poisson(RATES[group] * rng.gamma(2.0, 0.5, customers))
        who = np.repeat(np.arange(customers), count)
        seen = pd.DataFrame({"customer_id": np.arange(customers), "amount": 1.0, "transacted_date": START})
        # distinct days, so that each purchase is one of its own
        day = np.concatenate([np.arange(c) for c in count]) + 1
        later = pd.DataFrame(
            {
                "customer_id": who,
                "amount": rng.gamma(2.0, 5.0, len(who)),
                "transacted_date": START + pd.to_timedelta(day, unit="D"),
            }
        )
        end = pd.DataFrame(
            {"customer_id": [0], "amount": 0.0, "transacted_date": START + pd.Timedelta(days=60)}
        )
        labels = pd.Series(np.array(["gone", "rare", "loyal"])[group], index=np.arange(customers))
        found = segment_outcomes(labels, pd.concat([seen, later, end]), after="2024-01-01", days=59)
        one, part = found.explained, found.later["loyal"].share
        mean = found.later["rare"].purchases
        hits.append(
            [
                one.low <= explained <= one.high,
                part.low <= share <= part.high,
                mean.low <= RATES[1] <= mean.high,
            ]
        )
    return np.mean(hits, axis=0)


def test_limits_cover_in_a_few_replicates():
    assert (coverage(50, 4) > 0.85).all()


@pytest.mark.slow
def test_limits_cover(published):
    share = coverage(2000, 5)
    what = ("explained", "share of purchases", "purchases of a customer")
    published(zip([f"segments and the days after: {w}" for w in what], share, strict=True), 2000)
    assert share == pytest.approx(0.95, abs=0.025)
