"""Segments from predictions: rules on their edges, and whether limits hold what is known to be true."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research import clv, summaries
from loyalty_research.clv._discount import Discounting
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.programme.value_segments import SEGMENTS, value_segments

TRUTH = {"r": 0.8, "alpha": 40.0, "s": 0.7, "beta": 120.0}
AHEAD = 120


def people(**columns):
    made = {"frequency": [3, 3, 0, 5], "probability_alive": [0.5, 0.49, 0.2, 0.9]}
    made["expected_purchases"] = [1.0, 3.0, 0.1, 0.99]
    return pd.DataFrame({**made, **columns}, index=list("abcd"))


def test_a_value_on_an_edge_belongs_above_it():
    found = value_segments(people())
    assert found.labels.to_dict() == {"a": "loyal", "b": "lapsed", "c": "one-time", "d": "occasional"}


def test_negative_comes_first_and_potential_has_no_prediction():
    found = value_segments(people(), customers=list("eabcd"), negative=["a", "z"])
    assert found.labels.tolist() == ["potential", "negative", "lapsed", "one-time", "occasional"]
    assert list(found.labels.cat.categories) == list(SEGMENTS)


def many(n=400):
    return pd.DataFrame(
        {
            "frequency": np.repeat([0, 4], n // 2),
            "probability_alive": np.linspace(0.02, 0.98, n),
            "expected_purchases": np.linspace(0.1, 4, n),
        }
    )


def test_without_draws_sizes_are_counts():
    found = value_segments(many(), purchases_edge=1e-6)
    assert found.moved is None
    assert found.sizes["loyal"].value == 0.5
    assert found.sizes["loyal"].method == "wilson"
    assert found.membership.sum(axis=1).eq(1).all()
    assert found.still["loyal"].value == pytest.approx(np.linspace(0.02, 0.98, 400)[200:].mean())


def test_draws_that_agree_leave_nobody_unsure():
    table = many()
    alive = np.repeat(table["probability_alive"].to_numpy()[:, None], 40, axis=1)
    ahead = np.repeat(table["expected_purchases"].to_numpy()[:, None], 40, axis=1)
    found = value_segments(table, draws=(alive, ahead))
    assert found.moved.value == found.moved.high == 0.0
    assert found.sizes["loyal"].low == found.sizes["loyal"].high == pytest.approx(0.5)


def test_expected_size_is_the_sum_of_chances():
    table = many()
    rng = np.random.default_rng(2)
    shift = rng.normal(0, 0.1, 60)
    alive = np.clip(table["probability_alive"].to_numpy()[:, None] + shift, 0, 1)
    found = value_segments(table, draws=(alive, np.ones((400, 60)) * 2))
    for segment, size in found.sizes.items():
        assert size.value == pytest.approx(found.membership[segment].mean())
    # only those near the edge are unsure
    unsure = found.membership.max(axis=1) < 1
    assert table.loc[unsure, "probability_alive"].between(0.1, 0.9).all()
    assert 0 < found.moved.value < unsure.mean()


def test_small_segments_are_hidden_with_what_reveals_them():
    table = pd.concat([people()] * 30, ignore_index=True)
    table.loc[[1, 5], "probability_alive"] = 0.9
    table.loc[table["probability_alive"] == 0.2, "frequency"] = 0
    few = table.drop(index=[i for i in table.index if i % 4 == 1 and i > 16])
    found = value_segments(few)
    assert found.sizes["lapsed"].method.startswith("hidden")
    assert sum(s.method.startswith("hidden") for s in found.sizes.values()) == 2
    assert "lapsed" not in found.still


def test_a_model_without_one_time_buyers_is_marked():
    sure = people(probability_alive=[0.5, 0.4, 1.0, 0.9])
    assert value_segments(sure).checks[1].status == "warning"
    assert value_segments(people()).checks[1].status == "passed"


def test_impossible_input_is_refused():
    with pytest.raises(ContractError, match="no probability at 1 row"):
        value_segments(people(probability_alive=[0.5, 1.2, 0.1, 0.1]))
    with pytest.raises(ContractError, match="no count"):
        value_segments(people(frequency=[0.5, 1, 1, 1]))
    with pytest.raises(ContractError, match="lacks the column expected_purchases"):
        value_segments(people().drop(columns="expected_purchases"))
    with pytest.raises(ContractError, match="not among customers"):
        value_segments(people(), customers=["a"])
    with pytest.raises(ArgumentError, match="shape"):
        value_segments(people(), draws=(np.ones((3, 40)), np.ones((3, 40))))
    with pytest.raises(ArgumentError, match="alive_edge"):
        value_segments(people(), alive_edge=1.0)


# --- limits against what is known ---------------------------------------------------------------


def population(rng, customers):
    """Draw customers of a Pareto/NBD world: purchase days up to 400 days, and who is still one."""
    rate = rng.gamma(TRUTH["r"], 1 / TRUTH["alpha"], customers)
    life = rng.exponential(1 / rng.gamma(TRUTH["s"], 1 / TRUTH["beta"], customers))
    start = rng.integers(0, 100, customers)
    observed = 400.0 - start
    made = rng.poisson(rate * np.minimum(observed, life))
    who = np.repeat(np.arange(customers), made)
    day = start[who] + np.ceil(rng.random(len(who)) * np.minimum(observed, life)[who])
    who, day = np.r_[np.arange(customers), who], np.r_[start, day]
    lines = pd.DataFrame(
        {"customer_id": who, "transacted_date": pd.Timestamp("2024-01-01") + pd.to_timedelta(day, unit="D")}
    )
    return lines.assign(amount=1.0), life > observed


def true_labels(lines):
    """Return the segments under the true parameters."""
    summary = summaries.purchases(lines, unit="D", observation_end="2025-02-04")
    rows = [summary[c].to_numpy(dtype=float) for c in ("frequency", "recency", "T")]
    core, theta = clv.ParetoNBD().core, np.array(list(TRUTH.values()))
    panels = Discounting((0.0, float(AHEAD)), np.ones(1), 0.0)
    exact = pd.DataFrame(
        {
            "frequency": rows[0],
            "probability_alive": core.alive(theta, *rows),
            "expected_purchases": core.conditional(theta, rows[0], rows[1], rows[2], panels),
        },
        index=summary.index,
    )
    return value_segments(exact).labels


def coverage(replicates, seed, customers=600):
    """Return how often limits hold the true sizes, and the share of a segment that truly are customers."""
    rng = np.random.default_rng(seed)
    sizes, still = [], []
    for no in range(replicates):
        lines, alive = population(rng, customers)
        found = clv.outlook(lines, until="2025-02-04", days=AHEAD, draws=100, seed=no)
        placed = value_segments(found.predictions, draws=found.draws)
        true = true_labels(lines)
        for segment in ("loyal", "lapsed", "occasional"):
            size = placed.sizes[segment]
            sizes.append(size.low <= (true == segment).mean() <= size.high)
            inside = (placed.labels == segment).to_numpy()
            still.append(placed.still[segment].low <= alive[inside].mean() <= placed.still[segment].high)
    return np.mean(sizes), np.mean(still)


def test_limits_hold_what_is_true_in_a_few_replicates():
    sizes, still = coverage(16, 1, customers=400)
    assert sizes > 0.85
    assert still > 0.85


@pytest.mark.slow
def test_limits_hold_what_is_true(published):
    sizes, still = coverage(500, 2)
    names = ("segments by expected value: sizes", "segments by expected value: still customers")
    published(zip(names, (sizes, still), strict=True), 500)
    assert 0.915 < sizes < 0.985
    assert still == pytest.approx(0.95, abs=0.025)
