"""The same answers from Spark; needs the extra ``spark`` and Java."""

import numpy as np
import pandas as pd
import pytest

import loyalty_research as lr
from loyalty_research import summaries


@pytest.fixture(scope="module")
def spark():
    sql = pytest.importorskip("pyspark.sql")
    try:
        session = (
            sql.SparkSession.builder.master("local[1]")
            .config("spark.sql.shuffle.partitions", "2")
            .config("spark.ui.enabled", "false")
            .getOrCreate()
        )
    except Exception as error:  # noqa: BLE001 - without Java, pyspark raises its own kinds
        pytest.skip(f"Spark does not start here: {type(error).__name__}")
    yield session
    session.stop()


@pytest.fixture(scope="module")
def move(spark):
    """Move a pandas frame to Spark; its own timestamps carry the session's time zone, so cast."""

    def to_spark(frame):
        moved = spark.createDataFrame(frame)
        moments = {c: moved[c].cast("timestamp_ntz") for c, kind in moved.dtypes if kind == "timestamp"}
        return moved.withColumns(moments)

    return to_spark


@pytest.fixture(scope="module")
def lines():
    rng = np.random.default_rng(11)
    count = 600
    days = rng.integers(0, 300, count)
    return pd.DataFrame(
        {
            "customer_id": [f"c{i:02d}" for i in rng.integers(0, 60, count)],
            "transacted_at": pd.Timestamp("2023-12-20") + pd.to_timedelta(days * 24 + 9, unit="h"),
            "amount": rng.integers(0, 5000, count) / 100,
            "type": rng.choice(["sale", "sale", "refund"], count),
        }
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_spark_gives_the_answers_of_pandas(move, lines):
    moved = move(lines)
    calls = {
        "purchases": {"calibration_end": "2024-05-31", "observation_end": "2024-10-31", "unit": "W"},
        "daily": {},
        "inactivity_gaps": {"inactivity_days": 30},
        "cohorts": {"as_of": "2024-10-31"},
    }
    for name, options in calls.items():
        ours, theirs = (getattr(summaries, name)(table, **options) for table in (moved, lines))
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-12, obj=name)
        assert ours.attrs == theirs.attrs


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_spark_gives_the_units_of_pandas(move, lines):
    people = sorted(lines["customer_id"].unique())
    days = np.resize([90, 100, 110], len(people))
    tables = {
        "transactions": lines,
        "assignments": pd.DataFrame(
            {
                "customer_id": people,
                "arm": np.resize(["invited", "control"], len(people)),
                "assigned_at": pd.Timestamp("2023-12-20") + pd.to_timedelta(days, unit="D"),
            }
        ),
        "memberships": pd.DataFrame(
            {"customer_id": people[::3], "valid_from": pd.Timestamp("2024-04-02"), "valid_to": pd.NaT}
        ).astype({"valid_to": "datetime64[us]"}),
    }
    moved = {name: move(table) for name, table in tables.items()}
    ours, theirs = (summaries.units(t, window_days=60, pre_days=60) for t in (moved, tables))
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-12)
    contacts = pd.DataFrame(
        {
            "customer_id": people[::2],
            "campaign_id": "c",
            "event": "sent",
            "sent_at": pd.Timestamp("2024-04-02"),
        }
    )
    options = {"campaign_id": "c", "window_days": 60, "pre_days": 60}
    pd.testing.assert_frame_equal(
        summaries.campaign_units(move(contacts), moved["transactions"], **options),
        summaries.campaign_units(contacts, lines, **options),
        rtol=1e-12,
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_spark_gives_the_cards_of_pandas(move):
    events = lr.simulate("stamp-card", customers=60, seed=5, required_visits=4, loss=0.01).frame(
        "card_events"
    )
    events = events.drop(columns="occurred_date")
    pd.testing.assert_frame_equal(
        summaries.cards(move(events), cluster="cluster_id"), summaries.cards(events, cluster="cluster_id")
    )
    pd.testing.assert_frame_equal(summaries.stamps(move(events)), summaries.stamps(events))
