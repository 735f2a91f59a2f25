"""Tiers against closed forms of chains, spells worked out by hand, and chains with known moves."""

from __future__ import annotations

import datetime as dt

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.programme._markov import order_test, reach, settled_mix
from loyalty_research.programme.tier_spells import tier_spells, tier_states
from loyalty_research.programme.tiers import tier_migration

TRUE = np.array(
    [[0.80, 0.12, 0.03, 0.05], [0.20, 0.60, 0.17, 0.03], [0.05, 0.15, 0.78, 0.02], [0, 0, 0, 1.0]]
)
NAMES = ["base", "silver", "gold"]


def spells(rows):
    return pd.DataFrame(
        {
            "customer_id": [r[0] for r in rows],
            "tier": [r[1] for r in rows],
            "valid_from": pd.to_datetime([r[2] for r in rows]),
            "valid_to": pd.to_datetime([r[3] for r in rows]),
        }
    )


def simulate(rng, customers, periods, matrix=TRUE):
    """Draw monthly tiers from a chain and write them as spells; all begin in base."""
    months = pd.date_range("2020-01-01", periods=periods + 1, freq="MS")
    left = len(matrix) - 1
    state = np.zeros((customers, periods), dtype=int)
    cumulative = matrix.cumsum(axis=1)
    for t in range(1, periods):
        draws = rng.random(customers)[:, None]
        state[:, t] = (draws > cumulative[state[:, t - 1]]).sum(axis=1)
    who, when = np.nonzero(state < left)
    return pd.DataFrame(
        {
            "customer_id": who,
            "tier": np.array(NAMES)[state[who, when]],
            "valid_from": months[when],
            "valid_to": months[when + 1],
        }
    )


def migrate(table, periods, **options):
    last = pd.date_range("2020-01-01", periods=periods, freq="ME")[-1].date()
    return tier_migration(table, tiers=NAMES, as_of=last, **options)


# --- closed forms ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [4, 7])
def test_the_way_to_a_state_is_the_gamblers_ruin(size):
    """A fair walk on 0..N from i wins with chance i/N, and takes (N^2 - i^2)/3 steps when it wins."""
    walk = np.zeros((size + 1, size + 1))
    walk[0, 0] = walk[size, size] = 1
    for i in range(1, size):
        walk[i, i - 1] = walk[i, i + 1] = 0.5
    chances, periods = reach(walk, size, 0)
    i = np.arange(1, size)
    assert chances[1:-1] == pytest.approx(i / size)
    assert periods[1:-1] == pytest.approx((size**2 - i**2) / 3)


def test_without_leaving_everybody_arrives_in_geometric_time():
    chances, periods = reach([[0.9, 0.1, 0], [0, 0.75, 0.25], [0.5, 0, 0.5]], 2, None)
    assert chances.tolist() == pytest.approx([1, 1, 1])
    assert periods.tolist() == pytest.approx([10 + 4, 4, 0])


def test_the_settled_mix_repeats_itself():
    rng = np.random.default_rng(1)
    chain = rng.dirichlet(np.ones(4), size=4)
    mix = settled_mix(chain, np.eye(4)[0], None)
    assert mix @ chain == pytest.approx(mix)
    # with leavers replaced by entrants, by letting it run
    entry = np.array([0.9, 0.1, 0.0, 0.0])
    now = np.array([1.0, 0, 0, 0])
    for _ in range(500):
        moved = now @ TRUE
        now = moved[3] * entry + np.append(moved[:3], 0)
    assert settled_mix(TRUE, entry, 3) == pytest.approx(now)


def test_many_matrices_at_once_equal_one_by_one():
    rng = np.random.default_rng(2)
    chains = rng.dirichlet(np.ones(3), size=(5, 3))
    together = reach(chains, 1, None)
    for k in range(5):
        alone = reach(chains[k], 1, None)
        assert together[0][k] == pytest.approx(alone[0])
        assert together[1][k] == pytest.approx(alone[1])


def test_the_order_test_is_the_chi_square_likelihood_ratio_of_each_last_state():
    rng = np.random.default_rng(4)
    counts = rng.integers(1, 40, size=(3, 3, 3))
    parts = [stats.chi2_contingency(counts[:, j, :], lambda_="log-likelihood") for j in range(3)]
    found = order_test(counts)
    assert found.statistic == pytest.approx(sum(p.statistic for p in parts))
    assert found.degrees_of_freedom == sum(p.dof for p in parts) == 12
    assert found.p_value == pytest.approx(stats.chi2.sf(found.statistic, 12))


def test_rows_never_seen_take_degrees_of_freedom():
    counts = np.zeros((3, 3, 3), dtype=int)
    counts[:2, 0, :2] = [[5, 9], [4, 2]]
    assert order_test(counts).degrees_of_freedom == 1
    counts[1] = 0
    assert np.isnan(order_test(counts).p_value)


# --- from tables -------------------------------------------------------------------------------


def test_states_are_read_at_the_ends_of_periods():
    table = spells(
        [
            ("a", "base", "2024-01-31", "2024-02-29"),
            ("a", "gold", "2024-02-29", "2024-04-30"),
            ("b", "gold", "2024-02-10", "2024-02-20"),  # never held at a month's end
            ("c", "base", "2024-02-01", "2024-03-05"),
            ("c", "silver", "2024-05-02", None),  # away in March and April
            ("d", "base", "2024-07-01", None),  # after the last day
        ]
    )
    states = tier_states(table, tiers=NAMES, as_of="2024-06-15")
    names = np.array(states.names)[states.codes].tolist()
    cuts = np.flatnonzero(states.starts)[1:]
    assert [part.tolist() for part in np.split(np.array(names), cuts)] == [
        ["base", "gold", "gold", "left", "left"],
        ["base", "left", "left", "silver"],
    ]
    assert (states.customers, states.periods) == (2, 5)
    assert states.entries().tolist() == [2, 0, 0, 0]
    assert states.latest().tolist() == [0, 1, 0, 1]
    assert states.pairs().sum() == 7
    assert states.triples().sum() == 5


def test_spells_from_activity_follow_the_lines():
    orders = pd.DataFrame(
        [
            ("a", "2021-03-05", 299.99),
            ("a", "2021-12-31", 0.01),  # exactly at the line
            ("a", "2022-07-01", 1000),
            ("b", "2021-06-01", 50),
            ("b", "2023-02-01", 400),
        ],
        columns=["customer_id", "transacted_at", "amount"],
    )
    orders["transacted_at"] = pd.to_datetime(orders["transacted_at"])
    found = tier_spells(orders, lines={"gold": 1000, "silver": 300}, as_of="2024-05-31")
    days = [(c, f"{v:%Y-%m-%d}", t, r) for c, v, _, t, r in found.itertuples(index=False)]
    assert days == [
        ("a", "2021-03-05", "base", "enrol"),
        ("a", "2022-01-01", "silver", "upgrade"),
        ("a", "2023-01-01", "gold", "upgrade"),
        ("a", "2024-01-01", "base", "downgrade"),
        ("b", "2021-06-01", "base", "enrol"),
        ("b", "2024-01-01", "silver", "upgrade"),
    ]
    assert found["valid_to"].isna().tolist() == [False, False, False, True, False, True]
    assert tier_states(found, tiers=NAMES, as_of="2024-05-31", period="Y").left is None
    by_orders = tier_spells(orders, lines={"gold": 2}, measure="orders", as_of="2022-05-31")
    assert by_orders["tier"].tolist() == ["base", "gold", "base"]


@pytest.mark.parametrize("upgrades", ["period-end", "immediate"])
def test_spells_are_the_rule_applied_day_by_day(upgrades):
    rng = np.random.default_rng(6)
    day = pd.Timestamp("2022-01-01") + pd.to_timedelta(rng.integers(0, 540, 400), unit="D")
    orders = pd.DataFrame(
        {"customer_id": rng.integers(0, 30, 400), "transacted_at": day, "amount": rng.integers(1, 60, 400)}
    )
    lines = {"silver": 50, "gold": 90}
    found = tier_spells(orders, lines=lines, period="Q", upgrades=upgrades, as_of="2023-06-30")
    quarter = orders["transacted_at"].dt.to_period("Q")
    for customer, own in orders.groupby("customer_id"):
        held = found[found["customer_id"] == customer]
        assert held["valid_from"].iloc[0] == own["transacted_at"].min()
        assert held["tier"].ne(held["tier"].shift()).all()
        ranks = held["tier"].map(NAMES.index)
        reasons = np.where(ranks.diff()[1:] > 0, "upgrade", "downgrade").tolist()
        assert held["reason"].tolist() == ["enrol", *reasons]
        for now in pd.date_range(own["transacted_at"].min(), "2023-06-30", freq="11D"):
            period = now.to_period("Q")
            counted = [own.loc[quarter == period - 1, "amount"].sum()]
            if upgrades == "immediate":
                counted.append(own.loc[(quarter == period) & (own["transacted_at"] <= now), "amount"].sum())
            rank = max(sum(c >= line for line in lines.values()) for c in counted)
            there = held["valid_from"].le(now) & (held["valid_to"].isna() | held["valid_to"].gt(now))
            assert held.loc[there, "tier"].tolist() == [NAMES[rank]]
    assert not tier_states(found, tiers=NAMES, as_of="2023-06-30").left


def test_the_table_of_states_is_the_rows_side_by_side():
    table = simulate(np.random.default_rng(3), 40, 6)
    states = tier_states(table, tiers=NAMES, as_of="2020-06-30")
    wide = states.table()
    assert wide.shape == (states.customers, len(states.ends))
    assert wide[wide >= 0].tolist() == states.codes.tolist()
    for customer, row in zip(states.ids, wide, strict=True):
        held = dict(
            zip(
                table["valid_from"][table["customer_id"] == customer].dt.month,
                table["tier"][table["customer_id"] == customer],
                strict=True,
            )
        )
        assert [states.names[c] for c in row if c >= 0] == [held.get(m, "left") for m in range(1, 7)]


def test_a_share_has_its_dirichlet_interval():
    moves = tier_migration(
        spells(
            [
                ("a", "base", "2024-01-05", "2024-03-10"),
                ("a", "gold", "2024-03-10", None),
                ("b", "base", "2024-01-20", None),
            ]
        ),
        tiers=["base", "gold"],
        as_of="2024-04-30",
    )
    # R 4.2.2: qbeta(c(.025, .975), 1.5, 4.5)
    share = moves.move("base", "gold")
    assert (share.value, share.low, share.high) == pytest.approx((0.25, 0.0225127660, 0.6286264006))
    assert moves.matrix.to_numpy().sum(axis=1) == pytest.approx([1, 1])
    assert moves.to_frame()["count"].tolist() == [4, 1, 0, 1]


def test_a_large_chain_gives_back_its_moves():
    rng = np.random.default_rng(11)
    moves = migrate(simulate(rng, 20_000, 12), 12)
    assert moves.matrix.to_numpy()[:3] == pytest.approx(TRUE[:3], abs=0.01)
    chances, periods = reach(TRUE, 2, 3)
    found = moves.reach("gold").states.set_index("start")
    assert found["chance"].to_numpy() == pytest.approx(chances[:2], rel=0.03)
    assert found["periods"].to_numpy() == pytest.approx(periods[:2], rel=0.03)
    mix = [e.value for e in moves.settled().values()]
    assert mix == pytest.approx(settled_mix(TRUE, [1, 0, 0, 0], 3)[:3], rel=0.05)
    assert moves.checks[0].status == "passed"
    assert "leave" in moves.verdict()
    assert [t.get_text() for t in moves.plot().texts][:4] == ["80%", "12%", "3%", "5%"]
    assert "before they leave" in moves.reach("gold").verdict()


def hits(replicates, seed):
    """Return coverage of a share, a chance, periods and the mix, and how often order 1 is rejected."""
    rng = np.random.default_rng(seed)
    chances, periods = reach(TRUE, 2, 3)
    mix = settled_mix(TRUE, [1, 0, 0, 0], 3)
    found = []
    for _ in range(replicates):
        moves = migrate(simulate(rng, 300, 8), 8, draws=400)
        way = moves.reach("gold").states.iloc[0]
        share, gold = moves.move("silver", "gold"), moves.settled()["gold"]
        found.append(
            (
                share.low <= TRUE[1, 2] <= share.high,
                way["chance_low"] <= chances[0] <= way["chance_high"],
                way["periods_low"] <= periods[0] <= way["periods_high"],
                gold.low <= mix[2] <= gold.high,
                moves.order.p_value < 0.05,
            )
        )
    return np.mean(found, axis=0)


@pytest.mark.slow
def test_intervals_cover_and_the_order_test_keeps_its_size(published):
    rates = hits(1000, 21)
    names = [
        f"tiers: {what}"
        for what in ("share that moves up", "chance to reach", "periods to reach", "settled mix")
    ]
    published(
        zip(
            [*names, "tiers: order-1 test, level 5%, share not rejected"],
            [*rates[:4], 1 - rates[4]],
            strict=True,
        ),
        1000,
    )
    assert rates[:4] == pytest.approx([0.95] * 4, abs=0.021)
    assert rates[4] == pytest.approx(0.05, abs=0.021)


def test_intervals_cover_in_a_few_replicates():
    rates = hits(60, 22)
    assert rates[:4].min() > 0.85
    assert rates[4] < 0.2


def test_memory_is_found_and_said():
    """Tiers that fall back right after a rise depend on the tier before."""
    rng = np.random.default_rng(5)
    months = pd.date_range("2020-01-01", periods=13, freq="MS")
    rows = []
    for customer in range(400):
        before, now = 0, 0
        for t in range(12):
            rows.append((customer, NAMES[now], months[t], months[t + 1]))
            fall = now == 1 and before == 0
            before, now = now, int(rng.random() < (0.2 if fall else 0.5))
    moves = tier_migration(spells(rows), tiers=NAMES[:2], as_of="2020-12-31")
    assert moves.order.p_value < 1e-6
    assert moves.checks[0].status == "warning"
    assert moves.reach("silver").checks == moves.checks[:1]


def test_draws_are_the_same_for_one_seed_only():
    moves = migrate(simulate(np.random.default_rng(1), 200, 6), 6)
    again = migrate(simulate(np.random.default_rng(1), 200, 6), 6)
    other = migrate(simulate(np.random.default_rng(1), 200, 6), 6, seed=1)
    assert moves.settled() == again.settled()
    assert moves.settled() != other.settled()
    assert moves.settled()["gold"].value == other.settled()["gold"].value


# --- bad input ---------------------------------------------------------------------------------

GOOD = [("x1", "base", "2024-01-01", "2024-02-01"), ("x1", "gold", "2024-02-01", None)]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([GOOD[0], ("x1", "gold", "2024-01-15", None)], r"overlap: 1 row \(at position 1\)"),
        ([("x1", "gold", "2024-02-01", None), ("x1", "base", "2024-03-01", None)], r"overlap.*position 1"),
        ([("x1", "base", "2024-03-01", "2024-02-01")], "before the spell's beginning.*position 0"),
        ([("x1", None, "2024-03-01", None)], "tier is null at 1 row"),
        ([("x1", "platinum", "2024-03-01", None)], "platinum, which tiers does not name"),
    ],
)
def test_bad_spells_are_refused(rows, said):
    with pytest.raises(ContractError, match=said) as caught:
        tier_migration(spells(rows), tiers=NAMES, as_of="2024-12-31")
    assert "x1" not in str(caught.value)


def test_bad_options_are_refused():
    table = spells(GOOD)
    with pytest.raises(ArgumentError, match="two or more"):
        tier_migration(table, tiers=["base"], as_of="2024-12-31")
    with pytest.raises(ArgumentError, match="period is one of"):
        tier_migration(table, tiers=NAMES, as_of="2024-12-31", period="W")
    with pytest.raises(DesignError, match="two periods"):
        tier_migration(table, tiers=NAMES, as_of="2024-02-20")
    with pytest.raises(ContractError, match="lacks the column tier"):
        tier_migration(table.drop(columns="tier"), tiers=NAMES, as_of="2024-12-31")
    with pytest.raises(ContractError, match="2 programmes"):
        tier_migration(table.assign(programme_id=["p", "q"]), tiers=NAMES, as_of=dt.date(2024, 12, 31))
    with pytest.raises(ArgumentError, match="above 0"):
        tier_spells(table, lines={"gold": 0})
    with pytest.raises(ArgumentError, match="upgrades is one of"):
        tier_spells(table, lines={"gold": 5}, upgrades="at once")
    with pytest.raises(ArgumentError, match="line of its own"):
        tier_spells(table, lines={"gold": 5, "silver": 5})


def test_nobody_seen_after_leaving_is_no_gap():
    left_last = [("a", "base", "2024-01-01", "2024-03-10"), ("b", "base", "2024-01-01", None)]
    moves = tier_migration(spells(left_last), tiers=["base", "gold"], as_of="2024-03-31")
    assert moves.left == "left"
    assert [c.detail for c in moves.checks if c.name == "Every tier was seen"] == [
        "Nobody was seen in gold for a period, so moves from there are not measurable."
    ]


def test_a_tier_nobody_was_seen_in_is_not_measurable():
    moves = tier_migration(spells(GOOD), tiers=NAMES, as_of="2024-12-31")
    assert moves.checks[1].status == "not measurable"
    assert "silver" in moves.checks[1].detail
    with pytest.raises(DesignError, match="silver"):
        moves.reach("gold")
    with pytest.raises(DesignError, match="silver"):
        moves.settled()


@pytest.mark.parametrize(
    "convert", [pl.from_pandas, lambda frame: duckdb.connect().from_df(frame)], ids=["polars", "duckdb"]
)
def test_every_engine_gives_the_same_moves(convert):
    table = simulate(np.random.default_rng(3), 100, 6)
    assert migrate(table, 6).counts.tolist() == migrate(convert(table), 6).counts.tolist()


def test_times_with_a_zone_are_refused():
    table = spells(GOOD)
    with pytest.raises(ContractError, match="no naive dates"):
        tier_states(
            table.assign(valid_from=table["valid_from"].dt.tz_localize("UTC")),
            tiers=NAMES,
            as_of="2024-12-31",
        )
