import numpy as np
import pandas as pd
import pytest
from scipy import stats

from loyalty_research.comparison import (
    NOT_AN_EFFECT,
    Comparison,
    Mean,
    Proportion,
    Ratio,
    anderson_rubin_set,
    wald_estimate,
)
from loyalty_research.errors import ArgumentError, ContractError


def compare(table, metrics=None, **options):
    given = {"design": "encouragement", "assignment": "arm", "control": "control", "received": "joined"}
    return Comparison(metrics or Mean("spend"), **{**given, **options}).analyse(table)


def test_thornton_first_stage(oracle):
    data = pytest.importorskip("causaldata").thornton_hiv.load_pandas().data
    table = data.dropna(subset=["got", "any"]).astype({"got": float, "any": float})
    case = oracle("thornton_itt")
    table = table.assign(y=table["got"] * 2 + np.arange(len(table)) % 3)
    result = compare(table, Mean("y"), assignment="any", control=0, received="got")
    row = result.to_frame().iloc[0]
    assert [row["control"], row["treated"], row["estimate"]] == pytest.approx(
        case["expected"], abs=case["tolerance"]
    )
    assert len(table) == result.n == 2834


def test_wald_equals_two_stage_least_squares():
    """Without covariates Wald is 2SLS with one dummy, and its robust error the delta method's."""
    rng = np.random.default_rng(6)
    z = np.arange(3000) % 2
    d = (rng.random(3000) < 0.2 + 0.4 * z).astype(float)
    y = 1.5 * d + rng.normal(size=3000)
    table = pd.DataFrame({"arm": np.where(z == 1, "invited", "control"), "joined": d, "spend": y})
    found = compare(table).to_frame().set_index("method").loc["Wald, delta method"]
    x, instruments = np.column_stack([np.ones(3000), d]), np.column_stack([np.ones(3000), z])
    beta = np.linalg.solve(instruments.T @ x, instruments.T @ y)
    residual = y - x @ beta
    bread = np.linalg.inv(instruments.T @ x)
    robust = bread @ (instruments.T * residual**2) @ instruments @ bread.T
    assert found["estimate"] == pytest.approx(beta[1], rel=1e-10)
    assert (found["high"] - found["estimate"]) / 1.959964 == pytest.approx(np.sqrt(robust[1, 1]), rel=2e-3)


def test_the_raw_gap_itt_and_complier_effect(invitations):
    table = invitations(40_000, 3)
    result = compare(table, Mean("spend", covariates=("pre_spend",)), ratio=(1, 1))
    moved = table.groupby("arm")["joined"].mean().diff().iloc[1]
    assert result.estimate(estimand="share moved to join").value == pytest.approx(moved, abs=0.005)
    cace = result.estimate(estimand="CACE")
    assert cace.low < 80 < cace.high
    assert result.estimate(estimand="ITT").value == pytest.approx(80 * moved, rel=0.05)
    gap = result.estimate(estimand=NOT_AN_EFFECT)
    means = table.groupby("joined")["spend"].mean()
    assert gap.value == pytest.approx(means[1] - means[0])
    assert gap.value > 100
    assert "is not an effect" in result.verdict()


def test_pre_period_adjustment_narrows_the_interval(invitations):
    table = invitations(5000, 4)
    plain, adjusted = (
        compare(table, Mean("spend", covariates=c)).estimate(estimand="CACE") for c in ((), ("pre_spend",))
    )
    assert adjusted.high - adjusted.low < 0.8 * (plain.high - plain.low)


def test_the_joint_query_gives_the_same_itt_as_a_randomised_design(invitations):
    table = invitations(3000, 5)
    metrics = [
        Mean("spend", covariates=("pre_spend",), cap=0.99),
        Proportion("came"),
        Ratio("spend", "orders"),
    ]
    for options in ({}, {"strata": "region"}):
        found = compare(table, metrics, **options)
        itt = Comparison(
            metrics, design="randomised", assignment="arm", control="control", **options
        ).analyse(table)
        for metric in metrics:
            ours, theirs = (r.estimate(metric=metric.label, estimand="ITT") for r in (found, itt))
            assert (ours.value, ours.low, ours.high) == pytest.approx((theirs.value, theirs.low, theirs.high))


@pytest.mark.parametrize("received", [2.0, 0.3, 0.05, 0.0, -0.3])
@pytest.mark.parametrize("correlation", [-0.8, 0.0, 0.6])
def test_the_set_holds_exactly_what_the_test_does_not_reject(received, correlation):
    v = np.array([[1.0, correlation * 0.1], [correlation * 0.1, 0.01]])
    found = anderson_rubin_set(1.2, received, covariance=v)
    critical = stats.norm.isf(0.025)
    for value in np.concatenate([np.linspace(-60, 60, 2001), [-1e6, 1e6]]):
        a = np.array([1.0, -value])
        z = (1.2 - value * received) / np.sqrt(a @ v @ a)
        if abs(abs(z) - critical) > 1e-6:
            assert (value in found) == (abs(z) <= critical)


def test_a_weak_invitation_is_not_cut_to_an_interval():
    weak = anderson_rubin_set(5.0, 0.01, covariance=[[1.0, 0.0], [0.0, 0.01]])
    assert weak.kind == "two rays"
    assert weak.limits == (-np.inf, np.inf)
    assert 0.0 not in weak
    assert "below" in weak.text()
    nothing = anderson_rubin_set(0.5, 0.01, covariance=[[1.0, 0.0], [0.0, 0.01]])
    assert (nothing.kind, nothing.text()) == ("whole line", "any value")
    strong = anderson_rubin_set(5.0, 1.0, covariance=[[1.0, 0.0], [0.0, 1e-12]])
    assert strong.limits == pytest.approx((5 - 1.959964, 5 + 1.959964), abs=1e-4)


def test_a_weak_first_stage_is_warned_of_and_said(invitations):
    table = invitations(400, 9, share=0.01)
    result = compare(table)
    check = next(c for c in result.checks if c.name.startswith("first stage"))
    assert check.status == "warning"
    assert "Anderson-Rubin" in check.detail
    assert "moved too few to say" in result.verdict()


def test_wald_needs_a_moved_share():
    with pytest.raises(ArgumentError, match="moved nobody"):
        wald_estimate(1.0, 0.0, covariance=np.eye(2), n=10)
    for bad in ([[1.0, 0.5], [0.2, 1.0]], [[0.0, 0.0], [0.0, 1.0]], np.eye(3)):
        with pytest.raises(ArgumentError, match="2 x 2"):
            wald_estimate(1.0, 0.5, covariance=bad, n=10)


def test_bad_input(invitations):
    table = invitations(500, 2)
    with pytest.raises(ContractError, match="joined is missing or neither 0 nor 1 in 2 rows"):
        compare(table.assign(joined=[2, 5, *table["joined"][2:]]))
    with pytest.raises(ContractError, match=r"must hold both 0 and 1|does not differ"):
        compare(table.assign(joined=0))
    with pytest.raises(ArgumentError, match="cannot be an outcome too"):
        compare(table, Proportion("joined"))
    with pytest.raises(ContractError, match="invited"):
        compare(table, ratio={"control": 1, "asked": 1})


def test_lost_invitations_suppress_the_verdict(invitations):
    table = invitations(4000, 7)
    kept = table[(table["arm"] == "control") | (table["joined"] == 1)]
    assert compare(kept, ratio=(1, 1)).verdict().startswith("No verdict")


def test_wald_is_two_stage_least_squares_with_one_instrument(oracle):
    case = oracle("card_2sls")
    given = dict(case["inputs"])
    found = wald_estimate(given.pop("outcome"), given.pop("received"), **given)
    error = (found.high - found.low) / 2 / stats.norm.isf(0.025)
    assert [found.value, error] == [
        pytest.approx(e, abs=t) for e, t in zip(case["expected"], case["tolerance"], strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("strength", "share", "n"), [("strong", 0.3, 1500), ("weak", 0.02, 400)])
def test_coverage_of_wald_and_anderson_rubin(invitations, measured, covers, strength, share, n):
    """Strong and weak invitations: the Anderson-Rubin set covers in both; 2,000 replicates each."""
    replicates, wald, ar = 2000, 0, 0
    for seed in range(replicates):
        table = invitations(n, 10_000 + seed, share=share)
        frame = compare(table, Mean("spend", covariates=("pre_spend",))).to_frame()
        cace = frame[frame["estimand"] == "CACE"].set_index("method")
        low, high = cace.loc["Wald, delta method", ["low", "high"]]
        wald += low <= 80 <= high
        sets = cace.loc["Anderson-Rubin set"]
        ar += _holds(sets.get("set"), sets["low"], sets["high"], 80.0)
    assert covers(ar, replicates)
    assert covers(wald, replicates) or strength == "weak"
    measured(f"effect of joining, {strength} invitation: Anderson-Rubin set", ar, replicates)
    measured(f"effect of joining, {strength} invitation: Wald", wald, replicates)


def _holds(text, low, high, value):
    if not isinstance(text, str) or not text.startswith("below"):
        return low <= value <= high
    words = [word.replace(",", "").replace("−", "-") for word in text.split() if word[0] in "−0123456789"]
    return value <= float(words[0]) or value >= float(words[1])


@pytest.mark.parametrize("covariates", [(), ("pre_spend",)])
def test_when_everybody_does_as_invited_joining_is_the_invitation(invitations, covariates):
    frame = invitations(2000, 3).assign(joined=lambda d: (d["arm"] == "invited").astype(int))
    given = {"assignment": "arm", "control": "control", "covariates": covariates, "ratio": (1, 1)}
    found = Comparison(Mean("spend"), design="encouragement", received="joined", **given).analyse(frame)
    itt = Comparison(Mean("spend"), design="randomised", **given).analyse(frame).estimate(estimand="ITT")
    cace = found.estimate(estimand="CACE")
    assert cace.value == pytest.approx(itt.value, rel=1e-12)
    # one-sided doubt only: nothing is added by the first stage
    assert (cace.low, cace.high) == pytest.approx((itt.low, itt.high), rel=1e-9)
    first = found.estimate(metric="joined")
    assert (first.value, first.low, first.high, first.method) == (1.0, 1.0, 1.0, "certain")
    assert any("everybody did as invited" in c.detail for c in found.checks)
