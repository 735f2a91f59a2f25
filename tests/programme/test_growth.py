"""Organic growth: parts that add up, channels declared, and coverage where growth is known."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme import organic_growth
from loyalty_research.programme.growth import revenue_growth

DAYS = {0: "2024-01-15", 1: "2024-02-15", 2: "2024-03-15"}  # one in each window of 30 days to 30 March


def shopping(rows):
    """Return purchases of (customer, window, amount), after one on the first of January."""
    frame = pd.DataFrame([("first", 0, 1.0), *rows], columns=["customer_id", "window", "amount"])
    day = pd.to_datetime(frame.pop("window").map(DAYS))
    day.iloc[0] = pd.Timestamp("2024-01-01")
    return frame.assign(transacted_date=day)


def people(**channels):
    """Return customers by channel: name = number of them, called by the first letter and a number."""
    rows = [(f"{name[0]}{i}", name) for name, number in channels.items() for i in range(number)]
    return pd.DataFrame(rows, columns=["customer_id", "acquisition_channel"])


def measured(rows, table, **options):
    options = {"organic_channels": ["friend"], "window": 30, "as_of": "2024-03-30"} | options
    return organic_growth(shopping(rows), table, **options)


ROWS = [
    *((f"f{i}", 1, 10.0) for i in range(10)),
    *((f"f{i}", 2, 15.0 + i % 2) for i in range(10)),
    *((f"a{i}", w, 10.0 + w + i % 3) for i in range(20) for w in (1, 2)),
    *((f"x{i}", w, 4.0) for i in range(6) for w in (1, 2)),
]


def test_growth_by_hand_and_parts_that_add_up():
    found = measured(ROWS, people(friend=10, advert=20))
    assert found.revenue["organic"].value == pytest.approx(155 / 100 - 1)
    whole = [sum(a for _, w, a in ROWS if w == window) for window in (1, 2)]
    assert found.revenue["all"].value == pytest.approx(whole[1] / whole[0] - 1)
    assert found.contribution["organic"].value == pytest.approx(55 / whole[0])
    parts = sum(found.contribution[name].value for name in ("organic", "paid", "unknown"))
    assert parts == pytest.approx(found.contribution["all"].value) == found.revenue["all"].value
    assert found.customers == {"organic": 10, "paid": 20, "unknown": 6}
    check = next(c for c in found.checks if c.name == "Channel is known")
    assert check.status == "warning"


def test_new_customers_are_those_acquired_or_first_seen_in_a_window():
    rows = [(f"f{i}", 1 + (i >= 10), 10.0) for i in range(25)] + [(f"f{i}", 2, 10.0) for i in range(10)]
    seen = measured(
        [*rows, *((f"a{i}", w, 1.0) for i in range(6) for w in (0, 1, 2))], people(friend=25, advert=6)
    )
    assert seen.new_customers["organic"].value == pytest.approx(15 / 10 - 1)
    assert seen.new_customers["organic"].method == "log, poisson counts"
    assert "paid" not in seen.new_customers  # all of them were there before
    told = people(friend=25, advert=6).assign(acquired_at=pd.Timestamp("2023-05-05"))
    told.loc[:4, "acquired_at"] = pd.Timestamp("2024-02-03 23:00")
    told.loc[5:14, "acquired_at"] = pd.Timestamp("2024-03-03")
    assert measured(rows, told).new_customers["organic"].value == pytest.approx(10 / 5 - 1)
    short = organic_growth(
        shopping(rows), people(friend=25), organic_channels=["friend"], window=44, as_of="2024-03-30"
    )
    assert short.new_customers is None
    assert short.checks[-1].status == "not measurable"


def test_a_handful_of_customers_is_not_told_by_what_is_left():
    rows = [r for r in ROWS if not r[0].startswith("x")] + [
        (f"x{i}", w, 4.0) for i in range(3) for w in (1, 2)
    ]
    found = measured(rows, people(friend=10, advert=20))
    assert list(found.revenue) == ["organic", "paid", "all"]
    assert found.contribution == {}
    assert "Of that they add" not in found.verdict()
    assert any(c.name == "Every source has enough customers" for c in found.checks)
    new = [*rows, *((f"n{i}", 2, 5.0) for i in range(3))]
    channels = pd.concat([people(friend=10, advert=20), people(news=3)]).assign(
        acquired_at=pd.Timestamp("2024-02-10")
    )
    channels.loc[channels["customer_id"].str[0].isin(["n"]), "acquired_at"] = pd.Timestamp("2024-03-10")
    channels.loc[channels["customer_id"].isin([f"f{i}" for i in range(5)]), "acquired_at"] = pd.Timestamp(
        "2024-03-10"
    )
    told = measured(new, channels)
    assert list(told.new_customers) == ["organic"]


def test_the_scale_of_money_changes_nothing():
    once = measured(ROWS, people(friend=10, advert=20))
    dearer = measured([(c, w, 100 * a) for c, w, a in ROWS], people(friend=10, advert=20))
    pair = (once.to_frame()[["estimate", "low", "high"]], dearer.to_frame()[["estimate", "low", "high"]])
    # the single purchase before the windows is not scaled, and counts nowhere
    pd.testing.assert_frame_equal(*pair)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"organic_channels": ["freind"]}, "names freind; the channels of customers are advert, friend"),
        ({"organic_channels": []}, "names no channel"),
        ({"organic_channels": "friend"}, "are lists"),
        ({"paid_channels": ["friend"]}, "declared as both"),
        ({"organic_channels": ["friend"], "paid_channels": []}, "not declared whether advert"),
    ],
)
def test_channels_must_be_declared(options, said):
    with pytest.raises(ArgumentError, match=said):
        measured(ROWS, people(friend=10, advert=20), **options)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(DesignError, match="fewer than 5 customers gained"):
        measured(ROWS, people(friend=4, advert=20))
    with pytest.raises(DesignError, match="needs 200 days"):
        measured(ROWS, people(friend=10, advert=20), window=100)
    with pytest.raises(ContractError, match="lacks the column acquisition_channel"):
        measured(ROWS, people(friend=10)[["customer_id"]])
    with pytest.raises(ContractError, match="repeat a customer_id"):
        measured(ROWS, pd.concat([people(friend=10)] * 2))


def test_the_pull_of_each_customer_adds_up_to_the_variance_of_resampling():
    rng = np.random.default_rng(1)
    before = rng.gamma(1.0, 30.0, 500) * (rng.random(500) < 0.6)
    after = rng.gamma(1.0, 30.0, 500) * (rng.random(500) < 0.7) + 0.3 * before
    growth, moved = revenue_growth(before, after, level=0.95)
    drawn = []
    for _ in range(800):
        pick = rng.integers(0, 500, 500)
        drawn.append(after[pick].sum() / before[pick].sum() - 1)
    assert np.sqrt((moved**2).sum()) == pytest.approx(np.std(drawn), rel=0.1)
    assert growth.low < np.quantile(drawn, 0.1) < np.quantile(drawn, 0.9) < growth.high


def simulated(replicates, seed=2):
    """Return how often revenue growth, its organic part and growth of new customers are held."""
    rng = np.random.default_rng(seed)
    held = np.zeros(3)
    old, new, mean, grow = 150, (60, 90), 40.0, 1.1
    organic = (grow * (old * 0.8 + new[0]) + new[1]) / (old + new[0]) - 1
    for _ in range(replicates):
        count = [rng.poisson(new[0]), rng.poisson(new[1])]
        start, rows, channels = 0, [], []
        for name in ("friend", "advert"):
            for kind, number in enumerate((rng.poisson(old), *count)):
                taste = rng.gamma(1.5, mean / 1.5, number)
                first, second = taste * rng.gamma(3, 1 / 3, number), taste * rng.gamma(3, 1 / 3, number)
                stays = rng.random(number) < 0.8 if kind == 0 else np.ones(number, bool)
                ids = [f"{name[0]}{start + i}" for i in range(number)]
                start += number
                channels += [(c, name) for c in ids]
                if kind == 0:
                    rows += [(c, 0, 5.0) for c in ids]
                if kind < 2:
                    rows += [(c, 1, round(v, 2) + 0.01) for c, v in zip(ids, first, strict=True)]
                    kept = zip(ids, grow * second, stays, strict=True)
                    rows += [(c, 2, round(v, 2) + 0.01) for c, v, yes in kept if yes]
                else:
                    rows += [(c, 2, round(v, 2) + 0.01) for c, v in zip(ids, second, strict=True)]
            count = [rng.poisson(new[0]), rng.poisson(new[1])]
        table = pd.DataFrame(channels, columns=["customer_id", "acquisition_channel"])
        found = measured(rows, table)
        truth = (organic, organic / 2, new[1] / new[0] - 1)
        part = (found.revenue["organic"], found.contribution["organic"], found.new_customers["organic"])
        for j, e in enumerate(part):
            held[j] += e.low <= truth[j] <= e.high
    return held / replicates


def test_intervals_cover_the_truth():
    assert (simulated(60) > 0.86).all()


@pytest.mark.slow
def test_intervals_cover_the_truth_at_length(published):
    share = simulated(2000)
    published(
        zip(
            ("organic growth of revenue", "organic part of growth", "organic growth of new customers"),
            share,
            strict=True,
        ),
        2000,
    )
    assert (np.abs(share - 0.95) < 0.02).all(), share
