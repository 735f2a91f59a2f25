from collections import Counter

import numpy as np
import pytest
from scipy import optimize, special, stats

from loyalty_research.endowed_progress.hazard import (
    allow_for_clusters,
    fit_pooled,
    fit_random_intercept,
    group_histories,
    marginal,
)
from loyalty_research.errors import ConvergenceError

SHARE = np.concatenate([np.arange(8) / 8, (np.arange(8) + 2) / 10])
DESIGN = np.column_stack([np.ones(16), SHARE])


def trial(rng, alpha, beta, sigma=1.0, per_arm=150, weeks=39):
    """Rows of cards (card, cell, trials, visits): 8 stamps to earn, or 10 with 2 given."""
    n = 2 * per_arm
    first = 8 * np.repeat([0, 1], per_arm)
    u, earned = rng.normal(0, sigma, n), np.zeros(n, dtype=int)
    trials, visits = np.zeros((n, 8), dtype=int), np.zeros((n, 8), dtype=int)
    for _ in range(weeks):
        live = np.flatnonzero(earned < 8)
        here = earned[live]
        visit = rng.random(len(live)) < special.expit(alpha + u[live] + beta * SHARE[first[live] + here])
        trials[live, here] += 1
        visits[live, here] += visit
        earned[live] += visit
    card, level = np.nonzero(trials)
    return card, first[card] + level, trials[card, level], visits[card, level], earned == 8


def grouped(rng, *args, **options):
    return group_histories(*trial(rng, *args, **options)[:4])


def dense(theta, data, link):
    """The marginal log-likelihood by brute force: a grid of 601 intercepts, card by card."""
    z = np.linspace(-8, 8, 601)
    weight = stats.norm.pdf(z) * (z[1] - z[0])
    eta = DESIGN @ theta[:-1]
    ends = np.append(data.start[1:], len(data.row_cell))
    total = 0.0
    for start, end, count in zip(data.start, ends, data.count, strict=True):
        log = np.zeros_like(z)
        for r in range(start, end):
            line = eta[data.row_cell[r]] + np.exp(theta[-1]) * z
            if link == "logit":
                hit, miss = -np.logaddexp(0, -line), -np.logaddexp(0, line)
            else:
                hit, miss = np.log(-np.expm1(-np.exp(line))), -np.exp(line)
            log += data.visits[r] * hit + (data.trials[r] - data.visits[r]) * miss
        total += count * special.logsumexp(log, b=weight)
    return total


@pytest.mark.parametrize("link", ["logit", "cloglog"])
def test_likelihood_equals_brute_force(link):
    data = grouped(np.random.default_rng(6), -2.4, 1.0, per_arm=30)
    for theta in ([-2.0, 0.5, -0.2], [-3.0, 2.0, 0.6]):
        got = marginal(np.array(theta), DESIGN, data, link=link, nodes=21)[0]
        assert got == pytest.approx(dense(np.array(theta), data, link), abs=1e-4)


@pytest.mark.parametrize("link", ["logit", "cloglog"])
def test_gradient_and_hessian_are_those_of_the_likelihood(link):
    data = grouped(np.random.default_rng(7), -2.4, 1.0, per_arm=40)
    theta, step = np.array([-2.2, 0.7, -0.1]), 1e-5

    def at(change):
        return marginal(theta + change, DESIGN, data, link=link, nodes=41)

    _, gradient, hessian = at(np.zeros(3))
    for k, axis in enumerate(np.eye(3) * step):
        assert gradient[k] == pytest.approx((at(axis)[0] - at(-axis)[0]) / (2 * step), rel=1e-5, abs=1e-4)
        assert hessian[k] == pytest.approx((at(axis)[1] - at(-axis)[1]) / (2 * step), rel=1e-5, abs=1e-4)


def test_fit_is_the_maximum_of_brute_force():
    data = grouped(np.random.default_rng(8), -2.4, 1.0, per_arm=20)
    fit = fit_random_intercept(DESIGN, data)
    found = optimize.minimize(
        lambda t: -dense(t, data, "logit"), [-2.4, 1.0, 0.0], method="Nelder-Mead",
        options={"xatol": 1e-4, "fatol": 1e-6},
    )  # fmt: skip
    assert fit.log_likelihood == pytest.approx(-found.fun, abs=1e-4)
    assert [*fit.coefficients, np.log(fit.sigma)] == pytest.approx(found.x.tolist(), abs=5e-3)


@pytest.mark.parametrize("link", ["logit", "cloglog"])
def test_fit_equals_glmer_and_integration(oracle, link):
    case = oracle(f"random_intercept_{link}")
    want, near = case["expected"], case["tolerance"]
    columns = [np.array(case["inputs"][name]) for name in ("card", "cell", "trials", "visits")]
    design = np.column_stack([DESIGN, np.repeat([0.0, 1.0], 8)])
    fit = fit_random_intercept(design, group_histories(*columns), link=link, nodes=25)
    got = [*fit.coefficients, np.log(fit.sigma)]
    assert got == pytest.approx(want["coefficients"], abs=near["coefficients"])
    errors = np.sqrt(np.diag(fit.covariance))
    assert errors == pytest.approx(want["standard_errors"], abs=near["standard_errors"])
    assert fit.log_likelihood == pytest.approx(want["log_likelihood"], abs=near["log_likelihood"])
    # lme4 counts from the saturated model of its rows
    visits, trials = columns[3], columns[2]
    saturated = special.xlogy(visits, visits / trials) + special.xlogy(trials - visits, 1 - visits / trials)
    relative = fit.log_likelihood - saturated.sum()
    assert relative == pytest.approx(
        want["glmer_relative_log_likelihood"], abs=near["glmer_relative_log_likelihood"]
    )


def test_histories_are_the_rows_of_the_cards():
    card, cell, trials, visits, _ = trial(np.random.default_rng(11), -1.8, 1.0, per_arm=60)
    shuffled = np.random.default_rng(1).permutation(len(card))
    data = group_histories(*(v[shuffled] for v in (card, cell, trials, visits)))
    ends = np.append(data.start[1:], len(data.row_cell))
    ours = Counter()
    for start, end, count in zip(data.start, ends, data.count, strict=True):
        rows = zip(data.row_cell[start:end], data.trials[start:end], data.visits[start:end], strict=True)
        ours[tuple(sorted((int(a), int(b), int(c)) for a, b, c in rows))] += int(count)
    theirs = Counter(
        tuple(sorted(zip(*(v[card == k].tolist() for v in (cell, trials, visits)), strict=True)))
        for k in range(120)
    )
    assert ours == theirs


def test_a_sample_to_start_from_changes_nothing(monkeypatch):
    data = grouped(np.random.default_rng(13), -2.6, 1.0, per_arm=400)
    from loyalty_research.endowed_progress import hazard

    whole = fit_random_intercept(DESIGN, data)
    monkeypatch.setattr(hazard, "_SAMPLE", 60)
    monkeypatch.setattr(hazard, "_CHUNK", 100)
    parts = fit_random_intercept(DESIGN, data)
    assert parts.log_likelihood == pytest.approx(whole.log_likelihood, abs=1e-6)
    assert parts.coefficients == pytest.approx(whole.coefficients, abs=1e-5)
    assert parts.covariance == pytest.approx(whole.covariance, rel=1e-4)


def test_pooled_fit_equals_logistic_regression():
    import statsmodels.api as sm

    card, cell, trials, visits, _ = trial(np.random.default_rng(9), -2.4, 1.0)
    fit = sm.GLM(
        np.column_stack([visits, trials - visits]), DESIGN[cell], family=sm.families.Binomial()
    ).fit()
    got = fit_pooled(DESIGN, group_histories(card, cell, trials, visits))
    assert got.coefficients == pytest.approx(fit.params, abs=1e-8)
    assert np.sqrt(np.diag(got.covariance)) == pytest.approx(fit.bse, rel=1e-6)
    link = sm.families.links.CLogLog()
    loglog = sm.GLM(
        np.column_stack([visits, trials - visits]), DESIGN[cell], family=sm.families.Binomial(link=link)
    ).fit()
    other = fit_pooled(DESIGN, group_histories(card, cell, trials, visits), link="cloglog")
    assert other.coefficients == pytest.approx(loglog.params, abs=1e-6)


def test_grouping_changes_nothing():
    card, cell, trials, visits, _ = trial(np.random.default_rng(10), -2.4, 1.0)
    once = group_histories(card, cell, trials, visits)
    twice = group_histories(
        np.concatenate([card, card + 1000]), *(np.tile(v, 2) for v in (cell, trials, visits))
    )
    assert len(once.start) < 300
    assert once.count.sum() == 300
    assert twice.count.tolist() == (2 * once.count).tolist()
    one, two = fit_random_intercept(DESIGN, once), fit_random_intercept(DESIGN, twice)
    assert two.coefficients == pytest.approx(one.coefficients, abs=1e-6)
    assert two.covariance == pytest.approx(one.covariance / 2, abs=1e-6)


def test_no_spread_falls_back_to_the_pooled_fit():
    # every card behaves exactly alike: less spread than chance alone gives
    card = np.repeat(np.arange(40), 2)
    cell, trials, visits = np.tile([0, 1], 40), np.tile([5, 5], 40), np.tile([1, 2], 40)
    data = group_histories(card, cell, trials, visits)
    design = np.array([[1.0, 0.0], [1.0, 1.0]])
    fit = fit_random_intercept(design, data)
    assert fit.sigma == 0
    assert fit.coefficients == pytest.approx(
        special.logit([0.2, 0.4]) @ np.array([[1, -1], [0, 1]]), abs=1e-6
    )


def test_separation_is_no_estimate():
    card, cell = np.repeat(np.arange(20), 2), np.tile([0, 1], 20)
    trials, visits = np.tile([4, 4], 20), np.tile([1, 0], 20)
    with pytest.raises(ConvergenceError, match="no finite maximum"):
        fit_random_intercept(np.array([[1.0, 0.0], [1.0, 1.0]]), group_histories(card, cell, trials, visits))


def test_clusters_of_one_card_near_the_model():
    card, cell, trials, visits, _ = trial(np.random.default_rng(14), -2.4, 1.0, per_arm=1500)
    data = group_histories(card, cell, trials, visits)
    fit = fit_random_intercept(DESIGN, data)
    options = {"link": "logit", "nodes": 21, "arms": 2}
    alone = allow_for_clusters(fit, DESIGN, data, np.arange(3000), **options)
    assert np.diag(alone.covariance) == pytest.approx(np.diag(fit.covariance), rel=0.1)
    assert alone.clusters == 3000
    # every card twice in its cluster: as if there were half as many
    double = group_histories(
        np.concatenate([card, card + 3000]), *(np.tile(v, 2) for v in (cell, trials, visits))
    )
    pairs = allow_for_clusters(
        fit_random_intercept(DESIGN, double), DESIGN, double, np.tile(np.arange(3000), 2), **options
    )
    assert np.diag(pairs.covariance) == pytest.approx(np.diag(alone.covariance), rel=1e-4)
    assert pairs.degrees == 2998


def test_scores_by_cluster_are_slopes_of_the_likelihood():
    card, cell, trials, visits, _ = trial(np.random.default_rng(15), -2.4, 1.0, per_arm=30)
    data = group_histories(card, cell, trials, visits)
    fit = fit_random_intercept(DESIGN, data, nodes=41)
    cluster = np.arange(60) % 7
    got = allow_for_clusters(fit, DESIGN, data, cluster, link="logit", nodes=41, arms=2).covariance
    theta, step = np.append(fit.coefficients, np.log(fit.sigma)), 1e-5
    scores = np.zeros((7, 3))
    for k in range(7):
        mine = np.isin(card, np.flatnonzero(cluster == k))
        some = group_histories(card[mine], cell[mine], trials[mine], visits[mine])
        for j, axis in enumerate(np.eye(3) * step):
            ends = [marginal(theta + s * axis, DESIGN, some, link="logit", nodes=41)[0] for s in (1, -1)]
            scores[k, j] = (ends[0] - ends[1]) / (2 * step)
    want = fit.covariance @ scores.T @ scores @ fit.covariance * 7 / 6
    assert got == pytest.approx(want, rel=1e-3, abs=1e-6)


def repeat(case, trials, seed):
    rng, rows = np.random.default_rng(seed), []
    alpha, beta = case["inputs"]["alpha"], case["inputs"]["beta_true"]
    for _ in range(trials):
        *rest, done = trial(rng, alpha, beta)
        data = group_histories(*rest)
        fit, pooled = fit_random_intercept(DESIGN, data), fit_pooled(DESIGN, data)
        error, pooled_error = np.sqrt(fit.covariance[1, 1]), np.sqrt(pooled.covariance[1, 1])
        rows.append(
            (
                fit.coefficients[1],
                abs(fit.coefficients[1] - beta) < 1.959964 * error,
                pooled.coefficients[1],
                abs(pooled.coefficients[1]) > 1.959964 * pooled_error,
                done.mean(),
            )
        )
    return np.mean(rows, axis=0)


def test_no_gradient_is_found_where_there_is_none(oracle):
    case = oracle("null_goal_gradient_selection_artifact")
    want, near = case["expected"], case["tolerance"]
    slope, covered, naive, rejected, completed = repeat(case, 150, seed=20)
    assert slope == pytest.approx(
        want["random_intercept_slope_mean"], abs=near["random_intercept_slope_mean"]
    )
    assert covered == pytest.approx(0.95, abs=3.5 * np.sqrt(0.95 * 0.05 / 150))
    assert naive == pytest.approx(want["naive_pooled_slope_mean"], abs=near["naive_pooled_slope_mean"])
    assert rejected >= 0.97
    assert completed == pytest.approx(want["completion_rate"], abs=near["completion_rate"])


def test_a_true_gradient_is_recovered(oracle):
    case = oracle("true_goal_gradient_recovered")
    want, near = case["expected"], case["tolerance"]
    slope, covered, naive, _, _ = repeat(case, 150, seed=21)
    assert slope == pytest.approx(
        want["random_intercept_slope_mean"], abs=near["random_intercept_slope_mean"]
    )
    assert covered == pytest.approx(want["coverage"], abs=near["coverage"])
    assert naive == pytest.approx(want["naive_pooled_slope_mean"], abs=near["naive_pooled_slope_mean"])
