import numpy as np
import pandas as pd
import pytest
from lifelines.datasets import load_lung, load_rossi

from loyalty_research.churn import ChurnData, CoxPH, ph_test
from loyalty_research.errors import ArgumentError, DesignError


@pytest.fixture(scope="module")
def lung():
    frame = load_lung().dropna(subset=["ph.ecog"])
    data = ChurnData.from_durations(frame, duration="time", event="status")
    return CoxPH().fit(data, covariates=["age", "sex", "ph.ecog"])


@pytest.mark.parametrize("transform", ["km", "rank"])
def test_lung_equals_cox_zph(lung, oracle, transform):
    case = oracle(f"lung_cox_zph_{transform}")
    found = ph_test(lung, transform=transform).statistics
    assert found["covariate"].tolist()[-1] == "GLOBAL"
    assert np.allclose(found["statistic"], case["expected"], atol=case["tolerance"], rtol=0)


def test_rossi_equals_cox_zph(oracle):
    case = oracle("rossi_cox_zph_km")
    data = ChurnData.from_durations(load_rossi(), duration="week", event="arrest")
    model = CoxPH().fit(data, covariates=["fin", "age", "race", "wexp", "mar", "paro", "prio"])
    found = ph_test(model).statistics
    assert np.allclose(found["statistic"], case["expected"], atol=case["tolerance"], rtol=0)


def test_cells_and_rows_agree():
    rng = np.random.default_rng(1)
    n = 1500
    frame = pd.DataFrame(
        {
            "a": rng.integers(0, 3, n).astype(str),
            "duration": rng.integers(1, 50, n),
            "event": rng.integers(0, 2, n),
        }
    )
    few = CoxPH().fit(ChurnData.from_durations(frame), covariates=["a"])
    noisy = frame.assign(
        one=(frame["a"] == "1") + 1e-9 * rng.normal(size=n),
        two=(frame["a"] == "2") + 1e-9 * rng.normal(size=n),
    )
    many = CoxPH().fit(ChurnData.from_durations(noisy), covariates=["one", "two"])
    assert type(few.state.carrier) is not type(many.state.carrier)
    for transform in ("km", "rank", "identity", "log"):
        both = [ph_test(m, transform=transform).statistics["statistic"].iloc[-1] for m in (few, many)]
        assert both[0] == pytest.approx(both[1], rel=1e-5)


def test_a_factor_is_tested_as_a_whole():
    rng = np.random.default_rng(2)
    n = 900
    frame = pd.DataFrame(
        {
            "plan": rng.choice(list("abc"), n),
            "duration": rng.integers(1, 60, n),
            "event": rng.integers(0, 2, n),
        }
    )
    found = ph_test(CoxPH().fit(ChurnData.from_durations(frame), covariates=["plan"])).statistics
    assert found["degrees_of_freedom"].tolist() == [2, 2]


def test_size_under_proportional_hazards_and_power_against_crossing():
    rng = np.random.default_rng(3)
    small = []
    for _ in range(200):
        x = rng.integers(0, 2, 200)
        time = rng.exponential(np.where(x == 1, 50.0, 80.0))
        frame = pd.DataFrame({"x": x, "duration": np.minimum(time, 100), "event": (time < 100).astype(int)})
        small.append(ph_test(CoxPH().fit(ChurnData.from_durations(frame), covariates=["x"])).p_value)
    # 5% of 200 with Monte Carlo error of 1.5 points, three of them either way
    assert 0.005 <= np.mean(np.array(small) < 0.05) <= 0.10
    x = rng.integers(0, 2, 1000)
    time = 60 * rng.weibull(np.where(x == 1, 0.6, 1.8))
    frame = pd.DataFrame({"x": x, "duration": np.minimum(time, 100), "event": (time < 100).astype(int)})
    test = ph_test(CoxPH().fit(ChurnData.from_durations(frame), covariates=["x"]))
    assert test.p_value < 1e-6
    assert "change over time" in test.verdict()


def test_unknown_transforms_and_separation_are_refused(lung):
    with pytest.raises(ArgumentError, match="transform must be"):
        ph_test(lung, transform="sqrt")
    early = pd.DataFrame({"x": [0, 1, 0, 1], "duration": [0, 1, 2, 3], "event": [1, 1, 1, 1]})
    with pytest.raises(ArgumentError, match="left at time 0"):
        ph_test(CoxPH().fit(ChurnData.from_durations(early), covariates=["x"]), transform="log")
    frame = pd.DataFrame({"x": [0, 0, 0, 1, 1], "duration": [1, 2, 3, 4, 5], "event": [1, 1, 1, 0, 0]})
    with pytest.raises(DesignError, match="without a finite estimate"):
        ph_test(CoxPH().fit(ChurnData.from_durations(frame), covariates=["x"]))


def test_residuals_and_smooth_equal_cox_zph(oracle):
    case = oracle("lung_months_scaled_schoenfeld")
    frame = load_lung().dropna(subset=["ph.ecog"]).assign(m=lambda d: np.ceil(d["time"] / 30))
    data = ChurnData.from_durations(
        frame[["m", "status", "age", "sex", "ph.ecog"]], duration="m", event="status"
    )
    test = ph_test(CoxPH().fit(data, covariates=["age", "sex", "ph.ecog"]))
    for term, expected in zip(["age", "sex", "ph.ecog"], case["expected"], strict=True):
        part = test.residuals[test.residuals["term"] == term].set_index("time")["estimate"]
        assert np.allclose(part[case["inputs"]["months"]], expected, atol=case["tolerance"], rtol=0)
    assert np.allclose(test.terms["spread"], case["expected_spread"], atol=1e-8)
    # two standard errors either way, as R draws them
    line = test.smooth("ph.ecog", level=0.9544997361036416).iloc[[0, 9, 39]]
    assert np.allclose(line["x"], case["expected_smooth"]["x"], atol=1e-9)
    assert np.allclose(line["estimate"], case["expected_smooth"]["estimate"], atol=1e-8)
    errors = (line["high"] - line["low"]) / 2
    assert np.allclose(errors, case["expected_smooth"]["two_errors"], atol=1e-8)


def test_plot_names_both_lines_and_the_term():
    data = ChurnData.from_durations(load_rossi(), duration="week", event="arrest")
    test = ph_test(CoxPH().fit(data, covariates=["fin", "age", "race"]))
    axes = test.plot()
    words = [t.get_text() for t in axes.texts]
    assert any("over time" in w for w in words)
    assert any("constant" in w for w in words)
    # age moves most
    assert axes.get_ylabel().endswith("age")
    assert test.plot(term="fin").get_ylabel().endswith("fin")
    with pytest.raises(ArgumentError, match="term must be one of fin, age, race"):
        test.plot(term="prio")
    with pytest.raises(ArgumentError, match="too few for a curve"):
        test.smooth("fin", degrees=60)
