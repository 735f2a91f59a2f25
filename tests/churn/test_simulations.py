"""Simulated customers with a known truth: the usual mistake beside the package's answer."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.churn import ChurnData, CoxPH, KaplanMeier, compare_members
from loyalty_research.stats.survival import kaplan_meier, survival_at

pytestmark = pytest.mark.slow


def lives_with_joining(rng, n):
    """Join at a random moment, if still there; membership does nothing (true ratio 1)."""
    begin = pd.Timestamp("2022-01-01")
    life, join = np.ceil(rng.exponential(200, n)), np.ceil(rng.exponential(120, n))
    joined = join < life

    def date(days):
        return begin + pd.to_timedelta(days, unit="D")

    customers = np.arange(n)
    lives = pd.DataFrame({"customer_id": customers, "valid_from": begin, "valid_to": date(life)})
    spells = pd.DataFrame(
        {"customer_id": customers[joined], "valid_from": date(join[joined]), "valid_to": pd.NaT}
    )
    return lives, spells


def test_immortal_time(covers, measured):
    rng = np.random.default_rng(20261121)
    replicates, covered, landed, naive, centre, later = 2000, 0, 0, [], [], []
    for _ in range(replicates):
        lives, spells = lives_with_joining(rng, 600)
        data = ChurnData.from_subscriptions(lives, as_of="2022-12-31").time_varying(spells)
        found = compare_members(data, landmark=60)
        covered += found.ratio.low <= 1 <= found.ratio.high
        landed += found.at_landmark.low <= 1 <= found.at_landmark.high
        naive.append(np.log(found.naive.value))
        centre.append(np.log(found.ratio.value))
        later.append(np.log(found.at_landmark.value))
    biased = np.exp(np.mean(naive))
    assert biased < 0.4
    assert covers(covered, replicates)
    assert covers(landed, replicates)
    for logs in (centre, later):
        assert abs(np.mean(logs)) < 3 * np.std(logs) / np.sqrt(replicates)
    for name, logs, count in (
        ("immortal time: hazard ratio of members, split at joining", centre, covered),
        ("immortal time: hazard ratio of members, landmark day 60", later, landed),
    ):
        mean = np.exp(np.mean(logs))
        measured(name, truth=1, naive=biased, mean=mean, covered=count, replicates=replicates)


def buyers(rng, n, *, until):
    """Buy every 20 days or so while interested, from a random first day on, up to ``until``."""
    first, interest = rng.integers(0, 300, n), rng.exponential(200, n)
    count = rng.poisson(interest / 20)
    customer = np.concatenate([np.arange(n), np.repeat(np.arange(n), count)])
    later = np.floor(rng.uniform(0, np.repeat(interest, count))).astype(int)
    day = np.concatenate([first, np.repeat(first, count) + later])
    bought = np.unique(np.column_stack([customer, day]), axis=0)
    return bought[bought[:, 1] <= until]


def gaps(bought, window, end):
    """Return duration to the first long silence and whether it is seen by ``end``, with no cut-off."""
    frame = pd.DataFrame(bought, columns=["customer", "day"])
    ahead = frame.groupby("customer")["day"].shift(-1).fillna(end)
    frame["long"] = ahead - frame["day"] > window
    first = frame.groupby("customer")["day"].min()
    start = frame[frame["long"]].groupby("customer")["day"].min().reindex(first.index)
    gone = start.notna()
    duration = np.where(gone, start - first + 1, end - first)
    return duration, gone.to_numpy()


def test_inactivity_window(covers, measured):
    window, end, at, n, replicates = 90, 420, 240, 400, 2000
    rng = np.random.default_rng(7)
    # nobody is followed here: everyone's record is long enough to see every silence
    whole = buyers(rng, 100_000, until=10_000)
    duration, gone = gaps(whole, window, 20_000)
    assert gone.all()
    truth = float((duration > at).mean())
    covered, naive, ours = 0, [], []
    begin = pd.Timestamp("2022-01-01")
    for _ in range(replicates):
        bought = buyers(rng, n, until=end)
        lines = pd.DataFrame(
            {
                "customer_id": bought[:, 0],
                "transacted_date": begin + pd.to_timedelta(bought[:, 1], unit="D"),
                "amount": 1.0,
            }
        )
        data = ChurnData.from_transactions(
            lines, inactivity_days=window, as_of=(begin + pd.Timedelta(days=end)).date()
        )
        row = KaplanMeier().fit(data).survival_at([at]).iloc[0]
        covered += row["low"] <= truth <= row["high"]
        ours.append(row["estimate"])
        late_duration, late_gone = gaps(bought, window, end)
        seen = late_duration > 0
        naive.append(float(survival_at(kaplan_meier(late_duration[seen], late_gone[seen]), [at])[0]))
    assert np.mean(naive) - truth > 0.1
    assert abs(np.mean(ours) - truth) < 3 * np.std(ours) / np.sqrt(replicates) + 0.003
    assert covers(covered, replicates)
    measured(
        "inactivity window: share still buying on day 240",
        truth=truth,
        naive=np.mean(naive),
        mean=np.mean(ours),
        covered=covered,
        replicates=replicates,
    )


def test_left_truncation(covers, measured):
    """Lives that began before the record: late entry repairs the curve, ignoring it does not."""
    rng = np.random.default_rng(11)
    replicates, n, at, covered, naive, ours = 2000, 500, 365, 0, [], []
    truth = float(np.exp(-((at / 400) ** 0.7)))
    for _ in range(replicates):
        born = rng.uniform(-1500, 300, 6 * n)
        life = 400 * rng.weibull(0.7, 6 * n)
        seen = np.flatnonzero(born + life > 0)[:n]
        entry = np.maximum(0, -born[seen])
        stop = np.minimum(life[seen], 500 - born[seen])
        frame = pd.DataFrame({"entry": entry, "duration": stop, "event": (life[seen] <= stop).astype(int)})
        late = ChurnData.from_durations(frame, entry="entry")
        row = KaplanMeier().fit(late).survival_at([at]).iloc[0]
        covered += row["low"] <= truth <= row["high"]
        ours.append(row["estimate"])
        plain = ChurnData.from_durations(frame.drop(columns="entry"))
        naive.append(KaplanMeier().fit(plain).survival_at([at])["estimate"].iloc[0])
    assert np.mean(naive) - truth > 0.1
    assert covers(covered, replicates)
    measured(
        "left truncation: share still there on day 365",
        truth=truth,
        naive=np.mean(naive),
        mean=np.mean(ours),
        covered=covered,
        replicates=replicates,
    )


def test_robust_errors_cover_when_customers_share_stores():
    rng = np.random.default_rng(13)
    replicates, plain, robust = 500, 0, 0
    for _ in range(replicates):
        store = np.repeat(np.arange(60), 12)
        x = np.repeat(rng.integers(0, 2, 60), 12)
        frailty = np.repeat(rng.gamma(2.0, 0.5, 60), 12)
        time = rng.exponential(50 / frailty)
        frame = pd.DataFrame(
            {"x": x, "store": store, "duration": np.minimum(time, 80), "event": (time < 80).astype(int)}
        )
        data = ChurnData.from_durations(frame)
        for clustered in (False, True):
            model = CoxPH(cluster="store" if clustered else None).fit(data, covariates=["x"])
            low, high = model.limits_.loc["x", ["low", "high"]]
            if clustered:
                robust += low <= 0 <= high
            else:
                plain += low <= 0 <= high
    # the naive error rejects a true null far too often; the robust one is close, as 60 clusters allow
    assert plain / replicates < 0.80
    assert robust / replicates >= 0.91
