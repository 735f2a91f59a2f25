import numpy as np
import pandas as pd
import pytest

from loyalty_research.churn import ChurnData, RecurrentCox, RecurrentData
from loyalty_research.errors import ArgumentError, ContractError, DesignError, ImmortalTimeError


@pytest.fixture
def bladder(oracle):
    return pd.DataFrame(oracle("r_bladder2_andersen_gill")["inputs"])


@pytest.fixture
def data(bladder):
    return RecurrentData.from_intervals(bladder, id="id")


def assert_like(fit, case):
    expected = case["expected"]
    assert np.allclose(fit.params_, expected["coef"], atol=case["tolerance"], rtol=0)
    assert np.allclose(fit.standard_errors_, expected["robust_se"], atol=case["tolerance"], rtol=0)


COVARIATES = ["rx", "size", "number"]


def test_andersen_gill_equals_r(data, oracle):
    case = oracle("r_bladder2_andersen_gill")
    fit = RecurrentCox().fit(data, covariates=COVARIATES)
    assert_like(fit, case)
    assert np.allclose(fit.naive_standard_errors_, case["expected"]["naive_se"], atol=1e-9, rtol=0)


def test_gap_time_equals_r(data, oracle):
    assert_like(RecurrentCox(clock="gap").fit(data, covariates=COVARIATES), oracle("r_bladder2_gap"))


@pytest.mark.parametrize("clock", ["calendar", "gap"])
def test_a_baseline_per_order_equals_r(data, oracle, clock):
    fit = RecurrentCox(clock=clock, by_order=9).fit(data, covariates=COVARIATES)
    assert_like(fit, oracle(f"r_bladder2_pwp_{clock}"))


def test_orders_are_counted(data, bladder):
    assert data.order.tolist() == (bladder["enum"] - 1).tolist()


def test_splitting_spells_and_shuffling_rows_change_nothing(bladder, data):
    rng = np.random.default_rng(1)
    middle = (bladder["start"] + bladder["stop"]) // 2
    cut = middle > bladder["start"]
    pieces = pd.concat(
        [bladder[cut].assign(stop=middle, event=0), bladder[cut].assign(start=middle), bladder[~cut]]
    )
    other = RecurrentData.from_intervals(pieces.iloc[rng.permutation(len(pieces))], id="id")
    for clock in ("calendar", "gap"):
        model = RecurrentCox(clock=clock, by_order=4)
        one, two = (model.fit(d, covariates=COVARIATES) for d in (data, other))
        assert np.allclose(one.params_, two.params_, atol=1e-9)
        assert np.allclose(one.standard_errors_, two.standard_errors_, atol=1e-9)


def test_wider_clusters_and_strata_are_used(bladder):
    shops = bladder.assign(shop=bladder["id"] % 40, town=bladder["id"] % 2)
    data = RecurrentData.from_intervals(shops, id="id", strata="town")
    by_shop = RecurrentCox(cluster="shop").fit(data, covariates=["rx"])
    by_customer = RecurrentCox().fit(data, covariates=["rx"])
    assert by_shop.params_.tolist() == by_customer.params_.tolist()
    assert by_shop.standard_errors_.tolist() != by_customer.standard_errors_.tolist()
    crossed = RecurrentCox(by_order=2).fit(data, covariates=["rx"])
    assert len(crossed.model.state.strata_labels) == 4


def test_verdict_counts_returns_and_claims_no_effect(data):
    said = RecurrentCox().fit(data, covariates=COVARIATES).verdict()
    assert "number: customers leave 1.19 times as often" in said
    assert "returns counted" in said
    assert "associations, not effects" in said
    frame = RecurrentCox().fit(data, covariates=["rx"]).to_frame()
    assert frame["metric"].tolist() == ["rate ratio"]
    assert "robust" in frame["method"][0]


def purchases(seed, n=300):
    rng = np.random.default_rng(seed)
    rows = []
    for customer in range(n):
        day = int(rng.integers(0, 200))
        while day < 700:
            rows.append((customer, day))
            day += int(rng.integers(1, 30)) if rng.random() < 0.8 else int(rng.integers(40, 200))
    frame = pd.DataFrame(rows, columns=["customer_id", "day"])
    frame["transacted_at"] = np.datetime64("2022-01-01") + frame["day"].to_numpy()
    return frame.assign(amount=5.0)


def test_the_first_lapse_is_that_of_first_churn():
    bought = purchases(1)
    options = {"inactivity_days": 45, "as_of": "2023-12-01"}
    once = ChurnData.from_transactions(bought, **options)
    again = RecurrentData.from_transactions(bought, **options)
    first = again.take(np.flatnonzero(again.covariates["earlier_lapses"].to_numpy() == 0))
    for name in ("start", "stop", "event"):
        assert getattr(first, name).tolist() == getattr(once, name).tolist()
    assert list(first.keys) == list(once.keys)
    assert again.n_events > once.n_events
    assert again.order.tolist() == again.covariates["earlier_lapses"].tolist()


def test_every_lapse_and_return_is_found_by_brute_force():
    bought = purchases(2, 80)
    window, end = 45, int((np.datetime64("2023-12-01") - np.datetime64("2022-01-01")).astype(int))
    data = RecurrentData.from_transactions(bought, inactivity_days=window, as_of="2023-12-01")
    spells = []
    for _, part in bought[bought["day"] <= end].groupby("customer_id"):
        days = sorted(set(part["day"]))
        began = days[0]
        for one, following in zip(days, [*days[1:], end], strict=True):
            gone = following - one > window and one < end - window
            if began < end - window and gone:
                spells.append((began - days[0], one + 1 - days[0], True))
            if gone:
                began = following if following != end or end in days else end
        if began < end - window and not gone:
            spells.append((began - days[0], end - window - days[0], False))
    found = sorted(zip(data.start.tolist(), data.stop.tolist(), data.event.tolist(), strict=True))
    assert found == sorted(spells)


def test_memberships_split_recurrent_spells():
    bought = purchases(3, 40)
    members = pd.DataFrame(
        {"customer_id": np.arange(40), "valid_from": np.datetime64("2022-08-01"), "valid_to": pd.NaT}
    )
    plain = RecurrentData.from_transactions(bought, inactivity_days=45, as_of="2023-12-01")
    split = RecurrentData.from_transactions(bought, inactivity_days=45, as_of="2023-12-01", members=members)
    assert (split.stop - split.start).sum() == (plain.stop - plain.start).sum()
    assert split.n_events == plain.n_events
    assert RecurrentCox().fit(split, covariates=["is_member"]).verdict().endswith("differ in more than that.")


def test_bad_input_is_named(bladder):
    with pytest.raises(ContractError, match="overlap in 1 row"):
        RecurrentData.from_intervals(
            pd.DataFrame({"id": [1, 1], "start": [0, 5], "stop": [9, 12], "event": [1, 0]}), id="id"
        )
    with pytest.raises(ContractError, match=r"must be 0 .* neither in 1 row \(at position 1\)"):
        RecurrentData.from_intervals(
            pd.DataFrame({"id": [1, 2], "start": [0, 5], "stop": [9, 12], "event": [1, 2]}), id="id"
        )
    with pytest.raises(ContractError, match="changes within a customer"):
        RecurrentData.from_intervals(bladder, id="id", weights="enum")
    with pytest.raises(ImmortalTimeError, match="looks into the future"):
        RecurrentData.from_intervals(bladder.assign(known=5), id="id", known_at={"rx": "known"})
    with pytest.raises(ContractError, match="nobody left"):
        RecurrentCox().fit(RecurrentData.from_intervals(bladder.assign(event=0), id="id"), covariates=["rx"])
    with pytest.raises(DesignError, match="no finite estimate"):
        RecurrentCox().fit(
            RecurrentData.from_intervals(
                bladder.assign(event=bladder["event"] * (bladder["rx"] == 1)), id="id"
            ),
            covariates=["rx"],
        )
    for options in ({"clock": "age"}, {"by_order": 0}, {"ties": "exact"}, {"level": 1}):
        with pytest.raises(ArgumentError):
            RecurrentCox(**options)
