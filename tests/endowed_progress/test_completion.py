import json
import math

import numpy as np
import pytest

from loyalty_research.endowed_progress import CardExperiment
from loyalty_research.errors import ArgumentError, DesignError


@pytest.fixture
def carwash():
    return CardExperiment.from_counts({"control": (28, 150), "endowed": (51, 150)}, control="control")


def test_carwash_to_the_published_figures(carwash, oracle):
    result = carwash.completion()
    got = result["endowed"]
    near = {"abs": 1e-6, "rel": 0}
    difference = oracle("carwash_rd_newcombe")["expected"]
    assert (got.difference.low, got.difference.high) == pytest.approx(difference["ci95"], **near)
    assert (got.number_needed.low, got.number_needed.high) == pytest.approx(difference["nnt_ci95"], **near)
    ratios = oracle("carwash_rr_or")["expected"]
    assert (got.risk_ratio.low, got.risk_ratio.high) == pytest.approx(ratios["rr_ci95_katz"], **near)
    assert got.odds_ratio.value == pytest.approx(ratios["or"], **near)
    exact = oracle("carwash_exact_tests")["expected"]
    assert {t.kind: t.p_value for t in got.tests} == pytest.approx(
        {
            "fisher": exact["fisher_two_sided_p"],
            "boschloo": exact["boschloo_two_sided_p"],
            "barnard": exact["barnard_pooled_two_sided_p"],
        },
        abs=2e-8,
    )
    bayes = oracle("carwash_bayes_beta_binomial")["expected"]
    chances = result.posterior_frame(margins=(0, 0.05, 0.1))["probability"].tolist()
    assert chances == pytest.approx([bayes[f"pr_diff_gt_{m}"] for m in ("0", "0.05", "0.10")], **near)


def test_every_carwash_figure_is_to_be_had(carwash, oracle):
    result = carwash.completion()
    got = result["endowed"]

    def of(name):
        case = oracle(name)
        return case["expected"], {"abs": case["tolerance"], "rel": 0}

    want, near = of("carwash_rd_newcombe")
    assert got.difference.value == pytest.approx(want["rd"], **near)
    assert (got.difference.low, got.difference.high) == pytest.approx(want["ci95"], **near)
    wald = carwash.completion(method="wald")["endowed"].difference
    assert (wald.low, wald.high) == pytest.approx(want["wald_ci95"], **near)
    needed = got.number_needed
    assert needed.value == pytest.approx(want["nnt"], **near)
    assert (needed.low, needed.high) == pytest.approx(want["nnt_ci95"], **near)

    want, near = of("carwash_exact_tests")
    tests = result.tests_frame(approximate=True).set_index("test")
    for name, key in (
        ("pearson", "pearson_p"),
        ("yates", "yates_p"),
        ("fisher", "fisher_two_sided_p"),
        ("boschloo", "boschloo_two_sided_p"),
        ("barnard", "barnard_pooled_two_sided_p"),
    ):
        assert tests.loc[name, "p_value"] == pytest.approx(want[key], **near)
    assert tests.loc["pearson", "statistic"] == pytest.approx(want["pearson_chi2"], **near)
    assert got.difference.p_value == pytest.approx(want["pearson_p"], **near)

    want, near = of("carwash_rr_or")
    sizes = result.effect_sizes().set_index("measure")["value"]
    assert got.risk_ratio.value == pytest.approx(want["rr"], **near)
    assert (got.risk_ratio.low, got.risk_ratio.high) == pytest.approx(want["rr_ci95_katz"], **near)
    assert got.odds_ratio.value == pytest.approx(want["or"], **near)
    assert (got.odds_ratio.low, got.odds_ratio.high) == pytest.approx(want["or_ci95_woolf"], **near)
    exact = got.odds_ratio_exact
    assert (exact.low, exact.high) == pytest.approx(want["cond_or_ci95_exact"], **near)
    assert sizes["cohen_h"] == pytest.approx(want["cohen_h"], **near)
    assert sizes["phi"] == pytest.approx(want["phi"], **near)
    assert sizes["e_value"] == pytest.approx(want["e_value_rr"], **near)
    assert 1 < sizes["e_value_limit"] < sizes["e_value"]

    want, near = of("carwash_bayes_beta_binomial")
    assert got.posterior.mean == pytest.approx(want["post_mean_diff"], **near)
    assert (got.posterior.low, got.posterior.high) == pytest.approx(want["eti95"], **near)
    chances = result.posterior_frame(margins=(0, 0.05, 0.1))["probability"].tolist()
    assert chances == pytest.approx([want[f"pr_diff_gt_{m}"] for m in ("0", "0.05", "0.10")], **near)
    jeffreys = result.posterior_frame(margins=[0], prior=(0.5, 0.5))["probability"].iloc[0]
    assert jeffreys == pytest.approx(want["pr_gt_0_jeffreys"], **near)
    assert sizes["bayes_factor"] == pytest.approx(want["bf10_indep_vs_common_beta11"], **near)


def test_effect_sizes_without_an_effect_or_with_clusters(simulated):
    none = CardExperiment.from_counts({"a": (20, 100), "b": (20, 100)}, control="a").completion()
    sizes = none.effect_sizes().set_index("measure")["value"]
    assert (sizes["cohen_h"], sizes["phi"], sizes["e_value"], sizes["e_value_limit"]) == (0, 0, 1, 1)
    fewer = CardExperiment.from_counts({"a": (51, 150), "b": (28, 150)}, control="a").completion()
    back = fewer.effect_sizes().set_index("measure")["value"]
    assert back["cohen_h"] < 0
    assert back["e_value"] == pytest.approx(3.0446102706816935)
    days = CardExperiment(
        simulated(64), as_of="2024-12-31", control="control", cluster="cluster_id"
    ).completion()
    assert "phi" not in set(days.effect_sizes()["measure"])
    assert not len(days.tests_frame(approximate=True))


def test_verdict_names_both_rates_and_the_interval(carwash):
    said = carwash.completion().verdict()
    for part in ("34.0%", "18.7%", "15.3 points", "5.4 to 24.9", "6.5"):
        assert part in said


def test_verdict_says_when_nothing_is_established():
    result = CardExperiment.from_counts({"a": (28, 150), "b": (30, 150)}, control="a").completion()
    assert "compatible with no effect" in result.verdict()
    assert math.isnan(result["b"].number_needed.low)


def test_verdict_says_when_the_arm_does_harm():
    result = CardExperiment.from_counts({"a": (51, 150), "b": (28, 150)}, control="a").completion()
    assert "lowered completion by 15.3 points (95% interval 5.4 to 24.9)" in result.verdict()


def test_a_broken_ratio_gives_no_verdict_and_no_finding():
    result = CardExperiment.from_counts({"a": (28, 150), "b": (80, 250)}, control="a").completion()
    assert result.verdict().startswith("No verdict: sample ratio")
    assert [f.status for f in result.findings()] == ["suppressed"]
    planned = CardExperiment.from_counts(
        {"a": (28, 150), "b": (80, 250)}, control="a", ratio={"a": 3, "b": 5}
    ).completion()
    assert "raised completion" in planned.verdict() or "compatible" in planned.verdict()


def test_few_completions_are_not_told():
    result = CardExperiment.from_counts({"a": (2, 150), "b": (30, 150)}, control="a").completion()
    (finding,) = result.findings()
    assert finding.status == "suppressed"
    assert finding.estimate is None
    assert "2 of" not in finding.headline


def test_findings_carry_the_difference(carwash):
    finding, chance = carwash.completion().findings(section="The answer")
    assert chance.id == "chance-of-gain"
    assert "99.9%" in chance.headline
    assert "97.9%" in chance.headline
    assert finding.id == "completion"
    assert finding.estimate.value == pytest.approx(23 / 150)
    assert finding.section == "The answer"


def test_several_arms_are_adjusted_by_holm():
    counts = {"plain": (28, 150), "two given": (44, 150), "five given": (46, 150), "reason": (30, 150)}
    result = CardExperiment.from_counts(counts, control="plain").completion()
    frame = result.to_frame()
    rows = frame[frame["metric"] == "difference"].set_index("group")
    smallest = rows["p_value"].min()
    assert rows["p_adjusted"].min() == pytest.approx(3 * smallest)
    # significant by itself, not among three
    assert rows.loc["two given", "p_value"] < 0.05 < rows.loc["two given", "p_adjusted"]
    assert rows.loc["two given", "low"] > 0
    assert "not established once 3 comparisons" in result.verdict()
    assert {f.id for f in result.findings()} == {f"completion-{a}" for a in counts if a != "plain"}


def test_result_is_tidy_and_json_safe(carwash):
    result = carwash.completion()
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["kind"] == "CompletionResult"
    assert result.rates_frame()["completed"].tolist() == [28, 51]
    assert (result.to_frame()["method"] != "").all()
    with pytest.raises(ArgumentError, match="no arm 'gold'"):
        result["gold"]


def test_method_is_named_and_checked(carwash):
    got = carwash.completion(method="miettinen-nurminen")["endowed"].difference
    assert (got.low, got.high) == pytest.approx((0.0541, 0.2508), abs=5e-5)
    assert got.method == "miettinen-nurminen"
    with pytest.raises(ArgumentError, match="method"):
        carwash.completion(method="score")


def test_zero_completions_hold():
    result = CardExperiment.from_counts({"a": (0, 40), "b": (40, 40)}, control="a").completion()
    assert result["b"].difference.value == 1
    assert result["b"].risk_ratio.value == math.inf
    nothing = CardExperiment.from_counts({"a": (0, 40), "b": (0, 40)}, control="a").completion()
    assert "compatible with no effect" in nothing.verdict()
    json.dumps(nothing.to_dict(), allow_nan=False)


def test_counts_that_cannot_be():
    for bad in ((160, 150), (-1, 150), (1.5, 150), (0, 0)):
        with pytest.raises(ArgumentError, match="arm 'b'"):
            CardExperiment.from_counts({"a": (1, 10), "b": bad}, control="a")
    with pytest.raises(DesignError, match="control 'c' is no arm"):
        CardExperiment.from_counts({"a": (1, 10), "b": (2, 10)}, control="c")
    with pytest.raises(DesignError, match="needs two"):
        CardExperiment.from_counts({"a": (1, 10)}, control="a")
    with pytest.raises(DesignError, match="no positive weight"):
        CardExperiment.from_counts({"a": (1, 10), "b": (2, 10)}, control="a", ratio={"a": 1, "b": 0})
    with pytest.raises(DesignError, match="disagree on the arms c"):
        CardExperiment.from_counts({"a": (1, 10), "b": (2, 10)}, control="a", ratio={"a": 1, "b": 1, "c": 1})


def test_counts_have_no_days(carwash):
    with pytest.raises(ArgumentError, match="by_day"):
        carwash.completion(by_day=30)
    for name in ("time_to_completion", "first_gap", "visits", "hazard_by_stamps", "goal_gradient"):
        with pytest.raises(DesignError, match="needs card events"):
            getattr(carwash, name)()
    with pytest.raises(DesignError, match="needs card events"):
        carwash.economics(margin=1, reward_cost=1)


def test_pictures_are_drawn(carwash):
    result = carwash.completion()
    ax = result.plot()
    assert any("34.0% (51 of 150)" in t.get_text() for t in ax.texts)
    posterior = result.plot_posterior(margins=(0.0, 0.05))
    assert any("97.9%" in t.get_text() for t in posterior.texts)


def test_cards_are_drawn_where_they_are_known():
    counts = {"a": (5, 40), "b": (9, 40)}
    stamps = {"a": (8, 0), "b": (10, 2)}
    drawn = CardExperiment.from_counts(counts, control="a", stamps=stamps).completion().plot()
    assert sum(len(c.get_offsets()) for c in drawn.collections) == 18
    with pytest.raises(ArgumentError, match="stamps must name the arms a, b"):
        CardExperiment.from_counts(counts, control="a", stamps={"a": (8, 0)})


def test_belief_is_told_by_margin(carwash):
    said = carwash.completion().belief([0.0, 0.1])
    assert "above 0.0 points has a probability of 99.9%" in said
    assert "above 10.0 points has a probability of 84.9%" in said


def test_units_and_counts_agree(carwash):
    import pandas as pd

    units = pd.DataFrame(
        {
            "arm": ["control"] * 150 + ["endowed"] * 150,
            "completed": [1] * 28 + [0] * 122 + [1] * 51 + [0] * 99,
        }
    ).sample(frac=1, random_state=1)
    got = CardExperiment.from_units(units, control="control").completion()
    pd.testing.assert_frame_equal(got.to_frame(), carwash.completion().to_frame())


def test_clusters_widen_the_interval():
    import pandas as pd

    rng = np.random.default_rng(2)
    cluster = np.repeat(np.arange(40), 10)
    chance = np.clip(0.3 + 0.1 * (cluster % 2) + 0.2 * rng.standard_normal(40)[cluster], 0.01, 0.99)
    units = pd.DataFrame(
        {"arm": np.where(cluster % 2, "b", "a"), "completed": rng.random(400) < chance, "day": cluster}
    )
    plain = CardExperiment.from_units(units, control="a").completion()["b"]
    robust = CardExperiment.from_units(units, control="a", cluster="day").completion()
    got = robust["b"]
    assert got.difference.value == pytest.approx(plain.difference.value)
    assert got.difference.high - got.difference.low > 1.2 * (plain.difference.high - plain.difference.low)
    assert "40 clusters" in got.difference.method
    assert got.posterior is None
    assert got.tests == ()
    assert robust.rates[0].high - robust.rates[0].low > 0
    assert any(c.name == "enough clusters" for c in robust.checks)
    with pytest.raises(ArgumentError, match="no posterior"):
        robust.plot_posterior()


def test_units_that_break_their_contract():
    import pandas as pd

    from loyalty_research.errors import ContractError

    units = pd.DataFrame({"arm": ["a", "b", "b"], "completed": [0, 1, 1]})
    for bad, said in (
        (units.assign(completed=[0, 1, 2]), r"completed is not 0 or 1 in 1 row \(at position 2\)"),
        (units.assign(arm=["a", None, "b"]), r"arm is missing in 1 row \(at position 1\)"),
        (units.drop(columns="completed"), "lacks the columns completed"),
    ):
        with pytest.raises(ContractError, match=said):
            CardExperiment.from_units(bad, control="a")


def test_replication_plans_for_what_was_seen(carwash):
    from loyalty_research.endowed_progress import NotAvailable

    assert carwash.completion().replication().cards == 129
    assert carwash.completion().replication(power=0.9).cards == 172
    for counts in ({"a": (5, 40), "b": (5, 40)}, {"a": (0, 40), "b": (5, 40)}):
        none = CardExperiment.from_counts(counts, control="a").completion().replication()
        assert isinstance(none, NotAvailable)
        assert "no effect to plan for" in none.verdict()
