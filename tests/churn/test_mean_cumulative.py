import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from loyalty_research.churn import ChurnData, MeanCumulativeFunction, NelsonAalen, RecurrentData
from loyalty_research.errors import ArgumentError, ContractError

mpl.use("Agg")


@pytest.fixture
def bladder(oracle):
    return pd.DataFrame(oracle("r_bladder2_andersen_gill")["inputs"])


@pytest.fixture
def fit(bladder):
    return MeanCumulativeFunction().fit(RecurrentData.from_intervals(bladder, id="id"), by="rx")


def test_means_and_errors_equal_r(fit, oracle):
    case = oracle("r_bladder2_mcf")
    found = fit.mean_at([10, 25, 40])
    assert np.allclose(found["estimate"], case["expected"]["mean"], atol=case["tolerance"], rtol=0)
    assert np.allclose(found["se"], case["expected"]["se"], atol=case["tolerance"], rtol=0)


def test_the_test_equals_rs_robust_score(fit, oracle):
    case = oracle("r_bladder2_robust_score")
    found = fit.test()
    assert [found.statistic, found.p_value] == pytest.approx(case["expected"], abs=case["tolerance"])
    assert found.degrees_of_freedom == 1
    assert "No clear difference" in found.verdict()


def test_the_variance_is_that_of_customers_by_hand():
    frame = pd.DataFrame(
        {"id": [1, 1, 2, 3], "start": [0, 12, 0, 0], "stop": [10, 30, 20, 25], "event": [1, 0, 1, 0]}
    )
    found = MeanCumulativeFunction(interval="plain").fit(RecurrentData.from_intervals(frame, id="id"))
    # day 10: one of three leaves; customers' shares (1 - 1/3)/3, -1/9, -1/9; day 20: three at risk again
    first = np.array([2 / 9, -1 / 9, -1 / 9])
    second = first + np.array([-1 / 9, 2 / 9, -1 / 9])
    row = found.mean_at([10, 20])
    assert np.allclose(row["estimate"], [1 / 3, 2 / 3])
    assert np.allclose(row["se"], [np.sqrt((first**2).sum()), np.sqrt((second**2).sum())])
    assert np.allclose(row["high"] - row["estimate"], 1.959964 * row["se"], atol=1e-6)


def test_without_returns_it_is_the_cumulative_hazard():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"duration": rng.integers(1, 60, 300), "event": rng.random(300) < 0.6})
    data = ChurnData.from_durations(frame)
    times = [5, 20, 40]
    one = MeanCumulativeFunction().fit(data).mean_at(times)
    other = NelsonAalen().fit(data).cumulative_hazard_at(times)
    assert np.allclose(one["estimate"], other["estimate"])
    assert np.allclose(one["se"], other["se"], rtol=0.05)


def test_weights_are_copies_and_order_is_nothing(bladder):
    rng = np.random.default_rng(2)
    mass = 1 + bladder["id"] % 3
    weighted = MeanCumulativeFunction().fit(
        RecurrentData.from_intervals(
            bladder.assign(mass=mass).iloc[rng.permutation(len(bladder))], id="id", weights="mass"
        )
    )
    copies = pd.concat([bladder[mass > k].assign(id=bladder["id"] + 1000 * k) for k in range(3)])
    repeated = MeanCumulativeFunction().fit(RecurrentData.from_intervals(copies, id="id"))
    assert np.allclose(weighted.mean_at([10, 40])["estimate"], repeated.mean_at([10, 40])["estimate"])


def test_difference_is_that_of_the_means(fit):
    one = fit.difference(2, 1, at=25)
    found = fit.mean_at([25])
    assert one.value == pytest.approx(found["estimate"][1] - found["estimate"][0])
    # customers are in one group each, so variances add
    assert (one.high - one.low) / 2 / 1.959964 == pytest.approx(np.hypot(*found["se"]), rel=1e-6)
    assert one.p_value == pytest.approx(0.0563, abs=0.002)
    assert fit.difference(1, 2, at=25).value == pytest.approx(-one.value)


def test_shared_clusters_enter_the_difference(bladder):
    pairs = bladder.assign(shop=(bladder["id"] - 1) // 2, side=bladder["id"] % 2)
    data = RecurrentData.from_intervals(pairs, id="id", cluster="shop")
    own = RecurrentData.from_intervals(pairs.drop(columns="shop"), id="id")
    one, two = (MeanCumulativeFunction().fit(d, by="side").difference(1, 0, at=25) for d in (data, own))
    assert one.value == pytest.approx(two.value)
    assert one.high != pytest.approx(two.high)


def test_counts_leave_out_those_away():
    frame = pd.DataFrame({"id": [1, 1, 2], "start": [0, 20, 0], "stop": [10, 30, 25], "event": [1, 0, 1]})
    found = (
        MeanCumulativeFunction()
        .fit(RecurrentData.from_intervals(frame, id="id"))
        .at_risk_table([0, 5, 15, 22, 30])
    )
    assert found["at_risk"].tolist() == [2, 2, 1, 2, 1]
    assert found["events"].tolist() == [0, 0, 1, 1, 2]


def test_customers_away_still_count():
    """Everybody is watched for 400 days, so the mean is the plain mean of counts."""
    rng = np.random.default_rng(4)
    rows, counts = [], []
    for customer in range(120):
        day, lapsed = 0, 0
        while day < 600:
            rows.append((customer, day))
            gap = int(rng.choice([10, 70]))
            lapsed += gap > 45 and day + 1 <= 400
            day += gap
        counts.append(lapsed)
    bought = pd.DataFrame(rows, columns=["customer_id", "day"]).assign(amount=1.0)
    bought["transacted_at"] = np.datetime64("2022-01-01") + bought["day"].to_numpy()
    data = RecurrentData.from_transactions(bought, inactivity_days=45, as_of="2023-08-20")
    row = MeanCumulativeFunction().fit(data).mean_at([400]).iloc[0]
    assert row["estimate"] == pytest.approx(np.mean(counts))
    assert row["se"] == pytest.approx(np.std(counts) / np.sqrt(120))


def test_beyond_the_data_nothing_is_said(fit):
    found = fit.mean_at([0, 1000])
    assert found.loc[found["time"] == 0, "estimate"].tolist() == [0.0, 0.0]
    assert found.loc[found["time"] == 1000, ["estimate", "se", "low"]].isna().all().all()
    with pytest.raises(ArgumentError, match="watched until day 1000"):
        fit.difference(1, 2, at=1000)


def test_the_verdict_and_picture_name_the_groups(fit):
    assert "the group 'rx 2'" in fit.verdict()
    ax = fit.plot()
    assert ax.get_ylabel().startswith("Mean times left")
    assert {"1", "2", "Number at risk"} <= {t.get_text() for t in ax.texts}


def test_bad_input_is_named(bladder, fit):
    data = RecurrentData.from_intervals(bladder, id="id")
    with pytest.raises(ContractError, match="enum changes for a customer"):
        MeanCumulativeFunction().fit(data, by="enum")
    with pytest.raises(ArgumentError, match="there is no group 7"):
        fit.difference(7, 1, at=10)
    with pytest.raises(ArgumentError, match="needs groups"):
        MeanCumulativeFunction().fit(data).test()
    with pytest.raises(ArgumentError, match="0 or later"):
        fit.mean_at([-1])
    with pytest.raises(ArgumentError, match="interval must be"):
        MeanCumulativeFunction(interval="log-log")
