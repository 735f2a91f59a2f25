"""Response weights: cells by hand, refusals, and bias removed where response goes with the groups."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme import net_promoter_score, response_weights


def groups(**sizes):
    labels = [name for name, size in sizes.items() for _ in range(size)]
    return pd.Series(labels, index=[f"c{i}" for i in range(len(labels))])


def test_weighted_answers_have_the_groups_of_those_asked():
    asked = groups(often=40, seldom=60, never=100)
    answered = [f"c{i}" for i in [*range(30), *range(40, 55), *range(100, 110)]]
    found = response_weights(asked, answered)
    total = found.weights.groupby(asked.loc[answered]).sum() / len(answered)
    assert total.to_dict() == pytest.approx({"often": 0.2, "seldom": 0.3, "never": 0.5})
    assert found.by_group["seldom"].value == pytest.approx(0.25)
    assert found.rate.value == pytest.approx(55 / 200)
    assert found.weights.mean() == pytest.approx(1)
    assert found.effective == pytest.approx(55**2 / (found.weights**2).sum())
    assert "10.0% of the group never" in found.verdict()


def test_equal_response_weights_equally():
    found = response_weights(groups(a=20, b=40), [f"c{i}" for i in [*range(10), *range(20, 40)]])
    assert found.weights.tolist() == pytest.approx([1.0] * 30)
    assert found.effective == pytest.approx(30)


def test_who_was_not_asked_cannot_answer():
    asked = groups(a=20, b=20)
    with pytest.raises(ArgumentError, match="1 customers who are not in groups and 1 repeats"):
        response_weights(asked, ["c0", "c0", "z"])
    with pytest.raises(DesignError, match="1 of 2 groups have fewer than 5"):
        response_weights(asked, [f"c{i}" for i in range(10)])
    with pytest.raises(ContractError, match="null"):
        response_weights(asked.where(asked == "a"), ["c0"])
    with pytest.raises(ContractError, match="twice"):
        response_weights(pd.concat([asked, asked]), ["c0"])


def test_weights_take_away_the_bias_that_groups_explain():
    rng = np.random.default_rng(4)
    often = rng.random(4000) < 0.5
    score = np.where(rng.random(4000) < np.where(often, 0.8, 0.3), 10, 3)
    answered = rng.random(4000) < np.where(often, 0.6, 0.1)
    asked = pd.Series(np.where(often, "often", "seldom"), index=np.arange(4000))
    weights = response_weights(asked, np.flatnonzero(answered)).weights
    truth = net_promoter_score(score).score.value
    plain = net_promoter_score(score[answered]).score
    even = net_promoter_score(score[answered], weights=weights.to_numpy()).score
    assert plain.low > truth
    assert even.low < truth < even.high
