import numpy as np
import pandas as pd
import pytest
from scipy import stats

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme.offers import coupon_cannibalisation, offer_lift

OPTIONS = {
    "treated": "in",
    "control": "out",
    "start": "2024-05-01",
    "end": "2024-05-15",
    "after_days": 28,
    "as_of": "2024-06-30",
    "margin": 0.4,
}


def world(seed, customers=600, *, added=5.0, pulled=0.0, before=0.0):
    """Spend in three windows; ``pulled`` moves from after to during for those offered."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"c{i}" for i in range(customers)])
    treated = rng.permutation(customers) < customers // 2
    level = rng.gamma(4, 5, customers)
    spend = {
        "2024-04-20": level + rng.gamma(2, 5, customers) + before * treated,
        "2024-05-05": level + rng.gamma(2, 5, customers) + (added + pulled) * treated,
        "2024-05-30": level + rng.gamma(2, 5, customers) + 20 - pulled * treated,
    }
    orders = pd.concat(
        [
            pd.DataFrame({"customer_id": ids, "transacted_at": pd.Timestamp(d), "amount": a})
            for d, a in spend.items()
        ]
    )
    return pd.DataFrame({"customer_id": ids, "arm": np.where(treated, "in", "out")}), orders


def test_each_window_is_scipys_welch_of_its_margin():
    people, orders = world(1)
    found = offer_lift(people, orders, **OPTIONS)
    during = orders[orders["transacted_at"] == "2024-05-05"]["amount"].to_numpy() * 0.4
    own = (people["arm"] == "in").to_numpy()
    peer = stats.ttest_ind(during[own], during[~own], equal_var=False)
    assert found.during.p_value == pytest.approx(peer.pvalue)
    assert (found.during.low, found.during.high) == pytest.approx(tuple(peer.confidence_interval(0.95)))
    assert found.net.value == pytest.approx(found.during.value + found.after.value)


def test_an_offer_that_only_moves_orders_adds_nothing():
    found = offer_lift(*world(2, 4000, added=0.0, pulled=15.0), level=0.999, **OPTIONS)
    assert found.during.low > 0
    assert found.after.high < 0
    assert found.net.low < 0 < found.net.high
    assert "pulled forward" in found.verdict()


def test_the_net_effect_is_covered():
    hits = 0
    for seed in range(60):
        found = offer_lift(*world(seed, 200, added=5.0, pulled=4.0), **OPTIONS)
        hits += found.net.low <= 0.4 * 5 <= found.net.high
    assert hits / 60 > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 60)


def test_arms_that_differed_before_get_no_verdict():
    found = offer_lift(*world(4, 2000, before=10.0), **OPTIONS)
    assert found.failed_gates
    assert "No verdict" in found.verdict()
    uneven = offer_lift(*world(5), ratio=9.0, **OPTIONS)
    assert any(c.name == "Sample ratio" and c.status == "failed" for c in uneven.checks)
    even = offer_lift(*world(5), ratio=1.0, **OPTIONS)
    assert not even.failed_gates


def test_windows_are_half_open():
    people = pd.DataFrame({"customer_id": list("abcd"), "arm": ["in", "in", "out", "out"]})
    orders = pd.DataFrame(
        {
            "customer_id": ["a", "a", "a", "a"],
            "transacted_at": pd.to_datetime(["2024-04-30", "2024-05-01", "2024-05-15", "2024-06-12"]),
            "amount": [1.0, 10.0, 100.0, 1000.0],
        }
    )
    found = offer_lift(people, orders, **OPTIONS | {"margin": 1.0})
    assert [found.before.value, found.during.value, found.after.value] == [0.5, 5.0, 50.0]


def test_a_missing_holdout_or_an_open_window_is_refused():
    people, orders = world(6)
    with pytest.raises(DesignError, match="not measurable"):
        offer_lift(people.assign(arm="in"), orders, **OPTIONS)
    with pytest.raises(ArgumentError, match="wait, or shorten"):
        offer_lift(people, orders, **OPTIONS | {"as_of": "2024-05-20"})
    with pytest.raises(ContractError, match="lacks the column arm"):
        offer_lift(people[["customer_id"]], orders, **OPTIONS)
    with pytest.raises(ContractError, match="repeats"):
        offer_lift(pd.concat([people, people]), orders, **OPTIONS)


def test_margin_before_narrows_the_interval_and_moves_no_truth():
    people, orders = world(21, 2000)
    plain = offer_lift(people, orders, **OPTIONS)
    narrow = offer_lift(people, orders, covariates=["before"], **OPTIONS)
    assert narrow.net.high - narrow.net.low < 0.8 * (plain.net.high - plain.net.low)
    assert narrow.before == plain.before
    assert narrow.net.method == "welch, adjusted for margin before"
    hits = []
    for seed in range(60):
        net = offer_lift(*world(seed, 120), covariates=["before"], **OPTIONS).net
        hits.append(net.low <= 2.0 <= net.high)
    assert np.mean(hits) > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 60)


def shops(seed, *, shops_per_arm=12, size=15):
    """Whole shops are drawn, and customers of one shop are alike."""
    rng = np.random.default_rng(seed)
    n = 2 * shops_per_arm * size
    shop = np.repeat(np.arange(2 * shops_per_arm), size)
    people = pd.DataFrame(
        {
            "customer_id": [f"c{i}" for i in range(n)],
            "arm": np.where(shop % 2 == 0, "in", "out"),
            "shop": shop,
        }
    )
    spend = rng.gamma(4, 5, n) + rng.normal(0, 5, 2 * shops_per_arm)[shop]
    orders = people.assign(transacted_at=pd.Timestamp("2024-05-05"), amount=spend)
    return people, orders[["customer_id", "transacted_at", "amount"]]


def shop_coverage(replicates, cluster):
    hits = 0
    for seed in range(replicates):
        found = offer_lift(*shops(seed), cluster=cluster, **OPTIONS).net
        hits += found.low <= 0 <= found.high
    return hits / replicates


def test_offers_drawn_by_shop_are_judged_by_shops():
    assert shop_coverage(80, "shop") > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 80)
    # customers of one shop taken for strangers: far too sure
    assert shop_coverage(80, None) < 0.85
    people, orders = shops(1)
    found = offer_lift(people, orders, cluster="shop", ratio=1.0, **OPTIONS)
    assert [c.status for c in found.checks if c.name == "Clusters"] == ["warning"]
    assert any("12 offered and 12 held out" in c.detail for c in found.checks)


@pytest.mark.slow
def test_offers_drawn_by_shop_cover(published):
    share = shop_coverage(2000, "shop")
    published({"offer drawn by shop": share}, 2000)
    assert share == pytest.approx(0.95, abs=3 * np.sqrt(0.05 * 0.95 / 2000))


def test_bad_clusters_and_covariates_are_refused():
    people, orders = shops(1)
    mixed = people.assign(shop=np.arange(len(people)) // 2)
    mixed.loc[:, "arm"] = np.where(np.arange(len(people)) % 2 == 0, "in", "out")
    with pytest.raises(DesignError, match="both arms"):
        offer_lift(mixed, orders, cluster="shop", **OPTIONS)
    with pytest.raises(ContractError, match="lacks the column region"):
        offer_lift(people, orders, cluster="region", **OPTIONS)
    with pytest.raises(ContractError, match="margin before is the same for every unit"):
        offer_lift(people, orders, covariates=["before"], **OPTIONS)
    with pytest.raises(ContractError, match="lacks the covariate age"):
        offer_lift(people, orders, covariates=["age"], **OPTIONS)
    with pytest.raises(ContractError, match="missing or not finite"):
        offer_lift(people.assign(age=np.nan), orders, covariates=["age"], **OPTIONS)


def coupons(rng, customers=1000, *, anyway=0.3, extra=0.1, leak=0.0):
    """Everybody who would order uses the coupon; ``extra`` order only because of it."""
    treated = np.arange(customers) < customers // 2
    kind = rng.random(customers)
    sure, moved = kind < anyway, (kind >= anyway) & (kind < anyway + extra)
    has = treated | (rng.random(customers) < leak)
    return pd.DataFrame(
        {
            "arm": np.where(treated, "in", "out"),
            "orders": (sure | (moved & has)).astype(int),
            "coupon_orders": ((sure | moved) & has).astype(int),
        }
    )


def coupon_coverage(replicates, leak):
    rng = np.random.default_rng(9)
    hits = 0
    for _ in range(replicates):
        found = coupon_cannibalisation(coupons(rng, leak=leak), treated="in", control="out").share
        hits += found.low <= 0.75 <= found.high
    return hits / replicates


@pytest.mark.parametrize("leak", [0.0, 0.2])
def test_the_share_that_would_have_come_anyway_is_covered(leak):
    assert coupon_coverage(300, leak) == pytest.approx(0.95, abs=3 * np.sqrt(0.05 * 0.95 / 300))


@pytest.mark.slow
@pytest.mark.parametrize("leak", [0.0, 0.2])
def test_the_share_that_would_have_come_anyway_covers(leak, published):
    share = coupon_coverage(2000, leak)
    published({f"coupons: orders that would have come anyway, {leak:.0%} leaked": share}, 2000)
    assert share == pytest.approx(0.95, abs=3 * np.sqrt(0.05 * 0.95 / 2000))


def test_coupons_that_leaked_are_counted():
    found = coupon_cannibalisation(coupons(np.random.default_rng(1), leak=0.2), treated="in", control="out")
    assert found.checks[0].status == "warning"


def test_bad_coupon_tables_are_refused():
    units = coupons(np.random.default_rng(2))
    with pytest.raises(ContractError, match="exceeds orders"):
        coupon_cannibalisation(units.assign(coupon_orders=3), treated="in", control="out")
    with pytest.raises(DesignError, match="no more than"):
        coupon_cannibalisation(units.assign(coupon_orders=0), treated="in", control="out")
    with pytest.raises(DesignError, match="not measurable"):
        coupon_cannibalisation(units, treated="in", control="held")


def test_a_loss_is_said_without_a_double_sign():
    found = offer_lift(*world(11, 3000, added=-6.0), **OPTIONS)
    assert found.verdict().startswith("The offer lowered margin per customer by 2")
