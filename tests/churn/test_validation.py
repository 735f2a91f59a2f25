from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from loyalty_research.churn import (
    ChurnData,
    CoxPH,
    DiscreteHazard,
    ParametricAFT,
    predictive_accuracy,
    split_by_time,
)
from loyalty_research.churn.validation import survival_of
from loyalty_research.errors import ArgumentError, ContractError, DesignError, ImmortalTimeError

mpl.use("Agg")


def programme(seed, n=3000, *, drift=1.0):
    """Members who join over two years and cancel at a rate their region sets; ``drift`` scales it later."""
    rng = np.random.default_rng(seed)
    joined = rng.integers(0, 730, n)
    region = rng.integers(0, 3, n)
    rate = 0.002 * np.exp(0.8 * region)
    left = np.ceil(rng.exponential(1 / rate)).astype(int)
    day = np.datetime64("2022-01-01")
    late = joined + left > 548
    left = np.where(
        late,
        np.maximum(548 - joined, 0) + np.ceil((left - np.maximum(548 - joined, 0)) / drift).astype(int),
        left,
    )
    ends = joined + left
    spells = pd.DataFrame(
        {
            "customer_id": np.arange(n),
            "valid_from": day + joined,
            "valid_to": np.where(ends < 730, day + ends, np.datetime64("NaT")),
        }
    )
    data = ChurnData.from_subscriptions(spells, as_of=str(day + 730))
    return data.with_covariates(
        pd.DataFrame({"customer_id": np.arange(n), "region": region}), known_at="start"
    )


@pytest.fixture(scope="module")
def split():
    return split_by_time(programme(1), "2023-07-03", who="both")


@pytest.fixture(scope="module")
def found(split):
    return predictive_accuracy(CoxPH(), *split, covariates=["region"], times=[30, 60, 90])


def test_a_right_model_is_found_right(found):
    assert found.concordance.estimate.low > 0.55
    assert found.brier.integrated_scaled.low > 0
    for judged in found.calibrations:
        assert judged.ratio.low < 1 < judged.ratio.high
    assert found.d_calibration.p_value > 0.01
    said = found.verdict()
    assert "rightly who leaves first" in said
    assert "closer to what happened" in said
    assert "As many leave as predicted" in said
    assert found.headline.startswith("On later days, the model said rightly")


def test_every_figure_has_a_row_with_its_interval(found):
    frame = found.to_frame()
    assert {"AUC, day 60", "scaled Brier score, day 90", "calibration slope", "mean gap (ICI)"} <= set(
        frame["metric"]
    )
    tested = frame["metric"] == "D-calibration, chi-squared"
    assert frame.loc[~tested, ["low", "high"]].notna().all().all()
    assert (frame.loc[~tested, "low"] <= frame.loc[~tested, "estimate"]).all()


def test_the_world_changed_and_calibration_says_so():
    train, test = split_by_time(programme(2, drift=2.0), "2023-07-03", who="both")
    found = predictive_accuracy(CoxPH(), train, test, covariates=["region"], times=[60, 120])
    assert found.calibration.ratio.low > 1.3
    assert "More leave than predicted" in found.verdict()
    assert found.concordance.estimate.low > 0.5


def test_a_fitted_model_gives_the_same(split, found):
    fit = CoxPH().fit(split[0], covariates=["region"])
    again = predictive_accuracy(fit, *split, times=[30, 60, 90])
    pd.testing.assert_frame_equal(again.to_frame(), found.to_frame())


@pytest.mark.parametrize(
    "model",
    [
        ParametricAFT("exponential"),
        pytest.param(DiscreteHazard(), marks=pytest.mark.slow),
        CoxPH(strata="region"),
    ],
)
def test_any_model_that_predicts_survival_is_judged_alike(model, split, found):
    train, test = split
    if isinstance(model, CoxPH):
        rng = np.random.default_rng(5)
        train, test = (
            replace(d, covariates=d.covariates.assign(noise=rng.normal(size=len(d.stop)))) for d in split
        )
    names = ["noise"] if isinstance(model, CoxPH) else ["region"]
    other = predictive_accuracy(model, train, test, covariates=names, times=[30, 60, 90], bootstrap=50)
    assert other.concordance.estimate.value == pytest.approx(found.concordance.estimate.value, abs=0.02)
    assert other.brier.integrated.value == pytest.approx(found.brier.integrated.value, abs=0.003)
    assert other.calibration.ratio.value == pytest.approx(1, abs=0.1)


def test_predictions_are_given_the_tenure(split):
    fit = CoxPH().fit(split[0], covariates=["region"])
    people = split[1].covariates.iloc[:40]
    entry = split[1].start[:40].astype(float)
    one = survival_of(fit, people, when=entry + 30, alive_at=entry)
    frame = people.reset_index(drop=True)
    for i in range(40):
        own = fit.predict_survival(frame.iloc[[i]], times=[entry[i] + 30], alive_at=entry[i])[
            "estimate"
        ].iloc[0]
        assert one[i] == pytest.approx(own, abs=1e-12, nan_ok=True)


def test_customers_beyond_training_are_left_out_and_counted(split, found):
    note = next(c for c in found.checks if c.name == "Reach of the model")
    assert note.status == "warning"
    reach = split[0].last
    assert found.customers == int((split[1].start + 90 <= reach).sum())
    old, still = split_by_time(programme(3, 800), "2023-07-03")
    late = still.take(np.flatnonzero(still.start > old.last - 60))
    with pytest.raises(DesignError, match="says nothing about any of"):
        predictive_accuracy(CoxPH(), old, late, covariates=["region"], times=[70])


def test_a_parametric_model_may_speak_of_longer_tenures():
    train, test = split_by_time(programme(4), "2023-07-03")
    options = {"covariates": ["region"], "times": [60, 120]}
    near = predictive_accuracy(ParametricAFT("exponential"), train, test, **options)
    far = predictive_accuracy(ParametricAFT("exponential"), train, test, extrapolate=True, **options)
    assert near.customers < far.customers == test.n_customers
    assert far.calibration.ratio.low < 1 < far.calibration.ratio.high
    assert far.brier.integrated_scaled.low > 0
    with pytest.raises(ArgumentError, match="CoxFit knows nothing beyond"):
        predictive_accuracy(CoxPH(), train, test, extrapolate=True, **options)


def test_days_trained_on_are_refused(split):
    with pytest.raises(DesignError, match="training holds days that are tested"):
        predictive_accuracy(CoxPH(), split[0], split[0], covariates=["region"], times=[30])
    whole = CoxPH().fit(programme(1), covariates=["region"])
    with pytest.raises(DesignError, match="fitted on other data"):
        predictive_accuracy(whole, *split, times=[30])


def test_covariates_that_change_later_are_refused():
    frame = pd.DataFrame(
        {
            "who": np.repeat(np.arange(60), 2),
            "start": np.tile([0, 20], 60),
            "stop": np.tile([20, 40], 60),
            "event": np.tile([0, 1], 60),
            "orders": np.arange(120) % 7.0,
            "side": np.repeat(np.arange(60) % 2, 2),
        }
    )
    frame.loc[1::4, "stop"] = 33
    data = ChurnData.from_intervals(frame, id="who")
    other = ChurnData.from_intervals(frame.assign(who=frame["who"] + 100), id="who")
    with pytest.raises(
        ImmortalTimeError, match=r"change after the day of prediction in \d+ of 120 intervals"
    ):
        predictive_accuracy(CoxPH(), data, other, covariates=["orders"], times=[25])
    joined = predictive_accuracy(CoxPH(), data, other, covariates=["side"], times=[25, 35])
    assert joined.customers == 60
    # all of one side left by then and none of the other: no curve is finite, groups are
    assert joined.calibration.slope is None
    assert "ten groups" in joined.calibration.checks[0].detail


def test_bad_options_are_named(split):
    with pytest.raises(ArgumentError, match="fitted already"):
        predictive_accuracy(
            CoxPH().fit(split[0], covariates=["region"]), *split, covariates=["region"], times=[30]
        )
    with pytest.raises(ArgumentError, match="fit or predict_survival"):
        predictive_accuracy("cox", *split, times=[30])
    few = split[1].take(np.arange(60))
    with pytest.raises(ContractError, match="too few to judge"):
        predictive_accuracy(CoxPH(), split[0], few, covariates=["region"], times=[1])


def test_pictures(found):
    assert found.plot().get_xlabel() == "Days ahead"
    assert "day 60" in found.plot_calibration(time=60).get_xlabel()
    assert "Brier" in found.plot_brier().get_ylabel()
    with pytest.raises(ArgumentError, match="was not judged"):
        found.plot_calibration(time=45)
