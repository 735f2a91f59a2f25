import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import adjusted_rand_score

from loyalty_research.errors import DesignError
from loyalty_research.programme.association import adjusted_rand_index, cramers_v

KEPT = np.array([[0.30, 0.08, 0.02], [0.06, 0.20, 0.04], [0.02, 0.05, 0.23]])


def test_cramers_v_is_scipys():
    table = np.array([[40, 10, 5], [20, 30, 9], [4, 6, 60]], dtype=float)
    found = cramers_v(table)
    assert found.value == pytest.approx(stats.contingency.association(table.astype(int), method="cramer"))
    assert found.p_value == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue)
    # an empty segment changes nothing
    assert cramers_v(np.pad(table, (0, 1))) == found


def test_the_gradient_gives_the_bootstraps_spread():
    rng = np.random.default_rng(8)
    table = np.array([[400, 100, 50], [200, 300, 90], [40, 60, 600]], dtype=float)
    n = int(table.sum())
    draws = rng.multinomial(n, (table / n).ravel(), size=1500).reshape(-1, 3, 3)
    spread = np.std([np.arctanh(cramers_v(d.astype(float)).value) for d in draws])
    found = cramers_v(table)
    half = (np.arctanh(found.high) - np.arctanh(found.low)) / 2
    assert half / stats.norm.isf(0.025) == pytest.approx(spread, rel=0.07)


def coverage(measure, replicates, seed):
    rng = np.random.default_rng(seed)
    truth = measure(KEPT * 1e9).value
    hits = 0
    for _ in range(replicates):
        found = measure(rng.multinomial(400, KEPT.ravel()).reshape(3, 3).astype(float))
        hits += found.low <= truth <= found.high
    return hits / replicates


@pytest.mark.parametrize("measure", [cramers_v, adjusted_rand_index])
def test_limits_cover_in_a_few_replicates(measure):
    assert coverage(measure, 400, 1) == pytest.approx(0.95, abs=3 * np.sqrt(0.05 * 0.95 / 400))


@pytest.mark.slow
@pytest.mark.parametrize("measure", [cramers_v, adjusted_rand_index])
def test_limits_cover(measure, published):
    share = coverage(measure, 2000, 2)
    published({f"agreement of two segmentations: {measure.__name__}": share}, 2000)
    assert share == pytest.approx(0.95, abs=3 * np.sqrt(0.05 * 0.95 / 2000))


def test_the_rand_index_is_scikit_learns():
    rng = np.random.default_rng(5)
    one = rng.integers(0, 3, 300)
    two = np.where(rng.random(300) < 0.6, one, rng.integers(0, 4, 300))
    table = np.zeros((3, 4))
    np.add.at(table, (one, two), 1)
    found = adjusted_rand_index(table)
    assert found.value == pytest.approx(adjusted_rand_score(one, two), abs=1e-12)
    # names and empty segments do not matter
    assert adjusted_rand_index(np.pad(table[::-1], (0, 2))).value == pytest.approx(found.value, abs=1e-12)


def test_the_rand_index_moves_as_the_bootstrap_does():
    rng = np.random.default_rng(6)
    table = np.array([[400, 100, 50], [200, 300, 90], [40, 60, 600]], dtype=float)
    n = int(table.sum())
    draws = rng.multinomial(n, (table / n).ravel(), size=1500).reshape(-1, 3, 3)
    spread = np.std([np.arctanh(adjusted_rand_index(d.astype(float)).value) for d in draws])
    found = adjusted_rand_index(table)
    half = (np.arctanh(found.high) - np.arctanh(found.low)) / 2
    assert half / stats.norm.isf(0.025) == pytest.approx(spread, rel=0.07)


def test_divisions_that_are_the_same_or_have_nothing_in_common():
    same = adjusted_rand_index(np.diag([30.0, 20.0]))
    assert same.value == pytest.approx(1.0)
    assert np.isnan(same.low)
    assert adjusted_rand_index(np.full((2, 2), 1e6)).value == pytest.approx(0.0, abs=1e-5)
    with pytest.raises(DesignError, match="at least two segments"):
        adjusted_rand_index(np.array([[10.0, 5.0]]))
