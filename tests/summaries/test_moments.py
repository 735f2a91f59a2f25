import duckdb
import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty_research.comparison import Mean, Proportion, Ratio
from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.summaries import arm_moments, group_label


def a_table(n=3000, seed=5):
    rng = np.random.default_rng(seed)
    x = rng.gamma(2.0, 10.0, n)
    frame = pd.DataFrame(
        {
            "arm": rng.choice(["control", "invited", "called"], n, p=[0.5, 0.3, 0.2]),
            "region": rng.choice(["north", "south"], n),
            "store": rng.integers(0, 60, n),
            "spend": x + rng.normal(0, 5, n),
            "pre": x,
            "orders": rng.poisson(2, n),
            "came": rng.random(n) < 0.3,
        }
    )
    frame.loc[::17, "spend"] = np.nan
    return frame.assign(store_arm=np.where(frame["store"] % 2 == 0, "control", "invited"))


METRICS = [
    Mean("spend", covariates=("pre",), cap=0.95),
    Proportion("came"),
    Ratio("spend", "orders", name="basket"),
    Mean("pre", name="before"),
]


def plain(frame, by, columns, cap=None):
    """The same numbers by the shortest way in pandas."""
    frame = frame.astype(dict.fromkeys(columns, float))
    if cap is not None:
        frame[columns[0]] = frame[columns[0]].clip(upper=frame[columns[0]].quantile(cap))
    out = {}
    for key, part in frame.groupby(by):
        kept = part.dropna(subset=columns)
        mean, cov = (kept[columns].mean(), kept[columns].cov()) if len(kept) > 1 else (kept.sum(), None)
        out[key] = len(kept), len(part) - len(kept), mean, cov
    return out


@pytest.mark.parametrize("engine", ["pandas", "polars", "polars lazy", "duckdb", "narwhals"])
def test_every_engine_gives_the_plain_numbers(engines, engine):
    frame = a_table()
    found = arm_moments(engines[engine](frame), METRICS, arm="arm", strata="region").to_frame()
    for metric, columns, cap in (
        ("spend", ["spend", "pre"], 0.95),
        ("came", ["came"], None),
        ("basket", ["spend", "orders"], None),
    ):
        for (arm, region), (n, nulls, mean, cov) in plain(frame, ["arm", "region"], columns, cap).items():
            rows = found[(found["metric"] == metric) & (found["arm"] == arm) & (found["stratum"] == region)]
            assert set(rows["n"]) == {n}
            assert set(rows["nulls"]) == {nulls}
            for row in rows.itertuples():
                assert row.mean == pytest.approx(mean[row.column], rel=1e-12)
                assert row.covariance == pytest.approx(cov.loc[row.column, row.other], rel=1e-10)


@pytest.mark.parametrize("engine", ["pandas", "polars", "duckdb"])
def test_clusters_are_summed_before_products(engines, engine):
    frame = a_table()
    moments = arm_moments(engines[engine](frame), [Mean("spend")], arm="store_arm", cluster="store")
    kept = frame.dropna(subset=["spend"])
    shift = moments.metrics["spend"].shift[0]
    totals = (
        kept.assign(away=kept["spend"] - shift, one=1.0)
        .groupby(["store_arm", "store"])[["away", "one"]]
        .sum()
    )
    for arm, part in totals.groupby("store_arm"):
        cell = moments.metrics["spend"].cells[arm, ""]
        assert cell.rows == len(part) == 30
        assert cell.n == part["one"].sum()
        np.testing.assert_allclose(cell.cov, part.cov(), rtol=1e-10, atol=1e-10)
        assert shift + cell.mean[0] / cell.mean[1] == pytest.approx(
            kept.loc[kept["store_arm"] == arm, "spend"].mean(), rel=1e-12
        )
    assert moments.arm_size("control") == 30


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.one_of(st.none(), st.integers(-1000, 1000)),
            st.one_of(st.none(), st.integers(0, 9)),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_random_tables_agree_across_engines(rows):
    frame = pd.DataFrame(
        {"arm": [r[0] for r in rows], "y": [r[1] for r in rows], "d": [r[2] for r in rows]}
    ).astype({"y": float, "d": float})
    metrics = [Mean("y"), Ratio("y", "d", name="r")]
    connection = duckdb.connect()
    tables = [frame, pl.from_pandas(frame), connection.from_df(frame)]
    frames = [arm_moments(t, metrics, arm="arm").to_frame() for t in tables]
    for other in frames[1:]:
        pd.testing.assert_frame_equal(frames[0], other, rtol=1e-9, atol=1e-9)
    for arm, (n, nulls, mean, _) in plain(frame, "arm", ["y", "d"]).items():
        cell = frames[0][(frames[0]["metric"] == "r") & (frames[0]["arm"] == arm)]
        assert (cell["n"].iloc[0], cell["nulls"].iloc[0]) == (n, nulls)
        if n:
            assert cell["mean"].iloc[0] == pytest.approx(mean["y"], abs=1e-9)


@pytest.mark.parametrize("engine", ["pandas", "polars", "duckdb"])
@pytest.mark.parametrize("offset", [1e8, 1e12])
def test_a_large_offset_keeps_the_digits(engines, engine, offset):
    values = np.arange(10.0)
    frame = pd.DataFrame({"arm": ["a", "b"] * 5, "y": values + offset})
    moments = arm_moments(engines[engine](frame), [Mean("y")], arm="arm")
    assert moments.metrics["y"].cells["a", ""].cov[0, 0] == pytest.approx(10.0, rel=1e-12)


def test_a_cap_is_pooled_over_arms():
    frame = pd.DataFrame({"arm": ["a"] * 50 + ["b"] * 50, "y": np.arange(100.0)})
    moments = arm_moments(frame, [Mean("y", cap=0.9)], arm="arm").metrics["y"]
    assert moments.cap == pytest.approx(89.1)
    assert moments.shift[0] + moments.cells["a", ""].mean[0] == pytest.approx(24.5)
    expected = np.minimum(np.arange(50.0, 100.0), 89.1).mean()
    assert moments.shift[0] + moments.cells["b", ""].mean[0] == pytest.approx(expected)


@pytest.mark.parametrize("engine", ["polars", "duckdb"])
def test_not_a_number_counts_as_missing(engine, engines):
    frame = pd.DataFrame({"arm": ["a", "a", "a"], "y": [1.0, 3.0, np.nan]})
    table = pl.DataFrame({"arm": ["a"] * 3, "y": [1.0, 3.0, float("nan")]})
    found = arm_moments(table if engine == "polars" else engines["duckdb"](frame), [Mean("y")], arm="arm")
    cell = found.metrics["y"].cells["a", ""]
    assert (cell.n, cell.nulls) == (2, 1)
    assert cell.cov[0, 0] == pytest.approx(2.0)


def test_one_query_after_the_pilot(monkeypatch):
    calls = []
    collect = nw.LazyFrame.collect
    monkeypatch.setattr(
        nw.LazyFrame, "collect", lambda self, *a, **k: calls.append(1) or collect(self, *a, **k)
    )
    metrics = [Mean("spend", covariates=("pre",)), Proportion("came"), Ratio("spend", "orders", name="r")]
    arm_moments(duckdb.connect().from_df(a_table()), metrics, arm="arm", strata="region")
    assert len(calls) == 2


def test_integers_booleans_and_decimals_are_numbers():
    table = duckdb.connect().sql(
        "SELECT * FROM (VALUES ('a', 1::TINYINT, true, 1.25::DECIMAL(18,2)), ('a', 3, false, 2.25), "
        "('a', 5, NULL, NULL)) t(arm, i, b, d)"
    )
    moments = arm_moments(table, [Mean("i"), Proportion("b"), Mean("d")], arm="arm")
    means = {m.label: float(m.shift[0] + m.cells["a", ""].mean[0]) for m in moments.metrics.values()}
    assert means == {"i": 3.0, "b": 0.5, "d": 1.75}
    assert moments.metrics["b"].cells["a", ""].nulls == 1


BASE = pd.DataFrame(
    {"arm": ["a", "b", "a", "b"], "y": [1.0, 2.0, 3.0, 4.0], "d": [1.0, 1.0, 2.0, 2.0], "s": list("ppqq")}
)


@pytest.mark.parametrize(
    ("change", "metrics", "said"),
    [
        (
            {"d": [1.0, -1.0, -2.0, 2.0]},
            [Ratio("y", "d")],
            r"units\.d is negative .* 2 rows .*positions 1, 2",
        ),
        (
            {"y": [0.0, 1.0, 2.0, 1.0]},
            [Proportion("y")],
            r"units\.y is neither 0 nor 1 in 1 row .*position 2",
        ),
        ({"y": [0.0, np.inf, 2.0, 1.0]}, [Mean("y")], r"units\.y is infinite in 1 row"),
        ({"d": [1.0, None, 1.0, 2.0]}, [Mean("y", covariates=("d",))], r"units\.d is missing .* 1 row"),
        ({"arm": ["a", None, "a", None]}, [Mean("y")], r"units\.arm is missing in 2 rows .*positions 1, 3"),
        ({"y": list("abcd")}, [Mean("y")], r"units\.y holds .*not numbers"),
        ({}, [Mean("z")], r"units has no column 'z'; it has arm, y, d, s"),
    ],
)
@pytest.mark.parametrize("engine", ["pandas", "duckdb"])
def test_bad_values_are_named_and_counted(engines, engine, change, metrics, said):
    frame = BASE.assign(**{k: pd.Series(v) for k, v in change.items()})
    pattern = said if engine == "pandas" else said.split(" .*position")[0].replace(" .*not", ".*not")
    with pytest.raises(ContractError, match=pattern):
        arm_moments(engines[engine](frame), metrics, arm="arm")


def test_several_faults_come_in_one_message():
    frame = BASE.assign(y=[0.0, 5.0, 1.0, 1.0], d=[-1.0, 1.0, 1.0, 1.0])
    with pytest.raises(ContractError, match=r"neither 0 nor 1 .*; .*negative|negative .*; .*neither 0 nor 1"):
        arm_moments(frame, [Proportion("y"), Ratio("y", "d")], arm="arm")


def test_a_cluster_in_two_arms_is_refused_with_the_count():
    frame = BASE.assign(c=[1, 1, 2, 3])
    with pytest.raises(DesignError, match=r"1 clusters of units\.c hold more than one value of arm"):
        arm_moments(frame, [Mean("y")], arm="arm", cluster="c")
    with pytest.raises(ContractError, match=r"units\.c is missing in 1 row"):
        arm_moments(BASE.assign(c=[1.0, 2.0, None, 4.0]), [Mean("y")], arm="arm", cluster="c")


def test_an_empty_table_is_refused():
    with pytest.raises(ContractError, match="empty"):
        arm_moments(BASE.iloc[:0], [Mean("y")], arm="arm")


def test_metrics_must_be_distinct_and_present():
    with pytest.raises(ArgumentError, match="two metrics are called y"):
        arm_moments(BASE, [Mean("y"), Proportion("y")], arm="arm")
    with pytest.raises(ArgumentError, match="no metric"):
        arm_moments(BASE, [], arm="arm")
    with pytest.raises(ArgumentError, match="d cannot be both"):
        arm_moments(BASE, [Mean("d")], arm="arm", strata="d")


def test_labels_read_alike_on_every_engine():
    assert [group_label(v) for v in (1, 1.0, "1", np.float64(1.0), 1.5)] == ["1", "1", "1", "1", "1.5"]
    frame = pd.DataFrame({"arm": [0.0, 1.0], "y": [1.0, 2.0]})
    assert arm_moments(frame, [Mean("y")], arm="arm").arms == ("0", "1")
