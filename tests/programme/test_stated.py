"""Stated and revealed purchases: windows by hand, the day of joining left out, refusals, coverage."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme import stated_and_revealed
from loyalty_research.stats.proportions import difference_in_proportions

JOINED = pd.Timestamp("2024-06-01")


def asked(says):
    return pd.DataFrame(
        {
            "customer_id": [f"c{i}" for i in range(len(says))],
            "answered_at": pd.Timestamp("2024-12-01"),
            "instrument": "buy_more_often",
            "value": says,
        }
    )


def members(n, day=JOINED):
    return pd.DataFrame({"customer_id": [f"c{i}" for i in range(n)], "valid_from": day})


def orders(before, after, on_the_day=0):
    rows = [("old", -600)]
    for i, (b, a) in enumerate(zip(before, after, strict=True)):
        rows += [(f"c{i}", -1 - k) for k in range(int(b))] + [(f"c{i}", 1 + k) for k in range(int(a))]
        rows += [(f"c{i}", 0)] * on_the_day
    frame = pd.DataFrame(rows, columns=["customer_id", "day"])
    frame["transacted_at"] = JOINED + pd.to_timedelta(frame.pop("day"), "D")
    return frame.assign(amount=10.0)


def measured(says, before, after, **options):
    lines = orders(before, after, options.pop("on_the_day", 0))
    given = {"cut": 1, "window": 90, "as_of": "2024-12-31"} | options
    return stated_and_revealed(asked(says), lines, members(len(says)), **given)


SAYS = [1] * 12 + [0] * 8
BEFORE = [1] * 20
AFTER = [3] * 6 + [1] * 6 + [2] * 2 + [0] * 6


def test_shares_and_the_gap_by_hand():
    found = measured(SAYS, BEFORE, AFTER)
    assert (found.stated.value, found.seen.value) == (0.6, 0.4)
    assert found.gap.value == pytest.approx(0.2)
    assert (found.of_sayers.value, found.of_others.value) == (0.5, 0.25)
    peer = difference_in_proportions(6, 12, 2, 8)
    assert (found.difference.low, found.difference.high) == (peer.low, peer.high)
    assert found.change.value == pytest.approx(1.0)
    assert "30.0% bought on fewer days" in found.checks[0].detail
    assert "neither figure is what joining did" in found.verdict()


def test_the_day_of_joining_belongs_to_neither_window():
    once = measured(SAYS, BEFORE, AFTER)
    assert measured(SAYS, BEFORE, AFTER, on_the_day=1).to_dict() == once.to_dict()
    longer = orders([0] * 20, [0] * 20)
    edge = pd.DataFrame({"customer_id": ["c0", "c1"], "amount": 1.0})
    edge["transacted_at"] = [JOINED + pd.Timedelta(days=90), JOINED + pd.Timedelta(days=91)]
    found = stated_and_revealed(
        asked(SAYS), pd.concat([longer, edge]), members(20), cut=1, window=90, as_of="2024-12-31"
    )
    assert found.seen.value == pytest.approx(1 / 20)


def test_claims_are_held_against_what_is_seen():
    assert "Seen to buy on more days are fewer here" in measured(SAYS, BEFORE, AFTER).claim_verdict()
    assert "lies within" in measured(SAYS, BEFORE, AFTER).claim_verdict(0.4)
    assert "More than the published" in measured([1] * 20, BEFORE, [3] * 20).claim_verdict()
    with pytest.raises(ArgumentError, match="fraction"):
        measured(SAYS, BEFORE, AFTER).claim_verdict(78)


def test_who_cannot_be_followed_is_left_out_and_small_groups_are_hidden():
    late = members(20).assign(valid_from=[JOINED] * 10 + [pd.Timestamp("2024-12-01")] * 10)
    lines = orders(BEFORE, AFTER)
    found = stated_and_revealed(asked(SAYS), lines, late, cut=1, window=90, as_of="2024-12-31")
    assert (found.stated.n, found.left_out) == (10, 10)
    assert found.of_others is None
    assert found.difference is None
    with pytest.raises(DesignError, match="fewer than 5 members"):
        stated_and_revealed(asked(SAYS), lines, late, cut=1, window=300, as_of="2024-12-31")
    with pytest.raises(DesignError, match="nobody answered the instrument other"):
        measured(SAYS, BEFORE, AFTER, instrument="other")
    with pytest.raises(ContractError, match="lacks the column valid_from"):
        stated_and_revealed(
            asked(SAYS), lines, members(20).drop(columns="valid_from"), cut=1, as_of="2024-12-31"
        )
    with pytest.raises(ArgumentError, match="cut must be"):
        measured(SAYS, BEFORE, AFTER, cut=float("nan"))


def simulated(replicates, seed=7, n=150):
    """Two in three say so; purchases go up and down by chance, more often up for those who say so."""
    rng = np.random.default_rng(seed)
    up = {True: 0.5, False: 0.3}
    seen = 2 / 3 * up[True] + 1 / 3 * up[False]
    truth = {"stated": 2 / 3, "seen": seen, "gap": 2 / 3 - seen, "difference": 0.2, "change": 0.5 * 2 - 0.5}
    held = dict.fromkeys(truth, 0)
    for _ in range(replicates):
        says = rng.random(n) < 2 / 3
        more = rng.random(n) < np.where(says, up[True], up[False])
        found = measured(says.astype(int), np.ones(n), np.where(more, 3, 0))
        for key, value in truth.items():
            estimate = getattr(found, key)
            held[key] += estimate.low <= value <= estimate.high
    return {key: count / replicates for key, count in held.items()}


def test_intervals_cover_the_truth():
    held = simulated(25)
    assert min(held.values()) > 0.8, held


@pytest.mark.slow
def test_intervals_cover_the_truth_at_length(published):
    held = simulated(2000)
    published({f"stated against revealed purchases: {key}": share for key, share in held.items()}, 2000)
    assert all(abs(share - 0.95) < 0.02 for share in held.values()), held
