"""Emotional and functional loyalty: four kinds by hand, edges, hiding, follow-up, joint coverage."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme import emotional_and_functional_loyalty
from loyalty_research.programme.emotional import KINDS
from loyalty_research.stats.proportions import difference_in_proportions, wilson_interval

ON = pd.Timestamp("2024-06-30")
ROOT = pd.DataFrame({"customer_id": ["old"], "transacted_at": [pd.Timestamp("2020-01-01")], "amount": [1.0]})


def rows(people, day, amount=10.0):
    return pd.DataFrame({"customer_id": people, "transacted_at": pd.Timestamp(day), "amount": amount})


def answers(values, instrument="nps", **columns):
    who = [f"c{i}" for i in range(len(values))]
    frame = {"customer_id": who, "answered_at": ON, "instrument": instrument, "value": values}
    return pd.DataFrame(frame | columns)


def world(counts, back=(0, 0, 0, 0)):
    """Return answers and purchases for so many customers of each kind, some of whom come back."""
    values, bought, later, i = [], [], [], 0
    for (attitude, behaviour), count, again in zip(
        [(9, True), (9, False), (8, True), (8, False)], counts, back, strict=True
    ):
        for j in range(count):
            values.append(attitude)
            bought += [f"c{i}"] * behaviour
            later += [f"c{i}"] * int(j < again)
            i += 1
    return answers(values), pd.concat([ROOT, rows(bought, "2024-06-30"), rows(later, "2024-07-01", 25.0)])


def placed(surveys, orders, **options):
    given = {"on": "2024-06-30", "attitude_cut": 9, "behaviour_cut": 1, "before": 90, "after": 60}
    return emotional_and_functional_loyalty(surveys, orders, **(given | {"as_of": "2024-12-31"} | options))


def test_the_four_kinds_and_what_becomes_of_them():
    found = placed(*world((40, 20, 30, 10), (30, 8, 12, 1)), currency="EUR")
    assert found.counts["customers"].tolist() == [40, 20, 30, 10]
    assert [found.shares[k].value for k in KINDS] == pytest.approx([0.4, 0.2, 0.3, 0.1])
    assert [found.retention[k].value for k in KINDS] == pytest.approx([30 / 40, 8 / 20, 12 / 30, 1 / 10])
    assert found.spend["loyalty"].value == pytest.approx(25 * 30 / 40)
    half = stats.t.isf(0.025, 39) * np.std([25.0] * 30 + [0.0] * 10, ddof=1) / np.sqrt(40)
    assert found.spend["loyalty"].high == pytest.approx(25 * 30 / 40 + half)
    peer = difference_in_proportions(30, 40, 12, 30)
    assert (found.emotional_gain.low, found.emotional_gain.high) == (peer.low, peer.high)
    assert found.odds.value == pytest.approx((40 * 10) / (20 * 30))
    assert found.association.p_value == pytest.approx(
        stats.chi2_contingency([[40, 20], [30, 10]], correction=False).pvalue
    )
    assert "need not come from it" in found.verdict()


def test_the_shares_have_simultaneous_limits():
    found = placed(*world((40, 20, 30, 10)))
    low, high = wilson_interval([40, 20, 30, 10], 100, level=1 - 0.05 / 4)
    assert [found.shares[k].low for k in KINDS] == pytest.approx(low.tolist())
    assert [found.shares[k].high for k in KINDS] == pytest.approx(high.tolist())


def test_a_value_on_an_edge_belongs_above_it():
    surveys, orders = world((10, 10, 10, 10))
    higher = placed(surveys, orders, attitude_cut=9.01)
    assert higher.counts["customers"].tolist() == [0, 0, 20, 20]
    assert higher.association is None
    twice = placed(surveys, orders, behaviour_cut=2)
    assert twice.counts["customers"].tolist() == [0, 20, 0, 20]
    money = placed(surveys, orders, behaviour="revenue", behaviour_cut=10)
    assert money.counts["customers"].tolist() == [10, 10, 10, 10]


def test_what_comes_after_the_day_makes_no_kind():
    surveys, orders = world((10, 10, 10, 10), (5, 5, 5, 5))
    changed = pd.concat([surveys, surveys.assign(answered_at=ON + pd.Timedelta(days=1), value=0)])
    assert placed(changed, orders).counts.equals(placed(surveys, orders).counts)
    earlier = pd.concat([surveys, surveys.assign(answered_at=ON - pd.Timedelta(days=5), value=0)])
    assert placed(earlier, orders).counts.equals(placed(surveys, orders).counts)
    short = placed(surveys, orders, as_of="2024-07-31")
    assert short.retention == {}
    assert short.emotional_gain is None
    assert "not measurable yet" in short.checks[1].detail


def test_small_kinds_are_hidden_with_what_reveals_them():
    found = placed(*world((40, 3, 30, 20), (20, 2, 10, 10)))
    assert found.counts["customers"].isna().sum() == 4
    assert all(np.isnan(found.shares[k].value) for k in KINDS)
    assert found.retention == {}
    assert "Too few" in found.verdict()


def test_share_of_wallet_as_behaviour():
    surveys, orders = world((10, 10, 10, 10))
    wallet = answers([80] * 10 + [20] * 10 + [80] * 10, "share_of_wallet", scale_min=0, scale_max=100)
    found = placed(
        pd.concat([surveys.assign(scale_min=0, scale_max=10), wallet]),
        orders,
        behaviour="share of wallet",
        behaviour_cut=0.5,
    )
    assert found.counts["customers"].tolist() == [10, 10, 10, 0]
    assert "10 customers answered on the attitude" in found.checks[-1].detail
    with pytest.raises(ContractError, match="does not say the scale"):
        placed(
            pd.concat([surveys, wallet.drop(columns=["scale_min", "scale_max"])]),
            orders,
            behaviour="share of wallet",
        )


def test_wrong_tables_and_options_are_refused():
    surveys, orders = world((10, 10, 10, 10))
    with pytest.raises(DesignError, match="transactions begin on 2024-06-30, within the 90 days"):
        placed(surveys, orders.iloc[1:])
    with pytest.raises(DesignError, match="nobody answered the instrument csat"):
        placed(surveys, orders, instrument="csat")
    mixed = surveys.assign(scale_min=0, scale_max=[10] * 39 + [7])
    with pytest.raises(
        ContractError, match=r"different scales, which are never pooled: 1 row \(at position 39\)"
    ):
        placed(mixed, orders)
    with pytest.raises(ContractError, match=r"lies off the scale 0 to 8 at 20 rows"):
        placed(surveys.assign(scale_min=0, scale_max=8), orders)
    with pytest.raises(ContractError, match="several items of nps"):
        placed(surveys.assign(item=["a", "b"] * 20), orders)
    assert placed(surveys.assign(item=["a", "b"] * 20), orders, item="A").shares["loyalty"].n == 20
    with pytest.raises(ArgumentError, match="behaviour must be one of"):
        placed(surveys, orders, behaviour="visits")
    with pytest.raises(ArgumentError, match="attitude_cut must be a finite number"):
        placed(surveys, orders, attitude_cut=float("nan"))


TRUTH = (0.35, 0.15, 0.3, 0.2)
BACK = (0.8, 0.5, 0.6, 0.3)


def simulated(replicates, seed=2, n=200):
    """Return how often all four shares hold together, and how often retention, gain and spend do."""
    rng = np.random.default_rng(seed)
    held = np.zeros(4)
    for _ in range(replicates):
        counts = rng.multinomial(n, TRUTH)
        found = placed(*world(counts, rng.binomial(counts, BACK)))
        held[0] += all(
            found.shares[k].low <= t <= found.shares[k].high for k, t in zip(KINDS, TRUTH, strict=True)
        )
        held[1] += found.retention["no loyalty"].low <= 0.3 <= found.retention["no loyalty"].high
        held[2] += found.emotional_gain.low <= 0.2 <= found.emotional_gain.high
        held[3] += found.spend["loyalty"].low <= 20 <= found.spend["loyalty"].high
    return held / replicates


def test_intervals_cover_the_truth():
    held = simulated(60)
    assert (held > 0.86).all(), held


@pytest.mark.slow
def test_intervals_cover_the_truth_at_length(published):
    held = simulated(2000)
    published(
        zip(
            (
                "attitude and behaviour: the four shares together",
                "attitude and behaviour: retention",
                "attitude and behaviour: gain",
                "attitude and behaviour: spend",
            ),
            held,
            strict=True,
        ),
        2000,
    )
    # together at least as often as stated, since Bonferroni's bound is a little wide
    assert 0.945 < held[0] < 0.975, held
    assert (np.abs(held[1:] - 0.95) < 0.02).all(), held
