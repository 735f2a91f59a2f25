"""Effects by segment, posteriors of differences, and experiments watched while they run."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from loyalty_research.comparison import (
    Comparison,
    Looks,
    Mean,
    Proportion,
    Quantile,
    Ratio,
    effects_by_segment,
    monitor,
    posterior,
)
from loyalty_research.errors import ArgumentError, ContractError, DesignError

GIVEN = {"design": "randomised", "assignment": "arm", "control": "a"}


def units(n, seed, *, effect=0.0, extra=0.0):
    rng = np.random.default_rng(seed)
    arm, region = rng.choice(["a", "b"], n), rng.choice(["e", "n", "s", "w"], n)
    treated = arm == "b"
    pre = rng.normal(10, 3, n)
    y = pre + rng.gamma(2.0, 3.0, n) + effect * treated + extra * (treated & (region == "s"))
    return pd.DataFrame(
        {
            "arm": arm,
            "region": region,
            "pre": pre,
            "y": y,
            "k": rng.poisson(2, n) + 1,
            "c": (rng.random(n) < 0.4).astype(int),
            "day": np.arange(n) * 10 // n,
        }
    )


def test_a_segment_is_analysed_as_its_units_alone():
    frame = units(2000, 1, effect=1.0)
    for metric in (Mean("y", covariates=("pre",)), Ratio("y", "k"), Proportion("c")):
        plan = Comparison(metric, **GIVEN)
        found = effects_by_segment(plan, frame, by="region")
        together = Comparison(metric, **GIVEN, level=0.95**0.25)
        for region, e in found.effects.items():
            alone = together.analyse(frame[frame["region"] == region]).estimate()
            assert (e.value, e.low, e.high) == pytest.approx((alone.value, alone.low, alone.high), rel=1e-9)
        whole = plan.analyse(frame).estimate()
        assert (found.overall.low, found.overall.high) == pytest.approx((whole.low, whole.high), rel=1e-12)


def test_cochrans_q_by_hand():
    frame = units(2000, 2, effect=1.0, extra=4.0)
    found = effects_by_segment(Comparison(Mean("y"), **GIVEN), frame, by="region")
    values, weights = [], []
    for _, part in frame.groupby("region"):
        one, zero = part.loc[part["arm"] == "b", "y"], part.loc[part["arm"] == "a", "y"]
        values.append(one.mean() - zero.mean())
        weights.append(1 / (one.var() / len(one) + zero.var() / len(zero)))
    centre = np.average(values, weights=weights)
    q = np.sum(weights * (np.array(values) - centre) ** 2)
    assert found.heterogeneity == pytest.approx((q, 3, stats.chi2.sf(q, 3)), rel=1e-9)
    assert "in “s”; the extremes are overstated" in found.verdict()
    assert len(found.plot().get_yticks()) == 4
    assert found.to_frame()["segment"].tolist() == ["everybody", "e", "n", "s", "w"]
    assert found.table()["Segment"].tolist() == ["everybody", "e", "n", "s", "w"]
    assert found.table()["p, adjusted"].iloc[0] == "–"


def test_without_heterogeneity_few_tables_claim_any():
    replicates, claimed, covered = 150, 0, 0
    for seed in range(replicates):
        found = effects_by_segment(Comparison(Mean("y"), **GIVEN), units(800, seed, effect=1.0), by="region")
        claimed += found.heterogeneity[2] < 0.05
        covered += all(e.low <= 1.0 <= e.high for e in found.effects.values())
    slack = 3 * np.sqrt(0.05 * 0.95 / replicates)
    assert claimed / replicates < 0.05 + slack
    assert covered / replicates > 0.95 - slack


def test_small_segments_are_left_out_and_counted():
    frame = units(1000, 3)
    frame.loc[:3, "region"] = "isle"
    found = effects_by_segment(Comparison(Mean("y"), **GIVEN), frame, by="region")
    assert "isle" not in found.effects
    assert found.left_out == 1
    assert found.checks[0].status == "warning"
    assert "isle" not in repr(found)


def test_segments_refuse_what_has_no_answer():
    frame, plan = units(500, 0), Comparison(Mean("y"), **GIVEN)
    with pytest.raises(DesignError, match="need design='randomised'"):
        effects_by_segment(
            Comparison(Mean("y"), **{**GIVEN, "design": "observational"}, covariates=["pre"]),
            frame,
            by="region",
        )
    with pytest.raises(ArgumentError, match="known before"):
        effects_by_segment(plan, frame, by="y")
    with pytest.raises(ContractError, match="has no column 'city'"):
        effects_by_segment(plan, frame, by="city")
    with pytest.raises(ArgumentError, match="no such metric"):
        effects_by_segment(plan, frame, by="region", metric="z")
    with pytest.raises(ArgumentError, match="no arm 'z'"):
        effects_by_segment(plan, frame, by="region", arm="z")
    with pytest.raises(DesignError, match="two are needed"):
        effects_by_segment(plan, frame.assign(region="n"), by="region")


def test_a_flat_prior_reads_the_interval_as_a_probability():
    frame = units(4000, 4, effect=0.3)
    plan = Comparison([Mean("y"), Mean("pre", name="cost", direction="down", margin=0.5)], **GIVEN)
    found, analysed = posterior(plan, frame), plan.analyse(frame)
    for belief, row in zip(found.beliefs, analysed.rows, strict=True):
        e = row.estimate
        assert belief.estimate.value == pytest.approx(e.value)
        assert (belief.estimate.low, belief.estimate.high) == pytest.approx((e.low, e.high), abs=2e-3)
    one = found.beliefs[0]
    assert one.better == pytest.approx(1 - analysed.rows[0].estimate.p_value / 2, abs=1e-4)
    # less is better for a cost
    cost = found.beliefs[1]
    assert (cost.better > 0.5) == (cost.estimate.value < 0)
    assert cost.beyond < cost.better


def test_a_prior_shrinks_by_precision():
    frame = units(400, 5, effect=1.0)
    plan = Comparison(Mean("y"), **GIVEN)
    flat, firm = (
        posterior(plan, frame).beliefs[0].estimate,
        posterior(plan, frame, prior_sd=0.5).beliefs[0].estimate,
    )
    variance = ((flat.high - flat.low) / 2 / 1.959963984540054) ** 2
    assert firm.value == pytest.approx(flat.value * 0.25 / (0.25 + variance))
    assert firm.high - firm.low < flat.high - flat.low
    assert posterior(plan, frame, prior_sd={"y": 0.5}).beliefs[0].estimate == firm


def test_counts_have_their_exact_posterior(oracle):
    done = [1] * 28 + [0] * 122 + [1] * 51 + [0] * 99
    frame = pd.DataFrame({"arm": ["a"] * 150 + ["b"] * 150, "done": done})
    for sign, direction in ((1, "up"), (-1, "down")):
        plan = Comparison(Proportion("done", margin=0.05, direction=direction), **GIVEN)
        belief = posterior(plan, frame).beliefs[0]
        # published: Pr(> 0) .9987 with uniform priors
        assert belief.better == pytest.approx(0.9987 if sign > 0 else 0.0013, abs=5e-5)
        assert belief.estimate.method == "beta-binomial, equal-tailed"
    assert "with probability below" not in posterior(Comparison(Proportion("done"), **GIVEN), frame).verdict()


def test_posterior_refuses():
    frame = units(200, 0)
    with pytest.raises(DesignError, match="needs design='randomised'"):
        posterior(Comparison(Mean("y"), design="threshold", assignment="pre", cutoff=10.0), frame)
    with pytest.raises(DesignError, match="quantiles have no posterior"):
        posterior(Comparison(Quantile("y"), **GIVEN), frame)
    with pytest.raises(ArgumentError, match="prior_sd names z"):
        posterior(Comparison(Mean("y"), **GIVEN), frame, prior_sd={"z": 1.0})
    with pytest.raises(ArgumentError, match="must be positive"):
        posterior(Comparison(Mean("y"), **GIVEN), frame, prior_sd=0.0)


def test_every_look_is_the_analysis_of_what_was_there():
    frame = units(2000, 6, effect=1.0)
    plan = Comparison(Mean("y"), **GIVEN)
    found = monitor(plan, frame, when="day", looks=[1, 4, 9], planned=2000)
    for k, (w, day) in enumerate(zip(found.looks, [1, 4, 9], strict=True), start=1):
        part = frame[frame["day"] <= day]
        assert w.n == len(part)
        assert w.fixed == plan.analyse(part).estimate()
        looks = Looks([0.2, 0.5, 1.0][:k], look=k)
        assert w.allowed == Comparison(Mean("y"), looks=looks, **GIVEN).analyse(part).estimate()
    assert found.crossed is not None
    assert "became clear at look" in found.verdict()
    lines = found.plot().get_lines()
    assert len(lines) >= 5
    anytime = monitor(plan, frame, when="day", looks=range(10), narrowest_at=1000)
    assert len(anytime.looks) == 10
    assert anytime.to_frame()["look"].tolist() == list(range(1, 11))


def test_monitoring_refuses():
    frame, plan = units(300, 0), Comparison(Mean("y"), **GIVEN)
    with pytest.raises(ArgumentError, match=r"give planned= .* or narrowest_at="):
        monitor(plan, frame, when="day", looks=[1, 2])
    with pytest.raises(ArgumentError, match="looks must rise"):
        monitor(plan, frame, when="day", looks=[2, 1], planned=300)
    with pytest.raises(ContractError, match="no column 'hour'"):
        monitor(plan, frame, when="hour", looks=[1], planned=300)
    with pytest.raises(DesignError, match="more than the 100 planned"):
        monitor(plan, frame, when="day", looks=[9], planned=100)
    with pytest.raises(DesignError, match="no looks= in the plan"):
        monitor(
            Comparison(Mean("y"), looks=Looks(2, look=1), **GIVEN), frame, when="day", looks=[1], planned=300
        )
