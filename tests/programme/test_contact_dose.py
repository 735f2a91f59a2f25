import numpy as np
import pandas as pd
import pytest
from scipy import stats

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme.contact_dose import clustered_slope, contact_dose_response, robust_slope

WINDOW = {"start": "2024-05-01", "end": "2024-06-01"}


def world(seed=1, customers=900, *, effect=2.0, taste=0.0, leave=0.02):
    """Customers drawn to 0, 1 or 2 messages; margin rises by ``effect`` per message."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"c{i}" for i in range(customers)])
    liking = rng.normal(size=customers)
    lot = rng.integers(0, 3, customers)
    dose = np.clip(lot + np.round(taste * liking), 0, 2).astype(int)
    amount = 50 + 10 * liking + 2 * effect * dose + rng.normal(0, 5, customers) * (1 + dose)
    sent = pd.DataFrame({"customer_id": np.repeat(ids, dose), "event": "sent"})
    gone = pd.DataFrame({"customer_id": ids[rng.random(customers) < leave * dose], "event": "opt_out"})
    contacts = pd.concat([sent, gone]).assign(sent_at=pd.Timestamp("2024-05-05"))
    orders = pd.DataFrame({"customer_id": ids, "amount": amount, "transacted_at": pd.Timestamp("2024-05-06")})
    return contacts, pd.DataFrame({"customer_id": ids, "dose": dose}), orders


def test_slope_and_limits_are_statsmodels_hc3():
    import statsmodels.api as sm

    rng = np.random.default_rng(2)
    dose = rng.integers(0, 5, 200).astype(float)
    outcome = 3 + 0.4 * dose + rng.normal(0, 1 + dose)
    peer = sm.OLS(outcome, sm.add_constant(dose)).fit(cov_type="HC3", use_t=True)
    found = robust_slope(dose, outcome, level=0.9)
    assert found.value == pytest.approx(peer.params[1], rel=1e-10)
    assert (found.low, found.high) == pytest.approx(tuple(peer.conf_int(0.1)[1]), rel=1e-10)
    assert found.p_value == pytest.approx(peer.pvalues[1], rel=1e-8)


def test_an_assigned_dose_covers_the_effect_and_is_called_one():
    hits = 0
    for seed in range(40):
        found = contact_dose_response(*world(seed, 300), assigned="dose", margin=0.5, **WINDOW)
        hits += found.margin_trend.low <= 2.0 <= found.margin_trend.high
    assert hits / 40 > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 40)
    assert "changes margin" in found.verdict()


def test_a_chosen_dose_is_called_an_association():
    contacts, customers, orders = world(3, 3000, effect=0.0, taste=1.0)
    found = contact_dose_response(contacts, customers, orders, margin=0.5, **WINDOW)
    # nothing is caused here, yet the trend is far from 0: the label is what protects the reader
    assert found.margin_trend.low > 0
    assert "no effect of contacting" in found.verdict()
    assert any(c.status == "warning" and "chosen" in c.detail for c in found.checks)


def test_opting_out_rises_by_the_simulated_share():
    found = contact_dose_response(*world(5, 20_000, leave=0.03), assigned="dose", margin=0.5, **WINDOW)
    assert found.opt_out_trend.low < 0.03 < found.opt_out_trend.high
    assert found.opt_out_trend.high - found.opt_out_trend.low < 0.02


def test_no_recorded_opt_out_is_not_measurable():
    contacts, customers, orders = world(6, leave=0.0)
    found = contact_dose_response(contacts, customers, orders, margin=0.5, **WINDOW)
    assert found.opt_out_trend is None
    assert any(c.status == "not measurable" for c in found.checks)
    assert found.to_frame().query("metric == 'opted out'")["estimate"].isna().all()


def test_doses_of_under_five_customers_are_not_shown():
    contacts, customers, orders = world(7)
    many = pd.DataFrame({"customer_id": ["c1"] * 9, "event": "sent", "sent_at": pd.Timestamp("2024-05-07")})
    found = contact_dose_response(pd.concat([contacts, many]), customers, orders, margin=0.5, **WINDOW)
    last = found.by_dose.iloc[-1]
    assert last["margin"] is None
    assert last["opt_out"] is None
    pooled = contact_dose_response(
        pd.concat([contacts, many]), customers, orders, margin=0.5, top=2, **WINDOW
    )
    assert pooled.by_dose["dose"].tolist() == [0.0, 1.0, 2.0]


def test_cost_of_goods_gives_the_same_margin():
    contacts, customers, orders = world(8)
    costed = orders.assign(cost_of_goods=orders["amount"] * 0.5)
    one = contact_dose_response(contacts, customers, costed, **WINDOW).margin_trend
    assert one.value == pytest.approx(
        contact_dose_response(contacts, customers, orders, margin=0.5, **WINDOW).margin_trend.value
    )


def test_bad_input_is_refused():
    contacts, customers, orders = world(9)
    with pytest.raises(ContractError, match="cost_of_goods"):
        contact_dose_response(contacts, customers, orders, **WINDOW)
    mixed = orders.assign(currency=["EUR", "USD"] * 450)
    with pytest.raises(ContractError, match="several currencies"):
        contact_dose_response(contacts, customers, mixed, margin=0.5, **WINDOW)
    with pytest.raises(ContractError, match="repeats"):
        contact_dose_response(contacts, pd.concat([customers, customers]), orders, margin=0.5, **WINDOW)
    with pytest.raises(ArgumentError, match="before end"):
        contact_dose_response(contacts, customers, orders, margin=0.5, start="2024-06-01", end="2024-05-01")
    with pytest.raises(DesignError, match="two different"):
        contact_dose_response(
            contacts, customers.assign(dose=1), orders, assigned="dose", margin=0.5, **WINDOW
        )


def test_arms_of_a_table_of_assignments_are_doses():
    contacts, customers, orders = world(12)
    arms = customers.assign(arm=customers["dose"].map({0: "none", 1: "monthly", 2: "fortnightly"}))
    doses = {"none": 0, "monthly": 1, "fortnightly": 2}
    found = contact_dose_response(contacts, arms, orders, assigned="arm", doses=doses, margin=0.5, **WINDOW)
    plain = contact_dose_response(contacts, customers, orders, assigned="dose", margin=0.5, **WINDOW)
    assert found.margin_trend == plain.margin_trend
    assert found.opt_out_trend == plain.opt_out_trend
    assert found.randomised
    with pytest.raises(ContractError, match="does not name"):
        contact_dose_response(contacts, arms, orders, assigned="arm", doses={"none": 0}, margin=0.5, **WINDOW)
    with pytest.raises(ArgumentError, match="from 0"):
        contact_dose_response(
            contacts, arms, orders, assigned="arm", doses={**doses, "none": -1}, margin=0.5, **WINDOW
        )
    with pytest.raises(ArgumentError, match="name that column too"):
        contact_dose_response(contacts, arms, orders, doses=doses, margin=0.5, **WINDOW)
    with pytest.raises(ContractError, match="lacks the column group"):
        contact_dose_response(contacts, arms, orders, assigned="group", doses=doses, margin=0.5, **WINDOW)


def test_messages_without_consent_are_no_dose():
    contacts, customers, orders = world(13)
    once = customers.loc[customers["dose"] == 1, "customer_id"].iloc[0]
    bad = contacts.assign(has_consent=contacts["customer_id"] != once)
    with pytest.raises(ContractError, match="has_consent is false"):
        contact_dose_response(bad, customers, orders, margin=0.5, **WINDOW)
    left = contact_dose_response(bad, customers, orders, margin=0.5, without_consent="leave-out", **WINDOW)
    kept = contact_dose_response(bad, customers, orders, margin=0.5, without_consent="count", **WINDOW)
    at_nothing = [f.by_dose.set_index("dose")["customers"][0.0] for f in (left, kept)]
    assert at_nothing[0] == at_nothing[1] + 1
    assert any("sent without consent" in c.detail for c in left.checks)


def test_few_who_opt_out_are_not_named():
    contacts, customers, orders = world(14, 300, leave=0.0)
    one = pd.DataFrame({"customer_id": ["c0"], "event": "opt_out", "sent_at": [pd.Timestamp("2024-05-09")]})
    found = contact_dose_response(
        pd.concat([contacts, one]), customers, orders, assigned="dose", margin=0.5, **WINDOW
    )
    frame = found.to_frame()
    rates = frame[(frame["metric"] == "opted out")]
    assert rates["estimate"].isna().sum() == 1
    assert (rates["reason"] == "Fewer than five are counted.").sum() == 1


def test_the_cluster_jackknife_leaves_each_cluster_out():
    rng = np.random.default_rng(15)
    clusters = rng.permutation(np.repeat(np.arange(9), 8))
    dose = (clusters % 3).astype(float)
    outcome = dose + rng.normal(size=9)[clusters] + rng.normal(size=72)
    found = clustered_slope(dose, outcome, clusters, level=0.95)
    assert found.value == pytest.approx(np.polyfit(dose, outcome, 1)[0])
    out = [np.polyfit(dose[clusters != g], outcome[clusters != g], 1)[0] for g in range(9)]
    error = np.sqrt(8 / 9 * np.sum((np.array(out) - found.value) ** 2))
    assert found.high - found.value == pytest.approx(stats.t.ppf(0.975, 8) * error)
    with pytest.raises(DesignError, match="without one of the clusters"):
        clustered_slope((clusters == 0).astype(float), outcome, clusters, level=0.95)


def stores(seed, *, per_dose=6, size=20):
    """Whole shops are drawn to 0, 1 or 2 messages; customers of one shop are alike."""
    rng = np.random.default_rng(seed)
    shops = 3 * per_dose
    shop = np.repeat(np.arange(shops), size)
    dose = rng.permutation(np.repeat(np.arange(3), per_dose))[shop]
    ids = np.array([f"c{i}" for i in range(len(shop))])
    amount = 50 + 4.0 * dose + rng.normal(0, 6, shops)[shop] + rng.normal(0, 8, len(shop))
    sent = pd.DataFrame({"customer_id": np.repeat(ids, dose), "event": "sent"})
    gone = pd.DataFrame({"customer_id": ids[rng.random(len(ids)) < 0.1 + 0.05 * dose], "event": "opt_out"})
    contacts = pd.concat([sent, gone]).assign(sent_at=pd.Timestamp("2024-05-05"))
    orders = pd.DataFrame({"customer_id": ids, "amount": amount, "transacted_at": pd.Timestamp("2024-05-06")})
    return contacts, pd.DataFrame({"customer_id": ids, "dose": dose, "shop": shop}), orders


def store_coverage(replicates, cluster):
    hits = np.zeros(2)
    for seed in range(replicates):
        found = contact_dose_response(*stores(seed), assigned="dose", cluster=cluster, margin=0.5, **WINDOW)
        hits += [
            found.margin_trend.low <= 2.0 <= found.margin_trend.high,
            found.opt_out_trend.low <= 0.05 <= found.opt_out_trend.high,
        ]
    return hits / replicates


def test_doses_drawn_by_shop_are_judged_by_shops():
    assert min(store_coverage(60, "shop")) > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 60)
    assert store_coverage(60, None)[0] < 0.85
    contacts, customers, orders = stores(1)
    found = contact_dose_response(
        contacts, customers, orders, assigned="dose", cluster="shop", margin=0.5, **WINDOW
    )
    assert {row.method for row in found.by_dose["margin"]} == {"t, clusters"}
    mixed = customers.assign(shop=np.arange(len(customers)) // 40)
    with pytest.raises(DesignError, match="several doses"):
        contact_dose_response(contacts, mixed, orders, assigned="dose", cluster="shop", margin=0.5, **WINDOW)
    with pytest.raises(ArgumentError, match="name the column of the lots"):
        contact_dose_response(contacts, customers, orders, cluster="shop", margin=0.5, **WINDOW)


@pytest.mark.slow
def test_doses_drawn_by_shop_cover(published):
    # the cluster jackknife is meant to err on the wide side
    found = store_coverage(2000, "shop")
    names = ("contact dose drawn by shop: margin trend", "contact dose drawn by shop: opt-out trend")
    published(zip(names, found, strict=True), 2000)
    assert min(found) > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 2000)
    assert max(found) < 0.98
