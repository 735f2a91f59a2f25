"""The profile of those whom an invitation moved."""

import numpy as np
import polars as pl
import pytest

from loyalty_research.comparison import Comparison, Mean, complier_profile
from loyalty_research.errors import ArgumentError, ContractError, DesignError

GIVEN = {
    "design": "encouragement",
    "assignment": "arm",
    "control": "control",
    "received": "joined",
    "covariates": ["pre_spend"],
}


def moved(n, seed):
    """Units with known types: always join, join when invited, never."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(["always", "moved", "never"], n, p=[0.2, 0.3, 0.5])
    age = np.select([kind == "always", kind == "moved"], [60.0, 30.0], 45.0) + rng.normal(0, 5, n)
    arm = rng.choice(["control", "invited"], n)
    joined = (kind == "always") | ((kind == "moved") & (arm == "invited"))
    return pl.DataFrame({"arm": arm, "joined": joined.astype(int), "age": age, "spend": rng.normal(size=n)})


def test_it_finds_the_mean_of_those_moved_whom_it_cannot_see():
    plan = Comparison(Mean("spend"), **{**GIVEN, "covariates": ["age"]})
    found = complier_profile(plan, moved(40_000, 1))
    assert found.share == pytest.approx(0.3, abs=0.02)
    assert found.means["age"].low < 30 < found.means["age"].high
    assert found.everybody["age"] == pytest.approx(0.2 * 60 + 0.3 * 30 + 0.5 * 45, abs=0.2)
    assert "they are not like everybody: age" in found.verdict()
    assert found.to_frame()["estimand"].tolist() == ["mean of those moved"]


def test_coverage_of_the_mean_of_those_moved():
    plan = Comparison(Mean("spend"), **{**GIVEN, "covariates": ["age"]})
    replicates, held = 200, 0
    for seed in range(replicates):
        e = complier_profile(plan, moved(1500, seed)).means["age"]
        held += e.low <= 30 <= e.high
    assert abs(held / replicates - 0.95) < 3 * np.sqrt(0.95 * 0.05 / replicates)


def test_what_it_needs(invitations):
    frame = invitations(500, 0)
    plan = Comparison(Mean("spend"), **GIVEN)
    with pytest.raises(ContractError, match="units has no column 'age'"):
        complier_profile(plan, frame, covariates=["age"])
    with pytest.raises(ContractError, match="region holds String, not numbers"):
        complier_profile(plan, frame, covariates=["region"])
    with pytest.raises(ArgumentError, match="there is no arm 'mailed'"):
        complier_profile(plan, frame, arm="mailed")
    with pytest.raises(ArgumentError, match="covariates= is empty"):
        complier_profile(Comparison(Mean("spend"), **{**GIVEN, "covariates": []}), frame)
    with pytest.raises(DesignError, match="needs design='encouragement'"):
        complier_profile(
            Comparison(Mean("spend"), design="randomised", assignment="arm", control="control"), frame
        )
    several = frame.assign(arm=np.where(frame["store"] % 5 == 0, "mailed", frame["arm"]))
    with pytest.raises(ArgumentError, match="which of invited, mailed"):
        complier_profile(plan, several)
