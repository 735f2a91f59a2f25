import numpy as np
import pytest
from lifelines.datasets import load_lung
from lifelines.utils import concordance_index

from loyalty_research.churn import concordance
from loyalty_research.churn.ranking import below
from loyalty_research.errors import ArgumentError, ContractError, DesignError


@pytest.fixture(scope="module")
def lung():
    frame = load_lung()
    return frame.assign(
        month=np.ceil(frame["time"] / 30.4375), entry=np.minimum(frame["time"] - 1, frame["age"] % 20)
    )


def assert_like(found, case):
    figures = [
        found.estimate.value,
        found.standard_error,
        found.concordant,
        found.discordant,
        found.tied_risk,
    ]
    assert np.allclose(figures, case["expected"], rtol=case["tolerance"], atol=0)


def test_harrell_equals_r(lung, oracle):
    assert_like(concordance(lung["time"], lung["status"], lung["age"]), oracle("r_concordance_age"))


def test_ties_in_time_are_treated_as_in_r(lung, oracle):
    assert_like(concordance(lung["month"], lung["status"], lung["age"]), oracle("r_concordance_age_months"))


def test_weights_equal_r(lung, oracle):
    found = concordance(lung["month"], lung["status"], lung["age"], weights=lung["sex"])
    assert_like(found, oracle("r_concordance_age_months_weighted"))


def test_clusters_equal_r(lung, oracle):
    rows = lung[lung["inst"].notna()]
    found = concordance(rows["month"], rows["status"], rows["age"], cluster=rows["inst"])
    assert_like(found, oracle("r_concordance_age_months_cluster"))


def test_late_entry_equals_r(lung, oracle):
    found = concordance(lung["time"], lung["status"], lung["age"], entry=lung["entry"])
    assert_like(found, oracle("r_concordance_age_entry"))


@pytest.mark.parametrize(
    ("name", "column", "tau"),
    [("r_uno_age", "time", None), ("r_uno_age_months", "month", None), ("r_uno_age_months_20", "month", 20)],
)
def test_uno_equals_r(lung, oracle, name, column, tau):
    case = oracle(name)
    found = concordance(lung[column], lung["status"], lung["age"], kind="uno", tau=tau)
    assert found.estimate.value == pytest.approx(case["expected"], abs=case["tolerance"])


def test_harrell_equals_lifelines(lung):
    found = concordance(lung["time"], lung["status"], lung["age"]).estimate.value
    assert found == pytest.approx(concordance_index(lung["time"], -lung["age"], lung["status"]), abs=1e-12)


def test_uno_equals_scikit_survival_without_ties(lung):
    from sksurv.metrics import concordance_index_ipcw
    from sksurv.util import Surv

    rng = np.random.default_rng(2)
    time = lung["time"].to_numpy() + rng.uniform(0, 0.5, len(lung))
    told = Surv.from_arrays(lung["status"] == 1, time)
    peer = concordance_index_ipcw(told, told, lung["age"].to_numpy(dtype=float), tau=700)[0]
    found = concordance(time, lung["status"], lung["age"], kind="uno", tau=700).estimate.value
    assert found == pytest.approx(peer, abs=1e-12)


@pytest.mark.parametrize("kind", ["harrell", "uno"])
def test_the_error_is_the_infinitesimal_jackknife(lung, kind):
    part = lung.iloc[:150]
    columns = [part[c].to_numpy() for c in ("month", "status", "age")]
    whole = concordance(*columns, kind=kind, tau=20)
    moves = []
    for i in range(150):
        mass = np.ones(150)
        mass[i] += 1e-5
        moves.append(
            concordance(*columns, kind=kind, tau=20, weights=mass).estimate.value - whole.estimate.value
        )
    assert whole.standard_error == pytest.approx(np.sqrt(np.sum(np.square(moves))) / 1e-5, rel=1e-4)


def test_order_of_rows_and_scale_of_risk_do_not_matter(lung):
    order = np.random.default_rng(3).permutation(len(lung))
    one = concordance(lung["month"], lung["status"], lung["age"], kind="uno")
    other = concordance(
        *(lung[c].to_numpy()[order] for c in ("month", "status")),
        np.exp(lung["age"].to_numpy()[order] / 9),
        kind="uno",
    )
    assert other.estimate.value == pytest.approx(one.estimate.value, abs=1e-12)
    assert other.standard_error == pytest.approx(one.standard_error, rel=1e-9)


def test_a_weight_of_two_is_two_customers(lung):
    mass = np.where(lung["sex"] == 2, 2, 1)
    rows = np.repeat(np.arange(len(lung)), mass)
    copies = concordance(*(lung[c].to_numpy()[rows] for c in ("month", "status", "age")), kind="uno", tau=20)
    weighted = concordance(lung["month"], lung["status"], lung["age"], weights=mass, kind="uno", tau=20)
    assert weighted.estimate.value == pytest.approx(copies.estimate.value, abs=1e-12)


def test_counting_below_equals_brute_force():
    rng = np.random.default_rng(4)
    rank, mass = rng.integers(0, 37, 200), rng.integers(1, 5, 200).astype(float)
    ends = np.sort(rng.integers(0, 201, (100, 2)), axis=1)
    bound = rng.integers(0, 40, 100)
    brute = [mass[a:b][rank[a:b] < c].sum() for (a, b), c in zip(ends, bound, strict=True)]
    assert below(rank, mass, ends[:, 0], ends[:, 1], bound).tolist() == brute


def test_verdicts_say_what_the_interval_allows():
    rng = np.random.default_rng(5)
    time = rng.exponential(10, 300)
    assert (
        "rightly who leaves first" in concordance(time, np.ones(300), -time + rng.normal(0, 5, 300)).verdict()
    )
    assert "not clearly better than a coin" in concordance(time, np.ones(300), rng.normal(size=300)).verdict()
    assert "wrongly more often" in concordance(time, np.ones(300), time + rng.normal(0, 5, 300)).verdict()


def test_bad_input_is_named():
    with pytest.raises(ContractError, match=r"risk is missing or infinite in 1 row \(at position 1\)"):
        concordance([1, 2], [1, 1], [0.1, np.nan])
    with pytest.raises(ContractError, match=r"events must be 0 .* 1 row \(at position 0\)"):
        concordance([1, 2], [2, 1], [0.1, 0.2])
    with pytest.raises(ContractError, match="risk has 1 values for 2 durations"):
        concordance([1, 2], [1, 1], [0.1])
    with pytest.raises(ContractError, match="negative in 1 row"):
        concordance([-1, 2], [1, 1], [0.1, 0.3])
    with pytest.raises(ContractError, match="no pair of the 2 customers is comparable"):
        concordance([1, 2], [0, 1], [0.1, 0.3])
    with pytest.raises(ContractError, match="must exceed entry"):
        concordance([1, 2], [1, 1], [0.1, 0.3], entry=[0, 2])
    with pytest.raises(DesignError, match="Restart every clock at entry"):
        concordance([3, 4], [1, 1], [0.1, 0.3], entry=[0, 2], kind="uno")
    with pytest.raises(ArgumentError, match="kind must be"):
        concordance([1, 2], [1, 1], [0.1, 0.3], kind="somers")
    with pytest.raises(ArgumentError, match="earlier tau"):
        concordance(
            [1, 5, 6], [1, 1, 1], [0.1, 0.3, 0.2], kind="uno", train_times=[2, 3], train_events=[0, 0]
        )
