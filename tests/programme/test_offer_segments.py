import numpy as np
import pandas as pd
import pytest
from scipy import stats

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme.offer_segments import offer_by_segment

OPTIONS = {"treated": "in", "control": "out", "segment": "group", "outcome": "gain"}


def world(rng, n=1200, effects=(4.0, 1.0, -3.0)):
    group = rng.integers(0, len(effects), n)
    arm = rng.permutation(np.arange(n) % 2 == 0)
    gain = rng.gamma(2, 4, n) + np.array(effects)[group] * arm
    labels = np.array(["a", "b", "c", "d", "e", "f"])[group]
    return pd.DataFrame({"arm": np.where(arm, "in", "out"), "group": labels, "gain": gain})


def test_each_segment_is_scipys_welch_of_its_own_customers():
    units = world(np.random.default_rng(1))
    found = offer_by_segment(units, **OPTIONS)
    part = units[units["group"] == "c"]
    sides = [part.loc[part["arm"] == a, "gain"] for a in ("in", "out")]
    peer = stats.ttest_ind(*sides, equal_var=False)
    assert found.lifts["c"].p_value == pytest.approx(peer.pvalue)
    assert found.adjusted["c"] >= found.lifts["c"].p_value
    assert found.chosen == ("a", "b")
    assert found.differ < 1e-6
    assert "brings" in found.verdict()
    assert found.gain.low < 1.0 < found.gain.high  # a third of customers at 3 each


def test_a_cost_is_taken_off_where_it_is_paid():
    units = world(np.random.default_rng(2))
    plain, dear = offer_by_segment(units, **OPTIONS), offer_by_segment(units, cost=2.0, **OPTIONS)
    assert dear.lifts["a"].value == pytest.approx(plain.lifts["a"].value - 2.0)
    assert dear.chosen == ("a",)


def test_what_was_known_before_narrows_every_interval():
    rng = np.random.default_rng(11)
    units = world(rng)
    known = units.assign(before=rng.gamma(2, 8, len(units)))
    known["gain"] += 0.8 * known["before"]
    wide = offer_by_segment(known, **OPTIONS)
    narrow = offer_by_segment(known, covariates=["before"], **OPTIONS)
    for name, truth in (("a", 4.0), ("b", 1.0), ("c", -3.0)):
        assert narrow.lifts[name].low < truth < narrow.lifts[name].high
        assert narrow.lifts[name].high - narrow.lifts[name].low < 0.9 * (
            wide.lifts[name].high - wide.lifts[name].low
        )
    assert narrow.gain.high - narrow.gain.low < wide.gain.high - wide.gain.low
    # the covariate's unit and origin do not matter
    moved = offer_by_segment(known.assign(before=7 - 3 * known["before"]), covariates=["before"], **OPTIONS)
    assert moved.gain.value == pytest.approx(narrow.gain.value)


def test_an_offer_that_pays_everywhere_leaves_nothing_to_choose():
    units = world(np.random.default_rng(10), 1200, (6.0, 7.0, 8.0))
    found = offer_by_segment(units, **OPTIONS)
    assert found.gain.value == 0.0
    assert np.isnan(found.gain.low)
    assert "paid in every segment" in found.verdict()


def value_coverage(replicates, effects, seed):
    """Where all segments are alike in truth the policy's value follows from the shares alone."""
    rng = np.random.default_rng(seed)
    hits = np.zeros(2)
    for i in range(replicates):
        units = world(rng, 1200, effects)
        found = offer_by_segment(units, seed=i, **OPTIONS)
        share = units["group"].value_counts(normalize=True).sort_index().to_numpy()
        wanted = np.maximum(effects, 0)
        hits += [
            found.policy.low <= share @ wanted <= found.policy.high,
            found.gain.low <= share @ (wanted - effects) <= found.gain.high,
        ]
    return hits / replicates


def test_the_value_of_the_policy_is_covered():
    assert value_coverage(100, np.array([4.0, -4.0, 6.0]), 3) == pytest.approx(
        0.95, abs=3.2 * np.sqrt(0.05 * 0.95 / 100)
    )


@pytest.mark.slow
def test_the_value_of_the_policy_covers(published):
    share = value_coverage(2000, np.array([4.0, -4.0, 6.0]), 4)
    published(
        zip(
            ("offer by segment: value of the policy", "offer by segment: gain over offering to all"),
            share,
            strict=True,
        ),
        2000,
    )
    assert share == pytest.approx(0.95, abs=3.2 * np.sqrt(0.05 * 0.95 / 2000))


def test_luck_is_not_sold_as_a_policy():
    # no segment differs in truth: picking winners on the same data would promise a gain every time
    rng = np.random.default_rng(5)
    gains, naive, alarms = [], [], 0
    for i in range(60):
        units = world(rng, 600, (0.0,) * 6)
        found = offer_by_segment(units, seed=i, **OPTIONS)
        share = units["group"].value_counts(normalize=True)
        naive.append(sum(share[g] * max(e.value, 0) for g, e in found.lifts.items()))
        gains.append(found.policy.value)
        alarms += found.differ < 0.05
    assert np.mean(naive) > 0.3
    assert abs(np.mean(gains)) < 3 * np.std(gains) / np.sqrt(60)
    assert alarms / 60 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)


def test_the_same_seed_gives_the_same_halves():
    units = world(np.random.default_rng(6))
    assert offer_by_segment(units, seed=3, **OPTIONS).gain == offer_by_segment(units, seed=3, **OPTIONS).gain


def test_bad_tables_are_refused():
    units = world(np.random.default_rng(7), 200)
    with pytest.raises(DesignError, match="one segment only"):
        offer_by_segment(units.assign(group="a"), **OPTIONS)
    with pytest.raises(DesignError, match="fewer than 20"):
        offer_by_segment(units.head(100), **OPTIONS)
    with pytest.raises(ContractError, match="lacks the column group"):
        offer_by_segment(units.drop(columns="group"), **OPTIONS)
    with pytest.raises(ContractError, match="group is null"):
        offer_by_segment(units.assign(group=None), **OPTIONS)
    with pytest.raises(ContractError, match="missing or no number"):
        offer_by_segment(units.assign(gain=np.nan), **OPTIONS)
    with pytest.raises(ContractError, match="age is missing"):
        offer_by_segment(units.assign(age=np.nan), covariates=["age"], **OPTIONS)
    with pytest.raises(ArgumentError, match="list of columns"):
        offer_by_segment(units, covariates="gain", **OPTIONS)
    assert "No verdict" in offer_by_segment(world(np.random.default_rng(8)), ratio=4.0, **OPTIONS).verdict()
