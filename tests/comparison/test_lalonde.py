"""Observational estimators against a lottery on real data."""

import pytest

from loyalty_research.comparison import lalonde_benchmark


@pytest.fixture(scope="module")
def found():
    pytest.importorskip("causaldata")
    return lalonde_benchmark()


def test_benchmark_and_raw_gap_are_the_published_ones(found, oracle):
    assert found.benchmark.value == pytest.approx(oracle("nsw_ate")["expected"][0], abs=0.5)
    assert found.raw.value == pytest.approx(oracle("nsw_cps_naive")["expected"], abs=0.5)


def test_what_was_measured_recovers_the_lottery(found):
    # the gap to explain is above ten thousand; every method comes back to within 300 of the lottery
    for e in found.adjusted.values():
        assert abs(e.value - found.benchmark.value) < 300
        assert e.low < found.benchmark.value < e.high
        assert found.raw.high < e.low
    assert "it need not be elsewhere" in found.verdict()
    assert found.to_frame()["estimand"].tolist() == ["ITT", "not an effect", "ATT", "ATT", "ATT"]
    assert len(found.plot().get_yticks()) == 5
