import numpy as np
import pandas as pd
import pytest

from loyalty_research.comparison import balance
from loyalty_research.errors import ArgumentError, ContractError


def table(n=200, seed=0):
    rng = np.random.default_rng(seed)
    t = np.arange(n) % 2
    return pd.DataFrame({"t": t, "x": rng.normal(3 * t, 2, n), "k": rng.choice(["a", "b", "c"], n)})


def test_differences_by_hand():
    frame = table()
    found = balance(frame, treatment="t", covariates=["x", "k"])
    one, zero = frame[frame["t"] == 1], frame[frame["t"] == 0]
    divisor = np.sqrt((one["x"].var() + zero["x"].var()) / 2)
    assert found.covariates == ("x", "k=b", "k=c")
    assert found.before[0] == pytest.approx((one["x"].mean() - zero["x"].mean()) / divisor)
    assert found.mean_treated[0] == pytest.approx(one["x"].mean())
    assert found.mean_control[1] == pytest.approx((zero["k"] == "b").mean())
    np.testing.assert_allclose(found.before, found.after, atol=1e-12)
    assert found.units == (100, 100)
    assert found.effective == pytest.approx((100, 100))


def test_weights_move_only_the_after():
    frame = table()
    w = np.where(frame["t"] == 1, 1.0, np.exp(0.5 * frame["x"]))
    plain, weighted = (balance(frame, treatment="t", covariates=["x"], weights=v) for v in (None, w))
    assert weighted.before[0] == plain.before[0]
    zero = frame[frame["t"] == 0]
    moved = np.average(zero["x"], weights=w[frame["t"] == 0])
    divisor = np.sqrt((frame[frame["t"] == 1]["x"].var() + zero["x"].var()) / 2)
    assert weighted.after[0] == pytest.approx((frame[frame["t"] == 1]["x"].mean() - moved) / divisor)
    assert weighted.effective[0] == pytest.approx(100)
    assert weighted.effective[1] < 60
    assert balance(frame, treatment="t", covariates=["x"], weights=10 * w).after[0] == pytest.approx(
        weighted.after[0]
    )


def test_matchit_propensity_difference_is_scaled_by_the_pooled_spread():
    frame = pd.DataFrame({"t": [0, 0, 1, 1], "x": [0.0, 2.0, 10.0, 14.0]})
    assert balance(frame, treatment="t", covariates=["x"]).before[0] == pytest.approx(
        11 / np.sqrt((2 + 8) / 2)
    )


def test_trimmed_units_and_the_sentence():
    frame = table()
    w = np.where(np.abs(frame["x"] - 1.5) < 1.5, 1.0, 0.0)
    found = balance(frame, treatment="t", covariates=["x"], weights=w)
    assert found.share_trimmed == pytest.approx(np.mean(w == 0))
    assert "still differ" in balance(frame, treatment="t", covariates=["x"]).verdict()
    same = frame.assign(x=np.repeat(np.arange(100.0), 2))
    assert "are alike" in balance(same, treatment="t", covariates=["x"]).verdict()


def test_a_group_without_spread_is_not_divided_by():
    frame = pd.DataFrame({"t": [0, 0, 1, 1], "x": [0.0, 1.0, 5.0, 5.0]})
    assert np.isnan(balance(frame, treatment="t", covariates=["x"]).variance_ratio[0])


@pytest.mark.parametrize(
    ("frame", "options", "error", "said"),
    [
        (table(), {"weights": [1.0]}, ArgumentError, "200 finite numbers"),
        (table(), {"weights": -np.ones(200)}, ArgumentError, "not negative"),
        (table(), {"weights": np.where(np.arange(200) % 2, 1.0, 0.0)}, ArgumentError, "no weight at all"),
        (table().assign(t=1), {}, ContractError, "it holds 1"),
        (table().assign(t=np.arange(200) % 3), {}, ContractError, "it holds 0, 1, 2"),
        (table().assign(t=np.nan), {}, ContractError, "missing in 200 rows"),
        (table(), {"treatment": "z"}, ContractError, "no column 'z'"),
        (table(), {"covariates": []}, ArgumentError, "empty"),
    ],
)
def test_bad_input(frame, options, error, said):
    with pytest.raises(error, match=said):
        balance(frame, **{"treatment": "t", "covariates": ["x"], **options})
