import numpy as np
import pytest

from loyalty_research.comparison import confidence_sequence
from loyalty_research.errors import ArgumentError


def test_half_width(oracle):
    case = oracle("asymp_cs_halfwidth")
    given = case["inputs"]
    found = confidence_sequence(
        1.0,
        standard_error=np.sqrt(given["s2"] / given["n"]),
        n=given["n"],
        optimal_n=given["N"],
        level=1 - given["alpha"],
    )
    assert found.high - 1.0 == pytest.approx(case["expected"][1], abs=case["tolerance"])
    assert 1.0 - found.low == pytest.approx(case["expected"][1], abs=case["tolerance"])


def test_narrowest_relative_to_the_fixed_interval_near_the_chosen_size():
    n = np.array([500, 5_000, 50_000])
    ratio = [
        (confidence_sequence(0, standard_error=1 / np.sqrt(m), n=m, optimal_n=5_000).high) * np.sqrt(m)
        for m in n
    ]
    assert ratio[1] < min(ratio[0], ratio[2])


@pytest.mark.parametrize(
    "bad",
    [{"standard_error": 0.0}, {"n": 0}, {"optimal_n": -1}, {"level": 1.0}, {"standard_error": float("nan")}],
)
def test_bad_options(bad):
    with pytest.raises(ArgumentError):
        confidence_sequence(0.0, **{"standard_error": 1.0, "n": 10, "optimal_n": 10, **bad})


@pytest.mark.slow
def test_looking_at_every_step_keeps_the_error(measured, at_least):
    """Peek at each of 1,000 looks after a burn-in of 100 units; a fixed z rejects far more often."""
    rng = np.random.default_rng(12)
    looks = np.unique(np.geomspace(100, 20_000, 1000).astype(int))
    error = 1 / np.sqrt(looks)
    half = np.array(
        [
            confidence_sequence(0, standard_error=e, n=n, optimal_n=2000).high
            for e, n in zip(error, looks, strict=True)
        ]
    )
    missed = fixed = 0
    for _ in range(2000):
        mean = np.cumsum(rng.exponential(1.0, looks[-1]) - 1.0)[looks - 1] / looks
        missed += bool(np.any(np.abs(mean) > half))
        fixed += bool(np.any(np.abs(mean) > 1.96 * error))
    assert at_least(2000 - missed, 2000)
    assert fixed / 2000 > 0.2
    measured("a thousand looks: confidence sequence", 2000 - missed, 2000, aim="at least 95%")
    measured("a thousand looks: a fixed 95% interval, not offered", 2000 - fixed, 2000)
