"""Several looks, families of metrics, equivalence and quantiles of randomised arms."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from loyalty_research.comparison import (
    Anytime,
    Comparison,
    Looks,
    Mean,
    Proportion,
    Quantile,
    adjust_p_values,
    confidence_sequence,
    group_sequential_bounds,
    parse_metric,
)
from loyalty_research.errors import ArgumentError, ContractError, DesignError

GIVEN = {"design": "randomised", "assignment": "arm", "control": "a", "ratio": (1, 1)}


def arms(n, seed, *, effect=0.0):
    rng = np.random.default_rng(seed)
    arm = np.tile(["a", "b"], n // 2)
    y = rng.gamma(2.0, 5.0, n) + effect * (arm == "b")
    return pd.DataFrame({"arm": arm, "y": y, "z": rng.normal(size=n), "c": rng.integers(0, 2, n)})


@pytest.mark.parametrize("spending", ["obrien-fleming", "pocock", "power"])
def test_a_look_uses_its_bound(spending):
    frame = arms(400, 1, effect=1.0)
    plain = Comparison(Mean("y"), **GIVEN).analyse(frame).estimate()
    looks = Looks((0.3, 0.6, 1.0), look=2, spending=spending)
    found = Comparison(Mean("y"), looks=looks, **GIVEN).analyse(frame)
    e = found.estimate()
    bounds = group_sequential_bounds((0.3, 0.6, 1.0), spending=spending)
    assert looks.alpha(0.05) == pytest.approx(bounds.nominal_p[1], rel=1e-9)
    wide = Comparison(Mean("y"), level=1 - bounds.nominal_p[1], **GIVEN).analyse(frame).estimate()
    assert (e.low, e.high) == pytest.approx((wide.low, wide.high), rel=1e-9)
    assert e.level == 0.95
    assert e.method == "Welch t, Lan-DeMets look 2 of 3"
    assert e.p_value > plain.p_value
    # the p-value of a look leaves nothing to argue: it is small where the interval leaves zero out
    assert (e.p_value < 0.05) == (not e.low <= 0 <= e.high)
    assert any("look 2 of 3, at 60%" in c.detail for c in found.checks)


def test_the_p_value_of_a_look_inverts_its_bound():
    looks = Looks(4, look=3)
    for alpha in (0.001, 0.05, 0.3):
        assert looks.p_value(looks.alpha(alpha)) == pytest.approx(alpha, rel=1e-6)
    assert Looks(1, look=1).p_value(0.031) == pytest.approx(0.031, rel=1e-6)
    assert looks.p_value(1.0) == 1.0


def test_plain_proportions_and_quantiles_take_looks_too():
    frame = arms(2000, 2)
    looks = Looks(2, look=1)
    found = Comparison([Proportion("c"), Quantile("y")], looks=looks, **GIVEN).analyse(frame)
    alone = Comparison([Proportion("c"), Quantile("y")], **GIVEN).analyse(frame)
    for metric in ("c", "y, quantile 0.5"):
        one, two = found.estimate(metric=metric), alone.estimate(metric=metric)
        assert one.high - one.low > two.high - two.low


def test_a_confidence_sequence_is_that_of_the_difference():
    frame = arms(1000, 3, effect=2.0)
    found = Comparison(Mean("y"), looks=Anytime(2000), **GIVEN).analyse(frame)
    e = found.estimate()
    plain = Comparison(Mean("y"), **GIVEN).analyse(frame).estimate()
    one, zero = frame.loc[frame["arm"] == "b", "y"], frame.loc[frame["arm"] == "a", "y"]
    error = np.sqrt(one.var() / 500 + zero.var() / 500)
    expected = confidence_sequence(plain.value, standard_error=error, n=1000, optimal_n=2000)
    assert (e.low, e.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert e.method == "Welch t, asymptotic confidence sequence"
    # the p-value is the error at which the interval would just touch zero
    at = confidence_sequence(plain.value, standard_error=error, n=1000, optimal_n=2000, level=0.95)
    half = (at.high - at.low) / 2
    edge = Anytime(2000).p_value(half, error, 1000, 0.95)
    assert edge == pytest.approx(0.05, rel=1e-9)


def test_families_are_adjusted_apart():
    rng = np.random.default_rng(0)
    frame = arms(600, 4).assign(**{f"m{i}": rng.normal(size=600) + 0.02 * i for i in range(5)})
    metrics = [
        Mean("m0"),
        Mean("m1"),
        Mean("m2", role="secondary", family="exploring"),
        Mean("m3", role="secondary", family="exploring"),
        Mean("m4", role="secondary"),
    ]
    for method in ("holm", "hochberg", "benjamini-hochberg", "bonferroni"):
        frame_of = Comparison(metrics, adjust=method, **GIVEN).analyse(frame).to_frame()
        p = frame_of["p_value"].to_numpy()
        np.testing.assert_allclose(frame_of["p_adjusted"][:2], adjust_p_values(p[:2], method=method))
        np.testing.assert_allclose(frame_of["p_adjusted"][2:4], adjust_p_values(p[2:4], method=method))
        assert np.isnan(frame_of["p_adjusted"][4])
    with pytest.raises(ArgumentError, match="adjust is one of holm"):
        Comparison(Mean("y"), adjust="fdr", **GIVEN)


def test_equivalence_is_two_one_sided_tests():
    frame = arms(2000, 5)
    metric = Mean("y", margin=1.0, equivalence=True)
    found = Comparison(metric, **GIVEN).analyse(frame)
    one, zero = frame.loc[frame["arm"] == "b", "y"], frame.loc[frame["arm"] == "a", "y"]
    low = stats.ttest_ind(one + 1.0, zero, equal_var=False, alternative="greater").pvalue
    high = stats.ttest_ind(one - 1.0, zero, equal_var=False, alternative="less").pvalue
    assert found.to_frame().loc[0, "equivalent"] == (max(low, high) < 0.05)
    assert "differs from control by less than the tolerated 1.00 either way (90% interval" in found.verdict()
    tight = Comparison(Mean("y", margin=0.01, equivalence=True), **GIVEN).analyse(frame)
    assert not tight.to_frame().loc[0, "equivalent"]
    with pytest.raises(ArgumentError, match="needs margin="):
        Mean("y", equivalence=True)


def test_quantiles_agree_with_the_bootstrap_that_draws():
    frame = arms(1000, 6, effect=1.5)
    found = Comparison(Quantile("y", q=0.75), seed=3, **GIVEN).analyse(frame)
    e = found.estimate()
    one, zero = (frame.loc[frame["arm"] == a, "y"].to_numpy() for a in "ba")
    assert e.value == pytest.approx(np.quantile(one, 0.75) - np.quantile(zero, 0.75))
    rng = np.random.default_rng(9)
    drawn = [
        np.quantile(rng.choice(one, 500), 0.75) - np.quantile(rng.choice(zero, 500), 0.75)
        for _ in range(4000)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert e.low == pytest.approx(low, abs=0.15)
    assert e.high == pytest.approx(high, abs=0.15)
    again = Comparison(Quantile("y", q=0.75), seed=3, **GIVEN).analyse(frame.sample(frac=1, random_state=1))
    assert again.estimate() == e
    assert parse_metric("quantile:y, q=0.75").label == Quantile("y", q=0.75).label


def test_missing_outcomes_of_a_quantile_are_left_out_and_counted():
    frame = arms(1000, 7)
    frame.loc[::10, "y"] = np.nan
    found = Comparison(Quantile("y", name="median"), **GIVEN).analyse(frame)
    kept = Comparison(Quantile("y", name="median"), **GIVEN).analyse(frame.dropna())
    assert found.estimate() == kept.estimate()
    assert found.dropped["units without median"] == 100


@pytest.mark.parametrize(
    ("made", "error", "said"),
    [
        (lambda: Quantile("y", q=1.0), ArgumentError, "q is a fraction"),
        (lambda: Quantile("y", cap=0.9), ArgumentError, "no cap and no covariates"),
        (
            lambda: Comparison(
                Quantile("y"), design="observational", assignment="arm", control="a", covariates=["z"]
            ),
            DesignError,
            "quantiles are compared under",
        ),
        (
            lambda: Comparison(
                Mean("y"),
                looks=Looks(2, look=1),
                design="observational",
                assignment="arm",
                control="a",
                covariates=["z"],
            ),
            DesignError,
            "looks= belongs",
        ),
        (lambda: Looks(3, look=4), ArgumentError, "look is one of 1 to 3"),
        (lambda: Anytime(0), ArgumentError, "narrowest_at is a positive"),
        (lambda: parse_metric("mean:y, q=0.5"), ArgumentError, "unknown option 'q'"),
        (lambda: parse_metric("mean:y, margin=1, equivalence=maybe"), ArgumentError, "true or false"),
        (
            lambda: Comparison(Quantile("y"), cluster="c", **GIVEN).analyse(
                arms(100, 0).assign(c=range(100))
            ),
            DesignError,
            "quantiles take no strata",
        ),
        (
            lambda: Comparison(Quantile("y"), **GIVEN).analyse(arms(100, 0).assign(y=np.inf)),
            ContractError,
            "infinite",
        ),
    ],
)
def test_what_cannot_be_is_refused(made, error, said):
    with pytest.raises(error, match=said):
        made()


@pytest.mark.slow
def test_looking_five_times_keeps_the_error(measured, at_least):
    """2,000 experiments without effect, looked at five times by every rule."""
    replicates, size = 2000, 400
    shares = (0.2, 0.4, 0.6, 0.8, 1.0)
    nominal = {
        rule: [Looks(shares, look=k + 1, spending=rule).alpha(0.05) for k in range(5)]
        for rule in ("obrien-fleming", "pocock")
    }
    rejected = dict.fromkeys(("fixed", "obrien-fleming", "pocock", "anytime"), 0)
    for seed in range(replicates):
        rng = np.random.default_rng(seed)
        y = rng.gamma(2.0, 5.0, (size, 2))
        crossed = dict.fromkeys(rejected, False)
        for k, share in enumerate(shares):
            n = int(share * size)
            d = y[:n, 0].mean() - y[:n, 1].mean()
            error = np.sqrt(y[:n].var(axis=0, ddof=1).sum() / n)
            p = 2 * stats.norm.sf(abs(d) / error)
            crossed["fixed"] |= p < 0.05
            for rule in ("obrien-fleming", "pocock"):
                crossed[rule] |= p < nominal[rule][k]
            crossed["anytime"] |= abs(d) > Anytime(size).half_width(error, 2 * n, 0.95)
        for rule, yes in crossed.items():
            rejected[rule] += yes
    assert rejected["fixed"] / replicates > 0.1
    named = {
        "obrien-fleming": "five looks: Lan-DeMets, O'Brien-Fleming",
        "pocock": "five looks: Lan-DeMets, Pocock",
        "anytime": "five looks: confidence sequence",
    }
    for rule, name in named.items():
        assert at_least(replicates - rejected[rule], replicates), rule
        measured(name, replicates - rejected[rule], replicates, aim="at least 95%")
    measured("five looks: a fixed 95% interval, not offered", replicates - rejected["fixed"], replicates)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "q"), [(200, 0.5), (1000, 0.9)])
def test_coverage_of_quantile_differences(measured, n, q):
    """2,000 replicates of skewed outcomes, the second arm shifted by one."""
    replicates, held = 2000, 0
    for seed in range(replicates):
        e = Comparison(Quantile("y", q=q), **GIVEN).analyse(arms(n, seed, effect=1.0)).estimate()
        held += e.low <= 1.0 <= e.high
    assert abs(held / replicates - 0.95) < 0.02
    measured(f"difference of {q:.0%} quantiles, {n} units", held, replicates)
