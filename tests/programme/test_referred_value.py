"""Spend of referred customers: by hand, months made alike, referrers as clusters, and coverage."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from loyalty_research.errors import ContractError, DesignError
from loyalty_research.programme import referred_customer_value
from loyalty_research.programme.referred_value import standardised_gap

START = pd.Timestamp("2024-01-01")


def tables(value, referred, month, referrer):
    """Return one purchase a customer on the tenth of a month, and the referrals of some of them."""
    ids = np.array([f"c{i}" for i in range(len(value))])
    days = (
        np.array(["2024-01", "2024-02", "2024-03"], dtype="datetime64[M]")[month].astype("datetime64[D]") + 9
    )
    lines = pd.DataFrame(
        {"customer_id": ids, "transacted_date": days.astype("datetime64[us]"), "amount": value}
    )
    made = pd.DataFrame(
        {
            "referrer_id": [f"r{g}" for g in referrer[referred]],
            "referred_id": ids[referred],
            "referred_at": START,
        }
    )
    return lines, made


def measured(value, referred, month, referrer=None, **options):
    value, referred, month = np.asarray(value, float), np.asarray(referred, bool), np.asarray(month)
    referrer = np.arange(len(value)) if referrer is None else np.asarray(referrer)
    lines, made = tables(value, referred, month, referrer)
    return referred_customer_value(lines, made, window=30, as_of="2024-06-30", **options)


def test_others_are_weighted_to_the_months_of_the_referred():
    referred = [True] * 6 + [False] * 10
    month = [0, 1, 1, 1, 1, 1] + [0] * 8 + [1] * 2
    value = [10, 20, 20, 20, 20, 30] + [10] * 4 + [14] * 4 + [20, 22]
    found = measured(value, referred, month)
    assert found.referred_mean == pytest.approx(20.0)
    assert found.others_mean == pytest.approx(12 / 6 + 21 * 5 / 6)
    assert found.gap.value == pytest.approx(20 - 12 / 6 - 21 * 5 / 6)
    assert found.unadjusted.value == pytest.approx(20 - np.mean(value[6:]))
    assert found.ratio.value == pytest.approx(20 / (12 / 6 + 21 * 5 / 6))


def test_a_gap_of_months_alone_disappears():
    """Customers of the second month spend more, and most of the referred came then."""
    rng = np.random.default_rng(1)
    referred = rng.random(600) < 0.3
    month = (rng.random(600) < np.where(referred, 0.9, 0.2)).astype(int)
    value = np.round(rng.gamma(4.0, np.where(month, 25.0, 10.0)), 2)
    found = measured(value, referred, month)
    assert found.unadjusted.low > 0
    assert found.gap.low < 0 < found.gap.high
    assert "do not tell them apart" in found.verdict()


def test_one_referrer_of_many_counts_as_one():
    rng = np.random.default_rng(2)
    referred = np.repeat([True, False], [60, 200])
    taste = np.repeat(rng.gamma(2.0, 20.0, 12), 5)
    value = np.round(np.r_[taste + rng.gamma(2.0, 2.0, 60), rng.gamma(2.0, 20.0, 200)], 2)
    month = np.zeros(260, int)
    apart = measured(value, referred, month)
    together = measured(value, referred, month, np.r_[np.repeat(np.arange(12), 5), np.arange(20, 220)])
    assert together.gap.value == apart.gap.value
    assert together.gap.high - together.gap.low > 1.3 * (apart.gap.high - apart.gap.low)
    check = next(c for c in together.checks if c.name == "Referrers")
    assert check.status == "warning"


def test_within_one_month_the_error_is_that_of_a_regression_with_clusters():
    """HC2-like for others, CR1-like for the referred: near statsmodels' cluster covariance."""
    rng = np.random.default_rng(3)
    referred = np.repeat([True, False], [150, 150])
    group = np.r_[np.repeat(np.arange(50), 3), np.arange(100, 250)]
    value = np.round(rng.gamma(2.0, 20.0, 300) + np.where(referred, rng.normal(20, 8, 300)[group % 50], 0), 2)
    found = measured(value, referred, np.zeros(300, int), group)
    peer = sm.OLS(value, sm.add_constant(referred.astype(float))).fit(
        cov_type="cluster", cov_kwds={"groups": group}
    )
    assert found.gap.value == pytest.approx(peer.params[1])
    half = (found.gap.high - found.gap.low) / 2
    assert half / 1.98 == pytest.approx(peer.bse[1], rel=0.03)


def test_only_first_days_of_customers_followed_count_and_old_customers_on_neither_side():
    lines, made = tables(np.full(30, 10.0), np.arange(30) < 10, np.zeros(30, int), np.arange(30))
    later = lines.assign(transacted_date=pd.Timestamp("2024-02-09"), amount=99.0)  # day 30 of each
    young = pd.DataFrame(
        {"customer_id": ["late"], "transacted_date": [pd.Timestamp("2024-06-20")], "amount": [500.0]}
    )
    had = made["referred_id"].isin(["c0", "c1", "c2"])
    made = made.assign(referred_at=made["referred_at"].mask(had, pd.Timestamp("2024-03-01")))
    found = referred_customer_value(pd.concat([lines, later, young]), made, window=30, as_of="2024-06-30")
    assert (found.referred, found.others) == (7, 20)
    assert (found.referred_mean, found.others_mean) == (10.0, 10.0)
    assert np.isnan(found.gap.low)
    assert any(c.detail.endswith("neither side: fewer than 5.") for c in found.checks)


def test_known_acquisition_leaves_earlier_customers_out():
    lines, made = tables(np.full(40, 10.0), np.arange(40) < 10, np.zeros(40, int), np.arange(40))
    people = pd.DataFrame({"customer_id": lines["customer_id"], "acquired_at": pd.Timestamp("2024-01-10")})
    people.loc[30:, "acquired_at"] = pd.Timestamp("2020-05-05")
    found = referred_customer_value(lines, made, customers=people, window=30, as_of="2024-06-30")
    assert (found.referred, found.others) == (10, 20)


def test_too_few_to_compare_are_refused():
    with pytest.raises(DesignError, match="fewer than 5 referred"):
        measured([10.0] * 30, np.arange(30) < 4, np.zeros(30, int))
    with pytest.raises(DesignError, match="fewer than 5 referred"):
        measured([10.0] * 30, np.arange(30) < 10, np.where(np.arange(30) < 10, 0, 1))
    lines, made = tables(np.full(30, 10.0), np.arange(30) < 10, np.zeros(30, int), np.arange(30))
    with pytest.raises(ContractError, match="referrer and as referred"):
        referred_customer_value(lines, made.assign(referrer_id=made["referred_id"]))


def test_verdicts_never_claim_an_effect():
    rng = np.random.default_rng(4)
    referred = np.arange(300) < 100
    for factor, word in ((2.0, "better customers"), (0.5, "spend less")):
        value = np.round(rng.gamma(4.0, 10.0, 300) * np.where(referred, factor, 1.0), 2)
        said = measured(value, referred, np.zeros(300, int)).verdict()
        assert word in said
        assert "consistent with" in said
        assert "no effect of being referred" in said


def test_the_pull_of_each_customer_adds_up_to_the_variance_of_resampling():
    rng = np.random.default_rng(5)
    n = 800
    frame = pd.DataFrame({"referred": rng.random(n) < 0.3, "group": np.arange(n)})
    frame["month"] = (rng.random(n) < np.where(frame["referred"], 0.7, 0.3)).astype(int)
    frame["value"] = rng.gamma(2.0, 10.0 + 10 * frame["month"])
    gap = standardised_gap(frame)
    drawn, logs = [], []
    for _ in range(600):
        again = standardised_gap(frame.iloc[rng.integers(0, n, n)])
        drawn.append(again.mean - again.other)
        logs.append(np.log(again.mean / again.other))
    assert np.sqrt((gap.moved**2).sum()) == pytest.approx(np.std(drawn), rel=0.1)
    assert np.sqrt((gap.moved_log**2).sum()) == pytest.approx(np.std(logs), rel=0.1)


def simulated(replicates, seed=6):
    rng = np.random.default_rng(seed)
    held = np.zeros(2)
    shift = np.array([30.0, 40.0, 60.0])
    weight = np.array([0.2, 0.3, 0.5])
    truth = (8.0, ((shift @ weight) + 8.0) / (shift @ weight))
    for _ in range(replicates):
        referred = np.arange(450) < 120
        month = np.where(referred, rng.choice(3, 450, p=weight), rng.choice(3, 450, p=[0.5, 0.3, 0.2]))
        group = np.where(referred, rng.integers(0, 60, 450), np.arange(1000, 1450))
        taste = rng.gamma(4.0, 2.0, 1450)[group]  # mean 8, shared by those whom one brought
        value = np.where(referred, taste, 0.0) + shift[month] * rng.gamma(1.5, 1 / 1.5, 450)
        found = measured(np.round(value, 2) + 0.0, referred, month, group)
        for j, e in enumerate((found.gap, found.ratio)):
            held[j] += e.low <= truth[j] <= e.high
    return held / replicates


def test_intervals_cover_the_truth():
    assert (simulated(60) > 0.86).all()


@pytest.mark.slow
def test_intervals_cover_the_truth_at_length(published):
    share = simulated(2000)
    published(
        zip(
            ("referred customers' spend less others'", "referred customers' spend over others'"),
            share,
            strict=True,
        ),
        2000,
    )
    assert (np.abs(share - 0.95) < 0.02).all(), share
