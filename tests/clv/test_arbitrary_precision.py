"""Likelihoods and expectations against mpmath where floating point has most to lose.

The grids hold recency equal to T, hundreds of purchases, alpha far below and far above beta, and the
points a = 1, s = 1 and gamma = 1, at which the closed forms divide by zero.
"""

from itertools import product

import numpy as np
import pytest

from loyalty_research.clv import _beta_binomial as bb
from loyalty_research.clv import _beta_geometric as bg
from loyalty_research.clv import _contractual, _pareto
from loyalty_research.clv._discount import Discounting

mpmath = pytest.importorskip("mpmath")
mp = mpmath.mp
HISTORIES = [
    (0, 0.0, 39.0),
    (1, 2.0, 39.0),
    (5, 38.9999, 39.0),
    (26, 30.86, 31.0),
    (123, 39.0, 39.0),
    (300, 20.0, 39.0),
    (300, 39.0, 39.0),
    (700, 38.5, 39.0),
]


@pytest.fixture(autouse=True)
def _digits():
    with mpmath.workdps(150):
        yield


def _row(history):
    return [np.array([float(v)]) for v in history]


def _pareto_parts(at, history):
    """Return the alive and the left term of the likelihood, by the published hypergeometric form."""
    r, alpha, s, beta = (mp.mpf(v) for v in at)
    x, tx, T = (mp.mpf(v) for v in history)
    wide, narrow = max(alpha, beta), min(alpha, beta)
    second = s + 1 if alpha >= beta else r + x

    def part(t):
        power = r + s + x
        return mp.hyp2f1(power, second, power + 1, (wide - narrow) / (wide + t)) / (wide + t) ** power

    front = mp.gamma(r + x) / mp.gamma(r) * alpha**r * beta**s
    alive = front / ((alpha + T) ** (r + x) * (beta + T) ** s)
    left = front * s / (r + s + x) * (part(tx) - part(T))
    return alive, left


PARETO = [
    (0.55, 10.58, 0.61, 11.67),
    (0.5, 0.001, 0.6, 900.0),
    (2.0, 800.0, 1.0, 0.01),
    (0.1, 30.0, 3.0, 30.0),
]


@pytest.mark.parametrize(("at", "history"), list(product(PARETO, HISTORIES)))
def test_pareto(at, history):
    alive, left = _pareto_parts(at, history)
    parameters, row = np.array(at), _row(history)
    value = _pareto.log_likelihood(parameters, *row, np.ones(1))[0]
    assert value == pytest.approx(float(mp.log(alive + left)), rel=1e-12, abs=1e-12)
    assert _pareto.row_terms(parameters, *row)[0][0] == pytest.approx(value, rel=1e-13, abs=1e-13)
    share = float(alive / (alive + left))
    assert _pareto.CORE.alive(parameters, *row)[0] == pytest.approx(share, rel=1e-11, abs=1e-300)
    r, alpha, s, beta = (mp.mpf(v) for v in at)
    x, _, T = (mp.mpf(v) for v in history)
    grown = (beta + T + 52) / (beta + T)
    time = mp.log(grown) if s == 1 else (1 - grown ** (1 - s)) / (s - 1)
    ahead = (r + x) * (beta + T) / (alpha + T) * time * alive / (alive + left)
    found = _pareto.CORE.conditional(parameters, *row, Discounting((0.0, 52.0), np.ones(1), 0.0))[0]
    assert found == pytest.approx(float(ahead), rel=1e-11, abs=1e-300)


GEOMETRIC = [
    (0.243, 4.414, 0.793, 2.426),
    (0.5, 0.01, 1.0, 2.0),
    (3.0, 500.0, 0.05, 0.1),
    (1.0, 9.0, 2.0, 40.0),
]


@pytest.mark.parametrize(("at", "history", "coin"), list(product(GEOMETRIC, HISTORIES, (0, 1))))
def test_beta_geometric(at, history, coin):
    r, alpha, a, b = (mp.mpf(v) for v in at)
    x, tx, T = (mp.mpf(v) for v in history)
    front = mp.gamma(r + x) / mp.gamma(r) * alpha**r
    stay = front * mp.beta(a, b + x + coin) / mp.beta(a, b) / (alpha + T) ** (r + x)
    gone = front * mp.beta(a + 1, b + x + coin - 1) / mp.beta(a, b) / (alpha + tx) ** (r + x)
    if x + coin == 0:
        gone = mp.mpf(0)
    parameters, row = np.array(at), _row(history)
    value = bg.log_likelihood(parameters, bg.histories(*row, np.ones(1), coin), coin)[0]
    assert value == pytest.approx(float(mp.log(stay + gone)), rel=1e-12, abs=1e-12)
    assert bg.row_terms(parameters, *row, coin)[0][0] == pytest.approx(value, rel=1e-12, abs=1e-12)
    share = float(stay / (stay + gone))
    assert bg.core(coin).alive(parameters, *row)[0] == pytest.approx(share, rel=1e-11)
    # the published form divides by a - 1: at a = 1, its limit
    near = a + (mp.mpf(10) ** -60 if a == 1 else 0)
    c = near + b + x + coin
    z = 52 / (alpha + T + 52)
    curve = mp.hyp2f1(r + x, b + x + coin, c - 1, z)
    ahead = (c - 1) / (near - 1) * (1 - ((alpha + T) / (alpha + T + 52)) ** (r + x) * curve)
    found = bg.core(coin).conditional(parameters, *row, Discounting((0.0, 52.0), np.ones(1), 0.0))[0]
    assert found == pytest.approx(float(ahead * share), rel=1e-9)


BINOMIAL = [(1.2, 0.75, 0.66, 2.78), (0.05, 30.0, 1.0, 0.2), (20.0, 0.5, 0.01, 400.0)]
PATTERNS = [(0, 0, 6), (6, 6, 6), (3, 4, 6), (1, 1, 365), (300, 365, 365), (2, 300, 365)]


@pytest.mark.parametrize(("at", "pattern"), list(product(BINOMIAL, PATTERNS)))
def test_beta_binomial(at, pattern):
    a, b, c, d = (mp.mpf(v) for v in at)
    x, tx, n = pattern
    front = mp.beta(a, b) * mp.beta(c, d)
    last = mp.beta(a + x, b + n - x) * mp.beta(c, d + n)
    whole = last + mp.fsum(mp.beta(a + x, b + m - x) * mp.beta(c + 1, d + m) for m in range(tx, n))
    parameters, row = np.array(at), _row(pattern)
    assert bb.log_likelihood(parameters, *row)[0] == pytest.approx(float(mp.log(whole / front)), rel=1e-11)
    there = mp.beta(a + x, b + n - x) * mp.beta(c, d + n + 1) / whole
    assert bb.CORE.alive(parameters, *row)[0] == pytest.approx(float(there), rel=1e-9)
    rate = (a + x) / (a + b + n)
    ahead = rate * mp.fsum(mp.beta(c, d + n + k) for k in range(1, 8)) / mp.beta(c, d + n + 1)
    found = bb.CORE.conditional(parameters, *row, Discounting((0.0, 7.0), np.ones(1), 0.0))[0]
    assert found == pytest.approx(float(ahead * there), rel=1e-9)
    for annual in (0.1, 0.004):
        ratio = 1 / (1 + mp.mpf(annual))
        endless = rate * ratio * mp.hyp2f1(1, d + n + 1, c + d + n + 1, ratio) * there
        panels = Discounting((0.0, np.inf), np.ones(1), float(np.log1p(annual)))
        found = bb.CORE.conditional(parameters, *row, panels)[0]
        assert found == pytest.approx(float(endless), rel=1e-8)


CONTRACTS = [(0.668, 3.806), (1.0, 1.0), (0.05, 200.0), (30.0, 2.0), (2.0, 5.0)]


@pytest.mark.parametrize("at", CONTRACTS)
def test_shifted_beta_geometric(at):
    a, b = (mp.mpf(v) for v in at)
    times = [1, 2, 7, 60, 1000]
    spells = _contractual.Spells(np.array(times, dtype=float), np.ones(5), np.ones(5))
    value = _contractual.objective(spells, 2)(np.array(at))[0]
    truth = mp.fsum(mp.log(mp.beta(a + 1, b + t - 1) / mp.beta(a, b)) for t in times)
    assert value == pytest.approx(float(truth), rel=1e-9)
    for t in times:
        found = float(np.exp(_contractual.log_survival(np.array(at), np.array(float(t)))))
        assert found == pytest.approx(float(mp.beta(a, b + t) / mp.beta(a, b)), rel=1e-10)
    for made, annual in product((0, 3, 40), (0.1, 0.008, 0.0003)):
        ratio = 1 / (1 + mp.mpf(annual))
        derl = (b + made) / (a + b + made) * mp.hyp2f1(1, b + made + 1, a + b + made + 1, ratio)
        found = _contractual.discounted_renewals(np.array(at), np.array([float(made)]), annual, None)[0]
        assert found == pytest.approx(float(derl), rel=1e-9)


@pytest.mark.parametrize("at", [(0.9, 4.0, 1.4), (2.0, 1.0, 0.5), (0.3, 50.0, 3.0)])
def test_beta_discrete_weibull(at):
    a, b, c = (mp.mpf(v) for v in at)
    times = [1, 2, 7, 25]
    for left in (0.0, 1.0):
        spells = _contractual.Spells(np.array(times, dtype=float), np.full(4, left), np.ones(4))
        value = _contractual.objective(spells, 3)(np.array(at))[0]
        share = [[mp.beta(a, b + mp.mpf(t - k) ** c) / mp.beta(a, b) for t in times] for k in (0, 1)]
        truth = mp.fsum(mp.log(past - now if left else now) for now, past in zip(*share, strict=True))
        assert value == pytest.approx(float(truth), rel=1e-10)
