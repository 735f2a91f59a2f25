import matplotlib as mpl
import numpy as np
import pytest
from lifelines.datasets import load_lung

from loyalty_research.churn import ChurnData, CoxPH, calibration, d_calibration
from loyalty_research.churn.validation import survival_of
from loyalty_research.errors import ArgumentError, ContractError, DesignError

mpl.use("Agg")


def exponential(rng, n, *, spread=0.7, base=0.03, watched=60):
    rate = base * np.exp(rng.normal(0, spread, n))
    left = rng.exponential(1 / rate)
    seen = rng.uniform(0.3 * watched, watched, n)
    return rate, np.minimum(left, seen), left <= seen


def test_figures_equal_r(oracle):
    case = oracle("r_calibration_lung_365")
    rows = load_lung().iloc[1::2]
    found = calibration(rows["time"], rows["status"], case["inputs"]["survival"], time=365, bootstrap=50)
    figures = [found.ici.value, found.e50.value, found.e90.value, found.slope.value, found.ratio.value]
    assert np.allclose(figures, list(case["expected"].values()), rtol=case["tolerance"], atol=0)


def test_predictions_at_one_time_each_equal_r(oracle):
    odd = (
        load_lung()
        .iloc[0::2]
        .drop(columns=["inst", "ph.karno", "ph.ecog", "pat.karno", "meal.cal", "wt.loss"])
    )
    fit = CoxPH().fit(
        ChurnData.from_durations(odd, duration="time", event="status"), covariates=["age", "sex"]
    )
    even = load_lung().iloc[1::2][["age", "sex"]]
    found = survival_of(fit, even, when=np.full(len(even), 365), alive_at=np.zeros(len(even)))
    assert np.allclose(found, oracle("r_calibration_lung_365")["inputs"]["survival"], atol=1e-9)


def test_right_predictions_look_right():
    rng = np.random.default_rng(1)
    rate, time, event = exponential(rng, 4000)
    found = calibration(time, event, np.exp(-30 * rate), time=30)
    assert found.ratio.low < 1 < found.ratio.high
    assert found.slope.low < 1 < found.slope.high
    assert found.ici.value < 0.02
    assert (found.groups["low"] <= found.groups["predicted"]).mean() > 0.7
    assert "As many leave as predicted" in found.verdict()


def test_many_leaving_on_one_day_keep_the_curve_on_the_truth():
    """Half leave on the first day, as one-time buyers do: right predictions stay right."""
    rng = np.random.default_rng(5)
    chance = rng.choice([0.5, 0.6, 0.7], 4000)
    left = rng.random(4000) < chance
    found = calibration(np.where(left, 1, 30), left, 1 - chance, time=10, bootstrap=50)
    assert found.ici.value < 0.015
    assert found.ratio.value == pytest.approx(1, abs=0.03)


def test_wrong_predictions_are_measured():
    """Twice the cumulative hazard on the log scale: the slope is a half, and gaps are known."""
    rng = np.random.default_rng(2)
    rate, time, event = exponential(rng, 60_000)
    hazard = 30 * rate
    wrong = np.exp(-0.5 * hazard**2 / np.median(hazard))
    found = calibration(time, event, wrong, time=30, bootstrap=50)
    assert found.slope.value == pytest.approx(0.5, abs=0.02)
    gap = np.abs((1 - wrong) - (1 - np.exp(-hazard)))
    assert found.ici.value == pytest.approx(gap.mean(), abs=0.006)
    assert found.e50.value == pytest.approx(np.median(gap), abs=0.008)
    assert found.e90.value == pytest.approx(np.quantile(gap, 0.9), abs=0.015)
    assert found.ratio.value == pytest.approx((1 - np.exp(-hazard)).mean() / (1 - wrong).mean(), rel=0.02)
    assert "More leave than predicted" in found.verdict()


def test_the_same_chance_for_all_has_a_ratio_and_no_slope():
    rng = np.random.default_rng(3)
    _, time, event = exponential(rng, 500)
    found = calibration(time, event, np.full(500, 0.5), time=30, bootstrap=50)
    assert found.slope is None
    assert found.ici.value == pytest.approx(abs(found.ratio.value * 0.5 - 0.5))
    assert found.ici.low <= found.ici.value <= found.ici.high


def test_clusters_widen_the_intervals_and_the_seed_fixes_them():
    rng = np.random.default_rng(4)
    store = np.repeat(np.arange(40), 25)
    shared = np.exp(rng.normal(0, 0.6, 40))[store]
    rate = 0.03 * np.exp(rng.normal(0, 0.5, 1000))
    left = rng.exponential(1 / (rate * shared))
    time, event = np.minimum(left, 50), left <= 50
    alone, together = (
        calibration(time, event, np.exp(-30 * rate), time=30, cluster=c).ratio for c in (None, store)
    )
    assert together.high - together.low > 1.5 * (alone.high - alone.low)
    again = calibration(time, event, np.exp(-30 * rate), time=30, cluster=store).ratio
    assert again == together


def test_the_picture_holds_curve_groups_and_perfection():
    rng = np.random.default_rng(5)
    rate, time, event = exponential(rng, 800)
    ax = calibration(time, event, np.exp(-30 * rate), time=30, bootstrap=50).plot()
    assert len(ax.lines) == 3
    assert ax.get_xlim() == ax.get_ylim()
    assert "day 30" in ax.get_xlabel()


def test_d_calibration_finds_wrong_shapes_and_keeps_its_level():
    rng = np.random.default_rng(6)
    rejected = 0
    for _ in range(400):
        rate, time, event = exponential(rng, 400)
        rejected += d_calibration(np.exp(-rate * time), event).p_value < 0.05
    # spread censored mass makes it conservative
    assert rejected / 400 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
    rate, time, event = exponential(rng, 2000)
    found = d_calibration(np.exp(-1.5 * rate * time), event)
    assert found.p_value < 0.001
    assert "do not fit" in found.verdict()
    assert found.shares["customers"].sum() == pytest.approx(2000)


def test_d_calibration_bears_many_leaving_on_one_day():
    rng = np.random.default_rng(7)
    left = np.where(rng.random(3000) < 0.4, 1.0, 1 + np.ceil(rng.exponential(20, 3000)))

    def survival(t):
        return np.where(t < 1, 1.0, 0.6 * np.exp(-np.maximum(t - 1, 0) / 20))

    naive = d_calibration(survival(left), np.ones(3000))
    fair = d_calibration(survival(left), np.ones(3000), survival_before_end=survival(left - 1))
    assert naive.p_value < 1e-6
    assert fair.p_value > 0.05


def test_bad_input_is_named():
    with pytest.raises(ContractError, match="nobody of 3 left by 2"):
        calibration([3, 4, 5], [1, 1, 0], [0.1, 0.2, 0.3], time=2)
    with pytest.raises(ArgumentError, match="at least 50"):
        calibration([3, 4, 5], [1, 1, 0], [0.1, 0.2, 0.3], time=4, bootstrap=10)
    with pytest.raises(ArgumentError, match="groups must be"):
        calibration([3, 4, 5], [1, 1, 0], [0.1, 0.2, 0.3], time=4, groups=1)
    with pytest.raises(DesignError, match="Restart every clock"):
        calibration([3, 4, 5], [1, 1, 0], [0.1, 0.2, 0.3], time=4, entry=[0, 1, 0])
    with pytest.raises(ContractError, match="too few for 10 bins"):
        d_calibration(np.full(20, 0.5), np.ones(20))
    with pytest.raises(ContractError, match="must not be below"):
        d_calibration([0.5] * 60, [1] * 60, survival_before_end=[0.4] * 60)
