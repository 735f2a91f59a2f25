import numpy as np
import pandas as pd
import pytest

from loyalty_research.churn import ChurnData, KaplanMeier, lapses
from loyalty_research.errors import ArgumentError, ContractError

BEGIN = pd.Timestamp("2022-01-01")


def lines(days):
    rows = [(customer, BEGIN + pd.Timedelta(days=d)) for customer, bought in days.items() for d in bought]
    return pd.DataFrame(rows, columns=["customer_id", "transacted_date"]).assign(amount=1.0)


def as_of(day):
    return (BEGIN + pd.Timedelta(days=day)).date()


def first_days(bought):
    return (bought.groupby("customer_id")["transacted_date"].min() - BEGIN).dt.days.to_numpy()


def data_last(bought):
    return 640 - first_days(bought).min()


def comers_and_goers(n=300, seed=4, until=700):
    """Buy every ten days for a while, stay away for 100 days and more, come back; some never do."""
    rng = np.random.default_rng(seed)
    days = {}
    for c in range(n):
        day, bought = int(rng.integers(0, 100)), []
        while day < until:
            for _ in range(1 + rng.poisson(4)):
                bought.append(day)
                day += int(rng.integers(5, 15))
            if rng.random() < 0.4:
                break
            day += 100 + int(rng.exponential(60))
        days[c] = [d for d in bought if d < until]
    return days


def test_means_are_those_of_counting_by_hand():
    days, window, end, at = comers_and_goers(), 60, 700, 400
    found = lapses(lines(days), inactivity_days=window, as_of=as_of(end), at=at)
    # everybody is followed for 540 days at least, so means are plain means of counts
    counts, ever = [], []
    for bought in days.values():
        ahead = np.append(bought[1:], end)
        starts = np.array(bought)[ahead - np.array(bought) > window] - bought[0] + 1
        counts.append((starts <= at).sum())
        ever.append((starts <= at).any())
    assert found.mean.value == pytest.approx(np.mean(counts))
    assert found.mean.low < found.mean.value < found.mean.high
    assert (found.mean.high - found.mean.low) / 3.92 == pytest.approx(
        np.std(counts) / np.sqrt(len(days)), rel=0.05
    )
    assert found.ever.value == pytest.approx(np.mean(ever))
    assert found.mean.value > 1.1 * found.ever.value
    assert "lapse again" in found.verdict()


def test_the_share_who_lapsed_is_that_of_the_first_silence():
    bought = lines(comers_and_goers())
    found = lapses(bought, inactivity_days=60, as_of=as_of(700), at=60)
    data = ChurnData.from_transactions(bought, inactivity_days=60, as_of=as_of(700))
    known = KaplanMeier().fit(data).survival_at([60]).iloc[0]
    assert found.ever.value == pytest.approx(1 - known["estimate"])
    assert (found.ever.low, found.ever.high) == pytest.approx((1 - known["high"], 1 - known["low"]))
    assert lapses(bought, inactivity_days=60, as_of=as_of(700), at=9999).at == data_last(bought)
    half = lapses(bought, inactivity_days=60, as_of=as_of(700)).at
    assert half == np.floor(np.median(640 - first_days(bought)))


def test_without_returns_few_lapse_twice():
    found = lapses(lines({c: [0, 5 + c] for c in range(40)}), inactivity_days=60, as_of=as_of(300), at=200)
    assert (found.mean.value, found.ever.value) == pytest.approx((1.0, 1.0))
    assert "Few lapse twice" in found.verdict()
    assert found.plot().get_ylim()[1] >= 1


def test_bad_options_and_steady_buyers_are_refused():
    steady = lines({c: list(range(0, 300, 10)) for c in range(5)})
    with pytest.raises(ContractError, match="nobody left in 5 intervals"):
        lapses(steady, inactivity_days=60, as_of=as_of(300), at=100)
    with pytest.raises(ContractError, match="nobody is seen for more than 400 days"):
        lapses(steady, inactivity_days=400, as_of=as_of(300), at=100)
    with pytest.raises(ArgumentError, match="at must be a positive"):
        lapses(steady, inactivity_days=60, as_of=as_of(300), at=0)
    with pytest.raises(ArgumentError, match="whole number of days"):
        lapses(steady, inactivity_days=2.5, as_of=as_of(300), at=10)
